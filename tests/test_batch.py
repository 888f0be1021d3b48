"""``streammat batch``: shots by every name, failures that stop nobody, a manifest that survives, and batches that keep apart."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
import weakref
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import av
import numpy as np
import psutil
import pytest
from media import Audio, alpha_of, frames_of, pattern, probe, still_of, write_clip
from running import QUICK, REPOSITORY, Run, call, names, spawn

from streammat.batch.plan import plan_of, shards_of
from streammat.batch.shots import Shot
from streammat.batch.workers import gpu_of
from streammat.config import BatchOptions, MattingOptions, VideoOptions
from streammat.jobs.video import VideoJob
from streammat.timecode import Moment

ONE = (*QUICK[:-1], "1", "--workers", "1")
"""Options that make a batch quick on a busy machine."""


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates")
    write_clip(folder / "a.mp4", size=(64, 64), frames=6, audio=[Audio()])
    write_clip(folder / "b.mov", size=(64, 64), frames=4, codec="prores_ks", pix_fmt="yuv422p10le", timecode="01:00:00:00")
    (folder / "notes.txt").write_text("no clip")
    return folder


def made(out: Path) -> dict[str, bytes]:
    """The bytes of each output by name, without the manifest's folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file() and ".streammat-batch" not in path.parts}


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, run.out.splitlines()) if event["event"] == kind]


def test_a_folder_becomes_prores_and_what_fails_stops_nobody(plates: Path, tmp_path: Path) -> None:
    """A broken shot is told of in the end, with exit code 1; done again, only what is missing is tried."""
    (tmp_path / "in").mkdir()
    for clip in plates.iterdir():
        (tmp_path / "in" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "in/broken.mp4").write_bytes(b"no video at all")
    first = call("batch", tmp_path / "in", tmp_path / "out", *ONE, "--json")
    assert first.code == 1, first.err
    assert "shot broken: " in first.err
    assert "Traceback" not in first.err
    assert {event["shot"] for event in events(first, "done")} == {"a", "b"}
    assert [event["shot"] for event in events(first, "failed")] == ["broken"]
    assert sorted(made(tmp_path / "out")) == ["a.mov", "b.mov"]
    assert probe(tmp_path / "out/a.mov").frames == 6
    assert len(probe(tmp_path / "out/a.mov").audio) == 1
    assert len(alpha_of(tmp_path / "out/b.mov")) == 4
    before = made(tmp_path / "out")
    again = call("batch", tmp_path / "in", tmp_path / "out", *ONE, "--json")
    assert again.code == 1
    assert {event["shot"] for event in events(again, "kept")} == {"a", "b"}
    assert not events(again, "shard")
    assert made(tmp_path / "out") == before


def test_a_job_file_has_options_and_outputs_for_each_shot(plates: Path, tmp_path: Path) -> None:
    """In TOML and in CSV; what a shot says counts more than the command line."""
    (plates / "job.toml").write_text(
        '[defaults]\nquality = "fast"\nno-audio = true\n\n[[shot]]\nsource = "a.mp4"\nname = "sc010"\noutput = "{out}/{shot}/{shot}.mp4"\nbg = "#00b140"\n\n'
        '[[shot]]\nsource = "b.mov"\nmatte = "{out}/{shot}_matte.{frame:04d}.png"\nstable = false\n'
    )
    planned = call("batch", plates / "job.toml", tmp_path / "out", *ONE, "--quality", "best", "--no-verify", "--no-decontaminate", "--dry-run", "--json").ok()
    plans = {event["shot"]: event for event in events(planned, "plan")}
    assert plans["sc010"]["frames"] == 6
    assert "--quality=fast" in plans["b"]["options"]
    assert "--no-stable" in plans["b"]["options"]
    assert {"--no-verify", "--no-decontaminate"} <= set(plans["b"]["options"])
    assert not (tmp_path / "out").exists()
    (total,) = events(planned, "total")
    assert (total["shots"], total["frames"]) == (2, 10)
    assert 0 < plans["b"]["bytes"] < total["bytes"] < total["free"]
    assert total["seconds"] > 0
    call("batch", plates / "job.toml", tmp_path / "out", *ONE).ok()
    assert sorted(made(tmp_path / "out")) == ["b.mov", *(f"b_matte.{number:04d}.png" for number in range(1, 5)), "sc010/sc010.mp4"]
    assert not probe(tmp_path / "out/sc010/sc010.mp4").audio
    (plates / "job.csv").write_text("source,name,bg,crf\na.mp4,,#00b140,\nb.mov,second,,\n")
    rows = [event["shot"] for event in events(call("batch", plates / "job.csv", tmp_path / "csv", *ONE, "--dry-run", "--json").ok(), "plan")]
    assert rows == ["a", "second"]


