"""Glance targets and trimaps, against sizes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streammat.train.data.targets import KERNELS, rosta_classes, scaled_classes, trimap


def square(side: int = 200, low: int = 60, high: int = 140, inside: int = 255) -> np.ndarray:
    alpha = np.zeros((side, side), np.uint8)
    alpha[low:high, low:high] = inside
    return alpha


def test_kernels_are_those_of_the_paper() -> None:
    assert KERNELS == {"TT": 25, "FT": 50, "BT": 50}


def test_tt_erodes_both_certain_areas() -> None:
    classes = rosta_classes(square(), "TT")
    assert classes.dtype == np.uint8
    assert (classes[72:128, 72:128] == 2).all()
    assert (classes == 2).sum() == 56**2
    assert (classes[48:152, 48:152] >= 1).all()
    assert (classes >= 1).sum() == 104**2


def test_ft_is_the_eroded_foreground_and_bt_the_dilated_rest() -> None:
    alpha = square()
    ft, bt = rosta_classes(alpha, "FT"), rosta_classes(alpha, "BT")
    # An even square reaches 25 pixels one way and 24 the other.
    assert ft.sum() == (80 - 49) ** 2
    assert bt.sum() == (80 + 49) ** 2
    assert ft.max() == bt.max() == 1


def test_focus_targets_stay_within_their_range() -> None:
    rng = np.random.default_rng(0)
    alpha = np.clip(rng.normal(128, 150, (96, 128)), 0, 255).astype(np.uint8)
    for kernel in (1, 4, 9):
        ft = rosta_classes(alpha, "FT", kernel) * 255
        bt = rosta_classes(alpha, "BT", kernel) * 255
        assert (alpha.astype(int) - ft).min() >= -5
        assert (bt - alpha.astype(int)).min() >= -5


@pytest.mark.parametrize(("value", "tt", "ft", "bt"), [(4, 0, 0, 0), (5, 1, 0, 1), (250, 1, 0, 1), (251, 2, 1, 1)])
def test_thresholds(value: int, tt: int, ft: int, bt: int) -> None:
    alpha = np.full((3, 3), value, np.uint8)
    assert [int(rosta_classes(alpha, rosta, 1)[1, 1]) for rosta in ("TT", "FT", "BT")] == [tt, ft, bt]


def test_the_border_of_the_image_erodes_nothing() -> None:
    alpha = np.zeros((120, 120), np.uint8)
    alpha[60:, 30:90] = 255
    assert rosta_classes(alpha, "TT")[-1, 60] == 2
    assert rosta_classes(alpha, "FT")[-1, 60] == 1
    assert rosta_classes(np.zeros((60, 60), np.uint8), "BT").max() == 0


def test_trimap() -> None:
    grey = trimap(square())
    assert set(np.unique(grey)) == {0, 128, 255}
    assert (grey == 128).sum() == 104**2 - 56**2
    assert (trimap(square(), 3) == 128).sum() == 82**2 - 78**2


@pytest.mark.parametrize(("stride", "radius"), [(1, 5), (2, 2)])
def test_scaled_kernel_follows_the_size(stride: int, radius: int) -> None:
    # 25 of 800 pixels are 10 of 320; at stride 2 those are 5 output pixels.
    alpha = square(320, 100, 220)
    classes = scaled_classes(alpha, "TT", stride)
    side = 120 // stride
    assert classes.shape == (320 // stride, 320 // stride)
    assert (classes == 2).sum() == (side - 2 * radius) ** 2
    assert (classes >= 1).sum() == (side + 2 * radius) ** 2


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="unknown RoSTa 'XX'"):
        rosta_classes(square(), "XX")
    with pytest.raises(ValueError, match="below 1 pixel"):
        rosta_classes(square(), "TT", 0)
