"""Latency and losses of a live run."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from streammat.audio.capture import SoundReport
from streammat.audio.monitor import MonitorReport

OutputKind = Literal["shown", "recording", "stream", "null"]
"""Kind of an output; ``shown``: it is watched at once."""
_RECENT = 300
"""Frames in the status line's figures: ten seconds at 30 frames per second."""


class LatencyMeter:
    """Latency of each live frame at one output, 4 bytes per frame; one thread adds, any thread may read."""

    def __init__(self) -> None:
        self._all = array("f")
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float) -> None:
        """Add one frame that was delivered ``seconds`` after its capture."""
        self._all.append(seconds * 1000.0)
        self._recent.append(seconds * 1000.0)

    @property
    def count(self) -> int:
        """Number of frames so far."""
        return len(self._all)

    def recent(self) -> Latency:
        """Return the latency of about the last ten seconds."""
        return _summary(np.array(list(self._recent)))

    def total(self) -> Latency:
        """Return the latency of the whole run."""
        return _summary(np.array(self._all[:]))


@dataclass(frozen=True)
class Latency:
    """Time from a frame's arrival from the camera to its delivery to an output."""

    p50_ms: float
    p99_ms: float
    within_33_ms: float
    """Share of the frames, 0..1."""


def _summary(values: Any) -> Latency:
    if not values.size:
        return Latency(0.0, 0.0, 0.0)
    p50, p99 = np.percentile(values, (50, 99))
    return Latency(round(float(p50), 1), round(float(p99), 1), round(float((values <= 1000 / 30).mean()), 4))


@dataclass(frozen=True)
class OutputReport:
    """Summary of one output."""

    name: str
    written: int
    """Frames written, replacements included."""
    dropped: int
    """Frames dropped because the output was too slow."""
    latency: Latency
    error: str | None
    """The error that ended it early."""
    notes: tuple[str, ...]
    kind: OutputKind = "shown"


@dataclass(frozen=True)
class LiveReport:
    """Summary of a live run."""

    seconds: float
    captured: int
    """Number of frames from the camera."""
    shown: dict[str, int]
    """Number of shown frames by kind: composite, held, background, card, pass-through."""
    dropped: int
    """Number of frames dropped before the network or the compositor."""
    faults: int
    """Number of frames whose matte could not be made or that could not be drawn."""
    stages: dict[str, dict[str, float]]
    """Own time of each stage per frame: ``p50_ms``, ``p99_ms``, ``total_s``."""
    outputs: tuple[OutputReport, ...]
    notes: tuple[str, ...]
    sound: SoundReport | None = None
    """None without a microphone."""
    monitor: MonitorReport | None = None

    @property
    def fps(self) -> float:
        """Live frames per second."""
        live = self.shown.get("composite", 0) + self.shown.get("pass-through", 0)
        return live / self.seconds if self.seconds > 0 else 0.0
