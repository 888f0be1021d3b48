"""Converts a network to a serialized TensorRT engine with torch-tensorrt, including settings that its options do not offer."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from streammat.engines.backends.cuda import device_error
from streammat.engines.base import EngineError, EngineUnavailableError, first_line, lack_of_memory
from streammat.engines.tensorrt.cache import BuildOptions
from streammat.engines.tensorrt.engine import CURE, load
from streammat.engines.tensorrt.types import check_network
from streammat.engines.whole_files import write_whole

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from streammat.engines.network.gfm import GFM

Progress = Callable[[str, float], None]
"""Called with the name of each phase and its progress, 0..1; from another thread."""
LESS = "take a smaller --batch, --quality or --workspace"
"""Hint for a build that lacks memory."""
_POLL_SECONDS = 0.2


def export_half(network: GFM, size: tuple[int, int], batch: int, device: str) -> ExportedProgram:
    """Export the network for TensorRT.

    Args:
        network: float32.
        size: (height, width) in pixels.
        batch: images.
        device: device of the program's weights.

    Returns:
        A program of static shape, uint8 (batch, height, width, 3) to float32 (batch, height/s, width/s).
    """
    import torch
    from torch import Tensor, nn

    from streammat.engines.network.folded import FoldedMatte

    class Static(nn.Module):
        """A network with static input: TensorRT supports uint8 only as an input, so the first operation must convert it."""

        def __init__(self, folded: FoldedMatte) -> None:
            super().__init__()
            self.folded = folded

        def forward(self, rgb: Tensor) -> Tensor:
            return self.folded.matte(rgb.float().permute(0, 3, 1, 2))

    folded = Static(FoldedMatte(network, torch.float16)).to(device).eval()
    rgb = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=device)
    with torch.no_grad():
        return torch.export.export(folded, (rgb,), strict=False)


def serialize(
    model: str, program: ExportedProgram, size: tuple[int, int], batch: int, device: str, options: BuildOptions, timings: Path | None, progress: Progress
) -> bytes:
    """Build the engine in a separate thread, so that Ctrl-C works meanwhile.

    Args:
        model: id, for messages.
        program: as from `export_half`.
        size: (height, width) of its images in pixels.
        batch: batch size of the program.
        device: ``cuda:N``.
        options: build options.
        timings: file of kernel timings, read and extended; None: no file.
        progress: see `Progress`.

    Returns:
        The plan: input ``rgb`` uint8 (N, H, W, 3), output ``output0`` float32 (N, H/s, W/s), static.

    Raises:
        EngineUnavailableError: torch-tensorrt cannot be loaded.
        EngineError: it has no converter, or TensorRT builds no engine.
        KeyboardInterrupt: passed on, when the builder has stopped.
    """
    import torch

    trt = _load_builder()
    import torch_tensorrt
    from torch_tensorrt.dynamo.conversion import _conversion
    from torch_tensorrt.dynamo.lowering import _decompositions

    # Torch takes ReLU6 apart into a clamp in float between two casts, 35 times in ``lite``; TensorRT has it as one layer.
    kept = {op: how for op, how in _decompositions.ENABLED_TORCH_DECOMPOSITIONS.items() if "hardtanh" not in str(op)}
    cancelled = threading.Event()
    monitor = _monitor(trt, progress, cancelled)

    class Interpreter(_conversion.TRTInterpreter):  # type: ignore[misc]
        """torch-tensorrt's interpreter with inspectable layers and progress; it has no option for either outside its debugger."""

        def _populate_trt_builder_config(self, *args: Any, **kwargs: Any) -> Any:
            check_network(trt, self.ctx.net, model)
            config = super()._populate_trt_builder_config(*args, **kwargs)
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
            config.progress_monitor = monitor
            return config

    result: list[bytes] = []
    fault: list[BaseException] = []

    def body(timing_cache: Path) -> None:
        try:
            with torch.cuda.device(device), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plan = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
                    program,
                    arg_inputs=[torch_tensorrt.Input(shape=(batch, *size, 3), dtype=torch.uint8)],
                    device=torch_tensorrt.Device(gpu_id=torch.device(device).index or 0),
                    require_full_compilation=True,
                    workspace_size=options.workspace,
                    optimization_level=options.optimization_level,
                    hardware_compatible=options.hardware_compatible,
                    immutable_weights=True,
                    timing_cache_path=str(timing_cache),
                )
            result.append(bytes(plan))
        except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
            fault.append(error)

    with tempfile.TemporaryDirectory(prefix="streammat-") as folder, _quiet() as heard, ExitStack() as patches:
        patches.enter_context(mock.patch.object(_conversion, "TRTInterpreter", Interpreter))
        patches.enter_context(mock.patch.object(_decompositions, "ENABLED_TORCH_DECOMPOSITIONS", kept))
        # Theirs is written in place: a copy, so that a build that breaks off spoils nothing.
        copy = Path(folder) / "timings.bin"
        if timings is not None:
            with suppress(OSError):
                shutil.copyfile(timings, copy)
        worker = threading.Thread(target=body, args=(copy,), name="streammat-build-engine")
        worker.start()
        try:
            while worker.is_alive():
                worker.join(_POLL_SECONDS)
        except BaseException:
            cancelled.set()
            worker.join()
            raise
        if fault:
            cause = _innermost(fault[0])
            if isinstance(cause, EngineError):
                raise cause
            # Of a build that came to nothing torch-tensorrt knows no more than that; TensorRT itself has said why.
            reason = heard[-1] if heard else first_line(cause)
            if lack_of_memory(cause) or lack_of_memory(EngineError(reason)):
                raise device_error(device, EngineError(f"out of memory: {reason}"), f"building {model!r}", LESS) from cause
            raise EngineError(f"TensorRT cannot build {model!r}: {reason}; try another --optimization-level, or take --engine cuda") from cause
        if timings is not None:
            with suppress(OSError):  # they save time next time, no more
                write_whole(timings, copy.read_bytes())
    return result[0]


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


def _load_builder() -> Any:
    """Import torch-tensorrt and return the module ``tensorrt`` that it uses."""
    load()
    try:
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_tensorrt  # noqa: F401
    except Exception as error:  # it raises the bare class
        raise EngineUnavailableError(f"torch-tensorrt cannot be loaded ({first_line(error)}); {CURE}") from error
    finally:
        logging.captureWarnings(capture=False)  # which it turns on for the whole process
    return load()


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep torch-tensorrt's log messages off the terminal; yields the list that collects its errors."""
    heard: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(" ".join(record.getMessage().split()))

    # Their second name has a blank in it, so it is no child of the first.
    loggers = [logging.getLogger(name) for name in ("torch_tensorrt", "torch_tensorrt [TensorRT Conversion Context]")]
    before = [(each.level, each.propagate) for each in loggers]
    handler = Keep(logging.ERROR)
    loggers[1].addHandler(handler)
    for each in loggers:
        each.setLevel(logging.ERROR)
        each.propagate = False
    silent = logging.NullHandler()
    loggers[0].addHandler(silent)
    try:
        yield heard
    finally:
        loggers[0].removeHandler(silent)
        loggers[1].removeHandler(handler)
        for each, (level, propagate) in zip(loggers, before, strict=True):
            each.setLevel(level)
            each.propagate = propagate


def _innermost(error: BaseException) -> BaseException:
    """Return the first cause of an error, which has the reason in torch-tensorrt."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
