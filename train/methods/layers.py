"""Layers that several of the methods share."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import ConvBN
from streammat.engines.network.decoders import adaptive_pool


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Resize bilinearly to the height and width of ``like``."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pool 2x2 maxima and remember their positions (Badrinarayanan et al. 2017), with operators that can be exported.

    Args:
        x: float (N, C, h, w), h and w even.

    Returns:
        The maxima, (N, C, h/2, w/2), and their positions for `max_unpool`, (N, C, 4, h/2, w/2), 0 or 1; of equal values the first
        in raster order counts.
    """
    quarters = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=2)
    largest = quarters.amax(dim=2, keepdim=True)
    found = (quarters == largest).to(x.dtype)
    # A place counts if none before it does: their running sum is 1 there and it is marked.
    earlier = torch.cat([torch.zeros_like(found[:, :, :1]), found[:, :, :1], found[:, :, :2].amax(2, keepdim=True), found[:, :, :3].amax(2, keepdim=True)], dim=2)
    places = found * (1.0 - earlier)
    return (quarters * places).sum(dim=2), places


def max_unpool(x: Tensor, places: Tensor) -> Tensor:
    """Put each value at the position of its maximum, 0 elsewhere: (N, C, h, w) to (N, C, 2h, 2w)."""
    return F.pixel_shuffle((x.unsqueeze(2) * places).flatten(1, 2), 2)


class PyramidPooling(nn.Module):
    """PSPNet's pooling (Zhao et al. 2017, Fig. 3): bins 1, 2, 3 and 6, a quarter of the channels each, concatenated with the
    input.

    Args:
        cin: channels.
    """

    BINS = (1, 2, 3, 6)

    def __init__(self, cin: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvBN(cin, cin // len(self.BINS), 1) for _ in self.BINS)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, C, h, w) to (N, 2C, h, w)."""
        pooled = [enlarge(branch(adaptive_pool(x, bins)), x) for bins, branch in zip(self.BINS, self.branches, strict=True)]
        return torch.cat([x, *pooled], dim=1)


class AtrousPooling(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017): a 1x1 convolution, three dilated 3x3 ones and the mean, then a 1x1.

    Args:
        cin: channels in.
        width: channels of each branch, and out.
        dilations: dilations of the three.
    """

    def __init__(self, cin: int, width: int, dilations: tuple[int, int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBN(cin, width, 1), *(ConvBN(cin, width, 3, dilation=d) for d in dilations)])
        # No norm: a batch of one would have one value to norm.
        self.mean = nn.Sequential(nn.Conv2d(cin, width, 1), nn.ReLU())
        self.project = ConvBN(width * 5, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, width, h, w)."""
        mean = self.mean(x.mean(dim=(2, 3), keepdim=True))
        maps = [branch(x) for branch in self.branches]
        out: Tensor = self.project(torch.cat([*maps, mean.expand_as(maps[0])], dim=1))
        return out


class UpBlock(nn.Module):
    """One level of a decoder: bilinear upsampling to the encoder's map, concatenation, 3x3 convolutions.

    Args:
        cin: channels from below.
        skip: channels of the encoder's map.
        widths: channels after each convolution.
    """

    def __init__(self, cin: int, skip: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (cin + skip, *widths)
        self.convs = nn.Sequential(*(ConvBN(a, b, 3) for a, b in zip(sizes, widths, strict=False)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (N, cin, h, w) and (N, skip, h', w') to (N, widths[-1], h', w')."""
        out: Tensor = self.convs(torch.cat([enlarge(x, skip), skip], dim=1))
        return out
