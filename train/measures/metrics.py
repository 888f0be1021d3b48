"""Metrics of one matte against the truth, as the paper's published evaluation computes them (Li et al. 2022, section 5.1).

Arrays are float (H, W), 0..1, 1 = foreground. They cover the whole image; the paper averages over images. Every metric
raises ValueError when the two shapes differ or are not (H, W), when a value is not a number, or when one is outside 0..1.
`dtssd` and `messddt` compare videos, (T, H, W).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Alpha = NDArray[np.floating]

GRADIENT_SIGMA = 1.4
"""Deviation in pixels of the Gaussian whose derivatives `grad` takes (Rhemann et al. 2009)."""
THRESHOLDS = np.arange(0.0, 1.1, 0.1)
"""Levels of `conn`. As in the published code they are the floats of ``arange``, three of which are slightly above i/10: a
float64 matte of 153/255 does not reach the level 0.6."""
THETA = 0.15
"""Distance below which `conn` treats a pixel as connected (Rhemann et al. 2009)."""
TOLERANCE = 1e-3
"""Tolerated excess over 0..1 caused by rounding in a network's last layers; mattes of 0..255 are far beyond."""


_FLOW_SIDE = 16
"""Smallest side in pixels for OpenCV's DIS flow, which needs room for its patches and pyramid."""


class Regions(NamedTuple):
    """SAD in the three parts of a trimap, in thousands; they add up to `sad`."""

    tran: float
    """SAD where the trimap is 128."""
    fg: float
    """SAD where the trimap is 255."""
    bg: float
    """SAD where the trimap is 0."""


