"""Adjustments of a finished matte (clip, grow, feather, despeckle) and of the subject's colour (despill).

Each is an exact function, off by default and then without cost. They are applied in this order: despeckle, clip, grow,
feather, on alpha; despill, on the subject's colour, after the old background was removed from soft edges.

Alpha is written ``a`` in 0..1 here; planes hold it over the whole range of their type, results are rounded to it.

- **despeckle** N: connected parts (8 neighbours) of non-zero alpha with fewer than N pixels become 0; connected parts (4
  neighbours) of alpha below 1 with fewer than N pixels become 1.
- **clip** B, W: ``(a - B) / (W - B)``, cut to 0..1.
- **grow** R: for whole R > 0 the largest ``a`` within R pixels (a disc: dx² + dy² <= R²), for R < 0 the smallest; a fraction
  mixes the two whole radii linearly. The image's edge neither shrinks nor grows the matte.
- **feather** S: Gaussian blur with standard deviation S pixels, the image's edge repeated.
- **despill** C: with ``d = (Cb, Cr)`` of a pixel, ``u`` the direction of the colour C there and ``v`` across it: ``d`` loses
  ``amount * max(0, d.u - |d.v|) u``. Luma and all hues farther than 45 degrees from C stay as they are, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.compositing.backgrounds import parse_colour
from streammat.config import MOST_GROW, MatteControls
from streammat.errors import UsageError
from streammat.media.frame import Frame, Matte, Plane, swscale_matrix
from streammat.media.planes import FloatPlane, full_scale, resize_alpha

_OFF = MatteControls()
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Weights of red and blue in luma by FFmpeg's code of the matrix (ISO/IEC 23091-2)."""
_LEAST_CHROMA = 0.03
"""Least chroma, on a scale of -0.5..0.5: a background with less spills no colour."""


class ControlledMatting:
    """Applies the controls to the mattes of another matting.

    Args:
        matting: frame → matte.
        controls: the adjustments; any thread may assign others to ``controls`` between frames.
    """

    def __init__(self, matting: Callable[[Frame], Matte], controls: MatteControls = _OFF) -> None:
        self._matting = matting
        self.controls = controls
        self._last: tuple[Matte, MatteControls, Matte] | None = None

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``; raises what the other matting raises. While that returns the same matte, so does this."""
        matte, controls = self._matting(frame), self.controls
        if self._last is None or self._last[0] is not matte or self._last[1] != controls:
            self._last = matte, controls, controlled(matte, controls)
        return self._last[2]


def changed(controls: MatteControls, values: Mapping[str, Any]) -> MatteControls:
    """Return ``controls`` with the values of a command; names are those of the options without the leading dashes.

    Raises:
        UsageError: an unknown name, or a value of the wrong kind.
    """
    kinds: dict[str, tuple[type, ...]] = {"despill": (str, type(None)), "despeckle": (int,)}
    names = {field.name.replace("_", "-"): field.name for field in fields(MatteControls)}
    for name, value in values.items():
        if name not in names:
            raise UsageError(f"matte: unknown control {name[:80]!r}; expected {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, kinds.get(name, (int, float))):
            raise UsageError(f"matte: {name} is {type(value).__name__}; expected {'text or null' if name == 'despill' else 'a number'}")
    return replace(controls, **{names[name]: value for name, value in values.items()})


def check_controls(controls: MatteControls) -> None:
    """Refuse impossible values.

    Raises:
        UsageError: the two ends of the clip cross, a number is out of bounds, or a colour is unknown.
    """
    if not 0 <= controls.clip_black < controls.clip_white <= 1:
        raise UsageError(
            f"--clip-black {controls.clip_black:g} --clip-white {controls.clip_white:g}: expected 0 <= black < white <= 1, such as 0.05 and 0.95"
        )
    if not abs(controls.grow) <= MOST_GROW:
        raise UsageError(f"--grow {controls.grow:g}: expected -{MOST_GROW} to {MOST_GROW} pixels")
    if not 0 <= controls.feather <= 100:
        raise UsageError(f"--feather {controls.feather:g}: expected 0 to 100 pixels")
    if controls.despeckle < 0:
        raise UsageError(f"--despeckle {controls.despeckle}: expected a number of pixels, 0 or more")
    if controls.despill is not None:
        _spill(controls.despill)


def controlled(matte: Matte, controls: MatteControls) -> Matte:
    """Return ``matte`` with the controls of alpha applied, in new memory; the matte itself if there are none."""
    if (controls.clip_black, controls.clip_white, controls.grow, controls.feather, controls.despeckle) == (0, 1, 0, 0, 0):
        return matte
    alpha = matte.alpha
    if controls.despeckle:
        alpha = despeckled(alpha, controls.despeckle)
    if (controls.clip_black, controls.clip_white) != (0, 1):
        alpha = clipped(alpha, controls.clip_black, controls.clip_white)
    if controls.grow:
        alpha = grown(alpha, controls.grow)
    if controls.feather:
        alpha = cv2.GaussianBlur(alpha, (0, 0), controls.feather, borderType=cv2.BORDER_REPLICATE)
    return matte.adjusted(alpha)


def clipped(alpha: Plane, black: float, white: float) -> Plane:
    """Return ``(a - black) / (white - black)``, cut to 0..1; (H, W) uint8 or uint16 over the type's whole range."""
    top = full_scale(alpha)
    values = np.arange(top + 1) / top
    table = np.rint(np.clip((values - black) / (white - black), 0, 1) * top).astype(alpha.dtype)
    return np.asarray(table[alpha])


