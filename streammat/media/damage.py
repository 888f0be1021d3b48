"""Records damage of an input: how much, and where."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

_APART = 1
"""Least distance in seconds between two recorded places."""
_KEPT = 20
_TOLD = 3


class Damage:
    """One kind of damage of one track, in constant memory.

    Args:
        track: name such as ``video`` or ``audio track 1``.
        one, many: text for one and for several packets or frames, without the number.
    """

    def __init__(self, track: str, one: str, many: str) -> None:
        self.track = track
        self.count = 0
        """Number of damaged packets or frames."""
        self._one, self._many = one, many
        self._places: list[tuple[Fraction, Fraction, int | None]] = []
        self._more = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, seconds: Fraction, frame: int | None = None, count: int = 1) -> None:
        """Add ``count`` packets or frames at ``seconds`` of the input's own time; ``frame`` is the output's frame there."""
        self.count += count
        if self._places and not self._more and abs(seconds - self._places[-1][1]) <= _APART:
            begin, end, first = self._places[-1]
            self._places[-1] = (min(begin, seconds), max(end, seconds), first)
        elif len(self._places) < _KEPT:
            self._places.append((seconds, seconds, frame))
        else:
            self._more += 1

    def __str__(self) -> str:
        places = [_place(*place) for place in self._places[:_TOLD]]
        more = " and later" if len(self._places) > _TOLD else ""
        return f"{self.track}: {self.count} {self._one if self.count == 1 else self._many}, at {', '.join(places)}{more}"

    def as_dict(self) -> dict[str, Any]:
        """Return the damage as JSON values: the first 20 places, in seconds of the input."""
        places = [{"from": round(float(begin), 3), "to": round(float(end), 3), "frame": frame} for begin, end, frame in self._places]
        return {"track": self.track, "what": self._many, "count": self.count, "places": places}


def _place(begin: Fraction, end: Fraction, frame: int | None) -> str:
    span = _clock(begin) if end == begin else f"{_clock(begin)} to {_clock(end)}"
    return span if frame is None else f"{span} (frame {frame})"


def _clock(seconds: Fraction) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(abs(milliseconds), 60_000)
    return f"{'-' if milliseconds < 0 else ''}{minutes // 60}:{minutes % 60:02}:{rest / 1000:06.3f}"
