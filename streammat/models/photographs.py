"""Photographs for comparing a built engine with its network: one that comes with the package, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.errors import InputError


def photographs(paths: Sequence[str], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return a portrait (NASA's of Eileen Collins, public domain, before a drawn room) and the given images, at the network's
    input size.

    Args:
        paths: JPEG, PNG or WebP.
        size: network input (height, width) in pixels.

    Returns:
        uint8 (1, H, W, 3) RGB each.

    Raises:
        InputError: a file cannot be read, or is no image.
    """
    portrait = str(files(__package__) / "portrait.jpg")
    return [_shown(path, size) for path in (portrait, *paths)]


def _shown(path: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        content = np.fromfile(Path(path), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an image") from error
    image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    if image is None:
        raise InputError(f"{path}: is not an image that can be decoded; expected JPEG, PNG or WebP")
    return np.ascontiguousarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)[None]
