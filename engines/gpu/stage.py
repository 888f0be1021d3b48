"""The GPU stage: uploads a frame's planes once, does all work on the device, and downloads the images once.

``submit`` never waits: all frames that the caller has submitted and not yet released are in progress at once, in three streams of
the device (`streammat.engines.gpu.streams`).

A network is faster with batches than with single images. So submitted frames wait until a batch is full or the result of one of
them is requested, whichever is first: batches are full if the device is the bottleneck, and small if frames come too slowly to
fill them. Nothing has to be flushed at the end.

On torch devices other than CUDA the same arithmetic runs without streams, for tests without a GPU.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streammat.engines.backends.cuda import device_error
from streammat.engines.base import EngineError, TensorEngine, lack_of_memory
from streammat.engines.gpu import compositing as drawing
from streammat.engines.gpu.plan import Blurring, Colouring, Drawn, FramePlan
from streammat.engines.gpu.resample import Filters
from streammat.engines.gpu.rgb import small_rgb
from streammat.engines.gpu.streams import DeviceStreams, PendingUpload, Plane

logger = logging.getLogger(__name__)

AlphaFilter = Callable[[NDArray[np.float32], NDArray[np.uint8], Fraction], NDArray[np.float32]]
"""A function (alpha, rgb, time) → alpha for upright images, called in the order of submission; an `EngineError` refuses that
frame only.
"""
NOT_FINITE = "the network's alpha contains NaN; try --engine onnxruntime --precision fp32"


class FrameStage:
    """Processes the frames of one stream. One thread submits, one other may draw.

    Args:
        engine: not closed here; must outlive the work.
        batch: most frames per batch; rounded down to a power of two and to ``engine.batch``, and halved if memory does not
            suffice, which is logged.
        stable: filter over time. It runs on the host, so submitting then waits for the network.

    Raises:
        EngineError: the device failed, or has too little memory.
    """

    def __init__(self, engine: TensorEngine, batch: int = 1, stable: AlphaFilter | None = None) -> None:
        self._engine = engine
        self._stable = stable
        self.batch = 1 << (max(1, min(batch, engine.batch)).bit_length() - 1)
        self._streams = DeviceStreams(torch.device(engine.spec.device))
        self._filters = Filters(self._streams.device)
        self._lock = threading.Lock()
        self._waiting: list[StagedFrame] = []
        self._behind: tuple[tuple[Plane, ...], list[Tensor]] | None = None
        self.alpha_size = self._warm_up()
        """Size (h, w) of the network's upright alpha."""

    def submit(self, planes: Sequence[Plane], plan: FramePlan, moment: Fraction) -> StagedFrame:
        """Begin to work on a frame.

        Args:
            planes: as described by ``plan``, rows may be strided; copied before this returns.
            plan: plan of this frame.
            moment: the frame's time in seconds, for the filter over time.

        Raises:
            EngineError: the upload failed. A failure of the network is raised when the result is used.
        """
        with self._failing():
            work = StagedFrame(self, plan, self._streams.bring(planes), moment)
        with self._lock:
            self._waiting.append(work)
            if len(self._waiting) >= self.batch:
                self._launch_waiting()
        return work

    # -- what StagedFrame calls ----------------------------------------------------------------------------------------

    def ensure(self, work: StagedFrame) -> _Matted:
        """Return the results of a frame; runs the network first if the frame still waits.

        Raises:
            EngineError: the device or the network failed on it.
        """
        with self._lock:
            if work in self._waiting:
                self._launch_waiting()
        if work.failure is not None:
            raise EngineError(str(work.failure)) from work.failure
        assert work.matted is not None
        return work.matted

    def matte(self, work: StagedFrame) -> Plane:
        """See `StagedFrame.alpha`."""
        matted = self.ensure(work)
        with self._failing(), self._computing():
            codes = work.turned(matted.codes[None])
            taken = self._streams.take([matted.finite.to(torch.uint8).reshape(1), codes.flatten().view(torch.uint8)])
        with self._failing():
            finite, alpha = taken()
        _check(finite)
        return alpha.view(_dtype(work.plan)).reshape(work.plan.size)

    def draw(
        self, work: StagedFrame, contents: Sequence[Drawn], behind: Sequence[Plane] | Blurring | None, colouring: Colouring | None,
        *, premultiplied: bool, matte: bool,
    ) -> tuple[dict[Drawn, tuple[Plane, ...]], Plane | None]:
        """See `StagedFrame.draw`."""
        plan, matted = work.plan, self.ensure(work)
        with self._failing(), self._computing():
            planes = [work.turned(plane) for plane in _numbers(work.arrived(), plan)]
            codes = work.turned(_numbers([matted.codes], plan)[0])
            mattes = drawing.Mattes(codes, plan)
            exact = None if colouring is None else drawing.foreground(planes, mattes, plan, colouring, self._filters)
            colour = planes if exact is None else [plane.round() for plane in exact]
            parts = [matted.finite.to(torch.uint8).reshape(1)]
            for content in contents:
                if content == "foreground":
                    drawn = colour
                elif content == "transparent":
                    shown = mattes if premultiplied else drawing.Mattes(drawing.around(codes, plan), plan)
                    drawn = drawing.blend(colour, shown, drawing.black_of(plan), plan)
                else:
                    assert behind is not None
                    back = (
                        drawing.blurred(planes, mattes, plan, behind, self._filters)
                        if isinstance(behind, Blurring)
                        else self._uploaded(tuple(behind), plan)
                    )
                    drawn = drawing.blend(planes, mattes, back, plan) if exact is None else drawing.over(exact, mattes, back, plan)
                parts.extend(_stored(plane, plan).flatten().view(torch.uint8) for plane in drawn)
            if matte:
                parts.append(_stored(codes, plan).flatten().view(torch.uint8))
            taken = self._streams.take(parts)
        with self._failing():
            finite, *found = taken()
        _check(finite)
        shapes = [plan.shape(index) for index in range(plan.planes)]
        arrays = [part.view(_dtype(plan)) for part in found]
        alpha = arrays.pop().reshape(plan.size) if matte else None
        images: dict[Drawn, tuple[Plane, ...]] = {}
        for content in contents:
            mine, arrays = arrays[: plan.planes], arrays[plan.planes :]
            images[content] = tuple(part.reshape(shape) for part, shape in zip(mine, shapes, strict=True))
        return images, alpha

    # -- the network --------------------------------------------------------------------------------------------

    def _launch_waiting(self) -> None:
        """Process all waiting frames in as few batches as possible; called with the lock held. Failures are stored with their
        frames.
        """
        waiting, self._waiting = self._waiting, []
        while waiting:
            same = next((n for n, work in enumerate(waiting) if work.plan != waiting[0].plan), len(waiting))
            # Powers of two: an engine holds one graph for each size.
            count = min(self.batch, 1 << (same.bit_length() - 1))
            part = waiting[:count]
            fault = self._tried(part)
            if fault is not None and count > 1 and lack_of_memory(fault):
                self.batch = count // 2
                logger.warning("%s holds no batch of %d of these frames; %d is taken", self._streams.device, count, self.batch)
                self._streams.free()
                continue
            if fault is not None:
                for work in part:
                    work.failure = fault
            waiting = waiting[count:]

    def _tried(self, works: Sequence[StagedFrame]) -> EngineError | None:
        try:
            with self._failing():
                self._launch(works)
        except EngineError as error:
            # The frames of its traceback hold memory of the device, and the failure is kept as long as its frame is.
            cause: BaseException | None = error
            while cause is not None:
                cause.__traceback__ = None
                cause = cause.__cause__ or cause.__context__
            return error
        return None

    def _launch(self, works: Sequence[StagedFrame]) -> None:
        plan = works[0].plan
        with self._computing():
            frames = [_numbers(work.arrived(), plan) for work in works]
            planes = [torch.cat(same) for same in zip(*frames, strict=True)]
            rgb = small_rgb(planes, plan, self._engine.spec.size, self._filters)
            alpha = self._engine.matte(rgb)
            if alpha.shape != (len(works), *self.alpha_size):
                raise EngineError(f"the network's alpha is {tuple(alpha.shape)}; expected {(len(works), *self.alpha_size)}")
            finite = alpha.isfinite().flatten(1).all(1)
            if self._stable is not None:
                alpha = self._filtered(works, alpha, rgb, finite)
            alpha = torch.rot90(alpha, -plan.turns, (1, 2))
            mattes = _stored(drawing.refine(alpha, planes, plan, self._filters), plan)
            for work, codes, good in zip(works, mattes, finite, strict=True):
                work.matted = _Matted(codes, good)

    def _filtered(self, works: Sequence[StagedFrame], alpha: Tensor, rgb: Tensor, finite: Tensor) -> Tensor:
        """Return the filtered alphas; alphas with NaN skip the filter. A refused frame fails alone."""
        assert self._stable is not None
        given, images, good = alpha.cpu().numpy(), rgb.cpu().numpy(), finite.cpu().numpy()
        kept = np.zeros_like(given)
        for n, work in enumerate(works):
            if not good[n]:
                continue
            try:
                kept[n] = self._stable(given[n], images[n], work.moment)
            except EngineError as refused:
                work.failure = EngineError(str(refused))
        return torch.from_numpy(kept).to(self._streams.device)

    def _warm_up(self) -> tuple[int, int]:
        """Run every batch size once, so that graphs are captured before threads begin; returns the alpha's size."""
        count, found = 1, (0, 0)
        while count <= self.batch:
            with self._failing(), self._computing():
                alpha = self._engine.matte(torch.zeros((count, *self._engine.spec.size, 3), dtype=torch.uint8, device=self._streams.device))
                found = (alpha.shape[1], alpha.shape[2])
            if not self._streams.cuda:
                break  # nothing is captured there
            count *= 2
        return found

    # -- the device ---------------------------------------------------------------------------------------------

    def _uploaded(self, planes: tuple[Plane, ...], plan: FramePlan) -> list[Tensor]:
        """Return the background planes on the device; planes of the last call are not uploaded again."""
        last = self._behind
        if last is None or len(last[0]) != len(planes) or any(a is not b for a, b in zip(last[0], planes, strict=True)):
            self._behind = last = (planes, _numbers(self._streams.bring(planes).arrived(self._streams), plan))
        return last[1]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.inference_mode(), self._streams.on(self._streams.compute):
            yield

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn torch's errors into ours."""
        try:
            yield
        except EngineError:
            raise
        except RuntimeError as error:
            raise device_error(self._streams.device, error, "these frames") from error