def check_pair(pred: Alpha, alpha: Alpha, ndim: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refuse mattes that cannot be compared.

    Args:
        pred: float (H, W), or (T, H, W) for ``ndim`` 3, 0..1.
        alpha: the truth, of the same shape.
        ndim: dimensions expected.

    Returns:
        Both as float64.

    Raises:
        ValueError: shapes differ or are not as expected, a value is not finite or outside 0..1.
    """
    expected = "(H, W)" if ndim == 2 else "(T, H, W)"
    if pred.shape != alpha.shape or pred.ndim != ndim or not pred.size:
        raise ValueError(f"prediction has shape {pred.shape}, truth {alpha.shape}; expected two equal {expected}")
    for name, array in (("prediction", pred), ("truth", alpha)):
        low, high = float(array.min()), float(array.max())
        # NaN passes through min and max and fails both comparisons.
        if not (low >= -TOLERANCE and high <= 1.0 + TOLERANCE):
            raise ValueError(f"{name} has values of {low:g} to {high:g}; expected numbers of 0..1")
    return pred.astype(np.float64), alpha.astype(np.float64)


def sad(pred: Alpha, alpha: Alpha) -> float:
    """Return the sum of absolute differences, in thousands."""
    pred, alpha = check_pair(pred, alpha)
    return float(np.abs(pred - alpha).sum() / 1000.0)


def mse(pred: Alpha, alpha: Alpha) -> float:
    """Return the mean squared difference over all pixels."""
    pred, alpha = check_pair(pred, alpha)
    return float(np.square(pred - alpha).mean())


def mad(pred: Alpha, alpha: Alpha) -> float:
    """Return the mean absolute difference over all pixels."""
    pred, alpha = check_pair(pred, alpha)
    return float(np.abs(pred - alpha).mean())


def sad_regions(pred: Alpha, alpha: Alpha, trimap: NDArray[np.generic]) -> Regions:
    """Return SAD-TRAN, SAD-FG and SAD-BG: `sad` over the parts of a trimap.

    Args:
        pred: float (H, W), 0..1.
        alpha: float (H, W), 0..1.
        trimap: (H, W), 255 = foreground, 128 = transition, 0 = background.

    Returns:
        The three sums, in thousands.

    Raises:
        ValueError: as all metrics here; or the trimap's shape differs, or it has other values.
    """
    pred, alpha = check_pair(pred, alpha)
    if trimap.shape != pred.shape:
        raise ValueError(f"trimap has shape {trimap.shape}, prediction {pred.shape}; expected two equal (H, W)")
    difference = np.abs(pred - alpha)
    parts = [trimap == value for value in (128, 255, 0)]
    if sum(int(np.count_nonzero(part)) for part in parts) != trimap.size:
        strange = np.setdiff1d(trimap, (0, 128, 255))[:5].tolist()
        raise ValueError(f"trimap has values {strange}; expected 0, 128 and 255 alone")
    return Regions(*(float(difference[part].sum() / 1000.0) for part in parts))


def grad(pred: Alpha, alpha: Alpha) -> float:
    """Return the gradient error (Rhemann et al. 2009): squared differences of the gradients' magnitudes, summed, over 10.

    Gradients are first derivatives of a Gaussian of deviation 1.4 px, in float32, borders mirrored.
    """
    pred, alpha = check_pair(pred, alpha)
    difference = _magnitude(pred) - _magnitude(alpha)
    return float(np.square(difference).sum(dtype=np.float64) / 10.0)


def _magnitude(matte: NDArray[np.float64]) -> NDArray[np.float32]:
    down, across = (gaussian_filter(matte, GRADIENT_SIGMA, order=order, output=np.float32) for order in ((1, 0), (0, 1)))
    magnitude: NDArray[np.float32] = np.sqrt(np.square(down) + np.square(across))
    return magnitude


def conn(pred: Alpha, alpha: Alpha) -> float:
    """Return the connectivity error (Rhemann et al. 2009), in thousands.

    For the levels 0, 0.1 … 1 let omega be the largest 4-connected component of the pixels where both mattes reach the
    level. A pixel's l is the last level before it left omega, and 1 if it never did. With d = matte - l its connectivity
    is 1 - d where d >= 0.15, and 1 elsewhere; the error is the sum of absolute differences.

    Two points that the definition leaves open follow the published code. Of components of equal size the first in raster order
    counts. A level that no pixel reaches in both mattes ends the search, so that the pixels of the last
    omega keep l = 1; an entirely black prediction therefore has no connectivity error.
    """
    pred, alpha = check_pair(pred, alpha)
    overlap = np.minimum(pred, alpha)
    last = np.ones(pred.shape)
    inside = np.ones(pred.shape, np.bool_)
    for lower, upper in pairwise(THRESHOLDS):
        both = overlap >= upper
        if not both.any():
            break
        omega = largest_component(both)
        last[inside & ~omega] = lower
        inside &= omega
    connected = []
    for matte in (pred, alpha):
        distance = matte - last
        distance[distance < THETA] = 0.0
        connected.append(1.0 - distance)
    return float(np.abs(connected[0] - connected[1]).sum() / 1000.0)


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest 4-connected component.

    Args:
        mask: bool (H, W).

    Returns:
        bool (H, W): the pixels of the component with the most pixels, the first in raster order if several are equal; empty if
        ``mask`` is empty.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    areas = stats[1:, cv2.CC_STAT_AREA]  # 0 is what is not in the mask
    if not areas.size:
        return np.zeros_like(mask)
    # OpenCV does not promise an order of its labels, so that equals are told apart by their first pixel.
    equals = np.flatnonzero(areas == areas.max()) + 1
    chosen = equals[0] if equals.size == 1 else labels.flat[int(np.isin(labels, equals).argmax())]
    return np.asarray(labels == chosen)


def iou(pred: Alpha, alpha: Alpha) -> float:
    """Return the intersection over union of the pixels above 0.5; 1 if neither has any."""
    pred, alpha = check_pair(pred, alpha)
    a, b = pred > 0.5, alpha > 0.5
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def dtssd(preds: Alpha, alphas: Alpha) -> float:
    """Return dtSSD, the difference of the changes over time of two videos (Erofeev et al. 2015).

    The mean, over pairs of neighbouring frames, of the square root of the mean squared difference between the change of
    the prediction and that of the truth. Tables of other works often give it times 100.

    Args:
        preds: float (T, H, W), 0..1, T frames in the order they are shown, at least two.
        alphas: the truth, of the same shape.

    Raises:
        ValueError: as all metrics here; or there is one frame only.
    """
    preds, alphas = _check_video(preds, alphas)
    difference = np.diff(preds - alphas, axis=0)
    return float(np.sqrt(np.square(difference).mean(axis=(1, 2))).mean())


def messddt(preds: Alpha, alphas: Alpha, frames: NDArray[np.uint8] | None = None) -> float:
    """Return MESSDdt, the change of a point's squared error along its motion (Erofeev et al. 2015).

    With e_t = (prediction - truth)^2 of frame t and v the optical flow from frame t to t + 1: the mean, over pairs of
    neighbouring frames, of the mean of abs(e_t(x) - e_{t+1}(x + v(x))) over the pixels that stay within the image. x + v
    is rounded to whole pixels. The flow is DIS at OpenCV's medium preset. Tables of other works often give it times 1000.

    Args:
        preds: float (T, H, W), 0..1, at least two frames of at least 16 x 16 pixels.
        alphas: the truth, of the same shape.
        frames: uint8 (T, H, W, 3), RGB: source of the flow. None: the flow of the truth itself.

    Raises:
        ValueError: as all metrics here; or there is one frame only, frames are too small for the flow, or ``frames`` is not
            of their shape.
    """
    preds, alphas = _check_video(preds, alphas)
    count, height, width = preds.shape
    if min(height, width) < _FLOW_SIDE:
        raise ValueError(f"prediction has shape {preds.shape}; optical flow needs at least {_FLOW_SIDE} x {_FLOW_SIDE} pixels")
    if frames is None:
        greys = [np.rint(alpha.clip(0.0, 1.0) * 255.0).astype(np.uint8) for alpha in alphas]
    elif frames.shape == (count, height, width, 3) and frames.dtype == np.uint8:
        greys = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
    else:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 {(count, height, width, 3)}")
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors = np.square(preds - alphas)
    rows, columns = np.mgrid[:height, :width]
    means = []
    for before, after, grey, next_grey in zip(errors[:-1], errors[1:], greys[:-1], greys[1:], strict=True):
        motion = np.rint(flow.calc(grey, next_grey, None)).astype(np.int64)  # type: ignore[call-overload]
        x, y = columns + motion[:, :, 0], rows + motion[:, :, 1]
        stays = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        changes = np.abs(before[stays] - after[y[stays], x[stays]])
        means.append(float(changes.mean()) if changes.size else 0.0)
    return float(np.mean(means))


def _check_video(preds: Alpha, alphas: Alpha) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pair = check_pair(preds, alphas, 3)
    if len(preds) < 2:
        raise ValueError(f"prediction has shape {preds.shape}: one frame; video metrics need at least two")
    return pair
