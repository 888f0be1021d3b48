"""The network as it runs everywhere outside training: uint8 pictures in, alpha out, input scaling and batch norms folded."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.backbones import ConvBN
from engines.gfm import GFM


class FoldedMatte(nn.Module):
    """A network with the contract of `engines.base.Engine.infer`, on tensors.

    Args:
        model: any network; copied.
        precision: what encoder and decoders compute in. Input scaling, the glance's softmax, fusion and RIM's integration stay
            float32: they cost nothing, and a half cannot tell 255 steps of a picture from each other after the mean is taken off.
    """

    centre: Tensor

    def __init__(self, model: GFM, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().float()
        self.model.checkpointing = False
        # Convolutions whose norm is a sibling (ResNet, DenseNet) are folded by whoever compiles this. A norm before its
        # convolution (DenseNet's own order) has a ReLU between the two and has to stay.
        for module in self.model.modules():
            if isinstance(module, ConvBN):
                conv, norm = module[0], module[1]
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                module[0] = fuse_conv_bn_eval(conv, norm)
                module[1] = nn.Identity()
        self.register_buffer("centre", self.model.mean.clone())
        self.centred = bool(self.centre.any())
        # Division by the deviation moves into the first convolution. The mean cannot: zero padding follows it.
        first = next(m for m in self.model.encoder.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
        with torch.no_grad():
            first.weight.div_(self.model.std)
            self.model.mean.zero_()
            self.model.std.fill_(1.0)
        self.precision = precision
        self.model.to(precision)
        if self.model.rim is not None:
            self.model.rim.float()
        self.requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s), 0..1."""
        return self.matte(rgb.permute(0, 3, 1, 2).float())

    def matte(self, image: Tensor) -> Tensor:
        """The same from float32 (N, 3, H, W), 0..255."""
        if self.centred:
            image = image - self.centre
        if self.precision != torch.float32:
            image = image.to(self.precision)
        alpha: Tensor = self.model.decode(self.model.encoder(image)).alpha[:, 0]
        # Fused alpha is in 0..1 by construction; RIM's integration may leave it.
        return alpha if self.model.rim is None else alpha.clamp(0.0, 1.0)
