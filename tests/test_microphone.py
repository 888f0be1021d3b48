"""Sound devices: the library outermost, sounddevice, is faked with devices that work in real time; everything behind it is real."""

from __future__ import annotations

import json
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from media import write_clip
from running import QUICK, call, wait_for
from sound_parts import beep, beeps_in, sound_of

from streammat import doctor
from streammat.audio.capture import AudioCapture
from streammat.audio.microphone import Microphone
from streammat.audio.monitor import Monitor
from streammat.audio.source import FileSound, SoundSource
from streammat.audio.track import RATE, AudioBuffer, Block
from streammat.devices import listing as devices
from streammat.devices import portaudio
from streammat.errors import InputError, OutputError
from streammat.events import Event
from streammat.live.open_source import open_sound
from streammat.sources.playback import PlaybackSchedule
from streammat.sources.shaper import Clock

AHEAD = 5000.0
"""PortAudio's clock is another than Python's."""


class PortAudioError(Exception):
    """As sounddevice's: a message, a number."""


class Stream:
    """As ``sounddevice.InputStream`` and ``OutputStream``, with a thread that calls back every 10 ms."""

    def __init__(self, library: Library, kind: str, *, samplerate: float, device: int, channels: int, dtype: str, latency: Any, callback: Any) -> None:
        found = library.found[device]
        assert dtype == "float32"
        assert 1 <= channels <= found[f"max_{kind}_channels"]
        if device in library.busy:
            raise PortAudioError("Error opening stream: Device unavailable", -9985)
        if samplerate not in library.rates.get(device, (found["default_samplerate"],)):
            raise PortAudioError("Error opening stream: Invalid sample rate", -9997)
        self.rate, self.latency, self.active = samplerate, 0.035 if latency == "high" else latency, False
        self.library, self.kind, self.device, self.channels, self.callback = library, kind, device, channels, callback
        self.thread = threading.Thread(target=self._work, name="streammat-test-portaudio")
        library.streams.append(self)

    @property
    def time(self) -> float:
        return time.monotonic() + AHEAD

    def start(self) -> None:
        if self.device in self.library.broken:
            raise PortAudioError("Error starting stream: Unanticipated host error", -9999)
        self.active = True
        self.thread.start()

    def _work(self) -> None:
        begin, count = time.monotonic(), 0
        size = round(self.rate / 100)
        while self.active:
            moment = begin + count / self.rate
            time.sleep(max(0.0, moment + 0.01 - time.monotonic()))
            if self.device in self.library.pulled:
                self.active = False
                return
            current = self.time
            heard = moment - 0.004  # its own latency
            told = types.SimpleNamespace(
                inputBufferAdcTime=heard + AHEAD + self.library.nonsense, outputBufferDacTime=moment + 0.03 + AHEAD, currentTime=current
            )
            flags = types.SimpleNamespace(input_overflow=False, output_underflow=False)
            samples = np.zeros((size, self.channels), np.float32)
            if self.kind == "input":
                samples[:] = self.library.sound(heard + np.arange(size) / self.rate)[:, None]
                samples.flags.writeable = False
            self.callback(samples, size, told, flags)
            if self.kind == "output":
                self.library.played.append((moment + 0.03, samples))
            count += size

    def abort(self) -> None:
        self.active = False
        if self.thread.ident is not None:
            self.thread.join()

    def close(self) -> None:
        self.active = False


class Library(types.ModuleType):
    """As the module ``sounddevice``."""

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.found: list[dict[str, Any]] = [
            {"name": "Speakers (hw:0,0)", "max_input_channels": 0, "max_output_channels": 2, "default_samplerate": 48000.0},
            {"name": "Headset: USB (hw:1,0)", "max_input_channels": 1, "max_output_channels": 2, "default_samplerate": 44100.0},
            {"name": "Cable", "max_input_channels": 32, "max_output_channels": 32, "default_samplerate": 48000.0},
        ]
        self.default = types.SimpleNamespace(device={"input": 1, "output": 0})
        self.busy: set[int] = set()
        self.broken: set[int] = set()
        self.pulled: set[int] = set()
        self.rates: dict[int, tuple[float, ...]] = {}
        self.streams: list[Stream] = []
        self.played: list[tuple[float, Any]] = []
        self.renewals = 0
        self.nonsense = 0.0
        self.origin = time.monotonic()
        self.sound: Any = lambda times: beep(times - self.origin, 0.5)
        self.query_devices: Any = lambda: self.found

    def InputStream(self, **options: Any) -> Stream:  # noqa: N802
        return Stream(self, "input", **options)

    def OutputStream(self, **options: Any) -> Stream:  # noqa: N802
        return Stream(self, "output", **options)

    def _terminate(self) -> None:
        assert not any(stream.active for stream in self.streams)

    def _initialize(self) -> None:
        self.renewals += 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    made = Library()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    yield made
    for stream in made.streams:
        assert not stream.active, "a stream was left open"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mp4", size=(128, 96), frames=60)


