"""The filter over time behind ``--stable``: memory along motion, then the average where nothing moves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from streammat.matting.motion import MotionMemory
from streammat.matting.temporal import TemporalFilter
from streammat.media.planes import FloatPlane


class SteadyFilter:
    """Filters the alphas of one stream in the order of their frames; not thread-safe."""

    def __init__(self) -> None:
        self._moving = MotionMemory()
        self._still = TemporalFilter()

    def __call__(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane:
        """Return the filtered alpha of one frame; see ``TemporalFilter.__call__``."""
        return self._still(self._moving(alpha, rgb, at), rgb, at)

    def restart(self) -> None:
        """Forget all frames: the next one is returned unchanged."""
        self._moving.restart()
        self._still.restart()