def test_a_job_file_in_yaml_says_what_one_in_toml_says(plates: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the extra film")
    (plates / "job.toml").write_text('[defaults]\nclip-black = 0.1\n[[shot]]\nsource = "b.mov"\nname = "sc"\nstable = false\n')
    (plates / "job.yaml").write_text("defaults: {clip-black: 0.1}\nshot:\n- source: b.mov\n  name: sc\n  stable: false\n")
    plans = [events(call("batch", plates / f"job.{kind}", tmp_path / "out", *ONE, "--dry-run", "--json").ok(), "plan")[0] for kind in ("toml", "yaml")]
    assert {key: plans[0][key] for key in ("shot", "source", "options", "outputs")} == {key: plans[1][key] for key in ("shot", "source", "options", "outputs")}
    assert "--clip-black=0.1" in plans[1]["options"]
    for text, words in (("shot: [", ("job.yaml", "yaml")), ("- b.mov\n", ("job.yaml", "no table")), ("shots: []\n", ("shots", "unknown"))):
        (plates / "job.yaml").write_text(text)
        call("batch", plates / "job.yaml", tmp_path / "out").refused(1 if "unknown" not in words else 2, *words)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("[[shot]]\nname = 'x'\n", ("shot 1", "source")),
        ("[[shot]]\nsource = 'a.mp4'\ncolour = 'red'\n", ("shot a", "colour")),
        ("[[shot]]\nsource = 'a.mp4'\nquality = 'superb'\n", ("shot a", "superb")),
        ("[[shot]]\nsource = 'a.mp4'\noutput = '{out}/{scene}.mov'\n", ("scene", "{shot}")),
        ("[[shot]]\nsource = 'a.mp4'\n[[shot]]\nsource = 'sub/a.mov'\n", ("two shots", "named a")),
        ("[[shot]]\nsource = 'a.mp4'\noutput = '{out}/x.mov'\nmatte = '{out}/x.mov'\n", ("x.mov", "{shot}")),
    ],
)
def test_job_files_that_cannot_be_meant_are_refused_before_anything_is_made(plates: Path, tmp_path: Path, job: str, words: tuple[str, ...]) -> None:
    (tmp_path / "job.toml").write_text(job)
    call("batch", tmp_path / "job.toml", tmp_path / "out").refused(2, *words)
    assert names(tmp_path) == ["job.toml"]


