"""Frame to matte: scale down, infer, bring the alpha back to the frame's size."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from streammat.config import Quality
from streammat.engines.base import Engine, EngineError
from streammat.matting.parallel import Parallel
from streammat.matting.refine import Refiner
from streammat.matting.rest import Rest
from streammat.matting.temporal import AlphaFilter
from streammat.media.frame import Frame, Matte, Plane, swscale_matrix, swscale_range
from streammat.media.planes import FloatPlane

# Single-pass test of the GFM paper (Li et al. 2022, section 5): the network sees the frame scaled by 5/13.
_SCALE = Fraction(5, 13)
_STEP = 32  # the encoder halves five times

# (least, largest) area in network pixels. Small frames are shown larger than 5/13, as large as a 720p frame, so that a face
# keeps enough pixels; large ones are capped, so that a small machine holds the rate.
_AREAS: dict[Quality, tuple[int, int]] = {
    "fast": (192 * 256, 192 * 352),
    "balanced": (288 * 480, 288 * 512),
    "best": (288 * 512, 10**9),
}
_MOST_ENLARGED = 2.0  # for several sizes at once
_LEAST_SIDE = 256  # the short side that even a tiny frame is enlarged to, if its area allows


def network_sizes(height: int, width: int, quality: Quality, areas: Sequence[int] = ()) -> tuple[tuple[int, int], ...]:
    """Return the network's input sizes for an upright frame, which `streammat.engines.multiscale` makes one matte of.

    Args:
        height: height of the frame in pixels.
        width: width of the frame in pixels.
        quality: ``fast``, ``balanced`` or ``best``.
        areas: the model's areas for ``best``, in network pixels, largest first
            (`streammat.engines.model_files.ModelFiles.areas`); none: 5/13 of the
            frame, uncapped.

    Returns:
        (height, width) of each input, multiples of 32, close to the frame's own aspect ratio; one for ``fast`` and ``balanced``.
    """
    area = height * width
    least, largest = _AREAS[quality]
    if quality == "best" and areas:
        scales = [math.sqrt(wanted / area) for wanted in areas]
    else:
        scales = [min(max(float(_SCALE), math.sqrt(least / area)), math.sqrt(largest / area))]
    # Enlarging adds no detail. With several sizes it pays up to twice: the network finds people of 400x300 images better when they are larger.
    most = max(_MOST_ENLARGED if quality == "best" and areas else 1.0, _LEAST_SIDE / min(height, width))
    sizes = [_rounded(height, width, min(scale, most)) for scale in scales]
    return tuple(dict.fromkeys(sizes))


def _rounded(height: int, width: int, scale: float) -> tuple[int, int]:
    # To the nearest multiple: 720p is shown at 480x288, not 480x256, and a network that sees a tenth more finds edges better.
    sides = (max(_STEP, round(side * scale / _STEP) * _STEP) for side in (height, width))
    return next(sides), next(sides)


class FrameMatting(Protocol):
    """Protocol of a matting: makes the matte of each frame of one stream, in order."""

    engine: Engine
    ahead: int
    """Number of mattes that may be in progress at once."""

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``, at its size and in its orientation.

        Raises:
            EngineError: the network failed.
        """
        ...

    def idle(self, seconds: float) -> bool:
        """Wait until no frame is in the network, for at most ``seconds``; return whether that is so. Before that, no engine may be closed."""
        ...


Look = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""A function from (H, W, 3) uint16 RGB, full range, in a file's own colour space, to uint8 sRGB."""


class LaterMatte(Matte):
    """A matte that is brought to full size by ``refine``, or where its alpha is first asked for; one thread at a time has it.

    Args:
        make: returns ``alpha``.
        settle: as ``Matte.settle``.
    """

    __slots__ = ("_alpha", "_make", "_settle")
    _alpha: Plane | None
    _make: Callable[[], Plane] | None
    _settle: Callable[[], float]
    underway: ClassVar[bool] = True

    def __init__(self, make: Callable[[], Plane], settle: Callable[[], float]) -> None:
        object.__setattr__(self, "_make", make)
        object.__setattr__(self, "_settle", settle)
        object.__setattr__(self, "_alpha", None)
        object.__setattr__(self, "network", None)

    @property
    def alpha(self) -> Plane:
        """Alpha, as in ``Matte.alpha``."""
        self.refine()
        assert self._alpha is not None
        return self._alpha

    def settle(self) -> float:
        """See ``Matte.settle``."""
        return self._settle()

    def refine(self) -> None:
        """See ``Matte.refine``."""
        if self._make is not None:
            object.__setattr__(self, "_alpha", self._make())
            object.__setattr__(self, "_make", None)  # and with it the frame


