"""Memory along motion: keeps what the network saw in the frame before where its new matte differs, although the image has only moved.

A network that sees each frame by itself loses a leg or a hand for a frame or two, or takes a piece of the room for the subject. Here the matte of the
frame before is carried along the optical flow to the new frame (dense inverse search: Kroeger et al., ECCV 2016). Where the two mattes differ over an
area, and the image that was carried along looks like the new one, the result lies between them, nearer to the one that is surer: closer to 0 or 1.

* Edges are as the network gives them: small differences, and those of single pixels, stay.
* What is uncovered, or was not in view, looks different; there the new matte counts alone. So does every cut.
* A matte that is wrong for one frame has faded after three.

No later frame is looked at, so there is no delay. The constants were chosen on nine sequences (the example, and eight of DAVIS): docs/lab_notes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.matting.temporal import GAP
from streammat.media.planes import FloatPlane

SHARE: Final = 0.6
"""Weight of the memory where both mattes are equally sure..."""
SURER: Final = 0.5
"""...and what is added for a difference of 1 between how sure they are..."""
MOST: Final = 0.9
"""...but the weight is never more."""
ALIKE: Final = 45.0
"""Difference of the images, in values of 0..255 summed over the colours, at which the memory's weight falls to 1/e, in an image of mean grey `BRIGHT` or more; in a
darker one proportionally less, since everything looks alike there.
"""
BRIGHT: Final = 110.0
DARKEST: Final = 0.2
"""Least share of `ALIKE`, so that noise in the dark does not count as movement."""
SMALL: Final = 0.05
"""Difference of the mattes over an area up to which they agree..."""
LARGE: Final = 0.2
"""...and from which they do not."""
CUT: Final = 0.4
"""Mean likeness below which the frame does not go on from the one before; within the sequences it is 0.67 at least, between two of them 0.12 at most."""
_AREA: Final = (9, 9)
_REACH: Final = np.ones(_AREA, np.uint8)
_LOOK: Final = (5, 5)


@dataclass(frozen=True)
class _Seen:
    """A frame, at the matte's size."""

    alpha: FloatPlane
    image: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    at: Fraction


class MotionMemory:
    """Carries the mattes of one stream along its motion, in the order of its frames; not thread-safe.

    Takes 1.5 ms for alpha of 240x144 on one core (EPYC, Zen 4), less where nothing has changed.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: _Seen | None = None
        self._places: FloatPlane = np.empty((0, 0, 2), np.float32)

    def __call__(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane:
        """Return the alpha of one frame, joined with what is known from the frame before.

        A first frame, the first after ``restart``, one of another size, and one that is not later than the frame before or more than ``GAP`` later are
        returned unchanged.

        Args:
            alpha: float32 (h, w), 0..1, 1 = foreground; unchanged on return.
            rgb: uint8 (H, W, 3), RGB, 0..255: the same image at any size from the matte's upwards.
            at: the frame's time in seconds, exact.

        Returns:
            float32 (h, w), 0..1: ``alpha`` itself, or new memory.
        """
        image = np.asarray(cv2.resize(rgb, alpha.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        before = self._before
        if before is not None and before.alpha.shape == alpha.shape and 0 < at - before.at <= GAP and _apart(before.alpha - alpha).max() > SMALL:
            alpha = self._joined(alpha, image, grey, before)
        self._before = _Seen(alpha, image, grey, at)
        return alpha

    def restart(self) -> None:
        """Forget all frames: the next one is returned unchanged."""
        self._before = None

    def _joined(self, alpha: FloatPlane, image: NDArray[np.uint8], grey: NDArray[np.uint8], before: _Seen) -> FloatPlane:
        """Return the alpha of a frame joined with that of the frame before."""
        height, width = alpha.shape
        if self._places.shape[:2] != alpha.shape:
            self._places = np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)
        places = self._flow.calc(grey, before.grey, None) + self._places  # type: ignore[call-overload]
        carried, shown = (cv2.remap(plane, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in (before.alpha, before.image))  # type: ignore[call-overload]
        unlike = cv2.transform(cv2.absdiff(image, shown), np.ones((1, 3), np.float32) / 3)
        alike = ALIKE * min(1.0, max(DARKEST, cv2.mean(grey)[0] / BRIGHT))
        unlike = cv2.blur(unlike.astype(np.float32), _LOOK) * np.float32(3 / alike)
        weight = np.exp(-unlike * unlike)
        if weight.mean() < CUT:
            return alpha
        weight[~_inside(places, width, height)] = 0.0
        difference = carried - alpha
        weight *= cv2.dilate(np.clip((_apart(difference) - SMALL) / (LARGE - SMALL), 0.0, 1.0), _REACH)
        weight *= np.clip(SHARE + SURER * (_sure(carried) - _sure(alpha)), 0.0, MOST)
        return np.asarray(np.clip(alpha + weight * difference, 0.0, 1.0), np.float32)


def _apart(difference: FloatPlane) -> FloatPlane:
    """Return by how much two mattes differ over the area around each pixel."""
    return np.abs(np.asarray(cv2.blur(difference, _AREA), np.float32))


def _sure(alpha: FloatPlane) -> FloatPlane:
    """Return how sure a matte is around each pixel: 0 for half transparent, 1 for 0 or 1."""
    return np.asarray(cv2.blur(np.abs(2.0 * alpha - 1.0), _AREA), np.float32)


def _inside(places: FloatPlane, width: int, height: int) -> NDArray[np.bool_]:
    """Return which places (h, w, 2), (x, y), are in an image."""
    x, y = places[..., 0], places[..., 1]
    return (x >= 0.0) & (x <= width - 1.0) & (y >= 0.0) & (y <= height - 1.0)
