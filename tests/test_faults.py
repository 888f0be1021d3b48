"""Everything that can go wrong with ``streammat video``, with real files, processes, signals and disks."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, alpha_of, probe, write_audio_only, write_clip, write_still
from running import QUICK, call, names, python, run, spawn, video, wait_for

import streammat.media.containers

LONG = 900
"""Frames of the clip that signals interrupt."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short good clip."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", frames=12, audio=[Audio()])


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes a while."""
    return write_clip(
        tmp_path_factory.mktemp("long") / "in.mp4",
        size=(128, 96),
        frames=LONG,
        content="pattern",
        audio=[Audio()],
    )


# --------------------------------------------------------------------------------------------------------------------
# Bad inputs


def test_missing(tmp_path: Path) -> None:
    """No such file."""
    run("video", tmp_path / "missing.mp4", tmp_path / "out.mp4", *QUICK).refused(1, "missing.mp4", "no such file")
    assert names(tmp_path) == []


def bad_inputs() -> dict[str, bytes]:
    """Names and contents of files that are no video."""
    return {
        "empty.mp4": b"",
        "text.mp4": b"This is a text, not a video.\n" * 100,
        "text.txt": b"hello\n",
        "noise.mp4": np.random.default_rng(5).bytes(20000),
        "noise.mkv": np.random.default_rng(6).bytes(20000),
        "header.mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + b"\0" * 64,
        "zeros.avi": bytes(5000),
    }


@pytest.mark.parametrize("name", bad_inputs())
def test_no_video(tmp_path: Path, name: str) -> None:
    """Empty, text and noise files are refused in one line that names the file."""
    (tmp_path / name).write_bytes(bad_inputs()[name])
    done = call("video", tmp_path / name, tmp_path / "out.mp4", *QUICK).refused(1, name)
    assert len(done.err.splitlines()) == 1, done.err
    assert names(tmp_path) == [name]


def test_directory(tmp_path: Path) -> None:
    """A folder is no video."""
    (tmp_path / "folder").mkdir()
    call("video", tmp_path / "folder", tmp_path / "out.mp4", *QUICK).refused(1, "folder")
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.wav", "pcm_s16le"), ("a.ogg", "libopus")]
)
def test_audio_only(tmp_path: Path, name: str, codec: str) -> None:
    """Sound without an image is refused, and the message says that there is no video."""
    write_audio_only(tmp_path / name, codec)
    call("video", tmp_path / name, tmp_path / "out.mp4", *QUICK).refused(1, name, "video")
    assert names(tmp_path) == [name]


def test_music_with_a_cover_has_no_video(tmp_path: Path) -> None:
    """A cover image is a video stream in FFmpeg's books, not in a person's."""
    music = write_audio_only(tmp_path / "a.mp3", "libmp3lame").read_bytes()
    cover = write_still(tmp_path / "cover.png", np.full((64, 64, 3), 200, np.uint8)).read_bytes()
    image = b"\0image/png\0\x03\0" + cover
    frame = b"APIC" + len(image).to_bytes(4, "big") + b"\0\0" + image
    size = len(frame)
    head = b"ID3\x03\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    if music.startswith(b"ID3"):
        old = sum(byte << shift for byte, shift in zip(music[6:10], (21, 14, 7, 0), strict=True))
        music = music[10 + old :]
    (tmp_path / "song.mp3").write_bytes(head + frame + music)
    call("video", tmp_path / "song.mp3", tmp_path / "out.mp4", *QUICK).refused(1, "song.mp3", "video")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("in.mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"), ("in.mp4", b"avc1", b"xyz1"), ("in.avi", b"H264", b"XQZ4")],
)
def test_unknown_codec(tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    """A codec that FFmpeg does not know is one line."""
    source = write_clip(tmp_path / name, options={"bf": "0"})
    data = source.read_bytes()
    assert old in data
    source.write_bytes(data.replace(old, new))
    call("video", source, tmp_path / "out.mp4", *QUICK).refused(1, name)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mp4", {"container_options": {"movflags": "faststart"}}),
        ("in.mkv", {}),
        ("in.webm", {"codec": "libvpx-vp9"}),
        ("in.avi", {"options": {"bf": "0"}}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "5"}}),
    ],
)
@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_truncated(tmp_path: Path, name: str, options: dict[str, Any], target: str) -> None:
    """What is there is done and playable; the exit code and the message say that it is not all."""
    settings: dict[str, Any] = {"frames": 60, "content": "pattern", "size": (192, 108), **options}
    source = write_clip(tmp_path / name, **settings)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 6 // 10])
    done = call("video", source, tmp_path / target, *QUICK)
    if name == "fragments.mp4" and done.code == 0:
        # Whole fragments are a whole file, by all that the file itself says.
        return
    done.refused(1, name, "truncated")
    after = probe(tmp_path / target)
    assert 5 <= after.frames < 60
    assert names(tmp_path) == sorted([name, target])


def test_truncated_before_its_index(tmp_path: Path) -> None:
    """An MP4 whose index is missing cannot be read at all."""
    source = write_clip(tmp_path / "in.mp4", frames=30)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    call("video", source, tmp_path / "out.mp4", *QUICK).refused(1, "in.mp4")
    assert names(tmp_path) == ["in.mp4"]


def test_truncated_stream(tmp_path: Path) -> None:
    """A transport stream promises no length: what is there is done."""
    source = write_clip(tmp_path / "in.ts", frames=60, content="pattern")
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 6 // 10])
    done = call("video", source, tmp_path / "out.mp4", *QUICK)
    assert done.code in {0, 1}
    assert "Traceback" not in done.err
    assert probe(tmp_path / "out.mp4").frames > 10


@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.ts"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged(tmp_path: Path, name: str, seed: int) -> None:
    """Broken bytes in the middle never end in a traceback or a hang; what comes out plays."""
    source = write_clip(tmp_path / name, frames=40, content="pattern", options={"g": "10"})
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(len(data) // 4, len(data) * 3 // 4, 30):
        data[place] ^= 0xFF
    source.write_bytes(data)
    done = call("video", source, tmp_path / "out.mp4", *QUICK)
    assert done.code in {0, 1}, done.err
    assert "Traceback" not in done.err
    if done.code == 1:
        assert done.error
    if (tmp_path / "out.mp4").exists():
        assert probe(tmp_path / "out.mp4").frames > 0


# --------------------------------------------------------------------------------------------------------------------
# Bad targets


def test_no_such_folder(clip: Path, tmp_path: Path) -> None:
    """The folder of the output must be there."""
    for options in (["out.mp4"], ["out.%03d.png"], ["a.mp4", "--matte", tmp_path / "no/m.mp4"]):
        target, *rest = options
        folder = tmp_path if rest else tmp_path / "no"
        call("video", clip, folder / target, *QUICK, *rest).refused(1, str(tmp_path / "no"))
        assert names(tmp_path) == []


def test_target_is_a_folder(clip: Path, tmp_path: Path) -> None:
    """An output needs a name."""
    (tmp_path / "out.mp4").mkdir()
    call("video", clip, tmp_path / "out.mp4", *QUICK, "-y").refused(2, "out.mp4")


def test_folder_is_a_file(clip: Path, tmp_path: Path) -> None:
    """A file cannot hold files."""
    (tmp_path / "file").write_text("x")
    done = call("video", clip, tmp_path / "file" / "out.mp4", *QUICK)
    done.refused(1, "out.mp4")


def test_unwritable_folder(clip: Path, tmp_path: Path) -> None:
    """A folder that may not be written is refused before any work; root may write everywhere but in /proc."""
    if os.geteuid() == 0:
        folder = Path("/proc/self")
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    for target in ("out.mp4", "out.mov", "out.%03d.png"):
        call("video", clip, folder / target, *QUICK).refused(1, "out.")


def test_target_is_the_source(clip: Path, tmp_path: Path) -> None:
    """Under any of its names, the source is never written over, not even with ``-y``."""
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "sub").mkdir()
    for target in (source, tmp_path / "link.mp4", tmp_path / "sub/../in.mp4"):
        call("video", source, target, *QUICK, "-y").refused(2, "source")
    call("video", tmp_path / "link.mp4", source, *QUICK, "-y").refused(2, "source")
    call("video", source, tmp_path / "out.mp4", "--matte", source, *QUICK, "-y").refused(2)
    (tmp_path / "hard.mp4").hardlink_to(source)  # so In.mp4 and in.mp4 are one where case does not count
    call("video", source, tmp_path / "hard.mp4", *QUICK, "-y").refused(2, "source")
    assert source.read_bytes() == clip.read_bytes()


def test_what_a_killed_run_left_is_a_source_like_any_other(clip: Path, tmp_path: Path) -> None:
    """An output is never written under the source's name, not even until it is whole."""
    source = tmp_path / "out.partial.mp4"
    source.write_bytes(clip.read_bytes())
    call("video", source, tmp_path / "out.mp4", *QUICK).ok()
    assert source.read_bytes() == clip.read_bytes()
    assert names(tmp_path) == ["out.mp4", "out.partial.mp4"]