class HostMatting:
    """Makes the matte of each frame of one stream.

    Args:
        engine: its ``spec.size`` is the first of the upright frame's ``network_sizes``.
        stable: filter over time for the alphas of upright frames, such as ``SteadyFilter``; None: not filtered.
        look: conversion of colours that are not display-referred, such as camera logarithms; None: not needed.
        rest: lets the network rest while nothing moves; None: it processes every frame; not with ``later``.
        later: the network runs on as many frames in parallel as the engine can, and mattes are filtered and brought to full size by
            ``Matte.refine``, in another thread, while this one goes on to the next frame; failures are raised there.
    """

    def __init__(
        self, engine: Engine, stable: AlphaFilter | None = None, look: Look | None = None, rest: Rest | None = None, *, later: bool = False
    ) -> None:
        self.engine = engine
        assert rest is None or not later, "whether the network may rest depends on the frame before"
        self._rest = rest
        self._parallel: Parallel[FloatPlane] | None = Parallel(engine.spec.parallel) if later else None
        self.ahead = 1 + engine.spec.parallel  # enough to hide one slow frame
        self._stable = stable
        self._look = look
        self._scaler = VideoReformatter()
        self._converter = VideoReformatter()
        self._refine = Refiner()
        self._refining = threading.Lock()
        self._rested = False
        self._matte: Matte | None = None
        """The last that was made; kept while the network rests."""

    def __call__(self, frame: Frame) -> Matte:
        """Return the matte of ``frame``, at its size and in its orientation.

        Raises:
            EngineError: the network failed, or its result contains NaN.
        """
        if self._parallel is not None:
            begin = time.perf_counter()
            rgb, at = self._shown(frame), frame.pts * frame.time_base
            spent = time.perf_counter() - begin
            call = self._parallel.begin(lambda: self._inferred(rgb), lambda alpha: self._filtered(alpha, rgb, at))
            return LaterMatte(lambda: self._refined(_turned(call.result(), frame), frame).alpha, lambda: spent + call.wait())
        alpha = self.infer(frame)
        if self._rested and self._matte is not None and self._matte.alpha.shape == frame.size:
            return self._matte  # the frame's own detail has not changed either
        self._matte = self._refined(alpha, frame)
        return self._matte

    def idle(self, seconds: float) -> bool:
        """See ``FrameMatting.idle``."""
        return self._parallel is None or self._parallel.idle(seconds)

    def _refined(self, alpha: FloatPlane, frame: Frame) -> Matte:
        with self._refining:  # what changes some mattes asks for them in the thread of the network
            return self._refine(alpha, frame)

    def infer(self, frame: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Return alpha at the network's output resolution: float32 (h, w) in 0..1, in the frame's stored orientation."""
        rgb, at = self._shown(frame), frame.pts * frame.time_base
        alpha = None if self._rest is None else self._rest(rgb, at)
        self._rested = alpha is not None
        return _turned(self._work(rgb, at) if alpha is None else alpha, frame)

    def _shown(self, frame: Frame) -> NDArray[np.uint8]:
        """Return what the network is shown: the upright frame at the network's size, uint8 (H, W, 3) RGB."""
        height, width = self.engine.spec.size
        turned = frame.rotation % 2 == 1
        # One AREA pass in the frame's own format, then a small conversion: full-size RGB is never made, and scaling
        # before converting is twice as fast as doing both at once.
        small = self._scaler.reformat(
            frame.image, height if turned else width, width if turned else height, interpolation="AREA", threads=1
        )
        small = self._converter.reformat(
            small,
            format="rgb24" if self._look is None else "rgb48le",
            src_colorspace=None if frame.layout.rgb else swscale_matrix(frame.colour, frame.size[0]),
            src_color_range=swscale_range(frame),
            dst_color_range=2,
            threads=1,
        )
        pixels = small.to_ndarray() if self._look is None else self._look(small.to_ndarray())
        return np.ascontiguousarray(np.rot90(pixels, frame.rotation), np.uint8)

    def _work(self, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane:
        if self._rest is not None:
            self._rest.forget()  # until this one has passed
        alpha = self._filtered(self._inferred(rgb), rgb, at)
        if self._rest is not None:
            self._rest.keep(alpha, rgb, at)
        return alpha

    def _inferred(self, rgb: NDArray[np.uint8]) -> FloatPlane:
        alpha: FloatPlane = self.engine.infer(rgb[None])[0]
        if not np.isfinite(alpha).all():
            # NaN would be clipped to an arbitrary alpha, and show the real background.
            raise EngineError("the network's alpha contains NaN; try --engine onnxruntime --precision fp32")
        return alpha

    def _filtered(self, alpha: FloatPlane, rgb: NDArray[np.uint8], at: Fraction) -> FloatPlane:
        return alpha if self._stable is None else self._stable(alpha, rgb, at)


def _turned(alpha: FloatPlane, frame: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return an upright alpha in the frame's stored orientation."""
    return np.ascontiguousarray(np.rot90(alpha, -frame.rotation))
