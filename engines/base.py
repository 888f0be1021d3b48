"""The protocol of all engines: a matting network ready to turn RGB images into alpha.

Errors:
    EngineError (StreammatError, RuntimeError)
    └── EngineUnavailableError    the backend is not installed or cannot run here
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from streammat.engines.errors import StreammatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


Part = Literal["alpha", "glance", "focus"]
"""What an engine gives, float32, 0..1. ``alpha``: the matte, (N, h, w). ``glance``: the probabilities of background, transition and foreground,
(N, 3, h, w). ``focus``: the alpha within the transition, (N, h, w). The last two serve to fuse several sizes.
"""


class EngineError(StreammatError, RuntimeError):
    """An engine could not be opened or failed while it ran. The message says what to do."""


class EngineUnavailableError(EngineError):
    """The requested backend is not installed, or this machine cannot run it."""


@dataclass(frozen=True)
class EngineSpec:
    """Description of a running engine, for people and reports."""

    model: str
    """Model id, such as ``lite``; the file's name for a plain ONNX file."""
    backend: str
    """A name of `streammat.engines.registry.BACKENDS`."""
    precision: str
    """Precision of the computation: ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``fp32`` for any plain ONNX file."""
    device: str
    """``cpu``, or a kind of `streammat.engines.registry.DEVICES`, with a number if there may be several: ``cuda:0``."""
    threads: int
    """Number of CPU threads; 0 on other devices."""
    size: tuple[int, int]
    """Network input (height, width) in pixels; multiples of 32."""
    version: str
    """Version of the backend library."""
    reason: str
    """Why this engine was chosen, in one clause."""
    parallel: int = 1
    """Calls of ``infer`` that may run in parallel, each on its share of the threads."""


class Engine(Protocol):
    """A network with one fixed input size.

    At most ``spec.parallel`` threads call ``infer`` at a time.
    """

    @property
    def spec(self) -> EngineSpec:
        """The engine's name, precision, device and input size."""
        ...

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the alpha of a batch.

        Args:
            rgb: uint8 (N, H, W, 3), RGB, 0..255, C-contiguous, (H, W) equal to ``spec.size``.

        Returns:
            float32 (N, H/s, W/s) in 0..1, 1 = foreground, s = 1 or 2: the network's own output resolution; the caller
            upsamples. An engine opened for another `Part` gives that.

        Raises:
            EngineError: the input does not fit, or the backend failed.
        """
        ...

    def close(self) -> None:
        """Free the backend's memory; safe to call twice."""
        ...


@runtime_checkable
class TensorEngine(Engine, Protocol):
    """A torch engine that also takes tensors on its device, and leaves its result there: see `streammat.engines.gpu.stage`."""

    batch: int
    """Largest batch that ``matte`` takes."""

    def matte(self, rgb: Tensor) -> Tensor:
        """Predict the alpha of a batch, on the device, in the order of the caller's current stream.

        Args:
            rgb: uint8 (N, H, W, 3), RGB, on the device, N at most ``batch``.

        Returns:
            float32 (N, H/s, W/s), as ``infer`` gives it; new memory on the device.

        Raises:
            EngineError: the backend failed; `lack_of_memory` tells whether memory was the cause.
        """
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
        rgb: the input of ``infer``.
        size: ``spec.size``.

    Raises:
        EngineError: the dtype is not uint8, the shape is not (N, height, width, 3), or the memory is not contiguous.
    """
    expected = f"expected uint8 (N, {size[0]}, {size[1]}, 3), C-contiguous"
    if rgb.dtype.name != "uint8" or rgb.ndim != 4 or rgb.shape[1:] != (*size, 3) or rgb.shape[0] < 1:
        raise EngineError(f"engine input is {rgb.dtype} {rgb.shape}; {expected}")
    if not rgb.flags.c_contiguous:
        raise EngineError(f"engine input is not contiguous; {expected}; numpy.ascontiguousarray makes it so")


STRIDES = (1, 2)
"""Supported numbers of network pixels per alpha pixel, in each direction."""


class Port(NamedTuple):
    """One input or output of a model file, as a backend describes it."""

    name: str
    dtype: str
    """NumPy's name of the data type."""
    shape: tuple[int | None, ...]
    """Shape; None for free dimensions."""

    def fits(self, name: str, dtype: str, shape: tuple[int, ...]) -> bool:
        """Return whether the port has, or may have, this type and shape."""
        known = len(self.shape) == len(shape) and all(a is None or a == b for a, b in zip(self.shape, shape, strict=True))
        return known and (self.name, self.dtype) == (name, dtype)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join('?' if side is None else str(side) for side in self.shape)})"


