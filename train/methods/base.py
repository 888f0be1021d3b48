"""The base of all methods that the paper compares GFM with: one class per method, one file per class.

A method is a network with its own losses. It is trained by the loop, on the tracks and with the crops of GFM, and scored by
the same command. Read its file together with its paper: docstrings name sections, equations and figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from streammat.engines.network.backbones import IMAGENET
from streammat.engines.network.gfm import GFM
from streammat.train.data.targets import TRIMAP
from streammat.train.losses import TRANSITION, alpha_loss

Maps = dict[str, Tensor]
"""A network's predictions, by name; ``alpha``, float32 (N, 1, H, W), is always among them."""
UNKNOWN = 0.5
"""Value of the unknown area in a network's trimap; background is 0, foreground 1."""


class MethodResult(NamedTuple):
    """A network's result outside training."""

    alpha: Tensor
    """float32 (N, 1, H, W), 0..1."""


class Targets(NamedTuple):
    """Targets for a batch's predictions."""

    alpha: Tensor
    """float32 (N, 1, H, W), 0..1."""
    contrast: Tensor
    """float32 (N, 1, H, W), 0..1, as in `streammat.train.losses.composition_loss`."""
    classes: Mapping[str, Tensor]
    """Class maps, int64 (N, H, W), by name: a RoSTa, or `TRIMAP`."""
    image: Tensor
    """float32 (N, 3, H, W), RGB, 0..255."""


class Method(nn.Module, ABC):
    """A network of another paper and its losses.

    Subclasses set the class variables, build ``encoder`` (which takes ImageNet weights and is trained at the encoder's rate) and
    their other parts, and implement `maps` and `losses`.
    """

    NAME: ClassVar[str]
    """Key of `streammat.train.methods.METHODS`."""
    TITLE: ClassVar[str]
    """Authors, title and year of the paper."""
    HEADS: ClassVar[tuple[str, ...]] = ()
    """Class maps that the losses need: of RoSTas, or `streammat.train.data.targets.TRIMAP`, which is then also the input."""
    NEEDS_TRIMAP: ClassVar[bool] = False
    """True if the network takes a trimap beside the image."""
    TERMS: ClassVar[tuple[str, ...]]
    """Names of the losses, in order."""
    MULTIPLE: ClassVar[int] = 32
    """Height and width of the input are multiples of this."""

    mean: Tensor
    std: Tensor
    encoder: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.heads = self.HEADS
        self.stride = 1
        self.checkpointing = False  # of GFM alone
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @property
    def network(self) -> str:
        """Name of the network, as in `streammat.engines.network.gfm.GFM`."""
        return self.NAME

    def forward(self, image: Tensor, trimap: Tensor | None = None) -> MethodResult:
        """Predict a batch; arguments and errors as in `predict`."""
        alpha = self.predict(image, trimap)["alpha"].clamp(0.0, 1.0)
        if self.NEEDS_TRIMAP:
            assert trimap is not None
            alpha = torch.where(trimap == UNKNOWN, alpha, trimap)
        return MethodResult(alpha)

    def predict(self, image: Tensor, trimap: Tensor | None = None) -> Maps:
        """Return all predictions, for training.

        Args:
            image: float32 (N, 3, H, W), RGB, 0..255; H and W are multiples of 32.
            trimap: float32 (N, 1, H, W), 0, 0.5 and 1, for methods that need one; others take None.

        Raises:
            ValueError: a shape does not fit, or the trimap is missing or superfluous.
        """
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % self.MULTIPLE or image.shape[3] % self.MULTIPLE:
            raise ValueError(f"image has shape {tuple(image.shape)}; expected (N, 3, H, W), H and W multiples of {self.MULTIPLE}")
        if (trimap is not None) != self.NEEDS_TRIMAP:
            raise ValueError(f"method {self.NAME} {'needs a trimap beside the image' if self.NEEDS_TRIMAP else 'takes no trimap'}")
        if trimap is not None and trimap.shape != (image.shape[0], 1, *image.shape[2:]):
            raise ValueError(f"trimap has shape {tuple(trimap.shape)}, image {tuple(image.shape)}; expected (N, 1, H, W) of its size")
        return self.maps((image - self.mean) / self.std, trimap)

    @abstractmethod
    def maps(self, x: Tensor, trimap: Tensor | None) -> Maps:
        """Predict from the scaled image (N, 3, H, W) and the trimap, as in `predict`."""

    @abstractmethod
    def losses(self, maps: Maps, targets: Targets) -> Maps:
        """Return the scalars of `TERMS`, whose sum is minimised."""


Model = GFM | Method
"""A network that can be trained and scored: GFM or another method."""


def trimap_values(classes: Tensor) -> Tensor:
    """Convert a trimap for a network: int64 (N, H, W), 0..2, to float32 (N, 1, H, W), 0, 0.5, 1."""
    return classes.unsqueeze(1).float() / 2.0


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
