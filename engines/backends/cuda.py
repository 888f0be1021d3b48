"""Torch on an NVIDIA GPU: half precision, channels last, each batch size captured once as a CUDA graph and replayed.

The speed of a small network with one image at a time is limited by launching its hundreds of kernels; a graph launches them as
one. The graphs of one engine share their memory: they run one after the other, and each result is copied before the next begins.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from streammat.engines.backends.nvidia import find_gpus
from streammat.engines.base import (
    EngineError,
    EngineSpec,
    EngineUnavailableError,
    Part,
    check_alpha,
    check_rgb,
    check_size,
    lack_of_memory,
)
from streammat.engines.errors import first_line
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import Probe, check_present, kind_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

Mode = Literal["graph", "eager", "compiled"]
_WARM_UP = 3  # runs before a capture: cuDNN chooses its kernels and memory is taken in them


@dataclass(frozen=True)
class _Captured:
    """The captured graph of one batch size, with its buffers."""

    rgb: Tensor
    alpha: Tensor
    replay: Callable[[], object]


class CudaEngine:
    """See `streammat.engines.base.Engine`.

    Args:
        model: files; the weights are used.
        precision: ``fp16``, ``bf16`` or ``fp32`` (without TF32).
        size: network input (height, width) in pixels, multiples of 32.
        reason: text for ``spec.reason``.
        device: ``cuda:N``. Any other torch device serves to test the arithmetic without a GPU.
        batch: largest batch; larger ones are divided, and if memory does not suffice it is halved, which is logged.
        mode: ``graph`` captures CUDA graphs, ``eager`` launches kernel by kernel, ``compiled`` captures the output of
            torch.compile.

    Raises:
        EngineUnavailableError: torch is not installed, has no CUDA, or finds no GPU.
        EngineError: the weights are missing, damaged or do not fit, the size does not fit, or the memory does not suffice.
    """

    def __init__(
        self, model: ModelFiles, *, precision: str, size: tuple[int, int], reason: str, device: str = "cuda:0", threads: int = 0, batch: int = 1,
        cache: Path | None = None, part: Part = "alpha", mode: Mode = "graph",
    ) -> None:
        del threads, cache  # of engines on the CPU
        check_size(size)
        torch = load_torch()
        if kind_of(device) == "cuda":
            check_present(device, probe())
        self._device = torch.device(device)
        self._spec = EngineSpec(model.name, "cuda", precision, device, 0, size, torch.__version__, reason)
        self._network: Any = _network(model, {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision], part)
        self._part = part
        self._mode: Mode = mode if self._device.type == "cuda" else "eager"
        self._stream: Any = None
        self._captured: dict[int, _Captured] = {}
        self._memory: Any = None
        """Torch's handle of the CUDA graphs' memory pool."""
        try:
            self._network = self._network.to(self._device, memory_format=torch.channels_last).eval()
            if self._device.type == "cuda":
                self._stream = torch.cuda.Stream(self._device)
        except RuntimeError as error:
            raise device_error(device, error, f"the weights of {model.name!r}") from error
        if mode == "compiled":
            self._network = torch.compile(self._network, dynamic=False)
        self.batch = self._fitting(batch)

    @property
    def spec(self) -> EngineSpec:
        """The engine's name, precision, device and input size."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict alpha, float32 (N, H/s, W/s), of uint8 (N, H, W, 3) RGB; see `streammat.engines.base.Engine.infer`."""
        if self._network is None:
            raise EngineError("the engine is closed; open another one")
        check_rgb(rgb, self._spec.size)
        alpha = run_on_host(self.matte, rgb, self.batch, self._spec.device)
        check_alpha(self._spec.model, (1, *alpha.shape[1:]), self._spec.size, self._part)
        return alpha

    def matte(self, rgb: Tensor) -> Tensor:
        """Predict the alpha of a batch of tensors; the result stays on the device.

        Args:
            rgb: uint8 (N, H, W, 3), N at most ``batch``, on the host or the device.

        Returns:
            float32 (N, H/s, W/s) on the device, new memory, ordered on the caller's current stream.

        Raises:
            EngineError: the engine is closed, or the device failed.
        """
        if self._network is None:
            raise EngineError("the engine is closed; open another one")
        torch = load_torch()
        try:
            with torch.inference_mode():
                if self._stream is None:
                    alpha: Tensor = self._network(rgb.to(self._device))
                    return alpha
                captured = self._captured.get(len(rgb)) or self._capture(len(rgb))
                return run_captured(rgb, captured.rgb, captured.replay, captured.alpha, self._stream)
        except RuntimeError as error:
            height, width = self._spec.size
            raise device_error(self._spec.device, error, f"{len(rgb)} of {width}x{height} at once") from error

    def close(self) -> None:
        """Free the device's memory; safe to call twice."""
        if self._network is None:
            return
        self._network = None
        with suppress(RuntimeError):  # a device that has failed fails in this, too
            if self._stream is not None:
                self._stream.synchronize()
            self._forget()

    def _fitting(self, batch: int) -> int:
        """Return the largest batch up to ``batch`` that fits the device's memory, halving it as needed; the trial also warms up
        the network.
        """
        while True:
            fault = self._tried(batch)
            if fault is None:
                return batch
            if batch == 1 or lack_of_memory(fault) is None:
                raise fault
            del fault  # its traceback's frames hold memory
            self._forget()
            logger.warning("%s holds no batch of %d; %d is taken", self._spec.device, batch, batch // 2)
            batch //= 2

    def _tried(self, batch: int) -> EngineError | None:
        try:
            run_on_host(self.matte, np.zeros((batch, *self._spec.size, 3), np.uint8), batch, self._spec.device)
        except EngineError as error:
            return error
        return None

    def _forget(self) -> None:
        """Free graphs and their memory; nothing may be running any more."""
        self._captured.clear()
        self._memory = None
        load_torch().cuda.empty_cache()

    def _capture(self, count: int) -> _Captured:
        """Allocate memory and capture the graph for batches of ``count``."""
        torch = load_torch()
        network = self._network
        rgb = torch.zeros((count, *self._spec.size, 3), dtype=torch.uint8, device=self._device)
        with torch.cuda.device(self._device), _convolutions():
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UP):
                    alpha = network(rgb)
            self._stream.synchronize()
            if self._mode == "eager":

                def replay() -> None:
                    with _convolutions():
                        alpha.copy_(network(rgb))

                captured = _Captured(rgb, alpha, replay)
            else:
                del alpha
                graph = torch.cuda.CUDAGraph()
                # Another thread may be at work on this device with another engine.
                with torch.cuda.graph(graph, self._memory, self._stream, capture_error_mode="thread_local"):
                    alpha = network(rgb)
                self._memory = graph.pool()
                captured = _Captured(rgb, alpha, graph.replay)
        self._captured[count] = captured
        return captured


