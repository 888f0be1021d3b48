"""Estimates the foreground's own colour at soft edges, so that no rim of the old background remains.

Blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): a smooth estimate of foreground and background
colour around each pixel, F' and B', corrected by the pixel's own value:
F = F' + alpha (I - alpha F' - (1 - alpha) B'), which is the frame's own value where alpha is full.

The estimates are made on a coarse grid, plane by plane, from cells that are nearly pure, in two sizes of neighbourhood: the near
one takes precedence, the far one fills in where nothing pure is near, as at the tips of hair. Only the
correction is made at full size, and only for soft pixels, gathered by index: they are a few percent of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.compositing.soft_pixels import SoftPixels
from streammat.engines.gpu.plan import Colouring
from streammat.media.frame import Frame, Matte, Plane
from streammat.media.planes import around, full_scale, resize_alpha, shrink, soft_band

FloatArray = NDArray[np.float32]

NEAR: Final = 2
"""Cells on each side of the near neighbourhood."""
FAR: Final = 9
"""Cells on each side of the far neighbourhood."""
FAINT: Final = 64
"""Alpha within 1/64 of 0 or full scale is not corrected: the difference would be invisible."""
TRUST: Final = 0.02
"""Share of pure cells at which near and far neighbourhood weigh the same."""
_ROW: Final = 4096
"""Soft pixels per row of a map: OpenCV's maps have fewer than 32768 columns."""


class Foreground:
    """The subject's colour in one frame: the frame's own planes, and estimates for soft pixels.

    Attributes:
        own: the frame's colour planes (no alpha plane).
        soft: of each plane, its soft pixels; planes of one size share them.
        values: of each plane, their colour, (n,) float32 in code values, not rounded.
    """

    def __init__(self, own: tuple[Plane, ...], edges: _Edges, values: tuple[FloatArray, ...]) -> None:
        self.own = own
        self.soft = edges.pixels
        self.values = values
        self._edges = edges

    def planes(self) -> tuple[Plane, ...]:
        """Return whole planes, rounded: the frame's own arrays if nothing is soft, otherwise new memory, which the caller may
        keep.
        """
        if not any(map(len, self.soft)):
            return self.own
        planes = tuple(plane.copy() for plane in self.own)
        for plane, soft, values in zip(planes, self.soft, self.values, strict=True):
            soft.put(plane, values)
        return planes

    def over(self, background: Sequence[Plane | int], out: Sequence[Plane]) -> None:
        """Blend with ``background`` into ``out``, which may be the same; both hold planes such as the frame's, whose rows may be
        strided.

        A background of one colour may be given as one code value for each plane, which is faster. So is the same tuple of planes for one
        frame after the other, none of which may have been changed meanwhile.

        The result is the background's bit for bit where alpha at the plane's size is 0, the frame's where it is full, and else
        within half a code value of the exact one.
        """
        backs = self._edges.behind(background)
        for own, soft, values, behind, back, target in zip(self.own, self.soft, self.values, background, backs, out, strict=False):
            if target is not behind:
                np.copyto(target, behind)
            soft.copy_subject(own, target)
            mixed = values - back
            mixed *= soft.share
            mixed += back
            soft.put(target, mixed)