def test_what_was_made_otherwise_is_not_mixed_and_what_is_not_ours_is_not_replaced(plates: Path, tmp_path: Path) -> None:
    """Other options and inputs are refused until --redo, foreign files until -y; a damaged output is found and made again."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.mov").write_text("mine")
    clip = tmp_path / "b.mov"
    clip.write_bytes((plates / "b.mov").read_bytes())
    call("batch", clip, tmp_path / "out", *ONE).refused(2, "b.mov", "-y")
    call("batch", clip, tmp_path / "out", *ONE, "-y").ok()
    whole = made(tmp_path / "out")
    call("batch", clip, tmp_path / "out", *ONE, "--feather", "2").refused(2, "--feather=2", "--redo")
    assert made(tmp_path / "out") == whole
    call("batch", clip, tmp_path / "out", *ONE, "--feather", "2", "--redo").ok()
    other = made(tmp_path / "out")
    assert other != whole
    content = bytearray(other["b.mov"])
    content[len(content) // 2] ^= 255
    (tmp_path / "out/b.mov").write_bytes(content)
    again = call("batch", clip, tmp_path / "out", *ONE, "--feather", "2", "--json").ok()
    assert [event["files"] for event in events(again, "damaged")] == [["b.mov"]]
    assert made(tmp_path / "out") == other
    # What neither size nor time tells is seen by who reads.
    times = (tmp_path / "out/b.mov").stat()
    (tmp_path / "out/b.mov").write_bytes(content)
    os.utime(tmp_path / "out/b.mov", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not events(call("batch", clip, tmp_path / "out", *ONE, "--feather", "2", "--json").ok(), "damaged")
    verified = call("batch", clip, tmp_path / "out", *ONE, "--feather", "2", "--verify", "--json").ok()  # which is no option of the shot
    assert [event["files"] for event in events(verified, "damaged")] == [["b.mov"]]
    assert made(tmp_path / "out") == other
    os.utime(clip)
    call("batch", clip, tmp_path / "out", *ONE, "--feather", "2").refused(2, "another input", "--redo")


# -- shards --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames with sound, a timecode and a chapter, at a rate that no container stores exactly; two scenes."""
    return write_clip(
        tmp_path_factory.mktemp("long") / "in.mov", size=(64, 64), frames=24, rate=Fraction(30000, 1001), audio=[Audio()], timecode="10:00:00:00",
        chapters=[(0.0, 0.4, "one")], metadata={"title": "take 4"},
    )  # fmt: skip


