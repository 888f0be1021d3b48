"""Torch on an NVIDIA GPU: half precision, channels last, each batch size captured once as a CUDA graph and replayed.

A small network at one picture a time is bound by the launching of its hundreds of kernels; a graph launches them as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.backends import Probe, kind_of
from engines.base import EngineError, EngineSpec, EngineUnavailableError, check_alpha, check_rgb, check_size, first_line
from engines.models import ModelFiles
from engines.nvidia import find_gpus

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

Mode = Literal["graph", "eager", "compiled"]
_WARM_UP = 3  # runs before a capture: cuDNN chooses its kernels and memory is taken in them


@dataclass(frozen=True)
class _Captured:
    """One batch size, ready to be replayed."""

    rgb: Tensor
    alpha: Tensor
    replay: Callable[[], object]


class CudaEngine:
    """See `engines.base.Engine`.

    Args:
        model: files; its weights are what runs.
        precision: ``fp16``, ``bf16`` or ``fp32`` (without TF32).
        size: network input (height, width) in pixels, multiples of 32.
        reason: for ``spec.reason``.
        device: ``cuda:N``. Any other device of torch serves to test the arithmetic where there is no GPU.
        batch: largest number of pictures worked on together; larger batches are cut, and where the memory does not
            suffice it is halved, which is logged.
        mode: ``graph`` captures CUDA graphs, ``eager`` launches kernel by kernel, ``compiled`` captures what torch.compile makes.

    Raises:
        EngineUnavailableError: torch is not installed, has no CUDA, or finds no GPU.
        EngineError: the weights are missing, damaged or do not fit, the size does not fit, or the memory does not suffice.
    """

    def __init__(
        self, model: ModelFiles, precision: str, size: tuple[int, int], reason: str, device: str = "cuda:0", batch: int = 1,
        mode: Mode = "graph",
    ) -> None:
        check_size(size)
        torch = _load()
        if kind_of(device) == "cuda":
            found = probe()
            if device not in found.devices:
                raise EngineUnavailableError(f"there is no {device}; found are {', '.join(found.devices)}")
        self._device = torch.device(device)
        self._network: Any = _network(model, {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision])
        self._network = self._network.to(self._device, memory_format=torch.channels_last).eval()
        if mode == "compiled":
            self._network = torch.compile(self._network, dynamic=False)
        self._mode: Mode = mode if self._device.type == "cuda" else "eager"
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._captured: dict[int, _Captured] = {}
        self._spec = EngineSpec(model.name, "cuda", precision, device, 0, size, torch.__version__, reason)
        self.batch = self._fitting(batch)

    @property
    def spec(self) -> EngineSpec:
        """What is running."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s) alpha; see `engines.base.Engine.infer`."""
        if self._network is None:
            raise EngineError("the engine is closed")
        check_rgb(rgb, self._spec.size)
        alpha = run_on_host(self.matte, rgb, self.batch)
        check_alpha(self._spec.model, (1, *alpha.shape[1:]), self._spec.size)
        return alpha

    def matte(self, rgb: Tensor) -> Tensor:
        """The same on tensors, for work that stays on the device.

        Args:
            rgb: uint8 (N, H, W, 3), N at most ``batch``, on the host or the device.

        Returns:
            float32 (N, H/s, W/s) on the device, new memory, ordered after the caller's current stream and before what
            the caller launches on it next.

        Raises:
            EngineError: the engine is closed, or the device failed.
        """
        if self._network is None:
            raise EngineError("the engine is closed")
        torch = _load()
        try:
            with torch.inference_mode():
                if self._stream is None:
                    alpha: Tensor = self._network(rgb.to(self._device))
                    return alpha
                captured = self._captured.get(len(rgb)) or self._capture(len(rgb))
                caller = torch.cuda.current_stream(self._device)
                self._stream.wait_stream(caller)
                with torch.cuda.stream(self._stream):
                    captured.rgb.copy_(rgb, non_blocking=True)
                    captured.replay()
                    result = captured.alpha.clone()
                caller.wait_stream(self._stream)
                result.record_stream(caller)
                return result
        except RuntimeError as error:
            raise EngineError(f"{self._device} failed: {first_line(error)}") from error

    def close(self) -> None:
        """Free the device's memory; safe to call twice."""
        if self._network is None:
            return
        self._captured.clear()
        self._network = None
        if self._stream is not None:
            torch = _load()
            self._stream.synchronize()
            torch.cuda.empty_cache()

    def _fitting(self, batch: int) -> int:
        """``batch``, or the half of it that the device's memory holds, tried out."""
        torch = _load()
        height, width = self._spec.size
        while True:
            try:
                self._warm_up(batch)
            except (EngineError, torch.OutOfMemoryError) as error:
                cause = error if isinstance(error, torch.OutOfMemoryError) else error.__cause__
                if not isinstance(cause, torch.OutOfMemoryError):
                    raise
                self._captured.clear()
                torch.cuda.empty_cache()
                if batch == 1:
                    free = torch.cuda.mem_get_info(self._device)[0] / 2**30
                    raise EngineError(
                        f"{self._device} has too little memory for one picture of {width}x{height} ({free:.1f} GiB are free); "
                        "close what else uses it, or take --quality fast"
                    ) from error
                logger.warning("%s holds no batch of %d; %d is taken", self._device, batch, batch // 2)
                batch //= 2
            else:
                return batch

    def _warm_up(self, batch: int) -> None:
        """Run an empty batch through, so that everything that a first call pays for is paid."""
        torch = _load()
        self.matte(torch.zeros((batch, *self._spec.size, 3), dtype=torch.uint8))
        if self._stream is not None:
            self._stream.synchronize()

    def _capture(self, count: int) -> _Captured:
        """Memory and graph for batches of ``count``."""
        torch = _load()
        assert self._stream is not None
        rgb = torch.zeros((count, *self._spec.size, 3), dtype=torch.uint8, device=self._device)
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=self._spec.precision != "fp32")
        with torch.cuda.device(self._device), exact:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UP):
                    alpha = self._network(rgb)
            self._stream.synchronize()
            if self._mode == "eager":
                network = self._network

                def eager() -> None:
                    alpha.copy_(network(rgb))

                captured = _Captured(rgb, alpha, eager)
            else:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    alpha = self._network(rgb)
                captured = _Captured(rgb, alpha, graph.replay)
        self._captured[count] = captured
        return captured


