"""Contact sheets: every image whole, at its place, with its label."""

from __future__ import annotations

import numpy as np
import pytest

from streammat.train.measures.contact_sheet import contact_sheet, evenly_spaced, grid, on_colour

RED, BLUE = (np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))


def count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=2).sum())


def test_images_fill_their_cells_in_order() -> None:
    sheet = contact_sheet([[RED, BLUE], [BLUE]], cell=16)
    assert sheet.dtype == np.uint8
    assert count(sheet, (255, 0, 0)) == 16 * 16
    assert count(sheet, (0, 0, 255)) == 2 * 16 * 16
    assert np.argwhere((sheet == (255, 0, 0)).all(axis=2)).max() < sheet.shape[1] // 2


def test_aspect_is_kept() -> None:
    tall = np.repeat(RED, 4, axis=0)
    assert count(contact_sheet([[tall]], cell=16), (255, 0, 0)) == 16 * 4


def test_grey_images_are_shown_grey() -> None:
    assert count(contact_sheet([[np.full((4, 4), 77, np.uint8)]], cell=16), (77, 77, 77)) == 256


def test_text_takes_its_own_place() -> None:
    plain, labelled = contact_sheet([[RED]], cell=64), contact_sheet([[RED]], ["a b"], ["c"], cell=64)
    assert labelled.shape[0] > plain.shape[0]
    assert count(labelled, (255, 0, 0)) == count(plain, (255, 0, 0)) == 64 * 64
    assert (labelled[: labelled.shape[0] - 70] < 100).any(), "the label is written in dark ink above the image"
    long = contact_sheet([[RED]], ["a long label in a narrow sheet, with a letter outside ASCII: é"], cell=64)
    assert long.shape[1] == plain.shape[1]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([], [], "at least one image"),
        ([[]], [], "at least one image"),
        ([[RED]], ["a", "b"], "2 labels for 1 rows"),
        ([[np.zeros((2, 2, 4), np.uint8)]], [], r"uint8 \(2, 2, 4\)"),
        ([[np.zeros((2, 2))]], [], "float64"),
    ],
)
def test_what_cannot_be_laid_out(rows: list, labels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, labels)


def test_on_colour_blends() -> None:
    alpha = np.array([[0, 255, 51]], np.uint8)
    np.testing.assert_array_equal(on_colour(RED[:1, :3], alpha, (0, 255, 0))[0], [(0, 255, 0), (255, 0, 0), (51, 204, 0)])


def test_samples_spread_evenly() -> None:
    assert evenly_spaced(3, 10) == [0, 1, 2]
    assert evenly_spaced(100, 4) == [0, 25, 50, 75]
    assert [len(row) for row in grid([RED] * 7)] == [3, 3, 1]
