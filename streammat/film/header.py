"""Headers of the images of a sequence: windows, attributes, rate, timecode, colour space; read and written through OpenImageIO."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from streammat.errors import UsageError
from streammat.timecode import Moment

_STRUCTURE = {
    "compression", "DateTime", "Software", "name", "version", "Orientation", "ResolutionUnit", "XResolution", "YResolution",
    "planarconfig", "ICCProfile", "chunkCount", "Compression",
}
"""Attributes that describe the file, not the shot; they are not copied."""
_PRIMARIES = {
    (0.713, 0.293, 0.165, 0.830, 0.128, 0.044): "ACEScg",
    (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077): "ACES2065-1",
    (0.64, 0.33, 0.30, 0.60, 0.15, 0.06): "linear",
    (0.708, 0.292, 0.170, 0.797, 0.131, 0.046): "Linear Rec.2020",
    (0.680, 0.320, 0.265, 0.690, 0.150, 0.060): "Linear P3-D65",
    (0.684, 0.313, 0.221, 0.848, 0.0861, -0.102): "Linear ARRI Wide Gamut 3",
    (0.7347, 0.2653, 0.1424, 0.8576, 0.0991, -0.0308): "Linear ARRI Wide Gamut 4",
}
"""Colour spaces by the x and y of red, green and blue, as in EXR's ``chromaticities``."""
_FIELDS = 30
"""Highest rate, in frames per second, at which a timecode has a number for each frame."""
_STRUCTURES = ("oiio:", "openexr:", "dpx:", "tiff:", "png:", "jpeg:", "ICCProfile:", "Exif:", "IPTC:", "GPS:")


@dataclass(frozen=True)
class Header:
    """Metadata of an image."""

    window: tuple[int, int, int, int]
    """Window of the pixels to process: x, y, width, height; the display window, enlarged by any overscan."""
    display: tuple[int, int, int, int]
    """The display window: x, y, width, height."""
    attributes: tuple[tuple[str, Any, Any], ...] = ()
    """Attributes that are copied into outputs: name, OpenImageIO's type, value."""
    rate: Fraction | None = None
    """Frames per second."""
    timecode: str | None = None
    aspect: Fraction = Fraction(1)
    """Width of a pixel by its height."""
    rotation: int = 0
    """Rotation, as in ``Frame.rotation``."""
    floating: bool = False
    """True if the file holds half or float numbers."""
    colour_space: str | None = None
    """The file's name for its colour space: of OpenColorIO, the Color Interop Forum or OpenImageIO."""
    log_film: bool = False
    """True for a DPX whose header says that it holds densities or logarithms."""


