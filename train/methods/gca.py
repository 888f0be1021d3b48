"""Natural Image Matting via Guided Contextual Attention (Li and Lu 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from streammat.train.methods.base import UNKNOWN, Maps, Method, Targets, unknown_losses


def _normed(cin: int, cout: int, kernel: int, stride: int = 1, *, pad: bool = True) -> nn.Module:
    """Return a convolution under spectral norm (Miyato et al. 2018), as all of the network's but the last."""
    return spectral_norm(nn.Conv2d(cin, cout, kernel, stride, kernel // 2 if pad else 0, bias=False))


def _doubled(channels: int, cout: int) -> nn.Module:
    """Return a transposed convolution to twice the size, under spectral norm."""
    return spectral_norm(nn.ConvTranspose2d(channels, cout, 4, 2, 1, bias=False), dim=0)


class EncoderBlock(nn.Module):
    """Residual block of the encoder; with a stride its shortcut is an average (ResNet-D, He et al. 2019)."""

    def __init__(self, cin: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _normed(cin, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _normed(width, width, 3), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(nn.AvgPool2d(stride), _normed(cin, width, 1), nn.BatchNorm2d(width)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, width, h/stride, w/stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class DecoderBlock(nn.Module):
    """Residual block of the decoder; the first one of a stage doubles height and width."""

    def __init__(self, cin: int, width: int, *, up: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = _doubled(cin, cin) if up else _normed(cin, cin, 3), nn.BatchNorm2d(cin)
        self.conv2, self.bn2 = _normed(cin, width, 3), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), _normed(cin, width, 1), nn.BatchNorm2d(width)) if up else None

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, cin, h, w) to (N, width, h, w), or of twice the size."""
        y = self.bn2(self.conv2(F.leaky_relu(self.bn1(self.conv1(x)), 0.2)))
        return F.leaky_relu(y + (x if self.shortcut is None else self.shortcut(x)), 0.2)


class GuidedAttention(nn.Module):
    """Guided contextual attention (Section 3.2, Fig. 3): opacity flows between places with similar image features.

    Patches of the image's features are compared with each other; a place receives the alpha features of similar places. Unknown
    places are excluded as their own source, and known and unknown sources are weighted by their numbers.

    Args:
        channels: of both maps.
    """

    RATE = 2
    """Step between the compared places."""
    PATCH, VALUE = 3, 4
    """Sides of a patch of the image's features and of the alpha features, in pixels of the maps."""

    keys: Tensor
    values: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("keys", _single(self.PATCH, channels // 2), persistent=False)
        self.register_buffer("values", _single(self.VALUE, channels), persistent=False)
        self.guidance = nn.Conv2d(channels, channels // 2, 1)
        self.project = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, image: Tensor, alpha: Tensor, unknown: Tensor) -> Tensor:
        """Propagate alpha features by attention.

        Args:
            image: float (N, C, h, w), features of the image.
            alpha: float (N, C, h, w), features to propagate.
            unknown: float (N, 1, h, w), 1 in the unknown area.

        Returns:
            Float (N, C, h, w): ``alpha`` plus the propagated features.
        """
        rate = self.RATE
        guide, unknown = self.guidance(image)[:, :, ::rate, ::rate], unknown[:, :, ::rate, ::rate]
        keys = _patches(guide, self.keys, 1)
        normed = keys / keys.norm(dim=1, keepdim=True).clamp(min=1e-4)
        values = _patches(alpha, self.values, rate)
        # Eq. 4 and 5: similarity of source j (rows) and place i (columns), weighed by the kind of the source.
        similarity = normed.transpose(1, 2) @ keys
        around = F.max_pool2d(F.pad(unknown, (1, 1, 1, 1), mode="reflect"), 3, 1).flatten(2).transpose(1, 2)
        share = unknown.mean(dim=(1, 2, 3)).view(-1, 1, 1)
        weight = torch.where(around > 0, (share / (1.0 - share)).sqrt().clamp(0.1, 10.0), ((1.0 - share) / share).sqrt().clamp(0.1, 10.0))
        number = torch.ones_like(around).cumsum(dim=1)
        oneself = (number == number.transpose(1, 2)).to(similarity.dtype)
        attention = torch.softmax(similarity * weight - 1e4 * oneself * around, dim=1)
        # Eq. 6: each place receives the patches, laid over each other; every pixel is covered by four.
        lent = (values @ attention).reshape(values.shape[0], values.shape[1], guide.shape[2], guide.shape[3])
        out: Tensor = self.project(_fold(lent, self.values, rate) / 4.0)
        return out + alpha


class Guide(nn.Sequential):
    """Features of the image alone, at an eighth of its size, for the attention to compare: (N, 3, H, W) to (N, 128, H/8, W/8)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for cin, cout in ((3, 16), (16, 32), (32, 128)):
            layers += [nn.ReflectionPad2d(1), _normed(cin, cout, 3, 2, pad=False), nn.ReLU(), nn.BatchNorm2d(cout)]
        super().__init__(*layers)


class Encoder(nn.Module):
    """The beginning of ResNet-34, with slower downsampling and shortcuts to the decoder (Fig. 2)."""

    COUNTS = (3, 4, 4, 2)
    WIDTHS = (64, 128, 256, 512)
    CHANNELS = 6
    """Image and trimap, one channel for each of its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _normed(self.CHANNELS, 32, 3, 2), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = _normed(32, 32, 3), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = _normed(32, 64, 3, 2), nn.BatchNorm2d(64)
        stages: list[nn.Module] = []
        cin = 64
        for index, (count, width) in enumerate(zip(self.COUNTS, self.WIDTHS, strict=True)):
            first = EncoderBlock(cin, width, 2 if index else 1)
            stages.append(nn.Sequential(first, *(EncoderBlock(width, width, 1) for _ in range(count - 1))))
            cin = width
        self.stages = nn.ModuleList(stages)
        self.guide = Guide()
        self.attention = GuidedAttention(128)
        self.skips = nn.ModuleList(_skip(a, b) for a, b in ((self.CHANNELS, 32), (32, 32), (64, 64), (128, 128), (256, 256)))

    def forward(self, x: Tensor, unknown: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Map float (N, 6, H, W) and (N, 1, H/8, W/8) to the last map, the shortcuts, finest first, and the guide's features."""
        half = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        guide = self.guide(x[:, :3])
        quarter = self.stages[0](F.relu(self.bn3(self.conv3(half))))
        eighth = self.attention(guide, self.stages[1](quarter), unknown)
        sixteenth = self.stages[2](eighth)
        skips = [skip(y) for skip, y in zip(self.skips, (x, half, quarter, eighth, sixteenth), strict=True)]
        return self.stages[3](sixteenth), skips, guide


class GCA(Method):
    """An encoder-decoder with shortcuts, and guided contextual attention at an eighth of the size in both (Fig. 2)."""

    NAME = "gca"
    TITLE = "Li and Lu, Natural Image Matting via Guided Contextual Attention, AAAI 2020"
    HEADS = ("trimap",)
    NEEDS_TRIMAP = True
    TERMS = ("alpha",)
    COUNTS = (2, 3, 3, 2)
    WIDTHS = (256, 128, 64, 32)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        stages: list[nn.Module] = []
        cin = 512
        for count, width in zip(self.COUNTS, self.WIDTHS, strict=True):
            stages.append(nn.Sequential(DecoderBlock(cin, width, up=True), *(DecoderBlock(width, width, up=False) for _ in range(count - 1))))
            cin = width
        self.stages = nn.ModuleList(stages)
        self.attention = GuidedAttention(128)
        self.conv, self.bn = _doubled(32, 32), nn.BatchNorm2d(32)
        self.head = nn.Conv2d(32, 1, 3, padding=1)

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:
        """Return ``alpha``."""
        assert trimap is not None
        classes = torch.cat([(trimap == value).to(x.dtype) for value in (0.0, UNKNOWN, 1.0)], dim=1)
        unknown = classes[:, 1:2, ::8, ::8]
        y, skips, guide = self.encoder(torch.cat([x, classes], dim=1), unknown)
        for index, stage in enumerate(self.stages):
            y = stage(y) + skips[4 - index]
            if index == 1:
                y = self.attention(guide, y, unknown)
        y = F.leaky_relu(self.bn(self.conv(y)), 0.2) + skips[0]
        return {"alpha": (torch.tanh(self.head(y).float()) + 1.0) / 2.0}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return Eq. 8: only the absolute difference of alpha in the unknown area."""
        return {"alpha": unknown_losses(maps["alpha"], targets)[0]}


def _skip(cin: int, cout: int) -> nn.Sequential:
    """Return two convolutions between encoder and decoder."""
    return nn.Sequential(_normed(cin, cout, 3), nn.ReLU(), nn.BatchNorm2d(cout), _normed(cout, cout, 3), nn.ReLU(), nn.BatchNorm2d(cout))


def _single(side: int, channels: int) -> Tensor:
    """Return kernels that each select one position of a square, for every channel: (channels side^2, 1, side, side)."""
    return torch.eye(side * side).view(-1, 1, side, side).repeat(channels, 1, 1, 1)


def _patches(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Return the squares of a map, mirrored at its border: (N, C, h, w) to (N, C side^2, number of squares); a convolution, so
    that it can be exported.
    """
    more = kernels.shape[-1] - stride
    x = F.pad(x, ((more + 1) // 2, more // 2, (more + 1) // 2, more // 2), mode="reflect")
    return F.conv2d(x, kernels.to(x.dtype), stride=stride, groups=_channels(kernels)).flatten(2)


def _fold(patches: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Put squares back to their positions and sum them: (N, C side^2, h, w) to (N, C, stride h, stride w)."""
    padding = (kernels.shape[-1] - stride) // 2
    return F.conv_transpose2d(patches, kernels.to(patches.dtype), stride=stride, padding=padding, groups=_channels(kernels))


def _channels(kernels: Tensor) -> int:
    return kernels.shape[0] // kernels.shape[-1] ** 2
