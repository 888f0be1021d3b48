"""Frame to matte for live video: mattes are checked before anybody may use them, and the network can be exchanged."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from engines.base import Engine, EngineError
from streammat.composite import full_scale
from streammat.frame import Frame, Matte
from streammat.matting import Matting, MattingOfFrames

MOST_SUBJECT = 0.98
"""Share of the frame that a subject can fill. A matte beyond that would show the room: nobody fills every corner."""

MakeMatting = Callable[[Engine], MattingOfFrames]


class LiveMatting:
    """One thread calls it; ``exchange`` may be called by another.

    Args:
        engine: as ``Matting`` takes it.
        make: how an engine becomes what makes mattes, with whatever filter over time belongs to it.
    """

    def __init__(self, engine: Engine, make: MakeMatting = Matting) -> None:
        self._make = make
        self._matting = self._made(engine)
        self._next: Engine | None = None
        self.spec = engine.spec
        """Of the engine at work."""

    def __call__(self, frame: Frame) -> Matte:
        """The matte of ``frame``, fit to be shown.

        Raises:
            EngineError: the network failed, or gave what is no matte of this frame.
        """
        fresh, self._next = self._next, None
        if fresh is not None:
            self._matting.engine.close()
            self._matting = self._made(fresh)
            self.spec = fresh.spec
        matte = self._matting(frame)
        check(matte, frame)
        return matte

    def exchange(self, engine: Engine) -> None:
        """Work with another engine from the next frame on; the one before is closed then."""
        unused, self._next = self._next, engine
        if unused is not None:
            unused.close()

    def _made(self, engine: Engine) -> MattingOfFrames:
        try:
            return self._make(engine)
        except EngineError:
            engine.close()
            raise

    def close(self) -> None:
        """Close the engines; only once nobody calls."""
        self._matting.engine.close()
        if self._next is not None:
            self._next.close()


def check(matte: Matte | None, frame: Frame) -> None:
    """Refuse a matte that would show the room.

    Raises:
        EngineError: it is missing, of another size or type, or calls nearly the whole frame subject.
    """
    if matte is None:
        raise EngineError("the network gave no matte")
    alpha = matte.alpha
    expected = np.dtype(np.uint8 if frame.layout.depth == 8 else np.uint16)
    if alpha.shape != frame.size or alpha.dtype != expected:
        raise EngineError(f"the network's matte is {alpha.dtype} {alpha.shape}; expected {expected} {frame.size}")
    share = cv2.mean(alpha)[0] / full_scale(alpha)
    if share > MOST_SUBJECT:
        raise EngineError(f"the matte calls {100 * share:.0f} percent of the frame subject; that would show the room")