@dataclass(frozen=True)
class _Matted:
    """Results of network and refinement for one frame."""

    codes: Tensor
    """Matte: (H, W) uint8, or int16 that stands for uint16."""
    finite: Tensor
    """Scalar bool: the network's alpha was finite."""


class StagedFrame:
    """One frame on the device, made by `FrameStage.submit`. Its device memory is freed with it."""

    def __init__(self, stage: FrameStage, plan: FramePlan, there: PendingUpload, moment: Fraction) -> None:
        self.plan = plan
        self.moment = moment
        self.matted: _Matted | None = None
        self.failure: EngineError | None = None
        self._stage = stage
        self._upload = there
        self._flipped = False

    def alpha(self) -> Plane:
        """Return the matte, (H, W) uint8 0..255, or uint16 0..65535 above 8 bits; waits for it, and downloads it at each call.

        Raises:
            EngineError: the network or the device failed, or alpha contains NaN.
        """
        return self._stage.matte(self)

    def draw(
        self, contents: Sequence[Drawn], behind: Sequence[Plane] | Blurring | None, colouring: Colouring | None,
        *, premultiplied: bool = False, matte: bool = False,
    ) -> tuple[dict[Drawn, tuple[Plane, ...]], Plane | None]:
        """Draw images in the frame's planes; waits for them.

        Args:
            contents: contents to draw, each once.
            behind: the background's planes, as described by ``plan``, or the parameters of its blur. An array that is passed
                again must be unchanged: it is not uploaded again.
            colouring: parameters of the foreground's own colour; None: keep the frame's.
            premultiplied: colour of transparent images.
            matte: download the matte, too.

        Returns:
            Planes by content, and the matte as `alpha` returns it, or None. The caller owns the arrays.

        Raises:
            EngineError: as `alpha`.
        """
        return self._stage.draw(self, contents, behind, colouring, premultiplied=premultiplied, matte=matte)

    def mirrored(self) -> StagedFrame:
        """Return this frame mirrored: planes, matte and everything drawn; the background is not mirrored.

        Raises:
            EngineError: as `alpha`, if the failure is known already.
        """
        self._stage.ensure(self)
        other = copy.copy(self)
        other._flipped = not self._flipped  # noqa: SLF001 - its own copy
        return other

    def arrived(self) -> list[Tensor]:
        """Return the planes on the device, for use by kernels launched next."""
        return self._upload.arrived(self._stage._streams)  # noqa: SLF001 - the two are one

    def turned(self, x: Tensor) -> Tensor:
        """Return (N, h, w) turned upright."""
        return x.flip(2) if self._flipped else x


def _numbers(planes: Sequence[Tensor], plan: FramePlan) -> list[Tensor]:
    """Return code values as float32 (1, h, w)."""
    if plan.depth == 8:
        return [plane.float()[None] for plane in planes]
    return [(plane.int() & 0xFFFF).float()[None] for plane in planes]


def _stored(x: Tensor, plan: FramePlan) -> Tensor:
    """Return integers as uint8, or as int16 that stands for uint16: the reverse of ``_numbers``."""
    return x.to(torch.uint8) if plan.depth == 8 else x.int().to(torch.int16)


def _dtype(plan: FramePlan) -> np.dtype[Any]:
    return np.dtype(np.uint8 if plan.depth == 8 else np.uint16)


def _check(finite: Plane) -> None:
    if not finite[0]:
        # NaN would be clipped to an arbitrary alpha, and show the real background.
        raise EngineError(NOT_FINITE)
