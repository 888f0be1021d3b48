"""Losses of GFM (Li et al. 2022, Section 3.4), Equations 2 to 8, at the network's output resolution.

All tensors are float32, (N, 1, h, w) unless said otherwise, alphas in 0..1. Comparisons by RoSTa:

====== =============== ======================== ==========================
RoSTa  glance          focus is compared with   where
====== =============== ======================== ==========================
TT     3 classes       alpha                    transition area (Eq. 3, 4)
FT     2 classes       alpha - class            whole image (Eq. 5, 6)
BT     2 classes       class - alpha            whole image (Eq. 5, 6)
====== =============== ======================== ==========================

`gradient_loss`, `ssim_loss` and `adversarial_loss` are those of other methods (`streammat.train.methods`), which share the rest.

The fused alpha is compared with alpha on the whole image (Eq. 5 to 7). Equation 8 is the plain sum. RIM has four groups:
one such sum for each of its three heads, and Equations 5 to 7 for the alpha that integrates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.gfm import Head, Prediction
from streammat.train.config import LossConfig

LEVELS = 5
"""Levels of the Laplacian pyramid."""
TRANSITION = 1
"""Class of the transition area in the glance of TT."""
PAPER_WEIGHTS = LossConfig()
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
"""Side and standard deviation, in pixels, of the window of `ssim_loss`."""
_EPSILON = 1e-6


def glance_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of the glance, Equation 2, averaged over the pixels.

    Args:
        logits: (N, C, h, w), before the softmax.
        classes: int64 (N, h, w), 0..C-1.

    Returns:
        Scalar.
    """
    return F.cross_entropy(logits, classes)


def alpha_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the smooth absolute difference sqrt(d^2 + 1e-12), averaged with ``weight``.

    With the transition area as weight it is Equation 3, with ones Equation 5.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        weight: (N, 1, h, w), not negative.

    Returns:
        Scalar; 0 if the weight is 0 everywhere.
    """
    difference = torch.sqrt((prediction - target).square() + _EPSILON**2)
    return (difference * weight).sum() / (weight.sum() + _EPSILON)


def laplacian_loss(prediction: Tensor, target: Tensor, weight: Tensor, level_growth: float = 1.0) -> Tensor:
    """Return the L1 distance of five levels of the Laplacian pyramids, divided by the weight's sum.

    With the transition area as weight it is Equation 4, with ones Equation 6. The pyramid is linear, so the pyramid of the
    weighted difference has all levels; the last one is the low-pass rest.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        weight: (N, 1, h, w), 0..1.
        level_growth: weight of each level relative to the finer one; the finest has 1.

    Returns:
        Scalar; 0 if the weight is 0 everywhere.
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
        total = total + level_growth**level * band.abs().sum()
    return total / (weight.sum() + _EPSILON)


def composition_loss(prediction: Tensor, target: Tensor, contrast: Tensor) -> Tensor:
    """Return the mean difference of the two composites, Equation 7.

    Both consist of the same layers, so they differ by (alpha error) * (foreground - background), and no composite needs
    to be made.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        contrast: (N, 1, h, w), 0..1: mean over RGB of |foreground - background|; 0 if the layers are unknown.

    Returns:
        Scalar.
    """
    return torch.sqrt(((prediction - target) * contrast).square() + _EPSILON**2).mean()


