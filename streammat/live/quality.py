"""Holds the camera's rate: lowers the quality step by step if the machine cannot keep up, and raises it again if it can.

A step down comes after four seconds of dropped frames, a step up after ten seconds in which the better network would have fitted;
each step up that did not hold doubles that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from streammat.config import LiveOptions, MattingOptions, Quality
from streammat.engines.base import EngineSpec
from streammat.matting.matting import network_sizes

WINDOW: Final = 2.0
"""Seconds over which frames are counted."""
KEPT: Final = 0.9
"""Least share of the camera's frames to show."""
ROOM: Final = 0.7
"""Largest share of a frame's time that the better level may be expected to take."""
_BAD_WINDOWS: Final = 2
_GOOD_SECONDS: Final = 10.0
_LONGEST: Final = 160.0
_QUALITIES: Final[tuple[Quality, ...]] = ("best", "balanced", "fast")


@dataclass(frozen=True)
class QualityLevel:
    """One level of quality, between the requested and the cheapest one."""

    matting: MattingOptions
    decontaminate: bool
    cost: float
    """Cost of network and refinement, in arbitrary units; only the ratio between levels counts."""

    def __str__(self) -> str:
        edges = "" if self.decontaminate else ", plain edges"
        return f"{self.matting.quality}, {self.matting.precision}{edges}"


def levels(options: LiveOptions, spec: EngineSpec, size: tuple[int, int], areas: Sequence[int] = ()) -> tuple[QualityLevel, ...]:
    """Return the levels of quality from best to cheapest: network size first, then refinement.

    Precision is not a level: int8 is used from the start if the CPU and the model allow it, unless fp32 was requested.

    Args:
        options: the requested options: the first level.
        spec: spec of the engine opened with them.
        size: (height, width) of the upright frames.
        areas: as in `streammat.matting.matting.network_sizes`.
    """
    matting = replace(options.matting, precision=spec.precision)  # type: ignore[arg-type]
    ways = [(matting, options.composite.decontaminate)]
    for quality in _QUALITIES[_QUALITIES.index(matting.quality) + 1 :]:
        if network_sizes(*size, quality, areas) != network_sizes(*size, ways[-1][0].quality, areas):
            ways.append((replace(matting, quality=quality), options.composite.decontaminate))
    if options.composite.decontaminate:
        ways.append((ways[-1][0], False))
    return tuple(QualityLevel(how, edges, _cost(how, edges, size, areas)) for how, edges in ways)


def _cost(matting: MattingOptions, decontaminate: bool, size: tuple[int, int], areas: Sequence[int]) -> float:
    pixels = sum(height * width for height, width in network_sizes(*size, matting.quality, areas))
    return pixels * (1.0 if matting.precision == "int8" else 1.6) * (1.1 if decontaminate else 1.0)


class QualityController:
    """Chooses the level; it has no clock of its own.

    Args:
        steps: as returned by ``levels``.
    """

    def __init__(self, steps: tuple[QualityLevel, ...]) -> None:
        self.steps = steps
        self.index = 0
        self._begin: tuple[float, int, int] | None = None
        self._bad = 0
        self._quiet = 0.0
        self._patience = _GOOD_SECONDS
        self._rose_at: float | None = None

    @property
    def level(self) -> QualityLevel:
        """The current level."""
        return self.steps[self.index]

    def update(self, now: float, captured: int, composed: int, busy_ms: float, rate: float) -> bool:
        """Update the level from the counts so far.

        Args:
            now: seconds, of any steady clock.
            captured: frames from the camera since the run began.
            composed: frames of these that were shown.
            busy_ms: time of the slowest stage per frame.
            rate: the camera's frames per second.

        Returns:
            True if the level has changed.
        """
        if self._begin is None:
            self._begin = (now, captured, composed)
            return False
        begin, captured_before, composed_before = self._begin
        if now - begin < WINDOW:
            return False
        self._begin = (now, captured, composed)
        came, went = captured - captured_before, composed - composed_before
        if came < WINDOW:  # the camera is away
            return False
        if went < KEPT * came:
            self._bad += 1
            self._quiet = 0.0
        else:
            self._bad = 0
            self._quiet += now - begin
        if self._bad >= _BAD_WINDOWS and self.index + 1 < len(self.steps):
            return self._down(now)
        return self._may_rise(busy_ms, min(rate, came / (now - begin))) and self._up(now)

    def restart(self) -> None:
        """Restart the counts, after the network was exchanged."""
        self._begin = None

    def _down(self, now: float) -> bool:
        if self._rose_at is not None and now - self._rose_at < 2 * self._patience:
            self._patience = min(_LONGEST, 2 * self._patience)
        self.index += 1
        self._bad, self._quiet, self._rose_at = 0, 0.0, None
        return True

    def _may_rise(self, busy_ms: float, rate: float) -> bool:
        if self.index == 0 or self._quiet < self._patience:
            return False
        expected = busy_ms * self.steps[self.index - 1].cost / self.level.cost
        return expected < ROOM * 1000.0 / rate

    def _up(self, now: float) -> bool:
        self.index -= 1
        self._bad, self._quiet, self._rose_at = 0, 0.0, now
        return True
