"""What is put behind the subject: a colour, a picture, a clip, or the frame's own room, blurred.

A background gives planes in the layout, size, colour matrix, range and orientation of the frame it is asked for, so that
blending needs no conversion. Pictures are composed upright and turned into the orientation in which the frame is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, Protocol

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from streammat.composite import full_scale, shrink
from streammat.config import Fit
from streammat.errors import InputError, UsageError
from streammat.frame import Colour, Frame, Layout, Matte, Plane, layout_of, planes_of

Rgb = tuple[int, int, int]
"""Red, green, blue, 0..255 each, full range."""

COLOURS: Final[dict[str, Rgb]] = {
    "green": (0, 177, 64),  # the film green that keyers expect, not the web's
    "blue": (0, 71, 187),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}
BLUR_STRENGTH: Final = 0.5


@dataclass(frozen=True)
class BackgroundSpec:
    """What a user asked for; ``open_background`` makes it."""

    kind: Literal["transparent", "blur", "colour", "image", "video"]
    path: Path | None = None
    """Of an image or a video."""
    colour: Rgb | None = None
    strength: float = BLUR_STRENGTH
    """Of a blur, 0..1."""


class Background(Protocol):
    """Planes to put behind a frame's subject."""

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Colour planes (no alpha plane) in the frame's layout, size and colour. They may be returned again for the next
        frame, so nobody changes them."""
        ...

    def close(self) -> None:
        """Lets go of files; may be called twice."""
        ...
