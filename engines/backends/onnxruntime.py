"""ONNX Runtime: the engine that runs on every CPU, and on other devices for which the installed build has providers."""

from __future__ import annotations

import importlib.metadata
import io
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import (
    EngineError,
    EngineSpec,
    EngineUnavailableError,
    Part,
    Port,
    check_alpha,
    check_contract,
    check_rgb,
    check_size,
    default_threads,
    memory_error,
)
from streammat.engines.errors import first_line
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import Probe, kind_of

_PROVIDERS: Mapping[str, tuple[str, str]] = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
}
"""Execution provider for each kind of device, and the package that contains it."""

_LIBRARIES = (
    "check that the driver and its CUDA, cuDNN or TensorRT libraries are those that this version was built for (its release notes say), or take --device cpu"
)


class OnnxRuntimeEngine:
    """See `streammat.engines.base.Engine`.

    Args:
        model: the model's files.
        precision: ``fp32`` or, on the CPU, ``int8``. In ``fp32`` TensorRT rounds factors to TF32.
        size: network input (height, width) in pixels, multiples of 32.
        threads: number of CPU threads, at least 1.
        reason: for ``spec.reason``.
        device: ``cpu``, or a kind of `_PROVIDERS`, with a number if there may be several.
        part: what ``infer`` gives.
        parallel: calls of ``infer`` that may run in parallel, at most ``threads``.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed, or this build cannot use the device.
        EngineError: the file is missing, damaged or not this kind of model, or the size does not fit.
    """

    def __init__(
        self, model: ModelFiles, *, precision: str, size: tuple[int, int], reason: str, device: str = "cpu", threads: int = 0, batch: int = 1,
        cache: Path | None = None, part: Part = "alpha", parallel: int = 1,
    ) -> None:
        del batch, cache  # any batch will do, and nothing is kept
        threads = threads or default_threads()
        check_size(size)
        onnxruntime = _load()
        provider = _provider(onnxruntime, device)
        if kind_of(device) in ("cuda", "tensorrt"):
            _load_cuda(onnxruntime)
        content = model.read_part(precision, part)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads // parallel)
        options.inter_op_num_threads = 1
        # Its pattern of memory is one block for a whole run, beside the arena that the first run has filled: 8 MB at 512x288.
        options.enable_mem_pattern = provider is not None
        # Decoder and encoder share the cores, and threads that spin while they wait would slow them down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; its warnings are about its own optimiser
        for name, value in (("batch", 1), ("height", size[0]), ("width", size[1])):
            options.add_free_dimension_override_by_name(name, value)
        try:
            providers = [provider, "CPUExecutionProvider"] if provider else ["CPUExecutionProvider"]
            # Its own fallback reopens the session on the CPU if a provider fails, even during a run, and prints that.
            session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
            inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
        except Exception as error:  # its exceptions share no base class
            if memory := memory_error("ONNX Runtime", size, error):
                raise memory from error
            if provider is not None:
                raise EngineUnavailableError(f"ONNX Runtime cannot run model {model.name!r} with {provider[0]}: {first_line(error)}; {_LIBRARIES}") from error
            raise EngineError(f"ONNX Runtime cannot load model {model.name!r} ({precision}): {first_line(error)}; take another --engine or --precision") from error
        check_contract(model.name, inputs, outputs, size, model.part_name(part))
        if provider is not None and provider[0] not in session.get_providers():
            # It continues without a provider that fails to start, and only logs it.
            raise EngineUnavailableError(f"ONNX Runtime has {provider[0]} but cannot start it; {_LIBRARIES}")
        self._session: Any = session
        self._part, self._output = part, model.part_name(part)
        version = onnxruntime.__version__
        self._spec = EngineSpec(model.name, "onnxruntime", precision, device, 0 if provider else threads, size, version, reason, parallel)

    @property
    def spec(self) -> EngineSpec:
        """The engine's name, precision, device and input size."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s) alpha; see `streammat.engines.base.Engine.infer`."""
        if self._session is None:
            raise EngineError("the engine is closed; open another one")
        check_rgb(rgb, self._spec.size)
        try:
            # The graph is planned for one image; on a CPU a batch would gain nothing.
            parts = [self._session.run([self._output], {"rgb": rgb[i : i + 1]})[0] for i in range(len(rgb))]
        except Exception as error:
            if memory := memory_error("ONNX Runtime", self._spec.size, error):
                raise memory from error
            raise EngineError(f"ONNX Runtime failed: {first_line(error)}; take another --engine") from error
        planes: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        planes = planes[:, 0] if self._part == "focus" else planes
        check_alpha(self._spec.model, (1, *planes.shape[1:]), self._spec.size, self._part)
        return planes

    def close(self) -> None:
        """Free the session; safe to call twice."""
        self._session = None


