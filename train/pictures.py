"""Reading the pictures and mattes of data sets, strictly: what cannot be meant is an error that names the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Layers:
    """A picture taken apart; all of one H x W."""

    rgb: Image
    """uint8 (H, W, 3), RGB, 0..255."""
    alpha: Image
    """uint8 (H, W), 0..255, 255 = foreground."""
    foreground: Image
    """uint8 (H, W, 3): the subject's own colour, straight (not multiplied by alpha)."""
    background: Image
    """uint8 (H, W, 3): what is behind the subject."""


def read_rgb(path: Path) -> Image:
    """Read a colour picture.

    Args:
        path: JPEG, PNG, or whatever OpenCV reads.

    Returns:
        uint8 (H, W, 3), RGB, 0..255; an alpha channel is dropped, 16 bits become 8.

    Raises:
        DataError: the file is missing, empty or cannot be decoded to its end.
    """
    bgr = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.ascontiguousarray(bgr[:, :, ::-1])


def read_alpha(path: Path) -> Image:
    """Read a matte.

    Args:
        path: a grey picture of 8 or 16 bits, or a colour picture whose three channels are equal.

    Returns:
        uint8 (H, W), 0..255; 16 bits are rounded to 8.

    Raises:
        DataError: the file is missing, empty, cannot be decoded, or is coloured.
    """
    plane = _decode(path, cv2.IMREAD_UNCHANGED)
    if plane.dtype == np.uint16:
        plane = np.rint(plane.astype(np.float32) / 257.0).astype(np.uint8)
    if plane.ndim == 3:
        colours = plane[:, :, :3]
        if colours.shape[2] == 3 and (colours != colours[:, :, :1]).any():
            raise DataError(f"matte {path} is a coloured picture; expected grey, 0 = background, 255 = foreground")
        plane = plane[:, :, 0]
    return np.ascontiguousarray(plane)


def _decode(path: Path, flags: int) -> Image:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not content.size:
        raise DataError(f"picture {path} is empty (0 bytes); fetch or make it again")
    picture = cv2.imdecode(content, flags)
    if picture is None:
        raise DataError(f"picture {path} cannot be decoded ({content.size} bytes); expected JPEG or PNG: fetch or make it again")
    return picture.astype(picture.dtype, copy=False)
