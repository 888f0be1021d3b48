"""The filter over time, rule by rule, in images whose differences are known to the number."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from streammat.matting.temporal import CUT, DOUBT, GAP, TemporalFilter

SHAPE = (72, 128)
STEP = Fraction(1, 25)
SMALL = 0.2
"""Less than makes two frames in a row believed."""
assert SMALL < DOUBT


def flat(value: float) -> NDArray[np.float32]:
    return np.full(SHAPE, value, np.float32)


def grey(changes: NDArray[np.int16] | None = None) -> NDArray[np.uint8]:
    """A grey image of the matte's size; ``changes`` (h, w) are spread over its three colours."""
    image = np.full((*SHAPE, 3), 128, np.int16)
    if changes is not None:
        for colour in range(3):
            image[:, :, colour] += (changes + colour) // 3
    return image.astype(np.uint8)


def moved(changes: NDArray[np.int16]) -> NDArray[np.float64]:
    """How much the filter takes each pixel to have moved, 0..1, when the second frame differs by ``changes`` (sums over colours).

    The first alpha is 0 and the second ``SMALL``, which the median drops; what moved lets a share m of it in, and its average is 2 - m frames long.
    """
    stable = TemporalFilter()
    stable(flat(0), grey(), Fraction(0))
    out = stable(flat(SMALL), grey(changes), STEP).astype(np.float64) / SMALL
    return 2 * out / (1 + out)


def changed(value: int, columns: slice) -> NDArray[np.int16]:
    changes = np.zeros(SHAPE, np.int16)
    changes[:, columns] = value
    return changes


NARROW = slice(118, 125)
"""Columns: more than the window of 5 pixels, and too few to matter to their neighbourhood."""


@pytest.mark.parametrize(("difference", "expected"), [(5, 0), (6, 0.24 / 5.04), (8, 2.24 / 5.04), (10, 4.24 / 5.04), (11, 1), (60, 1)])
def test_from_where_a_difference_is_movement(difference: int, expected: float) -> None:
    """Noise of 1.2 for each colour at least: 1.6 times that is nothing, 3 times that is movement, and between both a share of it."""
    found = moved(changed(difference, NARROW))
    assert found[36, 121] == pytest.approx(expected, abs=1e-5)
    assert (found[:, :90] == 0).all()


