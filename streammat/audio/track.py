"""Sound of a live run on the run's clock: the time of capture of each sample, and one track without holes.

A sound card counts samples with a clock of its own, some tens of parts per million off the computer's, and hands them over
in blocks whose times jitter. ``SampleClock`` finds the steady time behind the jitter, ``AudioBuffer`` keeps the last seconds and
returns the sound of any moment in them, resampled, and ``ChunkReader`` cuts it into chunks that follow the run's clock for as
long as it runs. Where there was no sound there is silence.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""(n, channels), -1..1."""
Times = NDArray[np.float64]
"""(n,) seconds of ``time.monotonic``, growing."""

RATE: Final = 48_000
"""Samples per second of every track that is written."""
CHUNK: Final = 960
"""Samples of a chunk: 20 ms."""
WAIT: Final = 0.5
"""Seconds after which sound that has not arrived becomes silence."""
_KEEP = 8.0  # seconds of sound that a buffer holds
_SETTLE = 0.3  # seconds of blocks from which the time of the first is taken
_FADE = 0.005  # seconds at either end of an unbroken stretch
_TAPS = 16  # samples on either side that a resampled one is made of
_PHASES = 256
REACH: Final = 4 * _TAPS
"""Samples beyond the last one that the resampling filter reads."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of sound as its source delivers it."""

    samples: Samples
    time: float
    """When the first sample was captured, in seconds of ``time.monotonic``."""
    rate: int
    """Samples per second, by the source's own clock."""
    exact: bool = False
    """True if ``time`` has no jitter: a block that does not start where the last one ended begins a new segment."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """``CHUNK`` samples of a track that has no holes."""

    start: int
    """Time of the first sample, in samples of ``RATE`` since the run's clock began."""
    samples: Samples


class SampleClock:
    """Estimates when each sample was captured or will be played, from block times with jitter.

    A delay-locked loop of second order (F. Adriaensen, "Using a DLL to filter time", Linux Audio Conference 2005): it follows a
    drifting clock without a constant error, and its time line is continuous.

    Args:
        rate: samples per second, nominal.
        time: of sample 0, seconds.
        period: seconds per sample, if known more precisely.
        exact: times have no jitter and the rate is the nominal one: nothing is tracked.
    """

    _SLACK, _PATIENCE = 0.02, 0.5  # a block so far off, for so long, all to the same side: samples were lost
    _LIMIT = 0.01  # seconds; what is farther off counts as this
    _WIDE, _NARROW = 0.1, 0.02  # Hz: quick at first, then deaf to jitter

    def __init__(self, rate: int, time: float, *, period: float | None = None, exact: bool = False) -> None:
        self.period = period or 1.0 / rate
        self.index = 0
        """Index of the next sample."""
        self.time = time
        """Time of sample ``index``, in seconds."""
        self._nominal = 1.0 / rate
        self._exact = exact
        self._age = 0.0
        self._strays: list[float] = []
        self._stray_seconds = 0.0
        self._anchors: deque[tuple[float, int]] = deque([(time, 0)])

    def add(self, count: int, seen: float) -> None:
        """Add a block of ``count`` samples whose first was observed at ``seen`` seconds."""
        length = count * self.period
        error = seen - self.time
        if not self._exact:
            self._watch(error, length)
            error = min(self._LIMIT, max(-self._LIMIT, error))
            omega = 2 * math.pi * max(self._NARROW, self._WIDE / (1 + self._age / 5)) * length
            self.time += math.sqrt(2) * omega * error
            self.period += omega * omega * error / count
            self.period = min(1.005 * self._nominal, max(0.995 * self._nominal, self.period))
        self.time += length
        self.index += count
        self._age += length
        self._anchors.append((self.time, self.index))
        while self._anchors[0][0] < self.time - _KEEP - 1:
            self._anchors.popleft()

    @property
    def strayed(self) -> float | None:
        """Return the lasting offset of the observed times in seconds; None if there is none."""
        return float(np.median(self._strays)) if self._stray_seconds >= self._PATIENCE else None

    @property
    def ppm(self) -> float:
        """Rate error of the source against its nominal rate, in parts per million; positive: faster."""
        return (self._nominal / self.period - 1) * 1e6

    def positions(self, times: Times) -> NDArray[np.float64]:
        """Return the fractional sample positions of ``times``, seconds of ``time.monotonic``, counted from sample 0; of the same shape."""
        known = np.array(self._anchors)
        return np.asarray(np.interp(times, known[:, 0], known[:, 1]), np.float64)

    def _watch(self, error: float, length: float) -> None:
        if abs(error) < self._SLACK or (self._strays and (error > 0) != (self._strays[0] > 0)):
            self._strays.clear()
            self._stray_seconds = 0.0
        else:
            self._strays.append(error)
            self._stray_seconds += length


