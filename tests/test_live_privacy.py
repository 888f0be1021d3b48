"""Fail closed: whatever breaks, no output is shown the room, not in one frame."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_parts import NETWORK, Keeper, Run, ScriptedEngine, Step, likeness, outside, subject

import streammat.live.fallback
from streammat.engines.base import EngineError
from streammat.media.frame import Frame, Matte

LIMIT = 0.08
"""Of an image's likeness to the room; an image that has nothing to do with it reaches 0.05 by chance."""


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what comes after the last good composite comes soon."""
    monkeypatch.setattr(streammat.live.fallback, "HOLD", 0.3)


def assert_room_unseen(run: Run) -> None:
    """No output holds the room outside the subject; a made-up image holds it nowhere."""
    where = outside()
    for keeper in run.keepers:
        assert keeper.frames
        for luma in keeper.lumas:
            assert abs(likeness(luma, where)) < LIMIT
    for shown in run.shown:
        if shown.kind in ("background", "card"):
            assert abs(likeness(shown.frame.planes[0])) < LIMIT


def alpha(value: float) -> Any:
    return np.full((1, NETWORK[0] // 2, NETWORK[1] // 2), value, np.float32)


def luma_as_alpha(rgb: Any) -> Any:
    return rgb[:, ::2, ::2].mean(3, dtype=np.float32) / np.float32(255)


def during(first: int, last: int, what: Callable[[], Any]) -> Callable[[int], Any]:
    return lambda call: what() if first <= call < last else None


def test_the_measure_knows_the_room(tmp_path: Path) -> None:
    """Pass-through shows the room, and the measure sees it: the other tests here can fail."""

    def show_it(run: Run) -> None:
        run.fallback.pass_through = True

    run = Run(tmp_path, [("frames", 10)], prepare=show_it)
    assert run.report.shown["pass-through"] >= 5
    raw = [shown.frame.planes[0] for shown in run.shown if shown.kind == "pass-through"]
    assert all(likeness(luma, outside()) > 0.99 for luma in raw)


def test_a_good_run_shows_the_subject_and_not_the_room(tmp_path: Path) -> None:
    run = Run(tmp_path, [("frames", 25)])
    assert_room_unseen(run)
    assert run.report.shown["composite"] >= 10
    assert run.report.faults == 0
    for shown in run.shown:
        if shown.kind == "composite":
            assert np.median(shown.frame.planes[0][subject() > 0]) > 225


def test_before_the_first_matte_the_background_is_shown(tmp_path: Path) -> None:
    loaded = threading.Event()

    def slow(call: int) -> None:
        if call == 0:
            loaded.wait(0.5)

    run = Run(tmp_path, [("frames", 50)], ScriptedEngine(slow))
    assert run.shown[0].kind == "background"
    assert run.report.shown["background"] >= 5
    assert run.report.shown["composite"] >= 5
    assert_room_unseen(run)


FAULTS: dict[str, Callable[[], Any]] = {
    "the engine raises": lambda: EngineError("broken"),
    "a library raises": lambda: RuntimeError("out of memory"),
    "no numbers": lambda: alpha(np.nan),
    "one infinite value": lambda: np.where(np.arange(NETWORK[0] * NETWORK[1] // 4).reshape(1, NETWORK[0] // 2, -1) == 7, np.inf, alpha(0)),
    "all is subject": lambda: alpha(1.0),
    "a veil over all": lambda: alpha(0.9),
    "luma taken as alpha": lambda: luma_as_alpha,
    "beyond all bounds": lambda: alpha(1e30),
    "no rows": lambda: np.empty((1, 0, 0), np.float32),
    "no alpha at all": lambda: np.empty((0,), np.float32),
}


@pytest.mark.parametrize("fault", ["the engine raises", "all is subject", "luma taken as alpha"])
def test_a_network_that_fails_for_a_while(tmp_path: Path, fault: str) -> None:
    """The last good composite for a moment, then the background; when it works again the subject is back."""
    run = Run(tmp_path, [("frames", 75)], ScriptedEngine(during(10, 45, FAULTS[fault])))
    assert run.report.faults == 35
    assert {"composite", "held", "background"} <= run.kinds
    assert run.shown[-1].kind == "composite"
    assert_room_unseen(run)
    assert "fault" in [event.event for event in run.events]


@pytest.mark.parametrize(("fault", "stable"), [
    ("all is subject", False), ("all is subject", True), ("a veil over all", True), ("luma taken as alpha", True), ("no numbers", True),
])  # fmt: skip
def test_a_network_that_fails_now_and_then(tmp_path: Path, fault: str, stable: bool) -> None:
    """In ones, twos and more: a filter over time must not carry what was refused into a frame that is shown."""
    wrong = np.random.default_rng(5).random(200) < 0.4
    run = Run(tmp_path, [("frames", 60)], ScriptedEngine(lambda call: FAULTS[fault]() if call > 4 and wrong[call] else None), stable=stable)
    assert run.report.faults >= 10
    assert run.report.shown["composite"] >= 15
    assert_room_unseen(run)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_never_works(tmp_path: Path, fault: str) -> None:
    run = Run(tmp_path, [("frames", 10)], ScriptedEngine(lambda call: FAULTS[fault]()))
    assert run.report.faults > 0
    assert run.kinds == {"background"}
    assert_room_unseen(run)


def missing(frame: Frame) -> Any:
    return None


def of_another_size(frame: Frame) -> Matte:
    return Matte(np.zeros((frame.size[0] // 2, frame.size[1] // 2), np.uint8))


def of_another_type(frame: Frame) -> Matte:
    return Matte(np.zeros(frame.size, np.uint16))


@pytest.mark.parametrize("wrong", [missing, of_another_size, of_another_type])
def test_a_matte_that_is_missing_or_not_the_frames(tmp_path: Path, wrong: Callable[[Frame], Any]) -> None:
    from streammat.live.guarding.checked_matting import check

    def matting(frame: Frame) -> Matte:
        matte = wrong(frame)
        check(matte, frame, lambda: 1.0)
        return matte

    run = Run(tmp_path, [("frames", 15)], matting=matting)
    assert run.report.faults > 0
    assert run.kinds == {"background"}
    assert_room_unseen(run)


@pytest.mark.parametrize("steps", [
    [("frames", 15), ("stall", 0.8), ("frames", 15)],
    [("frames", 15), ("lost", 0), ("frames", 15)],
    [("stall", 0.4), ("frames", 15)],
])
def test_a_camera_that_drops_out_and_comes_back(tmp_path: Path, steps: list[Step]) -> None:
    run = Run(tmp_path, steps)
    assert {"composite", "background"} <= run.kinds
    assert run.shown[-1].kind == "composite"
    assert_room_unseen(run)


def test_a_camera_that_is_looked_for_until_it_is_back(tmp_path: Path) -> None:
    run = Run(tmp_path, [("frames", 10), ("lost", 1), ("frames", 10)])
    assert [event.event for event in run.events] == ["camera-lost", "camera-back"]
    assert run.shown[-1].kind == "composite"
    assert run.report.captured == 20
    assert_room_unseen(run)


def test_with_a_blurred_room_a_card_stands_in(tmp_path: Path) -> None:
    """Without a matte there is no telling the subject from the room, so neither is shown, blurred or not."""
    run = Run(tmp_path, [("frames", 65)], ScriptedEngine(during(10, 45, FAULTS["the engine raises"])), scene="blur")
    assert "card" in run.kinds
    assert "background" not in run.kinds
    for shown in run.shown:
        if shown.kind == "card":
            assert abs(likeness(shown.frame.planes[0])) < LIMIT


def test_a_background_that_breaks_becomes_a_card(tmp_path: Path) -> None:
    def break_it(run: Run) -> None:
        def planes(frame: Frame, matte: Matte) -> Any:
            raise OSError("the disk is gone")

        run.scenes.current.background.planes = planes  # type: ignore[method-assign]

    run = Run(tmp_path, [("frames", 15)], prepare=break_it)
    assert run.kinds == {"card"}
    assert run.report.faults > 0
    assert_room_unseen(run)


def test_a_slow_network_drops_frames_and_shows_nothing_else(tmp_path: Path) -> None:
    pause = threading.Event()

    def slow(call: int) -> None:
        pause.wait(0.1)

    run = Run(tmp_path, [("frames", 50)], ScriptedEngine(slow))
    assert run.report.dropped > 10
    assert run.report.shown["composite"] + run.report.dropped == run.report.captured
    assert_room_unseen(run)


def test_pausing_shows_a_card(tmp_path: Path) -> None:
    def pause(run: Run) -> None:
        run.fallback.paused = True

    run = Run(tmp_path, [("frames", 15)], prepare=pause)
    assert run.kinds == {"card"}
    assert_room_unseen(run)


def test_one_slow_output_holds_nobody_back_and_one_that_fails_ends_alone(tmp_path: Path) -> None:
    quick, slow, failing = Keeper(), Keeper(delay=0.1), Keeper(fail_at=3)
    run = Run(tmp_path, [("frames", 50)], keepers=[quick, slow, failing])
    shown = sum(run.report.shown.values())
    assert quick.frames == shown
    assert slow.frames < shown
    first, second, third = run.report.outputs
    assert first.dropped == 0
    assert second.dropped == shown - slow.frames
    assert third.error == "keeper: full"
    assert failing.frames == 3
    assert [event.event for event in run.events] == ["output-failed"]
    for keeper in (quick, slow):
        assert keeper.times == sorted(set(keeper.times))
    assert_room_unseen(run)


def test_when_every_output_has_failed_the_run_ends(tmp_path: Path) -> None:
    run = Run(tmp_path, [("frames", 2000)], keepers=[Keeper(fail_at=2), Keeper(fail_at=4)])
    assert all(output.error for output in run.report.outputs)
    assert run.report.captured < 2000


def test_a_mirror_turns_the_subject_and_not_the_background(tmp_path: Path) -> None:
    def mirror(run: Run) -> None:
        run.fallback.mirror = True

    plain, mirrored = Run(tmp_path, [("frames", 5)]), Run(tmp_path, [("frames", 5)], prepare=mirror)
    assert_room_unseen(mirrored)
    composites = [next(shown.frame for shown in run.shown if shown.kind == "composite") for run in (plain, mirrored)]
    where = outside()
    assert np.array_equal(*(frame.planes[0][where] for frame in composites))


def test_a_camera_that_hangs_for_ever_holds_up_neither_the_card_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may block in a call that nothing can end; the run ends all the same, and says so."""
    monkeypatch.setattr("streammat.live.pipeline.PATIENCE", 0.2)
    released = threading.Event()

    def hang(run: Run) -> None:
        frames = iter(run.camera)

        class Hanging:
            name, notes, info = "hanging", [], run.camera.info
            stop = close = staticmethod(lambda: None)

            def __iter__(self) -> Any:
                for _ in range(10):
                    yield next(frames)
                threading.Timer(0.8, run.live.stop).start()
                released.wait(20)

        run.live._source = Hanging()  # type: ignore[assignment]

    run = Run(tmp_path, [("frames", 50)], prepare=hang)
    released.set()
    assert any("does not answer" in note for note in run.report.notes)
    assert {"composite", "background"} <= run.kinds
    assert_room_unseen(run)
