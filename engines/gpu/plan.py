"""Parameters of the GPU stage: memory layout of frames and constants of each step. Plain numbers, without torch or image
libraries.

The caller of the stage defines the constants; the stage only computes. So no constant is defined twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Drawn = Literal["composite", "transparent", "foreground"]
"""Contents of outputs that can be drawn from a frame and its matte."""


@dataclass(frozen=True)
class Refining:
    """Parameters of refinement, from the network's alpha to the matte, by a guided filter on cells of ``step`` pixels; see
    ``streammat.matting.refine``.
    """

    step: int
    """Pixels per cell, a power of two."""
    sigma: float
    """Blur of the image, in cells."""
    residue: float
    """Values within this distance of 0 or 1 become exactly 0 or 1."""
    patch: int
    """Cells on each side of a patch, for each of which the linear model is solved."""
    radius: int
    """Patches on each side of the window."""
    epsilon: float
    """Regularisation, in values of 0..1 squared."""
    fade: float
    """Times its distance from empty and from full, up to 1: how much the model counts in a cell."""
    tolerance: float
    """Rounding tolerance: resampled values within this distance of 0 or 1 are set to 0 or 1."""


@dataclass(frozen=True)
class Colouring:
    """Parameters of the foreground's own colour, estimated on cells of ``cell`` pixels; see ``streammat.compositing.foreground``."""

    cell: int
    """Pixels per cell, a power of two, at least two samples of chroma."""
    near: int
    """Cells on each side of the near neighbourhood."""
    far: int
    """Cells on each side of the far neighbourhood."""
    trust: float
    """Share of pure cells at which near and far neighbourhood weigh the same."""
    faint: int
    """Alpha within 1/``faint`` of 0 or full scale is not corrected."""


@dataclass(frozen=True)
class Blurring:
    """Parameters of the blurred background, on cells of ``cell`` pixels; see ``streammat.compositing.blur``."""

    cell: int
    """Pixels per cell, a power of two."""
    sigma: float
    """Radius of the blur, in cells."""
    reaches: tuple[int, ...]
    """Radii in cells of the neighbourhoods that fill in the background, widest first."""
    trust: float
    """Share of visible background at which a neighbourhood weighs as much as the next wider one."""


@dataclass(frozen=True)
class FramePlan:
    """Layout of frames of one kind. Planes are Y U V, G B R or grey, (h, w) uint8, or uint16 above 8 bits."""

    size: tuple[int, int]
    """(height, width) in pixels, as stored."""
    depth: int
    """Bits per component, 8 to 16."""
    chroma: tuple[int, int]
    """log2 of the subsampling of planes 1 and 2, (horizontal, vertical)."""
    rgb: bool
    """True if the planes are G, B, R."""
    planes: int
    """Number of planes: 3, or 1 for grey."""
    black: int
    """Code value of black in luma or RGB."""
    matrix: int
    """YUV matrix as ISO/IEC 23091-2 numbers it: 1, 4, 5, 6, 7 or 9."""
    full: bool
    """True if YUV is full range for the network."""
    turns: int
    """Quarter turns counter-clockwise that show the image upright."""
    refining: Refining

    @property
    def top(self) -> int:
        """Full scale of the matte: 255, or 65535 above 8 bits."""
        return 255 if self.depth == 8 else 65535

    def shape(self, index: int) -> tuple[int, int]:
        """Return (h, w) of plane ``index``; chroma rounds up."""
        height, width = self.size
        if self.rgb or index == 0:
            return height, width
        return -(-height >> self.chroma[1]), -(-width >> self.chroma[0])
