"""A network with its losses as one module, which a training step calls and processes share."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.engines.network.gfm import GFM
from streammat.train.config import LossConfig, TrainConfig
from streammat.train.data.loader import Batch
from streammat.train.data.targets import TRIMAP
from streammat.train.loop.memory import draw_previous
from streammat.train.losses import gfm_loss, term_names
from streammat.train.methods.base import Model, Targets, trimap_values

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Objective(nn.Module):
    """Computes the losses of a batch.

    Args:
        model: GFM or another method; its norms may later be replaced in place.
        config: precision and the weights of GFM's loss.
    """

    def __init__(self, model: Model, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the scalars of `term_names`; the network runs under autocast, the losses in float32."""
        device, precision = batch.rgb.device.type, self.config.precision
        # A permuted NHWC tensor already is channels-last in memory.
        image = batch.rgb.permute(0, 3, 1, 2).float()
        alpha, contrast = (_pooled(plane, self.model.stride) for plane in (batch.alpha, batch.contrast))
        classes = {name: plane.long() for name, plane in batch.classes.items()}
        with torch.autocast(device, _TYPES[precision], enabled=precision != "fp32"):
            if isinstance(self.model, GFM):
                prediction = self.model.predict(image, self._previous(self.model, image, alpha, batch.number))
            else:
                maps = self.model.predict(image, trimap_values(classes[TRIMAP]) if self.model.NEEDS_TRIMAP else None)
        if isinstance(self.model, GFM):
            return gfm_loss(prediction, alpha, classes, contrast, self.config.loss, pairs=batch.pairs).terms
        return self.model.losses(maps, Targets(alpha, contrast, classes, image))

    def _previous(self, model: GFM, image: Tensor, alpha: Tensor, number: int) -> Tensor | None:
        """Draw what the network is to take for the matte of the frame before; None for a network that takes none."""
        if model.memory is None:
            return None
        generator = torch.Generator(image.device).manual_seed(self.config.seed * 1_000_003 + number)
        training = model.training
        model.eval()
        previous = draw_previous(lambda view, before: model.predict(view, before).alpha, image, alpha, generator)
        model.train(training)
        return previous


def objective_terms(model: Model, loss: LossConfig) -> list[str]:
    """Return the names of the losses of an `Objective` of ``model``, in order."""
    return term_names(model.heads, loss) if isinstance(model, GFM) else list(model.TERMS)


def _pooled(plane: Tensor, stride: int) -> Tensor:
    """Return Average uint8 (N, H, W), 0..255, to float32 (N, 1, H/stride, W/stride), 0..1."""
    return F.avg_pool2d(plane.unsqueeze(1).float() / 255.0, stride)
