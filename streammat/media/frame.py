"""Frames and mattes, which travel down the pipeline.

A ``Frame`` wraps the decoder's own buffer; its planes are views on it, never copies. Work happens in planar formats
only (YUV of any subsampling, RGB as GBR planes, grey; 8 to 16 bits); sources convert anything else on the way in.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar, Final, TypeAlias

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from streammat.engines.base import usable_cores

Packet: TypeAlias = "av.Packet[Any]"
"""A packet of another track, passed on beside the frames."""

Plane = NDArray[Any]
"""(h, w) uint8, or uint16 with the value in the low ``depth`` bits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Memory layout of a planar pixel format."""

    name: str
    """FFmpeg's name of the pixel format, such as ``yuv420p10le``."""
    depth: int
    """Bits per component, 8 to 16."""
    chroma: tuple[int, int]
    """log2 of the chroma subsampling, (horizontal, vertical); (0, 0) for RGB and grey."""
    rgb: bool
    """True if the planes are G, B, R, not Y, U, V."""
    planes: int
    """Number of planes, a last alpha plane included."""
    alpha: bool
    """True if the last plane is alpha, full range."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for 8 bits, uint16 above."""
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)

    @property
    def colour_planes(self) -> int:
        """Planes without alpha: 3, or 1 for grey."""
        return self.planes - self.alpha

    def plane_shape(self, index: int, height: int, width: int) -> tuple[int, int]:
        """Return (h, w) of plane ``index`` of a frame of ``height`` by ``width`` pixels (chroma rounds up)."""
        if self.rgb or index not in (1, 2):
            return height, width
        sx, sy = self.chroma
        return -(-height >> sy), -(-width >> sx)


