"""Frames of clips for inspection, and a measure of holes in their mattes, which needs no labels."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from streammat.train.data.images import Image
from streammat.train.errors import DataError
from streammat.train.measures.contact_sheet import evenly_spaced

_SIDE = 256
"""Longer side, in pixels, at which holes in mattes are measured."""
_LEAST = 300
"""Least number of pixels inside an outline at that size to count as a subject."""


def read_frames(path: Path, count: int) -> list[Image]:
    """Read frames spread evenly over a clip.

    Args:
        path: a video file.
        count: number of frames; all if there are fewer.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: there is no video in the file, or it cannot be decoded.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video; remove it from the folder, or give another one")
            total = sum(1 for _ in container.decode(video=0))
        wanted = set(evenly_spaced(total, count))
        with av.open(str(path), metadata_errors="replace") as container:
            frames = [
                np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                for number, frame in enumerate(container.decode(video=0))
                if number in wanted
            ]
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"cannot decode {path}: {error.strerror or error}; remove it, or replace it by a whole file") from error
    if not frames:
        raise DataError(f"{path} holds no frame; remove it, or replace it by a whole file")
    return frames


def missing_inside(alpha: Image) -> float:
    """Return the mean of 1 - alpha well inside a matte's outline: bodies are solid, so it measures holes and translucent clothes.

    The outline is that of alpha > 0.3 with gaps of up to 6 % of the longer side closed; what lies within 2 % of it is left out. A
    missed subject is not noticed, and a ring closed by an arm counts as a hole; so it is for comparing mattes of the same images.

    Args:
        alpha: uint8 (H, W), 0..255.

    Returns:
        0..1; 0 if there is no subject.
    """
    scale = _SIDE / max(alpha.shape)
    small = cv2.resize(alpha, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    found = cv2.morphologyEx((small > 0.3 * 255).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(found), [line for line in outlines if cv2.contourArea(line) > _LEAST], -1, 1, cv2.FILLED)
    inside = cv2.erode(filled, np.ones((9, 9), np.uint8), borderValue=1) > 0
    return float(1.0 - small[inside].mean() / 255.0) if inside.any() else 0.0
