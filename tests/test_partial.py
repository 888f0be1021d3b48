"""Outputs until they are whole: names that nobody uses, claims, and files that play at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from media import Audio, frames_of, probe, write_clip
from running import QUICK, call, names, video
from test_faults import pipeline_parts, whole

from streammat.errors import UsageError
from streammat.sinks.partial import Claim, PartialFile


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", frames=5, audio=[Audio()])


@pytest.mark.skipif(os.name == "nt", reason="links need privileges there")
def test_nothing_that_has_its_name_is_followed_or_written_over(clip: Path, tmp_path: Path) -> None:
    """A link, a dangling one, a file and a folder in the place of partial files; ``-y`` is for the output alone."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out.partial.mp4").symlink_to(tmp_path / "mine")
    (tmp_path / "out.partial-2.mp4").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out.partial-3.mp4").write_text("mine, too")
    (tmp_path / "out.partial-4.mp4").mkdir()
    before = names(tmp_path)
    for options in ([], ["-y"]):
        video(clip, tmp_path / "out.mp4", *options).ok()
        assert names(tmp_path) == sorted([*before, "out.mp4"])
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "out.partial-3.mp4").read_text() == "mine, too"
    assert probe(tmp_path / "out.mp4").frames == 5


def test_what_one_run_writes_is_no_output_of_another(clip: Path, tmp_path: Path) -> None:
    """Neither is its partial file."""
    first = PartialFile(tmp_path / "out.mp4", overwrite=False)
    assert first.path.name == "out.partial.mp4"
    call("video", clip, tmp_path / "out.partial.mp4", *QUICK, "-y").refused(2, "another run")
    first.drop()
    claim = Claim(tmp_path / "out.partial.mp4")  # as of a run that is to make it
    first = PartialFile(tmp_path / "out.mp4", overwrite=False)
    assert first.path.name == "out.partial-2.mp4"
    claim.release()
    first.drop()
    call("video", clip, tmp_path / "out.mp4", "--matte", tmp_path / "out.partial.mp4", *QUICK).refused(2, "another output of this one")
    assert names(tmp_path) == []


