"""Metrics against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.evaluate import network_size
from train.metrics import iou, mad, mse, sad

TRUTH = np.array([[1.0, 1.0], [0.0, 0.0]])
GUESS = np.array([[0.9, 0.2], [0.6, 0.0]])


def test_by_hand() -> None:
    assert iou(GUESS, TRUTH) == pytest.approx(1 / 3)
    assert mad(GUESS, TRUTH) == pytest.approx((0.1 + 0.8 + 0.6) / 4)
    assert mse(GUESS, TRUTH) == pytest.approx((0.01 + 0.64 + 0.36) / 4)
    assert sad(GUESS, TRUTH) == pytest.approx(1.5 / 1000)


def test_empty_pictures_agree() -> None:
    nothing = np.zeros((4, 4))
    assert iou(nothing, nothing) == 1.0
    assert iou(np.ones((4, 4)), nothing) == 0.0


@pytest.mark.parametrize("metric", [iou, mad, mse, sad])
def test_shapes_must_agree(metric) -> None:
    with pytest.raises(ValueError, match="expected two equal"):
        metric(np.zeros((2, 3)), np.zeros((3, 2)))


def test_network_size_keeps_the_aspect() -> None:
    assert network_size(720, 1280) == (288, 512)
    assert network_size(640, 480) == (448, 320)
    assert network_size(10, 4000) == (32, 7680)
