"""What the page's parts do apart from a browser: images for slow and quick clients, events, the documented commands."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import write_clip
from running import REPOSITORY, call, wait_for
from web_parts import page_run

from streammat.config import MatteControls
from streammat.events import Event, Level, Said, Status
from streammat.live.control.commands import COMMANDS, Command, answer
from streammat.live.control.listeners import SocketListener
from streammat.live.events import Events
from streammat.live.fallback import OutputFrame
from streammat.media.frame import Colour, Frame, layout_of, planes_of

pytest.importorskip("starlette", reason="the extra web is not installed")
sync = pytest.importorskip("websockets.sync.client")

from streammat.web.preview import PASS_THROUGH, WIDTHS, Pace, PreviewEncoder, Tap  # noqa: E402

STATUS = Status(
    fps=30.0, latency_p50_ms=14.1, latency_p99_ms=22.6, captured=301, composed=300, dropped=0, faults=1, outputs_dropped={"null": 0}, engine="openvino",
    precision="bf16", network=(512, 288), background="green", paused=False, pass_through=False, mirror=True, backgrounds=("green", "blur"), quality="best",
    hold_rate=True, lowered=0, cpu_percent=120, rested_percent=0, matte=MatteControls(clip_black=0.1), config=None, outputs=(), recording=False,
    streaming=False, stream=None,
)


def shown(kind: Any = "composite", pts: int = 0, size: tuple[int, int] = (360, 640), luma: int = 120) -> OutputFrame:
    """A flat image."""
    layout = layout_of("yuv420p")
    assert layout is not None
    image = av.VideoFrame(size[1], size[0], layout.name)
    planes = planes_of(image, layout)
    for index, plane in enumerate(planes):
        plane[:] = luma if index == 0 else 128
    return OutputFrame(Frame(image, layout, Colour(5, 1, 1, 1), pts, Fraction(1, 1000), 0, 0, planes), kind, pts)


def test_an_image_is_handed_over_once_for_each_time_that_it_is_asked_for() -> None:
    tap, got = Tap(), []
    tap.put(shown(pts=1))  # nobody looks
    tap.ask(got.append)
    tap.ask(got.append)
    tap.put(shown(pts=2))
    tap.put(shown(pts=3))
    assert [image.frame.pts for image in got if image] == [2, 2]
    tap.ask(got.append)
    tap.close()
    tap.ask(got.append)
    assert got[2:] == [None, None]


def test_a_message_is_a_flag_and_a_jpeg() -> None:
    encode = PreviewEncoder()
    for kind, flag in (("composite", 0), ("card", 0), ("background", 0), ("pass-through", PASS_THROUGH)):
        message = encode(shown(kind, pts=len(kind)), 320)
        assert message[0] == flag
        image = cv2.imdecode(np.frombuffer(message[1:], np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (180, 320, 3)
        assert abs(int(image.mean()) - round((120 - 16) * 255 / 219)) <= 2
    assert encode(shown("composite", pts=len("composite")), 320) is encode(shown("composite", pts=len("composite")), 320)
    assert cv2.imdecode(np.frombuffer(encode(shown(pts=9, size=(90, 120)), 960)[1:], np.uint8), cv2.IMREAD_COLOR).shape == (90, 120, 3)


def test_a_slow_client_gets_smaller_images_and_a_quick_one_larger_again() -> None:
    pace = Pace()
    assert [pace.width(wanted) for wanted in (0, 320, 321, 640, 5000)] == [320, 320, 480, 640, 960]
    for _ in range(10):
        pace.answered(1.0)
    assert pace.width(5000) == WIDTHS[0]
    for _ in range(14):
        pace.answered(0.05)
    assert pace.width(5000) == WIDTHS[0]
    pace.answered(0.05)
    assert pace.width(5000) == WIDTHS[1]
    for _ in range(100):
        pace.answered(0.05)
    assert pace.width(5000) == WIDTHS[-1]


class Target:
    def obey(self, command: Command) -> dict[str, Any]:
        return {"did": command.name}


def test_a_script_on_the_socket_is_told_what_happens(tmp_path: Path) -> None:
    """After it has asked; answers carry the request's id."""
    path = str(tmp_path / "s")
    events = Events(lambda event: None)
    listener = SocketListener(path, Target(), events)
    listener.start()
    try:
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as lines:
            client.connect(path)
            events(Said("before"))
            client.sendall(b'{"command": "events", "id": "a"}\n')
            assert json.loads(lines.readline()) == {"ok": True, "id": "a"}
            events(Said("after"))
            told = json.loads(lines.readline())
            assert (told["event"], told["message"]) == ("said", "after")
            client.sendall(b'{"command": "next", "id": 3}\n')
            assert json.loads(lines.readline()) == {"ok": True, "id": 3, "did": "next"}
            # One that does not read holds nobody up.
            for _ in range(3000):
                events(Said("x" * 1000))
    finally:
        listener.close()


