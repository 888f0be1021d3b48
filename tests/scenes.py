"""A drawn subject in front of a drawn room, with known foreground, background and alpha."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.media.frame import Colour, Frame, Matte, Plane, layout_of, planes_of

LAYOUTS = [
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv440p",
    "yuv411p",
    "yuv420p10le",
    "yuv422p12le",
    "gbrp",
    "gbrp10le",
    "gray",
    "gray10le",
]
Floats = NDArray[Any]
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Of red and blue in luma, by matrix."""


def scene(height: int, width: int, *, strokes: int = 60, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """(foreground, background, alpha, image): RGB 0..255 as (h, w, 3) floats, alpha (h, w) 0..1.

    A disc with thin strokes like hair, anti-aliased, dark on a lighter textured room."""
    rng = np.random.default_rng(seed)
    scale, radius = 4, min(height, width) * 0.28
    big = np.zeros((height * scale, width * scale), np.uint8)
    centre = np.array([width / 2, height / 2])
    cv2.circle(big, tuple(int(v * scale) for v in centre), int(radius * scale), 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, strokes):
        start = centre + radius * np.array([np.cos(angle), np.sin(angle)])
        end = start + rng.uniform(0.2, 0.6) * radius * np.array([np.cos(angle + 0.4), np.sin(angle + 0.4)])
        points = [tuple(int(v * scale) for v in point) for point in (start, end)]
        cv2.line(big, points[0], points[1], 255, int(rng.integers(6, 14)))
    alpha = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), 0.7) * 1.04 - 0.02, 0, 1)
    grain = [
        cv2.resize(rng.normal(0, 1, (height // 16 + 2, width // 16 + 2, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in "fb"
    ]
    foreground = np.clip(np.array([70, 50, 40]) + 12 * grain[0], 0, 255)
    background = np.clip(np.array([150, 180, 170]) + 20 * grain[1], 0, 255)
    return foreground, background, alpha, foreground * alpha[..., None] + background * (1 - alpha[..., None])


def frame_of(rgb: Floats, name: str, *, rotation: int = 0, pts: int = 0, time_base: Fraction = Fraction(1, 30)) -> Frame:
    """A BT.709 limited-range frame (full range where it is RGB) that shows ``rgb``."""
    layout = layout_of(name)
    assert layout is not None
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.clip(np.rint(rgb * 256), 0, 65535).astype(np.uint16)), "rgb48le")
    image = image.reformat(format=name, dst_colorspace=1, dst_color_range=2 if layout.rgb else 1)
    return Frame(image, layout, Colour(1, 1, 1, 1), pts, time_base, 1, 0, planes_of(image, layout), rotation)


def blank(
    name: str,
    height: int,
    width: int,
    colour: Colour | None = None,
    *,
    rotation: int = 0,
    pts: int = 0,
    time_base: Fraction = Fraction(1, 30),
) -> Frame:
    """A grey frame with any colour tags."""
    layout = layout_of(name)
    assert layout is not None
    image = av.VideoFrame(width, height, name)
    planes = planes_of(image, layout)
    for plane in planes:
        plane[:] = 1 << (layout.depth - 1)
    return Frame(image, layout, colour or Colour(), pts, time_base, 1, 0, planes, rotation)


def matte_of(alpha: Floats, frame: Frame) -> Matte:
    """Alpha 0..1 as a matte of the frame's depth."""
    return Matte(np.rint(alpha * np.iinfo(frame.layout.dtype).max).astype(frame.layout.dtype))


def rgb_at(planes: Sequence[Plane], frame: Frame, y: int, x: int, matrix: int) -> Floats:
    """The colour that a player shows, 0..255."""
    depth, layout = frame.layout.depth, frame.layout
    top, unit = (1 << depth) - 1, 1 << (depth - 8)
    if layout.rgb:
        return np.array([float(planes[i][y, x]) for i in (2, 0, 1)]) / top * 255
    full = frame.black == 0
    luma = planes[0][y, x] / top if full else (planes[0][y, x] / unit - 16) / 219
    if len(planes) == 1:
        return np.full(3, luma * 255)
    sx, sy = layout.chroma
    blue, red = ((float(p[y >> sy, x >> sx]) - (1 << (depth - 1))) / (top if full else 224 * unit) for p in planes[1:])
    kr, kb = WEIGHTS[matrix]
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b]) * 255
