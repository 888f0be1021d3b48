"""Sound on the run's clock: drifting cards, jitter, losses and gaps, simulated with times that are made up, so that minutes pass in moments."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from sound_parts import FIRST, Card, beep, beeps_in, lit, offsets

from streammat.audio.monitor import Follower
from streammat.audio.track import CHUNK, RATE, AudioBuffer, Block, Chunk, ChunkReader, SampleClock
from streammat.config import EncodeOptions
from streammat.media.frame import Colour, Matte
from streammat.sinks.file import FileSink
from streammat.sources.shaper import Shaper, live_info

ORIGIN = 1000.0  # of the run's clock, as good as any


def cut(blocks: Iterable[tuple[float, Block]], seconds: float, channels: int = 1) -> tuple[ChunkReader, AudioBuffer, NDArray[np.float32], float]:
    """All chunks of ``seconds``, joined, and the time of the first sample on the run's clock."""
    buffer = AudioBuffer(channels)
    reader = ChunkReader(buffer, ORIGIN, ORIGIN)
    chunks: list[Chunk] = []
    for now, block in blocks:
        chunks += reader.ready(now)
        buffer.feed(block)
        chunks += reader.ready(now)
    chunks += reader.ready(ORIGIN + seconds + 1.0)
    starts = [chunk.start for chunk in chunks]
    assert starts == list(range(starts[0], starts[0] + CHUNK * len(chunks), CHUNK)), "chunks follow each other without a hole"
    return reader, buffer, np.concatenate([chunk.samples for chunk in chunks]), starts[0] / RATE


def late(found: list[float], every: float) -> NDArray[np.float64]:
    """Of each beep, by how many seconds it comes after its time."""
    at = np.array(found) - FIRST
    return np.asarray(at - np.round(at / every) * every, np.float64)


def world(every: float) -> Any:
    return lambda times: beep(times - ORIGIN, every)


# --------------------------------------------------------------------------------------------------------------------
# The clock


