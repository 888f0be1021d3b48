"""Times as people write them: seconds, ``1:02:03.5``, and timecodes, which count frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from streammat.errors import UsageError

LONGEST = 10**9
"""Longest time in seconds, about 30 years: more is a typing error."""
_SECONDS = re.compile(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,10}(?:\.\d{0,12})?|\.\d{1,12})", re.ASCII)
_TIMECODE = re.compile(r"(\d{1,9}):([0-5]?\d):([0-5]?\d)([:;])(\d{1,3})", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """A place in a video, or a length of it, counted from its beginning."""

    seconds: Fraction = Fraction(0)
    """Seconds; for a timecode: hours, minutes and seconds as written."""
    frame: int | None = None
    """Frame number within that second, for a timecode; None: not a timecode."""
    drop: bool = False
    """True for drop-frame timecode (written with ``;``), which skips numbers to stay in step with the clock at 29.97 and 59.94
    frames per second.
    """

    def at(self, rate: Fraction) -> Fraction:
        """Return the time in seconds in a video of ``rate`` frames per second.

        Raises:
            UsageError: the timecode has a frame number that does not exist.
        """
        if self.frame is None:
            return self.seconds
        each = max(1, round(rate))
        if self.frame >= each:
            raise UsageError(f"timecode {self}: frame {self.frame} does not exist at {float(rate):.6g} frames per second; expected 0 to {each - 1}")
        number = int(self.seconds) * each + self.frame
        minutes = int(self.seconds) // 60
        number -= self._dropped(each) * (minutes - minutes // 10)
        return number / rate

    def later(self, frames: int, rate: Fraction) -> Moment:
        """Return the timecode ``frames`` after this one; it wraps around after 24 hours.

        Raises:
            UsageError: this timecode has a frame number that does not exist.
            ValueError: it is no timecode.
        """
        if self.frame is None:
            raise ValueError(str(self))
        each, dropped = max(1, round(rate)), self._dropped(max(1, round(rate)))
        number = round(self.at(rate) * rate) + frames
        minute, ten = 60 * each - dropped, 600 * each - 9 * dropped
        number %= 144 * ten
        tens, rest = divmod(number, ten)
        number += dropped * (9 * tens + max(0, (rest - dropped) // minute))
        seconds, frame = divmod(number, each)
        return Moment(Fraction(seconds), frame, self.drop)

    def _dropped(self, each: int) -> int:
        """Return the frame numbers skipped per minute (SMPTE ST 12-1): two at 30, four at 60 frames per second, except every
        tenth minute.
        """
        return each // 15 if self.drop and each in (30, 60) else 0

    def __str__(self) -> str:
        if self.frame is None:
            return f"{float(self.seconds):.12g}"
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{';' if self.drop else ':'}{self.frame:02}"


BEGINNING = Moment()


def parse_moment(text: str) -> Moment:
    """Parse a time: ``90``, ``1:30``, ``0:01:30.5``, or the timecode ``00:01:30:12``.

    Raises:
        ValueError: it is none of these, or longer than ``LONGEST``.
    """
    if (match := _TIMECODE.fullmatch(text.strip())) is not None:
        hours, minutes, seconds, mark, frame = match.groups()
        moment = Moment(Fraction(3600 * int(hours) + 60 * int(minutes) + int(seconds)), int(frame), mark == ";")
    elif (match := _SECONDS.fullmatch(text.strip())) is not None:
        moment = Moment(3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + Fraction(match[3]))
    else:
        raise ValueError(text)
    if moment.seconds > LONGEST:
        raise ValueError(text)
    return moment
