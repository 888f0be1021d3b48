"""Strided convolutions whose gradient in bfloat16 on CPUs is slow (depthwise) or wrong (of maps one pixel wide)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StridedDepthwise(nn.Conv2d):
    """A strided depthwise convolution that runs in float32 under bfloat16 autocast on a CPU, image by image.

    oneDNN has no fast kernel for its bfloat16 gradient, and single images fit into the cache: together this saves a fifth of a
    training step of ``lite``. Otherwise it computes as `torch.nn.Conv2d` does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, C, H, W) to (N, C, H / stride, W / stride), of the dtype of ``x``."""
        if x.device.type != "cpu" or not self.training or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return torch.cat([super(StridedDepthwise, self).forward(part.float()).to(x.dtype) for part in torch.split(x, 1)])


class Strided(nn.Conv2d):
    """A strided convolution that runs in float32 under bfloat16 autocast on a CPU where its map is one pixel high or wide.

    The gradient of its weights is arbitrary there, and infinite now and then (torch 2.13): SHMC, whose first networks see a
    quarter of the image, has such maps in crops of 64. Otherwise it computes as `torch.nn.Conv2d` does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See `torch.nn.Conv2d`."""
        if x.device.type != "cpu" or min(x.shape[-2:]) > 1 or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def keep_strided_exact(model: nn.Module) -> None:
    """Make every strided convolution of ``model`` a `StridedDepthwise` or a `Strided`; weights and their names stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and max(module.stride) > 1:
            module.__class__ = StridedDepthwise if module.groups == module.in_channels > 1 else Strided