def test_claims_hold_between_processes_and_end_with_them(tmp_path: Path) -> None:
    code = f"import pathlib, sys\nfrom streammat.sinks.partial import Claim\nclaim = Claim(pathlib.Path({str(tmp_path / 'out.mp4')!r}))\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match="another run"):
            Claim(tmp_path / "out.mp4")
        other.kill()
    claim = Claim(tmp_path / "out.mp4")
    claim.release()
    claim.release()
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="links need privileges there")
def test_a_link_in_the_place_of_a_lock_makes_no_file_elsewhere(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/.out.mp4.lock").symlink_to(tmp_path / "elsewhere")
    call("video", clip, tmp_path / "here/out.mp4", *QUICK, "-y").refused(2, ".out.mp4.lock", "link")
    assert names(tmp_path) == ["here"]


@pytest.mark.parametrize("second_names", [True, False])
def test_a_file_that_came_meanwhile_is_not_replaced(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second_names: bool) -> None:
    """Also where the file system has no hard links; what was made is kept beside it."""
    if not second_names:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    target = tmp_path / "out.mp4"

    def matting(frame: Any) -> Any:
        target.write_text("another's")
        return whole(frame)

    with pytest.raises(Exception, match="cannot take its name.*out.partial.mp4"):
        pipeline_parts(clip, target, matting).run()
    assert target.read_text() == "another's"
    assert probe(tmp_path / "out.partial.mp4").frames == 5
    assert names(tmp_path) == ["out.mp4", "out.partial.mp4"]


def test_a_partial_file_that_was_taken_away_is_told_of(clip: Path, tmp_path: Path) -> None:
    """What has its name by then is not ours."""
    partial = tmp_path / "out.partial.mp4"

    def matting(frame: Any) -> Any:
        if frame.index == 0:
            partial.unlink()
            partial.write_text("another's")
        return whole(frame)

    with pytest.raises(Exception, match="cannot take its name.*nothing was kept"):
        pipeline_parts(clip, tmp_path / "out.mp4", matting).run()
    assert partial.read_text() == "another's"
    assert names(tmp_path) == ["out.partial.mp4"]


@pytest.mark.parametrize("frames", [1, 14, 51, 53])
def test_fragments_lose_no_frame_at_the_end(tmp_path: Path, frames: int) -> None:
    """FFmpeg takes the end of the file to be where a fragment was cut, if the frame that cuts it is not shown last."""
    source = write_clip(tmp_path / "in.mov", size=(64, 64), frames=frames, content="pattern")
    pipeline_parts(source, tmp_path / "out.mp4", whole).run()
    assert len(frames_of(tmp_path / "out.mp4")) == frames


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", None), ("out.mkv", None), ("out.mov", None), ("out.mp4", "hevc"), ("out.mp4", "vp9")])
def test_it_can_be_read_after_a_moment(tmp_path: Path, name: str, codec: str | None) -> None:
    """By themselves encoders make the second keyframe after ten seconds, and what a killed run leaves must not be lost till then."""
    source = write_clip(tmp_path / "in.mp4", frames=100, audio=[Audio()])
    seen: list[int] = []

    def matting(frame: Any) -> Any:
        if frame.index == 99:
            seen.append(len(frames_of(tmp_path / name.replace("out.", "out.partial."))))
        return whole(frame)

    pipeline_parts(source, tmp_path / name, matting, codec).run()
    assert 10 <= seen[0] < 100
    after = probe(tmp_path / name)
    assert after.frames == 100
    assert after.times == probe(source).times


def test_a_file_system_without_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished file takes its name by renaming there, and never the name of another."""

    def link(source: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    for found in (False, True):
        mine = PartialFile(tmp_path / "out.mp4", overwrite=False) if not found else PartialFile(tmp_path / "other.mp4", overwrite=False)
        mine.path.write_bytes(b"mine")
        if found:
            (tmp_path / "other.mp4").write_bytes(b"theirs")
            with pytest.raises(FileExistsError, match="^other.mp4 is there already"):
                mine.take_name()
            mine.drop()
        else:
            mine.take_name()
            mine.release()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"out.mp4": b"mine", "other.mp4": b"theirs"}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
def test_from_the_claim_to_the_name(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        mine = PartialFile(tmp_path / "out.mp4", overwrite=False)
    finally:
        os.umask(before)
    # Other users of a shared folder may claim the name after a crash; the file itself is as the user wants files to be.
    assert modes(tmp_path) == {".out.mp4.lock": 0o666, ".out.partial.mp4.lock": 0o666, "out.partial.mp4": 0o664}
    with pytest.raises(UsageError) as caught:
        PartialFile(tmp_path / "out.mp4", overwrite=True)
    assert str(caught.value) == f"{tmp_path / 'out.mp4'}: another run, or another output of this one, is writing it; wait for that, or give another name"
    mine.path.write_bytes(b"mine")
    mine.take_name()
    assert names(tmp_path) == [".out.mp4.lock", ".out.partial.mp4.lock", "out.mp4"]
    ending = threading.Thread(target=mine.release)
    ending.start()
    ending.join()
    assert names(tmp_path) == ["out.mp4"]
    mine.release()
    mine.drop()
    assert names(tmp_path) == ["out.mp4"]
    claim = Claim(tmp_path / "other.mp4")
    (tmp_path / ".other.mp4.lock").unlink()  # somebody tidies up
    claim.release()
    for place in (tmp_path / "out.mp4", tmp_path / "dangling.mp4"):
        if not place.exists():
            place.symlink_to(tmp_path / "none")
        with pytest.raises(UsageError) as caught:
            PartialFile(place, overwrite=False)
        assert str(caught.value) == f"{place}: is there already; give -y to replace it"
    assert names(tmp_path) == ["dangling.mp4", "out.mp4"]
    again = PartialFile(tmp_path / "out.mp4", overwrite=True)
    again.path.write_bytes(b"again")
    again.take_name()
    again.release()
    assert ((tmp_path / "out.mp4").read_bytes(), names(tmp_path)) == (b"again", ["dangling.mp4", "out.mp4"])


def test_names_in_use_are_passed_over_and_left_unclaimed(tmp_path: Path) -> None:
    for taken in ("out.partial.mp4", "out.partial-2.mp4"):
        (tmp_path / taken).touch()
    claim = Claim(tmp_path / "out.partial-3.mp4")
    mine = PartialFile(tmp_path / "out.mp4", overwrite=False)
    claim.release()
    assert mine.path.name == "out.partial-4.mp4"
    assert names(tmp_path) == [".out.mp4.lock", ".out.partial-4.mp4.lock", "out.partial-2.mp4", "out.partial-4.mp4", "out.partial.mp4"]
    mine.path.unlink()
    mine.path.touch()  # another's, by now
    (tmp_path / "kept").touch()
    assert not mine.here
    with pytest.raises(FileNotFoundError, match="^out.partial-4.mp4 was removed or replaced by something else$"):
        mine.take_name()
    mine.drop()
    mine.drop()
    assert names(tmp_path) == ["kept", "out.partial-2.mp4", "out.partial-4.mp4", "out.partial.mp4"]


def test_a_place_without_room_for_the_name(tmp_path: Path) -> None:
    """Nothing is made, no folder either, and no claim is left."""
    with pytest.raises(FileNotFoundError):
        PartialFile(tmp_path / "none" / "out.mp4", overwrite=False)
    with pytest.raises(OSError, match="too long"):
        PartialFile(tmp_path / f"{'n' * 244}.mp4", overwrite=False)  # longer as a partial file than a name may be
    assert names(tmp_path) == []