@pytest.mark.parametrize(("noise", "difference", "expected"), [
    (2, 18, (18 - 1.6 * 7.8) / (1.4 * 7.8)),  # 1.3 / 3 of the lower quartile, for each colour
    (4, 20, (20 - 1.6 * 9) / (1.4 * 9)),  # 3 for each colour at most
    (1, 8, (8 - 1.6 * 3.9) / (1.4 * 3.9)),
])
def test_noise_is_told_by_the_quietest_quarter(noise: int, difference: int, expected: float) -> None:
    """Of the cells that are looked at a quarter, and not one more, differs by nothing here."""
    changes = changed(difference, NARROW)
    rows, columns = np.mgrid[: SHAPE[0], 30:118]
    changes[:, 30:118] = np.where((rows // 8 + columns // 8) % 2, 3 * noise, -3 * noise)  # brighter and darker, so that it is no change of the light
    assert moved(changes)[36, 121] == pytest.approx(expected, abs=1e-4)


def test_much_movement_around_counts_as_movement() -> None:
    """A neighbourhood is 25 pixels wide here; what reaches into the window of 5 moves, and the pixel beside it; a quarter does not matter, half of it all."""
    found = moved(changed(300, slice(100, 128)))
    for column, share in ((89, 5), (91, 7), (92, 8), (94, 10), (96, 12)):
        assert found[36, column] == pytest.approx(max(0.0, (share / 25 - 0.25) / 0.25), abs=1e-5), column
    assert found[:, 97:].min() > 1 - 1e-6


def test_at_the_edge_the_last_pixel_is_repeated() -> None:
    found = moved(changed(300, slice(0, 1)))
    assert found[:, :4].min() > 1 - 1e-6
    assert found[36, 5] == pytest.approx(((7 + 4) / 25 - 0.25) / 0.25, abs=1e-5)
    weak = moved(changed(20, slice(0, 1)))
    assert weak[:, :2].min() > 1 - 1e-6  # three fifths of 20
    assert weak[36, 2] == pytest.approx(((12 + 2.24 / 5.04) / 25 - 0.25) / 0.25, abs=1e-5)  # two fifths, and much beside it


@pytest.mark.parametrize(("columns", "cut"), [(70, False), (90, True)])
def test_a_cut_begins_anew_everywhere(columns: int, cut: bool) -> None:
    """Where more than 60 % of the image changed; less than that leaves what is far from it as it was."""
    assert (columns / SHAPE[1] > CUT) == cut
    changes = changed(90, slice(SHAPE[1] - columns, SHAPE[1]))
    changes[np.arange(SHAPE[0]) // 12 % 2 == 1] *= -1  # brighter and darker, so that it is no change of the light
    found = moved(changes)
    assert found[36, 0] == pytest.approx(1.0 if cut else 0.0, abs=1e-6)


@pytest.mark.parametrize(("passed", "anew"), [(STEP, False), (GAP, False), (GAP + Fraction(1, 1000), True), (Fraction(0), True), (-STEP, True)])
def test_frames_far_apart_are_no_sequence(passed: Fraction, anew: bool) -> None:
    stable = TemporalFilter()
    stable(flat(0), grey(), Fraction(1))
    assert stable(flat(SMALL), grey(), 1 + passed)[0, 0] == pytest.approx(SMALL if anew else 0.0, abs=1e-7)


def test_what_the_second_frame_alone_has_is_dropped() -> None:
    stable = TemporalFilter()
    assert (stable(flat(1), grey(), Fraction(0)) == 1).all()
    assert (stable(flat(0), grey(), STEP) == 1).all()
    assert (stable(flat(1), grey(), 2 * STEP) == 1).all()


@pytest.mark.parametrize(("value", "expected"), [(0.2, 0.2 / 3), (0.4, 0.4 / 1.8), (0.5, 0.5), (1.0, 1.0)])
def test_two_frames_in_a_row_are_believed(value: float, expected: float) -> None:
    """From 0.25 on a little, from 0.5 on at once: 0.4 is believed by 0.6, and the average is 2 x 0.4 + 1 frames long."""
    stable = TemporalFilter()
    stable(flat(0), grey(), Fraction(0))
    assert (stable(flat(value), grey(), STEP) == 0).all()
    assert stable(flat(value), grey(), 2 * STEP)[5, 5] == pytest.approx(expected, abs=1e-5)


def test_images_are_brought_to_the_matte_s_size_by_means() -> None:
    """Lines that lie between the pixels of a coarser look count as much as others."""
    stable, lined = TemporalFilter(), np.full((SHAPE[0] * 4, SHAPE[1] * 4, 3), 128, np.uint8)
    stable(flat(0), lined, Fraction(0))
    lined[::4, 440:] += 20  # a quarter of the rows: 5 for each colour, which is movement
    out = stable(flat(SMALL), lined, STEP)
    assert out[36, 122] == pytest.approx(SMALL, abs=1e-6)


def test_images_are_averaged_as_mattes_are() -> None:
    """What comes little by little is no movement: 10 more than the first image, and 5 more than the average by then."""
    stable = TemporalFilter()
    stable(flat(0), grey(), Fraction(0))
    for number in range(1, 12):
        stable(flat(0), grey(changed(5, NARROW)), number * STEP)
    assert (stable(flat(SMALL), grey(changed(10, NARROW)), 12 * STEP)[:, :118] == 0).all()
    assert stable(flat(0), grey(changed(10, NARROW)), 13 * STEP)[36, 121] == pytest.approx(0.0, abs=1e-6)
