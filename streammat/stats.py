"""Measures the time of a run, stage by stage."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from streammat.media.damage import Damage


class StageClock:
    """Wall time of one stage's own work per frame, without waiting; 4 bytes per frame, so hours of video cost little."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._milliseconds = array("f")

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Time the block as one frame."""
        begin = time.perf_counter()
        yield
        self.add(time.perf_counter() - begin)

    def add(self, seconds: float) -> None:
        """Add one frame that took ``seconds``."""
        self._milliseconds.append(seconds * 1000.0)

    def recent(self, frames: int = 60) -> float:
        """Return the median milliseconds of the last ``frames``; 0 if no frame was timed."""
        values = self._milliseconds[-frames:]
        return float(np.median(values)) if values else 0.0

    def summary(self) -> dict[str, float]:
        """Return ``p50_ms``, ``p99_ms`` and ``total_s``; zeros if no frame was timed."""
        values = np.asarray(self._milliseconds)
        if not values.size:
            return {"p50_ms": 0.0, "p99_ms": 0.0, "total_s": 0.0}
        p50, p99 = np.percentile(values, (50, 99))
        return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "total_s": round(float(values.sum()) / 1000, 3)}


@dataclass(frozen=True)
class Report:
    """Summary of a finished run."""

    frames_in: int
    frames_out: int
    seconds: float
    """Wall time from the first read to the last byte written."""
    stages: dict[str, dict[str, float]]
    """Times by stage: ``p50_ms``, ``p99_ms``, ``total_s``."""
    notes: tuple[str, ...]
    """Notes for the user: tracks left out or transcoded, repaired timestamps."""
    stopped: bool
    """True if ``stop`` ended the run early."""
    damage: tuple[Damage, ...] = ()
    """Damaged parts of the input that were left out or repaired."""

    @property
    def fps(self) -> float:
        """Frames per second from end to end."""
        return self.frames_out / self.seconds if self.seconds > 0 else 0.0

    @property
    def slowest(self) -> str:
        """Name of the stage that took the most time."""
        return max(self.stages, key=lambda name: self.stages[name]["total_s"]) if self.stages else ""
