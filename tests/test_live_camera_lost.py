"""The whole command with a camera that is unplugged and plugged in again; only OpenCV's capture object is faked."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import frames_of, person, write_clip
from running import QUICK, call, spawn, wait_for

import streammat.sources.camera
from streammat.sources.camera import CameraSource

SIZE = (192, 108)


class Plug:
    """A USB port: the camera in it gives ``person`` images as JPEG until it is pulled out after ``before`` of them."""

    def __init__(self, before: int, away: int, after: int) -> None:
        self.left = [before, *[-1] * away, after]  # images of each opening; -1: it does not open
        self.opened = 0

    def open(self, camera: Any, backend: int) -> Any:
        plug, count = self, self.left.pop(0) if self.left else -1
        numbers = itertools.count()
        self.opened += 1

        class Capture:
            def isOpened(self) -> bool:  # noqa: N802
                return count >= 0

            def set(self, prop: int, value: float) -> bool:
                return True

            def get(self, prop: int) -> float:
                return {cv2.CAP_PROP_FRAME_WIDTH: SIZE[0], cv2.CAP_PROP_FRAME_HEIGHT: SIZE[1], cv2.CAP_PROP_FPS: 30}.get(prop, 0)

            def grab(self) -> bool:
                time.sleep(1 / 60)
                self.number = next(numbers)
                return self.number < count

            def retrieve(self) -> tuple[bool, Any]:
                rgb = person(self.number, *SIZE)
                return True, cv2.imencode(".jpg", rgb[..., ::-1])[1].reshape(1, -1)

            def release(self) -> None: ...

        del plug
        return Capture()


def test_unplugged_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs go on with the background, and with the subject once the camera is back; the room is never seen."""
    plug = Plug(before=40, away=1, after=10**6)
    monkeypatch.setattr(streammat.sources.camera, "_opencv", plug.open)
    monkeypatch.setattr(streammat.sources.camera, "_PATIENCE", 0.2)
    monkeypatch.setattr(CameraSource, "_check", lambda self: None)
    rec = tmp_path / "rec.mkv"
    done = call("webcam", "--camera", "0", "--to", rec, "--to", "null", *QUICK, "--duration", "5", "--json").ok()
    told = [json.loads(line) for line in done.out.splitlines()]
    names = [event["event"] for event in told]
    assert names.index("camera-lost") < names.index("camera-back")
    assert plug.opened == 3
    shown = told[-1]["shown"]
    assert {"composite", "held", "background"} <= set(shown)
    frames = frames_of(rec)
    assert len(frames) == sum(shown.values())
    for frame in frames:  # the left edge is never the subject's
        assert (np.abs(frame[:, :8].astype(int) - (0, 177, 64)).max(2) < 40).mean() > 0.99
    with_subject = [bool((np.abs(frame.astype(int) - (0, 177, 64)).max(2) > 60).mean() > 0.05) for frame in frames]
    runs = [seen for seen, _ in itertools.groupby(with_subject)]
    assert runs[-3:] == [True, False, True]


def take_terminal() -> None:
    """Of a process that has just been forked: its stdin is its terminal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_second_interrupt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    """An impatient person must not be left with a terminal that shows nothing."""
    clip = write_clip(tmp_path / "in.mp4", size=SIZE, frames=25)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    arguments = ("webcam", "--camera", clip, "--loop", "--to", tmp_path / "rec.mp4", "--bg", "green", *QUICK)
    with spawn(*arguments, stdin=theirs, preexec_fn=take_terminal) as process:
        wait_for(lambda: termios.tcgetattr(theirs)[3] != before[3])
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # two of one kind at once would be one
        _, err = process.communicate(timeout=30)
    assert process.returncode in (130, 143), err
    assert termios.tcgetattr(theirs)[3] == before[3]
    os.close(ours)
    os.close(theirs)


def test_keys_of_the_terminal(tmp_path: Path) -> None:
    """A real terminal: single keys steer it, and it is left as it was found."""
    clip = write_clip(tmp_path / "in.mp4", size=SIZE, frames=25)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    log = tmp_path / "log"
    arguments = ("webcam", "--camera", clip, "--loop", "--to", "null", "--bg", "green", "--bg", "blur:50", *QUICK, "--log", log)
    with spawn(*arguments, stdin=theirs, preexec_fn=take_terminal) as process:
        wait_for(lambda: log.exists() and '"status"' in log.read_text())
        for keys in (b"n", b"+", b"q"):
            os.write(ours, keys)
        try:
            _, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
    assert process.returncode == 0, err
    said = [event["message"] for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "said"]
    assert "blur:50" in said[0]
    assert "blur:60" in said[1]
    assert termios.tcgetattr(theirs)[3] == before[3]
    os.close(ours)
    os.close(theirs)
