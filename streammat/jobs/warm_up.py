"""Warm-up: mattes frames before the first written one, so that the filter over time has already seen them."""

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
"""Frames in order, with times before that of the first written frame."""


def frames_before(path: str, reader: FileSource, count: int, *, deinterlace: bool) -> Iterator[Frame]:
    """Yield up to ``count`` frames of a file before those of ``reader``, on the same clock."""
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
    """Yield up to ``count`` existing images of a sequence before those of ``reader``."""
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
    """Shows another matting earlier frames before the first one.

    Args:
        matting: frame → matte.
        earlier: frames to matte before the first one.
        goes_on: called between the earlier frames; False skips the rest.
    """

    def __init__(self, matting: Callable[[Frame], Matte], earlier: Earlier, goes_on: Callable[[], bool]) -> None:
        self._matting = matting
        self._before: tuple[Earlier, Callable[[], bool]] | None = earlier, goes_on

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``; raises what the other matting raises."""
        if self._before is not None:
            earlier, goes_on = self._before
            for each in earlier():
                if not goes_on():
                    break
                self._matting(each)
            self._before = None  # and with it the run that asks: a circle of references would keep its files open until Python looks for circles
        return self._matting(frame)
