"""Matting on a GPU by ``streammat.engines.gpu.stage``: the same results as on the host, without copies in between.

``matting_for`` decides: engines that take tensors get the stage, all others work on the host. No other part knows: a frame's
matte is a ``Matte`` whose alpha is still on the device, and ``Compositor`` lets such a matte draw the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streammat.engines.base import Engine, TensorEngine
from streammat.engines.gpu.plan import Blurring, Colouring, Drawn, FramePlan
from streammat.matting.matting import FrameMatting, HostMatting, Look
from streammat.matting.refine import refining
from streammat.matting.rest import Rest
from streammat.matting.temporal import AlphaFilter
from streammat.media.frame import Frame, Matte, Plane, swscale_matrix, swscale_range

if TYPE_CHECKING:
    from streammat.engines.gpu.stage import StagedFrame

BATCH = 4
"""Largest batch of a file's frames."""


class DeviceMatting:
    """Makes the mattes of one stream, as ``HostMatting`` does, on the device of a torch engine. One thread calls it.

    Args:
        engine: as ``HostMatting`` takes it.
        stable: as ``HostMatting`` takes it; it runs on the host.
        batch: most frames per batch. Live video takes 1, so that no frame waits for the next one.

    Raises:
        EngineError: the device has too little memory, or failed.
    """

    def __init__(self, engine: TensorEngine, stable: AlphaFilter | None = None, batch: int = 1) -> None:
        from streammat.engines.gpu.stage import FrameStage

        self.engine: Engine = engine
        self._stage = FrameStage(engine, batch, stable)
        self.ahead = 2 * self._stage.batch
        self._plan: tuple[object, FramePlan] | None = None

    def __call__(self, frame: Frame) -> DeviceMatte:
        """Return the matte of ``frame``, which the device may still be computing; failures are raised when it is used.

        Raises:
            EngineError: the device failed.
        """
        planes = frame.planes[: frame.layout.colour_planes]
        return DeviceMatte(self._stage.submit(planes, self._plan_of(frame), frame.pts * frame.time_base))

    def idle(self, seconds: float) -> bool:
        """See ``FrameMatting.idle``; closing the engine waits for the device."""
        del seconds
        return True

    def _plan_of(self, frame: Frame) -> FramePlan:
        """Return the parameters of the stage; the same object for all frames of a stream."""
        key = frame.size, frame.layout, frame.colour, frame.rotation
        if self._plan is None or self._plan[0] != key:
            layout, alpha = frame.layout, self._stage.alpha_size
            stored = alpha if frame.rotation % 2 == 0 else alpha[::-1]
            plan = FramePlan(
                frame.size, layout.depth, layout.chroma, layout.rgb, layout.colour_planes, frame.black,
                swscale_matrix(frame.colour, frame.size[0]), swscale_range(frame) == 2, frame.rotation, refining(frame.size, stored),
            )
            self._plan = key, plan
        return self._plan[1]


class DeviceMatte(Matte):
    """A matte on a device, with its frame's planes."""

    def __init__(self, work: StagedFrame) -> None:
        object.__setattr__(self, "_work", work)
        object.__setattr__(self, "_alpha", None)
        object.__setattr__(self, "network", None)

    __slots__ = ("_alpha", "_work")
    _work: StagedFrame
    _alpha: Plane | None

    @property
    def alpha(self) -> Plane:
        """Alpha, as in ``Matte.alpha``; waits for the device the first time.

        Raises:
            EngineError: the network or the device failed.
        """
        if self._alpha is None:
            object.__setattr__(self, "_alpha", self._work.alpha())
        assert self._alpha is not None
        return self._alpha

    def mirrored(self) -> DeviceMatte:
        """Return the matte of the mirrored frame."""
        return DeviceMatte(self._work.mirrored())

    def draw(
        self, contents: Sequence[Drawn], behind: Sequence[Plane] | Blurring | None, colouring: Colouring | None,
        *, premultiplied: bool, matte: bool,
    ) -> dict[Drawn, tuple[Plane, ...]]:
        """Return colour planes of images of the frame; see ``streammat.engines.gpu.stage.StagedFrame.draw``. ``matte``: alpha will be
        read.
        """
        images, alpha = self._work.draw(
            contents, behind, colouring, premultiplied=premultiplied, matte=matte and self._alpha is None
        )
        if alpha is not None:
            object.__setattr__(self, "_alpha", alpha)
        return images


def matting_for(
    engine: Engine, stable: AlphaFilter | None = None, batch: int = 1, look: Look | None = None, rest: Rest | None = None, *, later: bool = False
) -> FrameMatting:
    """Return the matting for ``engine``: on its device if it takes tensors and there is no ``look``, else on the host; only there
    the network may rest, and ``later`` is as ``HostMatting`` takes it.

    Raises:
        EngineError: the device has too little memory, or failed.
    """
    if isinstance(engine, TensorEngine) and look is None:
        return DeviceMatting(engine, stable, batch)
    return HostMatting(engine, stable, look, rest, later=later)
