"""Converts a frame's planes to the network's small RGB image exactly as swscale does, including rounding.

The host scales with swscale's AREA and converts with whatever swscale takes for the format. At edges the network amplifies a
difference of one code value, so the details of each conversion are reproduced:

* 8 bits in 4:2:0 and 4:2:2: each chroma sample is used for its whole block, and every product is rounded down.
* 4:4:4, RGB and grey: to the nearest value. Grey is taken as full range. RGB of 8 bits that becomes half as wide or less has its
  colour differences, though not its luma, averaged over pairs of pixels first.
* All others: chroma is scaled to half the width and the full height, all is rounded to 8 bits, and colours are steps in a
  table of lumas, which for limited range begins 1.8 code values too low.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from streammat.engines.gpu.plan import FramePlan
from streammat.engines.gpu.resample import Filters, Size, repeat, shorten

_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Share of red and of blue in luma, by matrix code."""


def small_rgb(planes: list[Tensor], plan: FramePlan, size: Size, filters: Filters) -> Tensor:
    """Return uint8 (N, height, width, 3), upright.

    Args:
        planes: float32 (N, h, w) code values, ``plan.planes`` of them, in the frames' stored orientation.
        plan: plan of these frames.
        size: (height, width) of the upright image, even.
        filters: of the device.
    """
    height, width = size if plan.turns % 2 == 0 else size[::-1]
    small = []
    for index, plane in enumerate(planes):
        sx, sy = plan.chroma if index and not plan.rgb else (0, 0)
        wanted = (-(-height >> sy), -(-width >> sx))
        small.append(plane if plane.shape[1:] == wanted else filters.area(plane, wanted).round())
    unit = 2.0 ** (8 - plan.depth)
    if plan.rgb and plan.depth == 8 and 2 * width <= plan.size[1]:
        colours = _paired(planes, (height, width), filters)
    elif plan.rgb:
        colours = [small[index] * unit for index in (2, 0, 1)]
    elif plan.planes == 1:
        colours = [small[0] * unit] * 3
    elif plan.chroma == (0, 0):
        colours = _exact([plane * unit for plane in small], plan)
    elif plan.depth == 8 and plan.chroma in ((1, 1), (1, 0)):
        colours = _quick(small, plan)
    else:
        colours = _stepped([plane * unit for plane in small], plan, filters)
    rgb = torch.stack(colours, -1).round().clamp(0, 255).to(torch.uint8)
    return torch.rot90(rgb, plan.turns, (1, 2)).contiguous()


def _paired(planes: list[Tensor], size: Size, filters: Filters) -> list[Tensor]:
    red, blue = _WEIGHTS[5]
    weights = (1 - red - blue, blue, red)
    fine = [filters.area(plane, size) for plane in planes]
    coarse = [filters.area(shorten(plane), size) for plane in planes]
    luma = sum(weight * (a - b) for weight, a, b in zip(weights, fine, coarse, strict=True))
    return [coarse[index] + luma for index in (2, 0, 1)]


def _coefficients(plan: FramePlan) -> tuple[float, float, float, float, float]:
    """Return the factors of luma, of V in red, U in green, V in green, and U in blue."""
    red, blue = _WEIGHTS[plan.matrix]
    green = 1 - red - blue
    gain, colour = (1.0, 2.0) if plan.full else (255 / 219, 2 * 255 / 224)
    rv, bu = colour * (1 - red), colour * (1 - blue)
    return gain, rv, -bu * blue / green, -rv * red / green, bu


def _exact(planes: list[Tensor], plan: FramePlan) -> list[Tensor]:
    gain, rv, gu, gv, bu = _coefficients(plan)
    y = (planes[0] - (0 if plan.full else 16)) * gain
    u, v = planes[1] - 128, planes[2] - 128
    return [y + rv * v, y + gu * u + gv * v, y + bu * u]


def _quick(planes: list[Tensor], plan: FramePlan) -> list[Tensor]:
    # Coefficients of 13 bits: what is rounded down is then exact in float32.
    gain, rv, gu, gv, bu = (round(value * 8192) / 8192 for value in _coefficients(plan))
    y = ((planes[0] - (0 if plan.full else 16)) * gain).floor()
    u, v = (repeat(plane - 128, 1 << plan.chroma[1], 1 << plan.chroma[0]) for plane in planes[1:])
    return [y + (rv * v).floor(), y + (gu * u).floor() + (gv * v).floor(), y + (bu * u).floor()]


def _stepped(planes: list[Tensor], plan: FramePlan, filters: Filters) -> list[Tensor]:
    gain, rv, gu, gv, bu = _coefficients(plan)
    height, width = planes[0].shape[1:]
    y = (planes[0] + 0.5).floor()
    chroma = []
    for plane in planes[1:]:
        half = filters.halve(plane) if plane.shape[2] == width else plane
        chroma.append(repeat((filters.area(half, (height, width // 2)) + 0.5).floor(), 1, 2))
    u, v = chroma

    def steps(plane: Tensor, coefficient: float) -> Tensor:
        per_step = coefficient / gain
        return (plane * per_step).floor() - math.floor(128 * per_step)

    begin = 0.0 if plan.full else 326 * gain - 400
    lumas = (y + steps(v, rv), y + steps(u, gu) + steps(v, gv), y + steps(u, bu))
    return [(luma * gain + begin + 0.5).floor() for luma in lumas]
