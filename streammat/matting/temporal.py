"""Filter over time: averages out flicker where the image does not move, without trails where it moves.

The state is an averaged matte and the averaged image that it belongs to, with one age per pixel for both. Where the new image
differs from the averaged one by more than noise, something has moved: the average there is discarded, and the network's alpha is
used unchanged; likewise where much of the neighbourhood moved, since parts of a moving subject may look like what was there
before. Elsewhere the new alpha joins the average, in which every frame since the last movement has the same weight. Slow movement
leaves no trail: the averaged image would trail as well, and differ.

* A value of a single frame is dropped where the image is still (median of three: the average, the frame before, this one). If two
  successive frames differ from the average, they are believed, even without movement in the image.
* Changes of the light are taken out first, as one gain per colour. Noise is estimated from each frame: its quietest quarter shows
  how much pixels of unchanged content differ.
* Where most of the image differs, it is a cut (or a pan): everything is started anew.
* Where all frames agree on a value, 0 and 1 among them, the result is that value, bit for bit.

No later frame is looked at, so there is no delay.

The constants were chosen with ``benchmarks/live/temporal.py`` on drawn clips of two people in two rooms and on two webcam clips,
none of which are the project's files, one constant after the other: error and lag were not to rise by more than a few
percent and a tenth of a frame, and flicker was to be least. Around them results change slowly: with ``MEMORY`` from 0.25 to
1.2 s flicker on still subjects goes from 0.15 to 0.11 of what it is unfiltered; with ``FLOOR`` from 0.8 to 2, from 0.13 to
0.11, while the worst lag goes from 0.04 frames to 0.17. That benchmark's own person took no part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.media.planes import FloatPlane

AlphaFilter = Callable[[FloatPlane, NDArray[np.uint8], Fraction], FloatPlane]
"""(alpha, rgb, time) → alpha, as ``TemporalFilter.__call__``."""

MEMORY: Final = 0.5
"""Longest memory of the average, in seconds."""
GAP: Final = Fraction(1, 2)
"""Seconds between two frames beyond which the earlier one tells nothing about the later."""
SHORTEST: Final = Fraction(1, 240)
"""Least time in seconds that a frame counts: times that hardly advance must not freeze the matte."""
FLOOR: Final = 1.2
"""Least noise assumed, as mean absolute difference, in values of 0..255 at the matte's size."""
CEILING: Final = 3.0
"""Most noise assumed: larger differences are movement."""
QUIET: Final = 1.6
"""Multiple of the noise up to which differences are ignored."""
MOVING: Final = 3.0
"""Multiple of the noise from which differences are certainly movement."""
DOUBT: Final = 0.25
"""Distance of alpha from its average from which two frames in a row begin to be believed..."""
BELIEF: Final = 0.5
"""...and from which they are believed at once."""
NEIGHBOURHOOD: Final = 0.32
"""Side of a pixel's neighbourhood, as a share of the matte's short side."""
FEW: Final = 0.25
"""Share of moving pixels in the neighbourhood up to which they do not matter..."""
MANY: Final = 0.5
"""...and from which the whole neighbourhood counts as moving."""
CUT: Final = 0.6
"""Share of moving pixels in the image above which the filter restarts."""

_WINDOW: Final = (5, 5)
_REACH: Final = np.ones((3, 3), np.uint8)
_SAMPLE: Final = 8  # every 8th pixel of every 8th row is enough for statistics
_QUARTER_TO_MEAN: Final = 1.3  # of differences of noise alone over the window: mean over lower quartile
_BLACK: Final = 8.0  # keeps ratios of dark values calm


