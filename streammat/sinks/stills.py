"""Sink for stills: numbered images of a video, or one image; PNG, WebP and TIFF, 8 and 16 bit, upright."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from streammat.config import AlphaType, Content
from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, UsageError, first_line
from streammat.media.damage import Damage
from streammat.media.frame import Frame, Matte, Packet, layout_of, planes_of
from streammat.media.image_files import ImageNotes
from streammat.media.images import reformatted
from streammat.media.planes import alpha_plane

STANDARD_STREAM = "-"
"""Name that stands for standard input and output."""
_COUNTER = re.compile(r"%0?(?P<digits>\d{0,2})d|\$F(?P<houdini>\d{0,2})|(?P<hashes>#+)|(?P<ats>@+)")
_SINGLE_HASH = 4
"""Digits of a single ``#``, as in film sequences."""
_TIFF = (".tif", ".tiff")
_PARAMETERS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
    # Exact where nothing is seen, too: the encoder would fill that with a smear of the subject, which shows where alpha is
    # changed later.
    ".webp": [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR],
}


class StillsSink:
    """Writes numbered stills, with the frames' numbers or counted from 1, or one still. Each file is written under a temporary
    name first, so that it appears whole.

    Args:
        pattern: ``out.%05d.png`` or ``out.####.webp``; one file's name if not ``numbered``, or ``-``: one PNG on standard output.
        content: what to write.
        overwrite: replace existing files.
        alpha: kind of colour in transparent images; TIFF records it.
        numbered: False: there is one file, and a part that looks like a counter, as in ``take#2.png``, belongs to its name.
        numbers: numbers of the images that are known beforehand, checked for existing files.
        verify: read each file back and compare it; for JPEG, which is lossy, its size only.
        image: metadata of the input of a single still: its colour profile and EXIF are written, except to TIFF, for which neither
            of our encoders can.

    Raises:
        UsageError: the pattern has no counter, or its first file exists and is not to be replaced.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self, pattern: str, content: Content, *, overwrite: bool, alpha: AlphaType = "straight", numbered: bool = True,
        numbers: tuple[int, ...] = (1,), verify: bool = False, image: ImageNotes = ImageNotes(),  # noqa: B008 - frozen
    ) -> None:
        self.content = content
        self.notes: list[str] = []
        self.damage: tuple[Damage, ...] = ()
        self.frames = 0
        self._next = 1
        self._pattern = pattern
        self._numbered = numbered
        self._suffix = ".png" if pattern == STANDARD_STREAM else Path(pattern).suffix.lower()
        found = ((cv2.IMAGE_METADATA_ICCP, image.icc), (cv2.IMAGE_METADATA_EXIF, image.exif)) if self._suffix not in _TIFF else ()
        self._metadata = {kind: np.frombuffer(block, np.uint8) for kind, block in found if block}
        self._overwrite = overwrite
        self._verify = verify
        self._associated = alpha == "premultiplied"
        self._converter = VideoReformatter()
        if pattern == STANDARD_STREAM:
            return
        folder, name = Path(pattern).parent, Path(pattern)
        if numbered and not _COUNTER.search(name.name):
            raise UsageError(f"{pattern}: a video becomes many images; expected a pattern such as {name.stem}.%05d{name.suffix}")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise OutputError(f"{pattern}: cannot be created; check that the folder {folder} exists and may be written")
        there = [] if overwrite else [path for number in numbers if (path := self.path(number)).exists()]
        if there:
            raise UsageError(f"{there[0]}: is there already; give -y to replace it")

    def path(self, number: int) -> Path:
        """Return the file of image ``number``."""
        target = Path(self._pattern)
        if not self._numbered:
            return target

        *_, last = _COUNTER.finditer(target.name)  # the last, so that take#2.%04d.png works
        if last["hashes"] or last["ats"]:
            width = _SINGLE_HASH if last[0] == "#" else len(last[0])
        else:
            width = int(last["digits"] or last["houdini"] or 0)
        return target.with_name(target.name[: last.start()] + str(number).zfill(width) + target.name[last.end() :])

    def write(self, frame: Frame, matte: Matte) -> None:
        """Write one image."""
        number = self.frames + 1 if frame.number is None else frame.number
        path = self.path(number)
        if not self._overwrite and self._pattern != STANDARD_STREAM and path.exists():
            raise OutputError(f"{path}: is there already; give -y to replace it")
        turned = np.ascontiguousarray(np.rot90(self._pixels(frame, matte), frame.rotation))
        if self._suffix in _TIFF and self.content == "transparent":
            data = _tiff_with_alpha(turned, associated=self._associated)
        else:
            kinds, blocks = list(self._metadata), list(self._metadata.values())
            done, encoded = cv2.imencodeWithMetadata(self._suffix, turned, kinds, blocks, _PARAMETERS.get(self._suffix, []))
            if not done:
                raise OutputError(f"{path}: OpenCV cannot write {turned.shape[1]}x{turned.shape[0]} as {self._suffix}; take .png or .tif")
            data = encoded.tobytes()
        try:
            if self._pattern == STANDARD_STREAM:
                _to_standard_output(data)
            else:
                write_whole(path, data, (lambda written: self._check(path, written, turned)) if self._verify else None)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({first_line(error)}); check space and permissions") from error
        self.frames += 1
        self._next = number + 1

    def _check(self, path: Path, written: Path, picture: NDArray[Any]) -> None:
        """Read ``written``, the future ``path``, back; raise OutputError if it is not ``picture``."""
        found = _read_back(written, picture)
        same = found is not None and found.shape == picture.shape and (self._suffix in (".jpg", ".jpeg") or np.array_equal(found, picture))
        if not same:
            raise OutputError(f"{path}: is another image when it is read back; the disk or the codec is at fault, and the frame is not kept")

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: stills have no other tracks."""

    def close(self) -> None:
        """Note where files of an earlier, longer run follow; every file is complete already."""
        after = self.path(self._next)
        if self._numbered and self.frames and not self.notes and after.exists():
            self.notes.append(f"{after} and what follows it are not of this run")

    def abort(self) -> None:
        """Keep the files written so far: each is complete."""

    def _pixels(self, frame: Frame, matte: Matte) -> NDArray[Any]:
        """Return BGR, BGRA or grey, (H, W[, C]), uint8, or full-range uint16 for deeper frames."""
        deep = frame.layout.depth > 8 and self._suffix not in (".webp", ".jpg", ".jpeg")
        depth = 16 if deep else 8
        if self.content == "matte":
            return alpha_plane(matte, depth)
        layout = layout_of("gbrp16le" if deep else "gbrp")
        assert layout is not None
        image = frame.image if frame.image.format.name == layout.name else reformatted(frame, layout.name, self._converter)
        green, blue, red = planes_of(image, layout)
        if self.content != "transparent":
            return np.dstack((blue, green, red))
        return np.dstack((blue, green, red, alpha_plane(matte, depth)))


