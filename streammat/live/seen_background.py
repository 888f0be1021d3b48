"""Memory of the real background: the colour of each part of the image while it was seen behind the subject."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.matting.temporal import FloatPlane

CELLS: Final = (48, 48)
"""Rows and columns of cells, the same for every network: few enough to cost nothing, and camera noise is averaged away in each."""
BACKGROUND: Final = 0.05
"""Alpha up to which a cell is background beyond doubt."""
SAME: Final = 6.0
"""Mean absolute difference over the colours, in values of 0..255, up to which a cell looks as it did."""
RATE: Final = 0.1
"""Share of each new frame in the colour of a cell that is known already."""
LEAST: Final = 0.05
"""Share of the cells that must be known, or nothing is said."""
_BLACK: Final = 8.0  # keeps ratios of dark values calm


class SeenBackground:
    """The colours of the room, learnt from mattes that were shown. Works on cells, so that the network may change its size meanwhile."""

    def __init__(self) -> None:
        self._colour = np.zeros((*CELLS, 3), np.float32)
        self._known = np.zeros(CELLS, np.bool_)

    def claimed(self, alpha: FloatPlane, cells: FloatPlane) -> float:
        """The share of the known room that looks as it did and that ``alpha`` calls subject all the same.

        Args:
            alpha: float32 (h, w), 0..1.
            cells: the image, as ``cells_of`` makes it.

        Returns:
            0..1; 0 where too little is known.
        """
        if self._known.mean() < LEAST:
            return 0.0
        now, before = cells[self._known], self._colour[self._known]
        # A change of the light, or of the camera's exposure, is taken out as one gain per colour.
        gain = np.median((now + _BLACK) / (before + _BLACK), axis=0)
        same = np.abs(now - gain * before).mean(1) <= SAME
        shown = _shrunk(alpha)[self._known]
        return float((shown * same).mean())

    def learn(self, alpha: FloatPlane, cells: FloatPlane) -> None:
        """Take the colours of what is background in a matte that is shown; arguments as of ``claimed``."""
        seen = _shrunk(alpha) <= BACKGROUND
        followed = seen & self._known & (np.abs(cells - self._colour).mean(2) <= SAME)
        self._colour[followed] += RATE * (cells[followed] - self._colour[followed])
        fresh = seen & ~followed
        self._colour[fresh] = cells[fresh]
        self._known |= seen

    def forget(self) -> None:
        """Know nothing of it any more."""
        self._known[:] = False


def cells_of(rgb: NDArray[np.uint8]) -> FloatPlane:
    """An image of any size, uint8 (H, W, 3), in cells: float32 (48, 48, 3), 0..255."""
    return _shrunk(rgb).astype(np.float32)


def _shrunk(plane: NDArray[np.float32] | NDArray[np.uint8]) -> FloatPlane:
    return np.asarray(cv2.resize(plane, CELLS[::-1], interpolation=cv2.INTER_AREA))