def _convolutions() -> Any:
    """Return a context that sets up cuDNN: the fastest kernel for each shape, found by trial, and no TF32, whose mantissa has
    only ten bits.
    """
    return load_torch().backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False)


def run_captured(rgb: Tensor, given: Tensor, replay: Callable[[], object], alpha: Tensor, stream: Any) -> Tensor:
    """Run captured work on its own stream, ordered after the caller's current stream and before what the caller launches next.

    Args:
        rgb: a batch, on the host or the device.
        given: input of the work.
        replay: launches the work.
        alpha: output of the work.
        stream: stream of the work.

    Returns:
        A copy of the output.
    """
    torch = load_torch()
    caller = torch.cuda.current_stream(given.device)
    stream.wait_stream(caller)
    with torch.cuda.stream(stream):
        given.copy_(rgb, non_blocking=True)
        replay()
        result = alpha.clone()
    caller.wait_stream(stream)
    result.record_stream(caller)
    return result


def run_on_host(matte: Callable[[Tensor], Tensor], rgb: NDArray[np.uint8], batch: int, device: str) -> NDArray[np.float32]:
    """Run ``matte`` on ``device`` over an array, ``batch`` images at a time; returns float32 on the host.

    Raises:
        EngineError: raised by ``matte``, or the device failed meanwhile.
    """
    torch = load_torch()
    parts = []
    for begin in range(0, len(rgb), batch):
        part = rgb[begin : begin + batch]
        alpha = matte(torch.from_numpy(part if part.flags.writeable else part.copy()))
        try:
            parts.append(alpha.cpu().numpy())
        except RuntimeError as error:  # work is asynchronous: its errors appear here
            raise device_error(device, error, "its results") from error
    found: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return found