class _Segment:
    """An unbroken stretch of sound."""

    def __init__(self, rate: int, channels: int, clock: SampleClock) -> None:
        self.rate = rate
        self.clock = clock
        self.begin = clock.time
        self.open = True
        self._base = 0
        self._filled = 0
        self._samples: Samples = np.zeros((rate, channels), np.float32)

    def add(self, samples: Samples, seen: float) -> None:
        """Append a block."""
        count = len(samples)
        if self._filled + count > len(self._samples):
            kept = self._samples[max(0, self._filled - round(_KEEP * self.rate)) : self._filled]
            self._base += self._filled - len(kept)
            larger = np.zeros((2 * (len(kept) + count), kept.shape[1]), np.float32)
            larger[: len(kept)] = kept
            self._samples, self._filled = larger, len(kept)
        self._samples[self._filled : self._filled + count] = samples
        self._filled += count
        self.clock.add(count, seen)

    @property
    def end(self) -> float:
        """End of the segment's sound, in seconds."""
        return self.clock.time

    def read(self, times: Times, rate: int) -> Samples:
        """Return the sound at ``times``, which lie within the segment, resampled for ``rate`` samples per second."""
        table = _kernel(min(1.0, rate / self.rate))
        half = table.shape[1] // 2
        places = self.clock.positions(times)
        whole = np.floor(places).astype(np.int64)
        first, last = int(whole[0]) - half + 1, int(whole[-1]) + half + 1
        part = self._part(first, last)
        windows = np.lib.stride_tricks.sliding_window_view(part, 2 * half, axis=0)[whole - whole[0]]
        phase = (places - whole) * _PHASES
        row = phase.astype(np.int64)
        blend = (phase - row).astype(np.float32)[:, None]
        weights = table[row] * (1 - blend) + table[row + 1] * blend
        found: Samples = np.einsum("nct,nt->nc", windows, weights)
        edge = places + 1
        if not self.open:
            edge = np.minimum(edge, self.clock.index - places)
        gain = np.clip(edge / (_FADE * self.rate), 0, 1).astype(np.float32)
        return found * gain[:, None]

    def _part(self, first: int, last: int) -> Samples:
        """Return samples ``first`` to ``last``, zeros where there are none."""
        begin, end = first - self._base, last - self._base
        inside = self._samples[max(0, begin) : max(0, min(end, self._filled))]
        before = min(max(0, -begin), last - first)
        return np.pad(inside, ((before, last - first - before - len(inside)), (0, 0)))


