"""The blurred background: the frame's real background, out of focus."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from streammat.engines.gpu.plan import Blurring
from streammat.media.frame import Frame, Matte, Plane
from streammat.media.planes import FloatPlane, full_scale, shrink

STRENGTH: Final = 0.5
"""Default strength, 0..1."""
REACHES: Final = (0.5, 0.12, 0.04)
"""Neighbourhoods that fill the background behind the subject, as shares of the image's height, widest first."""
TRUST: Final = 0.05
"""Share of visible background in a neighbourhood at which it weighs as much as the next wider one."""


class BlurBackground:
    """Blurs the real background without a halo around the subject; one object per thread.

    On a coarse grid the subject is first filled in from what surrounds it (normalised convolution, Knutsson and Westin
    1993, weight 1 - alpha), then all is blurred: the subject is never mixed into the blur.
    """

    def __init__(self, strength: float = STRENGTH) -> None:
        """Set the strength, 0..1, which means a sigma of 0.6 to 6 percent of the image's shorter side."""
        self._share = 0.006 + 0.054 * strength
        self._scratch: dict[tuple[int, int], FloatPlane] = {}

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return colour planes in the frame's layout, in new memory."""
        layout, how = frame.layout, self.blurring(frame)
        cell = how.cell
        room = _visible_background(matte, cell)
        known = [(reach, _box(room, reach)) for reach in how.reaches]
        planes = []
        for index, plane in enumerate(frame.planes[: layout.colour_planes]):
            sx, sy = layout.chroma if index in (1, 2) else (0, 0)
            fx, fy = cell >> sx, cell >> sy
            filled = _filled(shrink(plane, fx, fy).astype(np.float32), room, known)
            blurred = cv2.GaussianBlur(filled, (0, 0), how.sigma, borderType=cv2.BORDER_REPLICATE)
            whole = self._scratch_for((blurred.shape[0] * fy, blurred.shape[1] * fx))
            cv2.resize(blurred, (whole.shape[1], whole.shape[0]), whole, interpolation=cv2.INTER_LINEAR)
            inner = whole[: plane.shape[0], : plane.shape[1]]
            planes.append(cv2.convertScaleAbs(inner) if layout.depth == 8 else np.rint(inner).astype(np.uint16))
        return tuple(planes)

    def blurring(self, frame: Frame) -> Blurring:
        """Return the parameters of ``planes`` for frames like this one."""
        sigma = self._share * min(frame.size)
        cell = _cell(sigma, frame.layout.chroma)
        rows = -(-frame.size[0] // cell)
        return Blurring(cell, sigma / cell, tuple(max(2, round(rows * reach)) for reach in REACHES), TRUST)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _scratch_for(self, shape: tuple[int, int]) -> FloatPlane:
        """Return scratch memory for one plane size; a stream has one or two sizes."""
        if shape not in self._scratch:
            if len(self._scratch) > 3:
                self._scratch.clear()
            self._scratch[shape] = np.empty(shape, np.float32)
        return self._scratch[shape]


def _cell(sigma: float, chroma: tuple[int, int]) -> int:
    """Return pixels per cell, 4 to 32: coarse enough to be quick, fine enough that the blur hides the grid."""
    cell = 4
    while cell < 32 and 2.8 * cell <= sigma:
        cell *= 2
    return max(cell, 1 << max(chroma))


def _visible_background(matte: Matte, cell: int) -> FloatPlane:
    """Return the share of each cell that is background, 0..1, never quite 0."""
    alpha = cv2.dilate(shrink(matte.alpha, cell, cell), np.ones((3, 3), np.uint8))
    room: FloatPlane = 1.0 - alpha.astype(np.float32) * np.float32(1.0 / full_scale(matte.alpha))
    room *= room
    return room + np.float32(1e-5)


def _filled(small: FloatPlane, room: FloatPlane, known: list[tuple[int, FloatPlane]]) -> FloatPlane:
    """Return the background's colours, filled in behind the subject from as near as background is visible."""
    seen = small * room
    guess: FloatPlane = small
    for turn, (reach, weight) in enumerate(known):
        trust = np.float32(TRUST if turn else 0.0)
        guess = (_box(seen, reach) + trust * guess) / (weight + trust)
    return seen + (1 - room) * guess


def _box(values: FloatPlane, reach: int) -> FloatPlane:
    size = (2 * reach + 1, 2 * reach + 1)
    return cv2.blur(values, size, borderType=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)
