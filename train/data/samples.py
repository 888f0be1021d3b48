"""Samples for the training loop, and the protocol of whole images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from streammat.train.config import TrainConfig
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


def batch_keys(config: TrainConfig, first: int) -> Iterator[list[Key]]:
    """Yield batches of sample keys from step ``first`` on; batch ``k`` depends on the seed, ``k`` and the number of steps.

    In a batch of pairs each key with an even index and the next one are frames of one scene.
    """
    start = np.array([share for _, _, share in config.sizes])
    end = np.array(config.final_shares or start)
    most = max(2, *(config.pixels_per_batch // (height * width) for height, width, _ in config.sizes))
    for step in range(first, config.steps):
        rng = np.random.Generator(np.random.Philox(key=[config.seed + 7919, step]))
        shares = start + (end - start) * (step / config.steps)
        height, width, _ = config.sizes[rng.choice(len(shares), p=shares / shares.sum())]
        count = max(2, config.pixels_per_batch // (height * width))
        if rng.random() < config.pairs:
            yield [Key(step * most + number // 2, height, width, number % 2) for number in range(count - count % 2)]
        else:
            yield [Key(step * most + number, height, width) for number in range(count)]
