"""Colour spaces of sequences: conversion to what the network is shown, and to the linear light in which images are blended.

Pixels stay in the space of their file; only blended pixels and the network's input are converted:

- **display-referred** (sRGB, Rec.709 and the like): shown and blended as they are, as video is;
- **scene-linear** and **logarithmic** (ACEScg, ARRI LogC, ...): blended in linear light; shown in sRGB at an exposure that makes
  the image neither dark nor burnt out, with a shoulder above 0.6 instead of clipping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from streammat.errors import InputError, UsageError, first_line
from streammat.film.header import Header
from streammat.media.containers import images_of, name_of, open_video
from streammat.paths import check_readable

Light = NDArray[np.float32]
"""(H, W, 3) float32, linear light; 1 is diffuse white."""

BUILT_IN = "ocio://studio-config-latest"
NAMES = {
    "linear": "Linear Rec.709 (sRGB)",
    "scene_linear": "Linear Rec.709 (sRGB)",
    "logc3": "ARRI LogC3 (EI800)",
    "logc4": "ARRI LogC4",
    "slog3": "S-Log3 S-Gamut3.Cine",
    "log3g10": "Log3G10 REDWideGamutRGB",
    "vlog": "V-Log V-Gamut",
    "srgb": "sRGB Encoded Rec.709 (sRGB)",
    "rec709": "Gamma 2.4 Encoded Rec.709",
    "bt709": "Gamma 2.4 Encoded Rec.709",
}
"""Short names for spaces of the built-in config, in addition to its own names and aliases (acescg, acescct, …)."""
_LINEAR = "lin_rec709"
_GREY = 0.16
"""Target of automatic exposure: the geometric mean of an image's light, a little below middle grey."""
_MOST_STOPS = 10.0
_KNEE = 0.6


