"""What watches over a live run: the network is exchanged when it is too slow or broken, and the show goes on meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_parts import ScriptedEngine, Told
from media import write_clip
from running import wait_for

import streammat.jobs.live
import streammat.live.network_exchange
import streammat.live.quality
from streammat.config import LiveOptions, MattingOptions
from streammat.engines.base import EngineError
from streammat.errors import UsageError
from streammat.events import Level
from streammat.jobs.live import LiveRun
from streammat.live.control.commands import Command
from streammat.matting.matting import network_sizes
from streammat.sinks.partial import PartialFile

SIZE = (360, 640)
PAUSE = threading.Event()


class Engines:
    """Stands in for ``open_network``: scripted engines, whose faults depend on how many have been opened before."""

    def __init__(self, *faults: Any) -> None:
        self.faults = list(faults)
        self.opened: list[ScriptedEngine] = []
        self.asked: list[MattingOptions] = []

    def __call__(self, model: object, size: tuple[int, int], rotation: int, options: MattingOptions) -> ScriptedEngine:
        fault = self.faults[min(len(self.opened), len(self.faults) - 1)]
        engine = ScriptedEngine(fault)
        self.asked.append(options)
        self.opened.append(engine)
        return engine


@pytest.fixture
def options(tmp_path: Path) -> LiveOptions:
    clip = write_clip(tmp_path / "in.mp4", size=SIZE[::-1], frames=25, content="pattern")
    return LiveOptions(camera=str(clip), loop=True, outputs=("null",), matting=MattingOptions(quality="best"))


def test_a_network_that_breaks_is_opened_anew(monkeypatch: pytest.MonkeyPatch, options: LiveOptions) -> None:
    def broken(call: int) -> Any:
        return EngineError("broken") if call > 5 else None

    engines, told = Engines(broken, lambda call: None), Told()
    monkeypatch.setattr(streammat.jobs.live, "open_network", engines)
    monkeypatch.setattr(streammat.live.network_exchange, "_REPAIR_SECONDS", 0.3)
    report = LiveRun(replace(options, duration=3.0), told).run()
    assert len(engines.opened) == 2
    assert all(engine.closed for engine in engines.opened)
    assert report.shown["composite"] > 10
    assert report.faults >= 3
    assert told.names.count("fault") == 1  # not once for every frame


def test_a_network_that_is_too_slow_is_exchanged_for_a_smaller_one(monkeypatch: pytest.MonkeyPatch, options: LiveOptions) -> None:
    def slow(call: int) -> None:
        PAUSE.wait(0.15)

    engines, told = Engines(slow, lambda call: None), Told()
    monkeypatch.setattr(streammat.jobs.live, "open_network", engines)
    monkeypatch.setattr(streammat.live.quality, "WINDOW", 0.3)
    job = LiveRun(replace(options, duration=4.0), told)
    job.run()
    assert [options.quality for options in engines.asked[:2]] == ["best", "balanced"]
    assert network_sizes(*SIZE, "balanced") != network_sizes(*SIZE, "best")
    assert "level" in told.names
    assert "balanced" in next(event.message for event in told.events if isinstance(event, Level))


def test_fixed_means_fixed(monkeypatch: pytest.MonkeyPatch, options: LiveOptions) -> None:
    def slow(call: int) -> None:
        PAUSE.wait(0.15)

    engines, told = Engines(slow), Told()
    monkeypatch.setattr(streammat.jobs.live, "open_network", engines)
    monkeypatch.setattr(streammat.live.quality, "WINDOW", 0.3)
    report = LiveRun(replace(options, duration=2.0, fixed=True), told).run()
    assert len(engines.opened) == 1
    assert report.dropped > 0
    assert "level" not in told.names


def test_the_room_takes_a_confirmation(monkeypatch: pytest.MonkeyPatch, options: LiveOptions) -> None:
    monkeypatch.setattr(streammat.jobs.live, "open_network", Engines(lambda call: None))
    told = Told()
    job = LiveRun(options, told)
    runner = threading.Thread(target=job.run)
    runner.start()
    try:
        wait_for(lambda: job.live.progress().composed > 3)
        for command in (Command("pass-through"), Command("pass-through", True)):
            with pytest.raises(UsageError, match="confirm"):
                job.obey(command)
        assert job.obey(Command("status"))["pass-through"] is False
        assert job.obey(Command("pass-through", True, True))["pass-through"] is True
        assert job.obey(Command("pass-through"))["pass-through"] is False  # hiding it takes none
    finally:
        job.stop()
        runner.join()


def test_what_was_opened_is_closed_when_something_cannot_be(monkeypatch: pytest.MonkeyPatch, options: LiveOptions, tmp_path: Path) -> None:
    engines = Engines(lambda call: None)
    monkeypatch.setattr(streammat.jobs.live, "open_network", engines)
    held = PartialFile(tmp_path / "taken.mkv", overwrite=False)
    with pytest.raises(Exception, match="taken"):
        LiveRun(replace(options, outputs=(str(tmp_path / "rec.mkv"), str(tmp_path / "taken.mkv"))), Told())
    held.drop()
    assert engines.opened[0].closed
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
