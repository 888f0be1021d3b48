"""Stills: numbered pictures of a video, or one picture; PNG, WebP and TIFF, 8 and 16 bit, upright."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from streammat.composite import alpha_plane
from streammat.errors import OutputError, UsageError
from streammat.frame import Frame, Matte, Packet, layout_of, planes_of, swscale_matrix
from streammat.sinks import Content

_COUNTER = re.compile(r"%0?(\d*)d|#+")
_PARAMETERS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 means lossless
}


class StillsSink:
    """Numbered stills, counted from 1, or one still where ``pattern`` holds no counter.

    Each file appears whole: it is written under a temporary name first.

    Args:
        pattern: ``out.%05d.png``, ``out.####.webp``, or one file's name.
        content: what is shown.
        overwrite: replace files that are there.

    Raises:
        UsageError: the pattern cannot be meant.
        OutputError: the folder cannot be written, or files are in the way.
    """

    def __init__(self, pattern: str, content: Content, *, overwrite: bool) -> None:
        self.content = content
        self.notes: list[str] = []
        self.frames = 0
        self._pattern = pattern
        self._suffix = Path(pattern).suffix.lower()
        self._overwrite = overwrite
        self._converter = VideoReformatter()
        folder = Path(pattern).parent
        if "%" in str(folder) or "#" in str(folder):
            raise UsageError(f"{pattern}: the counter belongs into the file's name, not the folder's")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise OutputError(f"{pattern}: cannot be created; check that the folder {folder} exists and may be written")
        if not overwrite and (there := self.path(1)).exists():
            raise UsageError(f"{there}: is there already; give -y to replace it")

    def path(self, number: int) -> Path:
        """The file of picture ``number``, counted from 1."""

        def digits(match: re.Match[str]) -> str:
            width = len(match[0]) if match[0][0] == "#" else int(match[1] or 0)
            return str(number).zfill(width)

        target = Path(self._pattern)
        return target.with_name(_COUNTER.sub(digits, target.name, count=1))

    def write(self, frame: Frame, matte: Matte) -> None:
        """Write one picture."""
        path = self.path(self.frames + 1)
        if not self._overwrite and path.exists():
            raise OutputError(f"{path}: is there already; give -y to replace it")
        picture = np.ascontiguousarray(np.rot90(self._pixels(frame, matte), frame.rotation))
        done, data = cv2.imencode(self._suffix, picture, _PARAMETERS.get(self._suffix, []))
        if not done:
            raise OutputError(f"{path}: OpenCV cannot write {picture.shape[1]}x{picture.shape[0]} as {self._suffix}")
        write_whole(path, data.tobytes())
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Stills have no other tracks."""

    def close(self) -> None:
        """Every file is complete already."""

    def abort(self) -> None:
        """Files written so far stay: each is complete."""

    def _pixels(self, frame: Frame, matte: Matte) -> NDArray[Any]:
        """BGR, BGRA or grey, (H, W[, C]), uint8, or uint16 over its full range for deeper frames."""
        deep = frame.layout.depth > 8 and self._suffix != ".webp"
        depth = 16 if deep else 8
        if self.content == "matte":
            return alpha_plane(matte, depth)
        layout = layout_of("gbrp16le" if deep else "gbrp")
        assert layout is not None
        image = frame.image
        if image.format.name != layout.name:
            image = self._converter.reformat(
                image,
                format=layout.name,
                src_colorspace=None if frame.layout.rgb else swscale_matrix(frame.colour, frame.size[0]),
                src_color_range=2 if frame.layout.rgb or frame.layout.name.startswith("yuvj") else frame.colour.range or 1,
                dst_color_range=2,
                interpolation="BICUBIC",
                threads=1,
            )
        green, blue, red = planes_of(image, layout)
        if self.content != "transparent":
            return np.dstack((blue, green, red))
        return np.dstack((blue, green, red, alpha_plane(matte, depth)))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears complete or not at all.

    Raises:
        OutputError: the disk is full, or the folder may not be written.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror}); check space and permissions") from error
