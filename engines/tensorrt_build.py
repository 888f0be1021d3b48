"""Half-precision engines for TensorRT, built with torch-tensorrt from a model's weights.

TensorRT's networks are strongly typed: each layer computes in what its tensors are. So the types come from the network that is
exported, `engines.folded.FoldedMatte` in half precision with float borders, and from no option of the builder.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from engines.backends import probe
from engines.base import EngineError, EngineUnavailableError, check_rgb, check_size, first_line
from engines.cache import BuildOptions, Cached, EngineCache, write_whole
from engines.cuda_engine import load_weights, run_on_host
from engines.models import ModelFiles
from engines.parity import NOTICEABLE, Parity, compare, draw
from engines.tensorrt_engine import Plan, builder_version, key_here, load

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from engines.gfm import GFM

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Told of each phase by its name, with what is done of it, 0..1; from another thread."""
LEVELS = range(6)
LARGEST_MEAN = 2e-3
LARGEST_OFF = 0.02
_HALF = re.compile(r"folded\.model\.(encoder|glance|focus)\b")
_RIM = re.compile(r"folded\.model\.rim\b")
_CURE = "pip install 'streammat[tensorrt]'"
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Layers:
    """What the layers of a built engine compute in."""

    half: int
    """Layers with a half-precision input or output."""
    single: int
    """Layers of float alone: borders and fusion."""
    other: int
    """The rest: integers, or what the inspector tells nothing of."""


@dataclass(frozen=True)
class Built:
    """An engine and what was found out about it."""

    plan: bytes
    """Runs with the TensorRT runtime alone: input ``rgb`` uint8 (N, H, W, 3), output ``output0`` float32 (N, H/s, W/s), static."""
    parity: Parity
    """From torch in float32, over the pictures."""
    layers: Layers
    seconds: float
    """What building took, without the comparison."""


def build_plan(
    model: ModelFiles, size: tuple[int, int], batch: int = 1, *, device: str = "cuda:0", options: BuildOptions | None = None,
    pictures: Sequence[NDArray[np.uint8]] = (), timings: Path | None = None, progress: Progress | None = None,
) -> Built:
    """Build an engine, and compare it with the network that it is made of.

    Args:
        model: files; its weights are what is built.
        size: network input (height, width) in pixels, multiples of 32; the engine takes no other.
        batch: pictures that it works on together; it takes no other number.
        device: ``cuda:N``; the engine runs on that kind of GPU.
        options: how to build; None: the defaults.
        pictures: uint8 (N, H, W, 3) RGB of ``size`` to compare on, beside two drawn ones.
        timings: file of measured kernels, read and extended; None: measured anew.
        progress: see `Progress`.

    Returns:
        The plan and its measures.

    Raises:
        EngineUnavailableError: there is no GPU, or what is needed is not installed.
        EngineError: the weights cannot be used, TensorRT cannot build them, a convolution is not in half precision, or alpha
            is too far from that of torch in float32.
        KeyboardInterrupt: passed on, when the builder has stopped.
    """
    options = options or BuildOptions()
    check_request(size, batch, options)
    check_builder(device)
    import torch

    network = load_weights(model)
    begin = time.monotonic()
    try:
        with torch.cuda.device(device):
            program = export_half(network, size, batch, device)
            plan = _serialize(model.name, program, size, batch, device, options, timings, progress or _untold)
            del program
            torch.cuda.empty_cache()
        seconds = time.monotonic() - begin
        opened = Plan(plan, model.name, size, batch, device)
        try:
            layers = count_layers(opened.describe(), model.name)
            parity = _compare(network, opened, size, batch, device, pictures)
        finally:
            opened.close()
    except torch.OutOfMemoryError as error:
        raise EngineError(_too_little(model.name, device, first_line(error))) from error
    check_parity(model.name, parity)
    return Built(plan, parity, layers, seconds)


def build_engine(
    model: ModelFiles, size: tuple[int, int], batch: int = 1, *, device: str = "cuda:0", options: BuildOptions | None = None,
    pictures: Sequence[NDArray[np.uint8]] = (), cache: EngineCache | None = None, force: bool = False, progress: Progress | None = None,
) -> tuple[Cached, bool]:
    """Build an engine into the cache, unless it is there.

    The arguments are those of `build_plan`, and ``cache``, None: the user's; ``force`` builds it even where it is there.

    Returns:
        The engine, and True where it was built just now.

    Raises:
        EngineUnavailableError, EngineError: as `build_plan`; or the cache cannot be written.
    """
    cache = EngineCache() if cache is None else cache
    options = options or BuildOptions()
    check_request(size, batch, options)
    check_builder(device)
    key = key_here(model, size, batch, device, options)

    def there() -> Cached | None:
        found = None if force else next((entry for entry in cache.entries() if entry.key == key), None)
        if found is not None:
            with suppress(EngineError):
                cache.read(found)
                return found
        return None

    if found := there():
        return found, False
    with cache.lock():
        # Whoever held the lock may have built just this one.
        if found := there():
            return found, False
        if not force and any(entry.key == key for entry in cache.entries()):
            logger.warning("the engine that is there is damaged; it is built again")
        cache.check_space(2 * _weights_bytes(model))
        logger.info("%s", estimate(cache, key.gpu))
        built = build_plan(
            model, size, batch, device=device, options=options, pictures=pictures, timings=cache.timings(key), progress=progress
        )
        details = {"parity": asdict(built.parity), "layers": asdict(built.layers), "seconds": round(built.seconds, 1)}
        return cache.store(model.name, key, built.plan, details), True