def grown(alpha: Plane, radius: float) -> Plane:
    """Return the largest value within ``radius`` pixels, or the smallest if it is negative; a fraction mixes the two whole radii."""
    least = math.floor(abs(radius))
    part = abs(radius) - least
    change = cv2.dilate if radius > 0 else cv2.erode
    inner = change(alpha, _disc(least)) if least else alpha
    if not part:
        return inner
    outer = change(alpha, _disc(least + 1))
    return np.rint(inner + part * (outer.astype(np.float32) - inner)).astype(alpha.dtype)


def despeckled(alpha: Plane, least: int) -> Plane:
    """Remove spots and fill holes of fewer than ``least`` pixels; see the module."""
    top = full_scale(alpha)
    cleaned = np.where(_small(alpha > 0, least, 8), alpha.dtype.type(0), alpha)
    return np.where(_small(cleaned < top, least, 4), alpha.dtype.type(top), cleaned)


def despilled(planes: Sequence[Plane], frame: Frame, matte: Matte, controls: MatteControls) -> tuple[Plane, ...]:
    """Return the colour planes of ``frame`` without the spill of ``controls.despill``; its own arrays if nothing spills.

    Args:
        planes: colour planes in the frame's layout (Y U V or G B R; grey stays as it is).
        frame: layout, depth and colour matrix.
        matte: its alpha; ``auto`` takes the mean colour where alpha is 0.
        controls: colour and amount.
    """
    planes = tuple(planes)
    if controls.despill is None or len(planes) < 3:
        return planes
    colour, amount = _spill(controls.despill)
    layout = frame.layout
    top, mid = (1 << layout.depth) - 1, 1 << (layout.depth - 1)
    red, blue = _LUMA[1 if layout.rgb else swscale_matrix(frame.colour, frame.size[0])]
    if layout.rgb:
        g, b, r = (plane.astype(np.float32) for plane in planes)
        luma = red * r + (1 - red - blue) * g + blue * b
        chroma = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    else:
        chroma = planes[1].astype(np.float32) - mid, planes[2].astype(np.float32) - mid
    empty = resize_alpha(matte, chroma[0].shape) == 0
    towards = _chroma(colour, red, blue) if colour is not None else _mean(chroma, empty, top)
    if towards is None:
        return planes
    spill = amount * _spilt(chroma, towards)
    if not spill.any():
        return planes
    moves = spill * towards[0], spill * towards[1]
    if not layout.rgb:
        return planes[0], *(_moved(plane, -move, top) for plane, move in zip(planes[1:3], moves, strict=True))
    of_blue, of_red = 2 * (1 - blue) * moves[0], 2 * (1 - red) * moves[1]
    of_green = -(blue * of_blue + red * of_red) / (1 - red - blue)
    return tuple(_moved(plane, -move, top) for plane, move in zip(planes, (of_green, of_blue, of_red), strict=True))


