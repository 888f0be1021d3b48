"""Runs TensorRT engines that `streammat.engines.tensorrt.build` built for this machine, with one static shape each, with the
TensorRT runtime alone.

Torch is only used for memory and streams. Building takes minutes, so nothing is built automatically: if no engine fits, the error
has the command that builds it.
"""

from __future__ import annotations

import logging
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streammat.engines.backends.cuda import device_error, load_torch, run_captured, run_on_host
from streammat.engines.backends.nvidia import driver_version, find_gpus
from streammat.engines.base import EngineError, EngineSpec, EngineUnavailableError, check_alpha, check_rgb, check_size
from streammat.engines.errors import first_line
from streammat.engines.model_files import ModelFiles, file_sha256
from streammat.engines.registry import Probe, check_present
from streammat.engines.tensorrt.cache import BuildOptions, Cached, EngineCache, EngineKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

logger = logging.getLogger(__name__)

PRECISION = "fp16"
_WARM_UP = 2  # runs before a capture: what TensorRT prepares on its first ones must not be captured
HINT = "pip install 'streammat[tensorrt]'"


class TensorRtEngine:
    """See `streammat.engines.base.Engine`.

    Args:
        model: the model's files; the digest of its weights identifies the engine.
        size: network input (height, width) in pixels, multiples of 32.
        reason: for ``spec.reason``.
        device: ``cuda:N``.
        batch: the engine's batch size; a smaller batch costs as much as a whole one, a larger one is divided.
        cache: the cache of built engines; None: the user's.

    Raises:
        EngineUnavailableError: TensorRT or torch's CUDA is missing, or no engine was built for this model, size, batch and
            machine; the message has the command that builds it.
        EngineError: the model has no weights, the engine is damaged, TensorRT refuses it, or memory does not suffice.
    """

    def __init__(
        self, model: ModelFiles, *, precision: str, size: tuple[int, int], reason: str, device: str = "cuda:0", threads: int = 0, batch: int = 1,
        cache: Path | None = None, built: EngineCache | None = None,
    ) -> None:
        del precision, threads, cache  # built engines have their own
        check_size(size)
        found = probe()
        check_present(device, found)
        built = EngineCache() if built is None else built
        here = key_here(model, size, batch, device)
        cached = built.find(here)
        if cached is None:
            raise EngineUnavailableError(
                f"no TensorRT engine fits {model.name!r} at {size[1]}x{size[0]}, batch {batch}: {built.why_none(here)}; "
                f"build it with `{build_line(model, size, batch)}`, or take --engine cuda"
            )
        self.batch = batch
        self._spec = EngineSpec(model.name, "tensorrt", PRECISION, device, 0, size, found.version, f"{reason}; {cached.name} is built")
        self._plan: DeviceEngine | None = DeviceEngine(built.read(cached), model.name, size, batch, device)

    @property
    def spec(self) -> EngineSpec:
        """The engine's name, precision, device and input size."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict alpha, float32 (N, H/s, W/s), of uint8 (N, H, W, 3) RGB; see `streammat.engines.base.Engine.infer`."""
        if self._plan is None:
            raise EngineError("the engine is closed; open another one")
        check_rgb(rgb, self._spec.size)
        return run_on_host(self.matte, rgb, self.batch, self._spec.device)

    def matte(self, rgb: Tensor) -> Tensor:
        """Predict the alpha of a batch of tensors; the result stays on the device.

        Args:
            rgb: uint8 (N, H, W, 3), N at most ``batch``, on the host or the device.

        Returns:
            float32 (N, H/s, W/s) on the device, new memory, ordered on the caller's current stream.

        Raises:
            EngineError: the engine is closed, or the device failed.
        """
        if self._plan is None:
            raise EngineError("the engine is closed; open another one")
        return self._plan(rgb)

    def close(self) -> None:
        """Free the device's memory; safe to call twice."""
        if self._plan is not None:
            self._plan.close()
            self._plan = None


