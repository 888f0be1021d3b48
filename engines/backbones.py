"""The table of encoders that GFM can be built on.

Every encoder turns an image into feature maps, finest first, whose strides are powers of two up to 32. A new encoder is
one entry in `BACKBONES`; the network reads channels, strides and input scaling from there and has no case per encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution without bias, batch norm and, unless ``act`` is None, an activation: what exporters fold to one op."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        layers: list[nn.Module] = [
            nn.Conv2d(cin, cout, kernel, stride, padding, dilation=dilation, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
        ]
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)


class InvertedResidual(nn.Module):
    """MobileNetV2 block (Sandler et al. 2018): expand 1x1, depthwise 3x3, project 1x1, shortcut where shapes allow."""

    def __init__(self, cin: int, cout: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = cin * expand
        self.shortcut = stride == 1 and cin == cout
        self.expand = ConvBN(cin, hidden, 1, act=nn.ReLU6)
        self.depthwise = ConvBN(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6)
        self.project = ConvBN(hidden, cout, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, cin, h, w) to (N, cout, h/stride, w/stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """MobileNetV2 1.0 up to its 320-channel map; float (N, 3, H, W) in, five maps of strides 2, 4, 8, 16, 32 out."""

    # (expansion, channels, blocks, stride) of each stage, Table 2 of the paper.
    STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    TAPS = (0, 2, 5, 12, 16)
    """Blocks whose output is the last one of its stride."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBN(3, 32, 3, 2, act=nn.ReLU6)
        blocks: list[nn.Module] = []
        cin = 32
        for expand, cout, count, stride in self.STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(cin, cout, stride if index == 0 else 1, expand))
                cin = cout
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of strides 2 to 32, finest first; ``x`` is already scaled."""
        x = self.stem(x)
        features: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.TAPS:
                features.append(x)
        return features

    def load_gluon(self, path: Path) -> None:
        """Load ImageNet weights from an ``.npz`` in the Gluon layout.

        Args:
            path: arrays ``features_conv0_weight``, ``features_batchnorm0_gamma``,
                ``features_linearbottleneck<i>_conv<j>_weight`` and so on.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        with np.load(path) as arrays:
            _copy_gluon(arrays, "features_", 0, self.stem)
            for index, block in enumerate(self.blocks):
                assert isinstance(block, InvertedResidual)
                for part, layers in enumerate((block.expand, block.depthwise, block.project)):
                    _copy_gluon(arrays, f"features_linearbottleneck{index}_", part, layers)


def _copy_gluon(arrays: Mapping[str, np.ndarray], prefix: str, index: int, layers: ConvBN) -> None:
    conv, norm = layers[0], layers[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    pairs = {
        f"{prefix}conv{index}_weight": conv.weight,
        f"{prefix}batchnorm{index}_gamma": norm.weight,
        f"{prefix}batchnorm{index}_beta": norm.bias,
        f"{prefix}batchnorm{index}_running_mean": norm.running_mean,
        f"{prefix}batchnorm{index}_running_var": norm.running_var,
    }
    for key, target in pairs.items():
        if key not in arrays or arrays[key].shape != tuple(target.shape):
            found = arrays[key].shape if key in arrays else "nothing"
            raise ValueError(f"ImageNet weights: {key} should have shape {tuple(target.shape)}, found {found}")
        with torch.no_grad():
            target.copy_(torch.from_numpy(arrays[key]))


@dataclass(frozen=True)
class Backbone:
    """One encoder as the network sees it."""

    build: Callable[[], nn.Module]
    """Makes the encoder with random weights; its forward returns the maps, finest first."""
    channels: tuple[int, ...]
    """Channels of each map."""
    strides: tuple[int, ...]
    """Stride of each map."""
    mean: tuple[float, float, float]
    """Subtracted from RGB 0..255."""
    std: tuple[float, float, float]
    """Then divided by; in units of 0..255. (0, 0, 0) and (1, 1, 1) leave the input as it is."""


BACKBONES: dict[str, Backbone] = {
    "mobilenetv2": Backbone(
        build=MobileNetV2,
        channels=(16, 24, 32, 96, 320),
        strides=(2, 4, 8, 16, 32),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
}
