"""Frames of a clip, for looking at."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from train.contact_sheet import spread
from train.errors import DataError
from train.pictures import Image


def read_frames(path: Path, count: int) -> list[Image]:
    """Frames spread evenly over a clip.

    Args:
        path: a video file.
        count: of frames; all of them where there are fewer.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: there is no video in the file, or it cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} holds no video; remove it from the folder, or give another one")
            total = sum(1 for _ in container.decode(video=0))
        wanted = set(spread(total, count))
        with av.open(str(path)) as container:
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
