"""Losses of GFM (the paper's Section 4.2), at the network's output resolution.

All tensors are float32; (N, 1, h, w) unless said otherwise; alphas in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

from engines.gfm import GFMOutput

LEVELS = 5
"""Of the Laplacian pyramid."""
TRIMAP_KERNEL = 25
"""Dilation and erosion that make the transition of RoSTa TT, in pixels of a picture whose short side is the next value."""
TRIMAP_SIDE = 800
_EPSILON = 1e-6


def glance_target(alpha: Tensor, stride: int) -> Tensor:
    """Classes of RoSTa TT from alpha, made on the fly.

    Args:
        alpha: (N, 1, h, w) at the output resolution.
        stride: input pixels per output pixel; the kernel scales with the size of the input.

    Returns:
        int64 (N, h, w): 0 background, 1 transition, 2 foreground.
    """
    side = min(alpha.shape[-2:]) * stride
    radius = max(1, round(TRIMAP_KERNEL * side / TRIMAP_SIDE / stride / 2))
    kernel = 2 * radius + 1
    not_foreground = F.max_pool2d((alpha < 0.98).float(), kernel, 1, radius)
    not_background = F.max_pool2d((alpha > 0.02).float(), kernel, 1, radius)
    return (1 + (1 - not_foreground) - (1 - not_background)).long()[:, 0]


def alpha_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Smooth absolute difference sqrt(d^2 + 1e-12), averaged with ``weight``.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        weight: (N, 1, h, w), not negative.

    Returns:
        Scalar; 0 where the weight is 0 everywhere.
    """
    difference = torch.sqrt((prediction - target).square() + _EPSILON**2)
    return (difference * weight).sum() / (weight.sum() + _EPSILON)


def laplacian_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum over k = 1..5 of 2^(k-1) times the L1 distance of level k of the Laplacian pyramids, over the weight's sum.

    The last level is the difference's own low-pass. Both pyramids are linear, so one pyramid of the weighted difference
    gives all of them.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        weight: (N, 1, h, w), 0..1.

    Returns:
        Scalar.
    """
    current = (prediction - target) * weight
    total = current.new_zeros(())
    for level in range(LEVELS):
        if level == LEVELS - 1:
            band = current
        else:
            smaller = _down(current)
            band = current - F.interpolate(smaller, size=current.shape[-2:], mode="bilinear", align_corners=False)
            current = smaller
        total = total + 2.0**level * band.abs().sum()
    return total / (weight.sum() + _EPSILON)


def _down(x: Tensor) -> Tensor:
    """Half the size after the binomial filter 1 4 6 4 1."""
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    x = F.pad(x, (2, 2, 2, 2), mode="reflect") if min(x.shape[-2:]) > 2 else F.pad(x, (2, 2, 2, 2), mode="replicate")
    x = F.conv2d(x, taps.view(1, 1, 1, 5), stride=(1, 2))
    return F.conv2d(x, taps.view(1, 1, 5, 1), stride=(2, 1))


@dataclass(frozen=True)
class LossParts:
    """The terms; `total` is their plain sum, as in the paper."""

    glance: Tensor
    focus_alpha: Tensor
    focus_laplacian: Tensor
    alpha: Tensor
    laplacian: Tensor
    composition: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        focus = self.focus_alpha + self.focus_laplacian
        return self.glance + focus + self.alpha + self.laplacian + self.composition


def gfm_loss(output: GFMOutput, alpha: Tensor, contrast: Tensor, stride: int) -> LossParts:
    """All terms of one batch.

    Args:
        output: of the network.
        alpha: (N, 1, h, w), true alpha at the output resolution.
        contrast: (N, 1, h, w), 0..1: mean over RGB of |foreground - background|. The composition loss compares
            predicted and true composite of the same layers, which is |alpha error| * contrast.
        stride: of the output.

    Returns:
        The terms; each a scalar.
    """
    classes = glance_target(alpha, stride)
    transition = (classes == 1).float().unsqueeze(1)
    everywhere = torch.ones_like(alpha)
    return LossParts(
        glance=F.cross_entropy(output.glance, classes),
        focus_alpha=alpha_loss(output.focus, alpha, transition),
        focus_laplacian=laplacian_loss(output.focus, alpha, transition),
        alpha=alpha_loss(output.alpha, alpha, everywhere),
        laplacian=laplacian_loss(output.alpha, alpha, everywhere),
        composition=((output.alpha - alpha).abs() * contrast).mean(),
    )
