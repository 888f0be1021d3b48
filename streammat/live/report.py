"""Measures the latency of a live run's frames."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

import numpy as np

from streammat.stats import Latency

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


def _summary(values: Any) -> Latency:
    if not values.size:
        return Latency(0.0, 0.0, 0.0)
    p50, p99 = np.percentile(values, (50, 99))
    return Latency(round(float(p50), 1), round(float(p99), 1), round(float((values <= 1000 / 30).mean()), 4))
