"""Losses in a trimap's unknown area, shared by the trimap-based methods."""

from __future__ import annotations

from torch import Tensor

from streammat.train.data.targets import TRIMAP
from streammat.train.losses import TRANSITION, alpha_loss
from streammat.train.methods.base import Targets


def unknown_losses(alpha: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the alpha-prediction and compositional losses of Deep Image Matting, its Eq. 1 and 2, averaged over the unknown
    area.

    Two composites of the same layers differ by (alpha error) * (foreground - background).

    Args:
        alpha: (N, 1, H, W), predicted.
        targets: targets with the class map of the trimap.
    """
    unknown = (targets.classes[TRIMAP].unsqueeze(1) == TRANSITION).to(alpha.dtype)
    composed = alpha_loss(alpha * targets.contrast, targets.alpha * targets.contrast, unknown)
    return alpha_loss(alpha, targets.alpha, unknown), composed
