"""Resampling on tensors: every separable filter is two products with small weight matrices, which GPUs compute fastest.

Results are those of OpenCV and swscale, edges included, to float32 accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Edge = Literal["mirror", "repeat", "zero"]
"""Padding beyond the image: mirrored without repeating the last row, the last row repeated, or zeros."""
Size = tuple[int, int]
Weights = NDArray[Any]
_CUBIC = -0.75  # OpenCV's and most players' constant
_KEPT = 128  # matrices; a stream needs about twenty


class Filters:
    """The weight matrices of one device, each made once.

    Images are float32 (N, h, w), and new memory comes back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache: dict[Hashable, Tensor] = {}

    def area(self, x: Tensor, size: Size) -> Tensor:
        """Resize to ``size`` by the mean over the covered samples; linearly in a direction that grows."""
        rows, columns = (self._matrix("area", old, new) for old, new in zip(x.shape[1:], size, strict=True))
        return rows @ x @ columns.T

    def cubic(self, x: Tensor, size: Size, strides: tuple[float, float]) -> Tensor:
        """Resample at ``size`` positions ``strides`` (vertical, horizontal) apart, the first in the middle of its stride."""
        rows, columns = (
            self._matrix("cubic", old, new, stride) for old, new, stride in zip(x.shape[1:], size, strides, strict=True)
        )
        return rows @ x @ columns.T

    def gauss(self, x: Tensor, sigma: float, edge: Edge) -> Tensor:
        """Apply a Gaussian blur with OpenCV's kernel size for floats."""
        rows, columns = (self._matrix("gauss", side, sigma, edge) for side in x.shape[1:])
        return rows @ x @ columns.T

    def box(self, x: Tensor, reach: int, edge: Edge) -> Tensor:
        """Return the mean over ``reach`` samples on each side."""
        rows, columns = (self._matrix("box", side, reach, edge) for side in x.shape[1:])
        return rows @ x @ columns.T

    def halve(self, x: Tensor) -> Tensor:
        """Halve the columns by a linear filter of two samples' width."""
        return x @ self._matrix("tent", x.shape[2]).T

    def _matrix(self, kind: str, *how: Any) -> Tensor:
        key = (kind, *how)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _KEPT:  # another thread may just be looking for one of them: it then makes it again
                self._cache.clear()
            weights = _MAKERS[kind](*how)
            self._cache[key] = found = torch.from_numpy(weights.astype(np.float32)).to(self._device)
        return found


def shrink(x: Tensor, fy: int, fx: int, depth: int) -> Tensor:
    """Return the mean over blocks of ``fy`` by ``fx`` code values (powers of two), halving step by step, as
    ``streammat.media.planes.shrink`` does.

    Args:
        x: float32 (N, h, w) of whole numbers.
        fy: rows of a block; incomplete blocks at the bottom or right repeat the last pixel.
        fx: its columns.
        depth: bits. Halves are rounded up for 8 bits and to even above, as OpenCV does.
    """
    bottom, right = -x.shape[1] % fy, -x.shape[2] % fx
    if bottom or right:
        x = functional.pad(x[:, None], (0, right, 0, bottom), mode="replicate")[:, 0]
    while fy > 1 or fx > 1:
        dy, dx = min(fy, 2), min(fx, 2)
        x = functional.avg_pool2d(x[:, None], (dy, dx))[:, 0]
        x = (x + 0.5).floor() if depth == 8 else x.round()
        fy, fx = fy // dy, fx // dx
    return x


def shorten(x: Tensor) -> Tensor:
    """Halve the width by the mean of pairs; an odd last column is paired with itself."""
    if x.shape[2] % 2:
        x = functional.pad(x[:, None], (0, 1, 0, 0), mode="replicate")[:, 0]
    return functional.avg_pool2d(x[:, None], (1, 2))[:, 0]


