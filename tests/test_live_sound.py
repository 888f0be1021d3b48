"""Sound in live runs: real files recorded and streamed, microphones and cameras that go away and come back."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer
from live_parts import SIZE, ScriptedCamera, ScriptedEngine, Step, Told
from media import write_clip
from running import QUICK, call, spawn, wait_for
from sound_parts import LiveCard, beep, beeps_in, in_step, offsets, sound_of, write_flashes
from stream_server import StreamServer

import streammat.jobs.live
from streammat.audio.capture import AudioCapture
from streammat.audio.track import RATE
from streammat.config import CompositeOptions, EncodeOptions, LiveOptions, MattingOptions
from streammat.errors import InputError, UsageError
from streammat.events import OutputFailed, Said
from streammat.jobs.live import LiveRun
from streammat.live.background_switcher import BackgroundSwitcher
from streammat.live.control.commands import Command
from streammat.live.fallback import FallbackCompositor
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.outputs.switching import Outputs
from streammat.live.outputs.worker import OutputWorker
from streammat.live.pipeline import Live
from streammat.sinks.file import FileSink
from streammat.sources.shaper import Clock


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network knows that the subject is a disc in the middle, so that its flash is seen."""
    monkeypatch.setattr(streammat.jobs.live, "open_network", lambda *arguments: ScriptedEngine())


@pytest.fixture
def options(tmp_path: Path) -> LiveOptions:
    clip = write_flashes(tmp_path / "in.mp4", seconds=3, size=SIZE[::-1])
    return LiveOptions(camera=str(clip), microphone="file", backgrounds=("black",), fixed=True, matting=MattingOptions(quality="fast"))


# --------------------------------------------------------------------------------------------------------------------
# A file that plays as the camera


def test_flash_and_beep_of_a_file_stay_together_in_its_recordings(tmp_path: Path, options: LiveOptions) -> None:
    codecs = {"rec.mkv": "opus", "rec.mp4": "aac", "rec.mov": "aac", "rec.webm": "opus"}
    report = LiveRun(replace(options, outputs=tuple(str(tmp_path / name) for name in codecs)), Told()).run()
    for name, codec in codecs.items():
        in_step(tmp_path / name, 2)
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.audio[0].codec_context.name == codec
            assert container.streams.audio[0].channels == 2
        samples, rate, begin = sound_of(tmp_path / name)
        assert rate == RATE
        assert begin + len(samples) / rate > 2.7  # up to the end, but for what was on its way
    assert report.sound is not None
    assert report.sound.breaks == 0


@pytest.mark.slow
def test_sound_that_is_late_in_the_file_stays_late(tmp_path: Path, options: LiveOptions) -> None:
    """The other tests can fail."""
    clip = write_flashes(tmp_path / "late.mkv", seconds=3, size=SIZE[::-1], late=0.2, audio="libopus", layout="mono")
    LiveRun(replace(options, camera=str(clip), outputs=(str(tmp_path / "rec.mkv"),)), Told()).run()
    assert np.median(offsets(tmp_path / "rec.mkv")) == pytest.approx(0.2, abs=0.02)
    LiveRun(replace(options, camera=str(clip), outputs=(str(tmp_path / "moved.mkv"),), sound_delay=-200), Told()).run()
    assert np.median(offsets(tmp_path / "moved.mkv")) == pytest.approx(0.0, abs=0.02)
    LiveRun(replace(options, camera=str(clip), outputs=(str(tmp_path / "far.mkv"),), sound_delay=-1000), Told()).run()
    assert np.median(offsets(tmp_path / "far.mkv")) == pytest.approx(0.2, abs=0.02)  # a whole second: the beep before