# --------------------------------------------------------------------------------------------------------------------
# Which device


@pytest.mark.parametrize(("text", "kind", "name"), [
    ("default", "input", "Headset: USB (hw:1,0)"), ("DEFAULT", "output", "Speakers (hw:0,0)"), ("1", "output", "Headset: USB (hw:1,0)"),
    ("usb", "input", "Headset: USB (hw:1,0)"), ("cable", "output", "Cable"), ("e", "input", "Headset: USB (hw:1,0)"),
])
def test_devices_by_name_number_and_default(library: Library, text: str, kind: Any, name: str) -> None:
    assert portaudio.find(text, kind).name == name


def test_devices_that_are_not_there(library: Library, clip: Path) -> None:
    webcam = ("webcam", "--camera", clip, *QUICK, "--to", "null", "--microphone")
    call(*webcam, "nobody").refused(1, "microphone nobody", "no such device", "1 headset", "2 cable")
    call(*webcam, "0").refused(1, "microphone 0", "no such device")  # it only plays
    call(*webcam, "default", "--monitor", "nobody").refused(1, "monitor nobody", "0 speakers")
    library.found.clear()
    call(*webcam, "default").refused(1, "none at all", "plug one in")


def test_devices_that_cannot_be_opened(library: Library, clip: Path) -> None:
    webcam = ("webcam", "--camera", clip, *QUICK, "--to", "null", "--microphone")
    library.busy.add(1)
    call(*webcam, "headset").refused(1, "headset", "busy", "close that")
    call(*webcam, "cable", "--monitor", "headset").refused(1, "monitor 1 headset", "busy")
    library.rates[2] = (11_025.0,)
    call(*webcam, "cable").refused(1, "cable", "48000", "hz")

    def broken() -> Any:
        raise PortAudioError("Error querying device -1")

    library.query_devices = broken
    call(*webcam, "cable").refused(1, "portaudio failed", "check the sound system")