@cache
def layout_of(name: str) -> Layout | None:
    """Return the layout of an FFmpeg pixel format; None if frames cannot have it."""
    try:
        fmt = av.VideoFormat(name, 64, 64)
    except ValueError:
        return None
    parts = fmt.components
    depth = parts[0].bits
    planar = sorted(part.plane for part in parts) == list(range(len(parts)))
    same_depth = all(part.bits == depth for part in parts)
    if not planar or not same_depth or not 8 <= depth <= 16 or fmt.is_bit_stream or fmt.has_palette:
        return None
    if name.endswith("be") or name.startswith(("p0", "p2", "p4")) or "msb" in name or (fmt.is_rgb and len(parts) < 3):
        return None
    if not (fmt.is_rgb or name.startswith(("yuv", "gray"))) or "f32" in name or "f16" in name:
        return None
    alpha = len(parts) in (2, 4)
    chroma = (0, 0)
    if not fmt.is_rgb and len(parts) >= 3:
        chroma = ((64 // fmt.chroma_width(64)).bit_length() - 1, (64 // fmt.chroma_height(64)).bit_length() - 1)
    return Layout(name, depth, chroma, fmt.is_rgb, len(parts), alpha)


PQ: Final = 16
"""The transfer of SMPTE ST 2084."""
HLG: Final = 18
"""The transfer of ARIB STD-B67."""
HDR: Final = (PQ, HLG)


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour tags of a frame: FFmpeg's integer codes, as in ISO/IEC 23091-2; 2 and 0 mean unspecified."""

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    range: int = 0
    """0 unspecified, 1 limited (16..235), 2 full."""


def codec_threads() -> int:
    """Return the number of threads for FFmpeg's encoders: the cores that this process may use, at most 16.

    FFmpeg's default is 1.5 times as many, each with its own frames: more memory, and less speed beside the network.
    """
    usable = usable_cores()
    return min(16, usable)


def decoder_threads() -> int:
    """Return the number of threads for FFmpeg's decoders: half the cores that this process may use, at most 8.

    A frame takes several times as long in the network and the encoder; each thread more holds frames, and costs time.
    """
    return max(1, codec_threads() // 2)


def swscale_matrix(colour: Colour, height: int) -> int:
    """Return the YUV matrix for conversions: the tagged one, else the one that players assume (BT.2020 for HDR, BT.709 from 720
    lines on, BT.601 below).
    """
    if colour.matrix in (1, 4, 5, 6, 7, 9):
        return colour.matrix
    return 9 if colour.matrix == 10 or colour.transfer in HDR else 1 if height >= 720 else 5


def planes_of(image: av.VideoFrame, layout: Layout) -> tuple[Plane, ...]:
    """Return views of the planes of ``image``, in ``layout``'s order (Y U V [A], G B R [A] or grey)."""
    views = []
    for index in range(layout.planes):
        plane = image.planes[index]
        height, width = layout.plane_shape(index, image.height, image.width)
        flat = np.frombuffer(memoryview(plane), layout.dtype)
        step = plane.line_size // flat.itemsize
        views.append(flat[: step * height].reshape(height, step)[:, :width])
    return tuple(views)


def keyframe_of(image: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    """Return a copy of ``image`` that encoders make a keyframe; other outputs encode the image itself."""
    copied = av.VideoFrame(image.width, image.height, image.format.name)
    for plane, source in zip(planes_of(copied, layout), planes_of(image, layout), strict=True):
        plane[:] = source
    copied.pts, copied.time_base, copied.duration, copied.pict_type = image.pts, image.time_base, image.duration, PictureType.I
    copied.colorspace, copied.color_range = image.colorspace, image.color_range
    copied.color_trc, copied.color_primaries = image.color_trc, image.color_primaries
    return copied


@dataclass(slots=True)
class Frame:
    """One image with its place in time.

    ``planes`` are views on ``image``; nothing downstream changes them in place.
    """

    image: av.VideoFrame
    """The planar image that owns the memory."""
    layout: Layout
    colour: Colour
    pts: int
    """Presentation time in units of ``time_base``."""
    time_base: Fraction
    """Seconds per tick, exact."""
    duration: int
    """Duration in ticks of ``time_base``; 0 if the source does not tell."""
    index: int
    """Counts from 0 in presentation order."""
    planes: tuple[Plane, ...]
    rotation: int = 0
    """Quarter turns counter-clockwise that show the image upright: ``numpy.rot90(plane, rotation)``.

    Frames stay in their stored orientation, and files keep their rotation tag; only parts that must see or draw an upright image
    (the network, backgrounds, stills) turn it.
    """
    number: int | None = None
    """Frame number for outputs of numbered files; None: they count from 1."""
    plate: Any = None
    """For sequences: the original pixels of the file, a ``film.plate.Plate``; the frame itself is their conversion for the network."""
    foreground: Frame | None = None
    """The straight foreground colour of the same image, for outputs that hold it as a layer."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.height, self.image.width

    @property
    def black(self) -> int:
        """Code value of black in the luma (or RGB) planes: 16 scaled to the depth for limited-range YUV, else 0."""
        full = self.layout.rgb or self.colour.range == 2 or self.layout.name.startswith("yuvj")
        return 0 if full else 16 << (self.layout.depth - 8)


@dataclass(frozen=True, slots=True)
class Matte:
    """The alpha of one frame, which it travels with."""

    alpha: Plane
    """(H, W) at the frame's size: uint8 0..255 for 8-bit frames, uint16 0..65535 for deeper ones; full scale = foreground."""
    network: Plane | None = None
    """Alpha of the network, if controls, masks or the choice of a subject have changed it; None: ``alpha`` itself."""

    underway: ClassVar[bool] = False
    """The network may still be at work on it, beside the next frames."""

    def settle(self) -> float:
        """Wait until the network is done with a matte that is ``underway``; return the seconds of work that it took."""
        return 0.0

    def refine(self) -> None:
        """Bring alpha to the frame's size now, if that has been left for later: file jobs do it beside the next frame's network."""

    def adjusted(self, alpha: Plane) -> Matte:
        """Return a matte with another ``alpha`` that keeps the network's."""
        return Matte(alpha, self.alpha if self.network is None else self.network)

    def mirrored(self) -> Matte:
        """Return the matte mirrored left to right."""
        return Matte(np.ascontiguousarray(self.alpha[:, ::-1]))


def swscale_range(frame: Frame) -> int:
    """Return the range of a frame's values in FFmpeg's numbers: 1 limited, 2 full; untagged YUV is limited."""
    return 2 if frame.layout.rgb or frame.layout.name.startswith("yuvj") else frame.colour.range or 1
