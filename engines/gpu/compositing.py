"""Drawing on the device: matte, foreground colour, blurred background, blending.

The same arithmetic as ``streammat.matting.refine`` and ``streammat.compositing``, which explain it, on whole images: a GPU gains
nothing from skipping flat regions. Planes and mattes are float32 (N, h, w) of whole code values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from streammat.engines.gpu.plan import Blurring, Colouring, FramePlan
from streammat.engines.gpu.resample import Filters, boxed, dilate, grow, repeat, shrink, soft_band

_REACH = 8  # pixels beyond the matte in which straight colour is kept


def refine(alpha: Tensor, planes: Sequence[Tensor], plan: FramePlan, filters: Filters) -> Tensor:
    """Return the matte, 0..``plan.top``, at the frame's size.

    Args:
        alpha: float32 (N, h, w), 0..1, in the frame's stored orientation.
        planes: colour planes of the frames.
        plan: plan of these frames.
        filters: filters of the device.
    """
    how, depth_top = plan.refining, float((1 << plan.depth) - 1)
    guides = _guides(planes, plan)
    clean = (alpha - how.residue) * (1.0 / (1.0 - 2.0 * how.residue))
    cells = [shrink(guide, fy, fx, plan.depth) for guide, fy, fx in guides]
    grid = _on_grid(clean.clamp(0.0, 1.0), cells[0], plan, filters)
    images = [filters.gauss(plane, how.sigma, "mirror") * (1.0 / depth_top) for plane in cells]
    weight = (torch.minimum(dilate(grid, 1), 1.0 + dilate(-grid, 1)) * how.fade).clamp(max=1.0)
    slopes = [slope * weight for slope in _slopes(images, grid, plan, filters)]
    height, width = plan.size
    coarse, fine = torch.zeros_like(grid), grid
    shares: list[Tensor] = []
    for (_, fy, fx), image, slope in zip(guides, images, slopes, strict=True):
        if (fy, fx) == (how.step, how.step):
            fine = fine - slope * image
        else:
            coarse = coarse - slope * image
    total = grow(fine * plan.top, how.step, how.step)[:, :height, :width]
    for (guide, fy, fx), slope in zip(guides, slopes, strict=True):
        gain = grow(slope * (plan.top / depth_top), fy, fx)[:, : guide.shape[1], : guide.shape[2]] * guide
        if (fy, fx) == (how.step, how.step):
            total = total + gain
        else:
            shares.append(gain)
    if shares:
        _, fy, fx = guides[-1]
        low = grow(coarse * plan.top, fy, fx)[:, : shares[0].shape[1], : shares[0].shape[2]] + sum(shares[1:], shares[0])
        total = total + grow(low, how.step // fy, how.step // fx)[:, :height, :width]
    return total.round().clamp(0, plan.top)


def _guides(planes: Sequence[Tensor], plan: FramePlan) -> list[tuple[Tensor, int, int]]:
    """Return the planes with their samples per cell, (vertical, horizontal); chroma with less than one is enlarged first."""
    step, found = plan.refining.step, []
    for index, plane in enumerate(planes[: plan.planes]):
        sx, sy = (0, 0) if plan.rgb or index == 0 else plan.chroma
        if step >> sy == 0 or step >> sx == 0:
            height, width = plan.size
            plane, sx, sy = grow(plane, 1 << sy, 1 << sx)[:, :height, :width], 0, 0  # noqa: PLW2901
        found.append((plane, step >> sy, step >> sx))
    return found


def _slopes(images: Sequence[Tensor], grid: Tensor, plan: FramePlan, filters: Filters) -> list[Tensor]:
    """Return the slopes per cell, one for each image, of alpha = sum of slope * image + offset."""
    how = plan.refining
    height, width = grid.shape[1:]

    def patches(x: Tensor) -> Tensor:
        padded = functional.pad(x[:, None], (0, -width % how.patch, 0, -height % how.patch), mode="replicate")
        return functional.avg_pool2d(padded, how.patch)[:, 0] - 0.5

    def mean(x: Tensor) -> Tensor:
        return filters.box(x, how.radius, "mirror")

    alpha, values = patches(grid), [patches(image) for image in images]
    means = [mean(value) for value in values]
    x = [mean(value * alpha) - middle * mean(alpha) for value, middle in zip(values, means, strict=True)]
    matrix = [
        mean(values[i] * values[j]) - means[i] * means[j] + (how.epsilon if i == j else 0.0) for i in range(len(values)) for j in range(i, len(values))
    ]
    if len(values) == 1:
        solved = [x[0] / matrix[0]]
    else:
        a, b, c, d, e, f = matrix
        first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
        middle, side, last = a * f - c * c, b * c - a * e, a * d - b * b
        scale = 1.0 / (a * first + b * second + c * third)
        solved = [(p * x[0] + q * x[1] + r * x[2]) * scale for p, q, r in ((first, second, third), (second, middle, side), (third, side, last))]
    return [grow(slope, how.patch, how.patch)[:, :height, :width] for slope in solved]


def _on_grid(alpha: Tensor, luma: Tensor, plan: FramePlan, filters: Filters) -> Tensor:
    size, step = (luma.shape[1], luma.shape[2]), plan.refining.step
    if alpha.shape[1:] == luma.shape[1:]:
        return alpha
    whole = (size[0] * step, size[1] * step) == plan.size
    if whole and alpha.shape[1] > size[0] and alpha.shape[2] > size[1]:
        grid = filters.area(alpha, size)
    else:
        strides = (step * alpha.shape[1] / plan.size[0], step * alpha.shape[2] / plan.size[1])
        grid = filters.cubic(alpha, size, strides)
    tolerance = plan.refining.tolerance
    return (grid * (1.0 + 2.0 * tolerance) - tolerance).clamp(0.0, 1.0)


class Mattes:
    """A matte at the sizes of a frame's planes, each computed once."""

    def __init__(self, matte: Tensor, plan: FramePlan) -> None:
        self._plan = plan
        self._sizes = {plan.size: matte}

    def of(self, index: int) -> Tensor:
        """Return the matte at plane ``index``'s size."""
        shape = self._plan.shape(index)
        if shape not in self._sizes:
            fy, fx = (-(-old // new) for old, new in zip(self._plan.size, shape, strict=True))
            self._sizes[shape] = shrink(self._sizes[self._plan.size], fy, fx, self._plan.depth)
        return self._sizes[shape]


def foreground(planes: Sequence[Tensor], mattes: Mattes, plan: FramePlan, how: Colouring, filters: Filters) -> list[Tensor]:
    """Return the planes with the foreground's own colour where the matte is soft, not rounded there."""
    cell, top = how.cell, float(plan.top)
    weight = shrink(mattes.of(0), cell, cell, plan.depth) * (1.0 / top)
    near_soft = boxed(soft_band(weight), how.far + 1)
    least = plan.top // how.faint
    purities = []
    for share in (weight, 1.0 - weight):
        pure = share.square().square().square() + 1e-6
        purities.append((pure, filters.box(pure, how.far, "zero"), filters.box(pure, how.near, "zero")))
    result = []
    for index, plane in enumerate(planes):
        height, width = plane.shape[1:]
        sx, sy = plan.chroma if index and not plan.rgb else (0, 0)
        fy, fx = cell >> sy, cell >> sx
        small = shrink(plane, fy, fx, plan.depth)
        guesses = []
        for pure, far_weight, near_weight in purities:
            far = filters.box(small * pure, how.far, "zero") / far_weight
            mixed = (far * how.trust + filters.box(small * pure, how.near, "zero")) / (near_weight + how.trust)
            guesses.append(repeat(grow(mixed, fy // 2, fx // 2), 2, 2)[:, :height, :width])
        front, back = guesses
        alpha = mattes.of(index)
        share = alpha * (1.0 / top)
        value = (plane - back - (front - back) * share) * share + front
        value = value.clamp(0, (1 << plan.depth) - 1)
        soft = (alpha >= least) & (alpha <= plan.top - least) & repeat(near_soft, fy, fx)[:, :height, :width]
        result.append(torch.where(soft, value, plane))
    return result


def blurred(planes: Sequence[Tensor], mattes: Mattes, plan: FramePlan, how: Blurring, filters: Filters) -> list[Tensor]:
    """Return the blurred background, without the subject."""
    alpha = dilate(shrink(mattes.of(0), how.cell, how.cell, plan.depth), 1)
    room = (1.0 - alpha * (1.0 / plan.top)) ** 2 + 1e-5
    known = [(reach, filters.box(room, reach, "repeat")) for reach in how.reaches]
    result = []
    for index, plane in enumerate(planes):
        sx, sy = plan.chroma if index and not plan.rgb else (0, 0)
        fy, fx = how.cell >> sy, how.cell >> sx
        small = shrink(plane, fy, fx, plan.depth)
        seen, guess = small * room, small
        for turn, (reach, weight) in enumerate(known):
            trust = how.trust if turn else 0.0
            guess = (filters.box(seen, reach, "repeat") + trust * guess) / (weight + trust)
        filled = filters.gauss(seen + (1.0 - room) * guess, how.sigma, "repeat")
        whole = grow(filled, fy, fx)[:, : plane.shape[1], : plane.shape[2]]
        result.append(whole.round().clamp(0, (1 << plan.depth) - 1))
    return result


def blend(front: Sequence[Tensor], mattes: Mattes, back: Sequence[Tensor | float], plan: FramePlan) -> list[Tensor]:
    """Blend ``front`` over ``back`` (planes, or one code value per plane), rounding each product."""
    top = float(plan.top)
    result = []
    for index, (fore, behind) in enumerate(zip(front, back, strict=True)):
        alpha = mattes.of(index)
        result.append((fore * alpha * (1.0 / top)).round() + ((top - alpha) * behind * (1.0 / top)).round())
    return result


def over(front: Sequence[Tensor], mattes: Mattes, back: Sequence[Tensor | float], plan: FramePlan) -> list[Tensor]:
    """Blend ``front``, as returned by `foreground`, over ``back``, rounding once, as the host does."""
    result = []
    for index, (fore, behind) in enumerate(zip(front, back, strict=True)):
        share = mattes.of(index) * (1.0 / plan.top)
        result.append(((fore - behind) * share + behind).round())
    return result


def black_of(plan: FramePlan) -> list[float]:
    """Return the code values of black, plane by plane."""
    return [float(plan.black if plan.rgb or index == 0 else 1 << (plan.depth - 1)) for index in range(plan.planes)]


def around(matte: Tensor, plan: FramePlan) -> Tensor:
    """Return full scale within a few pixels of the subject, 0 elsewhere."""
    return dilate((matte > 0).float(), _REACH) * plan.top
