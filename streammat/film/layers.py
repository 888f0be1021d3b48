"""Additional layers of an EXR output: named channels beside the base layer."""

from __future__ import annotations

from typing import Final

import numpy as np

from streammat.errors import UsageError
from streammat.film.images import Pixels
from streammat.media.frame import Matte
from streammat.media.planes import full_scale

CHANNELS: Final = {"matte": ("Y",), "confidence": ("Y",), "foreground": ("R", "G", "B")}
"""Channels of each layer: the matte, the confidence of the network, the straight foreground colour."""


def parse_layers(text: str | None) -> tuple[str, ...]:
    """Parse a list of layers such as ``matte,confidence``; None gives none.

    Raises:
        UsageError: there is no such layer.
    """
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if unknown := [name for name in names if name not in CHANNELS]:
        raise UsageError(f"--exr-layers {text}: {unknown[0]!r} is unknown; expected one or more of {', '.join(CHANNELS)}, with commas between them")
    return names


def channels_of(layers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the channels of ``layers``, such as ``matte.Y``."""
    return tuple(f"{layer}.{channel}" for layer in layers for channel in CHANNELS[layer])


def confidence_of(matte: Matte) -> Pixels:
    """Return ``|2 a - 1|`` of the network's alpha ``a``, before controls and masks: (H, W, 1) float32, 0 undecided, 1 decided."""
    alpha = matte.alpha if matte.network is None else matte.network
    return np.asarray(np.abs(alpha.astype(np.float32) * np.float32(2 / full_scale(alpha)) - 1)[:, :, None])