def test_two_runs_for_one_output(long_clip: Path, clip: Path, tmp_path: Path) -> None:
    """The second is refused, also with ``-y``, and the first is not disturbed; what a killed run left locks nobody out."""
    target, partial_file = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    with spawn("video", long_clip, target, *QUICK, "--duration", "4") as first:
        wait_for(partial_file.exists, 60)
        first.send_signal(signal.SIGSTOP)  # so that it is not done too soon
        second = run("video", clip, target, *QUICK, "-y")
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
    second.refused(2, "out.mp4", "another run")
    assert first.returncode == 0
    assert names(tmp_path) == ["out.mp4"]
    assert probe(target).frames == 100
    with spawn("video", long_clip, target, *QUICK, "-y") as killed:
        wait_for(partial_file.exists, 60)
        killed.kill()
    run("video", clip, target, *QUICK, "-y").ok()
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["out.mp4", "out.partial.mp4"]
    assert probe(target).frames == 12


def test_a_system_that_pushes_only_writable_files_to_the_disk(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows: a descriptor for reading alone is a bad one there."""
    import fcntl

    pushed: list[int] = []

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        pushed.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    video(clip, tmp_path / "out.mp4").ok()
    assert pushed


def test_target_is_the_background(clip: Path, tmp_path: Path) -> None:
    """Nor is the background."""
    for name in ("bg.mp4", "bg.png"):
        wall = tmp_path / name
        if name == "bg.mp4":
            wall.write_bytes(clip.read_bytes())
        else:
            write_still(wall, np.full((64, 64, 3), 90, np.uint8))
        before = wall.read_bytes()
        target = wall if name == "bg.mp4" else tmp_path / "out.mp4"
        beside = [] if name == "bg.mp4" else ["--matte", wall]
        call("video", clip, target, "--bg", wall, *beside, *QUICK, "-y").refused(2)
        assert wall.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("out.mp4", ["--crf", "0"]),
        ("out.mov", []),
        ("out.mkv", ["--codec", "ffv1"]),
        ("out.webm", ["--crf", "0"]),
        ("out.%03d.png", []),
    ],
)
def test_full_disk(small_disk: Path, tmp_path: Path, target: str, options: list[str]) -> None:
    """A full disk is one line and exit code 1; under the final name there is nothing, or a file that plays."""
    source = write_clip(tmp_path / "in.mp4", size=(640, 360), frames=20, audio=[Audio()])
    noise = np.random.default_rng(3).integers(0, 255, (360, 640, 3), np.uint8)
    wall = [] if target in {"out.mov", "out.webm"} else ["--bg", write_still(tmp_path / "noise.png", noise)]
    done = call("video", source, small_disk / target, *QUICK, *options, *wall).refused(1, "space")
    assert len([line for line in done.err.splitlines() if "error" in line]) == 1, done.err
    for path in small_disk.iterdir():
        assert ".partial" not in path.name or target.endswith((".mp4", ".mov", ".mkv", ".webm"))
        if ".partial" not in path.name:
            assert probe(path).frames > 0, path.name


def test_encoder_refuses_the_size(tmp_path: Path) -> None:
    """A size that an encoder cannot take is one line, and no file is left."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", size=(16, 8), frames=2, content="empty")
    for codec in ("hevc", "av1"):
        done = call("video", source, tmp_path / "out.mp4", "--codec", codec, *QUICK)
        if done.code == 0:
            assert probe(tmp_path / "out.mp4").size == (16, 8)
            (tmp_path / "out.mp4").unlink()
        else:
            done.refused(1, "16x8")
            assert names(tmp_path) == ["in.mkv"]


