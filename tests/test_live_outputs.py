"""Recordings that are started and ended while a run goes on, by commands; streams are in ``test_live_stream.py``."""

from __future__ import annotations

import json
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from media import Audio, write_clip
from running import QUICK, call, names, spawn, wait_for


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(192, 108), frames=25, audio=[Audio()])


class Steered:
    """A run that takes commands on stdin."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def ask(self, command: str, value: Any = None) -> dict[str, Any]:
        """The answer."""
        assert self.process.stdin is not None
        before = len(self.told("reply"))
        self.process.stdin.write(json.dumps({"command": command, "value": value}) + "\n")
        self.process.stdin.flush()
        wait_for(lambda: len(self.told("reply")) > before, 60)
        return self.told("reply")[before]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    def output(self, kind: str) -> dict[str, Any]:
        """The one of that kind that is at work, as the status has it."""
        found = [each for each in self.ask("status")["outputs"] if each["kind"] == kind and each["state"] == "on"]
        return found[0] if found else {"images": 0}


@contextmanager
def steered(clip: Path, *arguments: str | Path) -> Iterator[Steered]:
    with spawn("webcam", "--camera", clip, "--loop", *QUICK, "--json", "--control", "-", *arguments, stdin=subprocess.PIPE) as process:
        run = Steered(process)
        wait_for(lambda: bool(run.told("status")) or process.poll() is not None, 60)
        yield run
        process.terminate()
        process.wait(60)


def test_recordings_are_started_and_ended_while_the_run_goes_on(tmp_path: Path, clip: Path) -> None:
    """Each begins at 0 with its sound, and plays to its end; nothing is made of what was not wanted."""
    with steered(clip, "--to", "null", "--microphone", "file", "--recordings", tmp_path) as run:
        for number in (1, 2):
            assert run.ask("record", True)["recording"] is True
            assert run.ask("record", True)["ok"]  # it is on already
            wait_for(lambda: run.output("recording")["images"] > 30, 60)
            assert run.ask("record")["ok"]
            wait_for(lambda number=number: len(run.told("output-ended")) == number, 60)
            assert run.ask("status")["recording"] is False
        assert len(run.told("output-started")) == 2
        seen = run.ask("status")["composed"]
        wait_for(lambda: run.ask("status")["composed"] > seen + 10, 60)
    assert run.process.returncode == 143
    files = names(tmp_path)
    assert len(files) == 2
    assert [Path(event["name"]).name for event in run.told("output-ended")] == files
    for name in files:
        assert name.startswith("streammat 20")
        with av.open(str(tmp_path / name)) as container:
            video, sound = container.streams.video[0], container.streams.audio[0]
            times = [[float(frame.time) for frame in container.decode(video)]]
            container.seek(0)
            times.append([float(frame.time) for frame in container.decode(sound)])
        assert times[0][0] == 0
        assert 0 <= times[1][0] < 0.1
        assert len(times[0]) > 30
        assert abs(times[0][-1] - times[1][-1]) < 1.0
    report = run.told("ended")[0]["outputs"]
    assert [(each["kind"], each["error"]) for each in report] == [("null", None), ("recording", None), ("recording", None)]


def test_a_run_goes_on_after_its_only_output_was_ended(tmp_path: Path, clip: Path) -> None:
    """And what goes on at the end is finished with it."""
    with steered(clip, "--to", tmp_path / "rec.mkv", "--recordings", tmp_path) as run:
        wait_for(lambda: run.output("recording")["images"] > 5, 60)
        run.ask("record", False)
        wait_for(lambda: len(run.told("output-ended")) == 1, 60)
        assert run.told("output-ended")[0]["name"] == str(tmp_path / "rec.mkv")
        run.ask("record", True)
        wait_for(lambda: run.output("recording")["images"] > 5, 60)
    assert run.process.returncode == 143
    assert len(names(tmp_path)) == 2
    for name in names(tmp_path):
        with av.open(str(tmp_path / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) > 5


def test_a_folder_for_recordings_that_is_none_is_refused(tmp_path: Path, clip: Path) -> None:
    call("webcam", "--camera", clip, *QUICK, "--to", "null", "--recordings", tmp_path / "no").refused(2, "--recordings", "is no folder")


def test_settings_are_saved_where_they_came_from(tmp_path: Path, clip: Path) -> None:
    """Comments and other options in the file stay; the next run begins so."""
    pytest.importorskip("tomlkit", reason="the extra web is not installed")
    file = tmp_path / "me.toml"
    file.write_text('# mine\nfps = 25  # as the lamp\ndespill = "auto"\nbg = [\n  "green",\n  "blue",\n]\n')
    with steered(clip, "--to", "null", "--config", file) as run:
        run.ask("background", "blue")
        run.ask("mirror", True)
        run.ask("matte", {"grow": -1.5, "despill": None})
        assert run.ask("save")["file"] == str(file)
    text = file.read_text()
    assert "# mine" in text
    assert "# as the lamp" in text
    found = tomllib.loads(text)
    assert (found["bg"], found["mirror"], found["grow"], found["fps"]) == (["blue", "green"], True, -1.5, 25)
    assert "despill" not in found
    with steered(clip, "--to", "null", "--config", file) as again:
        status = again.ask("status")
        assert (status["background"], status["mirror"], status["matte"]["grow"]) == ("blue", True, -1.5)
        file.write_text("no toml [")
        assert "is no TOML" in again.ask("save")["error"]
    with steered(clip, "--to", "null") as without:
        assert "--config FILE" in without.ask("save")["error"]
