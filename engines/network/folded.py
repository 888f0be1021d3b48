"""The network for inference: uint8 images in, alpha out, with input scaling inside and batch norms folded."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from streammat.engines.base import Part
from streammat.engines.network.decoders import LiteDecoder
from streammat.engines.network.gfm import GFM, Prediction

_PAIRS = (("0", "1"), ("conv0", "norm0"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("conv1", "norm2"))
"""Names of child modules where the second is the norm directly after the first: in our blocks, ResNet, DenseNet."""


class FoldedMatte(nn.Module):
    """A network with the contract of `streammat.engines.base.Engine.infer`, on tensors.

    Args:
        model: any network; copied.
        precision: precision of encoder and decoders. Input scaling, the glance's softmax, fusion and RIM's integration stay
            float32: they cost nothing, and float16 cannot distinguish 255 levels of an image after subtracting the mean.
        part: what ``forward`` gives; ``glance`` and ``focus`` are those of a network with one head and a soft fusion.
    """

    centre: Tensor

    def __init__(self, model: GFM, precision: torch.dtype = torch.float32, part: Part = "alpha") -> None:
        super().__init__()
        self.part = part
        self.model = copy.deepcopy(model).eval().float()
        self.model.checkpointing = False
        _fold_norms(self.model)
        _block_heads(self.model)
        self.register_buffer("centre", self.model.mean.clone())
        self.centred = bool(self.centre.any())
        # Division by the deviation moves into the first convolution. The mean cannot: zero padding follows it.
        first = next(m for m in self.model.encoder.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
        with torch.no_grad():
            first.weight.div_(self.model.std)
            self.model.mean.zero_()
            self.model.std.fill_(1.0)
        self.precision = precision
        if precision != torch.float32:
            _reduce_norms(self.model)
        self.model.to(precision)
        if self.model.rim is not None:
            self.model.rim.float()
        self.requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:
        """Map uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s), 0..1, or to another `Part`."""
        image = rgb.permute(0, 3, 1, 2).float()
        if self.part == "alpha":
            return self.matte(image)
        (head,) = self.predict(image).heads.values()
        return self.model.probability(head.glance) if self.part == "glance" else head.focus[:, 0]

    def matte(self, image: Tensor) -> Tensor:
        """Predict alpha from float32 (N, 3, H, W), 0..255."""
        return self.predict(image).alpha[:, 0]

    def predict(self, image: Tensor) -> Prediction:
        """Predict from float32 (N, 3, H, W), 0..255, as `GFM.predict` does, with alpha clipped to 0..1."""
        if self.centred:
            image = image - self.centre
        if self.precision != torch.float32:
            image = image.to(self.precision)
        prediction = self.model.decode(self.model.encoder(image))
        # Fused alpha is in 0..1 by construction; RIM's integration may leave it.
        return prediction if self.model.rim is None else prediction._replace(alpha=prediction.alpha.clamp(0.0, 1.0))


def _fold_norms(model: nn.Module) -> None:
    """Move batch norms into the convolutions before them, in place.

    This is not only for speed: the paper's encoders take unscaled images, so the variance after their first convolution exceeds
    the range of float16.
    """
    for module in list(model.modules()):
        children = dict(module.named_children())
        for first, second in _PAIRS:
            conv, norm = children.get(first), children.get(second)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())


class BlockConv(nn.Module):
    """A 3x3 convolution, padded by 1, that computes 2x2 output pixels at once; float (N, C, h, w) to (N, outputs, h, w), h and w even.

    Engines compute 16 channels, however few there are. The one or three of a head become four or twelve, at a quarter of the
    places, with the same sums: 0.4 of the time in ONNX Runtime and OpenVINO.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs = conv.weight.shape[:2]
        weight = torch.zeros(outputs, 2, 2, inputs, 4, 4)
        for y in range(2):
            for x in range(2):
                weight[:, y, x, :, y : y + 3, x : x + 3] = conv.weight.detach()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 4, stride=2, padding=1, bias=conv.bias is not None)
        with torch.no_grad():
            self.conv.weight.copy_(weight.reshape(4 * outputs, inputs, 4, 4))
            if conv.bias is not None:
                assert self.conv.bias is not None
                self.conv.bias.copy_(conv.bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve at every second place, and put the four results of each place side by side."""
        return F.pixel_shuffle(self.conv(x), 2)


def _block_heads(model: GFM) -> None:
    """Compute the heads of narrow decoders in blocks, in place."""
    for decoder in (model.glance, model.focus):
        if isinstance(decoder, LiteDecoder):
            for name, head in decoder.heads.items():
                assert isinstance(head, nn.Conv2d)
                decoder.heads[name] = BlockConv(head)


def _reduce_norms(model: nn.Module) -> None:
    """Replace the remaining norms by a factor and an offset each, in place, so that no small variance is lost in float16.

    They come before their convolution with a ReLU in between (DenseNet's order).
    """
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                norm.weight.div_(torch.sqrt(norm.running_var + norm.eps))
                norm.bias.sub_(norm.running_mean * norm.weight)
                norm.running_mean.zero_()
                norm.running_var.fill_(1.0)
            norm.eps = 0.0
