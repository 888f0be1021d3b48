"""The contracts of live sources, live outputs and sources of sound, over every implementation; devices and servers are stand-ins."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, write_clip
from running import wait_for
from test_live_sinks import MATTE, FakeCamera, FakeWindows, picture
from test_live_sources import FakeCapture
from test_microphone import Library

from streammat.audio.microphone import Microphone
from streammat.audio.source import FileSound, SoundSource
from streammat.audio.track import Block
from streammat.media.frame import Colour, Frame
from streammat.sinks import Sink
from streammat.sinks.alpha import AlphaSink
from streammat.sinks.null import NullSink
from streammat.sinks.preview import PreviewSink
from streammat.sinks.stream import StreamSink
from streammat.sinks.virtual_camera import VirtualCameraSink
from streammat.sources.camera import CameraSource
from streammat.sources.playback import PlaybackSchedule, PlaybackSource, StreamSource
from streammat.sources.shaper import TIME_BASE, Clock, LiveSource, live_info

SIZE = (96, 128)
SOURCES = {"file": PlaybackSource, "stream": StreamSource, "camera": CameraSource}
SINKS = {"virtual camera": VirtualCameraSink, "preview": PreviewSink, "stream": StreamSink, "alpha": AlphaSink, "null": NullSink}
SOUNDS = {"file": FileSound, "microphone": Microphone}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=SIZE[::-1], frames=12, content="pattern", audio=[Audio()]))


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, clip: str) -> LiveSource:
    if request.param == "file":
        return PlaybackSource(clip, Clock())
    if request.param == "stream":
        return StreamSource(clip, Clock())
    return CameraSource(0, Clock(), opener=lambda number, backend: FakeCapture("mjpg", SIZE, count=10**6))


def test_live_source(source: LiveSource) -> None:
    """Frames of one shape in the order of their capture, stamped on the run's clock; ``stop`` ends them; closing twice is fine."""
    assert type(source) in SOURCES.values()
    assert source.name
    info = source.info
    assert (info.size, info.layout.name, info.time_base, info.rotation, info.colour.range) == (SIZE, "yuv420p", TIME_BASE, 0, 1)
    given = iter(source)
    frames = list(itertools.islice(given, 5))
    assert len(frames) == 5
    for earlier, later in itertools.pairwise(frames):
        assert later.index > earlier.index
        assert later.pts > earlier.pts
    for frame in frames:
        assert (frame.size, frame.layout, frame.colour, frame.time_base) == (SIZE, info.layout, info.colour, TIME_BASE)
        for index, plane in enumerate(frame.planes):
            assert plane.shape == frame.layout.plane_shape(index, *SIZE)
            assert plane.dtype == np.uint8
    source.stop()
    assert len(list(given)) <= 1
    assert all(isinstance(note, str) for note in source.notes)
    source.close()
    source.close()


class FakeRelay:
    """A server that takes everything, in the place of the process that talks to one."""

    open = True

    def __init__(self, *arguments: Any) -> None:
        self.sent, self.closed = 0, False

    def wait(self) -> None: ...

    def hurry(self) -> None: ...

    def send(self, index: int, packet: Any) -> None:
        assert not self.closed
        self.sent += 1

    def close(self) -> None:
        self.closed = True

    kill = close


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sink:
    info = live_info(SIZE, Fraction(30), Colour(5, 2, 2, 1))
    if request.param == "virtual camera":
        return VirtualCameraSink("/dev/video8", info, opener=FakeCamera)
    if request.param == "preview":
        windows = FakeWindows()
        windows.pressed = [-1] * 10
        return PreviewSink(lambda key: None, windows)
    if request.param == "stream":
        monkeypatch.setattr("streammat.sinks.stream.Relay", FakeRelay)
        return StreamSink("rtmp://127.0.0.1/live/key", info, 500, lambda event: None)
    if request.param == "alpha":
        return AlphaSink("alpha:0", info)
    return NullSink(info)


def live(pts: int) -> Frame:
    frame = picture(pts)
    frame.image.pts, frame.image.time_base = pts, TIME_BASE
    return replace(frame, time_base=TIME_BASE)


def test_live_sink(sink: Sink) -> None:
    """Each frame is counted and left as it was; packets are no harm; closing twice is fine, and aborting after it."""
    assert type(sink) in SINKS.values()
    assert sink.content == ("transparent" if isinstance(sink, AlphaSink) else "composite")
    for number in range(4):
        frame = live(3000 * number)
        before = [plane.copy() for plane in frame.planes]
        sink.write(frame, MATTE)
        assert sink.frames == number + 1
        assert all(np.array_equal(old, new) for old, new in zip(before, frame.planes, strict=True))
        sink.copy(av.Packet(b"sound"))
    sink.close()
    notes = list(sink.notes)
    sink.close()
    sink.abort()
    assert sink.notes == notes
    assert all(isinstance(note, str) for note in notes)
    assert sink.frames == 4


def test_live_sink_that_is_aborted(sink: Sink) -> None:
    sink.abort()
    sink.close()
    assert sink.frames == 0


@pytest.fixture(params=SOUNDS)
def sound(request: pytest.FixtureRequest, clip: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundSource]:
    if request.param == "file":
        schedule = PlaybackSchedule()
        schedule.add(time.monotonic(), 0.0)
        yield FileSound(clip, schedule)
        return
    library = Library()
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    yield Microphone("default")
    assert not any(stream.active for stream in library.streams)


def test_sound_source(sound: SoundSource) -> None:
    """Blocks in the order of their times, one array each; nothing after ``close``, and closing twice is fine."""
    assert type(sound) in SOUNDS.values()
    assert sound.name
    assert sound.channels in (1, 2)
    heard: list[Block] = []
    sound.start(heard.append)
    wait_for(lambda: len(heard) >= 4)
    assert sound.alive()
    sound.close()
    count = len(heard)
    time.sleep(0.05)
    sound.close()
    assert len(heard) == count
    for block in heard:
        assert block.samples.shape[1:] == (sound.channels,)
        assert block.samples.dtype == np.float32
        assert len(block.samples) > 0
    assert all(earlier.time < later.time for earlier, later in itertools.pairwise(heard))
