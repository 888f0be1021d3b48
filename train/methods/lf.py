"""A Late Fusion CNN for Digital Matting (Zhang et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streammat.engines.network.backbones import BACKBONES, ConvBN
from streammat.train.losses import alpha_loss, gradient_loss
from streammat.train.methods.base import Maps, Method, Targets
from streammat.train.methods.layers import UpBlock


class Decoder(nn.Module):
    """One of the two decoders (Fig. 2): upsamples the encoder's last map to the image's size, with a skip connection at every
    level.

    Args:
        channels: channels of the encoder's maps, finest first.
    """

    LEVELS = ((112,), (256, 192), (256, 192), (256, 256), (256, 256, 160))
    """Channels of each level's convolutions, coarsest first. The paper gives none; these match the cost measured in the GFM paper."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        skips = (*reversed(channels[:-1]), 3)
        ends = (channels[-1], *(widths[-1] for widths in self.LEVELS))
        self.levels = nn.ModuleList(UpBlock(cin, skip, widths) for cin, skip, widths in zip(ends, skips, self.LEVELS, strict=False))
        self.head = nn.Conv2d(ends[-1], 1, 3, padding=1)

    def forward(self, features: list[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """Map the encoder's maps and the scaled image to a probability (N, 1, H, W) and the map before it."""
        x = features[-1]
        for level, skip in zip(self.levels, (*reversed(features[:-1]), image), strict=True):
            x = level(x, skip)
        return torch.sigmoid(self.head(x).float()), x


class LF(Method):
    """Two decoders predict foreground and background probabilities of each pixel; a network of five convolutions blends the two.

    Where both are certain the fusion has no influence, so its task is the transition between them (Section 3).
    """

    NAME = "lf"
    TITLE = "Zhang et al., A Late Fusion CNN for Digital Matting, CVPR 2019"
    TERMS = ("foreground", "foreground_gradient", "background", "background_gradient", "fusion")
    TRANSITION = 1.0
    """Weight of the fusion's loss where 0 < alpha < 1 …"""
    CERTAIN = 0.1
    """… and elsewhere (Section 3.3)."""
    FUSION_WIDTH = 64

    def __init__(self) -> None:
        super().__init__()
        backbone = BACKBONES["densenet201"]
        self.encoder = backbone.build()
        self.foreground, self.background = Decoder(backbone.channels), Decoder(backbone.channels)
        width, given = self.FUSION_WIDTH, 2 * Decoder.LEVELS[-1][-1] + self.FUSION_WIDTH
        self.image = ConvBN(3, width, 3)
        self.fusion = nn.Sequential(
            ConvBN(given, width, 3), *(ConvBN(width, width, 3) for _ in range(3)), nn.Conv2d(width, 1, 3, padding=1), nn.Sigmoid()
        )

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:  # noqa: ARG002 (the base class has it)
        """Return ``alpha``, ``foreground`` and ``background`` (their probabilities), ``weight`` (the blending weight)."""
        features = self.encoder(x)
        foreground, front = self.foreground(features, x)
        background, back = self.background(features, x)
        weight = self.fusion(torch.cat([front, back, self.image(x)], dim=1)).float()
        # Eq. 1: the blending weight chooses between what the two decoders say of alpha.
        alpha = weight * foreground + (1.0 - weight) * (1.0 - background)
        return {"alpha": alpha, "foreground": foreground, "background": background, "weight": weight}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return Eq. 4 to 6: each decoder by the absolute difference and that of the gradients, with more weight in the
        transition; the fusion by the absolute difference.
        """
        between = ((targets.alpha > 0.0) & (targets.alpha < 1.0)).to(targets.alpha.dtype)
        weight = self.CERTAIN + (self.TRANSITION - self.CERTAIN) * between
        truth = {"foreground": targets.alpha, "background": 1.0 - targets.alpha}
        terms: Maps = {}
        for name, expected in truth.items():
            terms[name] = alpha_loss(maps[name], expected, torch.ones_like(expected))
            terms[f"{name}_gradient"] = gradient_loss(maps[name], expected, between)
        terms["fusion"] = alpha_loss(maps["alpha"], targets.alpha, weight)
        return terms
