"""The soft pixels of a plane, whose alpha is neither 0 nor full, by their positions.

They are a few percent of most images, and the only ones whose colour depends on both subject and background: expensive work is
done for them alone, and the rest is copied.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from streammat.media.frame import Plane
from streammat.media.planes import full_scale

FloatArray = NDArray[np.float32]


class SoftPixels:
    """Soft pixels of one alpha plane, in the order of reading.

    Args:
        plane: alpha, (h, w) uint8 or uint16 over the type's whole range; must not be changed.

    Attributes:
        alpha: (n,) values of the plane's dtype, neither 0 nor full scale.
        share: (n,) float32, the same scaled to 0..1.
        y: (n,) int32, rows.
        x: (n,) int32, columns.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        found = _soft(plane)
        self._index = {plane.shape[1]: found}
        self.alpha: NDArray[Any] = plane.reshape(-1)[found]
        self.share: FloatArray = self.alpha * np.float32(1.0 / full_scale(plane))
        flat = found.astype(np.int32)  # division takes half the time
        width = np.int32(plane.shape[1])
        self.y: NDArray[np.int32] = flat // width
        self.x: NDArray[np.int32] = flat - self.y * width

    def __len__(self) -> int:
        return self.alpha.size

    def of(self, plane: Plane) -> NDArray[Any]:
        """Return the (n,) values of a plane of the same (h, w), in its dtype."""
        if not _in_rows(plane):
            return np.asarray(plane[self.y, self.x])
        flat, index = self._places(plane)
        return np.asarray(flat[index])

    def put(self, plane: Plane, values: FloatArray) -> None:
        """Write (n,) ``values`` into a plane of the same (h, w); rounded if it holds integers, whose range they must fit."""
        stored = (values if plane.dtype.kind == "f" else np.rint(values)).astype(plane.dtype)
        if not _in_rows(plane):
            plane[self.y, self.x] = stored
            return
        flat, index = self._places(plane)
        flat[index] = stored

    def copy_subject(self, source: Plane, target: Plane) -> None:
        """Copy the pixels with non-zero alpha from one plane of the same (h, w) to another."""
        cv2.copyTo(source, self._mask, target)

    @cached_property
    def _mask(self) -> NDArray[np.uint8]:
        return self._plane if self._plane.itemsize == 1 else np.not_equal(self._plane, 0).view(np.uint8)

    def _places(self, plane: Plane) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the plane's memory as one row, and the pixels' positions in it; rows may have padding."""
        height, width = plane.shape
        step = plane.strides[0] // plane.itemsize
        if step not in self._index:
            self._index[step] = self.y * np.int64(step) + self.x
        if step == width:
            return plane.reshape(-1), self._index[step]
        return as_strided(plane, ((height - 1) * step + width,), (plane.itemsize,)), self._index[step]


def _in_rows(plane: Plane) -> bool:
    """Return whether the plane lies row after row in memory; a rotated view does not."""
    return plane.strides[1] == plane.itemsize and plane.strides[0] > 0


def _soft(plane: Plane) -> NDArray[np.int64]:
    """Return the flat indices of the values of an (h, w) unsigned plane that are neither 0 nor full scale."""
    bits = 3 if plane.itemsize == 1 else 2
    many = 1 << bits
    if not plane.flags.c_contiguous or plane.size % many:
        return np.flatnonzero(_is_soft(plane))
    # Eight bytes at once: most are all empty or all full.
    words = plane.reshape(-1).view(np.uint64)
    mixed = np.flatnonzero(_is_soft(words))
    found = np.flatnonzero(_is_soft(words[mixed].view(plane.dtype)))
    return np.asarray((mixed[found >> bits] << bits) + (found & (many - 1)))


def _is_soft(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are neither 0 nor the largest of their unsigned type (adding 1 makes that 0)."""
    one = values.dtype.type(1)
    return np.asarray(values + one > one)