def test_encoder_refuses_a_huge_size(tmp_path: Path) -> None:
    """Wider than H.264 allows."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", size=(16900, 64), frames=1, content="empty")
    done = call("video", source, tmp_path / "out.mp4", *QUICK)
    if done.code:
        done.refused(1, "16900x64")
        assert names(tmp_path) == ["in.mkv"]
    else:
        assert probe(tmp_path / "out.mp4").size == (16900, 64)


# --------------------------------------------------------------------------------------------------------------------
# Signals


def interrupt(source: Path, target: Path, number: int, *arguments: str | Path) -> tuple[int, str, str]:
    """Send ``number`` to a run once it has written some frames; its exit code, stdout and stderr."""
    first = target.with_name(target.name % 1) if "%" in target.name else target.with_name(f"{target.stem}.partial{target.suffix}")
    header = 4096  # bytes that an output has before its first frame, at most

    with spawn("video", source, target, *QUICK, "--json", *arguments) as process:
        wait_for(lambda: (first.exists() and ("%" in target.name or first.stat().st_size > header)) or process.poll() is not None, 60)
        assert process.poll() is None, "the run was over before the signal"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("target", "number", "code"),
    [
        ("out.mp4", signal.SIGINT, 130), ("out.mp4", signal.SIGTERM, 143), ("out.mkv", signal.SIGINT, 130),
        ("out.mov", signal.SIGTERM, 143), ("out.webm", signal.SIGINT, 130),
    ],
)
def test_interrupted(long_clip: Path, tmp_path: Path, number: int, code: int, target: str) -> None:
    """The output ends as a playable file of what was done, under its own name."""
    options = ["--bg", "green"] if target == "out.mov" else []
    got, out, err = interrupt(long_clip, tmp_path / target, number, *options)
    assert got == code, err
    assert "Traceback" not in err
    after = probe(tmp_path / target)
    assert 0 < after.frames < LONG
    assert names(tmp_path) == [target]
    report = json.loads(out)
    assert report["frames_out"] == after.frames
    length = after.times[-1] - after.times[0]
    assert abs(after.audio[0].seconds - length) < 1
    if target == "out.webm":
        assert len(alpha_of(tmp_path / target)) == after.frames


def test_interrupted_with_files_beside(long_clip: Path, tmp_path: Path) -> None:
    """Matte and foreground end as well, with as many frames."""
    got, _, err = interrupt(
        long_clip, tmp_path / "out.mp4", signal.SIGINT, "--matte", tmp_path / "m.mkv", "--foreground", tmp_path / "f.mp4"
    )
    assert got == 130, err
    frames = {probe(tmp_path / name).frames for name in ("out.mp4", "m.mkv", "f.mp4")}
    assert len(frames) == 1
    assert names(tmp_path) == ["f.mp4", "m.mkv", "out.mp4"]


def test_interrupted_sequence(long_clip: Path, tmp_path: Path) -> None:
    """Every still that is there is whole."""
    got, out, err = interrupt(long_clip, tmp_path / "out.%04d.png", signal.SIGTERM)
    assert got == 143, err
    found = names(tmp_path)
    assert found == [f"out.{number:04d}.png" for number in range(1, len(found) + 1)]
    assert json.loads(out)["frames_out"] == len(found)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_closed_terminal_ends_a_run_cleanly(long_clip: Path, tmp_path: Path) -> None:
    """The system and the shell both tell of it, and nothing can be written there any more."""
    import fcntl
    import pty
    import termios

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    master, slave = pty.openpty()
    with spawn(
        "video", long_clip, tmp_path / "out.mp4", *QUICK, terminal=slave, start_new_session=True, preexec_fn=take_terminal
    ) as process:
        os.close(slave)
        wait_for((tmp_path / "out.partial.mp4").exists, 60)
        time.sleep(0.3)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 129
    assert names(tmp_path) == ["out.mp4"]
    assert 0 < probe(tmp_path / "out.mp4").frames < LONG


def test_killed(long_clip: Path, tmp_path: Path) -> None:
    """After SIGKILL nothing lies under the final name; what the run left plays, and the next one leaves it alone."""

    def readable() -> bool:
        with contextlib.suppress(av.FFmpegError, OSError):
            return probe(tmp_path / "out.partial.mp4").frames > 0
        return False

    with spawn("video", long_clip, tmp_path / "out.mp4", *QUICK) as process:
        wait_for(readable, 60)
        process.kill()
    assert "out.mp4" not in names(tmp_path)
    left = probe(tmp_path / "out.partial.mp4").frames
    assert left > 0
    run("video", long_clip, tmp_path / "out.mp4", *QUICK, "--duration", "0.4").ok()
    assert probe(tmp_path / "out.mp4").frames == 10
    assert probe(tmp_path / "out.partial.mp4").frames == left


def test_killed_while_replacing(long_clip: Path, tmp_path: Path) -> None:
    """With ``-y`` the old file stays whole until the new one is."""
    old = write_clip(tmp_path / "out.mp4", frames=3)
    before = old.read_bytes()
    got, _, _ = interrupt(long_clip, old, signal.SIGKILL, "-y")
    assert got == -signal.SIGKILL
    assert old.read_bytes() == before


def test_second_interrupt_ends_at_once(long_clip: Path, tmp_path: Path) -> None:
    """An impatient person is obeyed."""
    with spawn("video", long_clip, tmp_path / "out.mp4", *QUICK) as process:
        wait_for((tmp_path / "out.partial.mp4").exists, 60)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals that are ignored from the start")
def test_a_job_in_the_background_is_deaf_to_ctrl_c(long_clip: Path, tmp_path: Path) -> None:
    """A shell without job control starts it with SIGINT ignored, and so that stays; SIGTERM ends it as ever."""
    with without_ctrl_c(), spawn("video", long_clip, tmp_path / "out.mp4", *QUICK) as process:
        wait_for((tmp_path / "out.partial.mp4").exists, 60)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert 0 < probe(tmp_path / "out.mp4").frames < LONG


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes that are started here ignore SIGINT from the start."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("delay", [0.25, 0.4, 0.6])
def test_interrupted_while_starting(long_clip: Path, tmp_path: Path, delay: float) -> None:
    """A signal before the first frame leaves no file, no traceback and the right exit code."""
    with spawn("video", long_clip, tmp_path / "out.mp4", *QUICK) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode in {143, -signal.SIGTERM}, err
    assert "Traceback" not in err
    if (tmp_path / "out.mp4").exists():
        assert probe(tmp_path / "out.mp4").frames > 0


# --------------------------------------------------------------------------------------------------------------------
# The network


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine only."""

    daemon_threads = True


