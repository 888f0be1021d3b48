"""Comparison of an exported network with the original, and test images for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOTICEABLE = 0.01
"""Least difference of alpha that is visible."""


@dataclass(frozen=True)
class Parity:
    """Difference of an exported file from its network; alpha in 0..1."""

    largest: float
    """Largest absolute difference."""
    mean: float
    """Mean absolute difference."""
    off: float
    """Share of pixels that differ by more than `NOTICEABLE`."""


def compare(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Parity:
    """Return the parity over pairs of alpha and expected alpha, of equal shapes."""
    every = np.concatenate([np.abs(found - expected).ravel() for found, expected in pairs])
    return Parity(float(every.max()), float(every.mean()), float((every > NOTICEABLE).mean()))


def draw(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an image, uint8 (1, H, W, 3): head and shoulders before a smooth gradient, with noise.

    In an empty image ``lite`` finds nothing, and then any two networks agree.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [120 + 30 * np.sin(x / 32 * (1 + c) + c) + 30 * np.cos(y / 32 * (2 - c) + 2 * c) for c in (0.0, 0.4, 0.8)]
    image = np.stack(waves, axis=-1)
    for (across, down), (half_width, half_height), colour in _FIGURE:
        # Distance inwards from the outline in pixels, nearly; the edge is 3 pixels wide.
        inside = 1 - np.hypot(((x - width / 2) / height - across) / half_width, (y / height - down) / half_height)
        cover = np.clip(0.5 + inside * min(half_width, half_height) * height / 3, 0.0, 1.0)[..., None]
        image = image * (1 - cover) + np.array(colour, np.float32) * cover
    image += rng.normal(0.0, 4.0, image.shape)
    drawn: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)[None]
    return drawn


_FIGURE = (
    ((0.0, 0.36), (0.17, 0.22), (60, 40, 30)),  # hair
    ((0.0, 1.02), (0.34, 0.40), (30, 60, 140)),  # shirt
    ((0.0, 0.62), (0.07, 0.14), (200, 150, 125)),  # neck
    ((0.0, 0.40), (0.125, 0.17), (220, 170, 145)),  # face
    ((-0.05, 0.38), (0.018, 0.012), (40, 30, 30)),  # eyes
    ((0.05, 0.38), (0.018, 0.012), (40, 30, 30)),
    ((0.0, 0.43), (0.014, 0.03), (200, 145, 120)),  # nose
    ((0.0, 0.48), (0.045, 0.012), (150, 70, 70)),  # mouth
)
"""Ellipses of the drawn figure: centre (across from the middle, down from the top), half axes, RGB; lengths in image heights."""
