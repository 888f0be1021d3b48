"""Frames that are matted and not written, before the first one that is: what averages over frames has seen them then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from streammat.config import SequenceOptions
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import find_sequence, frames_of, frames_text
from streammat.media.frame import Frame, Matte
from streammat.sources.file import FileSource
from streammat.timecode import Moment

Earlier = Callable[[], Iterator[Frame]]
"""Frames in order, their times below that of the first frame that is written."""


def frames_before(path: str, reader: FileSource, count: int, *, deinterlace: bool) -> Iterator[Frame]:
    """Up to ``count`` frames of a file before those that ``reader`` gives, on its clock."""
    rate = reader.info.rate
    start = max(Fraction(0), reader.start - (count + Fraction(1, 2)) / rate)
    skipped = reader.skipped(reader.info.time_base)
    source = FileSource(path, audio=False, start=Moment(start), deinterlace=deinterlace)
    try:
        for item in source:
            if not isinstance(item, Frame):
                continue
            item.pts += source.skipped(item.time_base) - skipped
            if item.pts >= 0:
                return
            yield item
    finally:
        source.close()


def images_before(path: str, reader: SequenceSource, options: SequenceOptions, count: int) -> Iterator[Frame]:
    """The same of a sequence: up to ``count`` images that are there before those that ``reader`` gives."""
    name = find_sequence(path)
    assert name is not None
    first = reader.info.numbers[0]
    numbers = [number for number in frames_of(name) if number < first][-count:]
    if not numbers:
        return
    for item in SequenceSource(name, options, frames_text(numbers)):
        if isinstance(item, Frame) and item.number is not None:
            item.pts = item.number - first
            yield item


class WarmedUp:
    """Mattes that another matting makes, which is shown earlier frames first.

    Args:
        matting: frame → matte.
        earlier: taken before the first frame.
        goes_on: asked between the earlier frames; False leaves the rest out.
    """

    def __init__(self, matting: Callable[[Frame], Matte], earlier: Earlier, goes_on: Callable[[], bool]) -> None:
        self._matting = matting
        self._earlier: Earlier | None = earlier
        self._goes_on = goes_on

    def __call__(self, frame: Frame) -> Matte:
        """The matte of ``frame``; whatever the other raises."""
        if self._earlier is not None:
            for each in self._earlier():
                if not self._goes_on():
                    break
                self._matting(each)
            self._earlier = None
        return self._matting(frame)
