"""The table of encoders that GFM can be built on.

Every encoder turns an image into feature maps, finest first, whose strides are powers of two up to 32. A new encoder is
one entry in `BACKBONES`; the network reads channels, strides and input scaling from there and has no case per encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution, batch norm and, unless ``act`` is None, an activation, which exporters fold into one operator."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        layers: list[nn.Module] = [
            nn.Conv2d(cin, cout, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias),
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
        """Map float (N, cin, h, w) to (N, cout, h/stride, w/stride)."""
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
    """Blocks whose output is the last one of their stride."""

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

    def forward(self, x: Tensor, hint: Tensor | None = None) -> list[Tensor]:
        """Return maps of strides 2 to 32, finest first; ``x`` is already scaled, and ``hint``, (N, 32, H/2, W/2), is added before the stem's activation."""
        convolution, norm, activation = self.stem
        x = norm(convolution(x))
        x = activation(x if hint is None else x + hint)
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


class BasicBlock(nn.Module):
    """ResNet block of two 3x3 convolutions (He et al. 2016); names match torchvision's, so that its weights load."""

    GROWTH = 1

    def __init__(self, cin: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(cin, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, width, h/stride, w/stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """ResNet block 1x1, 3x3, 1x1 with four times the width at its end; the stride is on the 3x3, as in torchvision.

    With ``groups`` it is a ResNeXt block (Xie et al. 2017), whose inner width is that of ``groups`` times eight channels for 64.
    """

    GROWTH = 4

    def __init__(self, cin: int, width: int, stride: int, groups: int = 1, dilation: int = 1) -> None:
        super().__init__()
        cout = width * self.GROWTH
        inner = width if groups == 1 else width * groups * 8 // 64
        self.conv1 = nn.Conv2d(cin, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample = _shortcut(cin, cout, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, 4 width, h/stride, w/stride)."""
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(cin: int, cout: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and cin == cout:
        return None
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


def _stage(block: Callable[..., nn.Module], growth: int, cin: int, width: int, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(block(cin, width, stride), *(block(width * growth, width, 1) for _ in range(count - 1)))


class ResNet(nn.Module):
    """ResNet without its classifier; float (N, 3, H, W) to maps of strides 2, 4, 8, 16, 32: the stem and four stages.

    With ``extra`` it is the paper's r2b: a stem of stride 1 and no pooling before the first stage, then two more stages of
    three basic blocks behind a pooling each, so that the seven maps have strides 1, 1, 2, 4, 8, 16, 32.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        counts: blocks of each stage.
        extra: see above.
        inputs: channels of the image.
        groups: groups of a ResNeXt, whose blocks are bottlenecks.
        dilated: the last two stages keep stride 8 and dilate by 2 and 4 instead (Zhao et al. 2017); bottlenecks alone.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        counts: tuple[int, int, int, int],
        *,
        extra: bool = False,
        inputs: int = 3,
        groups: int = 1,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        if extra:
            self.stem = ConvBN(3, 64, 3, bias=True)
        else:
            self.conv1 = nn.Conv2d(inputs, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        wide, stride = block.GROWTH, 1 if dilated else 2
        made: Callable[..., nn.Module] = block if groups == 1 else partial(Bottleneck, groups=groups)
        self.layer1 = _stage(made, wide, 64, 64, counts[0], 1)
        self.layer2 = _stage(made, wide, 64 * wide, 128, counts[1], 2)
        self.layer3 = _stage(partial(made, dilation=2) if dilated else made, wide, 128 * wide, 256, counts[2], stride)
        self.layer4 = _stage(partial(made, dilation=4) if dilated else made, wide, 256 * wide, 512, counts[3], stride)
        self.extra = extra
        if extra:
            self.layer5 = _stage(block, wide, 512, 512, 3, 1)
            self.layer6 = _stage(block, wide, 512, 512, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return all maps, finest first."""
        if self.extra:
            x = self.stem(x)
            features = [x, self.layer1(x)]
        else:
            x = F.relu(self.bn1(self.conv1(x)))
            features = [x, self.layer1(F.max_pool2d(x, 3, 2, 1))]
        for stage in (self.layer2, self.layer3, self.layer4):
            features.append(stage(features[-1]))
        if self.extra:
            for stage in (self.layer5, self.layer6):
                features.append(stage(F.max_pool2d(features[-1], 2)))
        return features


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3; its 32 new channels are appended (Huang et al. 2017)."""

    def __init__(self, cin: int, growth: int = 32) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, cin + growth, h, w)."""
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], dim=1)


class DenseNet(nn.Module):
    """DenseNet without its classifier; float (N, 3, H, W) to maps of strides 2, 4, 8, 16, 32: the stem and four blocks.

    Args:
        counts: layers of each block.
        pooled: the stem is pooled as in the original, and the maps are those before each transition. Otherwise it is the GFM
            paper's: no pooling after the stem, maps after the transitions, and behind the last block a 3x3 convolution to 512
            channels and a pooling.
    """

    def __init__(self, counts: tuple[int, int, int, int], *, pooled: bool) -> None:
        super().__init__()
        features: dict[str, nn.Module] = {"conv0": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm0": nn.BatchNorm2d(64)}
        width = 64
        for number, count in enumerate(counts, 1):
            layers = {f"denselayer{i + 1}": DenseLayer(width + 32 * i) for i in range(count)}
            features[f"denseblock{number}"] = nn.Sequential(OrderedDict(layers))
            width += 32 * count
            if number < 4:
                transition = {"norm": nn.BatchNorm2d(width), "conv": nn.Conv2d(width, width // 2, 1, bias=False)}
                features[f"transition{number}"] = nn.ModuleDict(transition)
                width //= 2
        if pooled:
            features["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.ModuleDict(features)
        self.reduce = None if pooled else ConvBN(width, 512, 3, bias=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return all maps, finest first."""
        parts = self.features
        maps = [F.relu(parts["norm0"](parts["conv0"](x)))]
        x = maps[0] if self.reduce is not None else F.max_pool2d(maps[0], 3, 2, 1)
        for number in (1, 2, 3):
            block = parts[f"denseblock{number}"](x)
            transition = parts[f"transition{number}"]
            assert isinstance(transition, nn.ModuleDict)
            x = F.avg_pool2d(transition["conv"](F.relu(transition["norm"](block))), 2)
            maps.append(x if self.reduce is not None else block)
        x = parts["denseblock4"](x)
        if self.reduce is None:
            return [*maps, F.relu(parts["norm5"](x))]
        return [*maps, F.max_pool2d(self.reduce(x), 2)]


class VGG16(nn.Module):
    """The thirteen convolutions of VGG-16 (Simonyan and Zisserman 2015), each with ReLU; pooling is left to the network around
    it.

    Args:
        inputs: channels of the image.
        norm: a batch norm behind each convolution.
    """

    STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def __init__(self, inputs: int = 3, *, norm: bool = False) -> None:
        super().__init__()
        # Numbers are torchvision's, in whose one sequence a pooling stands after each stage.
        features: dict[str, nn.Module] = {}
        self.stages: list[list[str]] = []
        number = 0
        for widths in self.STAGES:
            self.stages.append([])
            for width in widths:
                features[str(number)] = nn.Conv2d(inputs, width, 3, padding=1)
                self.stages[-1].append(str(number))
                if norm:
                    features[str(number + 1)] = nn.BatchNorm2d(width)
                inputs, number = width, number + 2 + norm
            number += 1
        self.features = nn.ModuleDict(features)
        self.norm = norm

    def stage(self, index: int, x: Tensor) -> Tensor:
        """Apply the convolutions of one stage to float (N, C, h, w); height and width stay the same."""
        for name in self.stages[index]:
            x = self.features[name](x)
            x = F.relu(self.features[str(int(name) + 1)](x) if self.norm else x)
        return x


@dataclass(frozen=True)
class Backbone:
    """Description of one encoder."""

    build: Callable[[], nn.Module]
    """Builds the encoder with random weights; its forward returns the maps, finest first."""
    channels: tuple[int, ...]
    """Channels of each map."""
    strides: tuple[int, ...]
    """Stride of each map."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from RGB 0..255."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Then divided by; in units of 0..255."""
    hint: int | None = None
    """Channels of the hint at stride 2 that its forward takes beside the image; None: it takes none."""


IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and deviation of ImageNet's images, for `Backbone`."""

BACKBONES: dict[str, Backbone] = {
    "mobilenetv2": Backbone(
        build=MobileNetV2,
        channels=(16, 24, 32, 96, 320),
        strides=(2, 4, 8, 16, 32),
        mean=IMAGENET[0],
        std=IMAGENET[1],
        hint=32,
    ),
    # The paper's encoders take the image as it is, 0..255.
    "resnet34": Backbone(partial(ResNet, BasicBlock, (3, 4, 6, 3)), (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    "resnet34_2b": Backbone(
        partial(ResNet, BasicBlock, (3, 4, 6, 3), extra=True), (64, 64, 128, 256, 512, 512, 512), (1, 1, 2, 4, 8, 16, 32)
    ),
    "resnet101": Backbone(partial(ResNet, Bottleneck, (3, 4, 23, 3)), (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)),
    "densenet121": Backbone(
        partial(DenseNet, (6, 12, 24, 16), pooled=False), (64, 128, 256, 512, 512), (2, 4, 8, 16, 32)
    ),
    # Those of the methods that the paper compares with (`streammat.train.methods`).
    "resnet50_dilated": Backbone(
        partial(ResNet, Bottleneck, (3, 4, 6, 3), dilated=True), (64, 256, 512, 1024, 2048), (2, 4, 8, 8, 8), *IMAGENET
    ),
    "resnext101_dilated": Backbone(
        partial(ResNet, Bottleneck, (3, 4, 23, 3), groups=32, dilated=True), (64, 256, 512, 1024, 2048), (2, 4, 8, 8, 8), *IMAGENET
    ),
    "densenet201": Backbone(partial(DenseNet, (6, 12, 48, 32), pooled=True), (64, 256, 512, 1792, 1920), (2, 4, 8, 16, 32), *IMAGENET),
}
