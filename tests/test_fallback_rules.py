"""What a live output is shown, decided step by step on a clock that stands still; `test_live_privacy.py` has whole runs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scenes import blank

from streammat.compositing.backgrounds import parse_background
from streammat.live.background_switcher import BackgroundChoice
from streammat.live.fallback import HOLD, FallbackCompositor, OutputFrame, text_card
from streammat.media.frame import Colour, Frame, Matte
from streammat.sources.shaper import TIME_BASE, live_info

SIZE, RATE = (96, 128), 25
INFO = live_info(SIZE, Fraction(RATE), Colour(1, 1, 1, 1))
MATTE = Matte(np.full(SIZE, 255, np.uint8))


class StoppedClock:
    now = 1.0

    def ticks(self) -> int:
        return round(self.now / TIME_BASE)

    def age(self, pts: int) -> float:
        return self.now - pts * float(TIME_BASE)


def flat(luma: int, pts: int = 0) -> Frame:
    frame = blank("yuv420p", *SIZE, Colour(1, 1, 1, 1), pts=pts)
    for plane, value in zip(frame.planes, (luma, 128, 128), strict=True):
        plane[:] = value
    return frame


class Drawing:
    """A background of luma 60 and a compositor whose composites have luma 200; ``fails`` names the one that breaks."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock = clock
        self.fails = ""
        self.drawn: list[tuple[Frame, Matte]] = []

    def __call__(self, frame: Frame, matte: Matte) -> list[Frame]:
        if self.fails == "compositor":
            raise ValueError("broken")
        self.drawn.append((frame, matte))
        return [flat(200)]

    def planes(self, frame: Frame, matte: Matte) -> Any:
        if self.fails == "background":
            raise ValueError("gone")
        assert (frame.size, frame.pts, frame.time_base) == (SIZE, 90_000 * self.clock.now, TIME_BASE)
        assert (matte.alpha.shape, matte.alpha.dtype, int(matte.alpha.max())) == (SIZE, np.uint8, 0)
        return flat(60).planes


class Shown:
    """A compositor with all that belongs to it."""

    def __init__(self, background: str = "green") -> None:
        self.clock, self.troubles = StoppedClock(), []
        self.drawing = Drawing(self.clock)
        scene = BackgroundChoice(background, parse_background(background), self.drawing, self.drawing)  # type: ignore[arg-type]
        self.compositor = FallbackCompositor(INFO, self.clock, scene, self.troubles.append)  # type: ignore[arg-type]

    def __call__(self, item: tuple[Frame, Matte] | None = None, now: float | None = None) -> OutputFrame:
        if now is not None:
            self.clock.now = now
        return self.compositor(item)


def luma(shown: OutputFrame) -> int:
    plane = shown.frame.planes[0]
    assert plane.shape == SIZE
    return int(plane[0, 0]) if plane.min() == plane.max() else -1


def test_a_frame_with_its_matte_is_the_composite() -> None:
    shown = Shown()
    frame = flat(90, pts=70_000)
    found = shown((frame, MATTE))
    assert (found.kind, found.captured, found.live, luma(found)) == ("composite", 70_000, True, 200)
    assert (found.frame.pts, found.frame.image.pts, found.frame.image.time_base) == (70_000, 70_000, TIME_BASE)
    ((given, matte),) = shown.drawing.drawn
    assert given is frame
    assert matte is MATTE


def test_the_last_composite_for_half_a_second_and_then_the_background() -> None:
    shown = Shown()
    assert shown(None).kind == "background"  # before the first matte
    good = shown((flat(90, pts=95_000), MATTE), 1.25)
    held = shown(None, 1.25 + HOLD)
    assert (held.kind, held.captured, held.live, luma(held)) == ("held", shown.clock.ticks(), False, 200)
    assert not np.shares_memory(held.frame.planes[0], good.frame.planes[0])
    assert (held.frame.layout, held.frame.colour, held.frame.time_base) == (INFO.layout, INFO.colour, TIME_BASE)
    assert (held.frame.duration, held.frame.index, held.frame.rotation) == (0, 0, 0)
    after = shown(None, 1.26 + HOLD)
    assert (after.kind, after.captured, after.live, luma(after)) == ("background", shown.clock.ticks(), False, 60)
    assert shown(None, 1.25).kind == "background"  # it is not kept


def test_times_grow_whatever_is_shown() -> None:
    shown = Shown()
    frames = [shown((flat(90, pts=5), MATTE)), shown((flat(90, pts=5), MATTE)), shown(None), shown((flat(90, pts=9), MATTE))]
    assert [found.frame.pts for found in frames] == [5, 6, 90_000, 90_001]
    assert [found.frame.image.pts for found in frames] == [5, 6, 90_000, 90_001]
    assert [found.captured for found in frames] == [5, 5, 90_000, 9]
    assert Shown()((flat(90, pts=0), MATTE)).frame.pts == 0


