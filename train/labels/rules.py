"""Rules that combine masks and teacher networks to alpha for training, and reject unreliable labels.

Foreground is the same in every set: every person whom a viewer would call a subject or a companion of one, at any distance at
which a figure is more than 3 % of the image; animals likewise; what they hold, wear or ride belongs to them if the mask includes
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image, Matte
from streammat.train.teachers.detector import Found

SURE_PEOPLE = 0.80
"""Least share of a mask that the matting network must find for its edge to be used; below, poses, darkness or cropping are
unfamiliar to it.
"""
SURE_ANIMAL = 0.85
"""Least IoU of mask and segmentation for using the segmentation's edge."""
SURE_TWICE = 0.95
"""Least IoU of the mattes of an image and its mirror image for using them without a mask."""
SOLID = 0.6
"""Least mean alpha of a find apart from the mask that counts as a person."""
SURE_FOUND, LARGE, FILLED = 0.30, 0.05, 0.20
"""Of those whom a detector finds: least score, and least share of the image of the box, from which a matte must have them; and least
mean alpha in the box of somebody whom it has.
"""
LIKELY_TWICE, LIKELY_BOTH, MORE_HALF_SEEN = 0.86, 0.75, 0.45
"""The first two: least IoU of an image's and its mirror image's mattes, and of two networks' mattes, for using both networks' mean; the
last as `HALF_SEEN`, for it.
"""
HALF_SEEN = 0.16
"""Largest share of alphas between 0.1 and 0.9 in the area of a reliable matte."""


@dataclass(frozen=True)
class Label:
    """An alpha and its origin."""

    alpha: Matte | None
    """The alpha; None: unreliable, the image is left out."""
    rule: str
    """The rule that made it, or why it is left out; one word for the manifest."""
    agreement: float
    """IoU of mask and network, or of the network's two views."""


