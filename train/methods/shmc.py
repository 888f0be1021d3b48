"""Boosting Semantic Human Matting with Coarse Annotations (Liu et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import BasicBlock, ConvBN, ResNet
from streammat.train.losses import alpha_loss, composition_loss
from streammat.train.methods.base import Maps, Method, Targets
from streammat.train.methods.layers import UpBlock, enlarge

COARSE = 4
"""Scale of the first two networks' input: a quarter of the image's size (192x160 against 768x640 in the paper's Section 4)."""


class Unit(nn.Module):
    """An encoder-decoder on ResNet-34, which the GFM paper used for each of the three networks: five levels with skip
    connections.

    Args:
        inputs: channels in.
    """

    LEVELS = ((256, 256), (128, 128), (64, 64), (64, 64), (64, 48))

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = ResNet(BasicBlock, (3, 4, 6, 3), inputs=inputs)
        self.centre = ConvBN(512, 256, 3)
        skips = (256, 128, 64, 64, inputs)
        ends = (256, *(widths[-1] for widths in self.LEVELS))
        self.levels = nn.ModuleList(UpBlock(cin, skip, widths) for cin, skip, widths in zip(ends, skips, self.LEVELS, strict=False))
        self.head = nn.Conv2d(ends[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, inputs, H, W) to (N, 1, H, W), 0..1."""
        features = self.encoder(x)
        y = self.centre(features[-1])
        for level, skip in zip(self.levels, (*reversed(features[:-1]), x), strict=True):
            y = level(y, skip)
        return torch.sigmoid(self.head(y).float())


class SHMC(Method):
    """Mask prediction, quality unification and matting refinement, one after the other (Fig. 3).

    The paper trains the first on many coarse masks and few fine ones; here, as in the GFM paper, every image has a fine one. The
    quality unification network's coarse mask is the first network's own, and its fine mask the true matte, reduced.
    """

    NAME = "shmc"
    TITLE = "Liu et al., Boosting Semantic Human Matting with Coarse Annotations, CVPR 2020"
    TERMS = ("mask", "identity", "consistency", "alpha", "composition")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Unit(3)
        """Mask prediction network (Section 3.1); of the three networks it takes the encoder's pretrained weights."""
        self.unification = Unit(4)
        self.refinement = Unit(4)

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:  # noqa: ARG002 (the base class has it)
        """Return ``alpha``, and at a quarter of its size ``mask``, ``unified`` (the unified mask) and ``small`` (the
        image).
        """
        small = _quarter(x)
        mask = self.encoder(small)
        unified = self._unify(small, mask)
        alpha = self.refinement(torch.cat([x, enlarge(unified, x).to(x.dtype)], dim=1))
        return {"alpha": alpha, "mask": mask, "unified": unified, "small": small}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return the losses of Section 3: the mask's absolute difference; Eq. 3 (identity) and 4 (consistency) of quality
        unification; the refinement's absolute difference of alpha and of the composite.
        """
        everywhere = torch.ones_like(targets.alpha)
        true = _quarter(targets.alpha)
        ones = torch.ones_like(true)
        coarse, fine = maps["mask"].detach(), true
        of_coarse, of_fine = self._unify(maps["small"], coarse), self._unify(maps["small"], fine)
        return {
            "mask": alpha_loss(maps["mask"], true, ones),
            "identity": alpha_loss(of_coarse, coarse, ones) + alpha_loss(of_fine, fine, ones),
            "consistency": alpha_loss(of_coarse, of_fine, ones),
            "alpha": alpha_loss(maps["alpha"], targets.alpha, everywhere),
            "composition": composition_loss(maps["alpha"], targets.alpha, targets.contrast),
        }

    def _unify(self, small: Tensor, mask: Tensor) -> Tensor:
        """Run the quality unification network (Section 3.2)."""
        unified: Tensor = self.unification(torch.cat([small, mask.to(small.dtype)], dim=1))
        return unified


def _quarter(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, COARSE)