class Silent(http.server.SimpleHTTPRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which it is served."""
    folder = tmp_path / "www"
    folder.mkdir()
    with Server(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{http_server.server_address[1]}"
        http_server.shutdown()
        thread.join()


def test_http(server: tuple[Path, str], tmp_path: Path) -> None:
    """A URL is as good as a file."""
    folder, url = server
    write_clip(folder / "in.mp4", frames=10, container_options={"movflags": "faststart"}, audio=[Audio()])
    write_clip(folder / "in.ts", frames=10, options={"bf": "0"})
    video(f"{url}/in.mp4", tmp_path / "out.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "out.mp4").frames == 10
    assert probe(tmp_path / "out.mp4").audio[0].sha256 == probe(folder / "in.mp4").audio[0].sha256
    video(f"{url}/in.ts", tmp_path / "ts.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "ts.mp4").frames == 10


def test_http_faults(server: tuple[Path, str], tmp_path: Path) -> None:
    """Not found, no server: one line each."""
    _, url = server
    call("video", f"{url}/missing.mp4", tmp_path / "out.mp4", *QUICK).refused(1, "missing.mp4")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call("video", f"http://127.0.0.1:{port}/in.mp4", tmp_path / "out.mp4", *QUICK).refused(1, str(port))
    call("video", "nosuch://example/in.mp4", tmp_path / "out.mp4", *QUICK).refused(1, "nosuch")
    assert names(tmp_path) == ["www"]


def test_http_that_breaks_off(tmp_path: Path) -> None:
    """A connection that ends early is a truncated input: what came is done, and the exit code says so."""
    whole_file = write_clip(
        tmp_path / "in.mp4", frames=60, size=(192, 108), content="pattern", container_options={"movflags": "faststart"}
    ).read_bytes()

    class Breaking(Silent):
        def do_GET(self) -> None:
            begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            end = len(whole_file) * 6 // 10
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(whole_file) - begin))
            self.send_header("Content-Range", f"bytes {begin}-{len(whole_file) - 1}/{len(whole_file)}")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(whole_file[begin : max(begin, end)])

    with Server(("127.0.0.1", 0), Breaking) as breaking:
        thread = threading.Thread(target=breaking.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{breaking.server_address[1]}/in.mp4"
        run("video", url, tmp_path / "out.mp4", *QUICK, seconds=100).refused(1, "in.mp4")
        breaking.shutdown()
        thread.join()
    assert 5 < probe(tmp_path / "out.mp4").frames < 60


def test_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead host does not hold the command for ever: 10 s, and one here."""
    assert streammat.media.containers.OPEN_SECONDS <= 10
    monkeypatch.setattr(streammat.media.containers, "OPEN_SECONDS", 1.0)
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/in.mp4"
        call("video", url, tmp_path / "out.mp4", *QUICK).refused(1, url)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_opening(tmp_path: Path, number: int, code: int) -> None:
    """A person who waits for a dead host presses Ctrl-C, which does not wait for it: no error is told, the exit code is the signal's."""
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/in.mp4"
        with spawn("video", url, tmp_path / "out.mp4", *QUICK) as process:
            deaf.settimeout(20)
            connection, _ = deaf.accept()
            time.sleep(0.2)
            process.send_signal(number)
            _, err = process.communicate(timeout=9)  # the host itself is given up after 10 s
            connection.close()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert names(tmp_path) == []


# --------------------------------------------------------------------------------------------------------------------
# Faults inside


def pipeline_parts(source: Path, target: Path, matting: Any, codec: str | None = None) -> Any:
    """A pipeline from the library's public parts, with ``matting`` in the network's place."""
    from streammat.compositing.backgrounds import open_background, parse_background
    from streammat.compositing.compositor import Compositor
    from streammat.config import EncodeOptions
    from streammat.pipeline import Pipeline
    from streammat.sinks.file import FileSink
    from streammat.sources.file import FileSource

    reader = FileSource(str(source))
    background = open_background(parse_background("green"), "cover", reader.info.sample_aspect_ratio)
    sink = FileSink(str(target), reader.info, "composite", EncodeOptions(codec))
    compositor = Compositor(["composite"], background, decontaminate=True, alpha="straight")
    return Pipeline(reader, matting, compositor, [sink])


def whole(frame: Any) -> Any:
    """A matte that keeps everything."""
    from streammat.media.frame import Matte

    deep = frame.layout.depth > 8
    return Matte(np.full(frame.size, 65535 if deep else 255, np.uint16 if deep else np.uint8))


def test_engine_that_works(clip: Path, tmp_path: Path) -> None:
    """The kit's own matting, without a fault."""
    report = pipeline_parts(clip, tmp_path / "out.mp4", whole).run()
    assert report.frames_in == report.frames_out == probe(tmp_path / "out.mp4").frames == 12


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_engine_fails_midway(clip: Path, tmp_path: Path, at: int) -> None:
    """The first error is raised, no thread is left, and what was done before plays."""
    from streammat.engines.base import EngineError

    def matting(frame: Any) -> Any:
        if frame.index == at:
            message = "the engine broke"
            raise EngineError(message)
        return whole(frame)

    pipeline = pipeline_parts(clip, tmp_path / "out.mp4", matting)
    with pytest.raises(EngineError, match="the engine broke"):
        pipeline.run()
    assert not [name for name in names(tmp_path) if "partial" in name]
    if at == 0:
        assert names(tmp_path) == []
    else:
        assert probe(tmp_path / "out.mp4").frames == at


def test_engine_fails_with_a_bug(clip: Path, tmp_path: Path) -> None:
    """An error that nobody meant ends the run as well: no hang, and the error is not swallowed."""

    def matting(frame: Any) -> Any:
        return whole(frame) if frame.index < 3 else frame.no_such_thing

    with pytest.raises(AttributeError):
        pipeline_parts(clip, tmp_path / "out.mp4", matting).run()


def test_sink_fails_midway(clip: Path, tmp_path: Path) -> None:
    """A writer that dies does not leave the reader waiting for ever."""
    from streammat.errors import OutputError

    pipeline = pipeline_parts(clip, tmp_path / "out.mp4", whole)
    (sink,) = pipeline._sinks  # noqa: SLF001 - nothing else can break a file sink at an exact place
    write = sink.write

    def failing(frame: Any, matte: Any) -> None:
        if frame.index == 4:
            message = "the disk is gone"
            raise OutputError(message)
        write(frame, matte)

    sink.write = failing
    with pytest.raises(OutputError, match="the disk is gone"):
        pipeline.run()


def test_stop_from_another_thread(long_clip: Path, tmp_path: Path) -> None:
    """``stop`` ends a run early and cleanly."""
    pipeline = pipeline_parts(long_clip, tmp_path / "out.mp4", whole)
    timer = threading.Timer(0.3, pipeline.stop)
    timer.start()
    report = pipeline.run()
    timer.join()
    assert report.stopped
    assert 0 < report.frames_out < LONG
    assert probe(tmp_path / "out.mp4").frames == report.frames_out


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_progress_that_raises(long_clip: Path, tmp_path: Path, error: type[BaseException]) -> None:
    """Ctrl-C in a program that does not handle it: nothing goes on behind its back, and what was done plays."""

    def progress(done: int) -> None:
        if done > 5:
            raise error

    with pytest.raises(error):
        pipeline_parts(long_clip, tmp_path / "out.mp4", whole).run(progress)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("streammat-")]
    assert 5 < probe(tmp_path / "out.mp4").frames < LONG
    assert names(tmp_path) == ["out.mp4"]


