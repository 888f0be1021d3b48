"""The guard: decides whether the network's alpha may be shown live, before the filter over time and again after it.

The dangerous fault of a matte is to call the real background subject. No single number shows it: a mean of 0.9 may be somebody
near the camera or a haze over the whole room. So each alpha must pass these tests, in this order:

* **Decided.** A real alpha is 0 or 1 except at edges; one that is in between nearly everywhere (a constant 0.8, luma taken as
  alpha, haze) is refused.
* **The unchanged background.** A part that was background a moment ago and looks the same is background
  (`streammat.live.guarding.seen_background`). An alpha that covers much of that is refused. Somebody who leans in changes what is seen
  there, and is not refused.
* **A second look, when in doubt.** Doubtful are mattes that cover nearly all of the image or of its border, are undecided in
  large parts, or have grown suddenly. The network is shown the image again, at a quarter of its size in the middle of grey,
  without its fine detail. The right answer for the grey is known, so a network that calls everything subject fails here; and
  somebody near the camera is found at any size, while noise that was taken for a subject is not.

The filter over time starts anew after a refusal, so nothing refused stays in its state. Where its result would not have
passed, the alpha that did is shown instead.

Refusals end by themselves: with the first alpha that passes; a sudden growth is accepted after ``RECENT``; a matte that covers
unchanged background is accepted after ``PATIENCE``, if the second look agrees (a chair that the network had missed, black clothes
in front of black). A matte that is undecided, or fills the image while the second look finds nobody, is refused as long as it
lasts.

The thresholds lie between the values of real clips and those of faults; ``benchmarks/live/guard.py`` measures both, and docs/live.md
has its figures.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import EngineError
from streammat.live.guarding.seen_background import SeenBackground, cells_of
from streammat.matting.steady import SteadyFilter
from streammat.media.planes import FloatPlane

Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function like `streammat.engines.base.Engine.infer`."""

UNDECIDED: Final = 0.3
"""Largest mean of 4a(1 - a) of an acceptable alpha. Clips have 0.08 at most, a constant 0.9 has 0.36."""
CLAIMED: Final = 0.2
"""Largest share of the known, unchanged background that alpha may cover. Clips have 0.01 at most, somebody who leans in 0.10."""
UNSURE: Final = 0.12
"""Largest share of it that raises no doubt."""
BORDER: Final = 0.7
"""Largest share of the border as subject that raises no doubt. Clips have 0.31 at most, noise that fools the network 0.74 and
more.
"""
FULL: Final = 0.85
"""Largest mean alpha that raises no doubt."""
GROWTH: Final = 0.15
"""Largest rise of mean alpha over the last one shown that raises no doubt. From frame to frame clips have 0.04 at most."""
RECENT: Final = Fraction(1)
"""Seconds for which the last alpha shown limits the growth of the subject."""
MISSED: Final = 0.4
"""Largest share of the first look's alpha that the second may miss."""
GREY_CLAIMED: Final = 0.1
"""Largest mean alpha of the grey around the image in the second look."""
PATIENCE: Final = Fraction(2)
"""Seconds after which a matte over unchanged background is accepted, if the second look agrees."""

_GREY: Final = 128
_FINE: Final = 5  # median over so many pixels at half the size of the network's input: blocks of noise up to 24 lines of 720 are gone


