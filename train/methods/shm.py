"""Semantic Human Matting (Chen et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import BACKBONES, VGG16, ConvBN
from streammat.train.losses import alpha_loss, composition_loss, glance_loss
from streammat.train.methods.base import Maps, Method, Targets
from streammat.train.methods.layers import PyramidPooling, enlarge, max_pool, max_unpool


class TrimapNetwork(nn.Module):
    """T-Net (Section 4.1): PSPNet-50, which classifies every pixel as background, unknown or foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.pooling = PyramidPooling(2048)
        self.head = nn.Sequential(ConvBN(4096, 512, 3), nn.Dropout2d(0.1), nn.Conv2d(512, 3, 1))
        # PSPNet's second head, for its auxiliary loss (Zhao et al. 2017, Section 3.3).
        self.auxiliary = nn.Sequential(ConvBN(1024, 256, 3), nn.Dropout2d(0.1), nn.Conv2d(256, 3, 1))

    def forward(self, features: list[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """Map the encoder's maps to logits (N, 3, H, W), and those of the auxiliary head."""
        return enlarge(self.head(self.pooling(features[4])), image), enlarge(self.auxiliary(features[3]), image)


class MattingNetwork(nn.Module):
    """M-Net (Section 4.2, Fig. 4): VGG-16's thirteen convolutions with four poolings, six convolutions with four unpoolings.

    As in DIM's Stage 1, its model, each 5x5 convolution of the decoder comes before an unpooling; unlike in DIM all but the last
    one have a norm.
    """

    WIDTHS = (512, 256, 128, 64, 64)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16(inputs=6, norm=True)
        sizes = (512, *self.WIDTHS)
        self.decoder = nn.ModuleList(ConvBN(a, b, 5, bias=True) for a, b in zip(sizes, self.WIDTHS, strict=False))
        self.head = nn.Conv2d(64, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, 6, H, W), image and trimap, to alpha (N, 1, H, W), 0..1."""
        places: list[Tensor] = []
        for index in range(len(VGG16.STAGES)):
            if index:
                x, where = max_pool(x)
                places.append(where)
            x = self.encoder.stage(index, x)
        for conv in self.decoder:
            x = conv(x)
            if places:
                # The unpooling at a level is as wide as the encoder was there.
                x = max_unpool(x, places.pop())
        return torch.sigmoid(self.head(x))


class SHM(Method):
    """Trimap network, matting network and their probabilistic fusion, trained together (Fig. 3).

    The first trimap-free matting network. The trimap network may start from ResNet-50's weights.
    """

    NAME = "shm"
    TITLE = "Chen et al., Semantic Human Matting, ACM MM 2018"
    HEADS = ("TT",)
    TERMS = ("trimap", "auxiliary", "alpha", "composition")
    GAMMA = 0.5
    """Weight of the alpha loss against the composition loss, Eq. 5."""
    LAMBDA = 0.01
    """Weight of the trimap's loss, Eq. 6."""
    AUXILIARY = 0.4
    """Weight of the trimap's auxiliary loss, as in PSPNet."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = BACKBONES["resnet50_dilated"].build()
        self.trimap = TrimapNetwork()
        self.matting = MattingNetwork()

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:  # noqa: ARG002 (the base class has it)
        """Return ``alpha``, ``trimap`` and ``auxiliary`` (logits of background, unknown, foreground), ``raw`` (the matting
        network's alpha).
        """
        logits, auxiliary = self.trimap(self.encoder(x), x)
        probability = F.softmax(logits.float(), dim=1)
        raw = self.matting(torch.cat([x, probability.to(x.dtype)], dim=1)).float()
        # Eq. 3: the trimap network answers for what is certain, the matting network for the rest.
        return {"alpha": probability[:, 2:] + probability[:, 1:2] * raw, "trimap": logits.float(), "auxiliary": auxiliary.float(), "raw": raw}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return Eq. 4 (trimap), 5 (alpha and composition) and 6 (their sum)."""
        everywhere = torch.ones_like(targets.alpha)
        classes = targets.classes["TT"]
        return {
            "trimap": self.LAMBDA * glance_loss(maps["trimap"], classes),
            "auxiliary": self.LAMBDA * self.AUXILIARY * glance_loss(maps["auxiliary"], classes),
            "alpha": self.GAMMA * alpha_loss(maps["alpha"], targets.alpha, everywhere),
            "composition": (1 - self.GAMMA) * composition_loss(maps["alpha"], targets.alpha, targets.contrast),
        }
