"""Indices Matter: Learning to Index for Deep Image Matting, IndexNet Matting (Lu et al. 2019)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import ConvBN, MobileNetV2
from streammat.train.methods.base import Maps, Method, Targets, unknown_losses


class PaddedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018) at stride 1, padded before its expansion, as the published weights were trained.

    Args:
        cin: channels in.
        cout: channels out.
        expand: inner channels over ``cin``; 1: no expansion.
    """

    def __init__(self, cin: int, cout: int, expand: int) -> None:
        super().__init__()
        hidden = cin * expand
        self.shortcut = cin == cout
        self.expand = _bare(cin, hidden, 1) if expand > 1 else None
        self.depthwise = _bare(hidden, hidden, 3, groups=hidden)
        self.project = ConvBN(hidden, cout, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, cout, h, w)."""
        padded = F.pad(x, (1, 1, 1, 1))
        y: Tensor = self.project(self.depthwise(padded if self.expand is None else self.expand(padded)))
        return x + y if self.shortcut else y


class IndexBlock(nn.Module):
    """Depthwise index network of the many-to-one kind, nonlinear and with context (Section 4.3, Fig. 5).

    Four convolutions of stride 2 see windows of 4x4, each for one position of the inner 2x2.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.places = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU6(),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
            for _ in range(4)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map float (N, C, h, w) to the encoder's indices, which sum to 1 over each 2x2, and the decoder's, 0..1 each; both of
        the shape of x.
        """
        scores = torch.sigmoid(torch.stack([place(x) for place in self.places], dim=2))
        return F.pixel_shuffle(torch.softmax(scores, dim=2).flatten(1, 2), 2), F.pixel_shuffle(scores.flatten(1, 2), 2)


class ContextPooling(nn.Module):
    """Atrous pooling of depthwise separable convolutions, dilated by 2, 4 and 8, behind the encoder."""

    DILATIONS = (2, 4, 8)
    WIDTH = 256

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvBN(cin, self.WIDTH, 1, act=nn.ReLU6),
                *(
                    nn.Sequential(ConvBN(cin, cin, 3, groups=cin, dilation=d, act=nn.ReLU6), ConvBN(cin, self.WIDTH, 1, act=nn.ReLU6))
                    for d in self.DILATIONS
                ),
            ]
        )
        self.mean = ConvBN(cin, self.WIDTH, 1, act=nn.ReLU6)
        self.project = ConvBN(5 * self.WIDTH, cout, 1, act=nn.ReLU6)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, cout, h, w); a batch of at least two in training, because of the norm of the mean."""
        maps = [branch(x) for branch in self.branches]
        mean = self.mean(x.mean(dim=(2, 3), keepdim=True)).expand_as(maps[0])
        out: Tensor = self.dropout(self.project(torch.cat([*maps, mean], dim=1)))
        return out


class IndexedEncoder(nn.Module):
    """MobileNetV2 whose strides are replaced by indexed pooling: layers 0 to 7, of which five are pooled."""

    POOLED: ClassVar[dict[int, int]] = {0: 32, 2: 24, 3: 32, 4: 64, 6: 160}
    """Channels of the layers that indexed pooling follows."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvBN(4, 32, 3, act=nn.ReLU6)]
        cin = 32
        for expand, cout, count, _ in MobileNetV2.STAGES:
            layers.append(nn.Sequential(*(PaddedResidual(cin if i == 0 else cout, cout, expand) for i in range(count))))
            cin = cout
        self.layers = nn.ModuleList(layers)
        self.indices = nn.ModuleDict({str(layer): IndexBlock(channels) for layer, channels in self.POOLED.items()})

    def forward(self, x: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Map float (N, 4, H, W) to the map of each layer, indexed where it is pooled next, and the decoder's indices by layer."""
        maps: list[Tensor] = []
        indices: dict[int, Tensor] = {}
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.POOLED:
                encoding, indices[number] = self.indices[str(number)](x)
                x = encoding * x
                maps.append(x)
                x = 4.0 * F.avg_pool2d(x, 2)  # the sum over each 2x2: Eq. 2
            else:
                maps.append(x)
        return maps, indices


class IndexNet(Method):
    """Encoder, index blocks between encoder and decoder, context pooling, seven levels of 5x5 convolutions (Fig. 4).

    A level's indices are predicted from its map, and guide both its pooling and the decoder's upsampling.
    """

    NAME = "indexnet"
    TITLE = "Lu et al., Indices Matter: Learning to Index for Deep Image Matting, ICCV 2019"
    HEADS = ("trimap",)
    NEEDS_TRIMAP = True
    TERMS = ("alpha", "composition")
    WIDTHS = ((160, 96), (96, 64), (64, 32), (32, 24), (24, 16), (16, 32), (32, 32))
    """Channels of levels 6 to 0: in, from below and from the encoder each, and out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = IndexedEncoder()
        self.pooling = ContextPooling(320, 160)
        self.decoder = nn.ModuleList(ConvBN(2 * cin, cout, 5, act=nn.ReLU6) for cin, cout in self.WIDTHS)
        self.head = nn.Sequential(ConvBN(32, 1, 5, act=nn.ReLU6), nn.Conv2d(1, 1, 5, padding=2, bias=False))

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:
        """Return ``alpha``, which may exceed 0..1."""
        assert trimap is not None
        maps, indices = self.encoder(torch.cat([x, trimap.to(x.dtype)], dim=1))
        y = self.pooling(maps.pop())
        for level, conv in zip(reversed(range(len(maps))), self.decoder, strict=True):
            if level in indices:
                y = indices[level] * F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = conv(torch.cat([y, maps[level]], dim=1))
        return {"alpha": self.head(y).float()}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return the losses of Section 5.1: the alpha prediction and compositional losses of DIM, in the unknown area."""
        alpha, composition = unknown_losses(maps["alpha"], targets)
        return {"alpha": 0.5 * alpha, "composition": 0.5 * composition}


def _bare(cin: int, cout: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Return a convolution without padding, norm, ReLU6."""
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, groups=groups, bias=False), nn.BatchNorm2d(cout), nn.ReLU6())
