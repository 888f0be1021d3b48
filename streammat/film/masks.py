"""Masks (garbage mattes and hold-outs): images or sequences of what always and what never belongs to the subject."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.config import ImageArray, SubjectOptions
from streammat.errors import InputError, UsageError, first_line
from streammat.film.header import openimageio
from streammat.film.images import check_size
from streammat.film.sequences import find_sequence, frames_of
from streammat.media.frame import Frame, Matte
from streammat.media.image_files import read_notes
from streammat.media.image_kinds import HEAD, why_undecoded
from streammat.media.planes import full_scale
from streammat.paths import check_readable

Mask = NDArray[np.float32]
"""(H, W) 0..1."""
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


class Masks:
    """Masks that are applied to mattes: ``max(a, include)``, then ``min(a, 1 - exclude)``.

    Args:
        options: names an image for all frames, or a sequence that is matched by frame number; None: nothing.
        numbered: whether frames have numbers; without them sequences are refused.

    Raises:
        InputError: there is none, or it cannot be read.
        UsageError: it is a sequence and frames have no numbers.
    """

    def __init__(self, options: SubjectOptions, *, numbered: bool = True) -> None:
        named = (("--include", options.include), ("--exclude", options.exclude))
        self._include, self._exclude = (None if given is None else _Masks(option, given, numbered=numbered) for option, given in named)
        self.given = bool(self._include or self._exclude)
        """False if there is no mask."""
        self.files = [path for masks in (self._include, self._exclude) if masks is not None for path in masks.files]
        """Files of the masks."""

    def applied(self, matte: Matte, frame: Frame) -> Matte:
        """Return the matte of ``frame`` after the masks; InputError if a mask of a sequence is missing."""
        if self._include is not None:
            alpha = matte.alpha
            matte = matte.adjusted(np.maximum(alpha, _as(self._include.of(frame), alpha)))
        if self._exclude is not None:
            alpha = matte.alpha
            matte = matte.adjusted(np.minimum(alpha, full_scale(alpha) - _as(self._exclude.of(frame), alpha)))
        return matte


class MaskedMatting:
    """Applies ``masks`` to the mattes of another matting."""

    def __init__(self, matting: Callable[[Frame], Matte], masks: Masks) -> None:
        self._matting = matting
        self._masks = masks

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``; raises what the other matting raises, and InputError if a mask of a sequence is missing."""
        return self._masks.applied(self._matting(frame), frame)


@dataclass(frozen=True)
class _Image:
    """A mask as its file holds it, upright."""

    pixels: Mask
    origin: tuple[int, int] = (0, 0)
    """x and y of the first pixel in the display window."""
    display: tuple[int, int] | None = None
    """(height, width) of the display window; None: the pixels fill it."""

    def on_display(self) -> Mask:
        """Return the pixels of the display window, 0 where the file has none."""
        return self.pixels if self.display is None else _put(self.pixels, self.origin, self.display)


class _Masks:
    """One mask image for all frames, or one for each."""

    def __init__(self, option: str, given: str | ImageArray, *, numbered: bool) -> None:
        self._option = option
        self._placed: tuple[object, Mask] | None = None
        self._files: dict[int, Path] | None = None
        self.files: list[Path] = []
        if isinstance(given, ImageArray):
            self._one: _Image | None = _Image(given.pixels)
            return
        text = given
        name = None if os.path.isfile(text) else find_sequence(text)
        if name is not None and not numbered:
            raise UsageError(f"{option} {text}: is a sequence; expected one image, which holds for all")
        self._files = None if name is None else frames_of(name)
        self._one = _read(Path(text)) if name is None else None
        self._name = text
        self.files = [Path(text)] if self._files is None else list(self._files.values())

    def of(self, frame: Frame) -> Mask:
        """Return the mask of ``frame``, at its size and in its orientation."""
        if self._one is None:
            return _placed(self._read_of(frame), frame)
        header = None if frame.plate is None else frame.plate.header
        where = frame.size, frame.rotation, header and (header.window, header.display)
        if self._placed is None or self._placed[0] != where:
            self._placed = where, _placed(self._one, frame)
        return self._placed[1]

    def _read_of(self, frame: Frame) -> _Image:
        assert self._files is not None
        number = frame.index + 1 if frame.number is None else frame.number
        if number not in self._files:
            raise InputError(f"{self._option} {self._name}: has no frame {number}; the numbers of masks and frames must be the same")
        return _read(self._files[number])


