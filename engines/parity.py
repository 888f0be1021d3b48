"""How far another form of a network may be from the network itself, and pictures to find out with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOTICEABLE = 0.01
"""A difference of alpha that shows."""


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from the network it was made of; alpha in 0..1."""

    largest: float
    """Largest absolute difference."""
    mean: float
    """Mean absolute difference."""
    off: float
    """Share of pixels that differ by more than `NOTICEABLE`."""


def compare(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Parity:
    """Parity over pairs of equal shape, alpha and expected alpha."""
    every = np.concatenate([np.abs(found - expected).ravel() for found, expected in pairs])
    return Parity(float(every.max()), float(every.mean()), float((every > NOTICEABLE).mean()))


def draw(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A drawn picture, uint8 (1, H, W, 3): colours that change smoothly, and noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / 32.0
    waves = [120 + 60 * np.sin(x * (1 + c) + c) + 60 * np.cos(y * (2 - c) + 2 * c) for c in (0.0, 0.4, 0.8)]
    picture = np.stack(waves, axis=-1) + rng.normal(0.0, 8.0, (height, width, 3))
    drawn: NDArray[np.uint8] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)[None]
    return drawn