def run_on_host(matte: Callable[[Tensor], Tensor], rgb: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    """``matte`` over an array, ``batch`` pictures at a time; float32 on the host."""
    torch = _load()
    parts = []
    for begin in range(0, len(rgb), batch):
        part = rgb[begin : begin + batch]
        parts.append(matte(torch.from_numpy(part if part.flags.writeable else part.copy())).cpu().numpy())
    alpha: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return alpha


def probe() -> Probe:
    """Torch's version and the GPUs that it can use; see `engines.backends.probe`."""
    torch = _load()
    gpus = find_gpus()
    if torch.version.cuda is None:
        # Which build pip takes by itself depends on the system: on Windows it is this one.
        cure = gpus.reason or f"pip uninstall torch, then install the build for CUDA {gpus.driver} or older that PyTorch's own page names, or take --device cpu"
        raise EngineUnavailableError(f"torch {torch.__version__} is a build without CUDA; {cure}")
    if not torch.cuda.is_available():
        old = f"the driver serves CUDA {gpus.driver}, and torch {torch.__version__} needs {torch.version.cuda}; update the driver, or take --device cpu"
        raise EngineUnavailableError(gpus.reason or old)
    names = {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    return Probe(torch.__version__, names)


def load_weights(model: ModelFiles) -> Any:
    """The `engines.gfm.GFM` of a model's verified weights, float32.

    Raises:
        EngineError: there are none, or they are damaged or do not fit.
    """
    from engines.checkpoint import load_network

    content = model.read("weights")
    assert model.weights is not None
    return load_network(model.weights, content)


def _network(model: ModelFiles, dtype: torch.dtype) -> Any:
    from engines.folded import FoldedMatte

    return FoldedMatte(load_weights(model), dtype)


def _load() -> Any:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(f"torch cannot be loaded ({error}); pip install 'streammat[cuda]'") from error
    return torch