@pytest.mark.parametrize("ppm", [-300.0, 0.0, 100.0, 2000.0])
def test_the_clock_finds_the_rate_behind_the_jitter(ppm: float) -> None:
    """Over half an hour the time of each block is found to a millisecond, though they are seen up to 8 ms early or late."""
    rate, size = 48_000, 480
    rng = np.random.default_rng(0)
    true = rate * (1 + ppm * 1e-6)
    clock = SampleClock(rate, 0.003)
    worst, rates = 0.0, []
    for number in range(1800 * rate // size):
        actual = number * size / true
        if actual > 60:
            worst = max(worst, abs(clock.time - actual))
            rates.append(clock.ppm)
        clock.add(size, actual + float(rng.uniform(-0.008, 0.008)))
    assert worst < 0.002
    assert abs(float(np.mean(rates)) - ppm) < 2
    assert clock.strayed is None


def test_samples_that_were_lost_are_noticed() -> None:
    clock = SampleClock(48_000, 0.0)
    for number in range(100):
        clock.add(480, number * 0.01)
    for number in range(49):
        clock.add(480, 1.1 + number * 0.01)
    assert clock.strayed is None  # it could be jitter still
    for number in range(49, 52):
        clock.add(480, 1.1 + number * 0.01)
    assert clock.strayed == pytest.approx(0.1, abs=0.01)


# --------------------------------------------------------------------------------------------------------------------
# The track


@pytest.mark.parametrize(("rate", "size", "channels", "ppm"), [(48_000, 480, 1, -2000.0), (44_100, 441, 2, 3000.0), (16_000, 1600, 1, 3000.0), (96_000, 960, 2, -2000.0)])
def test_a_track_does_not_drift(rate: int, size: int, channels: int, ppm: float) -> None:
    """A minute of a card that is off by 2000 or 3000 ppm, 120 to 180 ms in all: as much as half an hour of 67 or 100 ppm."""
    card = Card(world(2.0), rate=rate, ppm=ppm, jitter=0.004, start=ORIGIN + 0.1, channels=channels, size=size)
    reader, buffer, samples, begin = cut(card.blocks(ORIGIN + 60), 60, channels)
    assert samples.shape[1] == channels
    found = late(beeps_in(samples[:, 0], RATE, begin), 2.0)
    assert len(found) == 30
    # While the rate is being learnt a card that is so far off is some milliseconds late.
    assert np.abs(found).max() < 0.015
    assert np.abs(found[-10:]).max() < 0.002
    assert buffer.ppm == pytest.approx(ppm, abs=100)
    assert buffer.breaks == 0
    assert 0 < reader.silent < 0.7 * RATE  # before it began, and after its end


def tone_in(part: NDArray[np.float32], pitch: float) -> tuple[float, float]:
    """Of samples that hold a tone near ``pitch``: its amplitude, and the rest's power below it in dB."""
    t = np.arange(len(part)) / RATE
    fits = []
    for near in pitch * (1 + np.linspace(-2e-3, 2e-3, 81)):
        basis = np.stack([np.sin(2 * np.pi * near * t), np.cos(2 * np.pi * near * t)], 1)
        weights, *_ = np.linalg.lstsq(basis, part.astype(np.float64), rcond=None)
        fits.append((float(np.std(part - basis @ weights)), float(np.hypot(*weights))))
    rest, amplitude = min(fits)
    return amplitude, 20 * float(np.log10(rest / np.std(part)))


def test_pitch_and_loudness_are_kept() -> None:
    """A tone comes out as the same tone, though its card is off and jitters: looked at for a twentieth of a second here and there."""
    card = Card(lambda times: (0.5 * np.sin(2 * np.pi * 3000 * times)).astype(np.float32), rate=44_100, ppm=50, jitter=0.001, start=ORIGIN, size=441)
    _, _, samples, _ = cut(card.blocks(ORIGIN + 41), 40)
    for at in range(20, 40):
        amplitude, rest = tone_in(samples[at * RATE : at * RATE + RATE // 20, 0], 3000)
        assert amplitude == pytest.approx(0.5, rel=0.01)
        assert rest < -35


def test_without_jitter_a_tone_stays_clean() -> None:
    rate = 44_100
    samples = (0.5 * np.sin(2 * np.pi * 3000 * np.arange(rate * 3) / rate)).astype(np.float32)[:, None]
    blocks = [(ORIGIN + (at + 441) / rate, Block(samples[at : at + 441], ORIGIN + at / rate, rate, exact=True)) for at in range(0, len(samples), 441)]
    _, _, made, _ = cut(blocks, 3)
    amplitude, rest = tone_in(made[RATE : RATE + RATE // 4, 0], 3000)
    assert amplitude == pytest.approx(0.5, rel=0.001)
    assert rest < -75


def test_samples_that_the_system_lost_leave_a_gap_of_their_own_length() -> None:
    """What comes after lies where it belongs; nothing is shifted, and the rest of the stretch is as it was."""
    card = Card(world(1.0), jitter=0.001, start=ORIGIN, ppm=80, lost=((ORIGIN + 10.2, ORIGIN + 10.45),))
    _, buffer, samples, begin = cut(card.blocks(ORIGIN + 20), 20)
    found = late(beeps_in(samples[:, 0], RATE, begin), 1.0)
    assert buffer.breaks == 1
    assert np.abs(found).max() > 0.1  # for half a second it could have been jitter
    assert sum(np.abs(found) > 0.005) <= 1
    assert len(found) >= 19


def test_a_device_that_is_away_leaves_silence_and_comes_back_in_its_place() -> None:
    first = list(Card(world(1.0), start=ORIGIN, ppm=200, jitter=0.002).blocks(ORIGIN + 5))
    second = list(Card(world(1.0), rate=44_100, start=ORIGIN + 12, ppm=-200, size=441).blocks(ORIGIN + 20))
    reader, buffer, samples, begin = cut([*first, *second], 20)
    assert buffer.breaks == 1
    found = beeps_in(samples[:, 0], RATE, begin)
    assert [round(at) for at in np.array(found) - FIRST] == [0, 1, 2, 3, 4, 12, 13, 14, 15, 16, 17, 18, 19]
    assert np.abs(late(found, 1.0)).max() < 0.005
    away = samples[round(5.2 * RATE) : round(11.9 * RATE)]
    assert not away.any()
    assert reader.silent / RATE == pytest.approx(7.0, abs=0.6)


def test_a_stretch_begins_and_ends_without_a_click() -> None:
    """A constant, which clicks most, is faded in and out."""
    card = Card(lambda times: np.full(len(times), 0.5, np.float32), start=ORIGIN + 1.0)
    _, _, samples, _ = cut(card.blocks(ORIGIN + 3), 5)
    assert samples.max() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.diff(samples[:, 0])).max() < 0.01
    assert not samples[: round(0.99 * RATE)].any()
    assert not samples[round(3.1 * RATE) :].any()


def test_muting_fades_and_hides_all() -> None:
    buffer, sounds = AudioBuffer(1), list(Card(lambda times: np.full(len(times), 0.5, np.float32), start=ORIGIN).blocks(ORIGIN + 4))
    reader = ChunkReader(buffer, ORIGIN, ORIGIN)
    made: list[Chunk] = []
    for now, block in sounds:
        reader.muted = ORIGIN + 2 < now < ORIGIN + 3
        buffer.feed(block)
        made += reader.ready(now)
    samples = np.concatenate([chunk.samples for chunk in made])[:, 0]
    assert not samples[round(2.05 * RATE) : round(2.9 * RATE)].any()
    assert samples[round(1.5 * RATE)] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(samples)).max() < 0.01


# --------------------------------------------------------------------------------------------------------------------
# In a recording


class Film:
    """A real recording of a made-up run: images that flash by the computer's clock, sound from a card that drifts."""

    def __init__(self, path: Path, rate: int, every: float) -> None:
        self._every, self._rate = every, rate
        self._shaper = Shaper()
        self._sink = FileSink(str(path), live_info((64, 64), Fraction(rate), Colour(1, 1, 1, 1)), "composite", EncodeOptions(), tracks=False, live=True, channels=1)

    def make(self, card: Card, seconds: float, first: float = 0.3) -> None:
        buffer = AudioBuffer(1)
        reader = ChunkReader(buffer, ORIGIN, ORIGIN)
        number = 0
        matte = Matte(np.full((64, 64), 255, np.uint8))
        for now, block in card.blocks(ORIGIN + seconds):
            buffer.feed(block)
            for chunk in reader.ready(now):
                self._sink.hear(chunk)
            while (at := first + number / self._rate) < now - ORIGIN - 0.05:  # images are late by 50 ms
                image = av.VideoFrame(64, 64, "yuv420p")
                for index, plane in enumerate(image.planes):
                    plane.update(bytes([(220 if lit(at, self._every) else 40) if index == 0 else 128]) * plane.buffer_size)
                image.color_range = 1
                image.pts = round(at * 90_000)
                image.time_base = Fraction(1, 90_000)
                self._sink.write(self._shaper(image, image.pts), matte)
                number += 1
        self._sink.close()


def check(path: Path, beeps: int) -> None:
    found = np.array(offsets(path))
    assert len(found) >= beeps - 1
    assert np.abs(found).max() < 0.020
    # No more at the end than at the beginning: nothing adds up.
    assert abs(float(np.median(found[-5:]) - np.median(found[2:7]))) < 0.005


@pytest.mark.parametrize("name", ["rec.mkv", "rec.mp4"])
def test_sound_and_image_stay_together_in_a_recording(tmp_path: Path, name: str) -> None:
    """40 seconds at 4500 ppm add up to 180 ms, as half an hour at 100 ppm does."""
    Film(tmp_path / name, 20, 2.0).make(Card(world(2.0), ppm=4500, jitter=0.003, start=ORIGIN), 40)
    check(tmp_path / name, 20)


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [100.0, -100.0])
def test_half_an_hour(tmp_path: Path, ppm: float) -> None:
    Film(tmp_path / "rec.mkv", 20, 10.0).make(Card(world(10.0), ppm=ppm, jitter=0.003, start=ORIGIN, rate=44_100, size=882), 1800)
    check(tmp_path / "rec.mkv", 180)


# --------------------------------------------------------------------------------------------------------------------
# Passed on, as late as the image


def play(delays: Any, seconds: float, heard: Any, rate: int = 48_000, lag: float = 0.02) -> tuple[NDArray[np.float32], Follower]:
    """What a device is played that asks for 10 ms at a time, with images late by ``delays(time)``."""
    buffer = AudioBuffer(1)
    follower = Follower(buffer, rate)
    blocks = Card(heard, start=ORIGIN, ppm=150, jitter=0.001).blocks(ORIGIN + seconds + 1)
    count = rate // 100
    made = []
    now, pending = ORIGIN, next(blocks)
    for number in range(round(seconds * 100)):
        now = ORIGIN + number / 100
        while pending is not None and pending[0] <= now:
            buffer.feed(pending[1])
            pending = next(blocks, None)
        if number % 100 == 99:
            follower.aim(delays(number / 100))
        made.append(follower.render(now + lag, 1 / rate, count))
    return np.concatenate(made)[:, 0], follower


def test_sound_is_as_late_as_the_image() -> None:
    """80 ms, then 100: it slides there; then 300: it jumps there."""
    samples, follower = play(lambda at: 0.08 if at < 20 else 0.1 if at < 40 else 0.3, 60, world(1.0))
    delays = late(beeps_in(samples, RATE, 0.02), 1.0)
    assert np.median(delays[5:18]) == pytest.approx(0.08, abs=0.002)
    assert np.median(delays[30:38]) == pytest.approx(0.1, abs=0.002)
    assert np.median(delays[45:]) == pytest.approx(0.3, abs=0.002)
    steps = np.abs(np.diff(delays[18:38]))
    assert steps.max() < 0.006  # slowly
    assert follower.delay == pytest.approx(0.3)


def test_jitter_of_the_latency_is_not_followed() -> None:
    rng = np.random.default_rng(0)
    samples, follower = play(lambda at: 0.1 + float(rng.uniform(-0.002, 0.002)), 20, world(1.0))
    delays = late(beeps_in(samples, RATE, 0.02), 1.0)
    assert np.ptp(delays[4:]) < 0.001
    assert follower.delay is not None


def test_changes_cannot_be_heard_as_clicks() -> None:
    """A slow wave has steps of its own steepness only, whatever the delay does."""
    slow = 50.0
    samples, _ = play(
        lambda at: 0.08 if at < 5 else 0.11 if at < 10 else 0.4, 15, lambda times: (0.5 * np.sin(2 * np.pi * slow * times)).astype(np.float32)
    )
    steepest = 0.5 * 2 * np.pi * slow / RATE
    # Over one block of 10 ms a cross-fade adds as much as the two waves are apart.
    assert np.abs(np.diff(samples[2 * RATE :])).max() < steepest + 1.2 / 480


def test_sound_that_comes_later_than_the_image_is_played_as_soon_as_it_is_there() -> None:
    samples, follower = play(lambda at: 0.005, 20, world(1.0), lag=0.05)
    delays = late(beeps_in(samples, RATE, 0.05), 1.0)
    assert follower.least > 0.05
    assert len(delays) >= 17
    assert np.ptp(delays[5:]) < 0.010  # it gives back what it did not need
    assert 0.05 < np.median(delays) < 0.1


def test_before_the_first_measurement_there_is_silence() -> None:
    samples, _ = play(lambda at: 0.1, 0.9, lambda times: np.full(len(times), 0.5, np.float32))
    assert not samples.any()