def openimageio() -> Any:
    """Import OpenImageIO and return the module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import OpenImageIO
    except ImportError as error:
        raise UsageError(f"OpenImageIO cannot be loaded ({error}), which reads and writes sequences; run: pip install 'streammat[film]'") from error
    return OpenImageIO


def header_of(spec: Any, window: tuple[int, int, int, int]) -> Header:
    """Return the header of an image with OpenImageIO's ``spec``, of which ``window`` (x, y, width, height) is processed."""
    kept = [
        (each.name, each.type, value) for each in spec.extra_attribs
        if each.name not in _STRUCTURE and not each.name.startswith(_STRUCTURES) and (value := _value(each)) is not None
    ]
    aspect = spec.get_float_attribute("PixelAspectRatio", 1.0)
    rate = _rate(spec)
    transfer = _text(spec, "dpx:Transfer").lower()
    return Header(
        window,
        (spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        tuple(kept),
        rate,
        _timecode(spec, rate),
        Fraction(aspect).limit_denominator(1000) if 0 < aspect < 100 else Fraction(1),
        {3: 2, 6: 3, 8: 1}.get(spec.get_int_attribute("Orientation", 1), 0),
        str(spec.format) in ("half", "float", "double"),
        _text(spec, "colorInteropID") or _of_primaries(spec) or _text(spec, "oiio:ColorSpace") or None,
        transfer in ("logarithmic", "printing density", "printingdensity", "kodaklog"),
    )


def _value(attribute: Any) -> Any:
    """Return an attribute's value; text that is not UTF-8 is decoded as Latin-1."""
    value = attribute.value
    if isinstance(value, str) and any("\udc80" <= letter <= "\udcff" for letter in value):
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def _text(spec: Any, name: str) -> str:
    try:
        return str(spec.get_string_attribute(name))
    except UnicodeDecodeError:
        return ""


def _of_primaries(spec: Any) -> str | None:
    found = spec.getattribute("chromaticities")
    if not isinstance(found, tuple | list) or len(found) != 8:
        return None
    return next((name for wanted, name in _PRIMARIES.items() if max(abs(a - b) for a, b in zip(wanted, found, strict=False)) < 0.002), None)


def _rate(spec: Any) -> Fraction | None:
    exact = spec.getattribute("framesPerSecond")
    if isinstance(exact, tuple | list) and len(exact) == 2 and exact[0] > 0 and exact[1] > 0:
        return Fraction(int(exact[0]), int(exact[1]))
    for name in ("framesPerSecond", "dpx:FrameRate", "dpx:TemporalFrameRate"):
        value = spec.get_float_attribute(name, 0.0)
        if 1 <= value <= 1000 and math.isfinite(value):
            return rate_of(value)
    return None


def rate_of(value: float) -> Fraction:
    """Return the exact rate of a rounded number: 23.976 is 24000/1001."""
    whole = round(value)
    slowed = Fraction(whole * 1000, 1001)
    return slowed if abs(float(slowed) - value) < 0.005 and abs(value - whole) > 0.005 else Fraction(value).limit_denominator(1001)


def later(header: Header, timecode: Moment | None, rate: Fraction) -> Header:
    """Return the header for another frame, with its ``timecode`` at ``rate`` frames per second, or without one."""
    kept = tuple(each for each in header.attributes if each[0] != "smpte:TimeCode")
    if timecode is None:
        return replace(header, attributes=kept, timecode=None)
    minutes, seconds = divmod(int(timecode.seconds), 60)
    frame, phase = timecode.frame or 0, 0
    if rate > _FIELDS:  # numbers there are for 40 frames a second at most: pairs are counted, and a bit says which of two it is
        frame, phase = frame // 2, (frame % 2) * _phase_bit(rate)
    coded = 0
    for number in (minutes // 60, minutes % 60, seconds, frame):  # SMPTE ST 12-1, four bits a digit
        coded = coded << 8 | number // 10 << 4 | number % 10
    value = (coded | phase | (0x40 if timecode.drop else 0), 0)
    kind = openimageio().TypeDesc("timecode")
    return replace(header, attributes=(*kept, ("smpte:TimeCode", kind, value)), timecode=str(timecode))


def _phase_bit(rate: Fraction) -> int:
    """Return the bit that marks the second frame of a pair in a timecode (SMPTE ST 12-1)."""
    return 1 << 31 if round(rate) == 50 else 1 << 15


def _timecode(spec: Any, rate: Fraction | None) -> str | None:
    """Return the timecode of an image; above 30 frames per second its frames are stored as pairs."""
    text = _text(spec, "smpte:TimeCode")
    bits = spec.getattribute("smpte:TimeCode")
    if rate is None or rate <= _FIELDS or not isinstance(bits, tuple | list) or not text:
        return text or None
    second = bool(int(bits[0]) & _phase_bit(rate))
    return f"{text[:-2]}{2 * int(text[-2:]) + second:02}" if text[-2:].isdigit() else text


def named(header: Header, interop: str) -> Header:
    """Return the header for a file whose colours are in the space ``interop``."""
    kept = tuple(each for each in header.attributes if each[0] not in ("colorInteropID", "chromaticities"))
    return replace(header, attributes=(*kept, ("colorInteropID", openimageio().TypeDesc("string"), interop)))
