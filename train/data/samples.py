"""Samples for the training loop, and the protocol of whole images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from streammat.train.data.images import Image, Layers


class Key(NamedTuple):
    """The key of a sample, which determines it completely."""

    number: int
    height: int
    """Height in pixels, a multiple of the network's stride; likewise the width."""
    width: int
    frame: int | None = None
    """Frame 0 or 1 of a still scene; None: a single image."""


@dataclass(frozen=True)
class Sample:
    """One training image of H x W pixels; h x w is H/stride x W/stride of the network's output."""

    rgb: Image
    """uint8 (H, W, 3), RGB, 0..255."""
    alpha: Image
    """uint8 (H, W), 0..255."""
    contrast: Image
    """uint8 (H, W), mean absolute difference of foreground and background; 0 if the background is unknown."""
    classes: Mapping[str, Image] = field(default_factory=dict)
    """Glance target by RoSTa (``TT``, ``FT``, ``BT``): uint8 (h, w), the class of each output pixel."""
    frame: int | None = None
    """Frame number, as in its `Key`."""
    number: int = 0
    """Sample number, as in its `Key`."""


class ImageSet(Protocol):
    """Protocol of a set of whole images with their layers: original files (ORI), or composed on the fly (COMP)."""

    def __len__(self) -> int:
        """Return the number of images per epoch."""
        ...

    def load(self, index: int, rng: np.random.Generator) -> Layers:
        """Load image ``index``; every random choice comes from ``rng``, so that a sample is reproducible.

        Raises:
            DataError: a file is missing or broken.
        """
        ...
