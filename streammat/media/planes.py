"""Blending in the frame's own planes: pure functions on planes, any subsampling, 8 to 16 bits.

No RGB is made here: each plane is blended with alpha brought to that plane's size. Products are rounded one by one,
``round(F a / A) + round(B (A - a) / A)`` with ``A`` full scale: exact at both ends of alpha and where F equals B
(A is odd, so no product ends in one half), and within one code value of the real result elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.media.frame import Layout, Matte, Plane

FloatPlane = NDArray[np.float32]
"""(H, W), alpha in 0..1 unless said otherwise."""

STRIP_BYTES = 1 << 18
"""Approximate size of the strips of rows that are processed at once, so that temporaries stay in a core's own cache."""


def full_scale(alpha: Plane) -> int:
    """Return the code value of full alpha: 255 for uint8, 65535 for uint16."""
    return int(np.iinfo(alpha.dtype).max)


def bounding_box(mask: Plane) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) of the smallest box around all non-zero values of an (h, w) uint8 or uint16 plane; all 0 if none."""
    if mask.itemsize == 2:  # OpenCV finds boxes in bytes only: look at each value as two of them
        x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
        return (y, y + h, x // 2, -(-(x + w) // 2))
    x, y, w, h = cv2.boundingRect(mask)
    return (y, y + h, x, x + w)


def shrink(plane: Plane, fx: int, fy: int) -> Plane:
    """Shrink an (h, w) plane by averaging blocks of ``fx`` by ``fy`` pixels (powers of two); incomplete blocks at the right and
    bottom repeat the last pixel. Returns (ceil(h / fy), ceil(w / fx)), same dtype.

    Halving step by step is several times faster than one INTER_AREA pass; linear at exactly one half is the mean of two.
    """
    height, width = plane.shape
    bottom, right = -height % fy, -width % fx
    if bottom or right:
        plane = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    while fx > 1 or fy > 1:
        dx, dy = min(fx, 2), min(fy, 2)
        height, width = plane.shape
        plane = cv2.resize(plane, (width // dx, height // dy), interpolation=cv2.INTER_LINEAR)
        fx, fy = fx // dx, fy // dy
    return plane


def soft_band(grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the cells of alpha in 0..1, float32 (h, w), that are soft, next to a soft one, or on a jump from empty to full."""
    cross = np.ones((3, 3), np.uint8)
    # Compared first, so that bytes are dilated: half the time that floats take.
    some, holes = (cv2.dilate(side.view(np.uint8), cross) for side in (grid > 0.0, grid < 1.0))
    return cv2.bitwise_and(some, holes).view(np.bool_)