@pytest.mark.skipif(find_spec("scenedetect") is None, reason="needs the extra film")
def test_shards_end_at_scene_cuts_in_their_second_half(tmp_path: Path) -> None:
    assert [(shard.first, shard.frames) for shard in shards_of(100, [10, 35, 60, 95], 40)] == [(0, 35), (35, 25), (60, 40)]
    assert [(shard.first, shard.frames) for shard in shards_of(100, [], 40)] == [(0, 40), (40, 40), (80, 20)]
    assert [(shard.first, shard.frames) for shard in shards_of(3, [1], 40)] == [(0, 3)]
    with av.open(str(tmp_path / "two.mp4"), "w") as out:
        stream = out.add_stream("libx264", 25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(44):
            picture = pattern(index, 64, 64)
            image = av.VideoFrame.from_ndarray(picture if index < 21 else 255 - picture[::-1], format="rgb24")
            image.pts = index
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
    shot = Shot("two", str(tmp_path / "two.mp4"), (("output", str(tmp_path / "two.mov")),))
    found = plan_of(shot, BatchOptions(shard_frames=24)).shards
    assert [(shard.first, shard.frames) for shard in found] == [(0, 21), (21, 23)]


@pytest.mark.parametrize(
    ("template", "options"),
    [
        ("{out}/{shot}.mov", ()),
        ("{out}/{shot}.mov", ("--bg", "#00b140", "--codec", "dnxhr")),
        ("{out}/{shot}.mp4", ("--bg", "#00b140")),
        ("{out}/{shot}.mp4", ("--bg", "#00b140", "--codec", "hevc")),
    ],
)
def test_pieces_join_to_what_one_process_makes(long: Path, tmp_path: Path, template: str, options: tuple[str, ...]) -> None:
    """ProRes with alpha, and H.264 with B-frames: every frame once, at its time; sound, tags, timecode and chapters.

    Alpha is the same to the bit, as the frames that are looked at before a piece reach to the beginning here.
    """
    if "dnxhr" in options:  # of no smaller images
        long = write_clip(tmp_path / "in.mov", size=(256, 128), frames=24, rate=Fraction(30000, 1001), audio=[Audio()], timecode="10:00:00:00")
    both = tmp_path / "whole", tmp_path / "joined"
    both[0].mkdir()
    whole, joined = (Path(template.format(out=folder, shot="in")) for folder in both)
    call("video", long, whole, *QUICK[:-1], "1", "--matte", both[0] / "m.%03d.png", *options).ok()
    done = call("batch", long, both[1], *ONE, "--output", template, "--matte", "{out}/m.{frame:03d}.png", "--shard-frames", "13", *options, "--json").ok()
    assert [event["shards"] for event in events(done, "planned")] == [2]
    assert [event["networks"] for event in events(done, "shard") if event["state"] == "done"] == [1, 1]  # one, kept from shard to shard
    expected, found = probe(whole), probe(joined)
    assert found.times == expected.times
    assert (found.audio, found.metadata, found.chapters) == (expected.audio, expected.metadata, expected.chapters)
    assert len(frames_of(joined)) == 24
    assert [path.name for path in sorted(both[1].glob("m.*.png"))] == [f"m.{number:03d}.png" for number in range(1, 25)]
    for path in both[0].glob("m.*.png"):
        assert np.array_equal(still_of(path), still_of(both[1] / path.name)), path.name
    if not options:
        for one, other in zip(alpha_of(whole), alpha_of(joined), strict=True):
            assert np.array_equal(one, other)


def test_a_shard_that_is_done_leaves_memory_at_once(long: Path, tmp_path: Path) -> None:
    """Without Python looking for circles: a worker makes one shard after the other, and each would leave its decoders open."""
    matting = MattingOptions(engine="onnxruntime", quality="fast", threads=1)
    gc.collect()
    gc.disable()
    try:
        job = VideoJob(str(long), str(tmp_path / "out.mov"), VideoOptions(matting=matting, start=Moment(Fraction(0), 12), warm_up=4))
        assert job.run().frames_out == 12
        gone = weakref.ref(job)
        del job
        assert gone() is None
    finally:
        gc.enable()


def test_killed_at_random_it_goes_on_to_the_bytes_of_an_unbroken_run(long: Path, tmp_path: Path) -> None:
    """Nothing is left of what was killed, and no shard that was done is made again."""
    command = ("batch", long, tmp_path / "killed", *ONE, "--shard-frames", "9", "--json")
    chance = random.Random(17)
    finished: list[int] = []
    for _ in range(2):
        with spawn(*command) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(2, 6)):
                line = process.stdout.readline()
                if line and (event := json.loads(line))["event"] == "shard" and event["state"] == "done":
                    finished.append(event["shard"])
            time.sleep(chance.random())
            process.send_signal(signal.SIGKILL)
            finished += [event["shard"] for event in map(json.loads, process.stdout.read().splitlines()) if event.get("state") == "done"]
    last = call(*command).ok()
    finished += [event["shard"] for event in events(last, "shard") if event["state"] == "done"]
    assert sorted(set(finished)) == [1, 2, 3]
    assert len(finished) <= 3 + 2  # one may be lost with each kill, between its end and its being remembered
    call("batch", long, tmp_path / "whole", *ONE, "--shard-frames", "9").ok()
    assert made(tmp_path / "killed") == made(tmp_path / "whole")
    assert not list((tmp_path / "killed/.streammat-batch/parts").rglob("*.*"))


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra film")
def test_two_batches_do_not_work_on_one_folder_and_ctrl_c_keeps_what_is_done(long: Path, tmp_path: Path) -> None:
    command = ("batch", long, tmp_path / "out", *ONE, "--shard-frames", "9", "--report", tmp_path / "r.html", "--json")
    with spawn(*command) as first:
        assert first.stdout is not None
        while '"started"' not in first.stdout.readline():
            pass
        call(*command).refused(2, "another run")
        while '"done"' not in first.stdout.readline():
            pass
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == 130
    assert made(tmp_path / "out") == {}
    again = call(*command).ok()
    assert events(again, "planned")[0]["done"] == 9
    (shot,) = json.loads((tmp_path / "r.json").read_text())["shots"]
    assert shot["name"] == "in"
    assert shot["seconds"] == [pytest.approx(index * 1001 / 30000, abs=2e-6) for index in range(24)]
    assert len(shot["values"]["area"]) == 24


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_table(plates: Path, tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="needs the extra film")
    master, slave = os.openpty()
    with spawn("batch", plates / "b.mov", tmp_path / "out", *ONE, terminal=slave, environment={"COLUMNS": "120", "TERM": "xterm"}) as process:
        os.close(slave)
        told = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(master, 4096):
                told += part
    os.close(master)
    assert process.returncode == 0
    assert "at work" in told.decode()
    assert "1 of 1 shots done, 0 failed" in told.decode()
    assert "4/4" in told.decode()


