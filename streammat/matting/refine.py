"""Refines the network's small alpha to a full-size matte, guided by the frame itself.

Fast guided filter (He and Sun, "Fast Guided Filter", arXiv:1505.00996): the local linear model alpha = a I + b is solved
on a coarse grid and applied at full resolution, with luma and chroma (or all of RGB) as I: hair that is as bright as the
room behind it mostly differs in colour. Three things differ from the paper:

* chroma is used at its own resolution: its share of the sum, with its share of the offset, is made there and enlarged.

* the offset is not averaged: b = p - a L, with p the network's alpha and L the image *as blurred as p is*. Where the image
  tells nothing (a = 0), the result is p itself, no softer; where it does, a (I - L) adds back the detail that p lost.
* a is zero outside a thin band around the soft cells, so flat regions stay exactly empty or full: texture cannot leak
  in, and nothing is computed there.

On 27 photographs with known alpha (hair and fur, alpha given at 1/5.5 of the size) this takes 53 % off the error of plain
bilinear upsampling and 71 % off its gradient error; luma alone takes 36 and 48 % (``benchmarks/quality/edges.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Final

import cv2
import numpy as np

from streammat.engines.gpu.plan import Refining
from streammat.media.frame import Frame, Matte, Plane
from streammat.media.planes import FloatPlane, around, runs, shrink, soft_band

RESIDUE: Final = 0.06
"""Network values this near 0 or 1 are noise: they become exactly 0 or 1, and the rest is stretched over the whole range.

On the hard set, whose labels are soft, 0.06 took 14 % off the mean error of the network's own alpha and 3 % off that of 0.03;
beyond, the squared error grows."""
PATCH: Final = 2
"""Cells on each side of a patch: the linear model is solved for each patch, and interpolated between them."""
RADIUS: Final = 1
"""Radius in patches of the window in which the linear model is solved."""
EPSILON: Final = 2e-4
"""Regularisation, in (values of 0..1) squared: contrasts well below its root (1.4 %) do not steer alpha. On 27 photographs with
known alpha, and with noise of 6/255 added, less is better still; the windows of a network that errs need some."""
FADE: Final = 32.0
"""Times its distance from empty and from full, up to 1: how much the model counts in a cell."""
SOFTNESS: Final = 0.75
"""Blur of the network's alpha, as sigma in its own cells: half a cell of its sampling, the rest of its own making."""
EPSILON_ALPHA: Final = 4e-6
"""Rounding tolerance: float32 weights do not add up to exactly 1, so resampled values this near to 0 or 1 are set to 0 or 1;
otherwise texture would leak into flat regions.
"""
STRIP: Final = 64
"""Rows of cells processed at once."""
GAP: Final = 64
"""Largest gap of flat cells in the band that is computed, because skipping would cost more."""