@pytest.mark.parametrize(("rate", "layout", "audio", "suffix", "late"), [
    (44_100, "mono", "aac", ".mp4", 0.0), (32_000, "stereo", "pcm_s16le", ".mov", 0.0), (48_000, "mono", "flac", ".mkv", 0.12),
])
def test_sound_of_every_kind(tmp_path: Path, options: LiveOptions, rate: int, layout: str, audio: str, suffix: str, late: float) -> None:
    """And sound that is late in its file, moved forward by as much."""
    clip = write_flashes(tmp_path / f"kind{suffix}", seconds=3, size=SIZE[::-1], audio=audio, layout=layout, sound_rate=rate, late=late)
    LiveRun(replace(options, camera=str(clip), outputs=(str(tmp_path / "rec.mkv"),), sound_delay=-1000 * late), Told()).run()
    in_step(tmp_path / "rec.mkv", 2)


def test_a_loop_keeps_its_sound(tmp_path: Path, options: LiveOptions) -> None:
    job = LiveRun(replace(options, loop=True, duration=5, outputs=(str(tmp_path / "rec.mkv"), str(tmp_path / "rec.mp4"))), Told())
    report = job.run()
    for name in ("rec.mkv", "rec.mp4"):
        in_step(tmp_path / name, 3)
    assert report.sound is not None
    assert report.sound.breaks <= 1  # one for each time that it began again


def test_pausing_and_muting_silence_the_sound(tmp_path: Path, options: LiveOptions) -> None:
    job = LiveRun(replace(options, loop=True, outputs=(str(tmp_path / "rec.mkv"),)), Told())
    runner = threading.Thread(target=job.run)
    runner.start()
    try:
        wait_for(lambda: job.status().sound_db is not None)
        assert job.obey(Command("mute"))["muted"] is True
        with pytest.raises(UsageError, match="no microphone"):
            LiveRun(replace(options, microphone=None, outputs=("null",)), Told()).obey(Command("mute"))
        assert job.obey(Command("mute", False))["muted"] is False
        job.obey(Command("pause", True))
        written = job.status().sound.seconds
        wait_for(lambda: job.status().sound.seconds > written + 3)
        assert job.status().muted is False
    finally:
        job.stop()
        runner.join()
    samples, rate, _ = sound_of(tmp_path / "rec.mkv")
    assert np.abs(samples[-2 * rate :]).max() < 1e-3
    assert np.abs(samples).max() > 0.2


# --------------------------------------------------------------------------------------------------------------------
# Devices that go away


class Show:
    """A run of scripted images and a card that works in real time, recorded."""

    def __init__(self, path: Path, steps: list[Step], *, away: int = 0, later: float = 0.0, **card: Any) -> None:
        self.clock = Clock()
        self.cards: list[LiveCard] = []
        self.told = Told()
        self._away, self._card = away, card
        camera = ScriptedCamera(steps, self.clock)
        scenes = BackgroundSwitcher(("black",), CompositeOptions())
        fallback = FallbackCompositor(camera.info, self.clock, scenes.current, lambda error: None)
        sink = FileSink(str(path), camera.info, "composite", EncodeOptions(), tracks=False, live=True, channels=1)
        outlet = OutputWorker("rec", sink, self.clock, capacity=30, failed=lambda name, error: self.told(OutputFailed(name, str(error))), hear=sink.hear)
        self.sound = AudioCapture(self.open(), self.reopen, self.clock, self.told, later=later)
        self.live = Live(camera, camera.reopen, CheckedMatting(ScriptedEngine()), fallback, Outputs([outlet]), self.told, self.sound)

    def open(self) -> LiveCard:
        self.cards.append(LiveCard(lambda times: beep(times, 0.5), origin=self.clock.origin, **self._card))
        return self.cards[-1]

    def reopen(self) -> LiveCard:
        if self._away:
            self._away -= 1
            raise InputError("card: not there")
        return self.open()


def test_sound_goes_on_while_the_camera_is_away(tmp_path: Path) -> None:
    show = Show(tmp_path / "rec.mkv", [("frames", 60), ("lost", 2), ("frames", 60)])
    report = show.live.run(lambda: None, 0.02)
    assert show.told.names == ["camera-lost", "camera-back"]
    samples, rate, begin = sound_of(tmp_path / "rec.mkv")
    beeps = beeps_in(samples, rate, begin)
    steps = np.diff(beeps)
    assert len(beeps) >= 6
    assert np.abs(steps - 0.5).max() < 0.005
    assert report.shown.get("background")
    assert show.cards[0].closed


