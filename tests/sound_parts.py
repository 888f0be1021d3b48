"""A sound card with a clock of its own, clips that flash and beep at once, and a look at where they do so in a recording."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from streammat.audio.track import Block

PITCH = 1000.0
LONG = 0.2
"""Seconds of a flash and its beep."""
FIRST = 0.6
"""Seconds before the first: whole images at 20, 25 and 50 a second."""


def beep(times: NDArray[np.float64], every: float, first: float = FIRST) -> NDArray[np.float32]:
    """What there is to hear at ``times``: a beep of ``LONG`` seconds ``every`` so many, from ``first`` on."""
    phase = np.mod(times - first, every)
    on = (times >= first - 1e-9) & (phase < LONG)
    return (0.5 * np.sin(2 * np.pi * PITCH * phase) * on).astype(np.float32)


class LiveCard:
    """A source of sound that works in real time, and can be pulled out.

    Args:
        card: what it gives; ``start`` is when this is started.
        clock: seconds of ``time.monotonic`` that are 0 to the card.
    """

    def __init__(self, heard: Callable[[NDArray[np.float64]], NDArray[np.float32]], *, channels: int = 1, origin: float = 0.0, **card: Any) -> None:
        self.name = "card"
        self.channels = channels
        self.closed = False
        self._heard, self._card, self._origin = heard, card, origin
        self._out = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, take: Callable[[Block], None]) -> None:
        def work() -> None:
            card = Card(lambda times: self._heard(times - self._origin), start=time.monotonic(), channels=self.channels, **self._card)
            for moment, block in card.blocks(math.inf):
                if self._out.wait(max(0.0, moment - time.monotonic())):
                    return
                take(block)

        self._thread = threading.Thread(target=work, name="streammat-test-card")
        self._thread.start()

    def pull(self) -> None:
        """Pull it out."""
        self._out.set()

    def alive(self) -> bool:
        return not self._out.is_set()

    def close(self) -> None:
        self.closed = True
        self._out.set()
        if self._thread is not None:
            self._thread.join()


class Card:
    """A sound card whose crystal is off by ``ppm`` and whose blocks are seen at times that jitter.

    Args:
        heard: time → what there is to hear.
        jitter: seconds by which a block may be seen early or late.
        start: when it begins.
        lost: spans of time whose samples it loses.
    """

    def __init__(
        self, heard: Callable[[NDArray[np.float64]], NDArray[np.float32]], *, rate: int = 48_000, ppm: float = 0.0, jitter: float = 0.0,
        start: float = 0.0, channels: int = 1, size: int = 480, lost: tuple[tuple[float, float], ...] = (),
    ) -> None:
        self._heard, self._rate, self._jitter, self._start, self._channels, self._size, self._lost = heard, rate, jitter, start, channels, size, lost
        self._true = rate * (1 + ppm * 1e-6)

    def blocks(self, until: float) -> Iterator[tuple[float, Block]]:
        """Each block with the time at which it is handed over."""
        rng = np.random.default_rng(3)
        count = 0
        while True:
            times = self._start + (count + np.arange(self._size)) / self._true
            if times[-1] > until:
                return
            count += self._size
            if any(begin <= times[0] < end for begin, end in self._lost):
                continue
            samples = np.repeat(self._heard(times)[:, None], self._channels, 1)
            seen = float(times[0]) + float(rng.uniform(-self._jitter, self._jitter))
            yield float(times[-1]) + self._jitter, Block(samples, seen, self._rate)


def beeps_in(samples: NDArray[np.float32], rate: int, begin: float = 0.0) -> list[float]:
    """When beeps begin, in seconds; ``samples`` (n,) begin at ``begin``.

    Only whole beeps are found. Each is placed by its middle, so that neither a filter's ringing nor a codec's echo counts; the middle
    of one that was cut short, where a card was pulled or a recording ends, is not where it belongs."""
    width = rate // 100
    whole = samples[: len(samples) // width * width].reshape(-1, width).astype(np.float64)
    loud = np.sqrt((whole**2).mean(1)) > 0.15
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(int), [0]))))
    found = []
    for first, last in edges.reshape(-1, 2):
        if (last - first) * 0.01 < 0.9 * LONG or first == 0 or last == len(loud):
            continue
        power = np.convolve(samples[max(0, (first - 3) * width) : (last + 3) * width].astype(np.float64) ** 2, np.ones(width) / width, "same")
        over = np.flatnonzero(power > 0.5 * power.max())
        middle = (over[0] + over[-1]) / 2 + max(0, (first - 3) * width)
        found.append(begin + middle / rate - LONG / 2)
    return found


def write_flashes(
    path: Path, *, seconds: float, every: float = 1.0, size: tuple[int, int] = (128, 96), rate: int = 25, audio: str = "aac", late: float = 0.0,
    sound_rate: int = 48_000, layout: str = "stereo",
) -> Path:
    """A clip that turns from dark to light while it beeps; its sound is late by ``late`` seconds."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate, options={"preset": "ultrafast", "crf": "12"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = out.add_stream(audio, sound_rate, layout=layout)
        out.start_encoding()
        packets: list[Any] = []
        for index in range(round(seconds * rate)):
            image = av.VideoFrame(*size, "yuv420p")
            bright = lit(index / rate, every)
            for number, plane in enumerate(image.planes):
                plane.update(bytes([(220 if bright else 40) if number == 0 else 128]) * plane.buffer_size)
            image.pts, image.time_base = index, Fraction(1, rate)
            packets += video.encode(image)
        packets += video.encode(None)
        times = np.arange(round(seconds * sound_rate)) / sound_rate
        wave = beep(times - late, every)
        frame = av.AudioFrame.from_ndarray(np.stack([wave] * (2 if layout == "stereo" else 1)), "fltp", layout)
        frame.sample_rate, frame.time_base, frame.pts = sound_rate, Fraction(1, sound_rate), 0
        context = sound.codec_context
        resampler = av.AudioResampler(context.format, context.layout, sound_rate, context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            packets += sound.encode(part)
        packets += sound.encode(None)
        packets.sort(key=lambda packet: (packet.dts or 0) * packet.time_base)
        for packet in packets:
            out.mux(packet)
    return path


def lit(time: float, every: float, first: float = FIRST) -> bool:
    """Whether a clip's image is light at ``time``."""
    return time >= first - 1e-9 and math.fmod(time - first + 1e-9, every) < LONG


def sound_of(path: Path) -> tuple[NDArray[np.float32], int, float]:
    """All of a file's sound as one channel: (samples, rate, time of the first); fails where there is a hole in it."""
    parts: list[NDArray[np.float32]] = []
    begin, rate, count = 0.0, 0, 0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            at = float(frame.pts * frame.time_base)
            if not parts:
                begin, rate = at, frame.sample_rate
            assert abs(at - begin - count / rate) < 0.002, f"a hole at {at}"
            samples = frame.to_ndarray().astype(np.float32)
            mono = samples.mean(0) if samples.shape[0] > 1 else samples.reshape(-1, frame.layout.nb_channels).mean(1)
            parts.append(mono)
            count += frame.samples
    return np.concatenate(parts), rate, begin


def flashes_in(path: Path) -> list[tuple[float, float]]:
    """Each time that the middle of the image turns light: (time of the last dark image, of the first light one)."""
    found: list[tuple[float, float]] = []
    before: tuple[float, bool] | None = None
    with av.open(str(path)) as container:
        for image in container.decode(video=0):
            plane = image.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
            light = bool(luma[plane.height // 2, plane.width // 2] > 130)
            at = float(image.pts * image.time_base)
            if before is not None and light and not before[1]:
                found.append((before[0], at))
            before = (at, light)
    return found


def offsets(path: Path, apart: float = 0.5) -> list[float]:
    """By how many seconds each flash's beep comes after it, where the images before it show when it began."""
    samples, rate, begin = sound_of(path)
    beeps = np.array(beeps_in(samples, rate, begin))
    found = []
    for dark, light in flashes_in(path):
        near = beeps[np.abs(beeps - light) < apart] if len(beeps) else beeps
        if len(near) == 1:
            found.append(float(near[0]) - light if light - dark < 0.05 else float(np.clip(near[0], dark, light)) - float(near[0]))
    return found


def in_step(path: Path, least: int) -> None:
    """Fail where beeps do not come with their flashes, of which there must be ``least``."""
    found = offsets(path)
    assert len(found) >= least
    assert np.abs(found).max() < 0.020