class Refiner:
    """Upsamples alpha, frame after frame, with the same scratch memory; one per thread."""

    def __init__(self) -> None:
        self._buffers: dict[str, FloatPlane] = {}

    def __call__(self, alpha: FloatPlane, frame: Frame) -> Matte:
        """Return the matte of ``frame`` from ``alpha``: (h, w) float32 0..1 over the whole image, in the frame's stored
        orientation.

        Values outside 0..1 are clipped. The matte is new memory, which the caller may keep.
        """
        height, width = frame.size
        step = _step(height, width, alpha.shape)
        guides = _guides(frame, step)
        cells = -(-height // step), -(-width // step)
        grid = _on_grid(_clean(alpha), step, (height, width), cells)
        band = soft_band(grid)
        depth_top = float((1 << frame.layout.depth) - 1)
        out = np.empty((height, width), frame.layout.dtype)
        top = float(np.iinfo(out.dtype).max)
        model: _Model | None = None
        if band.any():
            blur = _sigma(height, width, alpha.shape)
            # As far as the windows reach, in whole patches: where the box ends must not be seen.
            y0, y1, x0, x1 = around(band, PATCH * (RADIUS + 2) + math.ceil(4 * blur))
            y0, x0 = y0 - y0 % PATCH, x0 - x0 % PATCH
            model = _solve(guides, grid[y0:y1, x0:x1], (y0, x0), blur, step, (depth_top, top))
        # One cell more: into that the band's values are interpolated.
        touched = cv2.dilate(band.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
        for gy0, gy1, gx0, gx1, inside in runs(touched, STRIP, GAP):
            target = out[gy0 * step : min(gy1 * step, height), gx0 * step : min(gx1 * step, width)]
            if inside:
                assert model is not None
                self._apply(model, (gy0, gy1, gx0, gx1), step, target)
            else:  # flat, and flat cells beside each other are alike: between 0 and 1 lies always a soft one
                target[:] = top if grid[gy0, gx0] >= 0.5 else 0
        return Matte(out)

    def _apply(self, model: _Model, cells: tuple[int, int, int, int], step: int, out: Plane) -> None:
        """Upsample the model of ``cells`` (y0, y1, x0, x1) and write the sum of its shares, saturated, to ``out``."""
        top, left = model.corner
        y0, y1, x0, x1 = _with_margin((cells[0] - top, cells[1] - top, cells[2] - left, cells[3] - left), model.shares[0].base.shape)
        part, seen = (slice(y0, y1), slice(x0, x1)), (slice(y0 + top, y1 + top), slice(x0 + left, x1 + left))
        totals = []
        for share in model.shares:
            fy, fx = share.guides[0].fy, share.guides[0].fx
            rows, columns = share.guides[0].of(seen).shape
            total = self._enlarged(f"{fy} {fx}", share.base[part], fy, fx)[:rows, :columns]
            for guide, gain in zip(share.guides, share.gains, strict=True):
                scaled = self._enlarged("scaled", gain[part], fy, fx)[:rows, :columns]
                cv2.multiply(scaled, guide.of(seen), scaled, 1.0, cv2.CV_32F)
                cv2.add(total, scaled, total)
            totals.append(total if (fy, fx) == (step, step) else self._enlarged("enlarged", total, step // fy, step // fx))
        above, before = (cells[0] - seen[0].start) * step, (cells[2] - seen[1].start) * step
        inner = slice(above, above + out.shape[0]), slice(before, before + out.shape[1])
        first, second = totals if len(totals) == 2 else (totals[0], np.zeros_like(totals[0]))
        cv2.add(first[inner], second[inner], out, None, cv2.CV_8U if out.itemsize == 1 else cv2.CV_16U)

    def _enlarged(self, name: str, values: FloatPlane, fy: int, fx: int) -> FloatPlane:
        """Return scratch memory with ``values``, (h, w), enlarged linearly ``fy`` and ``fx`` times."""
        full = self._scratch_for(name, (values.shape[0] * fy, values.shape[1] * fx))
        cv2.resize(values, full.shape[::-1], full, interpolation=cv2.INTER_LINEAR)
        return full

    def _scratch_for(self, name: str, shape: tuple[int, int]) -> FloatPlane:
        """Return scratch memory of the given shape; it grows, never shrinks."""
        size = shape[0] * shape[1]
        flat = self._buffers.get(name)
        if flat is None or flat.size < size:
            flat = self._buffers[name] = np.empty(size, np.float32)
        return flat[:size].reshape(shape)


@dataclass(frozen=True)
class _Guide:
    """One plane of the frame, with ``fy`` by ``fx`` samples for each cell."""

    plane: Plane
    fy: int
    fx: int

    def of(self, cells: tuple[slice, slice]) -> Plane:
        """Return the samples of ``cells``; cells at the image's end may stick out of it."""
        rows, columns = cells
        return self.plane[rows.start * self.fy : rows.stop * self.fy, columns.start * self.fx : columns.stop * self.fx]

    def cells(self, box: tuple[slice, slice], blur: float, scale: float) -> FloatPlane:
        """Return ``scale`` times the mean of each cell in ``box``, as blurred as the network's alpha is."""
        means = shrink(self.of(box), self.fx, self.fy)
        if means.itemsize == 2:  # which OpenCV filters slowly
            means = means.astype(np.float32)
        # What GaussianBlur does to floats, but from bytes: half the time.
        kernel = cv2.getGaussianKernel(2 * round(4 * blur) + 1, blur, cv2.CV_32F)
        return np.asarray(cv2.sepFilter2D(means, cv2.CV_32F, kernel * np.float32(scale), kernel), np.float32)


@dataclass(frozen=True)
class _Share:
    """Share of guides of one resolution in the matte: the sum of gains * guides and a base, per cell, in code values of the matte."""

    base: FloatPlane
    guides: list[_Guide] = field(default_factory=list)
    gains: list[FloatPlane] = field(default_factory=list)


@dataclass(frozen=True)
class _Model:
    """What the matte is made of in a box of cells: the sum of its shares."""

    corner: tuple[int, int]
    """(y, x) of the first cell in the image."""
    shares: list[_Share]


def _solve(guides: Sequence[_Guide], grid: FloatPlane, corner: tuple[int, int], blur: float, step: int, tops: tuple[float, float]) -> _Model:
    """Return the model of a box of cells.

    Args:
        guides: planes of the frame.
        grid: alpha of the box's cells, 0..1.
        corner: (y, x) of the first one in the image.
        blur: sigma that makes the image as soft as the network's alpha, in cells.
        step: pixels per cell.
        tops: full scale of the guides and of the matte.
    """
    box = slice(corner[0], corner[0] + grid.shape[0]), slice(corner[1], corner[1] + grid.shape[1])
    images = [guide.cells(box, blur, 1.0 / tops[0]) for guide in guides]
    slopes, weight = _slopes(images, grid), _weight(grid) * np.float32(tops[1])
    coarse, fine = _Share(np.zeros_like(grid)), _Share(grid * np.float32(tops[1]))
    for guide, image, slope in zip(guides, images, slopes, strict=True):
        share = fine if (guide.fy, guide.fx) == (step, step) else coarse
        gain = slope * weight
        share.base[:] -= gain * image
        gain *= np.float32(1.0 / tops[0])
        share.guides.append(guide)
        share.gains.append(gain)
    return _Model(corner, [share for share in (coarse, fine) if share.guides])


def _guides(frame: Frame, step: int) -> list[_Guide]:
    """Return the colour planes of a frame on cells of ``step`` pixels; chroma with less than a sample for each cell is enlarged
    first.
    """
    guides = []
    for index, plane in enumerate(frame.planes[: frame.layout.colour_planes]):
        sx, sy = (0, 0) if index == 0 else frame.layout.chroma
        if step >> sx == 0 or step >> sy == 0:
            height, width = (side << by for side, by in zip(plane.shape, (sy, sx), strict=True))
            enlarged = cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            plane, sx, sy = enlarged[: frame.size[0], : frame.size[1]], 0, 0  # noqa: PLW2901
        guides.append(_Guide(plane, step >> sy, step >> sx))
    return guides


def _slopes(images: Sequence[FloatPlane], alpha: FloatPlane) -> list[FloatPlane]:
    """Return the slopes per cell, one for each image, of alpha = sum of slope * image + offset, with images in 0..1."""
    height, width = alpha.shape
    window = (2 * RADIUS + 1, 2 * RADIUS + 1)
    # About the middle of their range: of large values float32 keeps too little to tell their covariances.
    alpha, *images = (_patches(plane) - np.float32(0.5) for plane in (alpha, *images))
    mean_alpha, *means = (cv2.blur(plane, window) for plane in (alpha, *images))
    with_alpha = [cv2.blur(image * alpha, window) - mean * mean_alpha for image, mean in zip(images, means, strict=True)]
    pairs = combinations_with_replacement(zip(images, means, strict=True), 2)
    matrix = [cv2.blur(one * other, window) - mean * mean_of_other for (one, mean), (other, mean_of_other) in pairs]
    for diagonal in matrix[:1] if len(images) == 1 else (matrix[0], matrix[3], matrix[5]):
        diagonal += np.float32(EPSILON)  # noqa: PLW2901 (in place)
    return [
        np.asarray(cv2.resize(slope, (slope.shape[1] * PATCH, slope.shape[0] * PATCH), interpolation=cv2.INTER_LINEAR), np.float32)[:height, :width]
        for slope in _solved(matrix, with_alpha)
    ]


def _weight(grid: FloatPlane) -> FloatPlane:
    """Return how much the model counts in each cell: 0 where it and those next to it are all empty or all full, growing from there, so
    that a cell's last bit does not decide.
    """
    cross = np.ones((3, 3), np.uint8)
    softness = np.minimum(cv2.dilate(grid, cross), 1.0 - cv2.erode(grid, cross))
    return np.asarray(np.minimum(softness * np.float32(FADE), 1.0), np.float32)


def _patches(plane: FloatPlane) -> FloatPlane:
    """Return the means of ``PATCH`` by ``PATCH`` cells; incomplete ones at the right and bottom repeat the last cell."""
    bottom, right = (-side % PATCH for side in plane.shape)
    if bottom or right:
        plane = np.asarray(cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.float32)
    return np.asarray(cv2.resize(plane, None, fx=1 / PATCH, fy=1 / PATCH, interpolation=cv2.INTER_AREA), np.float32)


def _solved(matrix: Sequence[FloatPlane], right: Sequence[FloatPlane]) -> list[FloatPlane]:
    """Solve a symmetric system of one or three equations in each cell; ``matrix`` is its upper triangle, row by row."""
    if len(right) == 1:
        return [right[0] / matrix[0]]
    a, b, c, d, e, f = matrix
    x, y, z = right
    first, second = b / a, c / a
    d, e, f = d - first * b, e - first * c, f - second * c
    third = e / d
    y = y - first * x
    z = (z - second * x - third * y) / (f - third * e)
    y = (y - e * z) / d
    return [(x - b * y - c * z) / a, y, z]


def refining(size: tuple[int, int], alpha: tuple[int, int]) -> Refining:
    """Return the parameters of ``Refiner`` for frames of ``size`` and alpha of size ``alpha``, (height, width) each."""
    return Refining(_step(*size, alpha), _sigma(*size, alpha), RESIDUE, PATCH, RADIUS, EPSILON, FADE, EPSILON_ALPHA)


def _sigma(height: int, width: int, alpha: tuple[int, ...]) -> float:
    """Return the sigma that makes the image as soft as the network's alpha, in cells of the coarse grid."""
    return SOFTNESS * max(height / alpha[0], width / alpha[1]) / _step(height, width, alpha)


def _step(height: int, width: int, alpha: tuple[int, ...]) -> int:
    """Return the pixels per cell of the coarse grid: 1 to 8, a power of two, never coarser than the network's alpha."""
    step = 1
    while step < 8 and 2 * step * alpha[0] <= height and 2 * step * alpha[1] <= width:
        step *= 2
    return step


def _clean(alpha: FloatPlane) -> FloatPlane:
    """Stretch RESIDUE..1 - RESIDUE to 0..1 and clip the rest; a ramp, so that nothing flickers at a threshold."""
    slope = 1.0 / (1.0 - 2.0 * RESIDUE)
    stretched: FloatPlane = alpha * np.float32(slope)
    stretched -= RESIDUE * slope
    np.clip(stretched, 0.0, 1.0, out=stretched)
    return stretched


def _on_grid(alpha: FloatPlane, step: int, size: tuple[int, int], shape: tuple[int, ...]) -> FloatPlane:
    """Return alpha at the centres of cells of ``step`` pixels of an image of ``size`` (height, width), clipped to 0..1."""
    height, width = size
    if alpha.shape == shape:
        return alpha
    if (shape[0] * step, shape[1] * step) == size:
        # Of a small frame the network may see, and give, more pixels than there are: those are averaged.
        shrinks = alpha.shape[0] > shape[0] and alpha.shape[1] > shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        grid: FloatPlane = cv2.resize(alpha, (shape[1], shape[0]), interpolation=method).astype(np.float32, copy=False)
    else:  # the last cells stick out of the image, which a plain resize would squeeze in
        sx, sy = step * alpha.shape[1] / width, step * alpha.shape[0] / height
        inverse = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(alpha, inverse, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        grid = warped.astype(np.float32, copy=False)
    grid *= np.float32(1.0 + 2.0 * EPSILON_ALPHA)
    grid -= np.float32(EPSILON_ALPHA)
    return np.clip(grid, 0.0, 1.0, out=grid)


def _with_margin(cells: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return ``cells`` (y0, y1, x0, x1) with one more on each side where the map of ``shape`` has one: so a part interpolates as
    the whole would.
    """
    y0, y1, x0, x1 = cells
    return max(y0 - 1, 0), min(y1 + 1, shape[0]), max(x0 - 1, 0), min(x1 + 1, shape[1])