@pytest.mark.parametrize("later", [0.125, -0.125])
def test_a_delay_moves_sound_back_and_a_negative_one_forward(tmp_path: Path, later: float) -> None:
    Show(tmp_path / "rec.mkv", [("frames", 75)], later=later).live.run(lambda: None, 0.02)
    beats = (np.array(beeps_in(*sound_of(tmp_path / "rec.mkv"))) - 0.6 - later) / 0.5
    assert len(beats) >= 2
    assert np.abs(beats - np.round(beats)).max() * 0.5 < 0.020


def test_a_microphone_that_is_pulled_out_is_found_again_and_the_images_never_stop(tmp_path: Path) -> None:
    show = Show(tmp_path / "rec.mp4", [("frames", 400)], away=1, ppm=100, jitter=0.002)

    def pull() -> None:
        if show.sound.report().seconds > 1.5 and len(show.cards) == 1:
            show.cards[0].pull()

    report = show.live.run(pull, 0.02)
    assert show.told.names == ["microphone-lost", "microphone-back"]
    assert all(card.closed for card in show.cards)
    assert report.sound is not None
    assert report.sound.breaks >= 1
    assert report.sound.silent_seconds > 0.5
    samples, rate, begin = sound_of(tmp_path / "rec.mp4")  # there is no hole in it
    beeps = np.array(beeps_in(samples, rate, begin))
    beats = (beeps - 0.6) / 0.5
    assert np.abs(beats - np.round(beats)).max() * 0.5 < 0.020  # each in its place, before and after
    assert np.diff(beats).max() > 1.5  # and some are missing
    with av.open(str(tmp_path / "rec.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert np.diff(times).max() < 0.5
    assert abs(times[-1] - (begin + len(samples) / rate)) < 0.7


@pytest.mark.slow
def test_a_microphone_that_gives_nothing_is_told_of(tmp_path: Path) -> None:
    show = Show(tmp_path / "rec.mkv", [("frames", 350)])
    show.cards[0]._heard = lambda times: np.zeros(len(times), np.float32)
    show.live.run(lambda: None, 0.02)
    assert any("nothing but silence" in event.message for event in show.told.events if isinstance(event, Said))
    assert show.sound.level is None


# --------------------------------------------------------------------------------------------------------------------
# As processes


def test_killed_recordings_have_their_sound(tmp_path: Path) -> None:
    clip = write_flashes(tmp_path / "talk.mp4", seconds=3, size=(192, 108))
    recordings = ("rec.mkv", "rec.mp4")
    partials = [tmp_path / name.replace("rec.", "rec.partial.") for name in recordings]

    def long_enough(partial: Path) -> bool:
        try:
            with av.open(str(partial)) as container:
                return sum(1 for _ in container.demux(video=0)) > 100
        except (av.FFmpegError, OSError):
            return False

    outputs = [word for name in recordings for word in ("--to", tmp_path / name)]
    with spawn("webcam", "--camera", clip, "--loop", *QUICK, "--json", "--microphone", "file", *outputs) as process:
        wait_for(lambda: all(map(long_enough, partials)), 40)
        process.kill()
        process.communicate(timeout=30)
    for partial in partials:
        with av.open(str(partial)) as container:
            images = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        samples, rate, begin = sound_of(partial)
        assert len(images) > 80
        assert len(beeps_in(samples, rate, begin)) >= 2
        assert abs(begin + len(samples) / rate - images[-1]) < 2.5  # the last fragment may lack either


class Server(StreamServer):
    """Keeps when images turned light and beeps began, for each publisher."""

    def __init__(self, scheme: str) -> None:
        self.sessions: list[tuple[list[tuple[float, bool]], list[tuple[float, Any]]]] = []
        self.codecs: set[str] = set()
        super().__init__(scheme)

    @property
    def images(self) -> int:
        return len(self.sessions[-1][0]) if self.sessions else 0

    def receive(self, container: InputContainer) -> Iterator[None]:
        self.codecs |= {stream.codec_context.name for stream in container.streams}
        lights: list[tuple[float, bool]] = []
        sounds: list[tuple[float, Any]] = []
        self.sessions.append((lights, sounds))
        for frame in container.decode(*container.streams.video, *container.streams.audio):
            if frame.pts is None:
                continue  # RTSP tells times a little later
            at = float(frame.pts * frame.time_base)
            if isinstance(frame, av.VideoFrame):
                plane = frame.planes[0]
                luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
                lights.append((at, bool(luma[plane.height // 2, plane.width // 2] > 130)))
            else:
                sounds.append((at, frame.to_ndarray().mean(0)))
            yield

    def apart(self, number: int) -> list[float]:
        """Of session ``number``, by how many seconds each beep comes after its flash."""
        lights, sounds = self.sessions[number]
        flashes = [at for (_, before), (at, light) in zip(lights, lights[1:], strict=False) if light and not before]
        begin = sounds[0][0]
        beeps = np.array(beeps_in(np.concatenate([part for _, part in sounds]), RATE, begin))
        near = [(flash, beeps[np.abs(beeps - flash) < 0.4]) for flash in flashes]
        return [float(found[0] - flash) for flash, found in near if len(found) == 1]


@pytest.fixture(params=["rtmp", "rtsp"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with closing(Server(request.param)) as made:
        yield made


@pytest.mark.slow
def test_a_stream_has_sound_in_step_before_and_after_its_server_went_away(tmp_path: Path, server: Server) -> None:
    """In a process of its own, because FFmpeg's servers and clients cannot both wait in one; the room is shown, so that its flash is seen."""
    clip = write_flashes(tmp_path / "in.mp4", seconds=4, size=(192, 108))
    with spawn(
        "webcam", "--camera", clip, "--loop", *QUICK, "--json", "--to", server.url, "--microphone", "file", "--bitrate", "500", "--control", "-",
        stdin=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write('{"command": "pass-through", "value": true, "confirm": true}\n')
        process.stdin.flush()
        wait_for(lambda: server.images > 100, 40)
        server.hang_up.set()
        wait_for(lambda: len(server.sessions) == 2 and server.images > 100, 40)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    told = [json.loads(line)["event"] for line in out.splitlines()]
    assert told.index("stream-lost") < told.index("stream-back")
    assert server.codecs == {"h264", "aac"}
    for number in (0, 1):
        found = server.apart(number)
        assert len(found) >= 2
        assert np.median(np.abs(found)) < 0.025  # FLV and RTP round, and an image may be missing


# --------------------------------------------------------------------------------------------------------------------
# What cannot be


def test_refusals(tmp_path: Path) -> None:
    mute = write_clip(tmp_path / "mute.mp4", size=(128, 96), frames=5)
    call("webcam", "--camera", mute, *QUICK, "--to", "null", "--microphone", "file").refused(1, "mute.mp4", "has no sound")
    call("webcam", "--camera", mute, *QUICK, "--to", "null", "--monitor", "default").refused(2, "--monitor", "--microphone")
    call("webcam", "--camera", mute, *QUICK, "--to", "camera", "--to", "preview", "--microphone", "file").refused(2, "camera, preview", "no sound", "--monitor")
    assert call("webcam", "--camera", mute, *QUICK, "--to", "null", "--microphone", "file", "--sound-delay", "5000").code == 2


def test_options_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "me.toml"
    first = call("config", "--microphone", "--to", "null", "--monitor", "Cable", "--sound-delay", "40").ok().out
    assert 'microphone = "default"' in first
    file.write_text(first)
    assert call("config", "--config", file).ok().out == first


def test_lines_for_people(tmp_path: Path) -> None:
    clip = write_flashes(tmp_path / "in.mp4", seconds=1.5, size=(192, 108))
    done = call("webcam", "--camera", clip, *QUICK, "--to", tmp_path / "rec.mkv", "--microphone", "file").ok()
    assert "sound of" in done.err