def gradient_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean absolute difference of horizontal and vertical gradients, weighted as in `alpha_loss`.

    Args:
        prediction: (N, 1, h, w).
        target: (N, 1, h, w).
        weight: (N, 1, h, w), not negative; a gradient has the weight of its left or upper pixel.

    Returns:
        Scalar; 0 if the weight is 0 everywhere.
    """
    error = prediction - target
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    total = (across.abs() * weight[..., :-1]).sum() + (down.abs() * weight[..., :-1, :]).sum()
    return total / (weight.sum() + _EPSILON)


def ssim_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return one minus the structural similarity (Wang et al. 2004), averaged over the pixels, with a Gaussian window of 11
    pixels and deviation 1.5.

    Args:
        prediction: (N, 1, h, w), 0..1.
        target: (N, 1, h, w), 0..1.

    Returns:
        Scalar, 0 for equal mattes.
    """
    place = torch.arange(SSIM_WINDOW, device=target.device, dtype=target.dtype) - SSIM_WINDOW // 2
    taps = torch.exp(-place.square() / (2 * SSIM_SIGMA**2))
    taps = taps / taps.sum()

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, -1), padding=(0, SSIM_WINDOW // 2)), taps.view(1, 1, -1, 1), padding=(SSIM_WINDOW // 2, 0))

    first, second = mean(prediction), mean(target)
    variances = mean(prediction.square()) - first.square() + mean(target.square()) - second.square()
    shared = mean(prediction * target) - first * second
    small, smaller = 0.01**2, 0.03**2
    similarity = (2 * first * second + small) * (2 * shared + smaller) / ((first.square() + second.square() + small) * (variances + smaller))
    return 1.0 - similarity.mean()


def adversarial_loss(critic: nn.Module, image: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the adversarial loss of network and critic (Goodfellow et al. 2014): the critic minimises its error, the network
    maximises it.

    The critic's weights descend on its cross-entropy; on its way to the network the gradient is reversed (Ganin and Lempitsky
    2015), so that one optimiser step trains both.

    Args:
        critic: image and alpha to logits, above 0 for true mattes.
        image: (N, 3, h, w), scaled.
        prediction: (N, 1, h, w), 0..1.
        target: (N, 1, h, w), 0..1.

    Returns:
        Scalar: the critic's mean error over true and predicted mattes.
    """
    true, false = critic(image, target), critic(image, _Reversed.apply(prediction))  # type: ignore[no-untyped-call]
    return 0.5 * (F.softplus(-true).mean() + F.softplus(false).mean())


class _Reversed(torch.autograd.Function):
    """The identity with a negated gradient."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return -gradient


def focus_target(alpha: Tensor, classes: Tensor, rosta: str) -> tuple[Tensor, Tensor]:
    """Return the target of one RoSTa's focus, and its weight.

    Args:
        alpha: (N, 1, h, w).
        classes: int64 (N, h, w), the glance target of ``rosta``.
        rosta: ``TT``, ``FT`` or ``BT``.

    Returns:
        Target (N, 1, h, w) in 0..1 and weight (N, 1, h, w), 0 or 1.
    """
    known = classes.unsqueeze(1).to(alpha.dtype)
    if rosta == "TT":
        return alpha, (known == TRANSITION).to(alpha.dtype)
    # The certain areas allow alphas a few steps off 0 and 1: without the clamp the target would leave what a sigmoid can give.
    target = (alpha - known if rosta == "FT" else known - alpha).clamp(0.0, 1.0)
    return target, torch.ones_like(alpha)


@dataclass(frozen=True)
class LossParts:
    """The loss terms of one batch."""

    terms: dict[str, Tensor]
    """Scalars by name: ``glance`` (Eq. 2), ``focus_alpha`` (3 or 5), ``focus_laplacian`` (4 or 6), ``alpha`` (5), ``laplacian``
    (6), ``composition`` (7), ``steady`` (pairs of frames alone). RIM's heads have the prefix ``tt_``, ``ft_``, ``bt_``; the terms
    of its integration have none.
    """
    group_weight: float = 1.0
    """Factor of the whole sum, as in `LossConfig`."""

    @property
    def total(self) -> Tensor:
        """The loss to minimise: the sum of the terms, Equation 8, times `group_weight`."""
        return torch.stack(list(self.terms.values())).sum() * self.group_weight


def gfm_loss(
    prediction: Prediction,
    alpha: Tensor,
    classes: Mapping[str, Tensor],
    contrast: Tensor,
    config: LossConfig = PAPER_WEIGHTS,
    *,
    pairs: bool = False,
) -> LossParts:
    """Compute all terms of one batch, Equation 8.

    Args:
        prediction: as from `streammat.engines.network.gfm.GFM.predict`.
        alpha: (N, 1, h, w), true alpha at the output resolution.
        classes: glance target by RoSTa of each head, int64 (N, h, w).
        contrast: (N, 1, h, w), as in `composition_loss`.
        config: weights of the terms.
        pairs: each image with an even index and the next one are frames of one scene.

    Returns:
        The terms; each a scalar.
    """
    terms: dict[str, Tensor] = {}
    if len(prediction.heads) == 1:
        ((rosta, head),) = prediction.heads.items()
        terms = _head_terms(head, rosta, alpha, classes[rosta], contrast, config)
    else:
        for rosta, head in prediction.heads.items():
            group = _head_terms(head, rosta, alpha, classes[rosta], contrast, config)
            terms |= {f"{rosta.lower()}_{name}": value for name, value in group.items()}
        terms |= _fused_terms(prediction.alpha, alpha, contrast, config)
    if config.steady:
        terms["steady"] = config.steady * _flicker(prediction.alpha) if pairs else alpha.new_zeros(())
    return LossParts(terms, config.group_weight)


def _flicker(alpha: Tensor) -> Tensor:
    """Return the difference of the two frames of each scene."""
    one, other = alpha[0::2], alpha[1::2]
    return alpha_loss(one, other, torch.ones_like(one))


def term_names(heads: tuple[str, ...], config: LossConfig = PAPER_WEIGHTS) -> list[str]:
    """Return names of `LossParts.terms` for a network of these heads, in their order."""
    fused = ["alpha", "laplacian", "composition"]
    group = ["glance", "focus_alpha", "focus_laplacian", *fused]
    named = group if len(heads) == 1 else [f"{rosta.lower()}_{name}" for rosta in heads for name in group] + fused
    return named + (["steady"] if config.steady else [])


def _head_terms(
    head: Head, rosta: str, alpha: Tensor, classes: Tensor, contrast: Tensor, config: LossConfig
) -> dict[str, Tensor]:
    target, weight = focus_target(alpha, classes, rosta)
    return {
        "glance": glance_loss(head.glance, classes),
        "focus_alpha": alpha_loss(head.focus, target, weight),
        "focus_laplacian": laplacian_loss(head.focus, target, weight, config.level_growth),
        **_fused_terms(head.alpha, alpha, contrast, config),
    }


def _fused_terms(fused: Tensor, alpha: Tensor, contrast: Tensor, config: LossConfig) -> dict[str, Tensor]:
    everywhere = torch.ones_like(alpha)
    return {
        "alpha": alpha_loss(fused, alpha, everywhere),
        "laplacian": laplacian_loss(fused, alpha, everywhere, config.level_growth),
        "composition": composition_loss(fused, alpha, contrast),
    }


def _down(x: Tensor) -> Tensor:
    """Halve the size after the binomial filter 1 4 6 4 1."""
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    x = F.pad(x, (2, 2, 2, 2), mode="reflect") if min(x.shape[-2:]) > 2 else F.pad(x, (2, 2, 2, 2), mode="replicate")
    x = F.conv2d(x, taps.view(1, 1, 1, 5), stride=(1, 2))
    return F.conv2d(x, taps.view(1, 1, 5, 1), stride=(2, 1))
