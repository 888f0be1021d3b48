"""The events of a live run and of a batch: one class each, and the JSON that programs read, which does not change."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import get_args

import pytest
from running import REPOSITORY

from streammat import events
from streammat.batch import events as batch
from streammat.config import MatteControls
from streammat.engines.base import EngineSpec
from streammat.stats import LiveReport, MonitorReport, SoundReport

SPEC = EngineSpec("lite", "openvino", "bf16", "cpu", 4, (288, 512), "2025.1", "fastest")
ENGINE = {"model": "lite", "backend": "openvino", "precision": "bf16", "device": "cpu", "threads": 4, "size": [288, 512], "version": "2025.1", "reason": "fastest", "parallel": 1}
STATUS = events.Status(
    fps=30.0, latency_p50_ms=14.1, latency_p99_ms=22.6, captured=301, composed=300, dropped=0, faults=1, outputs_dropped={"null": 0}, engine="openvino",
    precision="bf16", network=(512, 288), background="green", paused=False, pass_through=False, mirror=True, backgrounds=("green", "blur"), quality="best",
    hold_rate=True, lowered=0, cpu_percent=120, rested_percent=7, matte=MatteControls(clip_black=0.1), config=None,
    outputs=(events.OutputStatus("rec.mkv", "recording", "on", 12, 0, None),), recording=True, streaming=False, stream=None,
)
STATUS_JSON = (
    '"fps": 30.0, "latency_p50_ms": 14.1, "latency_p99_ms": 22.6, "captured": 301, "composed": 300, "dropped": 0, "faults": 1, "outputs_dropped": {"null": 0}, '
    '"engine": "openvino", "precision": "bf16", "network": [512, 288], "background": "green", "paused": false, "pass-through": false, "mirror": true, '
    '"backgrounds": ["green", "blur"], "quality": "best", "hold-rate": true, "lowered": 0, "cpu_percent": 120, "rested_percent": 7, '
    '"matte": {"clip-black": 0.1, "clip-white": 1.0, "grow": 0.0, "feather": 0.0, "despeckle": 0, "despill": null}, "config": null, '
    '"outputs": [{"name": "rec.mkv", "kind": "recording", "state": "on", "images": 12, "dropped": 0, "error": null}], '
    '"recording": true, "streaming": false, "stream": null'
)
SOUND, MONITOR = SoundReport("headset", 9.5, 0.1, 1, 12.5), MonitorReport("cable", 120.0, 3.0, 2)
REPORT = LiveReport(10.0, 301, {"composite": 300}, 0, 1, {}, (), ("a note",), SOUND)


def line(event: events.Event) -> str:
    """Its line of ``--json`` and ``--log``, after the name and the time."""
    text = json.dumps(events.json_of(event, 1795819620.15042))
    start = f'{{"event": "{event.event}", "time": 1795819620.15, '
    assert text.startswith(start)
    return text[len(start) : -1]


def test_the_documented_events_are_the_classes() -> None:
    """In the order of docs/live.md; each class has its event's name, and is made somewhere."""
    page = (REPOSITORY / "docs/live.md").read_text(encoding="utf-8").partition("| event | with | when |\n|---|---|---|\n")[2]
    rows = page.partition("\n\n")[0].splitlines()
    assert [name for row in rows for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])] == list(get_args(events.EventName))
    classes = events.Event.__subclasses__()
    assert [each.event for each in classes] == list(get_args(events.EventName))
    assert [each.__name__ for each in classes] == ["".join(word.title() for word in each.event.split("-")) for each in classes]
    code = "".join(path.read_text(encoding="utf-8") for path in Path(events.__file__).parent.rglob("*.py") if path != Path(events.__file__))
    assert [each.__name__ for each in classes if not re.search(rf"\b{each.__name__}\(", code)] == []


@pytest.mark.parametrize(("event", "said"), [
    (STATUS, STATUS_JSON),
    (replace(STATUS, sound_db=None, muted=True, sound=SOUND, monitor=MONITOR), STATUS_JSON + (
        ', "sound_db": null, "muted": true, "sound": {"name": "headset", "seconds": 9.5, "silent_seconds": 0.1, "breaks": 1, "ppm": 12.5}, '
        '"monitor": {"name": "cable", "delay_ms": 120.0, "behind_ms": 3.0, "missed": 2}')),
    (events.Started("webcam", (1280, 720), 30.0, SPEC, ("null",)),
     f'"camera": "webcam", "size": [1280, 720], "fps": 30.0, "engine": {json.dumps(ENGINE)}, "outputs": ["null"]'),
    (events.Reply({"ok": True, "id": 3, "muted": False}), '"ok": true, "id": 3, "muted": false'),
    (events.StreamLost("rtmp://x", "gone"), '"name": "rtmp://x", "message": "gone"'),
    (events.Level("lower", 1), '"message": "lower", "index": 1'),
    (events.OutputEnded("rec.mkv", 12), '"name": "rec.mkv", "images": 12'),
    (events.Ended(SPEC, REPORT), (f'"fps": 30.0, "engine": {json.dumps(ENGINE)}, "seconds": 10.0, "captured": 301, "shown": {{"composite": 300}}, "dropped": 0, '
     '"faults": 1, "stages": {}, "outputs": [], "notes": ["a note"], '
     '"sound": {"name": "headset", "seconds": 9.5, "silent_seconds": 0.1, "breaks": 1, "ppm": 12.5}, "monitor": null')),
])  # fmt: skip
def test_the_json_of_events_stays_as_it_is(event: events.Event, said: str) -> None:
    assert line(event) == said


def test_events_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        STATUS.fps = 1.0  # type: ignore[misc]


def test_the_json_of_a_batch_s_events_stays_as_it_is() -> None:
    shard = batch.ShardEvent("a", 2, "done", "w1", 30, 1)
    assert json.dumps(batch.json_of(shard)) == '{"event": "shard", "shot": "a", "shard": 2, "state": "done", "worker": "w1", "frames": 30, "networks": 1}'
    assert json.dumps(batch.json_of(batch.ShardEvent("a", 2, "started", "w1"))) == '{"event": "shard", "shot": "a", "shard": 2, "state": "started", "worker": "w1"}'
    assert json.dumps(batch.json_of(batch.Planned("a", 40, 2, 0))) == '{"event": "planned", "shot": "a", "frames": 40, "shards": 2, "done": 0}'
    assert json.dumps(batch.json_of(batch.Done("a", 40, ["a.mov"]))) == '{"event": "done", "shot": "a", "frames": 40, "outputs": ["a.mov"]}'
    assert json.dumps(batch.json_of(batch.Failed("a", "no"))) == '{"event": "failed", "shot": "a", "reason": "no"}'
