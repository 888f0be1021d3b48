"""Image files of sequences, through OpenImageIO: reads them; writes them, reads them back and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammat.config import SequenceOptions
from streammat.errors import InputError, OutputError, StreammatError, UsageError, first_line
from streammat.film.header import Header, header_of, openimageio
from streammat.sinks.partial import PartialFile

Pixels = NDArray[Any]
"""(H, W, C) float16 or float32; integer files are scaled to 0..1."""

_MOST_PIXELS = 16384 * 16384


def read_header(path: Path, layer: str | None) -> Header:
    """Read the header of an image; its window is the union of display window and data window.

    Raises:
        InputError: it cannot be read.
        UsageError: it has no such layer.
    """
    with _Opened(path) as file:
        spec, _ = _channels(file, path, layer)
        x0, y0 = min(spec.x, spec.full_x), min(spec.y, spec.full_y)
        x1, y1 = max(spec.x + spec.width, spec.full_x + spec.full_width), max(spec.y + spec.height, spec.full_y + spec.full_height)
        check_size(path, x1 - x0, y1 - y0)
        return header_of(spec, (x0, y0, x1 - x0, y1 - y0))


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse what is larger than any image, before memory is taken for it.

    Raises:
        InputError: it is.
    """
    if width * height > _MOST_PIXELS:
        raise InputError(f"{path}: is {width}x{height} pixels by its header; expected at most 16384x16384; get a whole copy of it")


def read_image(path: Path, layer: str | None, window: tuple[int, int, int, int]) -> tuple[Pixels, Header]:
    """Read the colours of an image in ``window``, black where the file has no pixels: (H, W, 3), float16 for half files, else
    float32.

    Raises:
        InputError: it cannot be read, or contains NaN.
    """
    with _Opened(path) as file:
        spec, channels = _channels(file, path, layer)
        check_size(path, spec.width, spec.height)
        kind = "half" if str(spec.format) == "half" else "float"
        first, last = min(channels), max(channels) + 1
        pixels = file.read_image(file.current_subimage(), 0, first, last, kind)
        if pixels is None:
            raise InputError(f"{path}: is damaged ({_said(file)}); get a whole copy of it, or leave it out with --missing hold")
        found = np.asarray(pixels)[:, :, [channel - first for channel in channels]]
        x, y, width, height = window
        if (spec.x, spec.y, spec.width, spec.height) != window:
            whole = np.zeros((height, width, 3), found.dtype)
            left, top = max(x, spec.x), max(y, spec.y)
            right, bottom = min(x + width, spec.x + spec.width), min(y + height, spec.y + spec.height)
            if right > left and bottom > top:
                whole[top - y : bottom - y, left - x : right - x] = found[top - spec.y : bottom - spec.y, left - spec.x : right - spec.x]
            found = whole
        return np.ascontiguousarray(found), header_of(spec, window)


def write_image(
    path: Path, pixels: Pixels, names: tuple[str, ...], header: Header, how: SequenceOptions, *, overwrite: bool, associated: bool
) -> None:
    """Write an image under a temporary name, read it back, compare, and rename it.

    Args:
        path: its extension selects the format.
        pixels: (H, W, C) float16 or float32, colour straight or multiplied as it is to stand in the file.
        names: names of the channels.
        header: windows and attributes.
        how: compression, depth, and whether to read it back.
        overwrite: replace an existing file.
        associated: the colour is multiplied by alpha.

    Raises:
        OutputError: it cannot be written, exists already, or differs when it is read back.
    """
    oiio = openimageio()
    kind, bits = depth_of(path.suffix.lower(), how.depth, alpha="A" in names and len(names) > 1)
    data = _coded(pixels, kind, bits)
    spec = _spec(oiio, data, names, header, path.suffix.lower(), kind, bits, how.compression)
    spec["oiio:UnassociatedAlpha"] = int(not associated)
    try:
        partial = PartialFile(path, overwrite=overwrite)
    except OSError as error:
        raise OutputError(f"{path}: cannot be created ({first_line(error)}); check that the folder exists and may be written") from error
    try:
        file = oiio.ImageOutput.create(str(partial.path))
        done = file is not None and file.open(str(partial.path), spec) and file.write_image(data)
        if file is None or not (file.close() and done):
            raise OutputError(f"{path}: cannot be written ({_said(file)}); check space and permissions")
        file.geterror()  # warnings, which OpenImageIO prints if nobody asks
        if how.verify:
            _verify(path, partial.path, data, names, lossy=how.compression if path.suffix.lower() == ".exr" else "")
        partial.take_name()
    except OSError as error:
        raise OutputError(f"{path}: cannot take its name ({first_line(error)}); check the folder and its permissions") from error
    finally:
        partial.drop()


