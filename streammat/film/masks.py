"""Masks (garbage mattes and hold-outs): images or sequences of what always and what never belongs to the subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.errors import InputError, reason
from streammat.film.images import check_size, openimageio
from streammat.film.sequences import find_sequence, frames_of
from streammat.media.frame import Frame, Matte
from streammat.media.image_files import read_notes
from streammat.media.image_kinds import HEAD, why_undecoded
from streammat.media.planes import full_scale
from streammat.paths import check_readable

Mask = NDArray[np.float32]
"""(H, W) 0..1."""


class MaskedMatting:
    """Applies masks to mattes: ``max(a, include)``, then ``min(a, 1 - exclude)``.

    Args:
        matting: frame → matte.
        include: an image, or a sequence that is matched by frame number; None: nothing.
        exclude: likewise.

    Raises:
        InputError: there is none, or it cannot be read.
    """

    def __init__(self, matting: Callable[[Frame], Matte], include: str | None, exclude: str | None) -> None:
        self._matting = matting
        self.files: list[Path] = []
        """Files of the masks."""
        self._include = None if include is None else _Masks("--include", include)
        self._exclude = None if exclude is None else _Masks("--exclude", exclude)
        for masks in (self._include, self._exclude):
            self.files += [] if masks is None else masks.files

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``; raises what the other matting raises, and InputError if a mask of a sequence is missing."""
        matte = self._matting(frame)
        if self._include is not None:
            alpha = matte.alpha
            matte = Matte(np.maximum(alpha, _as(self._include.of(frame), alpha)))
        if self._exclude is not None:
            alpha = matte.alpha
            matte = Matte(np.minimum(alpha, full_scale(alpha) - _as(self._exclude.of(frame), alpha)))
        return matte


class _Masks:
    """One mask image for all frames, or one for each."""

    def __init__(self, option: str, text: str) -> None:
        self._option = option
        name = find_sequence(text)
        self._files = None if name is None else frames_of(name)
        self._one = _read(Path(text)) if name is None else None
        self._name = text
        self.files = [Path(text)] if self._files is None else list(self._files.values())

    def of(self, frame: Frame) -> Mask:
        """Return the mask of ``frame``, at its size and in its orientation."""
        mask = self._one
        if self._files is not None:
            number = frame.index + 1 if frame.number is None else frame.number
            if number not in self._files:
                raise InputError(f"{self._option} {self._name}: has no frame {number}; the numbers of masks and frames must be the same")
            mask = _read(self._files[number])
        assert mask is not None
        mask = np.rot90(mask, -frame.rotation)
        height, width = frame.size
        if mask.shape != (height, width):
            return np.asarray(cv2.resize(np.ascontiguousarray(mask), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        return mask


def _as(mask: Mask, alpha: NDArray[Any]) -> NDArray[Any]:
    return np.rint(np.clip(mask, 0, 1) * full_scale(alpha)).astype(alpha.dtype)


def _read(path: Path) -> Mask:
    """Return the image's alpha, if it has one that is not full everywhere, else its brightness."""
    check_readable(path, "a mask: an image, or numbered ones")
    if path.suffix.lower() in (".exr", ".dpx"):
        oiio = openimageio()
        file = oiio.ImageInput.open(str(path))
        if file is not None:
            check_size(path, file.spec().width, file.spec().height)
        pixels = None if file is None else file.read_image("float")
        if pixels is None:
            raise InputError(f"{path}: cannot be read ({oiio.geterror() or 'damaged'}); expected an image that OpenImageIO can read")
        names = [name.upper() for name in file.spec().channelnames]
        file.close()
        found = np.asarray(pixels, np.float32).reshape(pixels.shape[0], pixels.shape[1], -1)
        return np.ascontiguousarray(found[:, :, names.index("A") if "A" in names else 0])
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check the disk") from error
    read_notes(data.tobytes(), str(path))
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{path}: {why_undecoded(data[:HEAD].tobytes(), 'a mask as PNG, JPEG, TIFF or EXR')}")
    scale = {1: 1 / 255, 2: 1 / 65535}.get(pixels.itemsize, 1.0)
    found = pixels.astype(np.float32) * np.float32(scale)
    if found.ndim == 2:
        return found
    if found.shape[2] == 4 and (found[:, :, 3] < 1).any():
        return np.ascontiguousarray(found[:, :, 3])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(found[:, :, :3]), cv2.COLOR_BGR2GRAY), np.float32)