class Guard:
    """Accepts or refuses the alphas of one live stream, in the order of their frames; not thread-safe.

    Args:
        stable: the filter over time for accepted alphas; None: not filtered.
    """

    def __init__(self, stable: SteadyFilter | None = None) -> None:
        self._stable = stable
        self._seen = SeenBackground()
        self._last: tuple[Fraction, float] | None = None
        self._claimed_since: Fraction | None = None
        self.opacity = 0.0
        """Mean of the last accepted alpha."""

    def __call__(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction, look: Look) -> FloatPlane:
        """Check and filter an alpha.

        Args:
            alpha: float32 (h, w), finite; unchanged on return.
            rgb: uint8 (H, W, 3), RGB, 0..255: the network's input.
            at: the frame's time in seconds, exact.
            look: the network, for a second look.

        Returns:
            float32 (h, w), 0..1, filtered over time.

        Raises:
            EngineError: it would show the real background, or the network failed in the second look.
        """
        if alpha.ndim != 2 or not alpha.size:
            raise EngineError(f"the network's alpha is {alpha.shape}; expected (height, width)")
        alpha, cells = np.clip(alpha, 0.0, 1.0), cells_of(rgb)
        try:
            self._check(alpha, cells, at, lambda: _look_again(alpha, rgb, look))
        except Exception:
            if self._stable is not None:
                self._stable.restart()
            raise
        if self._stable is not None:
            alpha = self._chosen(self._stable(alpha, rgb, at), alpha, cells)
        self._seen.learn(alpha, cells)
        self.opacity = float(alpha.mean())
        self._last = at, self.opacity
        return alpha

    def _check(self, alpha: FloatPlane, cells: FloatPlane, at: Fraction, look_again: Callable[[], None]) -> None:
        if _undecided(alpha) > UNDECIDED:
            raise EngineError("the matte is neither subject nor background in most of the frame; that would show the real background")
        if self._seen.claimed(alpha, cells) > CLAIMED:
            if self._claimed_since is None or at < self._claimed_since:
                self._claimed_since = at
            if at - self._claimed_since < PATIENCE:
                raise EngineError("the matte calls subject what was background a moment ago and looks the same; that would show the real background")
            look_again()
            self._seen.forget()
        elif _doubtful(alpha) or self._grown(alpha, at) > GROWTH:
            look_again()
        self._claimed_since = None

    def _grown(self, alpha: FloatPlane, at: Fraction) -> float:
        """Return the growth of the subject since the last matte shown; 0 if that is too long ago."""
        if self._last is None or not 0 <= at - self._last[0] <= RECENT:
            return 0.0
        return float(alpha.mean()) - self._last[1]

    def _chosen(self, filtered: FloatPlane, alpha: FloatPlane, cells: FloatPlane) -> FloatPlane:
        """Return ``filtered``, the filter's result for ``alpha``, if it passes the tests, too; else ``alpha``, and restart the
        filter.
        """
        assert self._stable is not None
        if self._seen.claimed(filtered, cells) <= CLAIMED and (_doubtful(alpha) or not _doubtful(filtered)) and _undecided(filtered) <= UNDECIDED:
            return filtered
        self._stable.restart()
        return alpha


def _undecided(alpha: FloatPlane) -> float:
    """Return the mean of 4a(1 - a): 0 if all alpha is 0 or 1, 1 if all is a half."""
    return 4.0 * (float(alpha.mean()) - float(np.square(alpha).mean()))


def _doubtful(alpha: FloatPlane) -> bool:
    """Return whether the alpha leaves hardly any background, or is largely undecided."""
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return _undecided(alpha) > UNSURE or float(alpha.mean()) > FULL or float((border > 0.5).mean()) > BORDER


def _look_again(alpha: FloatPlane, rgb: NDArray[np.uint8], look: Look) -> None:
    """Compare ``alpha`` with the network's alpha of the same image, small and without detail, in the middle of grey.

    Raises:
        EngineError: the two do not agree, or the grey is called subject.
    """
    height, width = rgb.shape[:2]
    half = cv2.medianBlur(cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA), _FINE)
    quarter = cv2.resize(half, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    # The network's input has sides of multiples of 32, and its alpha the same or half: all of this divides without rest.
    top, left = 3 * height // 8, 3 * width // 8
    shown = np.full_like(rgb, _GREY)
    shown[top : top + height // 4, left : left + width // 4] = quarter
    seen = look(shown[None])[0]
    stride = height // seen.shape[0]
    inside = (
        slice(top // stride, (top + height // 4) // stride), slice(left // stride, (left + width // 4) // stride)
    )
    found = np.clip(seen[inside], 0.0, 1.0)
    first = cv2.resize(alpha, found.shape[::-1], interpolation=cv2.INTER_AREA)
    # Written so that what is no number is refused, too.
    missed = float(np.maximum(first - found, 0.0).mean())
    if not missed <= MISSED * float(first.mean()):
        raise EngineError("the matte fills the frame, is uncertain or has grown suddenly, and a second run on less detail does not find that subject")
    # A soft edge reaches a little beyond the image.
    around = np.ones(seen.shape, np.bool_)
    margin = 4 // stride
    around[inside[0].start - margin : inside[0].stop + margin, inside[1].start - margin : inside[1].stop + margin] = False
    if not float(np.clip(seen[around], 0.0, 1.0).mean()) <= GREY_CLAIMED:
        raise EngineError("the network calls plain grey subject; try another --engine or --precision fp32")