class ForegroundEstimator:
    """Removes the background's colour from soft edges. Between frames it only keeps the positions of the last matte's soft
    pixels, because a matte may be reused while nothing moves.
    """

    def __init__(self) -> None:
        self._edges: _Edges | None = None

    def __call__(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return ``estimate`` as whole planes in the frame's layout.

        Pixels of soft alpha carry the estimate; all others are the frame's own, bit for bit. Where nothing is
        soft, the planes returned are the frame's own arrays; otherwise they are new memory, which the caller may keep.
        """
        return self.estimate(frame, matte).planes()

    def estimate(self, frame: Frame, matte: Matte) -> Foreground:
        """Return the foreground of one frame."""
        layout = frame.layout
        planes = frame.planes[: layout.colour_planes]
        if self._edges is None or self._edges.matte is not matte or self._edges.shapes != [plane.shape for plane in planes]:
            self._edges = _Edges(matte, planes, layout.chroma)
        return _estimated(planes, self._edges, (1 << layout.depth) - 1)

    def of_light(self, light: FloatArray, matte: Matte) -> FloatArray:
        """Return the foreground of an (H, W, 3) floating-point image, whose values are unbounded; the image itself if nothing is
        soft.
        """
        planes = tuple(np.ascontiguousarray(light[:, :, index]) for index in range(3))
        found = _estimated(planes, _Edges(matte, planes, (0, 0)), None).planes()
        return light if found is planes else np.asarray(cv2.merge(found), np.float32)


class _Edges:
    """Positions of a matte's soft pixels in planes of given sizes.

    Args:
        matte: must not be changed.
        planes: colour planes of a frame.
        chroma: of its layout.
    """

    def __init__(self, matte: Matte, planes: Sequence[Plane], chroma: tuple[int, int]) -> None:
        self.matte = matte
        self.shapes = [plane.shape for plane in planes]
        by_shape = {shape: SoftPixels(resize_alpha(matte, (shape[0], shape[1]))) for shape in dict.fromkeys(self.shapes)}
        self.pixels = tuple(by_shape[shape] for shape in self.shapes)
        self._chroma = chroma
        self._behind: tuple[Sequence[Plane | int], list[np.float32 | FloatArray]] | None = None

    def behind(self, background: Sequence[Plane | int]) -> list[np.float32 | FloatArray]:
        """Return the values of ``background`` in each plane's soft pixels, (n,) float32, or its code values; see ``Foreground.over``."""
        if self._behind is None or self._behind[0] is not background or not isinstance(background, tuple):
            values = [
                np.float32(behind) if isinstance(behind, int) else soft.of(behind).astype(np.float32)
                for soft, behind in zip(self.pixels, background, strict=False)
            ]
            self._behind = background, values
        return self._behind[1]

    @cached_property
    def grid(self) -> _Grid | None:
        """Return the coarse grid around the soft pixels; None if there are none."""
        if not any(map(len, self.pixels)):
            return None
        cell = _cell(self.shapes[0][0], self.shapes[0][1], self._chroma)
        weight = shrink(self.matte.alpha, cell, cell).astype(np.float32)
        weight *= 1.0 / full_scale(self.matte.alpha)
        band = soft_band(weight)
        if not band.any():
            return None
        box = around(band, FAR + 1)
        scales = [(cell >> sx, cell >> sy) for sx, sy in (self._chroma if index in (1, 2) else (0, 0) for index in range(len(self.pixels)))]
        places: dict[int, _Places] = {}
        for soft, scale in zip(self.pixels, scales, strict=True):
            if id(soft) not in places:
                places[id(soft)] = _Places(soft, box, scale)
        alpha = weight[box[0] : box[1], box[2] : box[3]]
        sides = _Side(alpha, len(self.pixels)), _Side(1.0 - alpha, len(self.pixels))
        return _Grid(sides, box, scales, [places[id(soft)] for soft in self.pixels])


@dataclass(frozen=True)
class _Grid:
    """Cells around a matte's soft pixels."""

    sides: tuple[_Side, _Side]
    """Weights of subject and background in the cells."""
    box: tuple[int, int, int, int]
    """(y0, y1, x0, x1), in cells of the whole image."""
    scales: list[tuple[int, int]]
    """Pixels per cell of each plane, (horizontal, vertical)."""
    places: list[_Places]
    """Positions of each plane's soft pixels."""


def _estimated(planes: tuple[Plane, ...], edges: _Edges, top: int | None) -> Foreground:
    """Return the foreground of ``planes``, with values up to ``top``, or unbounded."""
    values = tuple(each.of(plane).astype(np.float32) for each, plane in zip(edges.pixels, planes, strict=True))
    grid = edges.grid
    if grid is not None:
        y0, y1, x0, x1 = grid.box
        small = [shrink(plane[y0 * fy : y1 * fy, x0 * fx : x1 * fx], fx, fy) for plane, (fx, fy) in zip(planes, grid.scales, strict=True)]
        for value, places, guess in zip(values, grid.places, _guesses(small, grid.sides), strict=True):
            places.correct(value, *guess, top)
    return Foreground(planes, edges, values)


class _Places:
    """Positions of one plane size's soft pixels on the coarse grid.

    Args:
        soft: the pixels.
        box: (y0, y1, x0, x1) of the grid, in cells. Pixels outside, at most a few that vanish in the mean of a cell, are not
            corrected.
        scale: pixels per cell, (horizontal, vertical).
    """

    def __init__(self, soft: SoftPixels, box: tuple[int, int, int, int], scale: tuple[int, int]) -> None:
        y0, y1, x0, x1 = box
        self._share = soft.share
        shape = -(-len(soft) // _ROW), _ROW
        self._map_x, self._map_y = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        x, y = (target.reshape(-1)[: len(soft)] for target in (self._map_x, self._map_y))
        for line, at, pixels, first in ((x, soft.x, scale[0], x0), (y, soft.y, scale[1], y0)):
            # Smooth: what it is in the middle of each two pixels is enough.
            np.subtract((at | 1).astype(np.float32) * np.float32(1 / pixels), np.float32(0.5 + first), out=line)
        top = full_scale(soft.alpha)
        left = (soft.alpha < top // FAINT) | (soft.alpha > top - top // FAINT)
        left |= (y < -0.5) | (y > y1 - y0 - 0.5)
        left |= (x < -0.5) | (x > x1 - x0 - 0.5)
        self._left = np.flatnonzero(left)

    def correct(self, value: FloatArray, front: FloatArray, back: FloatArray, top: int | None) -> None:
        """Remove the background from ``value``, (n,) values up to ``top`` or unbounded, in place, by estimates on the box's grid."""
        kept = value[self._left]
        f, b = self._at(front), self._at(back)
        value -= b
        np.subtract(f, b, out=b)
        b *= self._share
        value -= b
        value *= self._share
        value += f
        if top is not None:
            np.clip(value, 0, top, out=value)
        value[self._left] = kept

    def _at(self, grid: FloatArray) -> FloatArray:
        """Return (n,) values interpolated between the cells of a grid."""
        found = cv2.remap(grid, self._map_x, self._map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found.reshape(-1)[: self._share.size], np.float32)


def colouring(frame: Frame) -> Colouring:
    """Return the parameters of ``ForegroundEstimator`` for frames like this one."""
    return Colouring(_cell(*frame.size, frame.layout.chroma), NEAR, FAR, TRUST, FAINT)


class _Side:
    """Weights of the coarse grid's cells for one side, subject or background, which depend on the matte alone.

    Args:
        share: share of each cell that is of this side, float32 (h, w) 0..1.
        planes: number of colour planes, all of which have the same weights: one channel each, so that all are blurred together.
    """

    def __init__(self, share: FloatArray, planes: int) -> None:
        square = share * share
        fourth = square * square
        weight = fourth * fourth  # mixed cells hardly count
        weight += np.float32(1e-6)
        far, near = _neighbourhoods(weight)
        self._weight, self._from_far, self._whole = (cv2.merge([each] * planes) for each in (weight, np.float32(TRUST) / far, near + np.float32(TRUST)))

    def guess(self, values: NDArray[Any]) -> Sequence[FloatArray]:
        """Return the smooth colour of this side: of each plane float32 (h, w).

        Args:
            values: planes on the grid, float32 (h, w, planes), or (h, w) if there is one.
        """
        far, near = _neighbourhoods(cv2.multiply(values, self._weight))
        cv2.multiply(far, self._from_far, far)
        cv2.add(far, near, far)
        return tuple(np.asarray(plane, np.float32) for plane in cv2.split(cv2.divide(far, self._whole, far)))


def _neighbourhoods(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the means of the far and of the near neighbourhood of each cell; what lies outside counts as 0."""
    far, near = (cv2.blur(values, (2 * r + 1, 2 * r + 1), borderType=cv2.BORDER_CONSTANT) for r in (FAR, NEAR))
    return far, near


def _guesses(small: Sequence[Plane], sides: tuple[_Side, _Side]) -> list[tuple[FloatArray, FloatArray]]:
    """Return smooth foreground and background of each plane: weighted means around each cell, over the near neighbourhood, and
    the more over the far one the emptier the near one is.

    Args:
        small: planes on the coarse grid, all (h, w): one to three.
        sides: the weights of both sides there.

    Returns:
        For each plane float32 (h, w) of the foreground and of the background.
    """
    values = cv2.merge([plane.astype(np.float32) for plane in small])
    front, back = (side.guess(values) for side in sides)
    return list(zip(front, back, strict=True))


def _cell(height: int, width: int, chroma: tuple[int, int]) -> int:
    """Return the pixels per cell, 4 to 32 by the image's size, so that all grids have about as many cells."""
    pixels = height * width
    cell = 4 if pixels < 300_000 else 8 if pixels < 1_500_000 else 16 if pixels < 6_000_000 else 32
    return max(cell, 2 << max(chroma))
