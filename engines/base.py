"""What every engine is: a matting network ready to turn RGB pictures into alpha.

Errors:
    EngineError (RuntimeError)
    └── EngineUnavailableError    the backend is not installed or cannot run here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EngineError(RuntimeError):
    """An engine could not be opened or failed while it ran. The message names the cure."""


class EngineUnavailableError(EngineError):
    """The requested backend is not installed, or this machine cannot run it."""


@dataclass(frozen=True)
class EngineSpec:
    """What is running, for people and for reports."""

    model: str
    """Model id, such as ``lite``."""
    backend: str
    """``onnxruntime`` or ``openvino``."""
    precision: str
    """``fp32`` or ``int8``."""
    device: str
    """``cpu``."""
    threads: int
    """Threads that the backend computes with."""
    size: tuple[int, int]
    """Network input (height, width) in pixels; multiples of 32."""
    version: str
    """Version of the backend library."""
    reason: str
    """Why this engine was taken, one clause."""


class Engine(Protocol):
    """A network with one fixed input size.

    Not thread-safe: one thread calls ``infer`` at a time.
    """

    @property
    def spec(self) -> EngineSpec:
        """What is running."""
        ...

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the alpha of a batch.

        Args:
            rgb: uint8 (N, H, W, 3), RGB, 0..255, C-contiguous, (H, W) equal to ``spec.size``.

        Returns:
            float32 (N, H/2, W/2) in 0..1, 1 = foreground: the network's own output resolution; the caller upsamples.

        Raises:
            EngineError: the input does not fit, or the backend failed.
        """
        ...

    def close(self) -> None:
        """Free the backend's memory; safe to call twice."""
        ...
