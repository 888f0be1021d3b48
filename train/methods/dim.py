"""Deep Image Matting (Xu et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.backbones import VGG16
from streammat.train.methods.base import Maps, Method, Targets, unknown_losses
from streammat.train.methods.layers import max_pool, max_unpool


class Refinement(nn.Module):
    """Second stage (Section 4.2, Fig. 4): four convolutions over image and raw alpha predict a correction that is added before
    the sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(cin, 64, 3, padding=1) for cin in (4, 64, 64))
        self.head = nn.Conv2d(64, 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # so that it begins with the first stage's alpha
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """Map (N, 3, H, W) and (N, 1, H, W) to refined logits (N, 1, H, W)."""
        x = torch.cat([image, torch.sigmoid(logits)], dim=1)
        for conv in self.convs:
            x = F.relu(conv(x))
        refined: Tensor = logits + self.head(x)
        return refined


class DIM(Method):
    """VGG-16 with the trimap as fourth channel, poolings whose indices the decoder's unpoolings reuse, and a refinement.

    The first stage (Section 4.1, Fig. 3): fourteen convolutions and five poolings, six convolutions and five unpoolings. The last
    convolution of the encoder replaces the first fully connected layer.
    """

    NAME = "dim"
    TITLE = "Xu et al., Deep Image Matting, CVPR 2017"
    HEADS = ("trimap",)
    NEEDS_TRIMAP = True
    TERMS = ("alpha", "composition", "refined")
    WEIGHT = 0.5
    """Weight of the alpha-prediction loss against the compositional loss, Eq. 3."""
    WIDTHS = (512, 256, 128, 64, 64)

    encoder: VGG16

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16(inputs=4)
        self.last = nn.Conv2d(512, 512, 3, padding=1)
        self.first = nn.Conv2d(512, 512, 1)
        sizes = (512, *self.WIDTHS)
        self.decoder = nn.ModuleList(nn.Conv2d(a, b, 5, padding=2) for a, b in zip(sizes, self.WIDTHS, strict=False))
        self.head = nn.Conv2d(64, 1, 5, padding=2)
        self.refinement = Refinement()

    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:
        """Return ``alpha``, refined, and ``raw``, that of the first stage."""
        assert trimap is not None
        places: list[Tensor] = []
        y = torch.cat([x, trimap.to(x.dtype)], dim=1)
        for index in range(len(VGG16.STAGES)):
            y, where = max_pool(self.encoder.stage(index, y))
            places.append(where)
        y = F.relu(self.first(F.relu(self.last(y))))
        for conv in self.decoder:
            y = F.relu(conv(max_unpool(y, places.pop())))
        logits = self.head(y)
        refined = self.refinement(x, logits)
        return {"alpha": torch.sigmoid(refined.float()), "raw": torch.sigmoid(logits.float())}

    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return Eq. 1 (alpha prediction), 2 (composition) and 3 of the first stage; the alpha prediction of the refinement. Only
        the unknown area counts.

        The paper trains the stages one after the other, then together; here they are trained together from the start, which is
        possible because the refinement starts at zero.
        """
        alpha, composition = unknown_losses(maps["raw"], targets)
        refined, _ = unknown_losses(maps["alpha"], targets)
        return {"alpha": self.WEIGHT * alpha, "composition": (1.0 - self.WEIGHT) * composition, "refined": refined}
