"""Images without their subjects."""

from __future__ import annotations

import cv2
import numpy as np

from streammat.train.data.background_fill import fill_subject

HEIGHT, WIDTH = 120, 200


def stripes() -> np.ndarray:
    """Level stripes: a mirror image of them is the same image."""
    return np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None, None] * 2, WIDTH, axis=1).repeat(3, axis=2)


def disc(x: int, radius: int) -> np.ndarray:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(alpha, (x, 60), radius, 255, -1)
    return cv2.GaussianBlur(alpha, (5, 5), 0)


def test_nothing_of_the_subject_stays() -> None:
    for x in (60, 100, 150):
        alpha = disc(x, 25)
        image = stripes()
        image[alpha > 0] = (255, 0, 0)
        filled = fill_subject(image, alpha)
        assert filled is not None
        np.testing.assert_allclose(filled.astype(int), stripes(), atol=3)


def test_what_is_far_from_the_subject_is_untouched() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    filled = fill_subject(image, disc(100, 20))
    assert filled is not None
    np.testing.assert_array_equal(filled[:, :60], image[:, :60])
    np.testing.assert_array_equal(filled[:, 140:], image[:, 140:])


def test_a_subject_at_the_edge_is_filled_from_the_other_side() -> None:
    image = stripes()
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[20:, :60] = 255
    image[alpha > 0] = (255, 0, 0)
    filled = fill_subject(image, alpha)
    assert filled is not None
    np.testing.assert_allclose(filled.astype(int), stripes(), atol=3)


def test_large_subjects_leave_no_image() -> None:
    assert fill_subject(stripes(), disc(100, 80)) is None
    wide = np.zeros((HEIGHT, WIDTH), np.uint8)
    wide[50:] = 255
    assert fill_subject(stripes(), wide) is None


def test_no_subject_is_the_image_itself() -> None:
    image = stripes()
    filled = fill_subject(image, np.zeros((HEIGHT, WIDTH), np.uint8))
    np.testing.assert_array_equal(filled, image)
    assert filled is not image
