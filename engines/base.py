"""What every engine is: a matting network ready to turn RGB pictures into alpha.

Errors:
    EngineError (RuntimeError)
    └── EngineUnavailableError    the backend is not installed or cannot run here
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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


def check_size(size: tuple[int, int]) -> None:
    """Refuse a network input size that GFM cannot take.

    Args:
        size: (height, width) in pixels.

    Raises:
        EngineError: not two positive multiples of 32.
    """
    if len(size) != 2 or any(side <= 0 or side % 32 for side in size):
        raise EngineError(f"network input (height, width) is {size}; expected two positive multiples of 32")


def check_rgb(rgb: NDArray[np.uint8], size: tuple[int, int]) -> None:
    """Refuse a batch that does not fit an engine.

    Args:
        rgb: what was given to ``infer``.
        size: ``spec.size``.

    Raises:
        EngineError: the dtype is not uint8, the shape is not (N, height, width, 3), or the memory is not contiguous.
    """
    expected = f"expected uint8 (N, {size[0]}, {size[1]}, 3), C-contiguous"
    if rgb.dtype.name != "uint8" or rgb.ndim != 4 or rgb.shape[1:] != (*size, 3) or rgb.shape[0] < 1:
        raise EngineError(f"engine input is {rgb.dtype} {rgb.shape}; {expected}")
    if not rgb.flags.c_contiguous:
        raise EngineError(f"engine input is not contiguous; {expected}; numpy.ascontiguousarray makes it so")