@dataclass(frozen=True)
class ColourSpace:
    """The colour space of files, and its conversion for the network."""

    name: str
    kind: Literal["display", "linear", "log"]
    forth: Any = None
    """OpenColorIO's processor to linear light with Rec.709 primaries; None: not needed."""
    back: Any = None
    gain: float = 1.0
    """Factor of linear light for the network."""
    interop: str = ""
    """The space's name by the Color Interop Forum, which EXR files carry."""
    table: NDArray[np.uint16] | None = None
    """Display value for each half-float number of linear light; None for a display-referred space."""
    halves: Any = None
    """The processor ``forth`` for half-float pixels, at a third of the time."""

    def light(self, pixels: NDArray[Any]) -> Light:
        """Return (H, W, 3) pixels of the space as light for blending, in new memory; display-referred and linear pixels are not
        changed.
        """
        copied = np.array(pixels, np.float32)
        return _applied(self.forth, copied) if self.kind == "log" else copied

    def pixels(self, light: Light) -> NDArray[np.float32]:
        """Convert ``light``, (H, W, 3), back to the space; in new memory if anything changes."""
        return _applied(self.back, light.copy()) if self.kind == "log" else light

    def shown(self, pixels: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the image as a display shows it: (H, W, 3) uint16, full-range sRGB."""
        if self.table is not None:
            if self.forth.isNoOp():
                light = pixels
            elif pixels.dtype == np.float16:
                light = _applied_to_halves(self.halves, pixels)
            else:
                light = _applied(self.forth, np.array(pixels, np.float32))
            with np.errstate(over="ignore"):  # infinity has its place in the table, too
                return np.asarray(self.table[np.asarray(light, np.float16).view(np.uint16)])
        seen = np.nan_to_num(np.array(pixels, np.float32), copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(seen, 0, 1, out=seen)
        seen *= np.float32(65535)
        return np.asarray(np.rint(seen, out=seen), np.uint16)

    def to_light(self, shown: NDArray[np.uint16]) -> Light:
        """Return the light that a display shows as ``shown``, uint16 (H, W, 3) sRGB; used for backgrounds."""
        seen = shown.astype(np.float32) / np.float32(65535)
        if self.kind == "display":
            return seen
        light = _unshoulder(_decoded(seen)) / np.float32(self.gain)
        # ``light`` of a linear space has its own primaries; that of a logarithmic one is Rec.709's already.
        return _applied(self.back, light) if self.kind == "linear" else light


class ClipLook:
    """Display conversion of a clip in its own colour space: a ``matting.Look``. Outputs keep the clip's own values.

    Args:
        clip: the clip's file; an open one keeps its position.
        name: name of the space, as ``open_space`` takes it, but not ``auto``.
        config: as ``open_space`` takes it.
        exposure: in stops; None: automatic, by the clip's first frame, even if others are processed.

    Raises:
        UsageError, InputError: as ``open_space`` raises them, or the clip cannot be read.
    """

    def __init__(self, clip: str | IO[bytes], name: str, config: str | None, exposure: float | None) -> None:
        first = np.zeros((1, 1, 3), np.float32) if exposure is not None else _first_image(clip)
        self.space = open_space(name, config, Header((0, 0, 1, 1), (0, 0, 1, 1)), first, exposure=exposure)

    def __call__(self, rgb: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert (H, W, 3) uint16 RGB of the space to uint8 sRGB."""
        return np.asarray(self.space.shown(rgb.astype(np.float32) / np.float32(65535)) >> 8, np.uint8)


def _first_image(clip: str | IO[bytes]) -> Light:
    """Return a clip's first image, reduced, in its own values: (h, w, 3) 0..1."""
    opened = None if isinstance(clip, str) else (clip, clip.tell())
    container = open_video(clip)
    try:
        image = next(images_of(container, container.streams.video[0]), None)
        if image is None:
            raise InputError(f"{name_of(clip)}: no frame can be decoded; the file is empty or damaged: give a whole copy")
        scale = min(1.0, 480 / max(image.width, image.height))
        small = image.reformat(max(2, round(image.width * scale)), max(2, round(image.height * scale)), "rgb48le", interpolation="AREA")
        return small.to_ndarray().astype(np.float32) / np.float32(65535)
    finally:
        container.close()
        if opened is not None:  # whoever reads it already goes on from there
            opened[0].seek(opened[1])


def open_space(
    name: str, config: str | None, header: Header, first: NDArray[Any], *, exposure: float | None
) -> ColourSpace:
    """Open the colour space of a sequence.

    Args:
        name: name of the space, in the config or in ``NAMES``; ``auto``: from the files, else linear Rec.709 for floating point
            and display-referred for integers.
        config: an OpenColorIO config file; None: the built-in studio config.
        header: header of the first image.
        first: pixels of the first image, (H, W, 3); automatic exposure is computed from them.
        exposure: in stops; None: automatic.

    Raises:
        UsageError: the space is unknown, or cannot be determined.
        InputError: the config cannot be read.
    """
    if name.lower() == "auto":
        if header.log_film:
            raise UsageError(
                "--color-space auto: the DPX says that it is logarithmic, and not how; give the space, such as --color-space logc3, or rec709 if it is not"
            )
        found = _known(header.colour_space, config)
        if found is None:
            found = "linear" if header.floating else "display"
        name = found
    if name == "display":
        return ColourSpace("display-referred", "display")
    table = _config(config)
    space = table.getColorSpace(name) or table.getColorSpace(NAMES.get(name.lower(), name))
    if space is None and name.lower() in ("linear", "scene_linear") and table.hasRole("scene_linear"):
        space = table.getColorSpace("scene_linear")
    if space is None:
        short = ", ".join(NAMES)
        raise UsageError(
            f"--color-space {name}: is not in {config or 'the built-in config'}; expected auto, {short}, acescg, acescct, or a name of that config"
        )
    encoding = space.getEncoding()
    if space.isData() or encoding == "data":
        raise UsageError(f"--color-space {name}: is a data space; expected a colour space")
    if encoding == "sdr-video":
        return ColourSpace(space.getName(), "display", interop=space.getInteropID())
    forth, back, halves = _processors(table, space.getName(), builtin=config is None)
    kind: Literal["linear", "log"] = "linear" if encoding == "scene-linear" else "log"
    stops = _stops(_applied(forth, np.array(first, np.float32))) if exposure is None else exposure
    gain = 2.0**stops
    return ColourSpace(space.getName(), kind, forth, back, gain, space.getInteropID(), _table(gain), halves)


def _known(name: str | None, config: str | None) -> str | None:
    """Return a file's name for its space, if the config knows it."""
    if name is None:
        return None
    word = name.lower()
    if word in ("srgb", "rec709", "g22_rec709", "g24_rec709", "srgb_rec709_scene", "srgb_rec709_display", "gamma2.2"):
        return "display"
    if word in ("linear", "scene_linear"):
        return "linear"
    return name if _config(config).getColorSpace(name) is not None else None


@cache
def _config(path: str | None) -> Any:
    try:
        import PyOpenColorIO as ocio  # noqa: N813 - the library's own short name
    except ImportError as error:
        raise UsageError(f"OpenColorIO cannot be loaded ({error}), which knows colour spaces; run: pip install 'streammat[film]'") from error
    ocio.SetLoggingLevel(ocio.LOGGING_LEVEL_NONE)
    try:
        return ocio.Config.CreateFromFile(BUILT_IN if path is None else path)
    except (ocio.Exception, UnicodeDecodeError) as error:  # its messages cite the file
        raise InputError(f"--ocio {path}: cannot be read ({first_line(error)}); expected a config of OpenColorIO") from error


def check_config(path: str) -> None:
    """Refuse what is no config.

    Raises:
        InputError: it cannot be read.
    """
    check_readable(path, "a config of OpenColorIO for --ocio")
    _config(path)


def _processors(config: Any, space: str, *, builtin: bool) -> tuple[Any, Any, Any]:
    """Return the processors to linear light with Rec.709 primaries, back, and there for half-float pixels."""
    import PyOpenColorIO as ocio  # noqa: N813 - the library's own short name

    try:
        if builtin or config.getColorSpace(_LINEAR) is not None:
            pair = config.getProcessor(space, _LINEAR), config.getProcessor(_LINEAR, space)
        else:  # by way of the interchange that both configs name
            common = _config(None)
            pair = (
                ocio.Config.GetProcessorFromConfigs(config, space, common, _LINEAR),
                ocio.Config.GetProcessorFromConfigs(common, _LINEAR, config, space),
            )
    except ocio.Exception as error:
        raise UsageError(
            f"--color-space {space}: cannot be converted to linear light ({first_line(error)}); the config needs the role aces_interchange, or a space {_LINEAR}"
        ) from error
    half = ocio.BIT_DEPTH_F16
    halves = pair[0].getOptimizedCPUProcessor(half, half, ocio.OPTIMIZATION_DEFAULT)
    return pair[0].getDefaultCPUProcessor(), pair[1].getDefaultCPUProcessor(), halves


def _applied(processor: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a processor in place; returns the pixels."""
    pixels = np.ascontiguousarray(pixels, np.float32)
    processor.applyRGB(pixels)
    return pixels


def _applied_to_halves(processor: Any, pixels: NDArray[np.float16]) -> NDArray[np.float16]:
    """Apply a processor of half-float numbers; returns new pixels, (H, W, 3)."""
    import PyOpenColorIO as ocio  # noqa: N813 - the library's own short name

    found = np.array(pixels, np.float16, order="C")
    height, width = found.shape[:2]
    processor.apply(ocio.PackedImageDesc(found, width, height, ocio.CHANNEL_ORDERING_RGB, ocio.BIT_DEPTH_F16, 2, 6, 6 * width))
    return found


def _stops(light: Light) -> float:
    """Return the exposure in stops that brings the geometric mean of an image's light to ``_GREY``, rounded to tenths."""
    luma = light @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    seen = luma[np.isfinite(luma) & (luma > 1e-5)]
    if not seen.size:
        return 0.0
    stops = math.log2(_GREY) - float(np.log2(seen).mean())
    return round(max(-_MOST_STOPS, min(_MOST_STOPS, stops)), 1)


def _table(gain: float) -> NDArray[np.uint16]:
    """Return the display value, 0..65535, for each half-float number, indexed by its bits; NaN is black."""
    light = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16).astype(np.float32)
    light = np.clip(np.nan_to_num(light, nan=0.0, posinf=65504.0, neginf=0.0), 0, None) * np.float32(gain)
    return np.asarray(np.rint(np.clip(_encoded(_shoulder(light)), 0, 1) * np.float32(65535)), np.uint16)


def _shoulder(light: Light) -> Light:
    """Compress light: linear up to ``_KNEE``, then ever slower towards 1."""
    rest = np.float32(1 - _KNEE)
    return np.where(light > _KNEE, 1 - rest * np.exp(-(np.maximum(light, _KNEE) - _KNEE) / rest), light).astype(np.float32)


def _unshoulder(seen: Light) -> Light:
    rest = np.float32(1 - _KNEE)
    return np.where(seen > _KNEE, _KNEE - rest * np.log(np.clip((1 - seen) / rest, 1e-4, 1)), seen).astype(np.float32)


def _encoded(light: Light) -> Light:
    """Return the sRGB curve (IEC 61966-2-1)."""
    light = np.maximum(light, 0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, np.float32(1 / 2.4)) - 0.055).astype(np.float32)


def _decoded(seen: Light) -> Light:
    return np.where(seen <= 0.04045, seen / 12.92, np.power((seen + np.float32(0.055)) / np.float32(1.055), np.float32(2.4))).astype(np.float32)
