"""The plate: the original pixels of a sequence's image, carried beside the frame that the network sees."""

from __future__ import annotations

from dataclasses import dataclass

from streammat.film.colour import ColourSpace
from streammat.film.header import Header
from streammat.film.images import Pixels


@dataclass(frozen=True, slots=True)
class Plate:
    """Colours in the file's own space."""

    pixels: Pixels
    """(H, W, 3) float16 or float32; nothing downstream changes them in place."""
    space: ColourSpace
    header: Header
