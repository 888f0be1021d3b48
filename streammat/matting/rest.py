"""Rest of the network: while nothing moves, the last alpha is kept.

The network's input is compared with that of the frame whose alpha is kept, not with the frame before, so that slow movement adds
up until it is detected. Both are compared in cells of 8x8 pixels, after removing changes of the light (one gain per colour). A
frame is still if no cell differs by more than noise, by two measures:

* the mean of the absolute differences in each cell: movement of texture and edges;
* their signed mean, in which noise is reduced to an eighth: somebody who enters slowly in front of a wall of nearly the same
  colour.

The noise is that of the median cell; above `CEILING` stillness cannot be detected, and the network processes every frame. After
`LONGEST` seconds it works in any case.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.matting.temporal import GAP
from streammat.media.planes import FloatPlane

CELL: Final = 8
"""Pixels of the network's input on each side of a cell; the input's sides are multiples of 32."""
LONGEST: Final = Fraction(2, 5)
"""Longest time in seconds for which an alpha is kept; below `streammat.matting.temporal.GAP`, so that the filter over time goes
on.
"""
FLOOR: Final = 6.0
"""Largest mean absolute difference of a still cell, 0..255..."""
TIMES: Final = 1.8
"""...or so many times the noise, whichever is more."""
SIGNED_FLOOR: Final = 4.5
"""Largest signed mean difference of a still cell, 0..255..."""
SIGNED_TIMES: Final = 1.25
"""...in which noise of the pixels is an eighth; noise that neighbours share is more."""
CONTRAST: Final = 40.0
"""Standard deviation of the cells, 0..255, from which the floors apply; below, they are lowered in proportion..."""
LEAST_SCALE: Final = 0.5
"""...down to this factor."""
CEILING: Final = 3.0
"""Most noise, as mean absolute difference, at which stillness can be detected."""
_BLACK: Final = 8.0  # keeps ratios of dark values calm

assert LONGEST < GAP


class Seen:
    """An input of the network, uint8 (h, w, 3), RGB, 0..255, sides multiples of ``CELL``, as it is compared: of a frame that is kept
    this is worked out once.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.image = image
        self.pixels: NDArray[np.float32] = image.astype(np.float32)
        self.cells = _cells(self.pixels).reshape(-1, 3)
        # In a dim image of low contrast small differences matter.
        self.scale = min(1.0, max(LEAST_SCALE, float(self.cells.std()) / CONTRAST))


def _cells(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of each cell, (h, w, 3), of float32 pixels."""
    # Rows first: several times faster than cell by cell.
    height, width, colours = pixels.shape
    rows = np.add.reduce(pixels.reshape(height // CELL, CELL, width * colours), axis=1)
    cells = cv2.resize(rows.reshape(-1, width, colours), (width // CELL, height // CELL), interpolation=cv2.INTER_AREA)
    cells *= np.float32(1 / CELL)
    return np.asarray(cells, np.float32)


def _mean(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over the last axis, of three; three times as fast as ``numpy.mean`` on so short an axis."""
    return (colours[..., 0] + colours[..., 1] + colours[..., 2]) / np.float32(3)


def still(new: Seen, old: Seen) -> bool:
    """Return whether two inputs of the network differ only by noise and a change of the light."""
    if new.image.shape != old.image.shape:
        return False
    gain = np.median((new.cells + _BLACK) / (old.cells + _BLACK), axis=0).astype(np.float32, copy=False)
    signed = float(np.abs(_mean(new.cells - gain * old.cells)).max())
    # Movement mostly shows here, and the noise, which takes longer, is no more than this.
    if signed > max(old.scale * SIGNED_FLOOR, SIGNED_TIMES * CEILING):
        return False
    # By OpenCV's matrix of colours: other ways to give each colour its factor take twice the time and more.
    lit = np.asarray(cv2.transform(old.pixels, np.diag(gain)), np.float32)
    differences = _mean(_cells(np.asarray(cv2.absdiff(new.pixels, lit, lit), np.float32)))
    noise = float(np.median(differences))
    if noise > CEILING:
        return False
    return float(differences.max()) <= max(old.scale * FLOOR, TIMES * noise) and signed <= max(old.scale * SIGNED_FLOOR, SIGNED_TIMES * noise)


class Rest:
    """Keeps the last alpha of one live stream; one thread calls it."""

    def __init__(self) -> None:
        self._kept: tuple[FloatPlane, Seen, Fraction] | None = None
        self._now: Seen | None = None
        self.frames = 0
        """Number of frames for which an alpha was kept."""

    def __call__(self, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane | None:
        """Return the kept alpha for this frame, or None if the network has to process it.

        Args:
            rgb: uint8 (h, w, 3), 0..255, sides multiples of ``CELL``.
            at: the frame's time in seconds, exact.
        """
        self._now = Seen(rgb)
        if self._kept is None:
            return None
        alpha, then, since = self._kept
        if not (0 <= at - since < LONGEST and still(self._now, then)):
            return None
        self.frames += 1
        return alpha

    def keep(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction) -> None:
        """Keep the network's input, uint8 (H, W, 3), and output, float32 (h, w), of the frame at ``at`` seconds; neither array may be
        changed afterwards.
        """
        seen = self._now if self._now is not None and self._now.image is rgb else Seen(rgb)
        self._kept = alpha, seen, at

    def forget(self) -> None:
        """Keep nothing: the last alpha was refused."""
        self._kept = None
