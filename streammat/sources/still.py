"""Reads one image as a frame: PNG, JPEG, WebP or TIFF, 8 or 16 bit, turned upright by its EXIF tag."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np

from streammat.errors import InputError
from streammat.media.frame import Colour, Frame, Plane, layout_of, planes_of
from streammat.media.image_files import ImageNotes, read_notes
from streammat.media.image_kinds import HEAD, why_undecoded
from streammat.paths import check_readable

_FULL_RANGE_RGB = Colour(matrix=0, primaries=1, transfer=13, range=2)  # sRGB


def read_still(path: str) -> tuple[Frame, ImageNotes]:
    """Read an image file; see `decode_still`.

    Raises:
        InputError: the file does not exist, is no image that OpenCV can read, too large, or animated.
    """
    check_readable(path, "an image")
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    return decode_still(data.tobytes(), path)


def decode_still(data: bytes, name: str) -> tuple[Frame, ImageNotes]:
    """Decode an image file as GBR planes, 8 bit, or 16 bit if the file is deeper, with its metadata; its own alpha is not used.

    Args:
        data: the whole file.
        name: name for messages.

    Raises:
        InputError: it is no image that OpenCV can read, too large, or animated.
    """
    if not data:
        raise InputError(f"{name}: is empty (0 bytes); expected an image")
    notes = read_notes(data, name)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # it throws for some damaged files and returns None for others
        pixels = None
    if pixels is None:
        raise InputError(f"{name}: {why_undecoded(data[:HEAD], 'PNG, JPEG, WebP or TIFF')}")
    if pixels.dtype == np.float32:
        pixels = np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)
    elif pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: has {pixels.dtype} samples; expected 8 or 16 bit, or 32-bit float")
    return frame_of(pixels[:, :, ::-1]), notes  # IMREAD_COLOR_RGB garbles TIFF of 16 bits


def frame_of(rgb: Plane) -> Frame:
    """Return full-range sRGB pixels as a frame of GBR planes.

    Args:
        rgb: uint8 or uint16 (H, W, 3).
    """
    layout = layout_of("gbrp" if rgb.dtype == np.uint8 else "gbrp16le")
    assert layout is not None
    height, width = rgb.shape[:2]
    image = av.VideoFrame(width, height, layout.name)
    planes = planes_of(image, layout)
    for plane, channel in zip(planes, (1, 2, 0), strict=True):
        plane[:] = rgb[:, :, channel]
    return Frame(image, layout, _FULL_RANGE_RGB, 0, Fraction(1, 25), 0, 0, planes)
