"""Alpha for training from masks and from other networks: who is right where, and when a label cannot be trusted.

Who counts as foreground, the same in every set: everybody whom a viewer would call a subject or a companion of one, at any distance at
which a figure is more than 3 % of the image; animals likewise; what they hold, wear or ride belongs to them where the mask has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image

Alpha = NDArray[np.float32]
"""float32 (H, W), 0..1."""
SURE_PEOPLE = 0.80
"""Share of a mask that the matting network must find to be believed at the mask's edge; below, people are posed, dark or cut as it does not know them."""
SURE_ANIMAL = 0.85
"""IoU of mask and segmentation from which the segmentation is believed at the mask's edge."""
SURE_TWICE = 0.95
"""IoU of the mattes of an image and of its mirror image from which they are believed without a mask."""
SOLID = 0.6
"""Mean alpha from which something apart from a mask is somebody."""
HALF_SEEN = 0.16
"""Share of alphas between 0.1 and 0.9 in a matte's area above which it is doubted."""


@dataclass(frozen=True)
class Label:
    """An alpha and what it was made of."""

    alpha: Alpha | None
    """None: not to be trusted; the image is left out."""
    rule: str
    """Which rule made it, or why it is left out; one word of the manifest."""
    agreement: float
    """IoU of mask and network, or of the network's two views."""


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the intersection over union; 1 where both are empty."""
    union = int(np.count_nonzero(one | other))
    return float(np.count_nonzero(one & other)) / union if union else 1.0


def certain_inside(mask: NDArray[np.bool_]) -> Alpha:
    """Return the mask without its edge, with a soft one instead: what the mask alone answers for."""
    radius = max(1, round(0.012 * float(np.sqrt(np.count_nonzero(mask)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8) * 255, radius + 1, radius + 1, radius + 1, radius + 1, cv2.BORDER_REPLICATE)
    core = cv2.GaussianBlur(cv2.erode(padded, kernel), (0, 0), 0.6 * radius)
    return np.asarray(core[radius + 1 : -radius - 1, radius + 1 : -radius - 1], np.float32) / 255.0


def reach(mask: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return the mask grown by a share of the square root of its area."""
    radius = max(2, round(share * float(np.sqrt(np.count_nonzero(mask)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), np.uint8) > 0


def people_label(mask: Image, matte: Callable[[], Image], seen: Alpha) -> Label:
    """People with a mask: what the mask is sure of, the matting network's edge, and whom the mask leaves out.

    Args:
        mask: uint8 (H, W), 0 or 255.
        matte: makes the mask's own alpha, uint8 (H, W) (`streammat.train.labels.mask_to_alpha.matte_from_mask`).
        seen: the matting network's alpha.
    """
    inside = mask > 127
    found = seen > 0.5
    agreement = iou(inside, found)
    if not inside.any():
        return Label(None, "empty-mask", agreement)
    covered = float(np.count_nonzero(inside & found)) / float(np.count_nonzero(inside))
    seen = without_haze(seen, inside)
    if covered >= SURE_PEOPLE:
        return Label(np.maximum(seen, certain_inside(inside)), "network-edge", agreement)
    return Label(np.maximum(seen, matte().astype(np.float32) / 255.0), "mask-edge", agreement)


def without_haze(seen: Alpha, mask: NDArray[np.bool_]) -> Alpha:
    """What a network sees near a mask, and farther off whole figures alone: a faint smear beside somebody is its doubt, a solid thing is somebody else."""
    far = ~reach(mask, 0.05)
    count, parts, facts, _ = cv2.connectedComponentsWithStats(((seen > 0.1) & far).astype(np.uint8))
    totals = np.bincount(parts.ravel(), seen.ravel(), count)
    keep = totals / facts[:, cv2.CC_STAT_AREA] > SOLID
    keep[0] = False
    return np.where(far & ~keep[parts], 0.0, seen).astype(np.float32)


def animal_label(mask: Image, matte: Callable[[], Image], segmented: Alpha, people: Alpha | None) -> Label:
    """Return animals with a mask: the segmentation within reach of the mask, and people beside them.

    Args:
        mask: uint8 (H, W), 0 or 255.
        matte: makes the mask's own alpha, uint8 (H, W).
        segmented: of the salient subject.
        people: the matting network's alpha; None: there are none.
    """
    inside = mask > 127
    if not inside.any():
        return Label(None, "empty-mask", 0.0)
    near = np.where(reach(inside, 0.06), segmented, 0.0).astype(np.float32)
    agreement = iou(inside, near > 0.5)
    if agreement >= SURE_ANIMAL and half_seen(near) <= HALF_SEEN:
        alpha, rule = np.maximum(near, certain_inside(inside)), "segmented-edge"
    else:
        alpha, rule = matte().astype(np.float32) / 255.0, "mask-edge"
    if people is not None and people.mean() > 0.002:
        alpha, rule = np.maximum(alpha, people), rule + "+people"
    return Label(np.asarray(alpha, np.float32), rule, agreement)


def unlabelled_people(one: Alpha, other: Alpha) -> Label:
    """People without a mask: believed where the views of an image and of its mirror image agree and little is half seen."""
    agreement = iou(one > 0.5, other > 0.5)
    alpha = np.asarray((one + other) / 2, np.float32)
    if float(alpha.mean()) < 0.005:
        return Label(None, "nobody", agreement)
    if agreement < SURE_TWICE:
        return Label(None, "views-differ", agreement)
    if half_seen(alpha) > HALF_SEEN:
        return Label(None, "half-seen", agreement)
    return Label(alpha, "two-views", agreement)


def half_seen(alpha: Alpha) -> float:
    """Return the share of alphas between 0.1 and 0.9 in the area above 0.1."""
    area = int(np.count_nonzero(alpha > 0.1))
    return float(np.count_nonzero((alpha > 0.1) & (alpha < 0.9))) / area if area else 0.0
