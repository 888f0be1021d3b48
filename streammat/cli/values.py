"""Types of option values: numbers within the bounds that `streammat.config` has, and times."""

from __future__ import annotations

from typing import Any, get_type_hints

import click

from streammat.build_options import bounds
from streammat.engines.usage import Number, Whole
from streammat.errors import shortened
from streammat.timecode import Moment, parse_moment


def number_of(options: type[object], name: str) -> Number | Whole:
    """Return the type of a field of ``options``, with its bounds."""
    within = bounds(options, name)
    whole = get_type_hints(options)[name] in (int, int | None)
    return Whole(int(within.least), int(within.most)) if whole else Number(within.least, within.most)


class Time(click.ParamType[Moment]):
    """A `Moment`.

    Args:
        timecode: accept timecodes, because the file's frame rate is known.
        zero: accept 0.
    """

    name = "time"

    def __init__(self, *, timecode: bool, zero: bool) -> None:
        self._timecode = timecode
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """See `click.ParamType.convert`."""
        if isinstance(value, Moment):
            return value
        try:
            moment = parse_moment(str(value))
        except ValueError:
            moment = None
        if moment is None or (moment.frame is not None and not self._timecode) or not (self._zero or moment.seconds or moment.frame):
            least = "" if self._zero else ", more than 0"
            frames = ", or a timecode, such as 0:01:30:12" if self._timecode else ""
            self.fail(f"{shortened(value)}: expected seconds or [h:]m:s{least}, such as 90, 1:30 or 0:01:30.5{frames}", param, ctx)
        return moment