class AudioBuffer:
    """The last seconds of sound, by time of capture; one thread writes, any thread may read.

    Args:
        channels: 1 or 2; other numbers of channels are mixed down, doubled or cut.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.breaks = 0
        """Number of breaks: blocks that did not continue the one before."""
        self.ppm = 0.0
        """Rate error of the source in parts per million; positive: faster than nominal."""
        self._takes: deque[_Segment] = deque()
        self._settling: list[Block] = []
        self._stretch = 1.0  # of the source's sample period, as the last stretch of sound taught it
        self._lock = threading.Lock()

    def feed(self, block: Block) -> None:
        """Add a block from a source."""
        if not len(block.samples):
            return
        samples = mixed(block.samples, self.channels)
        with self._lock:
            if block.exact:
                self._feed_exact(block, samples)
            else:
                self._feed(block, samples)
            while len(self._takes) > 1 and self._takes[0].end < self._takes[-1].end - _KEEP:
                self._takes.popleft()

    def cut(self, *, forget: bool = False) -> None:
        """Begin a new segment: the next samples do not continue the last ones. With ``forget`` they also come from another clock."""
        with self._lock:
            if (take := self._current) is not None:
                take.open = False
            self._settling.clear()
            if forget:
                self._stretch = 1.0

    @property
    def end(self) -> float:
        """End of the buffered sound, in seconds of ``time.monotonic``."""
        with self._lock:
            return self._takes[-1].end if self._takes else -math.inf

    @property
    def runs(self) -> bool:
        """True while the last segment has not ended."""
        with self._lock:
            return self._current is not None

    def read(self, times: Times, rate: int) -> Samples:
        """Return the sound at ``times``, silence where there was none.

        Args:
            times: seconds of ``time.monotonic``.
            rate: samples per second of the reader.
        """
        found = np.zeros((len(times), self.channels), np.float32)
        with self._lock:
            for take in self._takes:
                first, last = np.searchsorted(times, (take.begin, take.end))
                if last > first:
                    found[first:last] = take.read(times[first:last], rate)
        return found

    @property
    def _current(self) -> _Segment | None:
        return self._takes[-1] if self._takes and self._takes[-1].open else None

    def _feed_exact(self, block: Block, samples: Samples) -> None:
        take = self._current
        # Containers round times, to milliseconds at worst.
        if take is None or take.rate != block.rate or abs(block.time - take.end) > 0.005:
            take = self._begin(block.rate, SampleClock(block.rate, block.time, exact=True))
        take.add(samples, block.time)

    def _feed(self, block: Block, samples: Samples) -> None:
        take = self._current
        if take is None or take.rate != block.rate:
            self._settle(block)
            return
        strayed = take.clock.strayed
        if strayed is not None:
            take = self._begin(take.rate, SampleClock(take.rate, take.end + strayed, period=take.clock.period))
        take.add(samples, block.time)
        self._stretch, self.ppm = take.clock.period * take.rate, take.clock.ppm

    def _settle(self, block: Block) -> None:
        """Hold the first blocks until their times together determine when the first one began."""
        if self._settling and self._settling[0].rate != block.rate:
            self._settling.clear()
        self._settling.append(block)
        counts = [len(kept.samples) for kept in self._settling]
        if sum(counts) < _SETTLE * block.rate:
            return
        period = self._stretch / block.rate
        before = np.cumsum([0, *counts[:-1]]) * period
        times = np.array([kept.time for kept in self._settling]) - before
        take = self._begin(block.rate, SampleClock(block.rate, float(np.median(times)), period=period))
        for kept in self._settling:
            take.add(mixed(kept.samples, self.channels), kept.time)
        self._settling.clear()

    def _begin(self, rate: int, clock: SampleClock) -> _Segment:
        if (take := self._current) is not None:
            take.open = False
        self.breaks += bool(self._takes)
        self._takes.append(_Segment(rate, self.channels, clock))
        return self._takes[-1]


class ChunkReader:
    """Cuts an audio buffer into contiguous chunks on a clock that does not drift.

    Args:
        buffer: the buffer to read.
        origin: seconds of ``time.monotonic`` at which sample 0 lies.
        begin: seconds of ``time.monotonic`` of the first chunk.
        wait: seconds after which sound that has not arrived becomes silence.
    """

    def __init__(self, buffer: AudioBuffer, origin: float, begin: float, wait: float = WAIT) -> None:
        self.muted = False
        self.silent = 0
        """Number of samples that are silence because there was no sound."""
        self.peak = 0.0
        """Peak of the last chunk, 0..1, before muting."""
        self._buffer = buffer
        self._origin = origin
        self._wait = wait
        self._next = math.ceil((begin - origin) * RATE)
        self._gain = 1.0

    @property
    def written(self) -> int:
        """Samples written since the run's clock began."""
        return self._next

    def ready(self, now: float) -> Iterator[Chunk]:
        """Yield the chunks whose sound has arrived, or is overdue.

        Args:
            now: seconds of ``time.monotonic``.
        """
        margin = REACH / RATE
        while True:
            end = self._origin + (self._next + CHUNK) / RATE
            if self._buffer.end < end + margin:
                if now < end + self._wait:
                    return
                if self._buffer.runs:
                    self._buffer.cut()  # what comes so late is not the sound of now
            yield self._chunk()

    def _chunk(self) -> Chunk:
        times = self._origin + (self._next + np.arange(CHUNK)) / RATE
        samples = self._buffer.read(times, RATE)
        begin = self._next
        self._next += CHUNK
        self.peak = float(np.abs(samples).max())
        self.silent += CHUNK if self._buffer.end < float(times[-1]) else 0
        gain = 0.0 if self.muted else 1.0
        if gain != 1.0 or self._gain != 1.0:
            samples *= np.linspace(self._gain, gain, CHUNK, dtype=np.float32)[:, None]
            self._gain = gain
        return Chunk(begin, samples)


def mixed(samples: Samples, channels: int) -> Samples:
    """Return samples with ``channels`` channels, 1 or 2: mixed down, doubled, or the first two."""
    found = samples.shape[1]
    if found == channels:
        return samples
    if channels == 1:
        return np.asarray(samples.mean(1, keepdims=True), np.float32)
    return np.repeat(samples, 2, 1) if found == 1 else samples[:, :channels]


@cache
def _kernel(share: float) -> NDArray[Any]:
    """Return the weights of a low-pass filter for each of ``_PHASES`` + 1 positions between two samples: (phases + 1, taps).

    A sinc with a Kaiser window that passes ``share`` of the samples' band, less a twentieth for the filter's slope.
    """
    half = math.ceil(_TAPS / share)
    cutoff = 0.95 * share
    offsets = np.arange(1 - half, half + 1) - np.arange(_PHASES + 1)[:, None] / _PHASES
    window = np.i0(8.0 * np.sqrt(np.clip(1 - (offsets / half) ** 2, 0, 1)))
    table = np.sinc(cutoff * offsets) * window
    weights: NDArray[Any] = (table / table.sum(1, keepdims=True)).astype(np.float32)
    return weights
