"""Memory of the real background: the last visible background colour of each part of the image."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.media.planes import FloatPlane

CELLS: Final = (48, 48)
"""Rows and columns of cells, the same for every network: few enough to be cheap, and large enough to average camera noise."""
BACKGROUND: Final = 0.05
"""Largest alpha of a cell that is certainly background."""
SAME: Final = 6.0
"""Largest mean absolute difference of colour, 0..255, at which a cell looks unchanged."""
RATE: Final = 0.1
"""Weight of each new frame in the colour of a known cell."""
LEAST: Final = 0.05
"""Least share of known cells for a judgement."""
_BLACK: Final = 8.0  # keeps ratios of dark values calm


class SeenBackground:
    """The colours of the real background, learnt from shown mattes. It works on cells, so that the network's size may change."""

    def __init__(self) -> None:
        self._colour = np.zeros((*CELLS, 3), np.float32)
        self._known = np.zeros(CELLS, np.bool_)

    def claimed(self, alpha: FloatPlane, cells: FloatPlane) -> float:
        """Return the share of the known, unchanged background that ``alpha`` calls subject.

        Args:
            alpha: float32 (h, w), 0..1.
            cells: the image, as returned by ``cells_of``.

        Returns:
            0..1; 0 if too little is known.
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
        """Learn the colours where a shown matte has background; arguments as for ``claimed``."""
        seen = _shrunk(alpha) <= BACKGROUND
        followed = seen & self._known & (np.abs(cells - self._colour).mean(2) <= SAME)
        self._colour[followed] += RATE * (cells[followed] - self._colour[followed])
        fresh = seen & ~followed
        self._colour[fresh] = cells[fresh]
        self._known |= seen

    def forget(self) -> None:
        """Forget all colours."""
        self._known[:] = False


def cells_of(rgb: NDArray[np.uint8]) -> FloatPlane:
    """Reduce an image of any size, uint8 (H, W, 3), to cells: float32 (48, 48, 3), 0..255."""
    height, width = rgb.shape[:2]
    if not (height % 2 or width % 2) and min(height, width) >= 4 * max(CELLS):
        # To half the size first: a third of the time, since the cells' borders cut through a quarter of the pixels.
        rgb = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return _shrunk(rgb).astype(np.float32)


def _shrunk(plane: NDArray[np.float32] | NDArray[np.uint8]) -> FloatPlane:
    return np.asarray(cv2.resize(plane, CELLS[::-1], interpolation=cv2.INTER_AREA))