def around(band: NDArray[np.bool_], margin: int) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) of the box around the band, ``margin`` cells wider where the map allows."""
    x, y, w, h = cv2.boundingRect(band.view(np.uint8))
    return max(y - margin, 0), min(y + h + margin, band.shape[0]), max(x - margin, 0), min(x + w + margin, band.shape[1])


def runs(band: NDArray[np.bool_], rows: int, gap: int) -> Iterator[tuple[int, int, int, int, bool]]:
    """Divide an (h, w) map into strips of ``rows`` rows and each strip into runs of columns: yields (y0, y1, x0, x1, inside).

    Columns of a strip that touch the band, and gaps of up to ``gap`` columns between them, form runs with ``inside``
    true, in those of its rows that lie between two which touch it. In the other runs no cell belongs to the band.
    """
    height, width = band.shape
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = band[top:bottom]
        columns = np.flatnonzero(strip.any(axis=0))
        if columns.size == 0:
            yield top, bottom, 0, width, False
            continue
        touching = np.flatnonzero(strip.any(axis=1))
        y0, y1 = top + int(touching[0]), top + int(touching[-1]) + 1
        if y0 > top:
            yield top, y0, 0, width, False
        breaks = np.flatnonzero(np.diff(columns) > gap + 1)
        starts = [int(columns[0]), *(int(x) for x in columns[breaks + 1])]
        ends = [*(int(x) + 1 for x in columns[breaks]), int(columns[-1]) + 1]
        last = 0
        for x0, x1 in zip(starts, ends, strict=True):
            if x0 > last:
                yield y0, y1, last, x0, False
            yield y0, y1, x0, x1, True
            last = x1
        if last < width:
            yield y0, y1, last, width, False
        if y1 < bottom:
            yield y1, bottom, 0, width, False


def resize_alpha(matte: Matte, shape: tuple[int, int]) -> Plane:
    """Resize alpha to another plane's size, ``shape`` = (h, w), not larger than the matte's, by the mean over the pixels that a
    sample covers. Returns the matte's own array if the size is the same.
    """
    alpha = matte.alpha
    if alpha.shape == shape:
        return alpha
    fy, fx = (-(-alpha.shape[0] // shape[0]), -(-alpha.shape[1] // shape[1]))
    whole = (-(-alpha.shape[0] // fy), -(-alpha.shape[1] // fx)) == shape
    if whole and fx & (fx - 1) == 0 and fy & (fy - 1) == 0:
        return shrink(alpha, fx, fy)
    return cv2.resize(alpha, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


@cache
def _alpha_table(bits: int, depth: int) -> NDArray[np.uint16]:
    top = (1 << bits) - 1
    values = np.arange(top + 1, dtype=np.int64) * ((1 << depth) - 1)
    return ((values + top // 2) // top).astype(np.uint16)


def alpha_plane(matte: Matte, depth: int) -> Plane:
    """Return alpha as a plane of ``depth`` bits (8 to 16), full range: (H, W) uint8 for 8, else uint16; rounded to nearest.
    Returns the matte's own array if nothing has to change.
    """
    bits = 8 * matte.alpha.itemsize
    if bits == depth:
        return matte.alpha
    plane = _alpha_table(bits, depth)[matte.alpha]
    return plane.astype(np.uint8) if depth == 8 else plane


class Blender:
    """Blends frame after frame with the same scratch memory; one per thread."""

    def __init__(self) -> None:
        self._scratch: dict[tuple[str, type], Plane] = {}
        self._constant: dict[tuple[Layout, int, tuple[int, int]], tuple[Plane, ...]] = {}

    def __call__(
        self, fg: Sequence[Plane], matte: Matte, bg: Sequence[Plane], out: Sequence[Plane] | None, layout: Layout
    ) -> tuple[Plane, ...]:
        """Blend ``fg`` over ``bg`` with the matte's alpha into ``out``, or into new planes if that is None; returns them.

        ``fg``, ``bg`` and ``out`` hold ``layout.colour_planes`` planes (an alpha plane after them is left alone), each of
        the plane's own (h, w) and dtype; rows may be strided. ``out`` may be ``bg`` itself.
        Where alpha at the plane's size is 0 the result is ``bg`` bit for bit, where it is full it is ``fg``.
        """
        count = layout.colour_planes
        if out is None:
            out = tuple(np.empty(plane.shape, plane.dtype) for plane in fg[:count])
        chroma: Plane | None = None
        for index in range(count):
            if fg[index].shape == matte.alpha.shape:
                alpha = matte.alpha
            else:
                chroma = resize_alpha(matte, fg[index].shape) if chroma is None else chroma
                alpha = chroma
            box = bounding_box(alpha)
            if out[index] is not bg[index]:
                np.copyto(out[index], bg[index])
            self._plane(fg[index], alpha, bg[index], out[index], box)
        return tuple(out[:count])

    def premultiply(
        self, fg: Sequence[Plane], matte: Matte, layout: Layout, black: int, out: Sequence[Plane] | None = None
    ) -> tuple[Plane, ...]:
        """Blend ``fg`` over black: luma or RGB towards the code value ``black``, chroma towards mid scale."""
        count = layout.colour_planes
        key = (layout, black, matte.alpha.shape)
        if key not in self._constant:
            self._constant.clear()
            mid = 1 << (layout.depth - 1)
            values = [black if layout.rgb or index == 0 else mid for index in range(count)]
            self._constant[key] = tuple(np.full(plane.shape, value, plane.dtype) for plane, value in zip(fg, values, strict=False))
        return self(fg, matte, self._constant[key], out, layout)

    def _plane(self, fg: Plane, alpha: Plane, bg: Plane, out: Plane, box: tuple[int, int, int, int]) -> None:
        y0, y1, x0, x1 = box
        if y1 <= y0:
            return
        scale = 1.0 / full_scale(alpha)
        rows = max(1, STRIP_BYTES // ((x1 - x0) * fg.itemsize))
        for top in range(y0, y1, rows):
            part = slice(top, min(top + rows, y1)), slice(x0, x1)
            shape = part[0].stop - top, x1 - x0
            weight = alpha[part]
            front, back = self._scratch_for("front", shape, fg.dtype.type), self._scratch_for("back", shape, fg.dtype.type)
            rest = self._scratch_for("rest", shape, alpha.dtype.type)
            target = out[part]
            kind = cv2.CV_8U if fg.itemsize == 1 else cv2.CV_16U
            cv2.multiply(fg[part], weight, front, scale, kind)
            cv2.bitwise_not(weight, rest)
            cv2.multiply(bg[part], rest, back, scale, kind)
            cv2.add(front, back, target)

    def _scratch_for(self, name: str, shape: tuple[int, int], dtype: type) -> Plane:
        """Return scratch memory of the given shape; it grows, never shrinks."""
        size = shape[0] * shape[1]
        flat = self._scratch.get((name, dtype))
        if flat is None or flat.size < size:
            flat = self._scratch[name, dtype] = np.empty(size, dtype)
        return flat[:size].reshape(shape)


def limited_luma(alpha: Plane, depth: int) -> Plane:
    """Convert full-range values, 0..2^depth-1, to limited-range luma, rounded; the same shape and dtype."""
    top = (1 << depth) - 1
    table = np.arange(top + 1, dtype=np.float64) * ((219 << (depth - 8)) / top) + (16 << (depth - 8))
    return np.rint(table).astype(alpha.dtype)[alpha]
