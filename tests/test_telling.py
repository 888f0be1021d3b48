"""What is printed and nobody reads, or cannot be written: it holds up nothing and ends nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from media import probe, write_clip
from running import QUICK, REPOSITORY, names, spawn, wait_for

from streammat.threads.patient_stream import PatientWriter


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", frames=10)


def start(*arguments: str | Path, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "streammat", *map(str, arguments)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, **streams)


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe that has no room left."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            continue
    os.set_blocking(writer, True)
    return reader, writer


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_live_run_that_nobody_reads_goes_on_and_ends(tmp_path: Path, clip: Path, stream: str) -> None:
    """With all events on a pipe that is full: the recording grows, and SIGTERM ends it in seconds, whole."""
    reader, writer = full_pipe()
    words = ["--json"] if stream == "stdout" else []
    log = tmp_path / "log"
    with start("webcam", "--camera", clip, "--loop", *QUICK, *words, "--to", tmp_path / "rec.mkv", "--log", log, **{stream: writer}) as process:
        os.close(writer)
        wait_for(lambda: log.exists() and log.read_text().count('"status"') >= 3, 40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    os.close(reader)
    ended = json.loads(log.read_text().splitlines()[-1])
    assert ended["event"] == "ended"
    assert probe(tmp_path / "rec.mkv").frames == ended["outputs"][0]["written"] > 10


def test_a_terminal_that_stands_still_holds_up_nothing(tmp_path: Path, clip: Path) -> None:
    """As after Ctrl-S: keys are read from it, nothing can be written to it, and its settings are as before in the end."""
    import fcntl
    import pty
    import termios

    master, slave = pty.openpty()
    os.set_blocking(slave, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(slave, b"x" * 100)
    os.set_blocking(slave, True)
    before = termios.tcgetattr(slave)
    log = tmp_path / "log"
    with start(
        "webcam", "--camera", clip, "--loop", *QUICK, "--to", "null", "--log", log, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        wait_for(lambda: log.exists() and log.read_text().count('"status"') >= 2, 40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)


def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path, clip: Path) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(log, os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x")
    with start("webcam", "--camera", clip, "--loop", *QUICK, "--to", "null", "--log", log, "--duration", "1", "--quiet") as process:
        assert process.wait(30) == 0
    os.close(reader)
    os.close(writer)


def test_a_file_run_that_nobody_reads_ends(tmp_path: Path, clip: Path) -> None:
    """Its report is lost, its output is whole."""
    reader, writer = full_pipe()
    with start("video", clip, tmp_path / "out.mp4", *QUICK, "--json", stdout=writer, stderr=writer) as process:
        os.close(writer)
        assert process.wait(30) == 0
    os.close(reader)
    assert probe(tmp_path / "out.mp4").frames == 10


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
@pytest.mark.parametrize(("arguments", "code"), [
    (["video", "{clip}", "{folder}/out.mp4", "--json"], 0), (["webcam", "--camera", "{clip}", "--to", "{folder}/out.mp4", "--json"], 0),
    (["config"], 1), (["--help"], 1),
])
def test_stdout_that_cannot_be_written_is_one_line(tmp_path: Path, clip: Path, arguments: Sequence[str], code: int) -> None:
    """Where something else was made, the exit code tells of that."""
    words = [word.format(clip=clip, folder=tmp_path) for word in arguments]
    quick = QUICK if words[0] in ("video", "webcam") else ()
    with open("/dev/full", "wb") as full, start(*words, *quick, stdout=full, stderr=subprocess.PIPE) as process:
        _, err = process.communicate(timeout=60)
    lines = [line for line in err.decode().splitlines() if "standard output" in line]
    assert len(lines) == 1
    assert "No space left" in lines[0]
    assert "Traceback" not in err.decode()
    assert process.returncode == code
    if words[-1] == "--json" and words[0] in ("video", "webcam"):
        assert probe(tmp_path / "out.mp4").frames > 3


@pytest.mark.parametrize(("command", "closed"), [("video", (2,)), ("video", (0, 1, 2)), ("webcam", (0, 1, 2))])
def test_closed_streams_change_nothing(tmp_path: Path, clip: Path, command: str, closed: tuple[int, ...]) -> None:
    """As daemons have them: the work is done, and no file of ours gets what a library prints."""
    words = ["video", clip, tmp_path / "out.mp4"] if command == "video" else ["webcam", "--camera", clip, "--to", tmp_path / "out.mp4"]
    with start(*words, *QUICK, preexec_fn=lambda: [os.close(number) for number in closed]) as process:
        assert process.wait(60) == 0
    assert probe(tmp_path / "out.mp4").frames > 3


def test_a_reader_that_had_enough(tmp_path: Path, clip: Path) -> None:
    """``2>&1 | head -1``: all that follows goes nowhere, and the output is whole."""
    reader, writer = os.pipe()
    with start("video", clip, tmp_path / "out.mp4", *QUICK, stdout=writer, stderr=writer) as process:
        os.close(reader)
        os.close(writer)
        assert process.wait(60) == 0
    assert names(tmp_path) == ["out.mp4"]
    with start("config", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_what_is_read_late_is_all_there(clip: Path) -> None:
    """A program whose product is what it prints waits for its reader."""
    process = spawn("config")
    assert process.stdout is not None
    time.sleep(1.5)
    assert process.stdout.read().startswith("bg")
    process.communicate()
    assert process.returncode == 0


def test_a_patient_writer() -> None:
    """What has no room is left out, whole calls of it; the rest comes in order when it is read at last."""
    reader, descriptor = full_pipe()
    with open(descriptor, "wb", buffering=0) as stream:
        writer = PatientWriter(stream, room=3000)
        begin = time.monotonic()
        for number in range(400):
            writer.write(b"%09d\n" % number)
            writer.flush()
        assert time.monotonic() - begin < 5
        assert not writer.drain(0.1)
        assert writer.left_out == 100
        os.set_blocking(reader, False)
        read = b""
        while not writer.drain(0.05) or len(read) % 10:
            try:
                read += os.read(reader, 65536).lstrip(b"x")
            except BlockingIOError:
                continue
        writer.end()
        read += os.read(reader, 65536)
    os.close(reader)
    assert read.splitlines() == [b"%09d" % number for number in range(300)]
    assert writer.failure is None
