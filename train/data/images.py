"""Strict reading of a data set's images and mattes: anything doubtful is an error that names the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.errors import DataError

Image = NDArray[np.uint8]
Matte = NDArray[np.float32]
"""(H, W), 0..1."""
Levels = Sequence[Image]
"""One image in several sizes, largest first, each half of the one before; uint8 (H, W, C)."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = 0xD9
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A JPEG marker with a segment, or the end marker; not an escaped 0xFF of the coded data, padding or a restart."""


@dataclass(frozen=True)
class Layers:
    """The layers of an image, all of the same H x W."""

    rgb: Image
    """uint8 (H, W, 3), RGB, 0..255."""
    alpha: Image
    """uint8 (H, W), 0..255, 255 = foreground."""
    foreground: Image
    """uint8 (H, W, 3): the subject's own colour, straight (not multiplied by alpha)."""
    background: Image
    """uint8 (H, W, 3): colour of the background."""


def read_rgb(path: Path) -> Image:
    """Read a colour image.

    Args:
        path: JPEG, PNG, or another format that OpenCV reads.

    Returns:
        uint8 (H, W, 3), RGB, 0..255; an alpha channel is dropped, 16 bits become 8.

    Raises:
        DataError: the file is missing, empty or cannot be decoded to its end.
    """
    bgr = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_alpha(path: Path) -> Image:
    """Read a matte.

    Args:
        path: a grey image of 1, 8 or 16 bits, or a palette or colour image whose three channels are equal.

    Returns:
        uint8 (H, W), 0..255; 16 bits are rounded to 8.

    Raises:
        DataError: the file is missing, empty, cannot be decoded to its end, is coloured, or has transparent pixels (it would be
            unclear which of its planes is the matte).
    """
    plane = _decode(path, cv2.IMREAD_UNCHANGED)
    if plane.dtype == np.uint16:
        plane = np.rint(plane.astype(np.float32) / 257.0).astype(np.uint8)
    if plane.dtype != np.uint8:
        raise DataError(f"matte {path} has samples of {plane.dtype}; expected a PNG of 8 or 16 bits")
    if plane.ndim == 3:
        if plane.shape[2] == 4 and (plane[:, :, 3] != 255).any():
            raise DataError(f"matte {path} is a cut-out with transparent pixels; expected its alpha alone as a grey image")
        if (plane[:, :, :3] != plane[:, :, :1]).any():
            raise DataError(f"matte {path} is a coloured image; expected grey, 0 = background, 255 = foreground")
        plane = plane[:, :, 0]
    return np.ascontiguousarray(plane)


def _decode(path: Path, flags: int) -> Image:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    if not content:
        raise DataError(f"image {path} is empty (0 bytes); download or make it again")
    # Some decoders fill the missing part of a truncated image with grey and report success.
    if not _complete(content):
        raise DataError(f"image {path} is cut off after {len(content)} bytes; download or make it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # a size beyond OpenCV's limit, for one
        image = None
    if image is None:
        raise DataError(f"image {path} cannot be decoded ({len(content)} bytes); expected JPEG or PNG; download or make it again")
    return image.astype(image.dtype, copy=False)


def _complete(content: bytes) -> bool:
    """Return whether a JPEG or PNG is complete; True for every other format. Data after the end does not matter."""
    if content.startswith(_JPEG_START):
        return _jpeg_complete(content)
    if content.startswith(_PNG_START):
        return _png_complete(content)
    return True


def _jpeg_complete(content: bytes) -> bool:
    """Return whether walking the segments finds the end marker; searching for its bytes could find that of an embedded thumbnail."""
    position = len(_JPEG_START) - 1
    while marker := _JPEG_MARKER.search(content, position):
        kind, position = content[marker.end() - 1], marker.end()
        if kind == _JPEG_END:
            return True
        position += int.from_bytes(content[position : position + 2])
    return False


def _png_complete(content: bytes) -> bool:
    position = len(_PNG_START)
    while position + 12 <= len(content):
        if content[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(content[position : position + 4])
    return False
