"""Keeps one subject of several: one connected part of the matte, followed over time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.errors import UsageError
from streammat.media.frame import Frame, Matte
from streammat.media.planes import full_scale

Which = Literal["all", "largest"] | tuple[int, int]
"""All subjects, the one with the largest area, or the one at (x, y) pixels of the upright image."""


class SubjectMatting:
    """Reduces mattes to one subject.

    Pixels that are at least half opaque form connected parts (8 neighbours); each soft pixel belongs to the nearest part. In the
    first frame the largest part, or the one nearest to a point, is chosen. From then on it is the part that overlaps most with
    the one kept in the frame before, or else the nearest one. People who touch are one part.

    Args:
        matting: frame → matte.
        which: the subject to keep.
    """

    def __init__(self, matting: Callable[[Frame], Matte], which: Which) -> None:
        self._matting = matting
        self._which = which
        self._before: NDArray[np.bool_] | None = None

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame`` with the kept subject only; raises what the other matting raises."""
        matte = self._matting(frame)
        if self._which == "all":
            return matte
        check_inside(self._which, _upright(frame))
        alpha = matte.alpha
        half = alpha > full_scale(alpha) // 2
        count, found, stats, _ = cv2.connectedComponentsWithStats(half.view(np.uint8), connectivity=8)
        if count < 2:
            return matte
        labels = np.asarray(found, np.int32)
        kept: NDArray[np.bool_] = labels == self._choice(labels, np.asarray(stats, np.int32), frame)
        self._before = kept
        if count == 2:
            return matte
        others = half & ~kept
        near, far = _distance(kept), _distance(others)
        return matte.adjusted(np.where(near <= far, alpha, alpha.dtype.type(0)))

    def _choice(self, labels: NDArray[np.int32], stats: NDArray[np.int32], frame: Frame) -> int:
        before = self._before
        if before is None and isinstance(self._which, tuple):
            x, y = self._which
            point = np.zeros(_upright(frame), np.bool_)
            point[y, x] = True
            before = np.ascontiguousarray(np.rot90(point, -frame.rotation))
        if before is None:
            return 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        covered = np.bincount(labels[before], minlength=len(stats))
        covered[0] = 0
        if covered.any():
            return int(np.argmax(covered))
        return int(labels.flat[int(np.argmin(np.where(labels > 0, _distance(before), np.inf)))])


def _upright(frame: Frame) -> tuple[int, int]:
    return frame.size if frame.rotation % 2 == 0 else (frame.size[1], frame.size[0])


def check_inside(which: Which, size: tuple[int, int]) -> None:
    """Check that a point lies inside an upright image of ``size`` (height, width).

    Raises:
        UsageError: it lies outside.
    """
    height, width = size
    if isinstance(which, tuple) and not (which[0] < width and which[1] < height):
        raise UsageError(f"--subject {which[0]},{which[1]}: lies outside the image of {width}x{height}; expected a point in it")


def _distance(part: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance in pixels from each pixel to ``part``."""
    return np.asarray(cv2.distanceTransform(np.logical_not(part).view(np.uint8), cv2.DIST_L2, 3), np.float32)


def parse_subject(text: str) -> Which:
    """Parse ``all``, ``largest`` or ``x,y``.

    Raises:
        UsageError: it is none of these.
    """
    word = text.strip().lower()
    if word == "all":
        return "all"
    if word == "largest":
        return "largest"
    point = re.fullmatch(r"(\d{1,5})\s*,\s*(\d{1,5})", word)
    if point is None:
        raise UsageError(f"--subject {text}: expected all, largest, or a point in pixels, such as 640,360")
    return int(point[1]), int(point[2])
