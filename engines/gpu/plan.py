"""Parameters of the GPU stage: how frames lie in memory and how to work on them. Plain numbers, no torch, no library of images.

Whoever calls the stage has the constants and the rules; the stage has the arithmetic. So nothing is written down twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Drawn = Literal["composite", "transparent", "foreground"]
"""Contents that can be drawn from a frame and its matte."""


@dataclass(frozen=True)
class Refining:
    """The network's alpha → the matte, as a guided filter on cells of ``step`` pixels; see ``streammat.matting.refine``."""

    step: int
    """Pixels per cell, a power of two."""
    sigma: float
    """Blur of the luma, in cells."""
    residue: float
    """Values this near 0 or 1 become exactly that."""
    radius: int
    """Cells on each side of the window."""
    epsilon: float
    """Regularisation, in luma of 0..1 squared."""
    hair: float
    """Resampled values this near to 0 or 1 are 0 or 1."""


@dataclass(frozen=True)
class Colouring:
    """The foreground's own colour, guessed on cells of ``cell`` pixels; see ``streammat.compositing.foreground``."""

    cell: int
    """Pixels per cell, a power of two, at least two samples of chroma."""
    near: int
    """Cells on each side of the near neighbourhood."""
    far: int
    """Cells on each side of the far neighbourhood."""
    trust: float
    """Share of pure cells at which both weigh the same."""
    faint: int
    """Alpha nearer to 0 or full than one such part of the scale is left alone."""


@dataclass(frozen=True)
class Blurring:
    """The room out of focus, on cells of ``cell`` pixels; see ``streammat.compositing.blur``."""

    cell: int
    """Pixels per cell, a power of two."""
    sigma: float
    """Radius of the blur, in cells."""
    reaches: tuple[int, ...]
    """Cells on each side of the neighbourhoods from which the room is continued, widest first."""
    trust: float
    """Share of visible room at which a neighbourhood weighs as much as the next wider one."""


@dataclass(frozen=True)
class Plan:
    """Frames of one kind. Planes are Y U V, G B R or grey, (h, w) uint8, or uint16 above 8 bits."""

    size: tuple[int, int]
    """(height, width) in pixels, as stored."""
    depth: int
    """Bits per component, 8 to 16."""
    chroma: tuple[int, int]
    """log2 of the subsampling of planes 1 and 2, (horizontal, vertical)."""
    rgb: bool
    """The planes are G, B, R."""
    planes: int
    """3, or 1 for grey."""
    black: int
    """Code value of black in luma or RGB."""
    matrix: int
    """YUV matrix as ISO/IEC 23091-2 numbers it: 1, 4, 5, 6, 7 or 9."""
    full: bool
    """The network is to see YUV as full range."""
    turns: int
    """Quarter turns counter-clockwise that show the image upright."""
    refining: Refining

    @property
    def top(self) -> int:
        """Full scale of the matte: 255, or 65535 above 8 bits."""
        return 255 if self.depth == 8 else 65535

    def shape(self, index: int) -> tuple[int, int]:
        """(h, w) of plane ``index``; chroma rounds up."""
        height, width = self.size
        if self.rgb or index == 0:
            return height, width
        return -(-height >> self.chroma[1]), -(-width >> self.chroma[0])
