"""Memory along motion: what the network loses for a frame is held, what moves leaves no trail, and what is wrong for a frame fades."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streammat.matting.motion import MotionMemory
from streammat.matting.steady import SteadyFilter

Floats = NDArray[np.float32]
SHAPE = (144, 240)
RATE = 25


def texture(seed: int, low: int = 30, high: int = 220) -> NDArray[np.uint8]:
    """A coarse pattern with a finer one, (288, 480, 3)."""
    rng = np.random.default_rng(seed)
    coarse, fine = (cv2.resize(rng.uniform(low, high, (rows, rows * 5 // 3, 3)).astype(np.float32), (480, 288), interpolation=cv2.INTER_CUBIC) for rows in (12, 48))
    return np.clip(0.7 * coarse + 0.3 * fine, 0, 255).astype(np.uint8)


ROOM, COAT = texture(1), texture(2, 0, 110)


def person(x: float, y: float = 72.0) -> Floats:
    """An upright ellipse about column ``x`` of the matte."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.clip((1 - np.hypot((rows - y) / 55, (columns - x) / 28)) * 20 + 0.5, 0, 1).astype(np.float32)


def image(alpha: Floats, x: float, seed: int) -> NDArray[np.uint8]:
    """The person in a coat whose pattern moves along, in the room, with noise."""
    wide = cv2.resize(alpha, (480, 288))[..., None]
    drawn = wide * np.roll(COAT, round(2 * x), axis=1) + (1 - wide) * ROOM + np.random.default_rng(seed).normal(0, 2, (288, 480, 1))
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def walk(frames: int, step: float, lost: tuple[int, ...] = (), wrong: tuple[int, ...] = ()) -> tuple[list[Floats], list[Floats]]:
    """The mattes after the memory, and the true ones, of somebody who walks; in ``lost`` frames the network misses the legs, in ``wrong`` ones it finds a piece
    of the room as well.
    """
    memory, found, truth = MotionMemory(), [], []
    for number in range(frames):
        x = 70 + step * number
        true = person(x)
        given = true.copy()
        if number in lost:
            given[90:] *= 0.2
        if number in wrong:
            given[:60, -60:] = 1.0
        found.append(memory(given, image(true, x, number), Fraction(number, RATE)))
        truth.append(true)
    return found, truth


def errors(found: list[Floats], truth: list[Floats]) -> list[float]:
    return [1000 * float(np.abs(one - other).mean()) for one, other in zip(found, truth, strict=True)]


@pytest.mark.parametrize("step", [0.0, 1.5, 5.0])
def test_what_is_lost_for_a_frame_is_held(step: float) -> None:
    missing = 1000 * float((0.8 * person(82)[90:]).sum()) / person(82).size
    with_memory = errors(*walk(12, step, lost=(8,)))
    assert with_memory[8] < 0.4 * missing
    assert with_memory[9] < 0.12 * missing + max(with_memory[:8])
    assert with_memory[11] < 0.01 * missing + max(with_memory[:8])


@pytest.mark.parametrize("step", [1.5, 5.0, 12.0])
def test_what_moves_leaves_no_trail(step: float) -> None:
    found, truth = walk(10, step)
    assert max(errors(found, truth)) < 2.0


def test_what_is_wrong_for_a_frame_is_halved_and_fades_in_three() -> None:
    with_memory = errors(*walk(14, 1.5, wrong=(8,)))
    alone = 1000 * 60 * 60 / person(0).size
    assert with_memory[8] < 0.55 * alone
    assert with_memory[11] < 0.05 * alone


def test_what_stays_wrong_is_believed() -> None:
    found, _ = walk(14, 1.5, wrong=tuple(range(8, 14)))
    assert found[13][10:50, -50:].mean() > 0.95


def test_after_a_cut_the_new_matte_counts() -> None:
    memory = MotionMemory()
    for number in range(5):
        memory(person(70), image(person(70), 70, number), Fraction(number, RATE))
    new = person(180)
    elsewhere = np.ascontiguousarray(255 - image(new, 180, 9)[:, ::-1])
    assert memory(new, elsewhere, Fraction(5, RATE)) is new


@pytest.mark.parametrize("when", [Fraction(4, RATE), Fraction(3, RATE), Fraction(2)], ids=["the same time", "before", "seconds later"])
def test_frames_that_do_not_follow_are_not_joined(when: Fraction) -> None:
    memory = MotionMemory()
    for number in range(5):
        memory(person(70), image(person(70), 70, number), Fraction(number, RATE))
    nobody = np.zeros(SHAPE, np.float32)
    assert memory(nobody, image(person(70), 70, 9), when) is nobody


def test_it_forgets() -> None:
    for memory in (MotionMemory(), SteadyFilter()):
        memory(person(70), image(person(70), 70, 0), Fraction(0))
        memory.restart()
        nobody = np.zeros(SHAPE, np.float32)
        assert not memory(nobody, image(person(70), 70, 1), Fraction(1, RATE)).any()
        other = np.zeros((72, 120), np.float32)
        assert not memory(other, image(person(70), 70, 2), Fraction(2, RATE)).any()


def test_where_both_agree_nothing_changes() -> None:
    memory = MotionMemory()
    alpha = person(70)
    kept = alpha.copy()
    memory(alpha, image(alpha, 70, 0), Fraction(0))
    assert memory(alpha, image(alpha, 70, 1), Fraction(1, RATE)) is alpha
    np.testing.assert_array_equal(alpha, kept)