def test_how_long_it_waits() -> None:
    """Three frames, at least 0.15 s; one where the last matte was missing."""
    shown = Shown()
    assert shown.compositor.wait() == pytest.approx(1 / RATE)
    shown((flat(90), MATTE))
    assert shown.compositor.wait() == pytest.approx(0.15)
    shown(None)
    assert shown.compositor.wait() == pytest.approx(1 / RATE)
    slow = FallbackCompositor(live_info(SIZE, Fraction(10), Colour(1, 1, 1, 1)), shown.clock, shown.compositor.choice, print)  # type: ignore[arg-type]
    slow((flat(90), MATTE))
    assert slow.wait() == pytest.approx(0.3)


def test_paused_it_is_a_card() -> None:
    shown = Shown()
    shown.compositor.paused = True
    found = shown((flat(90, pts=7), MATTE))
    assert (found.kind, found.captured, found.live) == ("card", 7, False)
    assert not shown.drawing.drawn
    for plane, same in zip(found.frame.planes, text_card(INFO, "paused"), strict=True):
        assert np.array_equal(plane, same)
    assert shown(None).captured == 90_000


def test_the_room_is_shown_only_where_it_was_asked_for() -> None:
    shown = Shown()
    shown.compositor.pass_through = True
    found = shown((flat(90, pts=7), MATTE))
    assert (found.kind, found.captured, found.live, luma(found)) == ("pass-through", 7, True, 90)
    assert shown(None).kind == "background"  # nothing of it is held


def test_mirrored() -> None:
    shown = Shown()
    shown.compositor.mirror = True
    frame, matte = flat(90), Matte(MATTE.alpha.copy())
    frame.planes[0][:, :10] = matte.alpha[:, :10] = 33
    shown((frame, matte))
    ((given, alpha),) = shown.drawing.drawn
    assert (given.planes[0][:, -10:] == 33).all()
    assert (alpha.alpha[:, -10:] == 33).all()
    assert (given.planes[0][:, :-10] == 90).all()
    assert np.array_equal(given.image.to_ndarray()[: SIZE[0]], given.planes[0])
    assert (given.image.width, given.image.height, given.image.format.name) == (128, 96, "yuv420p")
    other = Matte(np.flip(matte.alpha, 1).copy())
    for each in (matte, other, other, matte):
        shown((frame, each))
    _, *mirrored = (drawn for _, drawn in shown.drawing.drawn)
    assert mirrored[1] is mirrored[2]  # what is known of a matte can be kept while it comes again
    assert [bool((each.alpha[:, :10] == 33).all()) for each in mirrored] == [False, True, True, False]


def test_what_breaks_is_told_and_shows_nothing_of_the_room() -> None:
    shown = Shown()
    shown.drawing.fails = "compositor"
    assert shown((flat(90), MATTE)).kind == "background"
    shown.drawing.fails = "background"
    found = shown(None)
    assert [str(error) for error in shown.troubles] == ["broken", "gone"]
    assert (found.kind, found.captured) == ("card", 90_000)
    for plane, same in zip(found.frame.planes, text_card(INFO, "one moment"), strict=True):
        assert np.array_equal(plane, same)


def test_a_background_made_of_the_room_is_a_card_without_a_matte() -> None:
    shown = Shown("blur")
    shown((flat(90), MATTE))
    assert shown(None).kind == "held"
    assert shown(None, 2.0).kind == "card"
    assert shown.troubles == []


@pytest.mark.parametrize("size", [(96, 128), (720, 1280)])
def test_a_card_is_dark_with_its_text_in_the_middle(size: tuple[int, int]) -> None:
    planes = text_card(live_info(size, Fraction(RATE), Colour(1, 1, 1, 1)), "paused")
    assert [plane.shape for plane in planes] == [size, (size[0] // 2, size[1] // 2), (size[0] // 2, size[1] // 2)]
    assert (planes[1] == 128).all()
    assert (planes[2] == 128).all()
    rows, columns = np.nonzero(planes[0] != 40)
    assert planes[0].max() == 180 if size[0] > 96 else planes[0].max() > 140  # thin lines are smoothed
    assert abs(columns.min() + columns.max() - size[1]) < 0.06 * size[1]
    assert abs(rows.min() + rows.max() - size[0]) < 0.12 * size[0]
    assert 0.02 * size[0] < np.ptp(rows) < 0.15 * size[0]
