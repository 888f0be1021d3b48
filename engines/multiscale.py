"""Runs one network on an image at several sizes, as one engine: the classes come from the smaller sizes, the details from the largest.

This is the paper's hybrid test (Li et al. 2022, Section 5.5.2): the glance sees whole subjects best in a small image, the focus sees hair best in
a large one. Every second size gets the mirrored image, which costs nothing and makes the errors of the passes less alike. An engine that gives
alpha alone takes part in a plain mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import Engine, EngineError, EngineSpec, TensorEngine, check_rgb

if TYPE_CHECKING:
    from torch import Tensor

    from streammat.engines.gpu.resample import Filters


class SeveralSizes:
    """See `streammat.engines.base.Engine`; alpha has the first engine's resolution.

    Args:
        engines: engines of one model, the largest input first; closed with this one.
        fused: the first gives the focus and the others the glance (`streammat.engines.base.Part`), which are fused; False: each gives alpha, and the
            result is their mean.
    """

    def __init__(self, engines: Sequence[Engine], *, fused: bool = False) -> None:
        first, *others = (engine.spec for engine in engines)
        sizes = ", ".join(f"{spec.size[1]}x{spec.size[0]}" for spec in others)
        self._engines = tuple(engines)
        self._fused = fused
        self._spec = replace(first, reason=f"{first.reason}; {'edges at this size, the subject at' if fused else 'the mean with'} {sizes}")
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
        first, *others = self._engines
        largest = first.infer(rgb)
        found = []
        for index, engine in enumerate(others, 1):
            height, width = engine.spec.size
            way = -1 if index % 2 else 1
            small = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[:, ::way] for image in rgb]
            planes = engine.infer(np.stack(small).astype(np.uint8, copy=False))[..., ::way]
            found.append(_enlarged(planes, largest.shape[-2:]))
        return np.asarray(self._together(largest, found), np.float32)

    def _together(self, largest: Any, others: Sequence[Any]) -> Any:
        """Return alpha (N, h, w) from what the engines gave, at one resolution; arrays or tensors."""
        if not self._fused:
            return sum(others, largest) / (1 + len(others))
        glance = sum(others[1:], others[0]) / len(others)
        return glance[:, 2] + glance[:, 1] * largest

    def close(self) -> None:
        """Close all; safe to call twice."""
        self._closed = True
        for engine in self._engines:
            engine.close()


class SeveralSizesOnDevice(SeveralSizes):
    """The same over several torch engines, computed on the device: see `streammat.engines.base.TensorEngine`.

    Args:
        engines: engines of one model and device, the largest input first; closed with this one.
        fused: as of `SeveralSizes`.
    """

    def __init__(self, engines: Sequence[TensorEngine], *, fused: bool = False) -> None:
        super().__init__(engines, fused=fused)
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
            largest = self._passes[0].matte(rgb)
            colours = rgb.movedim(3, 1).float().flatten(0, 1)
            found = []
            for index, engine in enumerate(self._passes[1:], 1):
                small = self._filters.area(colours, engine.spec.size).round().to(torch.uint8)
                shown = small.view(len(rgb), 3, *engine.spec.size).movedim(1, 3)
                planes = engine.matte((shown.flip(2) if index % 2 else shown).contiguous())
                planes = planes.flip(-1) if index % 2 else planes
                stacked = planes if planes.ndim == 4 else planes[:, None]
                larger = functional.interpolate(stacked, size=largest.shape[-2:], mode="bilinear", align_corners=False)
                found.append(larger if planes.ndim == 4 else larger[:, 0])
            alpha: Tensor = self._together(largest, found)
            return alpha


def several_sizes(engines: Sequence[Engine], *, fused: bool = False) -> SeveralSizes:
    """Combine several engines into one; on their device if all take tensors."""
    on_device = [engine for engine in engines if isinstance(engine, TensorEngine)]
    return SeveralSizesOnDevice(on_device, fused=fused) if len(on_device) == len(engines) else SeveralSizes(engines, fused=fused)


def _enlarged(planes: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return planes (…, h, w) at another size, (height, width)."""
    flat = planes.reshape(-1, *planes.shape[-2:])
    larger = [cv2.resize(np.ascontiguousarray(plane), size[::-1], interpolation=cv2.INTER_LINEAR) for plane in flat]
    return np.stack(larger).astype(np.float32, copy=False).reshape(*planes.shape[:-2], *size)