def depth_of(suffix: str, depth: str, *, alpha: bool) -> tuple[str, int]:
    """Return OpenImageIO's type and the bits of ``depth`` in ``suffix`` files; ``auto`` is half in EXR, 10 bits in DPX without
    ``alpha``, else 16.

    DPX with alpha is not written in 10 bits: at some widths OpenImageIO, and what reads with it, leaves the last alpha of each row unread.

    Raises:
        UsageError: such files do not support the depth.
    """
    able: dict[str, dict[str, tuple[str, int]]] = {
        ".exr": {"half": ("half", 16), "float": ("float", 32)},
        ".dpx": {"10": ("uint16", 10), "12": ("uint16", 12), "16": ("uint16", 16)},
        ".png": {"16": ("uint16", 16), "8": ("uint8", 8)},
    }
    if alpha:
        able[".dpx"] = {"16": ("uint16", 16), "12": ("uint16", 12)}
    there = able.get(suffix, {"16": ("uint16", 16), "8": ("uint8", 8), "float": ("float", 32)})
    if depth == "auto":
        return next(iter(there.values()))
    if depth not in there:
        raise UsageError(f"--depth {depth}: {suffix} files{' with alpha' if alpha else ''} do not hold it; expected {', '.join(there)}")
    return there[depth]


class _Opened:
    """An image file opened for reading."""

    def __init__(self, path: Path) -> None:
        oiio = openimageio()
        self._path = path
        hint = oiio.ImageSpec()
        hint["oiio:UnassociatedAlpha"] = 1
        self._file = oiio.ImageInput.open(str(path), hint)
        if self._file is None:
            raise InputError(f"{path}: cannot be read ({_said(None)}); expected an image that OpenImageIO can read")

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._file.close()
        if isinstance(error, UnicodeDecodeError):
            raise InputError(f"{self._path}: is damaged (a name in it is not UTF-8); get a whole copy of it") from error


def _channels(file: Any, path: Path, layer: str | None) -> tuple[Any, tuple[int, int, int]]:
    """Select the part that holds ``layer`` and return the indices of red, green and blue in it."""
    layers: list[str] = []
    number = 0
    while file.seek_subimage(number, 0):
        spec = file.spec()
        part = spec.get_string_attribute("oiio:subimagename") or spec.get_string_attribute("name")
        for prefix in dict.fromkeys((layer or "", "") if layer is None or part == layer else (layer,)):
            places = _places(spec.channelnames, prefix, named=layer is not None)
            if places is not None:
                return spec, places
        layers += [name.rpartition(".")[0] or part for name in spec.channelnames if name.rpartition(".")[0] or part]
        number += 1
    there = ", ".join(dict.fromkeys(layers)) or "none"
    if layer is not None:
        raise UsageError(f"{path}: has no layer {layer} of colours; layers there: {there}")
    raise UsageError(f"{path}: has no channels R, G, B; layers there: {there}; choose one with --layer")


