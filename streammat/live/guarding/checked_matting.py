"""Frame to matte for live video: mattes are checked before use, and the network can be exchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from streammat.engines.base import Engine, EngineError
from streammat.live.guarding.guard import Guard
from streammat.matting.device import matting_for
from streammat.matting.matting import FrameMatting
from streammat.matting.rest import Rest
from streammat.matting.steady import SteadyFilter
from streammat.matting.temporal import AlphaFilter
from streammat.media.frame import Frame, Matte
from streammat.media.planes import full_scale
from streammat.stats import StageClock

REFINED = 0.1
"""Largest rise of the mean from the checked alpha to the matte: cleaning and resampling change it by 0.01."""

MakeMatting = Callable[[Engine, AlphaFilter], FrameMatting]


class CheckedMatting:
    """One thread calls it; ``exchange`` may be called by another.

    Args:
        engine: as ``HostMatting`` takes it.
        stable: the filter over time; None: mattes are not filtered.
        make: makes a matting from an engine and the check for its alphas.
        rest: lets the network rest while nothing moves, if ``make`` is not given; None: it processes every frame.
    """

    def __init__(
        self, engine: Engine, stable: SteadyFilter | None = None, make: MakeMatting | None = None, rest: Rest | None = None,
    ) -> None:
        # It outlives the engines: its memory of the background is valid for the next one, too.
        self._guard = Guard(stable)
        self._make = make or partial(matting_for, rest=rest)
        self._rest = rest
        self._work = StageClock("work")
        self._matting = self._matting_of(engine)
        self._passed: Matte | None = None
        """The last matte that passed; while the network rests it comes again."""
        self._next: Engine | None = None
        self.spec = engine.spec
        """Spec of the engine at work."""

    def __call__(self, frame: Frame) -> Matte:
        """Return the checked matte of ``frame``.

        Raises:
            EngineError: the network failed, returned a matte that does not fit the frame, or one that would show the real
                background.
        """
        fresh, self._next = self._next, None
        if fresh is not None:
            self._matting.engine.close()
            self._matting = self._matting_of(fresh)
            self.spec = fresh.spec
        rested = self.rested
        begin = time.perf_counter()
        matte = self._matting(frame)
        if self.rested == rested:
            self._work.add(time.perf_counter() - begin)
        check(matte, frame, lambda: 1.0 if matte is self._passed else self._guard.opacity + REFINED)
        self._passed = matte
        return matte

    @property
    def rested(self) -> int:
        """Number of frames so far for which the network rested."""
        return 0 if self._rest is None else self._rest.frames

    def work_ms(self) -> float:
        """Return the median time of the last mattes made by the network, in milliseconds; 0 if there is none yet."""
        return self._work.recent()

    def exchange(self, engine: Engine) -> None:
        """Use another engine from the next frame on; the old one is closed then."""
        unused, self._next = self._next, engine
        if unused is not None:
            unused.close()

    def _matting_of(self, engine: Engine) -> FrameMatting:
        try:
            return self._make(engine, partial(self._guard, look=engine.infer))
        except EngineError:
            engine.close()
            raise

    def close(self) -> None:
        """Close the engines; only after the last call."""
        self._matting.engine.close()
        if self._next is not None:
            self._next.close()


def check(matte: Matte | None, frame: Frame, most: Callable[[], float]) -> None:
    """Refuse a matte that does not fit ``frame``, or is more opaque than the checked alpha.

    Args:
        matte: at the frame's size.
        frame: its frame.
        most: returns the largest mean alpha, 0..1, that is allowed; called after the matte is made.

    Raises:
        EngineError: it is missing, of another size or type, or more opaque.
    """
    if matte is None:
        raise EngineError("the network returned no matte; try another --engine")
    alpha = matte.alpha
    expected = np.dtype(np.uint8 if frame.layout.depth == 8 else np.uint16)
    if alpha.shape != frame.size or alpha.dtype != expected:
        raise EngineError(f"the network's matte is {alpha.dtype} {alpha.shape}; expected {expected} {frame.size}")
    limit = most()
    if limit < 1.0 and cv2.mean(alpha)[0] / full_scale(alpha) > limit:
        raise EngineError("the matte is more opaque than the network's alpha; that would show the real background")