# --------------------------------------------------------------------------------------------------------------------
# What is loaded


def test_help_loads_nothing_heavy() -> None:
    """``--help`` answers at once: no FFmpeg, no OpenCV, no network runtime."""
    for arguments in (["--help"], ["video", "--help"], ["image", "--help"], ["--version"]):
        loaded = python(
            f"import sys; sys.argv = ['streammat', *{arguments!r}]\n"
            "from streammat.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "print('LOADED', *sorted({'av', 'cv2', 'numpy', 'onnxruntime', 'openvino', 'torch', 'tqdm'} & set(sys.modules)))"
        )
        assert loaded.splitlines()[-1].split() == ["LOADED"], arguments


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_the_cpu_path_loads_no_torch(clip: Path, tmp_path: Path, engine: str) -> None:
    """A whole run of ``video`` and ``image`` without torch or the training packages."""
    still = write_still(tmp_path / "in.png", np.full((96, 128, 3), 120, np.uint8))
    loaded = python(
        "import sys\n"
        "from streammat.cli import main\n"
        f"for arguments in (['video', {str(clip)!r}, {str(tmp_path / 'out.mp4')!r}], ['image', {str(still)!r}, {str(tmp_path / 'o.png')!r}]):\n"
        f"    sys.argv = ['streammat', *arguments, '--quiet', '--engine', {engine!r}]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "print('LOADED', *sorted({'torch', 'train', 'pymatting', 'scipy', 'skimage', 'onnx'} & set(sys.modules)))"
    )
    assert loaded.splitlines()[-1].split() == ["LOADED"]


def test_nothing_to_do_shows_usage() -> None:
    """No arguments, one argument, an unknown command: exit code 2 and no traceback."""
    for arguments in (["video"], ["video", "in.mp4"], ["image"], ["nosuch"]):
        done = call(*arguments)
        assert done.code == 2, arguments
        assert "Traceback" not in done.err


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """Resident memory does not grow with length."""
    import psutil

    source = write_clip(tmp_path / "in.mp4", size=(640, 360), frames=3000, content="empty")
    samples = []
    with spawn("video", source, tmp_path / "out.mp4", *QUICK, "--quiet") as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                samples.append(watched.memory_info().rss / 1e6)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.25)
        assert process.wait() == 0
    settled = samples[len(samples) // 3 : -1]
    assert max(settled) < 500
    assert settled[-1] - settled[0] < 40
