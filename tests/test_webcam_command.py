"""``streammat webcam`` as a process: files as cameras, real recordings, signals and the control interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import frames_of, probe, write_clip
from running import QUICK, REPOSITORY, Run, call, names, run, spawn, wait_for

SIZE = (192, 108)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the example subject."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=SIZE, frames=25)


def webcam(clip: Path, *arguments: str | Path) -> Run:
    """In this process."""
    return call("webcam", "--camera", clip, *QUICK, "--json", *arguments)


def start(clip: Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return spawn("webcam", "--camera", clip, "--loop", *QUICK, "--json", *arguments, **options)


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def greens(path: Path) -> list[float]:
    """Of each image, how green its left edge is: 0 not at all, 1 as the background that was asked for."""
    return [float((np.abs(frame[:, :8].astype(int) - (0, 177, 64)).max(2) < 40).mean()) for frame in frames_of(path)]


def recorded(path: Path, least: int = 10) -> bool:
    """Whether a recording that still grows holds some images."""
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.demux(video=0)) > least
    except (av.FFmpegError, OSError):
        return False


# --------------------------------------------------------------------------------------------------------------------
# Showing


@pytest.mark.parametrize("name", ["rec.mkv", "rec.mp4"])
def test_a_file_as_the_camera_is_recorded_and_checked(tmp_path: Path, clip: Path, name: str) -> None:
    done = webcam(clip, "--to", tmp_path / name, "--to", "null", "--log", tmp_path / "log").ok()
    told = events(done.out)
    assert [told[0]["event"], told[-1]["event"]] == ["started", "ended"]
    assert told[0]["size"] == list(SIZE)
    report = told[-1]
    assert report["captured"] == 25
    assert report["shown"]["composite"] + report["dropped"] == 25
    assert all(output["error"] is None for output in report["outputs"])
    assert probe(tmp_path / name).size == SIZE
    assert len(frames_of(tmp_path / name)) == report["outputs"][0]["written"] == sum(report["shown"].values())
    assert min(greens(tmp_path / name)) > 0.99
    assert names(tmp_path) == ["log", name]
    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == [event["event"] for event in told]


def test_times_in_a_recording_are_those_of_the_capture(tmp_path: Path, clip: Path) -> None:
    """A file plays at its own rate: its images stand in the recording at distances of whole frames, exactly."""
    done = webcam(clip, "--to", tmp_path / "rec.mp4").ok()
    made_up = sum(count for kind, count in events(done.out)[-1]["shown"].items() if kind != "composite")
    with av.open(str(tmp_path / "rec.mp4")) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    steps = [(later - earlier) * 25 for earlier, later in zip(times[made_up:], times[made_up + 1 :], strict=False)]
    whole = [step for step in steps if abs(step - round(step)) < 0.01]
    assert len(whole) >= len(steps) - 1


def test_a_turned_phone_video_stands_upright(tmp_path: Path) -> None:
    turned = write_clip(tmp_path / "in.mp4", size=SIZE, frames=12, rotation=90)
    webcam(turned, "--to", tmp_path / "rec.mkv").ok()
    made = probe(tmp_path / "rec.mkv")
    assert made.size == SIZE[::-1]
    assert made.rotation == 0


def test_it_loops_until_its_time_is_over(tmp_path: Path, clip: Path) -> None:
    done = webcam(clip, "--loop", "--duration", "2", "--to", "null").ok()
    assert events(done.out)[-1]["captured"] > 30


def test_lines_for_people(clip: Path) -> None:
    done = call("webcam", "--camera", clip, *QUICK, "--to", "null").ok()
    assert done.out == ""
    assert "frames captured" in done.err
    assert "latency" in done.err
    assert call("webcam", "--camera", clip, *QUICK, "--to", "null", "--quiet").ok().err == ""


# --------------------------------------------------------------------------------------------------------------------
# Ending


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_a_full_disk_ends_the_log_alone(clip: Path) -> None:
    """The show goes on, and it is said once."""
    done = run("webcam", "--camera", clip, "--loop", "--to", "null", "--duration", "3", "--log", "/dev/full", *QUICK).ok()
    assert "Traceback" not in done.err
    assert done.err.count("/dev/full") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly(tmp_path: Path, clip: Path, number: int, code: int) -> None:
    with start(clip, "--to", tmp_path / "rec.mkv") as process:
        wait_for(lambda: recorded(tmp_path / "rec.partial.mkv"))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert err == ""
    ended = events(out)[-1]
    assert ended["event"] == "ended"
    assert len(frames_of(tmp_path / "rec.mkv")) == ended["outputs"][0]["written"]


def test_a_network_that_does_not_answer_is_left_behind(tmp_path: Path) -> None:
    """Its thread sits in the library's C++ when the process ends."""
    clip = write_clip(tmp_path / "in.mp4", size=(3840, 2160), frames=3)
    main = "import streammat.live.pipeline; streammat.live.pipeline.PATIENCE = 0.0; from streammat.cli import main; main()"
    arguments = ("--camera", clip, "--loop", "--to", "null", "--engine", "onnxruntime", "--quality", "best", "--precision", "fp32",
                 "--threads", "1", "--fixed", "--duration", "1.5", "--json")
    done = subprocess.run(
        [sys.executable, "-c", main, "webcam", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the network does not answer and was left as it is" in events(done.stdout)[-1]["notes"]


def test_killed_recordings_play(tmp_path: Path, clip: Path) -> None:
    partials = [tmp_path / "rec.partial.mp4", tmp_path / "rec.partial.mkv"]
    with start(clip, "--to", tmp_path / "rec.mp4", "--to", tmp_path / "rec.mkv") as process:
        wait_for(lambda: all(recorded(partial, 30) for partial in partials))
        process.kill()
        process.communicate(timeout=30)
    assert not any((tmp_path / name).exists() for name in ("rec.mp4", "rec.mkv"))
    for partial in partials:
        assert len(frames_of(partial)) > 20
        assert min(greens(partial)) > 0.99


def test_a_full_disk_ends_that_output_only(tmp_path: Path, clip: Path) -> None:
    import resource

    limit = 6_000
    done = run(
        "webcam", "--camera", clip, *QUICK, "--json", "--loop", "--duration", "2.5", "--to", tmp_path / "rec.mkv", "--to", "null",
        preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )
    done.refused(1, "rec.mkv")
    told = events(done.out)
    assert "output-failed" in [event["event"] for event in told]
    record, null = told[-1]["outputs"]
    assert record["error"]
    assert null["error"] is None
    assert null["written"] > record["written"]


# --------------------------------------------------------------------------------------------------------------------
# Steering


def ask(path: Path, **command: Any) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(json.dumps(command).encode() + b"\n")
        return json.loads(client.makefile().readline())


def test_the_control_socket(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "control"
    with start(clip, "--to", "null", "--bg", "green", "--bg", "blur:50", "--control", path) as process:
        wait_for(path.exists)
        wait_for(lambda: ask(path, command="status")["composed"] > 0)
        assert ask(path, command="blur", value=10)["ok"] is False
        assert ask(path, command="next")["background"] == "blur:50"
        assert ask(path, command="blur", value=10)["background"] == "blur:60"
        assert ask(path, command="next")["background"] == "green"
        assert ask(path, command="background", value="white")["background"] == "white"
        assert "neither a colour nor a file" in ask(path, command="background", value="nothing")["error"]
        assert ask(path, command="mirror")["mirror"] is True
        assert ask(path, command="pause", value=True)["paused"] is True
        assert "confirm" in ask(path, command="pass-through", value=True)["error"]
        assert ask(path, command="status")["pass-through"] is False
        assert ask(path, command="pass-through", value=True, confirm=True)["pass-through"] is True
        assert ask(path, command="pass-through", value=False)["pass-through"] is False
        assert ask(path, command="quit")["ok"] is True
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not path.exists()


def test_commands_on_stdin(clip: Path) -> None:
    with start(clip, "--to", "null", "--control", "-", stdin=subprocess.PIPE) as process:
        out, err = process.communicate('{"command": "pause"}\n{"command": "quit"}\n', timeout=30)
    assert process.returncode == 0, err
    replies = [event for event in events(out) if event["event"] == "reply"]
    assert [reply["ok"] for reply in replies] == [True, True]
    assert replies[0]["paused"] is True


def test_a_image_that_changes_is_read_again(tmp_path: Path, clip: Path) -> None:
    shown = tmp_path / "bg.png"
    cv2.imwrite(str(shown), np.full((10, 10, 3), (64, 177, 0), np.uint8))
    log = tmp_path / "log"
    with start(clip, "--to", tmp_path / "rec.mkv", "--bg", shown, "--log", log) as process:
        wait_for(lambda: recorded(tmp_path / "rec.partial.mkv"))
        shown.write_bytes(b"half a pict")  # what cannot be read changes nothing
        time.sleep(1.2)
        cv2.imwrite(str(shown), np.full((12, 12, 3), 255, np.uint8))
        wait_for(lambda: "reloaded" in log.read_text())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    seen = greens(tmp_path / "rec.mkv")
    assert seen[0] > 0.99
    assert seen[-1] < 0.01
    assert sorted(seen, reverse=True) == seen


# --------------------------------------------------------------------------------------------------------------------
# What cannot be


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--camera", "/dev/video97"], 1, ["/dev/video97", "no such device"]),
    (["--camera", "nobody.mp4"], 1, ["nobody.mp4", "neither a file nor a camera"]),
    (["--camera", "97", "--loop"], 2, ["--loop", "file"]),
    (["--camera", "rtsp://127.0.0.1:9/x"], 1, ["rtsp://127.0.0.1:9/x", "cannot be opened"]),
    (["--to", "out.xyz"], 2, ["out.xyz", "rec.mkv"]),
    (["--to", "out.%05d.png"], 2, ["video"]),
    (["--to", "srt://127.0.0.1:9"], 2, ["srt", "rtmp://"]),
    (["--to", "rtmp://127.0.0.1:9/live/secret"], 1, ["cannot be reached", "/live/…"]),
    (["--bg", "transparent"], 2, ["transparent", "green"]),
    (["--bg", "missing.jpg"], 1, ["missing.jpg"]),
    (["--size", "big"], 2, ["WIDTHxHEIGHT"]),
    (["--size", "127x96"], 2, ["even"]),
    (["--control", "/missing/folder/s"], 1, ["--control", "folder"]),
    (["--log", "/missing/folder/log"], 2, ["--log"]),
])
def test_refusals(clip: Path, arguments: list[str], code: int, words: list[str]) -> None:
    defaults = [] if "--camera" in arguments else ["--camera", str(clip)]
    outputs = [] if "--to" in arguments else ["--to", "null"]
    call("webcam", *defaults, *QUICK, *outputs, *arguments).refused(code, *words)


@pytest.mark.skipif(any(Path("/dev").glob("video*")), reason="this machine has video devices")
def test_without_a_virtual_camera_the_command_that_makes_one_is_told(clip: Path) -> None:
    for target in ("camera", "/dev/video97"):
        call("webcam", "--camera", clip, *QUICK, "--to", target).refused(1, "modprobe v4l2loopback exclusive_caps=1 card_label=streammat")


def test_a_preview_needs_a_display(clip: Path) -> None:
    hidden = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    arguments = ("webcam", "--camera", clip, *QUICK, "--to", "preview")
    run(*arguments, environment=hidden).refused(1, "no display")
    run(*arguments, environment={**hidden, "DISPLAY": ":97"}).refused(1, "no window")


def test_a_recording_that_is_there_already_is_kept(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "rec.mkv").write_text("mine")
    webcam(clip, "--to", tmp_path / "rec.mkv").refused(2, "already")
    webcam(clip, "--to", clip, "-y").refused(2, "source and target")
    assert (tmp_path / "rec.mkv").read_text() == "mine"


# --------------------------------------------------------------------------------------------------------------------
# Options from a file


def test_the_effective_options_make_a_file_that_gives_the_same(tmp_path: Path) -> None:
    file = tmp_path / "me.toml"
    given = ("--bg", 'a "b".jpg', "--bg", "blur:30", "--to", "null", "--size", "640x480", "--mirror", "--no-stable", "--fps", "12.5")
    first = call("config", *given).ok().out
    file.write_text(first)
    assert call("config", "--config", file).ok().out == first
    changed = call("config", "--config", file, "--fps", "24", "--bg", "white").ok().out
    assert [line for line in changed.splitlines() if line not in first.splitlines()] == ['bg = ["white"]', "fps = 24.0"]


def test_a_run_with_a_file(tmp_path: Path, clip: Path) -> None:
    file = tmp_path / "me.toml"
    file.write_text(f'camera = "{clip}"\nto = "null"\nengine = "onnxruntime"\nquality = "fast"\njson = true\n')
    told = events(call("webcam", "--config", file).ok().out)
    assert told[0]["outputs"] == ["null"]
    assert told[0]["engine"]["backend"] == "onnxruntime"


@pytest.mark.parametrize(("text", "words"), [
    ("background = 'green'", ["unknown option 'background'", "bg"]), ("fps = 'fast'", ["fast"]), ("fps = 1000", ["1000"]),
    ("loop = 'yes'", ["true or false"]), ("[bg]\na = 1", ["one value"]), ("camera = [1, 2]", ["one value"]), ("bg = ", ["TOML"]), ("quality = 'so-so'", ["so-so"]),
])
def test_files_that_mean_nothing(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "me.toml"
    file.write_text(text)
    done = call("webcam", "--config", file)
    assert done.code == 2
    assert all(word in done.err for word in words), done.err
    assert call("webcam", "--config", tmp_path / "missing.toml").code == 2
