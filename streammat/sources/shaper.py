"""Parts of all live sources: the clock, and the conversion of any image into frames that every live output accepts.

Live frames are 8-bit 4:2:0 in limited range, upright, with square pixels and even sides: virtual cameras, H.264 and live streams
all accept that without another conversion.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from streammat.media.frame import Colour, Frame, Layout, Plane, layout_of, planes_of, swscale_matrix
from streammat.sources import Source, StreamInfo

TIME_BASE = Fraction(1, 90_000)
"""Time base of every live frame: fine enough for 11 microseconds, and the clock of MPEG's own streams."""


@dataclass(frozen=True)
class Clock:
    """The clock of a run: a live frame's ``pts`` is its time of capture, in ticks of ``TIME_BASE`` since the run began."""

    origin: float = field(default_factory=time.monotonic)

    def ticks(self, seconds: float | None = None) -> int:
        """Return ``time.monotonic`` seconds, or now, as a ``pts``."""
        return round(((time.monotonic() if seconds is None else seconds) - self.origin) / TIME_BASE)

    def age(self, pts: int) -> float:
        """Return seconds since the frame with ``pts`` was captured."""
        return time.monotonic() - self.origin - pts * float(TIME_BASE)


class LiveSource(Source, Protocol):
    """Protocol of a source of live frames; another thread may end it while it waits for the next frame."""

    name: str
    """Name for people."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield live frames, in the order of their capture.

        Raises:
            CameraLostError: no more frames for now.
            InputError: no more frames at all.
        """
        ...

    def stop(self) -> None:
        """End the iteration as soon as possible; from any thread. Call ``close`` after it has ended."""
        ...


def live_layout() -> Layout:
    """Return the layout of live frames: yuv420p."""
    layout = layout_of("yuv420p")
    assert layout is not None
    return layout


def live_info(size: tuple[int, int], rate: Fraction, colour: Colour) -> StreamInfo:
    """Return the properties of a live source: ``size`` (height, width), frames per second, colour."""
    return StreamInfo(
        size=size,
        layout=live_layout(),
        colour=colour,
        rate=rate,
        time_base=TIME_BASE,
        sample_aspect_ratio=Fraction(1),
        rotation=0,
        frames=0,
    )


class Shaper:
    """Converts decoded frames to live frames of one size.

    Args:
        size: (height, width) of every frame, even; None: the display size of the first frame, rounded down to even sides.
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.size = size
        self._layout = live_layout()
        self._converter = VideoReformatter()
        self._index = 0

    def __call__(self, image: av.VideoFrame, pts: int, sample_aspect_ratio: Fraction = Fraction(1), turns: int = 0) -> Frame:
        """Return ``image`` as a live frame captured at ``pts``.

        Args:
            image: any pixel format, size and rotation; its memory is reused if nothing has to change.
            pts: ticks of ``TIME_BASE``.
            sample_aspect_ratio: a sample's width over its height, as stored.
            turns: quarter turns counter-clockwise that show it upright.
        """
        if self.size is None:
            height, width = image.height, max(2, round(image.width * sample_aspect_ratio))
            upright = (width, height) if turns % 2 else (height, width)
            self.size = (max(2, upright[0] & ~1), max(2, upright[1] & ~1))
        height, width = self.size if turns % 2 == 0 else self.size[::-1]
        colour = _limited(image)
        converted = self._converted(image, height, width)
        planes = planes_of(converted, self._layout)
        if turns:
            converted, planes = _turned(planes, turns, self._layout)
        frame = Frame(converted, self._layout, colour, pts, TIME_BASE, 0, self._index, planes)
        self._index += 1
        return frame

    def _converted(self, image: av.VideoFrame, height: int, width: int) -> av.VideoFrame:
        full = image.color_range == 2 or image.format.name.startswith("yuvj") or image.format.is_rgb
        if image.format.name == "yuv420p" and (image.height, image.width) == (height, width) and not full:
            return image
        shrinks = height < image.height or width < image.width
        matrix = swscale_matrix(_limited(image), image.height)
        return self._converter.reformat(
            image,
            width,
            height,
            "yuv420p",
            src_colorspace=None if image.format.is_rgb else matrix,
            dst_colorspace=matrix,
            src_color_range=2 if full else 1,
            dst_color_range=1,
            interpolation="AREA" if shrinks else "BICUBIC",
            threads=1,
        )


def _limited(image: av.VideoFrame) -> Colour:
    """Return the colour of a frame as limited-range YUV; its matrix is kept, and RGB gets the one for its size."""
    matrix = int(image.colorspace)
    if image.format.is_rgb or matrix not in (1, 4, 5, 6, 7, 9, 10):
        matrix = swscale_matrix(Colour(2, transfer=int(image.color_trc)), image.height)
    return Colour(matrix, int(image.color_primaries), int(image.color_trc), 1)


def _turned(planes: tuple[Plane, ...], turns: int, layout: Layout) -> tuple[av.VideoFrame, tuple[Plane, ...]]:
    """Return planes turned counter-clockwise by quarter ``turns``; 4:2:0 halves both directions, so nothing is resampled."""
    turned = [np.rot90(plane, turns) for plane in planes]
    height, width = turned[0].shape
    image = av.VideoFrame(width, height, layout.name)
    views = planes_of(image, layout)
    for view, plane in zip(views, turned, strict=True):
        view[:] = plane
    return image, views