def check_request(size: tuple[int, int], batch: int, options: BuildOptions) -> None:
    """Refuse what no engine can be built for; raises EngineError."""
    check_size(size)
    if batch < 1:
        raise EngineError(f"batch is {batch}; expected 1 or more")
    if options.optimization_level not in LEVELS:
        raise EngineError(f"optimization level is {options.optimization_level}; expected {LEVELS[0]} to {LEVELS[-1]}")
    if options.workspace < 0:
        raise EngineError(f"workspace is {options.workspace} bytes; expected 0 (unlimited) or more")


def check_builder(device: str) -> None:
    """Refuse to build where this machine cannot.

    Raises:
        EngineUnavailableError: no GPU, no driver, no TensorRT, no torch-tensorrt.
    """
    found = probe("tensorrt")
    if not builder_version():
        raise EngineUnavailableError(f"torch-tensorrt, which builds engines, is not installed; {_CURE}")
    if device not in found.devices:
        raise EngineUnavailableError(f"there is no {device}; found are {', '.join(found.devices)}")


def export_half(network: GFM, size: tuple[int, int], batch: int, device: str) -> ExportedProgram:
    """The network as TensorRT is given it.

    Args:
        network: float32.
        size: (height, width) in pixels.
        batch: pictures.
        device: where the program's weights are.

    Returns:
        A program of static shape, uint8 (batch, height, width, 3) to float32 (batch, height/s, width/s).
    """
    import torch
    from torch import Tensor, nn

    from engines.folded import FoldedMatte

    class Static(nn.Module):
        """TensorRT knows uint8 at its border alone: the first thing that happens to it has to be the conversion."""

        def __init__(self, folded: FoldedMatte) -> None:
            super().__init__()
            self.folded = folded

        def forward(self, rgb: Tensor) -> Tensor:
            return self.folded.matte(rgb.float().permute(0, 3, 1, 2))

    folded = Static(FoldedMatte(network, torch.float16)).to(device).eval()
    rgb = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=device)
    with torch.no_grad():
        return torch.export.export(folded, (rgb,), strict=False)


def count_layers(described: str, model: str) -> Layers:
    """What the layers compute in, of the JSON of TensorRT's inspector.

    Args:
        described: of an engine that was built with detailed profiling.
        model: id, for the message.

    Raises:
        EngineError: it tells no types, or a convolution of the encoder or a decoder has float alone.
    """
    try:
        layers = json.loads(described)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"TensorRT's description of the engine of {model!r} cannot be read ({error!r}); its precision cannot be told") from error
    counts = {"half": 0, "single": 0, "other": 0}
    wrong = []
    for layer in layers:
        if not isinstance(layer, dict):
            raise EngineError(f"TensorRT names the layers of {model!r} only; its precision cannot be told")
        ports = [port for side in ("Inputs", "Outputs") for port in layer.get(side, ()) if isinstance(port, dict)]
        kinds = {_kind(str(port.get("Format/Datatype", port.get("Datatype", "")))) for port in ports}
        kind = "half" if "half" in kinds else "single" if "single" in kinds else "other"
        counts[kind] += 1
        text = " ".join(str(layer.get(word, "")) for word in ("Name", "Metadata", "LayerType", "ParameterType"))
        # RIM's integration is float by design.
        if kind == "single" and "convolution" in text.lower() and not _RIM.search(text):
            wrong.append(str(layer.get("Name", "?")))
    if not counts["half"]:
        raise EngineError(f"no layer of the engine of {model!r} computes in half precision, as TensorRT describes it; it is not kept")
    if wrong:
        raise EngineError(f"{len(wrong)} convolutions of the engine of {model!r} compute in float, not in half precision, the first {wrong[0]!r}; it is not kept")
    return Layers(**counts)


def check_parity(model: str, parity: Parity) -> None:
    """Refuse an engine that is too far from float32.

    Raises:
        EngineError: beyond `LARGEST_MEAN` or `LARGEST_OFF`.
    """
    if not (parity.mean <= LARGEST_MEAN and parity.off <= LARGEST_OFF):  # so that NaN is refused, too
        raise EngineError(
            f"the engine of {model!r} disagrees with torch in float32: alpha differs by {parity.mean:.1e} on average and by more than {NOTICEABLE} in "
            f"{parity.off:.2%} of the pixels; at most {LARGEST_MEAN:.0e} and {LARGEST_OFF:.1%} are allowed; it is not kept; take --engine cuda"
        )


