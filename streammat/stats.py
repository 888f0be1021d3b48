"""Times of a run, stage by stage, and the summaries of finished runs: of a file, and of live video."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streammat.media.damage import Damage

OutputKind = Literal["shown", "recording", "stream", "null"]
"""Kind of an output; ``shown``: it is watched at once."""


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


@dataclass(frozen=True)
class Latency:
    """Time from a frame's arrival from the camera to its delivery to an output."""

    p50_ms: float
    p99_ms: float
    within_33_ms: float
    """Share of the frames, 0..1."""


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
class SoundReport:
    """Summary of the sound of a run."""

    name: str
    seconds: float
    """Seconds of the tracks that were written."""
    silent_seconds: float
    """Seconds of the tracks that are silence because no sound arrived."""
    breaks: int
    """Number of times that sound was missing, or lost by the sound system."""
    ppm: float
    """Clock error of the sound card against the computer's clock, in parts per million, smoothed; positive: too fast."""


@dataclass(frozen=True)
class MonitorReport:
    """Summary of what was played on a device."""

    name: str
    delay_ms: float
    """Delay between capture and playback at the end of the run, in milliseconds."""
    behind_ms: float
    """Milliseconds by which sound was later than the image, because the sound devices took longer."""
    missed: int
    """Number of times that the device had to wait for sound."""


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
