"""Measures of mattes, frame by frame, and the reasons to check a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

AlphaMap = NDArray[np.float32]
"""Reduced alpha: (h, w), 0..1."""

JUMP: Final = 0.25
"""Difference of two areas, as a share of the larger one, from which it is a jump."""
EMPTY: Final = 0.002
"""Largest area, as a share of the frame, of a frame without a subject..."""
THERE: Final = 0.01
"""...and least area of a frame with one."""
HOLES: Final = 0.02
"""Rise of the share of holes in the subject since the frame before, from which to check."""
UNSURE: Final = 0.6
"""Confidence below which to check a frame."""
CLIPPED: Final = 0.08
"""Rise of the share of the left, right and upper edge that the subject touches, from which to check."""
CUT: Final = 0.18
"""Mean difference of luma, 0..1, from which there is a cut: nothing is compared across it."""
_STILL: Final = 6 / 255
"""Largest difference of luma of a still pixel."""
_GREY: Final = np.array((0.299, 0.587, 0.114), np.float32)

COLUMNS: Final = ("area", "confidence", "flicker", "edge", "holes", "clipped")
"""Names of the numbers of `Measures` in files."""


@dataclass(frozen=True)
class Measures:
    """Measures of one frame's matte."""

    area: float
    """Mean alpha: the subject's share of the frame."""
    confidence: float
    """Mean of \\|2 alpha - 1\\| where alpha is 0.1 or more: 1 where the matte is decided; 1 where there is no subject."""
    flicker: float
    """Root mean square change of alpha where the image is still (dtSSD without motion); 0 after a cut."""
    edge: float
    """Length of the outline relative to a disc of the same area: 1 for a disc, larger if ragged or scattered."""
    holes: float
    """Area of holes relative to the subject's."""
    clipped: float
    """Share of the left, right and upper edge of the frame that the subject touches."""
    cut: bool = False
    """True if a new scene begins here."""
    reasons: dict[str, float] = field(default_factory=dict)
    """Reasons to check the frame, with their severity, 0..1."""


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