def estimate(cache: EngineCache, gpu: str) -> str:
    """What is known before about how long a build takes here, one clause."""
    known = sorted(float(entry.details["seconds"]) for entry in cache.entries() if entry.key.gpu == gpu and "seconds" in entry.details)
    if not known:
        return "building the engine; how long this GPU takes is not known before its first one: a network of hundreds of layers is timed kernel by kernel, expect minutes"
    span = f"{known[0]:.0f}" if len(known) == 1 else f"{known[0]:.0f} to {known[-1]:.0f}"
    return f"building the engine; earlier ones took {span} s on this GPU"


def _kind(text: str) -> str:
    """``half``, ``single`` or empty, of the inspector's ``Half`` or ``Row major linear FP16 format``."""
    lower = text.lower()
    if "half" in lower or "fp16" in lower or "float16" in lower:
        return "half"
    return "single" if "float" in lower or "fp32" in lower else ""


def _compare(
    network: GFM, opened: Plan, size: tuple[int, int], batch: int, device: str, pictures: Sequence[NDArray[np.uint8]]
) -> Parity:
    """The plan beside torch in float32, picture by picture."""
    import torch

    from engines.folded import FoldedMatte

    rng = np.random.default_rng(11)
    for given in pictures:
        check_rgb(given, size)
    every = [picture[None] for given in (*pictures, draw(*size, rng), draw(*size, rng)) for picture in given]
    exact = FoldedMatte(network).to(device)
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        for rgb in every:
            expected = exact(torch.from_numpy(rgb.copy()).to(device)).cpu().numpy()
            # A whole batch of it: what the engine does to the last picture counts as well.
            found = run_on_host(opened, np.repeat(rgb, batch, axis=0), batch)
            pairs.extend((one[None], expected) for one in found)
    return compare(pairs)


def _serialize(
    model: str, program: ExportedProgram, size: tuple[int, int], batch: int, device: str, options: BuildOptions, timings: Path | None, progress: Progress
) -> bytes:
    """Run torch-tensorrt in a thread of its own, so that Ctrl-C is heard while TensorRT works."""
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
        """Theirs, with layers that can be inspected, and progress; there is no option for either outside their debugger."""

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
            if _is_memory(reason) or isinstance(cause, torch.OutOfMemoryError):
                raise EngineError(_too_little(model, device, reason)) from cause
            raise EngineError(f"TensorRT cannot build {model!r}: {reason}; try another --optimization-level, or take --engine cuda") from cause
        if timings is not None:
            with suppress(OSError):  # they save time next time, no more
                write_whole(timings, copy.read_bytes())
    return result[0]


def check_network(trt: Any, network: Any, model: str) -> None:
    """Refuse a network definition that computes in float within the encoder or a decoder.

    Args:
        trt: the module.
        network: ``tensorrt.INetworkDefinition``, strongly typed, whose layers are named after our modules.
        model: id, for the message.

    Raises:
        EngineError: a layer of theirs gives float, or there is none.
    """
    found = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if _HALF.search(layer.name):
            found += 1
            kinds = {layer.get_output(output).dtype for output in range(layer.num_outputs)}
            if trt.DataType.FLOAT in kinds:
                raise EngineError(f"layer {layer.name!r} of {model!r} gives float, expected half precision; this is a bug of streammat, take --engine cuda")
    if not found:
        raise EngineError(f"the layers of {model!r} are not named after its modules, so their types cannot be checked; this is a bug of streammat, take --engine cuda")


def _monitor(trt: Any, progress: Progress, cancelled: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """TensorRT calls it from threads of its own, and takes no exception."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._parents: dict[str, str | None] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(1, num_steps)
            self._parents[phase_name] = parent_phase
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
    """The module ``tensorrt`` as torch-tensorrt sees it, which is loaded too."""
    load()
    try:
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_tensorrt  # noqa: F401
    except Exception as error:  # it raises the bare class
        raise EngineUnavailableError(f"torch-tensorrt cannot be loaded ({first_line(error)}); {_CURE}") from error
    finally:
        logging.captureWarnings(capture=False)  # which it turns on for the whole process
    return load()


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep torch-tensorrt's own words off the terminal; gives the errors among them, as they come."""
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


def _too_little(model: str, device: str, reason: str) -> str:
    import torch

    free = torch.cuda.mem_get_info(device)[0] / 2**30
    return f"{device} has too little memory to build {model!r} ({free:.1f} GiB are free; {reason}); close what else uses it, or take a smaller --batch, --quality or --workspace"


def _is_memory(reason: str) -> bool:
    lower = reason.lower()
    return "out of memory" in lower or "outofmemory" in lower or ("memory" in lower and "alloc" in lower)


def _innermost(error: BaseException) -> BaseException:
    """The first cause, which is where torch-tensorrt leaves the reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _weights_bytes(model: ModelFiles) -> int:
    assert model.weights is not None  # without them there is no key
    try:
        return model.weights.stat().st_size
    except OSError as error:
        raise EngineError(f"cannot read model file {model.weights}: {error.strerror}; {model.cure}") from error


def _untold(_phase: str, _done: float) -> None:
    pass
