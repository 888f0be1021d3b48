"""Selects frames of a clip by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from streammat.errors import InputError, UsageError
from streammat.film.sequences import frames_text
from streammat.media.damage import Damage
from streammat.media.frame import Frame, Packet
from streammat.media.tags import later_timecode
from streammat.sources import Recorded, StreamInfo


class ChosenFrames:
    """Numbers a source's frames and yields the selected ones; times count from the first one.

    The clip is decoded from its beginning, so that frames are counted, not estimated from times.

    Args:
        source: its frames are numbered from ``start``. Without ``numbers`` its other tracks are passed on, too.
        start: number of the first frame.
        numbers: numbers of the frames to yield, in order; None: all.
        name: name of the source, for messages.

    Raises:
        UsageError: a number lies before ``start``.
    """

    def __init__(self, source: Recorded, start: int, numbers: Sequence[int] | None, name: str) -> None:
        self.source = source
        self._start = start
        self._numbers = numbers
        self._name = name
        self.notes = source.notes
        info = source.info
        if numbers is None:
            self.info: StreamInfo = replace(info, numbers=(start,))
            return
        if numbers[0] < start:
            raise UsageError(f"--frames {frames_text(numbers)}: {name} begins with frame {start}; expected numbers from there on")
        tags = dict(info.stream_metadata)
        later_timecode(tags, numbers[0] - start, info.rate)
        if info.passengers:
            self.notes.append("--frames leaves sound and subtitles out; --start and --duration keep them")
        self.info = replace(info, frames=len(numbers), numbers=tuple(numbers), stream_metadata=tags, chapters=(), passengers=())

    @property
    def damage(self) -> Sequence[Damage]:
        """Damage of the source."""
        return self.source.damage

    def __iter__(self) -> Iterator[Frame | Packet]:
        wanted = None if self._numbers is None else set(self._numbers)
        last = None if self._numbers is None else self._numbers[-1]
        begin: int | None = None
        index = 0
        number = self._start
        for item in self.source:
            if not isinstance(item, Frame):
                if wanted is None:
                    yield item
                continue
            number = self._start + item.index
            if wanted is None:
                item.number = number
                yield item
            elif number in wanted:
                wanted.discard(number)
                begin = item.pts if begin is None else begin
                yield replace(item, number=number, index=index, pts=item.pts - begin)
                index += 1
            if number == last:
                return
        if wanted:
            raise InputError(f"{self._name}: has frames {self._start}-{number} and not {frames_text(wanted)}; choose others with --frames")

    def close(self) -> None:
        """Close the source."""
        self.source.close()
