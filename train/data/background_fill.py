"""Fills the subject's place in an image with mirrored background from beside it.

Most people are not in front of the background sets' rooms and landscapes. The photographs of the training sets have streets,
parks, clutter and undergrowth behind their subjects; with the subject filled in they are backgrounds too, and artefacts are
mostly hidden by the subjects that are put there.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image

WIDEST = 0.62
"""Largest share of the image's width that a subject may cover in any row."""
LEAST = 0.12
"""Least share of the image's width that must be visible on one side in every row."""
_REACH = 0.02
_CROSSFADE = 0.25


def fill_subject(rgb: Image, alpha: Image) -> Image | None:
    """Remove a subject from its image.

    Args:
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W), alpha of all subjects.

    Returns:
        uint8 (H, W, 3); None if too little of the background is visible.
    """
    height, width = alpha.shape
    spans = _spans(alpha)
    if spans is None:
        return rgb.copy()
    left, right = spans
    hidden = right > left
    if (right - left).max() > WIDEST * width or np.maximum(left, width - right)[hidden].min() < LEAST * width:
        return None
    columns = np.arange(width)[None, :]
    left, right = left[:, None], right[:, None]
    # Each end of the gap is a mirror; where the image ends before the gap does, it is mirrored there again.
    from_left = _reflected(2 * left - 1 - columns, left)
    from_right = width - 1 - _reflected(width - 1 - (2 * right - columns), width - right)
    # A side that shows little gives little, and one that shows nothing gives nothing.
    share = left / np.maximum(left + width - right, 1)
    middle = left + share * (right - left)
    fade = np.maximum(_CROSSFADE * 2.0 * np.minimum(share, 1.0 - share) * (right - left), 1.0)
    weight = np.clip(0.5 + (columns + 0.5 - middle) / fade, 0.0, 1.0)
    rows = np.arange(height)[:, None]
    mirrored = rgb[rows, from_left] * (1.0 - weight)[:, :, None] + rgb[rows, from_right] * weight[:, :, None]
    gap = ((columns >= left) & (columns < right)).astype(np.float32)
    soft = np.maximum(gap, cv2.GaussianBlur(gap, (0, 0), 1.5))[:, :, None]
    filled: Image = np.rint(rgb + soft * (mirrored - rgb)).astype(np.uint8)
    return filled


def _spans(alpha: Image) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return the first and last column near a subject for each row; None if there is no subject."""
    height, width = alpha.shape
    reach = max(2, round(_REACH * max(alpha.shape)))
    near = cv2.dilate((alpha > 5).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    occupied = near.any(axis=1)
    if not occupied.any():
        return None
    first = np.where(occupied, near.argmax(axis=1), width)
    last = np.where(occupied, width - near[:, ::-1].argmax(axis=1), 0)
    # Ends that move slowly from row to row keep what they mirror in shape.
    around = max(3, height // 8) | 1
    window = np.ones((around, 1), np.uint8)
    left = np.asarray(cv2.erode(first.astype(np.float32)[:, None], window), np.float32)[:, 0]
    right = np.asarray(cv2.dilate(last.astype(np.float32)[:, None], window), np.float32)[:, 0]
    empty = right <= left
    middle = (left[~empty].mean() + right[~empty].mean()) / 2
    left[empty] = right[empty] = middle
    smooth_left, smooth_right = (cv2.GaussianBlur(ends[:, None], (0, 0), around / 3)[:, 0] for ends in (left, right))
    # Smoothing must not uncover the subject.
    ends = np.floor(np.minimum(smooth_left, first)), np.ceil(np.maximum(smooth_right, last))
    return ends[0].astype(np.intp), ends[1].astype(np.intp)


def _reflected(position: NDArray[np.intp], size: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return positions in an infinite row of mirror images of the first ``size`` pixels."""
    period = np.maximum(2 * size, 1)
    within = np.mod(position, period)
    result: NDArray[np.intp] = np.where(within < size, within, period - 1 - within)
    return result.clip(0)