def grow(x: Tensor, fy: int, fx: int) -> Tensor:
    """Enlarge by ``fy`` and ``fx``, linearly."""
    if fy == fx == 1:
        return x
    size = (x.shape[1] * fy, x.shape[2] * fx)
    return functional.interpolate(x[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def repeat(x: Tensor, fy: int, fx: int) -> Tensor:
    """Enlarge by ``fy`` and ``fx``, repeating each sample."""
    return x.repeat_interleave(fy, 1).repeat_interleave(fx, 2)


def dilate(x: Tensor, reach: int) -> Tensor:
    """Return the largest value within ``reach`` samples in both directions."""
    side = 2 * reach + 1
    tall = functional.max_pool2d(x[:, None], (side, 1), 1, (reach, 0))
    return functional.max_pool2d(tall, (1, side), 1, (0, reach))[:, 0]


def soft_band(x: Tensor) -> Tensor:
    """Return as bool the samples of 0..1 that are soft, next to a soft one, or on a jump from empty to full."""
    return (dilate(x, 1) > 0.0) & (-dilate(-x, 1) < 1.0)


def boxed(mask: Tensor, margin: int) -> Tensor:
    """Return as bool (N, h, w) the box around a mask's true samples, ``margin`` wider on all sides; empty if none is true."""
    sides = []
    for axis in (2, 1):
        some = mask.any(axis).float()
        within = (some.cumsum(1) > 0) & (some.flip(1).cumsum(1).flip(1) > 0)
        sides.append(functional.max_pool1d(within.float(), 2 * margin + 1, 1, margin) > 0)
    return sides[0][:, :, None] & sides[1][:, None, :]


# -- weights: (new, old) float64 --------------------------------------------------------------------------------


def _area(old: int, new: int) -> Weights:
    if new > old:
        return _linear(old, new)
    scale = old / new
    begins = np.arange(new)[:, None] * scale
    cells = np.arange(old)[None]
    covered = np.minimum(begins + scale, cells + 1) - np.maximum(begins, cells)
    weights: Weights = np.clip(covered, 0.0, None)
    weights /= weights.sum(1, keepdims=True)
    return weights


def _linear(old: int, new: int) -> Weights:
    at = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(at).astype(int)
    return _gathered(old, [(first, 1 - (at - first)), (first + 1, at - first)], "repeat")


def _cubic(old: int, new: int, stride: float) -> Weights:
    at = np.arange(new) * stride + (stride / 2 - 0.5)
    first = np.floor(at).astype(int)
    a, taps = _CUBIC, []
    for offset in (-1, 0, 1, 2):
        d = np.abs(at - first - offset)
        inner = ((a + 2) * d - (a + 3)) * d * d + 1
        outer = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        taps.append((first + offset, np.where(d <= 1, inner, outer)))
    return _gathered(old, taps, "repeat")


def _gauss(side: int, sigma: float, edge: Edge) -> Weights:
    reach = (round(8 * sigma + 1) | 1) // 2
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma * sigma))
    return _window(side, bell / bell.sum(), edge)


def _box(side: int, reach: int, edge: Edge) -> Weights:
    return _window(side, np.full(2 * reach + 1, 1 / (2 * reach + 1)), edge)


def _tent(side: int) -> Weights:
    new = -(-side // 2)
    first = 2 * np.arange(new)
    return _gathered(side, [(first + k, np.full(new, w)) for k, w in ((-1, 0.125), (0, 0.375), (1, 0.375), (2, 0.125))], "repeat")


def _window(side: int, window: Weights, edge: Edge) -> Weights:
    reach, at = len(window) // 2, np.arange(side)
    return _gathered(side, [(at + k - reach, np.full(side, w)) for k, w in enumerate(window)], edge)


def _gathered(old: int, taps: list[tuple[NDArray[Any], Weights]], edge: Edge) -> Weights:
    """Return the matrix of taps (source position and weight for each new sample)."""
    weights = np.zeros((len(taps[0][0]), old))
    rows = np.arange(len(weights))
    for where, weight in taps:
        if edge == "zero":
            inside = (where >= 0) & (where < old)
            np.add.at(weights, (rows[inside], where[inside]), weight[inside])
        else:
            np.add.at(weights, (rows, np.clip(where, 0, old - 1) if edge == "repeat" else _mirrored(where, old)), weight)
    return weights


def _mirrored(where: NDArray[Any], side: int) -> NDArray[Any]:
    if side == 1:
        return np.zeros_like(where)
    folded = np.abs(where) % (2 * side - 2)
    mirrored: NDArray[Any] = np.minimum(folded, 2 * side - 2 - folded)
    return mirrored


_MAKERS: dict[str, Callable[..., Weights]] = {"area": _area, "cubic": _cubic, "gauss": _gauss, "box": _box, "tent": _tent}
