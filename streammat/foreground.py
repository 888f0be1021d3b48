"""The foreground's own colour at soft edges, so that no rim of the old background shows on the new one.

Blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): a smooth guess of foreground and
background colour around each pixel, F' and B', corrected by what the pixel itself shows:
F = F' + alpha (I - alpha F' - (1 - alpha) B'), which is the frame's own value where alpha is full.

The guesses are made on a coarse grid, plane by plane, from cells that are nearly pure, in two sizes of
neighbourhood: the near one leads, the far one fills in where nothing pure is near, as at the tips of hair. Only the
correction is computed at full size, and only around soft pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.composite import full_scale, resize_alpha, runs, shrink
from streammat.frame import Frame, Matte, Plane

FloatArray = NDArray[np.float32]

NEAR: Final = 2
"""Cells on each side of the near neighbourhood."""
FAR: Final = 9
"""Cells on each side of the far neighbourhood."""
TRUST: Final = 0.02
"""Share of pure cells at which near and far neighbourhood weigh the same."""
STRIP: Final = 16
"""Rows of cells worked on at once."""
GAP: Final = 16
"""Cells without softness that are cheaper to compute than to skip."""


class ForegroundEstimator:
    """Takes the background's colour out of soft edges, frame after frame, with the same scratch memory; one per thread."""

    def __init__(self) -> None:
        self._buffers: dict[str, FloatArray] = {}

    def __call__(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Colour planes (no alpha plane) of the foreground, in the frame's layout.

        Pixels with 0 < alpha < full carry the estimate; all others are the frame's own, bit for bit. Where nothing is
        soft, the planes returned are the frame's own arrays; otherwise they are new memory, which the caller may keep.
        """
        layout = frame.layout
        planes = frame.planes[: layout.colour_planes]
        height, width = frame.size
        cell = _cell(height, width, layout.chroma)
        weight = shrink(matte.alpha, cell, cell).astype(np.float32)
        weight *= np.float32(1.0 / full_scale(matte.alpha))
        band = _soft_band(weight)
        if not band.any():
            return planes
        y0, y1, x0, x1 = _around(band, FAR + 1)
        box = slice(y0, y1), slice(x0, x1)
        steps = [_step(plane, frame, cell) for plane in planes]
        weights = _purity(weight[box])
        result = tuple(plane.copy() for plane in planes)
        tiles = [tile[:4] for tile in runs(band[box], STRIP, GAP) if tile[4]]
        for index, (plane, (fx, fy)) in enumerate(zip(planes, steps, strict=True)):
            alpha = resize_alpha(matte, plane.shape)
            origin = slice(y0 * fy, y1 * fy), slice(x0 * fx, x1 * fx)
            small = shrink(plane, fx, fy)[box].astype(np.float32)
            front, back = (_spread(small, *pure) for pure in weights)
            views = plane[origin], alpha[origin], result[index][origin]
            for tile in tiles:
                self._correct(*views, (front, back), tile, (fx, fy))
        return result

    def _correct(
        self,
        plane: Plane,
        alpha: Plane,
        out: Plane,
        guesses: tuple[FloatArray, FloatArray],
        tile: tuple[int, int, int, int],
        step: tuple[int, int],
    ) -> None:
        """Writes the estimate for one tile of cells (y0, y1, x0, x1), each of ``step`` (x, y) pixels, to ``out``."""
        ty0, ty1, tx0, tx1 = tile
        fx, fy = step
        area = slice(ty0 * fy, ty1 * fy), slice(tx0 * fx, tx1 * fx)
        source, target, opacity = plane[area], out[area], alpha[area]
        rows, columns = source.shape
        top, left = max(ty0 - 1, 0), max(tx0 - 1, 0)  # one more cell around, so that a part interpolates as the whole would
        parts = [grid[top : ty1 + 1, left : tx1 + 1] for grid in guesses]
        inner = slice((ty0 - top) * fy, (ty0 - top) * fy + rows), slice((tx0 - left) * fx, (tx0 - left) * fx + columns)
        size = (parts[0].shape[1] * fx, parts[0].shape[0] * fy)
        front, back = (
            cv2.resize(grid, size, self._take(name, (size[1], size[0])), interpolation=cv2.INTER_LINEAR)[inner]
            for name, grid in zip(("front", "back"), parts, strict=True)
        )
        share = self._take("share", (rows, columns))
        rest = self._take("rest", (rows, columns))
        np.multiply(opacity, np.float32(1.0 / full_scale(opacity)), out=share)
        cv2.subtract(source, back, rest, None, cv2.CV_32F)
        cv2.subtract(front, back, back)
        cv2.multiply(back, share, back)
        cv2.subtract(rest, back, rest)
        cv2.multiply(rest, share, rest)
        code = cv2.CV_8U if source.itemsize == 1 else cv2.CV_16U
        estimate = cv2.add(front, rest, None, None, code)
        mask = opacity if opacity.itemsize == 1 else (opacity > 0).view(np.uint8)
        cv2.copyTo(estimate, mask, target)

    def _take(self, name: str, shape: tuple[int, int]) -> FloatArray:
        """Scratch memory of the given shape; grows, never shrinks."""
        size = shape[0] * shape[1]
        flat = self._buffers.get(name)
        if flat is None or flat.size < size:
            flat = self._buffers[name] = np.empty(size, np.float32)
        return flat[:size].reshape(shape)


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
    """Pixels per cell: 4, 8 or 16 by the size of the picture, so that the grid has about as many cells for all."""
    pixels = height * width
    cell = 4 if pixels < 500_000 else 8 if pixels < 4_000_000 else 16
    return max(cell, 1 << max(chroma))


def _step(plane: Plane, frame: Frame, cell: int) -> tuple[int, int]:
    """(x, y) samples of ``plane`` per cell."""
    sx, sy = (0, 0) if plane.shape == frame.size else frame.layout.chroma
    return cell >> sx, cell >> sy


def _soft_band(grid: FloatArray) -> NDArray[np.bool_]:
    """Cells that are soft, or beside one that is, or on a jump from empty to full."""
    cross = np.ones((3, 3), np.uint8)
    return (cv2.dilate(grid, cross) > 0.0) & (cv2.erode(grid, cross) < 1.0)


def _around(band: NDArray[np.bool_], margin: int) -> tuple[int, int, int, int]:
    """(y0, y1, x0, x1) of the box around the band, ``margin`` cells wider where the map allows."""
    x, y, w, h = cv2.boundingRect(band.view(np.uint8))
    return max(y - margin, 0), min(y + h + margin, band.shape[0]), max(x - margin, 0), min(x + w + margin, band.shape[1])