def test_without_portaudio_its_cure_is_told(monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = call("webcam", "--camera", clip, *QUICK, "--to", "null", "--microphone")
    done.refused(1, "need PortAudio", "sudo apt install libportaudio2" if sys.platform.startswith("linux") else "pip install")
    assert any("need PortAudio" in problem for problem in devices.find().problems)


def test_a_device_that_refuses_its_own_rate_is_asked_for_others(library: Library) -> None:
    library.rates[1] = (16_000.0, 44_100.5)
    microphone = Microphone("headset")
    assert microphone.rate == 16_000
    microphone.close()


def test_the_lists(library: Library) -> None:
    found = json.loads(call("devices", "--json").ok().out)
    assert found["microphones"] == [
        {"id": 1, "name": "Headset: USB (hw:1,0)", "channels": 1, "rate": 44100}, {"id": 2, "name": "Cable", "channels": 32, "rate": 48000},
    ]
    assert [device["id"] for device in found["monitors"]] == [0, 1, 2]
    shown = call("devices").ok().out
    assert "1  Headset: USB (hw:1,0) (1 channels, 44100 Hz)" in shown


def test_the_doctor_listens(library: Library) -> None:
    state, message = doctor._microphones()
    assert state == "ok"
    assert "dB" in message
    library.sound = lambda times: np.zeros(len(times), np.float32)
    state, message = doctor._microphones()
    assert (state, "nothing but silence" in message) == ("warning", True)
    library.busy |= {1}
    found = doctor._guarded("microphones", doctor._microphones)
    assert (found.state, "busy" in found.message) == ("warning", True)
    library.found.clear()
    assert doctor._microphones()[0] == "warning"


# --------------------------------------------------------------------------------------------------------------------
# What comes of it


@pytest.mark.parametrize("nonsense", [0.0, 0.4, 100.0])
def test_sound_carries_the_time_of_its_capture(library: Library, nonsense: float) -> None:
    """To the device's own clock where it holds; a time in the future, or in another world, is not taken, and half a block is lost."""
    library.nonsense = nonsense
    blocks: list[Block] = []
    microphone = Microphone("headset")
    microphone.start(blocks.append)
    wait_for(lambda: len(blocks) > 150)
    assert microphone.alive()
    microphone.close()
    buffer = AudioBuffer(1)
    for block in blocks:
        buffer.feed(block)
    begin = blocks[20].time
    times = begin + np.arange(RATE) / RATE
    beeps = beeps_in(buffer.read(times, RATE)[:, 0], RATE, begin - library.origin)
    assert beeps
    for at in beeps:
        off = (at - 0.6) % 0.5
        assert min(off, 0.5 - off) < (0.006 if not nonsense else 0.02)


def sources(library: Library, tmp_path: Path) -> list[SoundSource]:
    from sound_parts import write_flashes

    passes = PlaybackSchedule()
    passes.add(time.monotonic(), 0.0)
    return [Microphone("cable"), FileSound(str(write_flashes(tmp_path / "f.mp4", seconds=2)), passes)]


@pytest.mark.parametrize("number", [0, 1])
def test_the_contract_of_sources(library: Library, tmp_path: Path, number: int) -> None:
    """Blocks of 32-bit floats in the order of their times; nothing after the end; ending twice is fine."""
    microphone, file = sources(library, tmp_path)
    (file, microphone)[number].close()
    source = (microphone, file)[number]
    assert source.name
    assert source.channels in (1, 2)
    blocks: list[Block] = []
    source.start(blocks.append)
    wait_for(lambda: len(blocks) > 20)
    assert source.alive()
    source.close()
    count = len(blocks)
    time.sleep(0.1)
    assert len(blocks) == count
    source.close()
    for block in blocks:
        assert block.samples.dtype == np.float32
        assert block.samples.shape[1] == source.channels
        assert np.abs(block.samples).max() <= 1
    times = [block.time for block in blocks]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic()


def test_the_command_records_a_microphone_and_plays_it(library: Library, tmp_path: Path, clip: Path) -> None:
    done = call(
        "webcam", "--camera", clip, *QUICK, "--loop", "--duration", "5", "--json", "--to", tmp_path / "rec.mkv", "--microphone", "headset",
        "--monitor", "cable",
    ).ok()
    ended = json.loads(done.out.splitlines()[-1])
    assert ended["sound"]["name"] == "Headset: USB (hw:1,0)"
    assert ended["sound"]["seconds"] > 4
    samples, rate, begin = sound_of(tmp_path / "rec.mkv")
    assert len(beeps_in(samples, rate, begin)) >= 6
    assert library.renewals >= 1
    assert ended["monitor"]["name"] == "Cable"
    assert max(float(np.abs(samples).max()) for _, samples in library.played) > 0.3


def test_the_monitor_is_as_late_as_the_image(library: Library) -> None:
    clock = Clock()
    sound = AudioCapture(open_sound("headset", None), lambda: Microphone("headset"), clock, print)  # type: ignore[arg-type]
    monitor = Monitor("cable", sound, lambda: 0.2, print)
    sound.start([])
    monitor.start()
    wait_for(lambda: len(library.played) > 450)
    monitor.stop()
    sound.stop()
    begin = library.played[200][0]
    played = np.concatenate([samples[:, 0] for _, samples in library.played[200:]])
    beeps = np.array(beeps_in(played, RATE, begin - library.origin))
    assert len(beeps) >= 3
    delays = (beeps - 0.6) % 0.5
    assert np.abs(delays - 0.2).max() < 0.02
    assert monitor.report().delay_ms == pytest.approx(200, abs=20)


def test_devices_that_are_pulled_out_are_found_again(library: Library) -> None:
    told: list[str] = []

    def emit(event: Event) -> None:
        told.append(event.event)

    clock = Clock()
    sound = AudioCapture(Microphone("headset"), lambda: open_sound("headset", None), clock, emit)  # type: ignore[arg-type]
    monitor = Monitor("cable", sound, lambda: 0.1, emit)
    sound.start([])
    monitor.start()
    wait_for(lambda: sound.level is not None)
    library.pulled |= {1, 2}
    library.broken |= {1, 2}
    wait_for(lambda: {"microphone-lost", "monitor-lost"} <= set(told))
    time.sleep(0.7)
    library.pulled.clear()
    library.broken.clear()
    wait_for(lambda: {"microphone-back", "monitor-back"} <= set(told))
    count = len(library.played)
    wait_for(lambda: len(library.played) > count + 20)
    monitor.stop()
    sound.stop()
    assert library.renewals >= 1


def test_a_monitor_that_waits_too_often_gets_more_time(library: Library) -> None:
    monitor = Monitor("cable", SimpleNamespace(buffer=AudioBuffer(1), muted=False), lambda: None, print)
    monitor.start()
    wait_for(lambda: len(library.played) > 5)
    monitor._missed += 10
    wait_for(lambda: len(library.streams) == 2 and library.streams[1].active)
    monitor.stop()
    assert library.streams[1].latency == pytest.approx(0.07)


def test_errors_are_of_the_right_kind(library: Library) -> None:
    with pytest.raises(InputError):
        portaudio.find("nobody", "input")
    with pytest.raises(OutputError):
        portaudio.find("nobody", "output")