def device_error(device: object, error: BaseException, what: str, hint: str = "take --quality fast, or --device cpu") -> EngineError:
    """Return the error to raise after torch failed on a device.

    Args:
        device: name for the message.
        error: torch's error.
        what: the step that may have lacked memory.
        hint: what to do in that case, beside closing other programs.
    """
    if lack_of_memory(error) is None:
        return EngineError(f"{device} failed: {first_line(error)}; run it again, or take --device cpu")
    torch = load_torch()
    try:
        free = f" ({torch.cuda.mem_get_info(device)[0] / 2**30:.1f} GiB are free)" if kind_of(str(device)) == "cuda" else ""
    except RuntimeError:  # there is not enough memory even for the query
        free = ""
    return EngineError(f"{device} has too little memory for {what}{free}; close what else uses it, or {hint}")


def probe() -> Probe:
    """Return torch's version and the GPUs that it can use; see `streammat.engines.registry.probe`."""
    torch = load_torch()
    gpus = find_gpus()
    if torch.version.cuda is None:
        # pip's default build depends on the system: on Windows it is this one.
        hint = gpus.reason or f"pip uninstall torch, then install the build for CUDA {gpus.driver} or older that PyTorch's own page names, or take --device cpu"
        raise EngineUnavailableError(f"torch {torch.__version__} is a build without CUDA; {hint}")
    devices: dict[str, str] = {}
    notes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many lines, about what is told here
        if not torch.cuda.is_available():
            # A driver supports builds for any CUDA release of its generation.
            serves, needs = (int(version.partition(".")[0] or 0) for version in (gpus.driver, torch.version.cuda))
            old = serves < needs
            hint = "update the driver" if old else "check nvidia-smi and CUDA_VISIBLE_DEVICES, restart"
            why = f"the driver serves CUDA {gpus.driver}, and torch {torch.__version__} needs {torch.version.cuda}{'' if old else ', and still cannot start it'}"
            raise EngineUnavailableError(gpus.reason or f"{why}; {hint}, or take --device cpu")
        try:
            found = [(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)) for index in range(torch.cuda.device_count())]
        except (RuntimeError, AssertionError) as error:
            raise EngineUnavailableError(f"CUDA does not start: {first_line(error)}; check nvidia-smi, restart, or take --device cpu") from error
    built = torch.cuda.get_arch_list()
    for index, (name, capability) in enumerate(found):
        if _serves(built, capability):
            devices[f"cuda:{index}"] = name
        else:
            notes.append(
                f"cuda:{index}: {name} has compute capability {capability[0]}.{capability[1]}, and torch {torch.__version__} was built for "
                f"{', '.join(built)}; install a build of torch for it, as PyTorch's own page names them, or take --device cpu"
            )
    if not devices:
        raise EngineUnavailableError("; ".join(notes))
    return Probe(torch.__version__, devices, tuple(notes))


def _serves(built: Sequence[str], capability: tuple[int, int]) -> bool:
    """Return whether code for ``built``, such as ``sm_90`` or ``compute_120``, runs on a GPU: the former within its generation,
    the latter on all later ones.
    """
    for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(built)):
        since = divmod(int(digits), 10)
        if capability >= since and (kind == "compute" or capability[0] == since[0]):
            return True
    return not built


def load_weights(model: ModelFiles) -> Any:
    """Load a model's verified weights as a `streammat.engines.network.gfm.GFM`, float32.

    Raises:
        EngineError: the model has no weights, or they are damaged or do not fit.
    """
    from streammat.engines.network.checkpoint import load_network

    content = model.read("weights")
    assert model.weights is not None
    return load_network(model.weights, content)


def _network(model: ModelFiles, dtype: torch.dtype, part: Part) -> Any:
    from streammat.engines.network.folded import FoldedMatte

    return FoldedMatte(load_weights(model), dtype, part)


def load_torch(hint: str = "pip install 'streammat[cuda]'") -> Any:
    """Return the module ``torch``.

    Raises:
        EngineUnavailableError: it is not installed, or its libraries are not found; ends in ``hint``.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(f"torch cannot be loaded ({error}); {hint}") from error
    return torch