def _placed(mask: _Image, frame: Frame) -> Mask:
    """Return ``mask`` on the pixels of ``frame``; its display window is scaled to that of the frame."""
    height, width = frame.size
    x = y = 0
    size = height, width
    if frame.plate is not None:
        window, display = frame.plate.header.window, frame.plate.header.display
        x, y = display[0] - window[0], display[1] - window[1]
        size = display[3], display[2]
    if not frame.rotation and (mask.display or mask.pixels.shape) == size:
        return _put(mask.pixels, (mask.origin[0] + x, mask.origin[1] + y), (height, width))
    pixels = np.ascontiguousarray(np.rot90(mask.on_display(), -frame.rotation))
    if pixels.shape != size:
        pixels = np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return _put(pixels, (x, y), (height, width))


def _put(pixels: Mask, origin: tuple[int, int], size: tuple[int, int]) -> Mask:
    """Return an image of ``size`` with ``pixels`` at ``origin`` (x, y), and 0 elsewhere."""
    if origin == (0, 0) and pixels.shape == size:
        return pixels
    whole = np.zeros(size, np.float32)
    x, y = origin
    left, top = max(0, x), max(0, y)
    right, bottom = min(size[1], x + pixels.shape[1]), min(size[0], y + pixels.shape[0])
    if right > left and bottom > top:
        whole[top:bottom, left:right] = pixels[top - y : bottom - y, left - x : right - x]
    return whole


def _as(mask: Mask, alpha: NDArray[Any]) -> NDArray[Any]:
    return np.rint(np.clip(mask, 0, 1) * full_scale(alpha)).astype(alpha.dtype)


def _read(path: Path) -> _Image:
    """Return the image's alpha, if it has one that is not full everywhere, else its brightness."""
    check_readable(path, "a mask: an image, or numbered ones")
    if path.suffix.lower() in (".exr", ".dpx"):
        return _read_film(path)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); check the disk") from error
    return _Image(decode_mask(data.tobytes(), str(path)))


def decode_mask(data: bytes, name: str) -> Mask:
    """Decode a mask: the image's alpha, if it has one that is not full everywhere, else its brightness.

    Args:
        data: the whole file: PNG, JPEG, WebP or TIFF.
        name: name for messages.

    Raises:
        InputError: it cannot be decoded.
    """
    read_notes(data, name)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{name}: {why_undecoded(data[:HEAD], 'a mask as PNG, JPEG, TIFF or EXR')}")
    scale = {1: 1 / 255, 2: 1 / 65535}.get(pixels.itemsize, 1.0)
    found = pixels.astype(np.float32) * np.float32(scale)
    if found.ndim == 2:
        return found
    if found.shape[2] == 4 and (found[:, :, 3] < 1).any():
        return np.ascontiguousarray(found[:, :, 3])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(found[:, :, :3]), cv2.COLOR_BGR2GRAY), np.float32)


def _read_film(path: Path) -> _Image:
    """Return the channel ``A`` of an EXR or DPX, else its brightness, with its place in the display window."""
    oiio = openimageio()
    file = oiio.ImageInput.open(str(path))
    if file is not None:
        check_size(path, file.spec().width, file.spec().height)
        check_size(path, file.spec().full_width, file.spec().full_height)
    read = None if file is None else file.read_image("float")
    if read is None:
        raise InputError(f"{path}: cannot be read ({oiio.geterror() or 'damaged'}); expected an image that OpenImageIO can read")
    spec = file.spec()
    file.close()
    names = [name.upper() for name in spec.channelnames]
    pixels = np.asarray(read, np.float32).reshape(spec.height, spec.width, spec.nchannels)
    if "A" in names:
        found = pixels[:, :, names.index("A")]
    elif {"R", "G", "B"} <= set(names):
        found = pixels[:, :, [names.index(name) for name in "RGB"]] @ _LUMA
    else:
        found = pixels[:, :, 0]
    found = np.nan_to_num(found, nan=0.0, posinf=1.0, neginf=0.0)
    return _Image(np.ascontiguousarray(found), (spec.x - spec.full_x, spec.y - spec.full_y), (spec.full_height, spec.full_width))
