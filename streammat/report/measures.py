"""What a matte measures, frame by frame, and what makes a frame worth a look."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

AlphaMap = NDArray[np.float32]
"""(h, w), 0..1, small."""

JUMP: Final = 0.25
"""Share of the larger of two areas by which they differ, from which on it is a jump."""
EMPTY: Final = 0.002
"""Share of the frame up to which there is no subject..."""
THERE: Final = 0.01
"""...and from which on there certainly is one."""
HOLES: Final = 0.02
"""Share of the subject that is holes, more than in the frame before."""
UNSURE: Final = 0.6
"""Confidence below which a frame is worth a look."""
CLIPPED: Final = 0.08
"""Share of the left, right and upper edge that the subject has come to touch since the frame before."""
CUT: Final = 0.18
"""Mean difference of luma, 0..1, from which on another scene is shown: nothing is compared across it."""
_STILL: Final = 6 / 255
"""Difference of luma up to which the image stands still."""
_GREY: Final = np.array((0.299, 0.587, 0.114), np.float32)

COLUMNS: Final = ("area", "confidence", "flicker", "edge", "holes", "clipped")
"""The numbers of `Measures`, as files name them."""


@dataclass(frozen=True)
class Measures:
    """Of one frame's matte."""

    area: float
    """Mean alpha: share of the frame."""
    confidence: float
    """Mean of \\|2 alpha - 1\\| where alpha is 0.1 or more: 1 where the matte is decided; 1 where there is no subject."""
    flicker: float
    """Root mean square of alpha's change where the image stands still (dtSSD without motion); 0 after a cut."""
    edge: float
    """Length of the outline over that of a disc of the same area: 1 for a disc, more the more ragged or scattered it is."""
    holes: float
    """Area of holes over that of the subject."""
    clipped: float
    """Share of the left, right and upper edge of the frame that the subject touches."""
    cut: bool = False
    """Another scene begins here."""
    reasons: dict[str, float] = field(default_factory=dict)
    """Why the frame is worth a look, with how much so, 0..1."""


class Measuring:
    """Measures the mattes of one stream in the order of their frames."""

    def __init__(self) -> None:
        self._before: tuple[Measures, AlphaMap, AlphaMap] | None = None

    def __call__(self, alpha: AlphaMap, rgb: NDArray[np.uint8]) -> Measures:
        """Measure a frame.

        Args:
            alpha: small and upright, (h, w), 0..1.
            rgb: uint8 (h, w, 3), the same image.
        """
        luma = (rgb.astype(np.float32) @ _GREY) / np.float32(255)
        before = self._before
        if before is not None and before[1].shape != alpha.shape:
            before = None
        cut = before is not None and float(np.abs(luma - before[2]).mean()) > CUT
        now = Measures(
            float(alpha.mean()), _confidence(alpha), 0.0 if before is None or cut else _flicker(alpha, luma, before[1], before[2]), _edge(alpha),
            _holes(alpha), _clipped(alpha), cut,
        )  # fmt: skip
        now.reasons.update(_reasons(now, None if before is None or cut else before[0]))
        self._before = now, alpha, luma
        return now


def _reasons(now: Measures, before: Measures | None) -> dict[str, float]:
    found: dict[str, float] = {}
    if now.area > THERE and now.confidence < UNSURE:
        found["low confidence"] = min(1.0, 0.3 + (UNSURE - now.confidence))
    if before is None:
        return found
    if before.area > THERE and now.area <= EMPTY:
        found["the subject vanishes"] = 1.0
    elif now.area > THERE and before.area <= EMPTY:
        found["a subject appears"] = 1.0
    elif max(now.area, before.area) > THERE and (jump := abs(now.area - before.area) / max(now.area, before.area)) > JUMP:
        found["the area jumps"] = jump
    if now.area > THERE and now.holes - before.holes > HOLES:
        found["holes"] = min(1.0, 0.3 + now.holes - before.holes)
    if now.clipped - before.clipped > CLIPPED:
        found["clipped by the edge"] = min(1.0, 0.2 + now.clipped - before.clipped)
    return found


def _confidence(alpha: AlphaMap) -> float:
    inside = alpha[alpha >= 0.1]
    return float(np.abs(2 * inside - 1).mean()) if inside.size else 1.0


def _flicker(alpha: AlphaMap, luma: AlphaMap, alpha_before: AlphaMap, luma_before: AlphaMap) -> float:
    still = cv2.dilate(cv2.blur(np.abs(luma - luma_before), (3, 3)), np.ones((5, 5), np.uint8)) < _STILL
    changed = (alpha - alpha_before)[still]
    return float(np.sqrt(np.mean(changed * changed))) if changed.size else 0.0


def _edge(alpha: AlphaMap) -> float:
    pixels = float(alpha.sum())
    if pixels < 1:
        return 0.0
    down, right = np.gradient(alpha)
    return float(np.hypot(down, right).sum()) / (2 * math.sqrt(math.pi * pixels))


def _holes(alpha: AlphaMap) -> float:
    pixels = float(alpha.sum())
    if pixels < 1:
        return 0.0
    outside = np.pad((alpha < 0.5).astype(np.uint8), 1, constant_values=1)
    _, labels, parts, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    beyond = labels[0, 0]
    return float(sum(part[cv2.CC_STAT_AREA] for label, part in enumerate(parts) if label not in (0, beyond))) / pixels


def _clipped(alpha: AlphaMap) -> float:
    return float((np.concatenate((alpha[:, 0], alpha[:, -1], alpha[0])) > 0.5).mean())
