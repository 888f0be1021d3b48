"""What the training loop is fed: one sample, and where whole images come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from streammat.train.data.images import Image, Layers


class Key(NamedTuple):
    """What a sample is made from, and from nothing else."""

    number: int
    height: int
    """In pixels, a multiple of the network's stride; likewise the width."""
    width: int
    frame: int | None = None
    """Frame 0 or 1 of a still scene; None: an image of its own."""


@dataclass(frozen=True)
class Sample:
    """One training image of H x W pixels; h x w is H/stride x W/stride of the network's output."""

    rgb: Image
    """uint8 (H, W, 3), RGB, 0..255."""
    alpha: Image
    """uint8 (H, W), 0..255."""
    contrast: Image
    """uint8 (H, W), mean absolute difference of foreground and background; 0 where the background is unknown."""
    classes: Mapping[str, Image] = field(default_factory=dict)
    """Glance target by RoSTa (``TT``, ``FT``, ``BT``): uint8 (h, w), the class of each output pixel."""
    frame: int | None = None
    """As of its `Key`."""


class Pictures(Protocol):
    """A set of whole images with their layers: files as they are (ORI), or composed on the fly (COMP)."""

    def __len__(self) -> int:
        """Images per epoch."""
        ...

    def load(self, index: int, rng: np.random.Generator) -> Layers:
        """Image ``index``; every random choice comes from ``rng``, so that a sample can be made again.

        Raises:
            DataError: a file is missing or broken.
        """
        ...