def run_file(content: bytes, inputs: Mapping[str, NDArray[Any]], threads: int) -> dict[str, NDArray[np.float32]]:
    """Run an ONNX file once on the CPU and return all outputs, by name.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed.
        EngineError: the file cannot be loaded or run.
    """
    onnxruntime = _load()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))
    except Exception as error:  # its exceptions share no base class
        raise EngineError(f"ONNX Runtime cannot run the file: {first_line(error)}; export it again") from error


def probe() -> Probe:
    """Return the installed build and the devices that it has providers for; see `streammat.engines.registry.probe`."""
    onnxruntime = _load()
    available = onnxruntime.get_available_providers()
    devices = {"cpu": "CPUExecutionProvider"}
    devices |= {kind: name for kind, (name, _) in _PROVIDERS.items() if name in available}
    return Probe(onnxruntime.__version__, devices, (f"{_several()}; {_REINSTALL}",) if _several() else ())


_BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
_REINSTALL = "pip uninstall all of them, then pip install the one that is wanted: removing one takes files away from the others"


def _several() -> str:
    """Return what is wrong if several builds are installed over each other in their shared folder; else empty."""
    there = [name for name in _BUILDS if _is_installed(name)]
    return f"{' and '.join(there)} are installed over each other, and the last one counts" if len(there) > 1 else ""


def _load() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailableError(f"ONNX Runtime cannot be loaded ({error}); install it: pip install onnxruntime") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # Python imports the folder left by a removed build as an empty package.
        raise EngineUnavailableError(
            f"ONNX Runtime is there in part only ({', '.join(onnxruntime.__path__)}), as is left when one of two builds is removed; "
            "pip install --force-reinstall onnxruntime"
        )
    return onnxruntime


def _provider(onnxruntime: Any, device: str) -> tuple[str, dict[str, str]] | None:
    """Return the provider and its options; None for the CPU."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return None
    name, package = _PROVIDERS[kind]
    if name not in onnxruntime.get_available_providers():
        hint = f"{_several()}; {_REINSTALL}" if _several() else f"pip uninstall onnxruntime, then pip install {package}"
        raise EngineUnavailableError(f"the installed ONNX Runtime {onnxruntime.__version__} has no {name}; {hint}, or take --device cpu")
    options: dict[str, str] = {} if kind == "coreml" else {"device_id": number or "0"}
    if kind == "cuda":
        # Exact fp32: its usual TF32 has ten bits of mantissa. Exhaustive search costs seconds, once.
        options |= {"use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    if kind == "coreml":
        options |= {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"}
    return name, options


def _load_cuda(onnxruntime: Any) -> None:
    """Preload CUDA's libraries from pip's folders, which the system's loader does not search; only opening a session shows
    whether that worked.
    """
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnxruntime.preload_dlls()


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _ports(nodes: Iterable[Any]) -> list[Port]:
    """Return the inputs or outputs of a session."""
    ports = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        ports.append(Port(node.name, {"float": "float32"}.get(kind, kind), tuple(d if isinstance(d, int) else None for d in node.shape or ())))
    return ports
