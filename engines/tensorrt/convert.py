"""Converts a network to a serialized TensorRT engine: ONNX in half precision, read and built by TensorRT itself (experimental: no GPU has run it)."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streammat.engines.backends.cuda import device_error
from streammat.engines.base import EngineError, lack_of_memory
from streammat.engines.errors import first_line
from streammat.engines.tensorrt.cache import BuildOptions
from streammat.engines.tensorrt.engine import load, tensorrt_log
from streammat.engines.tensorrt.types import check_network
from streammat.engines.whole_files import write_whole

if TYPE_CHECKING:
    from streammat.engines.network.gfm import GFM

Progress = Callable[[str, float], None]
"""Called with the name of each phase and its progress, 0..1; from another thread."""
LESS = "take a smaller --batch, --quality or --workspace"
"""Hint for a build that lacks memory."""
_POLL_SECONDS = 0.2


def export_half(network: GFM, size: tuple[int, int], batch: int, device: str) -> bytes:
    """Export the network for TensorRT.

    Args:
        network: float32.
        size: (height, width) in pixels.
        batch: images.
        device: device for the trace.

    Returns:
        ONNX of static shape: input ``rgb`` uint8 (batch, height, width, 3), output ``output0`` float32 (batch, height/s, width/s),
        encoder and decoders in half precision.

    Raises:
        EngineError: the weights are too large for one file.
        OSError: the folder for temporary files is full.
    """
    import torch
    from torch import Tensor, nn

    from streammat.engines.export.onnx import check_weights, write_onnx
    from streammat.engines.network.folded import FoldedMatte

    class Static(nn.Module):
        """A network with static input: TensorRT supports uint8 only as an input, so the first operation must convert it."""

        def __init__(self, folded: FoldedMatte) -> None:
            super().__init__()
            self.folded = folded

        def forward(self, rgb: Tensor) -> Tensor:
            return self.folded.matte(rgb.float().permute(0, 3, 1, 2))

    check_weights(network)
    rgb = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=device)
    with tempfile.TemporaryDirectory(prefix="streammat-") as folder:
        path = Path(folder) / "half.onnx"
        write_onnx(Static(FoldedMatte(network, torch.float16)).to(device).eval(), rgb, path, {"rgb": {}, "output0": {}})
        return path.read_bytes()


def serialize(model: str, network: bytes, device: str, options: BuildOptions, timings: Path | None, progress: Progress) -> bytes:
    """Build the engine in a separate thread, so that Ctrl-C works meanwhile.

    Args:
        model: id, for messages.
        network: as from `export_half`.
        device: ``cuda:N``.
        options: build options.
        timings: file of kernel timings, read and extended; None: no file.
        progress: see `Progress`.

    Returns:
        The plan, with input and output as those of ``network``.

    Raises:
        EngineError: TensorRT cannot read the network, or builds no engine.
        KeyboardInterrupt: passed on, when the builder has stopped.
    """
    import torch

    trt, log = load(), tensorrt_log()
    cancelled = threading.Event()
    result: list[bytes] = []
    fault: list[BaseException] = []

    def body() -> None:
        try:
            with torch.cuda.device(device):
                builder = trt.Builder(log)
                definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
                parser = trt.OnnxParser(definition, log)
                if not parser.parse(network):
                    raise RuntimeError("; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)) or _reason(log))
                check_network(trt, definition, model)
                config = _config(trt, builder, options, timings)
                config.progress_monitor = _monitor(trt, progress, cancelled)
                plan = builder.build_serialized_network(definition, config)
                if plan is None:
                    raise RuntimeError(_reason(log))
                result.append(bytes(plan))
                if timings is not None:
                    with suppress(OSError):  # they save time next time, no more
                        write_whole(timings, bytes(config.get_timing_cache().serialize()))
        except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
            fault.append(error)

    log.last = ""
    worker = threading.Thread(target=body, name="streammat-build-engine")
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_POLL_SECONDS)
    except BaseException:
        cancelled.set()
        worker.join()
        raise
    if fault:
        if isinstance(fault[0], EngineError):
            raise fault[0]
        if lack_of_memory(fault[0]):
            raise device_error(device, fault[0], f"building {model!r}", LESS) from fault[0]
        raise EngineError(f"TensorRT cannot build {model!r}: {first_line(fault[0])}; try another --optimization-level, or take --engine cuda") from fault[0]
    return result[0]


def _reason(log: Any) -> str:
    return str(log.last) or "no reason given"


def _config(trt: Any, builder: Any, options: BuildOptions, timings: Path | None) -> Any:
    """Return the builder configuration: layers that can be inspected afterwards, kernel timings of earlier builds."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimization_level
    if options.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    before = b""
    if timings is not None:
        with suppress(OSError):
            before = timings.read_bytes()
    if not config.set_timing_cache(config.create_timing_cache(before), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return config


def _monitor(trt: Any, progress: Progress, cancelled: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Progress monitor; TensorRT calls it from its own threads, and it must not raise."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(1, num_steps)
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._steps.get(phase_name, 1))

        def _tell(self, phase: str, done: int) -> None:
            with suppress(Exception):
                progress(phase, min(1.0, done / self._steps.get(phase, 1)))

    return Monitor()
