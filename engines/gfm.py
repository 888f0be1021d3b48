"""GFM, the Glance and Focus Matting network (Li, Zhang, Maybank, Tao; IJCV 2022).

One encoder is shared by two decoders. The glance decoder, led by pyramid pooling, says of every pixel whether it is
background, transition or foreground; the focus decoder, led by a bridge block of dilated convolutions, gives alpha within
the transition. Collaborative matting joins them.

There is one network class. What differs between networks is one entry in `VARIANTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from engines.backbones import BACKBONES, ConvBN

CLASSES = 3
"""Glance classes of RoSTa TT: 0 background, 1 transition, 2 foreground."""


class GFMOutput(NamedTuple):
    """What the network says, at its output stride s (2 for ``lite``), h = H/s, w = W/s."""

    glance: Tensor
    """float32 (N, 3, h, w): logits of background, transition, foreground."""
    focus: Tensor
    """float32 (N, 1, h, w), 0..1: alpha, meaningful in the transition."""
    alpha: Tensor
    """float32 (N, 1, h, w), 0..1: the fused matte."""


@dataclass(frozen=True)
class DecoderPlan:
    """Shape of one decoder, coarsest level first."""

    widths: tuple[int, ...]
    """Channels at each level, from the coarsest map of the encoder to where the decoder ends; multiples of 16."""
    convs: tuple[int, ...]
    """3x3 convolutions at each level; the coarsest level's are those of its context block."""


@dataclass(frozen=True)
class Variant:
    """One network: an encoder, two decoders."""

    backbone: str
    """Key of `BACKBONES`."""
    glance: DecoderPlan
    focus: DecoderPlan


VARIANTS: dict[str, Variant] = {
    # The glance needs no detail: it ends at stride 4 and only its three logits are brought to stride 2.
    "lite": Variant(
        backbone="mobilenetv2",
        glance=DecoderPlan(widths=(128, 96, 64, 32), convs=(1, 1, 1, 1)),
        focus=DecoderPlan(widths=(128, 96, 64, 48, 16), convs=(2, 1, 1, 1, 2)),
    ),
}


class PyramidPooling(nn.Module):
    """Pyramid pooling (PPM) over 1, 3 and 5 bins, added to its input; float (N, C, h, w) to (N, width, h, w).

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
        """Same height and width out as in."""
        x = self.reduce(x)
        grid = F.interpolate(x, size=(self.GRID, self.GRID), mode="bilinear", align_corners=False)
        total = x
        for bins, branch in zip(self.BINS, self.branches, strict=True):
            pooled = branch(F.avg_pool2d(grid, self.GRID // bins))
            total = total + F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False)
        merged: Tensor = self.merge(total)
        return merged


class BridgeBlock(nn.Sequential):
    """Bridge block: a reduction and dilated convolutions that widen the view; float (N, C, h, w) to (N, width, h, w)."""

    def __init__(self, cin: int, width: int, convs: int) -> None:
        super().__init__(ConvBN(cin, width, 1), *(ConvBN(width, width, 3, dilation=2) for _ in range(convs)))


class MergeBlock(nn.Module):
    """One decoder level: 1x1 to the new width, up by 2, plus the encoder's map, then 3x3 convolutions.

    The order is what makes it cheap: the 1x1 runs before the upsampling, and maps are added instead of concatenated.
    """

    def __init__(self, cin: int, skip: int, width: int, convs: int) -> None:
        super().__init__()
        self.reduce = ConvBN(cin, width, 1, act=None)
        self.lateral = ConvBN(skip, width, 1, act=None)
        self.convs = nn.Sequential(*(ConvBN(width, width, 3) for _ in range(convs)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, cin, h, w) and the encoder's (N, skip, 2h, 2w) to (N, width, 2h, 2w)."""
        up = F.interpolate(self.reduce(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        out: Tensor = self.convs(F.relu(up + self.lateral(skip)))
        return out


class Decoder(nn.Module):
    """A context block at the coarsest map, then one `MergeBlock` per finer level, then the head."""

    def __init__(self, context: nn.Module, plan: DecoderPlan, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.context = context
        skips = tuple(reversed(channels[:-1]))
        self.levels = nn.ModuleList(
            MergeBlock(plan.widths[i], skips[i], plan.widths[i + 1], plan.convs[i + 1]) for i in range(len(plan.widths) - 1)
        )
        self.head = nn.Conv2d(plan.widths[-1], outputs, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """All maps of the encoder, finest first, to (N, outputs, h, w) at the finest level of the plan."""
        x = self.context(features[-1])
        for index, level in enumerate(self.levels):
            x = level(x, features[-2 - index])
        out: Tensor = self.head(x)
        return out


class GFM(nn.Module):
    """The network.

    Args:
        name: key of `VARIANTS`.

    Raises:
        KeyError: no such variant.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "lite") -> None:
        super().__init__()
        if name not in VARIANTS:
            raise KeyError(f"no network named {name!r}; there are {', '.join(VARIANTS)}")
        self.name = name
        variant = VARIANTS[name]
        backbone = BACKBONES[variant.backbone]
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.encoder = backbone.build()
        deepest = backbone.channels[-1]
        glance, focus = variant.glance, variant.focus
        self.glance = Decoder(PyramidPooling(deepest, glance.widths[0]), glance, backbone.channels, CLASSES)
        self.focus = Decoder(BridgeBlock(deepest, focus.widths[0], focus.convs[0]), focus, backbone.channels, 1)
        steps = len(focus.widths) - len(glance.widths)
        self.glance_scale = 2**steps
        self.stride = backbone.strides[len(backbone.strides) - len(focus.widths)]
        """Input pixels per output pixel, in each direction."""

    def forward(self, image: Tensor) -> GFMOutput:
        """Matte a batch.

        Args:
            image: float32 (N, 3, H, W), RGB, 0..255; H and W are multiples of 32.

        Returns:
            Glance, focus and alpha at H/stride x W/stride.
        """
        return self.decode(self.encoder((image - self.mean) / self.std))

    def decode(self, features: list[Tensor]) -> GFMOutput:
        """Both decoders and the fusion; ``features`` are the encoder's maps, finest first."""
        glance = self.glance(features)
        if self.glance_scale > 1:
            glance = F.interpolate(glance, scale_factor=float(self.glance_scale), mode="bilinear", align_corners=False)
        focus = torch.sigmoid(self.focus(features).float())
        glance = glance.float()
        return GFMOutput(glance, focus, fuse(glance, focus))


def fuse(glance: Tensor, focus: Tensor) -> Tensor:
    """Collaborative matting for RoSTa TT with soft classes: alpha = p_foreground + p_transition * focus.

    The paper takes the class by argmax (its Eq. 1); the expectation used here agrees with it where the glance is sure,
    is differentiable, and has no hard steps where it is not.

    Args:
        glance: float (N, 3, h, w), logits of background, transition, foreground.
        focus: float (N, 1, h, w), 0..1.

    Returns:
        float (N, 1, h, w), 0..1.
    """
    probability = torch.softmax(glance, dim=1)
    return probability[:, 2:3] + probability[:, 1:2] * focus