def _read_back(written: Path, picture: NDArray[Any]) -> NDArray[Any] | None:
    """Return the image in a file in the form of ``picture``; None if it cannot be decoded."""
    try:
        if written.suffix.lower() in _TIFF and picture.ndim == 3 and picture.shape[2] == 4:  # of which OpenCV would multiply colours
            with av.open(str(written.absolute())) as file:
                image = next(file.decode(video=0))
            return image.to_ndarray(format="rgba" if picture.dtype == np.uint8 else "rgba64le")[:, :, [2, 1, 0, 3]]
        found = np.asarray(cv2.imdecode(np.fromfile(written, np.uint8), cv2.IMREAD_UNCHANGED))
    except (av.FFmpegError, StopIteration, cv2.error):
        return None
    # WebP has no grey, and no alpha where all is opaque.
    if found.ndim == 3 and picture.ndim == 2 and (found == found[:, :, :1]).all():
        return np.asarray(found[:, :, 0])
    if found.ndim == 3 and found.shape[2] == 3 and picture.ndim == 3 and picture.shape[2] == 4:
        return np.dstack((found, np.full(found.shape[:2], np.iinfo(found.dtype).max, found.dtype)))
    return found


def _to_standard_output(data: bytes) -> None:
    """Write to the process's own standard output, whatever ``sys.stdout`` is: the image is the result, so it waits for its reader."""
    with open(os.dup(1), "wb") as file:
        file.write(data)


def _tiff_with_alpha(turned: NDArray[Any], *, associated: bool) -> bytes:
    """Return a TIFF of BGRA pixels that records its kind of alpha; OpenCV's does not mark alpha at all."""
    height, width = turned.shape[:2]
    name = "rgba" if turned.dtype == np.uint8 else "rgba64le"
    encoder = av.VideoCodecContext.create("tiff", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, name, Fraction(1, 25)
    encoder.options = {"compression_algo": "deflate"}
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(turned[:, :, [2, 1, 0, 3]]), format=name)
    image.pts = 0
    data = bytearray(b"".join(bytes(packet) for packet in (*encoder.encode(image), *encoder.encode(None))))
    if associated:
        # FFmpeg marks alpha as unassociated (2); the mark is the value of tag 338, ExtraSamples, in the first directory.
        entries = int.from_bytes(data[4:8], "little")
        for place in range(entries + 2, entries + 2 + 12 * int.from_bytes(data[entries : entries + 2], "little"), 12):
            if int.from_bytes(data[place : place + 2], "little") == 338:
                data[place + 8] = 1
    return bytes(data)