def despilled_light(light: FloatPlane, matte: Matte, controls: MatteControls) -> FloatPlane:
    """Apply ``despilled`` to an (H, W, 3) floating-point RGB image, with BT.709 luma; returns the image itself if nothing spills."""
    if controls.despill is None:
        return light
    colour, amount = _spill(controls.despill)
    red, blue = _LUMA[1]
    luma = light @ np.array([red, 1 - red - blue, blue], np.float32)
    chroma = (light[:, :, 2] - luma) / (2 * (1 - blue)), (light[:, :, 0] - luma) / (2 * (1 - red))
    towards = _chroma(colour, red, blue) if colour is not None else _mean(chroma, matte.alpha == 0, 1)
    if towards is None:
        return light
    spill = amount * _spilt(chroma, towards)
    of_blue, of_red = 2 * (1 - blue) * spill * towards[0], 2 * (1 - red) * spill * towards[1]
    of_green = -(blue * of_blue + red * of_red) / (1 - red - blue)
    return np.asarray(light - np.dstack((of_red, of_green, of_blue)), np.float32)


def _spilt(chroma: tuple[FloatPlane, FloatPlane], towards: tuple[float, float]) -> FloatPlane:
    """Return each pixel's excess of the colour ``towards``, a unit vector (Cb, Cr), over the perpendicular component; 0 or more."""
    along = chroma[0] * towards[0] + chroma[1] * towards[1]
    across = np.abs(chroma[1] * towards[0] - chroma[0] * towards[1])
    return np.asarray(np.maximum(along - across, 0), np.float32)


def _moved(plane: Plane, by: FloatPlane, top: int) -> Plane:
    return np.rint(np.clip(plane + by, 0, top)).astype(plane.dtype)


def _mean(chroma: tuple[FloatPlane, FloatPlane], where: NDArray[np.bool_], top: int) -> tuple[float, float] | None:
    """Return the direction of the mean colour; None if it is grey or there are no pixels."""
    if not where.any():
        return None
    cb, cr = (float(plane[where].mean()) for plane in chroma)
    size = math.hypot(cb, cr)
    return (cb / size, cr / size) if size > _LEAST_CHROMA * top else None


def _chroma(colour: tuple[int, int, int], red: float, blue: float) -> tuple[float, float] | None:
    luma = red * colour[0] + (1 - red - blue) * colour[1] + blue * colour[2]
    cb, cr = (colour[2] - luma) / (2 * (1 - blue)), (colour[0] - luma) / (2 * (1 - red))
    size = math.hypot(cb, cr)
    return cb / size, cr / size


@cache
def _spill(text: str) -> tuple[tuple[int, int, int] | None, float]:
    """Return colour (None: that of the background) and amount, 0..1, of a text such as ``green``, ``#00b140:50`` or ``auto``."""
    word, colon, strength = text.strip().lower().partition(":")
    amount = 1.0
    if colon:
        amount = float(strength) / 100 if strength.isascii() and strength.isdigit() else -1.0
    colour = parse_colour(word)
    known = word == "auto" or (colour is not None and len(set(colour)) > 1)
    if not (known and 0 <= amount <= 1):
        raise UsageError(f"--despill {text}: expected a colour that is not grey, or auto, and how much of it, such as green, #00b140:50 or auto")
    return colour, amount


def _small(mask: NDArray[Any], least: int, neighbours: int) -> NDArray[np.bool_]:
    """Return the pixels of connected parts of ``mask`` that have fewer than ``least`` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=neighbours)
    small = stats[:count, cv2.CC_STAT_AREA] < least
    small[0] = False  # what is not in the mask
    return np.asarray(small[labels])


@cache
def _disc(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)
