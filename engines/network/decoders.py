"""The two kinds of decoder that GFM is built with: the paper's, which concatenates, and the narrow one of ``lite``, which adds.

Both take the encoder's maps and return, for each of their heads, one map of logits at the network's output stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import ConvBN

Heads = Mapping[str, int]
"""Output channels of each head, by name."""


@dataclass(frozen=True)
class Parts:
    """Optional parts of a decoder; Table 4 of the paper removes them one by one."""

    pooling: bool = False
    """Use pyramid pooling (PPM) at the coarsest map."""
    side: bool = False
    """Feed the pooled map to every finer level, too."""
    bridge: bool = False
    """Use the bridge block at the coarsest map."""
    skip: bool = False
    """Feed the encoder's map to each level."""


@dataclass(frozen=True)
class LitePlan:
    """Shape of one narrow decoder, coarsest level first."""

    widths: tuple[int, ...]
    """Channels at each level, from the coarsest map of the encoder to where the decoder ends; multiples of 16."""
    convs: tuple[int, ...]
    """Number of 3x3 convolutions at each level; at the coarsest level in its bridge block."""


@dataclass(frozen=True)
class PaperPlan:
    """Shape of the paper's decoders, coarsest level first."""

    levels: tuple[tuple[int, int, int], ...]
    """Channels after each of a level's three convolutions: D4 to D1, or D6 to D1."""
    head: tuple[int, ...] = (64, 64)
    """Channels inside D0, before its last convolution."""
    full: bool = False
    """True if the encoder's finest maps have full size: then D1 and D0 do not upsample, and nothing is concatenated before D0."""


