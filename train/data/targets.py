"""Class maps made from alpha: the glance targets of the three RoSTas (the paper's Section 3.3) and trimaps.

With foreground where alpha > 250 and background where alpha < 5 (of 255):

- TT: 0 background, 1 transition, 2 foreground; both areas are eroded by the kernel. Focus target: alpha.
- FT: 1 in the eroded foreground, 0 elsewhere. Focus target: alpha - class.
- BT: 0 in the background, 1 elsewhere, the latter dilated. Focus target: class - alpha.

Kernels are squares. The image's border erodes nothing: a subject that its image cuts stays certain there.
"""

from __future__ import annotations

import cv2
import numpy as np

from streammat.train.data.images import Image

KERNELS = {"TT": 25, "FT": 50, "BT": 50}
"""Side of the square kernel of each RoSTa, in pixels of the training image."""
TRIMAP = "trimap"
"""Name of the class map that is a trimap with random dilation: TT with a different kernel for each sample."""
TRIMAP_KERNELS = (5, 50)
"""Smallest and largest side of that kernel, in pixels of the training image."""
KERNEL_IMAGE = 800
"""Short side, in pixels, of the image for which `scaled_classes` leaves the kernels unscaled."""
BACKGROUND_BELOW = 5
FOREGROUND_ABOVE = 250
"""Alpha, of 255, above which a pixel is certain foreground; likewise below the next for background."""


def rosta_classes(alpha: Image, rosta: str, kernel: int | None = None) -> Image:
    """Return the glance target of one RoSTa.

    Args:
        alpha: uint8 (H, W), 0..255, 255 = foreground.
        rosta: ``TT``, ``FT`` or ``BT``.
        kernel: side of the square in pixels, at least 1; None takes `KERNELS`. An even square reaches one pixel further up and
            left than down and right.

    Returns:
        uint8 (H, W): the class of each pixel, 0..2 for TT and 0..1 for FT and BT.

    Raises:
        ValueError: an unknown RoSTa or a kernel below 1.
    """
    if rosta not in KERNELS:
        raise ValueError(f"unknown RoSTa {rosta!r}; expected one of {', '.join(KERNELS)}")
    side = KERNELS[rosta] if kernel is None else kernel
    if side < 1:
        raise ValueError(f"kernel {side} is below 1 pixel")
    square = np.ones((side, side), np.uint8)
    if rosta == "FT":
        return _foreground(alpha, square)
    if rosta == "BT":
        return _not_background(alpha, square)
    return cv2.add(_foreground(alpha, square), _not_background(alpha, square)).astype(np.uint8, copy=False)


def scaled_classes(alpha: Image, rosta: str, stride: int) -> Image:
    """Return the glance target at a network's output resolution, for images of arbitrary scale.

    The kernel keeps its proportion to an image of `KERNEL_IMAGE` pixels, so that the visible width of the transition area does
    not depend on the size of the training image. Its side is always odd, and at least 3.

    Args:
        alpha: uint8 (H, W), 0..255, at the network's input size; H and W multiples of ``stride``.
        rosta: ``TT``, ``FT`` or ``BT``.
        stride: input pixels per output pixel.

    Returns:
        uint8 (H / stride, W / stride).
    """
    height, width = alpha.shape
    small = alpha if stride == 1 else cv2.resize(alpha, (width // stride, height // stride), interpolation=cv2.INTER_AREA)
    radius = max(1, round(KERNELS[rosta] * min(height, width) / KERNEL_IMAGE / stride / 2))
    return rosta_classes(small.astype(np.uint8, copy=False), rosta, 2 * radius + 1)


def trimap(alpha: Image, kernel: int = KERNELS["TT"]) -> Image:
    """Make a trimap for an evaluation set that has none.

    Args:
        alpha: uint8 (H, W), 0..255.
        kernel: as in `rosta_classes`.

    Returns:
        uint8 (H, W): 0 background, 128 transition, 255 foreground.
    """
    return np.array([0, 128, 255], np.uint8)[rosta_classes(alpha, "TT", kernel)]


def _foreground(alpha: Image, square: Image) -> Image:
    certain = (alpha > FOREGROUND_ABOVE).view(np.uint8)
    return cv2.erode(certain, square).astype(np.uint8, copy=False)


def _not_background(alpha: Image, square: Image) -> Image:
    possible = (alpha >= BACKGROUND_BELOW).view(np.uint8)
    return cv2.dilate(possible, square).astype(np.uint8, copy=False)
