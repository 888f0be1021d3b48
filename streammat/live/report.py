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
"""What an output is for; ``shown``: somebody sees it at once."""
_RECENT = 300
"""Frames that the status line looks back on: ten seconds at 30 frames per second."""


class LatencyMeter:
    """Delay of each live frame at one output, 4 bytes a frame; one thread adds, any may ask."""

    def __init__(self) -> None:
        self._all = array("f")
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float) -> None:
        """Count one frame that came ``seconds`` after it was captured."""
        self._all.append(seconds * 1000.0)
        self._recent.append(seconds * 1000.0)

    @property
    def count(self) -> int:
        """Frames so far."""
        return len(self._all)

    def recent(self) -> Latency:
        """Latency of about the last ten seconds."""
        return _summary(np.array(list(self._recent)))

    def total(self) -> Latency:
        """Latency of the whole run."""
        return _summary(np.array(self._all[:]))


@dataclass(frozen=True)
class Latency:
    """From the moment a frame arrived from the camera to the moment an output took it."""

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
    """Frames, made-up ones included."""
    dropped: int
    """Frames that it was too slow for."""
    latency: Latency
    error: str | None
    """Why it ended early."""
    notes: tuple[str, ...]
    kind: OutputKind = "shown"


@dataclass(frozen=True)
class LiveReport:
    """Summary of a live run."""

    seconds: float
    captured: int
    """Frames from the camera."""
    shown: dict[str, int]
    """Frames by kind: composite, held, background, card, pass-through."""
    dropped: int
    """Frames that the network or the compositor had no time for."""
    faults: int
    """Frames whose matte could not be made, and frames that could not be drawn."""
    stages: dict[str, dict[str, float]]
    """Own time per frame: ``p50_ms``, ``p99_ms``, ``total_s``."""
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
