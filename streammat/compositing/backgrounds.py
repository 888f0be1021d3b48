"""Backgrounds: a colour, an image, a clip, or the frame itself, blurred.

A background returns planes in the layout, size, colour matrix, range and orientation of the given frame, so that blending needs
no conversion. Images are composed upright and turned into the orientation in which the frame is stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, Protocol

import av
import cv2
import numpy as np

from streammat.compositing.blur import STRENGTH, BlurBackground
from streammat.config import Fit, ImageArray
from streammat.errors import InputError, UsageError
from streammat.media.containers import images_of, open_container
from streammat.media.frame import Frame, Matte, Plane
from streammat.media.image_kinds import HEAD, undecoded_kind, why_undecoded
from streammat.media.images import Rgb as Pixels
from streammat.media.images import compose, convert, image_of, read_image
from streammat.paths import check_readable

Rgb = tuple[int, int, int]
"""Red, green, blue, 0..255 each, full range."""

COLOURS: Final[dict[str, Rgb]] = {
    "green": (0, 177, 64),  # the film green that keyers expect, not the web's
    "blue": (0, 71, 187),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}


@dataclass(frozen=True)
class BackgroundSpec:
    """A background as the user named it; ``open_background`` opens it."""

    kind: Literal["transparent", "blur", "colour", "image", "video"]
    path: Path | None = None
    """File name of an image or a video."""
    array: ImageArray | None = None
    """An image that has no file."""
    colour: Rgb | None = None
    strength: float = STRENGTH
    """Strength of a blur, 0..1."""


class Background(Protocol):
    """A source of planes to put behind a frame's subject."""

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return the colour planes (no alpha plane) in the frame's layout, size and colour. They may be returned again for the
        next frame, so callers must not change them; planes that differ come in another tuple.
        """
        ...

    def close(self) -> None:
        """Close the files; may be called twice."""
        ...


def parse_background(given: str | ImageArray) -> BackgroundSpec:
    """Parse a background: an array, or a name: ``transparent``, ``blur``, ``blur:STRENGTH`` (0 to 100), a colour (a name of ``COLOURS``,
    ``#rgb``, ``#rrggbb`` or ``r,g,b`` with 0..255 each), else the path of an image or a clip, distinguished by content.

    Raises:
        UsageError: it is none of these.
        InputError: the file is missing, empty or neither an image nor a clip.
    """
    if isinstance(given, ImageArray):
        return BackgroundSpec("image", array=given)
    text, word = given, given.strip().lower()
    if not word:
        raise UsageError("the background is an empty name; give transparent, blur, a colour, or the path of an image or clip")
    if word == "transparent":
        return BackgroundSpec("transparent")
    if word == "blur" or word.startswith("blur:"):
        return BackgroundSpec("blur", strength=_strength(word, text))
    colour = parse_colour(word)
    if colour is not None:
        return BackgroundSpec("colour", colour=colour)
    path = Path(text)
    if os.path.isfile(path):
        return BackgroundSpec(_kind(path), path)
    if word.startswith("#") or (set(word) <= set("0123456789,. ")):
        raise UsageError(f"{text!r} is not a colour; write #rgb, #rrggbb, or r,g,b with 0 to 255 each, such as 0,177,64")
    if path.suffix or path.name != text or os.path.isdir(path):
        _check_file(path)
        raise InputError(f"the background {text!r} is no file; give an image or a clip")
    names = ", ".join(COLOURS)
    raise UsageError(
        f"the background {text!r} is neither a colour nor a file; give transparent, blur, blur:0 to blur:100, #rrggbb, "
        f"a colour ({names}), or the path of an image or clip"
    )


def can_only_be_file(text: str) -> bool:
    """Return whether ``parse_background`` would look for a file of that name, or refuse it."""
    word = text.strip().lower()
    return not (word in ("transparent", "blur") or word.startswith("blur:") or parse_colour(word) is not None)


def _strength(word: str, text: str) -> float:
    if word == "blur":
        return STRENGTH
    try:
        percent = float(word.removeprefix("blur:"))
    except ValueError:
        percent = float("nan")
    if not 0 <= percent <= 100:
        raise UsageError(f"{text!r} is not a strength of blur; give blur:0 (slight) to blur:100 (strong), such as blur:50")
    return percent / 100


def parse_colour(word: str) -> Rgb | None:
    """Return the colour that a lower-case word names; None if it names none."""
    if word in COLOURS:
        return COLOURS[word]
    digits = word.removeprefix("#")
    if word.startswith("#") and len(digits) in (3, 6) and set(digits) <= set("0123456789abcdef"):
        pairs = [c * 2 for c in digits] if len(digits) == 3 else [digits[i : i + 2] for i in (0, 2, 4)]
        red, green, blue = (int(pair, 16) for pair in pairs)
        return red, green, blue
    parts = [part.strip() for part in word.split(",")]
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
        return int(parts[0]), int(parts[1]), int(parts[2])
    return None


def _check_file(path: Path) -> None:
    try:
        check_readable(path, "an image or a clip")
    except InputError as error:
        raise InputError(f"the background {error}") from error


def _kind(path: Path) -> Literal["image", "video"]:
    """Return the kind of a file by its content: OpenCV's still formats are images, animated GIFs are not."""
    _check_file(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # OpenCV would crash
        raise InputError(f"the background {str(path)!r} has a name that is not UTF-8; give the file another name") from error
    if cv2.haveImageReader(str(path)) and not (head.startswith(b"GIF8") and cv2.imcount(str(path)) > 1):
        return "image"
    try:
        with open_container(str(path.absolute())) as container:
            if container.streams.video:
                return "video"
    except (av.FFmpegError, ValueError):
        pass
    if undecoded_kind(head) is not None:
        raise InputError(f"the background {str(path)!r} {why_undecoded(head, 'PNG, JPEG, WebP, TIFF or a clip')}")
    raise InputError(f"the background {str(path)!r} is neither an image nor a clip that can be decoded; give another file")


def open_background(spec: BackgroundSpec, fit: Fit = "cover", sar: Fraction = Fraction(1)) -> Background:
    """Open the background of ``spec``; files are opened and the first image decoded, so that errors come early.

    Args:
        spec: any but ``transparent``, which draws nothing (ValueError).
        fit: how an image of another shape fills the frame.
        sar: sample aspect ratio of the frames, as stored: a sample's width over its height.

    Raises:
        InputError: the file cannot be decoded.
    """
    if spec.kind == "blur":
        return BlurBackground(spec.strength)
    if spec.kind == "colour" and spec.colour is not None:
        return ColourBackground(spec.colour)
    if spec.kind == "image" and spec.array is not None:
        return ImageBackground(spec.array.pixels, fit, sar)
    if spec.kind == "image" and spec.path is not None:
        return ImageBackground(read_image(spec.path), fit, sar)
    if spec.kind == "video" and spec.path is not None:
        return VideoBackground(spec.path, fit, sar)
    raise ValueError(f"nothing can be opened for {spec}")


class _LastOne:
    """Cache of the planes for the last frame geometry; a stream hardly ever changes its geometry."""

    def __init__(self) -> None:
        self._key: object = None
        self._planes: tuple[Plane, ...] | None = None

    def get(self, frame: Frame) -> tuple[Plane, ...] | None:
        return self._planes if self._key == _geometry(frame) else None

    def put(self, frame: Frame, planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
        self._key, self._planes = _geometry(frame), planes
        return planes

    def clear(self) -> None:
        self._key = self._planes = None


def _geometry(frame: Frame) -> tuple[object, ...]:
    return frame.size, frame.layout, frame.colour, frame.rotation


@dataclass(frozen=True, slots=True)
class _TimedImage:
    """A clip's image and the interval in which it is shown, in seconds from the clip's beginning."""

    image: av.VideoFrame
    start: Fraction
    end: Fraction
    sar: Fraction


def _undecodable(path: Path, error: Exception) -> InputError:
    return InputError(f"the background {str(path)!r} cannot be decoded ({error}); give another file")


class ColourBackground:
    """A background of one colour."""

    def __init__(self, colour: Rgb) -> None:
        self._colour = colour
        self._cache = _LastOne()

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return the background's planes; the same arrays for every frame of one geometry."""
        del matte
        return self._cache.get(frame) or self._cache.put(frame, self._fill(frame))

    def codes(self, frame: Frame) -> tuple[int, ...]:
        """Return the code value of each plane."""
        return tuple(int(plane[0, 0]) for plane in self._cache.get(frame) or self._cache.put(frame, self._fill(frame)))

    def _fill(self, frame: Frame) -> tuple[Plane, ...]:
        pixel = np.full((16, 16, 3), self._colour, np.uint8)
        codes = [int(np.median(plane)) for plane in convert(image_of(pixel, frame.layout), frame, (16, 16))]
        height, width = frame.size
        shapes = [frame.layout.plane_shape(index, height, width) for index in range(frame.layout.colour_planes)]
        return tuple(np.full(shape, code, frame.layout.dtype) for shape, code in zip(shapes, codes, strict=True))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class ImageBackground:
    """A background that is an image, fitted to the frame.

    Args:
        rgb: uint8 or uint16 (h, w, 3), RGB, full range.
        fit: how an image of another shape fills the frame.
        sar: sample aspect ratio of the frames, as stored.
    """

    def __init__(self, rgb: Pixels, fit: Fit = "cover", sar: Fraction = Fraction(1)) -> None:
        self._rgb = rgb
        self._fit, self._sar = fit, sar
        self._cache = _LastOne()

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return the background's planes; the same arrays for every frame of one geometry."""
        del matte
        shown = self._cache.get(frame)
        if shown is None:
            image = image_of(self._rgb, frame.layout)
            shown = self._cache.put(frame, compose(image, 0, Fraction(1), frame, self._fit, self._sar))
        return shown

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class VideoBackground:
    """A clip, looped at its own rate: at time t it shows the image whose interval contains t modulo the clip's length.

    t counts from the first frame. One image is decoded ahead, so memory does not grow with the clip.
    """

    def __init__(self, path: Path, fit: Fit = "cover", sar: Fraction = Fraction(1)) -> None:
        """Open the clip; raises InputError if not one image can be decoded."""
        self._path, self._fit, self._sar = path, fit, sar
        self._cache = _LastOne()
        self._container: av.container.InputContainer | None = None
        self._length: Fraction | None = None  # known once the clip has been read to its end
        self._origin: Fraction | None = None
        self._loop = Fraction(0)  # the time at which this turn of the clip began
        self._images: Iterator[_TimedImage]
        self._current: _TimedImage
        self._next: _TimedImage | None
        self._rewind()

    def planes(self, frame: Frame, matte: Matte) -> tuple[Plane, ...]:
        """Return the planes at the frame's time; converted only when the clip's image has changed."""
        del matte
        time = frame.pts * frame.time_base
        self._origin = time if self._origin is None else self._origin
        if self._advance(time - self._origin):
            self._cache.clear()
        shown = self._cache.get(frame)
        if shown is not None:
            return shown
        image, turns = self._current.image, round(self._current.image.rotation / 90) % 4
        return self._cache.put(frame, compose(image, turns, self._current.sar, frame, self._fit, self._sar))

    def close(self) -> None:
        """Close the file."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _advance(self, time: Fraction) -> bool:
        """Make the image at ``time`` seconds the current one; returns True if it has changed."""
        before = self._current
        if time < self._loop + self._current.start:  # time went back: restart this pass
            self._loop = time // self._length * self._length if self._length else min(time, Fraction(0))
            self._rewind()
        elif self._length and time >= self._loop + self._length:
            self._loop += (time - self._loop) // self._length * self._length
            self._rewind()
        while time >= self._loop + self._current.end:
            if self._next is None:
                self._length = self._current.end
                self._loop += (time - self._loop) // self._length * self._length
                self._rewind()
            else:
                self._current, self._next = self._next, next(self._images, None)
        return self._current is not before

    def _rewind(self) -> None:
        self.close()
        try:
            container = self._container = open_container(str(self._path.absolute()))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _undecodable(self._path, error) from error
        self._images = self._decode(container)
        first = next(self._images, None)
        if first is None:
            raise InputError(f"the background {str(self._path)!r} holds no image that can be decoded; give another clip")
        self._current, self._next = first, next(self._images, None)

    def _decode(self, container: av.container.InputContainer) -> Iterator[_TimedImage]:
        """Yield the clip's images, each with the interval in which it is shown, from 0 seconds on."""
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        sar = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        held: av.VideoFrame | None = None
        origin = start = Fraction(0)
        try:
            for image in images_of(container, stream):
                time = start + 1 / rate if image.pts is None or image.time_base is None else image.pts * image.time_base
                if held is None:
                    origin = time
                elif time > start:  # a second image for the same instant is never shown
                    yield _TimedImage(held, start - origin, time - origin, sar)
                held, start = image, time
        except (av.FFmpegError, ValueError) as error:
            raise _undecodable(self._path, error) from error
        if held is not None:
            last = held.duration * held.time_base if held.duration and held.time_base else 1 / rate
            yield _TimedImage(held, start - origin, start - origin + last, sar)