class PyramidPooling(nn.Module):
    """Pyramid pooling (PPM) of the published networks: bins 1, 3, 5, each concatenated; float (N, C, h, w), output shape as input."""

    BINS = (1, 3, 5)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in self.BINS)
        self.merge = nn.Conv2d(channels * (len(self.BINS) + 1), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool, project, resize to the size of ``x`` and merge."""
        maps = [
            F.interpolate(branch(adaptive_pool(x, bins)), size=x.shape[-2:], mode="bilinear", align_corners=True)
            for bins, branch in zip(self.BINS, self.branches, strict=True)
        ]
        return F.relu(self.merge(torch.cat([*maps, x], dim=1)))


def adaptive_pool(x: Tensor, bins: int) -> Tensor:
    """Return adaptive average pooling, implemented with slices so that it can be exported for inputs of any size.

    Args:
        x: float (N, C, h, w).
        bins: cells per side; cell i spans floor(i h / bins) to ceil((i + 1) h / bins), as in torch.

    Returns:
        float (N, C, bins, bins).
    """
    if bins == 1:
        return x.mean(dim=(2, 3), keepdim=True)
    for axis in (2, 3):
        x = torch.cat([_cell(x, axis, index, bins) for index in range(bins)], dim=axis)
    return x


def _cell(x: Tensor, axis: int, index: int, bins: int) -> Tensor:
    """Return the mean of one cell along one axis; in a traced graph its limits remain functions of the input's size."""
    size: Any = x.shape[axis]
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        size = torch._shape_as_tensor(x)[axis]  # noqa: SLF001 (there is no public name)
        start = torch.div(index * size, bins, rounding_mode="floor")
        stop = torch.div((index + 1) * size + bins - 1, bins, rounding_mode="floor")
    else:
        start, stop = index * size // bins, ((index + 1) * size + bins - 1) // bins
    cell = x[:, :, start:stop] if axis == 2 else x[:, :, :, start:stop]
    return cell.mean(dim=axis, keepdim=True)


class BridgeBlock(nn.Sequential):
    """Bridge block of the published networks: three 3x3 convolutions of dilation 2; float (N, C, h, w), output shape as input."""

    def __init__(self, channels: int) -> None:
        super().__init__(*(ConvBN(channels, channels, 3, dilation=2, bias=True) for _ in range(3)))


class PaperDecoder(nn.Module):
    """A decoder as published: blocks of three convolutions and an upsampling by 2, fed by concatenation.

    Args:
        plan: widths.
        channels: channels of the encoder's maps, finest first.
        parts: optional parts.
        heads: D0 blocks.
    """

    def __init__(self, plan: PaperPlan, channels: tuple[int, ...], parts: Parts, heads: Heads) -> None:
        super().__init__()
        self.parts = parts
        top = channels[-1]
        self.pooling = PyramidPooling(top) if parts.pooling else None
        self.bridge = BridgeBlock(top) if parts.bridge else None
        count = len(plan.levels)
        # Blocks after the first one, D0 included, that a side branch or the encoder feeds.
        fed = self.fed = count - 1 if plan.full else count
        # A side branch is as wide as what the level before hands on, and is brought up from the coarsest map to its size.
        self.sides = nn.ModuleList(ConvBN(top, plan.levels[i][-1], 3, bias=True) for i in range(fed)) if parts.side else None
        width = top * (1 + parts.pooling + parts.bridge)
        levels: list[nn.Module] = []
        for index, widths in enumerate(plan.levels):
            levels.append(_block(width, widths, upsample=not plan.full or index < count - 1))
            width = widths[-1] * (1 + (parts.side and index < fed))
            if parts.skip and index < fed:
                width += channels[-2 - index]
        self.levels = nn.ModuleList(levels)
        self.heads = nn.ModuleDict(
            {
                name: _block(width, (*plan.head, outputs), upsample=not plan.full, last=True)
                for name, outputs in heads.items()
            }
        )

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Map all maps of the encoder, finest first, to logits (N, outputs, H, W) by head."""
        top = features[-1]
        pooled = self.pooling(top) if self.pooling is not None else None
        context = [pooled] if pooled is not None else []
        if self.bridge is not None:
            context.append(self.bridge(top))
        x = torch.cat([*context, top], dim=1)
        for index, level in enumerate(self.levels):
            x = level(x)
            inputs = [x]
            if self.sides is not None and index < len(self.sides):
                side = self.sides[index](pooled)
                inputs.insert(0, F.interpolate(side, scale_factor=2.0 ** (index + 1), mode="bilinear", align_corners=False))
            if self.parts.skip and index < self.fed:
                inputs.append(features[-2 - index])
            x = torch.cat(inputs, dim=1) if len(inputs) > 1 else x
        return {name: head(x) for name, head in self.heads.items()}


class Upsample(nn.Module):
    """Twice the height and width, bilinear; float (N, C, h, w) to (N, C, 2h, 2w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Upsample with half-pixel centres (corners are not aligned)."""
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _block(cin: int, widths: tuple[int, ...], *, upsample: bool, last: bool = False) -> nn.Sequential:
    """Return 3x3 convolutions with norm and ReLU (the ``last`` block ends with a bare one), then the upsampling."""
    layers: list[nn.Module] = []
    for index, width in enumerate(widths):
        bare = last and index == len(widths) - 1
        layers.append(nn.Conv2d(cin, width, 3, padding=1) if bare else ConvBN(cin, width, 3, bias=True))
        cin = width
    if upsample:
        layers.append(Upsample())
    return nn.Sequential(*layers)


class LitePooling(nn.Module):
    """Pyramid pooling over 1, 3 and 5 bins, added to its input; float (N, C, h, w) to (N, width, h, w).

    The map is first resized to 15x15, which 1, 3 and 5 divide: the pools are exact for every aspect ratio and need no
    operator whose shape depends on the input.
    """

    GRID = 15
    BINS = (1, 3, 5)

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.reduce = ConvBN(cin, width, 1)
        self.branches = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in self.BINS)
        self.merge = ConvBN(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Pool and add; height and width stay the same."""
        x = self.reduce(x)
        grid = F.interpolate(x, size=(self.GRID, self.GRID), mode="bilinear", align_corners=False)
        total = x
        for bins, branch in zip(self.BINS, self.branches, strict=True):
            pooled = branch(F.avg_pool2d(grid, self.GRID // bins))
            total = total + F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False)
        merged: Tensor = self.merge(total)
        return merged


class LiteBridge(nn.Sequential):
    """A reduction and dilated convolutions that widen the view; float (N, C, h, w) to (N, width, h, w)."""

    def __init__(self, cin: int, width: int, convs: int) -> None:
        super().__init__(ConvBN(cin, width, 1), *(ConvBN(width, width, 3, dilation=2) for _ in range(convs)))


class MergeBlock(nn.Module):
    """One level of a narrow decoder: 1x1 to the new width, up by 2, plus the encoder's map, then 3x3 convolutions.

    The order makes it cheap: the 1x1 runs before the upsampling, and maps are added instead of concatenated.
    """

    def __init__(self, cin: int, skip: int, width: int, convs: int) -> None:
        super().__init__()
        self.reduce = ConvBN(cin, width, 1, act=None)
        self.lateral = ConvBN(skip, width, 1, act=None)
        self.convs = nn.Sequential(*(ConvBN(width, width, 3) for _ in range(convs)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (N, cin, h, w) and the encoder's (N, skip, 2h, 2w) to (N, width, 2h, 2w)."""
        up = F.interpolate(self.reduce(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        out: Tensor = self.convs(F.relu(up + self.lateral(skip)))
        return out


class LiteDecoder(nn.Module):
    """Context at the coarsest map, one `MergeBlock` per finer level, one 3x3 convolution per head.

    Args:
        plan: widths.
        channels: channels of the encoder's maps, finest first.
        parts: optional parts; without pooling and bridge there is a bare 1x1 reduction.
        heads: output channels by name.
        finest: levels that the whole network decodes; a decoder that ends earlier has its logits upsampled.
    """

    def __init__(self, plan: LitePlan, channels: tuple[int, ...], parts: Parts, heads: Heads, finest: int) -> None:
        super().__init__()
        width, deepest = plan.widths[0], channels[-1]
        self.pooling = LitePooling(deepest, width) if parts.pooling else None
        self.bridge = LiteBridge(deepest, width, plan.convs[0] if parts.bridge else 0) if parts.bridge or not parts.pooling else None
        skips = tuple(reversed(channels[:-1]))
        self.levels = nn.ModuleList(
            MergeBlock(plan.widths[i], skips[i], plan.widths[i + 1], plan.convs[i + 1]) for i in range(len(plan.widths) - 1)
        )
        self.heads = nn.ModuleDict({name: nn.Conv2d(plan.widths[-1], outputs, 3, padding=1) for name, outputs in heads.items()})
        self.scale = 2 ** (finest - len(plan.widths))

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Map all maps of the encoder, finest first, to logits (N, outputs, h, w) by head."""
        top = features[-1]
        if self.pooling is None:
            assert self.bridge is not None
            x = self.bridge(top)
        else:
            x = self.pooling(top) if self.bridge is None else self.pooling(top) + self.bridge(top)
        for index, level in enumerate(self.levels):
            x = level(x, features[-2 - index])
        logits = {name: head(x) for name, head in self.heads.items()}
        if self.scale > 1:
            scale = float(self.scale)
            logits = {
                name: F.interpolate(value, scale_factor=scale, mode="bilinear", align_corners=False) for name, value in logits.items()
            }
        return logits