def _places(names: tuple[str, ...], layer: str, *, named: bool) -> tuple[int, int, int] | None:
    """Return the indices of a layer's red, green and blue among a part's channels; three times the same for grey, or for the only
    channel of a ``named`` layer.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    prefix = f"{layer}.".lower() if layer else ""
    for red, green, blue in (("r", "g", "b"), ("red", "green", "blue"), ("y", "y", "y")):
        wanted = [prefix + each for each in (red, green, blue)]
        if all(each in places for each in wanted):
            return places[wanted[0]], places[wanted[1]], places[wanted[2]]
    inside = [place for name, place in places.items() if name.startswith(prefix) and "." not in name[len(prefix) :]]
    return (inside[0], inside[0], inside[0]) if named and len(inside) == 1 else None


def _spec(
    oiio: Any, data: Pixels, names: tuple[str, ...], header: Header, suffix: str, kind: str, bits: int, compression: str
) -> Any:
    spec = oiio.ImageSpec(data.shape[1], data.shape[0], data.shape[2], kind)
    spec.channelnames = names
    spec.alpha_channel = names.index("A") if "A" in names else -1
    exr = suffix == ".exr"
    x, y, _, _ = header.window
    if exr:
        spec.x, spec.y = x, y
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = header.display
        spec["compression"] = compression
    else:
        if suffix in (".tif", ".tiff"):
            spec["compression"] = "zip"
        spec["oiio:BitsPerSample"] = bits
    for name, type_, value in header.attributes:
        spec.attribute(name, type_, value)
    if exr and header.rate is not None:
        spec.attribute("framesPerSecond", oiio.TypeDesc("rational"), (header.rate.numerator, header.rate.denominator))
    if suffix == ".dpx" and header.rate is not None:
        spec["dpx:FrameRate"] = spec["dpx:TemporalFrameRate"] = float(header.rate)
    return spec


def _coded(pixels: Pixels, kind: str, bits: int) -> Pixels:
    """Return the values for the file; they are rounded here, so that all writers round alike."""
    if kind == "half":
        return np.ascontiguousarray(np.clip(pixels, -65504, 65504) if pixels.dtype != np.float16 else pixels, np.float16)
    if kind == "float":
        return np.ascontiguousarray(pixels, np.float32)
    top = (1 << bits) - 1
    codes: Pixels = np.rint(np.clip(pixels.astype(np.float32), 0, 1) * np.float32(top)).astype(np.uint8 if bits == 8 else np.uint16)
    if bits in (8, 16):
        return codes
    # Files of 10 and 12 bits take the upper ones of 16.
    return np.asarray(codes << (16 - bits) | codes >> (2 * bits - 16))


def _verify(path: Path, written: Path, data: Pixels, names: tuple[str, ...], lossy: str) -> None:
    """Read ``written`` back and compare.

    Raises:
        OutputError: the file differs from ``data``.
    """
    try:
        with _Opened(written) as file:
            spec = file.spec()
            found = file.read_image(0, 0, 0, spec.nchannels, str(data.dtype).replace("float16", "half").replace("float32", "float"))
            order = [spec.channelnames.index(name) for name in names] if path.suffix.lower() == ".exr" else list(range(spec.nchannels))
    except (StreammatError, ValueError) as error:
        raise OutputError(f"{path}: was written and cannot be read back ({first_line(error)}); check the disk") from error
    if found is None or found.shape != data.shape:
        raise OutputError(f"{path}: was written and cannot be read back whole; check the disk")
    found = np.ascontiguousarray(found[:, :, order])
    bits = f"u{data.dtype.itemsize}"
    if all(np.array_equal(found[row : row + 64].view(bits), data[row : row + 64].view(bits)) for row in range(0, len(data), 64)):
        return
    if lossy.startswith("dwa"):
        # Colours are coded with a loss, which follows their size; alpha is not.
        wanted, got = data.astype(np.float32), found.astype(np.float32)
        same = np.abs(got - wanted) <= 0.1 * np.abs(wanted).max() + 0.02
        if "A" in names:
            place = names.index("A")
            same[:, :, place] = got[:, :, place] == wanted[:, :, place]
    else:
        same = (found == data) | ((found != found) & (data != data))  # noqa: PLR0124 - what is no number stays none
    if not same.all():
        raise OutputError(f"{path}: {int((~same).sum())} values differ when it is read back; the disk or the codec is at fault, and the frame is not kept")


def _said(file: Any) -> str:
    try:
        return _first(file.geterror() if file is not None else openimageio().geterror())
    except UnicodeDecodeError:  # it may quote bytes of a damaged file
        return "it is damaged"


def _first(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no reason given").rstrip(".")