class DeviceEngine:
    """A serialized engine in a device's memory, with its own buffers and stream, captured as a CUDA graph.

    Args:
        content: bytes of the plan.
        model: id, for messages.
        size: network input (height, width) in pixels.
        batch: images at once.
        device: ``cuda:N``, one that torch can use.

    Raises:
        EngineError: TensorRT refuses the plan, it is of another network, or memory does not suffice.
    """

    def __init__(self, content: bytes, model: str, size: tuple[int, int], batch: int, device: str) -> None:
        torch, trt = load_torch(HINT), load()
        self._device = torch.device(device)
        self._name = device
        self._log = tensorrt_log()
        self._log.last = ""
        try:
            with torch.cuda.device(self._device):
                self._runtime: Any = trt.Runtime(self._log)
                self._engine: Any = self._runtime.deserialize_cuda_engine(content)
                if self._engine is None:
                    raise EngineError(f"TensorRT {trt.__version__} refuses the engine of {model!r}: {self._log.last or 'no reason given'}; build it again with --force")
                given, made = self._ports(trt, model, size, batch)
                self._context: Any = self._engine.create_execution_context()
                if self._context is None:
                    free = torch.cuda.mem_get_info(self._device)[0] / 2**30
                    raise EngineError(
                        f"{device} has too little memory for the engine of {model!r} ({free:.1f} GiB are free; {self._log.last or 'no reason given'}); "
                        "close what else uses it, or take a smaller --batch or --quality fast"
                    )
                self._rgb = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=self._device)
                self._alpha = torch.zeros(tuple(self._engine.get_tensor_shape(made)), dtype=torch.float32, device=self._device)
                self._context.set_tensor_address(given, self._rgb.data_ptr())
                self._context.set_tensor_address(made, self._alpha.data_ptr())
                self._stream = torch.cuda.Stream(self._device)
                self._launch: Callable[[], object] = self._captured()
        except EngineError:
            raise
        except RuntimeError as error:
            raise device_error(device, error, f"batches of {batch} at {size[1]}x{size[0]}") from error

    def __call__(self, rgb: Tensor) -> Tensor:
        """See `TensorRtEngine.matte`."""
        torch = load_torch(HINT)
        count = len(rgb)
        try:
            with torch.inference_mode():
                return run_captured(rgb, self._rgb[:count], self._launch, self._alpha[:count], self._stream)
        except RuntimeError as error:
            raise device_error(self._name, error, f"a batch of {count}") from error

    def describe(self) -> str:
        """Return the report of TensorRT's inspector on the layers, as JSON."""
        trt = load()
        told: str = self._engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        return told

    def close(self) -> None:
        """Free the device's memory."""
        torch = load_torch(HINT)
        with suppress(RuntimeError):  # a device that has failed fails in this, too
            self._stream.synchronize()
        # In this order: each holds the next one.
        del self._launch, self._context, self._engine, self._runtime, self._rgb, self._alpha
        with suppress(RuntimeError):
            torch.cuda.empty_cache()

    def _ports(self, trt: Any, model: str, size: tuple[int, int], batch: int) -> tuple[str, str]:
        """Return the names of input and output; raises EngineError if they are not those of a matting network."""
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        described = {name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))) for name in names}
        inputs = [name for name in names if described[name] == (trt.TensorIOMode.INPUT, trt.DataType.UINT8, (batch, *size, 3))]
        outputs = [name for name in names if described[name][:2] == (trt.TensorIOMode.OUTPUT, trt.DataType.FLOAT)]
        if len(names) != 2 or not inputs or not outputs:
            found = ", ".join(f"{name} {dtype} {shape}" for name, (_, dtype, shape) in described.items())
            raise EngineError(f"the engine of {model!r} is of another kind: {found}; expected uint8 {(batch, *size, 3)} to float32 alpha; build it again with --force")
        check_alpha(model, (1, *described[outputs[0]][2][1:]), size)
        return inputs[0], outputs[0]

    def _captured(self) -> Callable[[], object]:
        torch = load_torch(HINT)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                self._enqueue()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Where this fails there is no going on uncaptured: torch's allocator would take the capture for unfinished, and free no
        # more
        # memory that another stream has used. A network of static shape, without loops or conditions, can be captured.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._enqueue()
        replay: Callable[[], object] = graph.replay
        return replay

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise EngineError(f"{self._name} failed: {self._log.last or 'TensorRT gave no reason'}; build the engine again with --force, or take --engine cuda")


def probe() -> Probe:
    """Return TensorRT's version and the GPUs; see `streammat.engines.registry.probe`."""
    from streammat.engines.backends.cuda import probe as probe_cuda

    found = probe_cuda()
    return Probe(str(load().__version__), found.devices, found.notes)


def find_built(model: ModelFiles, size: tuple[int, int], batch: int, device: str, cache: EngineCache | None = None) -> Cached | None:
    """Return the engine that `TensorRtEngine` would open, or None; loads TensorRT only if one was built of these weights.

    Raises:
        EngineUnavailableError: TensorRT cannot be loaded.
        EngineError: the weights or the cache cannot be read.
    """
    cache = EngineCache() if cache is None else cache
    digest = weights_digest(model)
    if not any(entry.key.weights == digest for entry in cache.entries()):
        return None
    return cache.find(key_here(model, size, batch, device))


def key_here(model: ModelFiles, size: tuple[int, int], batch: int, device: str, options: BuildOptions | None = None) -> EngineKey:
    """Return the key of an engine built here and now.

    Raises:
        EngineUnavailableError: TensorRT cannot be loaded, or there is no such GPU.
        EngineError: the model has no weights, or they cannot be read.
    """
    gpus = find_gpus()
    index = int(device.partition(":")[2] or 0)
    if index >= len(gpus.names):
        raise EngineUnavailableError(gpus.reason or f"there is no {device}; the driver finds {len(gpus.names)} GPUs")
    return EngineKey(
        weights_digest(model), PRECISION, size, batch, gpus.names[index], gpus.capabilities[index], driver_version(), str(load().__version__),
        options or BuildOptions(),
    )


def weights_digest(model: ModelFiles) -> str:
    """Return the SHA-256 of a model's weights, from its card; raises EngineError if it has no weights."""
    if known := model.sha256.get("weights"):
        return known
    if model.weights is None:
        model.read("weights")  # says what is missing
    assert model.weights is not None
    try:
        return file_sha256(model.weights)
    except OSError as error:
        raise EngineError(f"cannot read model file {model.weights}: {error.strerror}; {model.hint}") from error


def build_line(model: ModelFiles, size: tuple[int, int], batch: int) -> str:
    """Return the command that builds an engine."""
    count = "" if batch == 1 else f" --batch {batch}"
    return f"streammat engine build --model {shlex.quote(model.name)} --network-size {size[1]}x{size[0]}{count}"


@cache
def load() -> Any:
    """Import and return the module ``tensorrt``.

    Raises:
        EngineUnavailableError: it is not installed, or its libraries cannot be found.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise EngineUnavailableError(f"tensorrt cannot be loaded ({first_line(error)}); {HINT}") from error
    return tensorrt


@cache
def tensorrt_log() -> Any:
    """Return the single logger for TensorRT, which keeps the last error; it must outlive all TensorRT objects."""
    trt = load()

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last = " ".join(msg.split())
            logger.debug("TensorRT: %s", msg)

    return Log()
