"""Times as people write them: bounds, timecodes that do not exist, and counting on from one."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streammat.errors import UsageError
from streammat.timecode import BEGINNING, LONGEST, Moment, parse_moment

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(("text", "moment"), [
    ("1000000000", Moment(Fraction(LONGEST))), ("0", BEGINNING), ("1:02:03:04", Moment(Fraction(3723), 4)), ("01:02:03;04", Moment(Fraction(3723), 4, drop=True)),
    ("00:00:00:120", Moment(Fraction(0), 120)), ("1.5", Moment(Fraction(3, 2))),
])
def test_what_is_read(text: str, moment: Moment) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize("text", ["1000000001", "1000000000.5", "999999999:00:00:00", "999999999:00", "x", "1:60:00:00", "1:00:60:00"])
def test_what_is_too_long_or_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        parse_moment(text)


@pytest.mark.parametrize(("moment", "text"), [
    (Moment(Fraction(3723), 4), "01:02:03:04"), (Moment(Fraction(3723), 4, drop=True), "01:02:03;04"), (Moment(Fraction(5, 2)), "2.5"), (Moment(Fraction(360_000), 120), "100:00:00:120"),
])
def test_how_it_is_written(moment: Moment, text: str) -> None:
    assert str(moment) == text


@pytest.mark.parametrize(("text", "rate", "message"), [
    ("00:00:01:25", Fraction(25), "timecode 00:00:01:25: frame 25 does not exist at 25 frames per second; expected 0 to 24"),
    ("00:00:01;30", NTSC, "timecode 00:00:01;30: frame 30 does not exist at 29.97 frames per second; expected 0 to 29"),
    ("00:00:01:01", Fraction(1, 4), "timecode 00:00:01:01: frame 1 does not exist at 0.25 frames per second; expected 0 to 0"),
])
def test_frames_that_do_not_exist(text: str, rate: Fraction, message: str) -> None:
    for refused in (lambda: parse_moment(text).at(rate), lambda: parse_moment(text).later(1, rate)):
        with pytest.raises(UsageError) as caught:
            refused()
        assert str(caught.value) == message


def test_last_and_only_frames_of_a_second() -> None:
    assert parse_moment("00:00:01:24").at(Fraction(25)) == Fraction(49, 25)
    assert parse_moment("00:00:02:00").at(Fraction(1, 4)) == 8
    assert parse_moment("0.5").at(Fraction(25)) == Fraction(1, 2)
    assert parse_moment("00:00:00:01").at(Fraction(25)) == Fraction(1, 25)


@pytest.mark.parametrize(("text", "frames", "rate", "expected"), [
    ("00:00:00:00", 25, Fraction(25), "00:00:01:00"), ("23:59:59:24", 1, Fraction(25), "00:00:00:00"), ("00:00:00:00", -1, Fraction(25), "23:59:59:24"), ("00:00:59;29", 1, NTSC, "00:01:00;02"),
    ("00:09:59;29", 1, NTSC, "00:10:00;00"), ("00:00:59;59", 1, 2 * NTSC, "00:01:00;04"), ("23:59:59;29", 1, NTSC, "00:00:00;00"), ("00:00:59:29", 1, NTSC, "00:01:00:00"),
    ("00:00:59;24", 1, Fraction(25), "00:01:00;00"), ("00:00:00:00", 3, Fraction(1, 4), "00:00:03:00"), ("00:19:59;29", 2, NTSC, "00:20:00;01"), ("00:10:59;28", 2, NTSC, "00:11:00;02"),
])
def test_counting_on(text: str, frames: int, rate: Fraction, expected: str) -> None:
    """Drop-frame timecode (SMPTE ST 12-1) skips two numbers at 29.97 and four at 59.94 each minute but every tenth, and a day begins anew."""
    assert str(parse_moment(text).later(frames, rate)) == expected


def test_seconds_cannot_be_counted_on() -> None:
    with pytest.raises(ValueError, match=r"^1\.5$"):
        parse_moment("1.5").later(1, Fraction(25))