class TemporalFilter:
    """Filters the alphas of one stream in the order of their frames; not thread-safe.

    Takes about 0.5 ms for alpha of 256x144 on one core; all scratch memory is allocated with the first frame.
    """

    def __init__(self) -> None:
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._last: Fraction | None = None
        self._fresh = True

    def __call__(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane:
        """Return the filtered alpha of one frame.

        A first frame, the first after ``restart``, one of another size, one that is not later than the frame before or more than
        ``GAP`` later, and the first after a cut are returned unchanged.

        Args:
            alpha: float32 (h, w), 0..1, 1 = foreground; unchanged on return.
            rgb: uint8 (H, W, 3), RGB, 0..255: the same image at any size from the matte's upwards.
            at: the frame's time in seconds, exact.

        Returns:
            float32 (h, w), 0..1, in new memory.
        """
        if (alpha.shape, rgb.shape) != self._shapes:
            self._allocate(alpha.shape, rgb.shape)
        passed = None if self._last is None else at - self._last
        self._last = at
        cv2.resize(rgb, alpha.shape[::-1], self._small, interpolation=cv2.INTER_AREA)
        for index, plane in enumerate(self._picture):
            plane[:] = self._small[:, :, index]
        if passed is None or not 0 < passed <= GAP:
            return self._start(alpha)
        step = np.float32(max(passed, SHORTEST))
        moving = self._find_motion()
        if moving is None:
            return self._start(alpha)
        self._join(alpha, moving, step)
        return np.array(self._alpha)

    def restart(self) -> None:
        """Forget all frames: the next one is returned unchanged."""
        self._last = None

    def _start(self, alpha: FloatPlane) -> FloatPlane:
        """Restart the average from this frame."""
        self._alpha[:] = alpha
        self._before[:] = alpha
        self._average[:] = self._picture
        self._fresh = True
        return np.array(alpha)

    def _find_motion(self) -> FloatPlane | None:
        """Return (h, w): 0 where the image matches the averaged one, 1 where it certainly does not; None after a cut."""
        scratch, difference = self._scratch, self._difference
        for new, old in zip(self._picture, self._average, strict=True):
            gain = _median((new[::_SAMPLE, ::_SAMPLE] + _BLACK) / (old[::_SAMPLE, ::_SAMPLE] + _BLACK))
            np.multiply(old, gain, out=old)
        cv2.absdiff(self._picture[0], self._average[0], difference)
        for new, old in zip(self._picture[1:], self._average[1:], strict=True):
            cv2.absdiff(new, old, scratch)
            cv2.add(difference, scratch, difference)
        cv2.blur(difference, _WINDOW, scratch, borderType=cv2.BORDER_REPLICATE)
        sample = scratch[::_SAMPLE, ::_SAMPLE].flatten()
        sample.partition(sample.size // 4)
        noise = 3.0 * min(max(_QUARTER_TO_MEAN / 3.0 * float(sample[sample.size // 4]), FLOOR), CEILING)
        scratch -= np.float32(QUIET * noise)
        scratch *= np.float32(1.0 / ((MOVING - QUIET) * noise))
        np.clip(scratch, 0.0, 1.0, out=scratch)
        if cv2.mean(scratch)[0] > CUT:
            return None
        cv2.dilate(scratch, _REACH, difference)
        side = 2 * round(NEIGHBOURHOOD / 2 * min(difference.shape)) + 1
        cv2.blur(difference, (side, side), scratch, borderType=cv2.BORDER_REPLICATE)
        scratch -= np.float32(FEW)
        scratch *= np.float32(1.0 / (MANY - FEW))
        np.minimum(scratch, 1.0, out=scratch)
        return np.asarray(cv2.max(difference, scratch, difference), np.float32)

    def _join(self, alpha: FloatPlane, moving: FloatPlane, step: np.float32) -> None:
        """Add the frame to the average; where ``moving`` is 1 it replaces it."""
        target, scratch, age = self._target, self._scratch, self._age
        # The median of the average, the frame before and this one; this one itself where it moves.
        cv2.min(alpha, self._before, target)
        cv2.max(alpha, self._before, scratch)
        cv2.min(scratch, self._alpha, scratch)
        cv2.max(target, scratch, target)
        np.subtract(alpha, target, out=scratch)
        scratch *= moving
        target += scratch
        self._before[:] = alpha
        target -= self._alpha
        # If two successive frames differ from the average, that counts as movement, too.
        np.absolute(target, out=scratch)
        scratch -= np.float32(DOUBT)
        scratch *= np.float32(1.0 / (BELIEF - DOUBT))
        cv2.max(moving, scratch, moving)
        np.subtract(1.0, moving, out=scratch)
        np.clip(scratch, 0.0, 1.0, out=scratch)
        if self._fresh:
            age.fill(step)
            self._fresh = False
        age *= scratch
        age += step
        np.minimum(age, np.float32(MEMORY), out=age)
        weight = np.divide(step, age, out=scratch)
        # The average of equals is exactly that value: what is added then is 0.
        target *= weight
        self._alpha += target
        np.clip(self._alpha, 0.0, 1.0, out=self._alpha)
        for new, old in zip(self._picture, self._average, strict=True):
            np.subtract(new, old, out=target)
            target *= weight
            np.add(old, target, out=old)

    def _allocate(self, shape: tuple[int, ...], guide: tuple[int, ...]) -> None:
        """Allocate memory for alphas of ``shape`` (h, w) and images of ``guide`` (H, W, 3), and restart."""
        self._shapes = shape, guide
        self._last = None
        self._small = np.empty((*shape, 3), np.uint8)
        self._picture, self._average = np.empty((3, *shape), np.float32), np.empty((3, *shape), np.float32)
        self._alpha, self._before, self._age, self._target, self._scratch, self._difference = np.empty((6, *shape), np.float32)


def _median(values: FloatPlane) -> np.float32:
    flat = values.flatten()
    flat.partition(flat.size // 2)
    return np.float32(flat[flat.size // 2])
