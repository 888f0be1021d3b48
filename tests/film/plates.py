"""Sequences for tests: written, and read back, with OpenImageIO."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import person
from numpy.typing import NDArray
from running import QUICK, Run, call

oiio = pytest.importorskip("OpenImageIO", reason="needs the extra film")
ocio = pytest.importorskip("PyOpenColorIO", reason="needs the extra film")

SIZE = (96, 64)
"""Width and height."""


def linear(index: int, width: int = SIZE[0], height: int = SIZE[1]) -> NDArray[np.float16]:
    """Frame ``index`` of the example subject as light: (H, W, 3)."""
    return np.power(person(index, width, height).astype(np.float32) / 255, 2.2).astype(np.float16)


def write_plate(
    path: Path, pixels: NDArray[Any], kind: str = "half", *, names: tuple[str, ...] = ("R", "G", "B"), origin: tuple[int, int] = (0, 0),
    display: tuple[int, int, int, int] | None = None, timecode: tuple[int, int] | None = None, rate: tuple[int, int] | None = None,
    attributes: dict[str, Any] | None = None, primaries: tuple[float, ...] | None = None, bits: int | None = None,
) -> Path:
    """One image."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    spec.channelnames = names
    if path.suffix == ".exr":
        spec.x, spec.y = origin
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = display or (0, 0, pixels.shape[1], pixels.shape[0])
    if timecode is not None:
        spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), timecode)
    if rate is not None:
        spec.attribute("framesPerSecond", oiio.TypeDesc("rational"), rate)
    if primaries is not None:
        spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), primaries)
    if bits is not None:
        spec["oiio:BitsPerSample"] = bits
    for name, value in (attributes or {}).items():
        spec[name] = value
    file = oiio.ImageOutput.create(str(path))
    assert file.open(str(path), spec) and file.write_image(np.ascontiguousarray(pixels)) and file.close(), file.geterror()
    file.geterror()
    return path


def write_shot(folder: Path, numbers: Iterable[int] = (1001, 1002, 1003), name: str = "shot.{:04d}.exr", **how: Any) -> Path:
    """A sequence of half-float EXR frames at 24000/1001 with timecode; returns the folder."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        write_plate(
            folder / name.format(number), linear(number - 1001), timecode=(0x10203000 | (number - 1001), 0), rate=(24000, 1001), **how
        )
    return folder


def opened(path: Path) -> tuple[Any, NDArray[Any]]:
    """An image's spec, and its pixels in its own type, colour as it stands in the file."""
    hint = oiio.ImageSpec()
    hint["oiio:UnassociatedAlpha"] = 1
    file = oiio.ImageInput.open(str(path), hint)
    assert file is not None, oiio.geterror()
    spec = file.spec()
    pixels = np.asarray(file.read_image(0, 0, 0, spec.nchannels, str(spec.format)))
    file.close()
    return spec, pixels


def film(source: Path, *arguments: str | Path) -> Run:
    """``streammat video`` without OUT, in this process, quickly, with a report."""
    return call("video", source, *QUICK, "--json", *arguments)