def test_a_worker_that_is_killed_is_replaced_once(plates: Path, tmp_path: Path) -> None:
    for name, kills, code in (("once", 1, 0), ("twice", 2, 1)):
        with spawn("batch", plates / "b.mov", tmp_path / name, *ONE, "--json") as process:
            assert process.stdout is not None
            states = []
            for line in process.stdout:
                states.append(json.loads(line).get("state"))
                if states[-1] == "started" and states.count("started") <= kills:
                    for child in psutil.Process(process.pid).children():
                        child.kill()
            _, told = process.communicate()
        assert process.returncode == code, told
        assert states.count("lost") == kills
        assert ("SIGKILL" in told) == bool(code)


def test_each_worker_has_a_gpu_of_its_own() -> None:
    assert [gpu_of(worker, {"CUDA_VISIBLE_DEVICES": "2,5"}) for worker in range(3)] == ["2", "5", "2"]
    assert gpu_of(0, {"CUDA_VISIBLE_DEVICES": "3"}) is gpu_of(0, {"CUDA_VISIBLE_DEVICES": ""}) is None


def has_namespaces() -> bool:
    """Whether a file system of a few kilobytes can be mounted without anybody's leave."""
    return which("unshare") is not None and subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_namespaces(), reason="needs user namespaces that may mount")
def test_a_full_disk_fails_with_its_reason_and_the_same_command_goes_on(long: Path, tmp_path: Path) -> None:
    """On a disk of 160 kB, to which room is added then: the shard that was done before is not made again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = shlex.join(map(str, (sys.executable, "-m", "streammat", "batch", long, disk, *ONE, "--shard-frames", "9")))
    script = (
        f"mount -t tmpfs -o size=160k none {disk} && {command} 2>full.txt; echo $? >code.txt; "
        f"mount -o remount,size=64m {disk} && {command} --json >again.txt && cp {disk}/in.mov ."
    )
    subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True)
    assert (tmp_path / "code.txt").read_text() == "1\n"
    told = (tmp_path / "full.txt").read_text()
    assert "Traceback" not in told, told
    assert "shot in: " in told
    assert "No space left on device" in told
    again = [json.loads(line) for line in (tmp_path / "again.txt").read_text().splitlines()]
    assert [event["done"] for event in again if event["event"] == "planned"] == [9]
    assert {event["shard"] for event in again if event["event"] == "shard"} == {2, 3}
    assert probe(tmp_path / "in.mov").frames == 24


def test_a_folder_s_clips_are_the_same_for_video_and_batch(tmp_path: Path) -> None:
    from streammat.batch.shots import rows_of
    from streammat.config import VideoOptions
    from streammat.jobs.folder import clips_of

    for suffix in (".3gp", ".wmv", ".mpeg", ".M2TS", ".mov", ".txt"):
        (tmp_path / f"clip{suffix[1:].lower()}{suffix}").touch()
    batch = sorted(str(row["source"]) for row in rows_of([str(tmp_path)]))
    assert batch == sorted(clip for clip, _ in clips_of(str(tmp_path), str(tmp_path / "out"), VideoOptions()))
    assert len(batch) == 5
