"""Reads metadata of an image file before decoding: size, colour profile and EXIF."""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from typing import Final

from streammat.errors import InputError

MOST_PIXELS: Final = 1 << 28
"""Most pixels of an image: 16384x16384. Decoding takes 3 to 16 bytes per pixel, matting several times as much."""
_KEPT_TAGS: Final = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
"""EXIF tags to keep: description, make, model, time, artist, copyright. Thumbnails and maker notes may show the old background."""
_KEPT_CAMERA_TAGS: Final = (0x829A, 0x829D, 0x8827, 0x9003, 0x9004, 0x9011, 0x920A, 0xA405, 0xA434)
"""EXIF camera tags to keep: exposure, aperture, speed, times of capture, focal length and lens."""
_CAMERA: Final = 0x8769
_LOCK: Final = threading.Lock()


@dataclass(frozen=True)
class ImageNotes:
    """Metadata that an output inherits from its image."""

    icc: bytes | None = None
    """Colour profile; None: sRGB, which images without a profile are assumed to have."""
    exif: bytes | None = None
    """EXIF block with time and camera; without orientation (already applied), place and thumbnail."""


def read_notes(data: bytes, name: str) -> ImageNotes:
    """Read the metadata of an image file without decoding it.

    Args:
        data: the whole file.
        name: name for messages.

    Returns:
        The metadata; empty for formats that only OpenCV knows.

    Raises:
        InputError: the image has more than `MOST_PIXELS` pixels, or is animated.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Pillow warns of half as many pixels as we take, and refuses all; the limit is one number of the module.
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(io.BytesIO(data))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
            with image:
                width, height = image.size
                frames = getattr(image, "n_frames", 1) if image.format in ("WEBP", "GIF", "PNG", "AVIF") else 1
                # Of a PNG ``getexif`` would decode all of it.
                notes = ImageNotes(image.info.get("icc_profile"), _kept(image.info.get("exif")))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError):
        return ImageNotes()  # the decoder says what is wrong with it
    if width * height > MOST_PIXELS:
        side = round(MOST_PIXELS**0.5)
        raise InputError(f"{name}: has {width}x{height} pixels; expected at most {side}x{side} of them: make it smaller first")
    if frames > 1:
        raise InputError(f"{name}: is animated ({frames} images in one file); expected one image: give a video such as .mp4, or one of its images")
    return notes


def _kept(block: bytes | None) -> bytes | None:
    """Return a new EXIF block with the tags to keep; None if there are none."""
    from PIL.Image import Exif

    if not block:
        return None
    found, kept = Exif(), Exif()
    found.load(block)
    for tag in _KEPT_TAGS:
        if tag in found:
            kept[tag] = found[tag]
    camera = found.get_ifd(_CAMERA)
    if chosen := {tag: camera[tag] for tag in _KEPT_CAMERA_TAGS if tag in camera}:
        kept[_CAMERA] = chosen
    return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else None
