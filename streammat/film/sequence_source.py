"""Source for sequences of numbered images: EXR, DPX, TIFF, PNG, JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from streammat.config import SequenceOptions
from streammat.errors import InputError, UsageError
from streammat.film.colour import open_space
from streammat.film.header import later, named, rate_of
from streammat.film.images import read_header, read_image
from streammat.film.plate import Plate
from streammat.film.sequences import SequenceName, frames_of, frames_text, parse_frames
from streammat.media.damage import Damage
from streammat.media.frame import Colour, Frame, Packet, layout_of, planes_of
from streammat.sources import StreamInfo
from streammat.timecode import Moment, parse_moment

_SHOWN = Colour(matrix=0, primaries=1, transfer=13, range=2)  # sRGB
_USUAL_RATE = Fraction(24)


class SequenceSource:
    """Reads numbered images; each frame carries its ``Plate`` and its number.

    Size, colour space and exposure are those of the sequence's first image, whichever frames are chosen, so that separately
    processed parts of a shot match.

    Args:
        name: the sequence.
        options: rate, layer, missing frames, colour.
        frames: numbers to yield, as ``parse_frames`` takes them; None: those of the name, else from the first to the last
            existing one.

    Raises:
        InputError: there are no files, frames are missing, or the first image cannot be read.
        UsageError: there is no such layer, colour space or range.
    """

    def __init__(self, name: SequenceName, options: SequenceOptions, frames: str | None = None) -> None:
        self._name = name
        self._options = options
        self.notes: list[str] = []
        self.damage: tuple[Damage, ...] = ()
        self._held: frozenset[int] = frozenset()
        there = frames_of(name)
        first_number, first_path = next(iter(there.items()))
        self._files = self._chosen(there, frames)
        header = read_header(first_path, options.layer)
        self._window, self._display = header.window, header.display
        pixels, header = read_image(first_path, options.layer, self._window)
        self.space = open_space(
            options.color_space, options.ocio, header, pixels, exposure=options.exposure
        )
        self._layout = layout_of("gbrp16le")
        assert self._layout is not None
        rate = self._known_rate = header.rate if options.fps is None else rate_of(options.fps)
        if rate is None:
            rate = _USUAL_RATE
            self.notes.append("the files name no rate: 24 frames per second are assumed; --fps gives another")
        self._first_number, self._rate = next(iter(self._files)), rate
        self._timecode = self._moment(header.timecode, first_number)
        timecode = {} if self._timecode is None else {"timecode": str(self._timecode)}
        self.info = StreamInfo(
            size=(self._window[3], self._window[2]),
            layout=self._layout,
            colour=_SHOWN,
            rate=rate,
            time_base=1 / rate,
            sample_aspect_ratio=header.aspect,
            rotation=header.rotation,
            frames=len(self._files),
            stream_metadata=timecode,
            numbers=tuple(self._files),
            digits=name.digits if name.digits is not None else min(len(_digits(name, path)) for path in there.values()),
        )
        if self.space.kind != "display":
            self.notes.append(f"{self.space.name}: the network sees it in sRGB, {_stops(self.space.gain)} stops")

    def __iter__(self) -> Iterator[Frame | Packet]:
        for index, (number, path) in enumerate(self._files.items()):
            yield self._frame(index, number, path)

    @property
    def files(self) -> list[Path]:
        """Files to read."""
        return list(self._files.values())

    def close(self) -> None:
        """Do nothing: no file stays open between frames."""

    def _chosen(self, there: dict[int, Path], frames: str | None) -> dict[int, Path]:
        """Return the file of each number to yield."""
        wanted = frames if frames is not None else self._name.frames
        numbers = parse_frames(wanted) if wanted is not None else tuple(range(min(there), max(there) + 1))
        missing = [number for number in numbers if number not in there]
        if not missing:
            return {number: there[number] for number in numbers}
        named = f"{self._name}: {len(missing)} of {len(numbers)} frames are missing ({frames_text(missing)})"
        if self._options.missing == "error" or len(missing) == len(numbers):
            raise InputError(f"{named}; those there are {frames_text(there)}; render them, or give --missing skip or --missing hold")
        self.notes.append(f"{named} and {'left out' if self._options.missing == 'skip' else 'hold the image before them'}")
        if self._options.missing == "skip":
            return {number: there[number] for number in numbers if number in there}
        self._held = frozenset(missing)
        before = {number: max((each for each in there if each < number), default=min(there)) for number in missing}
        return {number: there[before.get(number, number)] for number in numbers}

    def _frame(self, index: int, number: int, path: Path) -> Frame:
        pixels, header = read_image(path, self._options.layer, self._window)
        if header.display[2:] != self._display[2:]:
            sizes = [f"{width}x{height}" for _, _, width, height in (header.display, self._display)]
            raise InputError(f"{path}: is {sizes[0]}; expected {sizes[1]} as the first of the sequence")
        if number in self._held:
            header = later(header, self._timecode and self._timecode.later(number - self._first_number, self._rate), self._rate)
        if self._options.color_space.lower() != "auto" and self.space.interop:
            header = named(header, self.space.interop)
        plate = Plate(pixels, self.space, replace(header, rate=self._known_rate))
        height, width = self.info.size
        assert self._layout is not None
        image = av.VideoFrame(width, height, self._layout.name)
        planes = planes_of(image, self._layout)
        shown = self.space.shown(pixels)
        for plane, channel in zip(planes, (1, 2, 0), strict=True):
            plane[:] = shown[:, :, channel]
        pts = number - self._first_number
        image.pts, image.time_base = pts, self.info.time_base
        return Frame(
            image, self._layout, _SHOWN, pts, self.info.time_base, 1, index, planes, header.rotation, number=number, plate=plate
        )

    def _moment(self, text: str | None, number: int) -> Moment | None:
        """Return the timecode of the first frame, if ``text`` is that of frame ``number``."""
        try:
            return None if text is None else parse_moment(text).later(self._first_number - number, self._rate)
        except (ValueError, UsageError):
            return None


def _digits(name: SequenceName, path: Path) -> str:
    return path.name[len(name.head) : len(path.name) - len(name.tail)].lstrip("-")


def _stops(gain: float) -> str:
    import math

    return f"{math.log2(gain):+.1f}"