def mask_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the intersection over union, 0..1, of two masks (H, W); 1 if both are empty."""
    union = int(np.count_nonzero(one | other))
    return float(np.count_nonzero(one & other)) / union if union else 1.0


def certain_inside(mask: NDArray[np.bool_]) -> Matte:
    """Return the mask (H, W) eroded, 0..1 with a soft edge: the part for which the mask alone is reliable."""
    radius = max(1, round(0.012 * float(np.sqrt(np.count_nonzero(mask)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8) * 255, radius + 1, radius + 1, radius + 1, radius + 1, cv2.BORDER_REPLICATE)
    core = cv2.GaussianBlur(cv2.erode(padded, kernel), (0, 0), 0.6 * radius)
    return np.asarray(core[radius + 1 : -radius - 1, radius + 1 : -radius - 1], np.float32) / 255.0


def reach(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return the mask (H, W) grown by ``share`` of the square root of its area."""
    radius = max(2, round(share * float(np.sqrt(np.count_nonzero(mask)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), np.uint8) > 0


def people_label(mask: Image, matte: Callable[[], Image], seen: Matte) -> Label:
    """Label people with a mask: the mask's certain part, the matting network's edge, and people whom the mask leaves out.

    Args:
        mask: uint8 (H, W), 0 or 255.
        matte: computes the mask's own alpha, uint8 (H, W) (`streammat.train.labels.mask_to_alpha.matte_from_mask`).
        seen: the matting network's alpha.
    """
    inside = mask > 127
    found = seen > 0.5
    agreement = mask_iou(inside, found)
    if not inside.any():
        return Label(None, "empty-mask", agreement)
    covered = float(np.count_nonzero(inside & found)) / float(np.count_nonzero(inside))
    seen = without_haze(seen, inside)
    if covered >= SURE_PEOPLE:
        return Label(np.maximum(seen, certain_inside(inside)), "network-edge", agreement)
    return Label(np.maximum(seen, matte().astype(np.float32) / 255.0), "mask-edge", agreement)


def without_haze(seen: Matte, mask: NDArray[np.bool_]) -> Matte:
    """Return a network's alpha, (H, W) 0..1, near a mask, and farther away only solid figures: faint smears are the network's
    uncertainty.
    """
    far = ~reach(mask, 0.05)
    count, parts, facts, _ = cv2.connectedComponentsWithStats(((seen > 0.1) & far).astype(np.uint8))
    totals = np.bincount(parts.ravel(), seen.ravel(), count)
    keep = totals / facts[:, cv2.CC_STAT_AREA] > SOLID
    keep[0] = False
    return np.where(far & ~keep[parts], 0.0, seen).astype(np.float32)


def animal_label(mask: Image, matte: Callable[[], Image], segmented: Matte, people: Matte | None) -> Label:
    """Label animals with a mask: the segmentation near the mask, and people beside them.

    Args:
        mask: uint8 (H, W), 0 or 255.
        matte: computes the mask's own alpha, uint8 (H, W).
        segmented: segmentation of the salient subject.
        people: the matting network's alpha; None: no people.
    """
    inside = mask > 127
    if not inside.any():
        return Label(None, "empty-mask", 0.0)
    near = np.where(reach(inside, 0.06), segmented, 0.0).astype(np.float32)
    agreement = mask_iou(inside, near > 0.5)
    if agreement >= SURE_ANIMAL and half_seen(near) <= HALF_SEEN:
        alpha, rule = np.maximum(near, certain_inside(inside)), "segmented-edge"
    else:
        alpha, rule = matte().astype(np.float32) / 255.0, "mask-edge"
    if people is not None and people.mean() > 0.002:
        alpha, rule = np.maximum(alpha, people), rule + "+people"
    return Label(np.asarray(alpha, np.float32), rule, agreement)


def unlabelled(one: Matte, other: Matte, found: Sequence[Found], second: Callable[[], Matte] | None = None) -> Label:
    """Label an image without a mask: accepted if the mattes of the image and its mirror image agree, little is half transparent, and
    everybody of some size whom the detector finds is in it; or with less agreement, if another matte is nearly the same.

    Args:
        one: the image's matte.
        other: its mirror image's, mirrored back.
        found: the detector's people, or its animals.
        second: computes another matte, of a second network or another view; None: there is none.
    """
    agreement = mask_iou(one > 0.5, other > 0.5)
    alpha, rule = np.asarray((one + other) / 2, np.float32), "two-views"
    if float(alpha.mean()) < 0.005:
        return Label(None, "nobody", agreement)
    if any(each.score >= SURE_FOUND and each.area >= LARGE and _filled(alpha, each) < FILLED for each in found):
        return Label(None, "somebody-missed", agreement)
    if agreement < SURE_TWICE or half_seen(alpha) > HALF_SEEN:
        if second is None or agreement < LIKELY_TWICE or half_seen(alpha) > MORE_HALF_SEEN:
            return Label(None, "views-differ" if agreement < SURE_TWICE else "half-seen", agreement)
        near = np.where(reach(alpha > 0.5, 0.06), second(), 0.0)
        if mask_iou(alpha > 0.5, near > 0.5) < LIKELY_BOTH:
            return Label(None, "networks-differ", agreement)
        alpha, rule = np.clip(((alpha + near) / 2 - 0.2) / 0.6, 0.0, 1.0).astype(np.float32), "two-networks"  # bodies are solid
    return Label(alpha, rule, agreement)


def _filled(alpha: Matte, found: Found) -> float:
    """Return the mean alpha in the box of somebody found."""
    height, width = alpha.shape
    box = alpha[int(found.top * height) : int(found.bottom * height) + 1, int(found.left * width) : int(found.right * width) + 1]
    return float(box.mean())


def half_seen(alpha: Matte) -> float:
    """Return the share of alphas between 0.1 and 0.9 in the area above 0.1."""
    area = int(np.count_nonzero(alpha > 0.1))
    return float(np.count_nonzero((alpha > 0.1) & (alpha < 0.9))) / area if area else 0.0