def check_contract(model: str, inputs: Sequence[Port], outputs: Sequence[Port], size: tuple[int, int], output: str = "alpha") -> None:
    """Refuse a model file of another kind.

    Args:
        model: the model's id, for the message.
        inputs: its inputs.
        outputs: its outputs.
        size: network input (height, width) in pixels.
        output: name of the only output; another one than ``alpha`` was made one by `streammat.engines.onnx_outputs`, and may have any shape.

    Raises:
        EngineError: it does not turn ``rgb`` uint8 (1, height, width, 3) alone into ``alpha`` float32 (1, height/s, width/s)
            alone.
    """
    height, width = size
    if len(inputs) == 1 and (inputs[0].name, inputs[0].dtype, len(inputs[0].shape)) == ("rgb", "uint8", 4):
        count, rows, columns = (fixed or wanted for fixed, wanted in zip(inputs[0].shape[:3], (1, height, width), strict=True))
        if (count, rows, columns) != (1, height, width):
            raise EngineError(
                f"model {model!r} takes {count} of {columns}x{rows} at once and nothing else, and is asked for 1 of {width}x{height}; "
                "export it without --size and --batch, or for just that"
            )
    taken = len(inputs) == 1 and inputs[0].fits("rgb", "uint8", (1, height, width, 3))
    alphas = [(1, height // stride, width // stride) for stride in STRIDES]
    given = len(outputs) == 1 and (output != "alpha" or any(outputs[0].fits("alpha", "float32", shape) for shape in alphas))
    if not (taken and given):
        found = f"{', '.join(map(str, inputs)) or 'nothing'} to {', '.join(map(str, outputs)) or 'nothing'}"
        raise EngineError(
            f"model {model!r} is of another kind: {found}; expected rgb uint8 (N, H, W, 3) to alpha float32 (N, H, W) or (N, H/2, W/2), "
            "as `streammat model import` makes it of weights"
        )


def memory_error(who: str, size: tuple[int, int], error: BaseException) -> EngineError | None:
    """Return the error to raise if a library's error reports a lack of memory, in whatever words; None for other errors.

    Args:
        who: name of the library, for the message.
        size: (height, width) of the images in pixels.
        error: the library's error.
    """
    reason = lack_of_memory(error)
    if reason is None:
        return None
    return EngineError(f"{who} has too little memory for images of {size[1]}x{size[0]} ({reason}); close other programs, or take --quality fast")


def lack_of_memory(error: BaseException | None) -> str | None:
    """Return the words in which an error, or its cause, reports a lack of memory; None for other errors.

    Recognises Python, torch, CUDA, cuBLAS, cuDNN, TensorRT, ONNX Runtime and OpenVINO: on a GPU any of these may report it,
    depending on which one allocates first.
    """
    while error is not None:
        said = _LACK.search(str(error))
        if said or isinstance(error, MemoryError):
            return said[0] if said else "MemoryError"
        error = error.__cause__ or error.__context__
    return None


_LACK = re.compile(
    r"bad.alloc|out.?of.?memory|too little memory|\w+_STATUS_ALLOC_FAILED|(failed to|cannot|could not) allocate.*"
    r"|unable to find an engine to execute",  # torch of cuDNN, when none of its kernels gets the memory that it works in
    re.IGNORECASE,
)


def check_alpha(model: str, shape: tuple[int, ...], size: tuple[int, int], part: Part = "alpha") -> None:
    """Refuse an alpha whose size fits no stride; for files with free shapes only running the network shows it.

    Args:
        model: the model's id, for the message.
        shape: shape of one image's alpha, (1, h, w), or of another part.
        size: network input (height, width) in pixels.
        part: what it is.

    Raises:
        EngineError: h and w are not ``size`` divided by one of `STRIDES`.
    """
    leading = (1, 3) if part == "glance" else (1,)
    if all(shape != (*leading, size[0] // stride, size[1] // stride) for stride in STRIDES):
        raise EngineError(f"model {model!r} gave {part} {shape} for an image of {size}; expected that size or half of it")


def usable_cores() -> int:
    """Return the number of cores that this process may use; ``os.process_cpu_count`` of Python 3.13."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Return one thread per core that this process may use, up to 8; hardware threads beyond four count as half."""
    usable = usable_cores()
    return max(1, min(8, usable if usable <= 4 else max(4, usable // 2)))
