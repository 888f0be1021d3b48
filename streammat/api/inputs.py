"""What the Python API takes for images, backgrounds, masks and videos: arrays, open files and colours as well as paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streammat.compositing.backgrounds import can_only_be_file
from streammat.config import ImageArray
from streammat.errors import InputError, UsageError, first_line, shortened
from streammat.media.frame import Frame

Path = str | os.PathLike[str]


class HasArray(Protocol):
    """An object that NumPy takes as an array, such as a tensor on the CPU."""

    def __array__(self, *arguments: Any, **options: Any) -> NDArray[Any]:
        """Return it as an array."""
        ...


class HasArrayInterface(Protocol):
    """An object whose memory NumPy reads as an array, such as an image of Pillow."""

    @property
    def __array_interface__(self) -> Any:
        """Describe its memory, as NumPy's array interface has it."""
        ...


ArrayLike = HasArray | HasArrayInterface


Rgb = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3), RGB, full range."""
ImageLike = Rgb | ArrayLike | Path | IO[bytes]
"""Pixels, uint8 or uint16 (H, W, 3); or the path or open binary file of an image."""
BackgroundLike = ImageLike | tuple[int, int, int]
"""An image; or a colour (red, green, blue), 0..255; or text as ``--bg`` takes it: a path, the name of a colour, ``blur:50``."""
MaskLike = NDArray[Any] | ArrayLike | Path | IO[bytes]
"""An array (H, W): bool, uint8 or uint16 over their full range, or float 0..1; or the path or open binary file of an image."""
VideoLike = Path | IO[bytes]
"""The path or URL of a video, or a binary file that can seek; it is read from its beginning, and stays open."""


def path_of(name: str, value: Any) -> str:
    """Return ``value`` as a path; ``name`` is the argument's, for messages.

    Raises:
        UsageError: it is neither text nor a path object.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"{name} is {_shown(value)}; expected a path as text or a path object")
    return path


def video_of(name: str, value: Any) -> str | IO[bytes]:
    """Return ``value`` as a path, or as a file object that FFmpeg can read.

    Raises:
        UsageError: it is neither, or a file object in text mode or one that cannot seek.
    """
    if not hasattr(value, "read"):
        return path_of(name, value)
    try:
        seeks, empty = value.seekable(), value.read(0)
    except (AttributeError, OSError, ValueError) as error:  # closed, or not opened for reading
        raise UsageError(f"{name} cannot be read from its file object ({first_line(error)}); expected one opened in binary mode") from error
    if not isinstance(empty, bytes) or not seeks:
        raise UsageError(f"{name} is {'a file object that cannot seek' if seeks is False else 'a text file object'}; expected a binary one that can seek")
    return value  # type: ignore[no-any-return]


def frame_of_image(image: Any) -> Frame:
    """Return an image, as `ImageLike`, as a frame.

    Raises:
        UsageError: it is none.
        InputError: its file cannot be read.
    """
    from streammat.sources.still import decode_still, frame_of, read_still

    if (pixels := _array_of("the image", image)) is not None:
        return frame_of(_rgb("the image", pixels))
    if isinstance(image, str | os.PathLike):
        return read_still(path_of("the image", image))[0]
    if hasattr(image, "read"):
        return decode_still(_read("the image", image), _name_of(image))[0]
    raise UsageError(f"the image is a {type(image).__name__}; expected an array, a path or an open binary file")


def options_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments as `streammat.build_options.build` takes them: backgrounds and masks as text or `ImageArray`.

    Raises:
        UsageError: one of them is no `BackgroundLike` or `MaskLike`.
        InputError: an open file cannot be read.
    """
    made = dict(options)
    if made.get("background") is not None:
        made["background"] = background_of("background", made["background"])
    if isinstance(several := made.get("backgrounds"), tuple | list):
        made["backgrounds"] = tuple(background_of("backgrounds", each) for each in several)
    for name in ("include", "exclude"):
        if made.get(name) is not None:
            made[name] = _mask_of(name, made[name])
    return made


def background_of(name: str, value: Any) -> str | ImageArray:
    """Return a background, as `BackgroundLike`, as text or an array; ``name`` is the argument's, for messages.

    Raises:
        UsageError: it is none.
        InputError: an open file cannot be read.
    """
    from streammat.media.images import decode_image

    if isinstance(value, tuple | list):
        if len(value) != 3 or not all(isinstance(each, Integral) and 0 <= int(each) <= 255 for each in value):
            raise UsageError(f"{name} is {_shown(value)}; expected a colour of three whole numbers from 0 to 255: red, green, blue")
        return ",".join(str(int(each)) for each in value)
    if isinstance(value, os.PathLike):
        path = path_of(name, value)
        return path if can_only_be_file(path) else os.path.join(os.curdir, path)  # Path("green") is a file
    if isinstance(value, str):
        return value
    if (pixels := _array_of(name, value)) is not None:
        return ImageArray(_rgb(name, pixels).copy())
    if hasattr(value, "read"):
        return ImageArray(decode_image(_read(name, value), f"{name} {_name_of(value)}"))
    raise UsageError(f"{name} is {_shown(value)}; expected text, a path, a colour such as (0, 177, 64), an array or an open binary file")


def _mask_of(name: str, value: Any) -> str | ImageArray:
    from streammat.film.masks import decode_mask

    if isinstance(value, str | os.PathLike):
        return path_of(name, value)
    if hasattr(value, "read"):
        return ImageArray(decode_mask(_read(name, value), f"{name} {_name_of(value)}"))
    mask = _array_of(name, value)
    if mask is None:
        raise UsageError(f"{name} is {_shown(value)}; expected a path, an array or an open binary file")
    top = {"b": 1, "f": 1, "u": 255 if mask.itemsize == 1 else 65535}.get(mask.dtype.kind)
    if mask.ndim != 2 or top is None or not mask.size or (mask.dtype.kind == "u" and mask.itemsize > 2) or not np.isfinite(mask).all():
        raise UsageError(f"{name} is {mask.dtype} {mask.shape}; expected (H, W): bool, uint8, uint16, or float from 0 to 1")
    return ImageArray(np.clip(mask.astype(np.float32) * np.float32(1 / top), 0, 1))


def _array_of(name: str, value: Any) -> NDArray[Any] | None:
    """Return what NumPy takes as an array; None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if not (hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        return None
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, for instance
        raise UsageError(f"{name} is a {type(value).__name__} that NumPy does not take ({first_line(error)}); expected an array in memory") from error


def _rgb(name: str, pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:
        raise UsageError(f"{name} is {pixels.dtype} {pixels.shape}; expected uint8 or uint16 (H, W, 3), RGB")
    return pixels


def _read(name: str, file: Any) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # closed, or not opened for reading
        raise InputError(f"{name} cannot be read from its file object ({first_line(error)}); expected one opened in binary mode") from error
    if not isinstance(data, bytes):
        raise UsageError(f"{name} is a text file object; expected one opened in binary mode")
    return data


def _name_of(file: Any) -> str:
    return str(getattr(file, "name", "the file object"))


def _shown(value: Any) -> str:
    return shortened(repr(value))
