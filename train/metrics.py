"""Metrics of one matte against the truth; arrays are float (H, W), alpha in 0..1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.floating]


def _check(prediction: Alpha, target: Alpha) -> None:
    if prediction.shape != target.shape or prediction.ndim != 2:
        raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}; expected two equal (H, W)")


def iou(prediction: Alpha, target: Alpha, threshold: float = 0.5) -> float:
    """Intersection over union of the pixels above ``threshold``; 1 where neither has any.

    Raises:
        ValueError: the shapes differ or are not (H, W); so do all metrics here.
    """
    _check(prediction, target)
    a, b = prediction > threshold, target > threshold
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def mad(prediction: Alpha, target: Alpha) -> float:
    """Mean absolute difference over all pixels."""
    _check(prediction, target)
    return float(np.abs(prediction.astype(np.float64) - target).mean())


def mse(prediction: Alpha, target: Alpha) -> float:
    """Mean squared difference over all pixels."""
    _check(prediction, target)
    return float(np.square(prediction.astype(np.float64) - target).mean())


def sad(prediction: Alpha, target: Alpha) -> float:
    """Sum of absolute differences over 1000, as matting papers give it."""
    _check(prediction, target)
    return float(np.abs(prediction.astype(np.float64) - target).sum() / 1000.0)
