"""Runs one network on an image at several sizes and averages the alphas: a false subject at one size is often none at another.

Every second size gets the mirrored image, which costs nothing and makes the errors of the passes less alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import Engine, EngineError, EngineSpec, TensorEngine, check_rgb

if TYPE_CHECKING:
    from torch import Tensor

    from streammat.engines.gpu.resample import Filters

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function like `streammat.engines.base.Engine.infer`."""


class SeveralSizes:
    """See `streammat.engines.base.Engine`; alpha has the first engine's resolution.

    Args:
        engines: engines of one model, the largest input first; closed with this one.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        first, *others = (engine.spec for engine in engines)
        sizes = ", ".join(f"{spec.size[1]}x{spec.size[0]}" for spec in others)
        self._engines = tuple(engines)
        self._spec = replace(first, reason=f"{first.reason}; the mean with {sizes}")
        self._closed = False

    @property
    def spec(self) -> EngineSpec:
        """Spec of the first engine, with a reason that names the others."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict alpha, float32 (N, H/s, W/s), of uint8 (N, H, W, 3) RGB; see `streammat.engines.base.Engine.infer`."""
        if self._closed:
            raise EngineError("the engine is closed; open another one")
        check_rgb(rgb, self._spec.size)
        return mean_alpha([(engine.spec.size, engine.infer) for engine in self._engines], rgb)

    def close(self) -> None:
        """Close all; safe to call twice."""
        self._closed = True
        for engine in self._engines:
            engine.close()


class SeveralSizesOnDevice(SeveralSizes):
    """The mean over several torch engines, computed on the device: see `streammat.engines.base.TensorEngine`.

    Args:
        engines: engines of one model and device, the largest input first; closed with this one.
    """

    def __init__(self, engines: Sequence[TensorEngine]) -> None:
        super().__init__(engines)
        self._passes = tuple(engines)
        self.batch = min(engine.batch for engine in engines)
        self._filters: Filters | None = None

    def matte(self, rgb: Tensor) -> Tensor:
        """Predict alpha, float32 (N, H/s, W/s), of uint8 (N, H, W, 3) RGB on the device; see
        `streammat.engines.base.TensorEngine.matte`.
        """
        import torch
        from torch.nn import functional

        from streammat.engines.gpu.resample import Filters

        if self._closed:
            raise EngineError("the engine is closed; open another one")
        with torch.inference_mode():
            if self._filters is None:
                self._filters = Filters(rgb.device)
            total = self._passes[0].matte(rgb)
            colours = rgb.movedim(3, 1).float().flatten(0, 1)
            for index, engine in enumerate(self._passes[1:], 1):
                small = self._filters.area(colours, engine.spec.size).round().to(torch.uint8)
                shown = small.view(len(rgb), 3, *engine.spec.size).movedim(1, 3)
                alpha = engine.matte((shown.flip(2) if index % 2 else shown).contiguous())
                alpha = alpha.flip(2) if index % 2 else alpha
                total = total + functional.interpolate(alpha[:, None], size=total.shape[1:], mode="bilinear", align_corners=False)[:, 0]
            return total / len(self._passes)


def several_sizes(engines: Sequence[Engine]) -> SeveralSizes:
    """Combine several engines into one; on their device if all take tensors."""
    on_device = [engine for engine in engines if isinstance(engine, TensorEngine)]
    return SeveralSizesOnDevice(on_device) if len(on_device) == len(engines) else SeveralSizes(engines)


def mean_alpha(passes: Sequence[tuple[tuple[int, int], Infer]], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean over passes at several sizes.

    Args:
        passes: network input (height, width) and a function like `Engine.infer` for it, the largest first.
        rgb: uint8 (N, H, W, 3) of the first size.

    Returns:
        float32 (N, h, w), 0..1, at the first pass's resolution.
    """
    total = passes[0][1](rgb).copy()
    height, width = total.shape[1:]
    for index, (size, infer) in enumerate(passes[1:], 1):
        way = -1 if index % 2 else 1
        small = [cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)[:, ::way] for image in rgb]
        alphas = infer(np.stack(small).astype(np.uint8, copy=False))[:, :, ::way]
        total += np.stack([cv2.resize(np.ascontiguousarray(alpha), (width, height), interpolation=cv2.INTER_LINEAR) for alpha in alphas])
    total /= len(passes)
    return total
