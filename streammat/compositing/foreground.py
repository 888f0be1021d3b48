"""The foreground's own colour at soft edges, so that no rim of the old background shows on the new one.

Blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): a smooth guess of foreground and
background colour around each pixel, F' and B', corrected by what the pixel itself shows:
F = F' + alpha (I - alpha F' - (1 - alpha) B'), which is the frame's own value where alpha is full.

The guesses are made on a coarse grid, plane by plane, from cells that are nearly pure, in two sizes of
neighbourhood: the near one leads, the far one fills in where nothing pure is near, as at the tips of hair. Only the
correction is made at full size, and only for soft pixels, gathered by index: they are a few percent of an image.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.gpu.plan import Colouring
from streammat.media.frame import Frame, Matte, Plane
from streammat.media.planes import around, full_scale, resize_alpha, shrink, soft_band

FloatArray = NDArray[np.float32]

NEAR: Final = 2
"""Cells on each side of the near neighbourhood."""
FAR: Final = 9
"""Cells on each side of the far neighbourhood."""
FAINT: Final = 64
"""Alpha nearer to 0 or full than one such part of the scale is left alone: what there is to correct cannot be seen."""
TRUST: Final = 0.02
"""Share of pure cells at which near and far neighbourhood weigh the same."""


class ForegroundEstimator:
    """Takes the background's colour out of soft edges. Holds nothing between frames."""

    def __call__(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Colour planes (no alpha plane) of the foreground, in the frame's layout.

        Pixels of soft alpha carry the estimate; all others are the frame's own, bit for bit. Where nothing is
        soft, the planes returned are the frame's own arrays; otherwise they are new memory, which the caller may keep.
        """
        layout = frame.layout
        return self._estimated(frame.planes[: layout.colour_planes], matte, frame.size, layout.chroma, (1 << layout.depth) - 1)

    def of_light(self, light: FloatArray, matte: Matte) -> FloatArray:
        """The same for an (H, W, 3) image of floating point, whose values have no upper end; its own array where nothing is soft."""
        planes = tuple(np.ascontiguousarray(light[:, :, index]) for index in range(3))
        found = self._estimated(planes, matte, (light.shape[0], light.shape[1]), (0, 0), None)
        return light if found is planes else np.dstack(found)

    @staticmethod
    def _estimated(
        planes: tuple[Plane, ...], matte: Matte, size: tuple[int, int], chroma: tuple[int, int], top: int | None
    ) -> tuple[Plane, ...]:
        cell = _cell(*size, chroma)
        weight = shrink(matte.alpha, cell, cell).astype(np.float32)
        weight *= 1.0 / full_scale(matte.alpha)
        band = soft_band(weight)
        if not band.any():
            return planes
        y0, y1, x0, x1 = around(band, FAR + 1)
        box = slice(y0, y1), slice(x0, x1)
        purities = _purity(weight[box])
        soft: dict[tuple[int, ...], _SoftPixels] = {}
        result = []
        for index, plane in enumerate(planes):
            sx, sy = chroma if index in (1, 2) else (0, 0)
            fx, fy = cell >> sx, cell >> sy
            if plane.shape not in soft:
                alpha = resize_alpha(matte, (plane.shape[0], plane.shape[1]))
                soft[plane.shape] = _SoftPixels(alpha, (y0 * fy, y1 * fy, x0 * fx, x1 * fx))
            small = shrink(plane, fx, fy)[box].astype(np.float32)
            guesses = [_spread(small, *purity) for purity in purities]
            result.append(soft[plane.shape].corrected(plane, guesses, top))
        return tuple(result)


class _SoftPixels:
    """The soft pixels of one plane size within a box (y0, y1, x0, x1), by their flat indices.

    Outside the box lie none that matter: at most a few so faint that they vanish in the mean of a cell.
    """

    def __init__(self, alpha: Plane, box: tuple[int, int, int, int]) -> None:
        y0, y1, x0, x1 = box
        inner = alpha[y0:y1, x0:x1]
        least = full_scale(alpha) // FAINT
        # Unsigned: what is below wraps round to the largest values.
        soft = inner - inner.dtype.type(least) < full_scale(alpha) + 1 - 2 * least
        found = np.flatnonzero(soft)
        flat = found.astype(np.int32)  # half the memory to walk through
        y = flat // np.int32(soft.shape[1])
        x = flat - y * np.int32(soft.shape[1])
        self._index = found + y * np.int32(alpha.shape[1] - soft.shape[1])
        self._index += y0 * alpha.shape[1] + x0
        self._size = (x1 - x0) // 2, (y1 - y0) // 2
        self._near = ((y >> 1) * np.int32(self._size[0]) + (x >> 1)).astype(np.intp)
        self._share: FloatArray = alpha.reshape(-1)[self._index] * np.float32(1.0 / full_scale(alpha))

    def corrected(self, plane: Plane, guesses: list[FloatArray], top: int | None) -> Plane:
        """A copy of ``plane`` with the foreground's colour in the soft pixels, in code values up to ``top``, or without end.

        The guesses, foreground and background on the box's coarse grid, are smooth: every second pixel is enough.
        """
        out = plane.copy()
        flat = out.reshape(-1)
        front, back = (cv2.resize(grid, self._size, interpolation=cv2.INTER_LINEAR).reshape(-1)[self._near] for grid in guesses)
        value: FloatArray = flat[self._index].astype(np.float32)
        value -= back
        np.subtract(front, back, out=back)
        np.multiply(back, self._share, out=back)
        value -= back
        np.multiply(value, self._share, out=value)
        value += front
        if top is not None:
            np.clip(value, 0, top, out=value)
            np.rint(value, out=value)
        flat[self._index] = value.astype(plane.dtype)
        return out


def colouring(frame: Frame) -> Colouring:
    """Parameters of ``ForegroundEstimator`` for frames such as this."""
    return Colouring(_cell(*frame.size, frame.layout.chroma), NEAR, FAR, TRUST, FAINT)


def _purity(alpha: FloatArray) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """For foreground and background: weight of each cell, and its sums over the far and the near neighbourhood."""
    result = []
    for share in (alpha, 1.0 - alpha):
        square = share * share
        fourth = square * square
        weight = fourth * fourth  # mixed cells hardly count
        weight += np.float32(1e-6)
        result.append((weight, *_neighbourhoods(weight)))
    return result


def _spread(small: FloatArray, weight: FloatArray, far_weight: FloatArray, near_weight: FloatArray) -> FloatArray:
    """Weighted mean around each cell: the near neighbourhood, and the far one in the measure that the near one is empty."""
    far, near = _neighbourhoods(small * weight)
    far /= far_weight
    far *= np.float32(TRUST)
    far += near
    far /= near_weight + np.float32(TRUST)
    return far


def _neighbourhoods(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    far, near = (cv2.blur(values, (2 * r + 1, 2 * r + 1), borderType=cv2.BORDER_CONSTANT) for r in (FAR, NEAR))
    return far.astype(np.float32, copy=False), near.astype(np.float32, copy=False)


def _cell(height: int, width: int, chroma: tuple[int, int]) -> int:
    """Pixels per cell: 4 to 32 by the size of the image, so that the grid has about as many cells for all."""
    pixels = height * width
    cell = 4 if pixels < 300_000 else 8 if pixels < 1_500_000 else 16 if pixels < 6_000_000 else 32
    return max(cell, 2 << max(chroma))
