"""Attention-Guided Hierarchical Structure Aggregation for Image Matting, HAttMatting (Qiao et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import BACKBONES, ConvBN
from streammat.train.losses import adversarial_loss, ssim_loss
from streammat.train.methods.base import Maps, Method, Targets
from streammat.train.methods.layers import AtrousPooling, enlarge


class ChannelAttention(nn.Module):
    """Channel-wise attention (Section 3.3): pyramidal features are distilled by weighting their channels with their global means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, C, h, w), same out as in."""
        weight: Tensor = self.weigh(x.mean(dim=(2, 3)))
        return x * weight[:, :, None, None]


class SpatialAttention(nn.Module):
    """Spatial attention (Section 3.3): the pyramidal features filter the appearance of details.

    Two convolutions, along the rows and along the columns first, see 1x7 and 7x1 pixels; their sum becomes one weight for each
    place.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rows = nn.Sequential(nn.Conv2d(channels, channels // 4, (1, 7), padding=(0, 3)), nn.ReLU(), nn.Conv2d(channels // 4, 1, (7, 1), padding=(3, 0)))
        self.columns = nn.Sequential(nn.Conv2d(channels, channels // 4, (7, 1), padding=(3, 0)), nn.ReLU(), nn.Conv2d(channels // 4, 1, (1, 7), padding=(0, 3)))

    def forward(self, semantics: Tensor, appearance: Tensor) -> Tensor:
        """Return the filtered appearance; all float (N, C, h, w)."""
        return appearance * torch.sigmoid(self.rows(semantics) + self.columns(semantics))


class Critic(nn.Module):
    """PatchGAN's discriminator (Isola et al. 2017): predicts for patches of 70 pixels whether an image's matte is a true one."""

    WIDTHS = ((64, 2), (128, 2), (256, 2), (512, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        cin = 4
        for width, stride in self.WIDTHS:
            layers += [nn.Conv2d(cin, width, 4, stride, 1), nn.LeakyReLU(0.2)]
            cin = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(cin, 1, 4, 1, 1))

    def forward(self, image: Tensor, alpha: Tensor) -> Tensor:
        """Map (N, 3, H, W), scaled, and (N, 1, H, W) to logits (N, 1, h, w): above 0 for true mattes."""
        out: Tensor = self.layers(torch.cat([image, alpha], dim=1))
        return out


class HATT(Method):
    """Pyramidal features, weighted by channel, guide the appearance cues of an early layer, weighted by position (Fig. 2).

    The critic is only used in training: it is neither written with the weights nor counted.
    """

    NAME = "hatt"
    TITLE = "Qiao et al., Attention-Guided Hierarchical Structure Aggregation for Image Matting, CVPR 2020"
    TERMS = ("adversarial", "mse", "ssim")
    ADVERSARIAL, MSE, SSIM = 0.05, 1.0, 0.1
    """Weights of Eq. 7."""
    WIDTH, FINE = 256, 176
    """Channels at a quarter of the image's size and at full size. The paper only gives the first; these match the cost measured
    in the GFM paper.
    """
    DILATIONS = (6, 12, 18)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = BACKBONES["resnext101_dilated"].build()
        self.pyramid = AtrousPooling(2048, self.WIDTH, self.DILATIONS)
        self.distil = ChannelAttention(self.WIDTH)
        self.appearance = nn.Sequential(ConvBN(256, self.WIDTH, 3), ConvBN(self.WIDTH, self.WIDTH, 3))
        self.filter = SpatialAttention(self.WIDTH)
        self.merge = nn.Sequential(ConvBN(2 * self.WIDTH, 128, 3), ConvBN(128, 128, 3))
        self.refine = nn.Sequential(ConvBN(128 + 64, 128, 3), ConvBN(128, 128, 3))
        self.head = nn.Sequential(ConvBN(128 + 3, self.FINE, 3), ConvBN(self.FINE, self.FINE, 3), nn.Conv2d(self.FINE, 1, 3, padding=1))
        self.critic = Critic()

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:  # noqa: ARG002 (the base class has it)
        """Return ``alpha`` and ``scaled``, the image for the critic."""
        features = self.encoder(x)
        semantics = enlarge(self.distil(self.pyramid(features[4])), features[1])
        details = self.filter(semantics, self.appearance(features[1]))
        merged = self.merge(torch.cat([semantics, details], dim=1))
        refined = self.refine(torch.cat([enlarge(merged, features[0]), features[0]], dim=1))
        logits = self.head(torch.cat([enlarge(refined, x), x], dim=1))
        return {"alpha": torch.sigmoid(logits.float()), "scaled": x}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return Eq. 3 to 7: adversarial, mean squared and structural similarity losses."""
        return {
            "adversarial": self.ADVERSARIAL * adversarial_loss(self.critic, maps["scaled"], maps["alpha"], targets.alpha),
            "mse": self.MSE * F.mse_loss(maps["alpha"], targets.alpha),
            "ssim": self.SSIM * ssim_loss(maps["alpha"], targets.alpha),
        }