def test_ids_of_answers() -> None:
    assert answer(Target(), '{"command": "next", "id": 1}')["id"] == 1
    assert answer(Target(), '{"command": "explode", "id": "x"}')["id"] == "x"
    for strange in ("[]", "null", f'"{"x" * 100}"', "9" * 100):
        assert "id" not in answer(Target(), f'{{"command": "next", "id": {strange}}}')


def test_who_subscribes_later_is_told_what_was() -> None:
    told: list[Event] = []
    events = Events(told.append)
    for number in range(400):
        events(replace(STATUS, captured=number))
    events(Said("x"))
    later: list[dict[str, Any]] = []
    recent = events.subscribe(later.append)
    assert [event["event"] for event in recent[-2:]] == ["status", "said"]
    assert len(recent) == 301
    events(Level("lower", 1))
    events.unsubscribe(later.append)
    assert len(told) == 402


def test_the_documented_commands_are_those_that_there_are() -> None:
    """And each example in the table is taken."""
    text = (REPOSITORY / "docs/live.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| `(\{[^`]*\})` \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(COMMANDS)
    for name, example in rows:
        assert answer(Target(), example) == {"ok": True, "did": name}


def test_a_run_is_steered_and_watched_by_two_pages(tmp_path: Path) -> None:
    """Through the server of a real run: both are told, and the image that each asks for is the output's."""
    clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=12)
    with page_run(clip, tmp_path, "--bg", "#0000ff", "--bg", "blur") as run:
        cookies = [run.enter()]
        cookies.append(run.enter(run.ask("POST", "/link", {"Cookie": cookies[0], "Origin": run.origin}, b"").json["link"]))

        def opened(path: str, cookie: str) -> Any:
            return sync.connect(f"ws://{run.host}{path}", additional_headers={"Cookie": cookie}, origin=run.origin)

        def image(client: Any) -> tuple[int, np.ndarray]:
            client.send("320")
            message = client.recv(timeout=60)
            return message[0], cv2.imdecode(np.frombuffer(message[1:], np.uint8), cv2.IMREAD_COLOR)

        def until(client: Any, right: Any) -> dict[str, Any]:
            while not right(message := json.loads(client.recv(timeout=60))):
                pass
            return dict(message)

        with opened("/control", cookies[0]) as first, opened("/control", cookies[1]) as second, opened("/preview", cookies[1]) as look:
            started = until(first, lambda message: message.get("event") == "started")
            assert started["size"] == [192, 108]
            wait_for(lambda: image(look)[1][:, :8].mean((0, 1))[0] > 200)  # blue
            first.send('{"command": "background", "value": "#ff0000", "id": 1}')
            assert until(first, lambda message: message.get("id") == 1)["background"] == "#ff0000"
            assert "#ff0000" in until(second, lambda message: message.get("background") == "#ff0000" and "backgrounds" in message)["backgrounds"]
            wait_for(lambda: image(look)[1][:, :8].mean((0, 1))[2] > 200)
            second.send('{"command": "blur-strength", "value": 80, "id": 2}')
            assert until(second, lambda message: message.get("id") == 2)["background"] == "blur:80"
            assert image(look)[0] == 0
            second.send('{"command": "pass-through", "value": true, "confirm": true, "id": 3}')
            assert until(second, lambda message: message.get("id") == 3)["pass-through"] is True
            wait_for(lambda: image(look)[0] == PASS_THROUGH)
            first.send('{"command": "pass-through", "value": false, "id": 4}')
            until(first, lambda message: message.get("id") == 4)
            wait_for(lambda: image(look)[0] == 0)
            first.send('{"command": "quality", "value": "balanced", "id": 5}')
            until(first, lambda message: message.get("id") == 5)
            assert until(first, lambda message: message.get("event") == "level")["message"].startswith("the quality that was asked for: balanced")
            first.send('{"command": "hold-rate", "value": false, "id": 6}')
            assert until(first, lambda message: message.get("id") == 6)["ok"] is True
            assert until(first, lambda message: message.get("event") == "status" and not message["hold-rate"])["quality"] == "balanced"
            first.send('{"command": "matte", "value": {"grow": -1.5, "despill": "auto"}, "id": 8}')
            until(first, lambda message: message.get("id") == 8)
            saved = run.ask("POST", "/settings.toml", {"Cookie": cookies[0], "Origin": run.origin}, b"")
            (tmp_path / "me.toml").write_bytes(saved.body)
            first.send('{"command": "events", "id": 7}')
            assert until(first, lambda message: message.get("id") == 7)["ok"] is True
            # What was saved is what --config reads.
            printed = call("config", "--config", tmp_path / "me.toml").ok().out
            for line in ('bg = ["blur:80", "#0000ff", "#ff0000"]', 'quality = "balanced"', "fixed = true", "grow = -1.5", 'despill = "auto"'):
                assert line in printed


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_what_serves_the_page_gives_way_to_the_run(tmp_path: Path) -> None:
    """By the priority of its threads; commands are obeyed at the run's own."""
    clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=12)
    with page_run(clip, tmp_path) as run:
        headers = {"Cookie": run.enter()}
        with sync.connect(f"ws://{run.host}/preview", additional_headers=headers, origin=run.origin) as look:
            look.send("320")
            look.recv(timeout=60)
        nice: dict[str, list[int]] = {}
        for task in Path(f"/proc/{run.process.pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            nice.setdefault((task / "comm").read_text().strip(), []).append(int(fields[16]))
    lowered = sorted(value for values in nice.values() for value in values if value > os.getpriority(os.PRIO_PROCESS, 0))
    assert len(lowered) == 2, nice  # the server and the encoder


def test_a_page_that_stops_to_read_holds_nobody_up(tmp_path: Path) -> None:
    """It asks for images and takes none; the run, and the images of another page, go on."""
    clip = write_clip(tmp_path / "in.mp4", size=(640, 360), frames=12)
    with page_run(clip, tmp_path) as run:
        headers = {"Cookie": run.enter()}

        def opened(path: str, **options: Any) -> Any:
            return sync.connect(f"ws://{run.host}{path}", additional_headers=headers, origin=run.origin, **options)

        with opened("/preview", max_queue=1, close_timeout=0.2) as stuck, opened("/control", max_queue=1, close_timeout=0.2) as deaf, opened("/preview") as look:
            for _ in range(300):
                stuck.send("960")
            for number in range(300):
                deaf.send(json.dumps({"command": "status", "id": number}))
            seen = run.event("status")["composed"]
            for _ in range(10):
                look.send("320")
                assert look.recv(timeout=60)[0] == 0
            wait_for(lambda: [event for event in run.events if event["event"] == "status"][-1]["composed"] > seen + 10, 60)
