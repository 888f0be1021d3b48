"""ONNX Runtime: on the CPU the engine that runs everywhere, and on other devices what the installed build has providers for."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends import Probe
from engines.base import EngineError, EngineSpec, EngineUnavailableError, Port, check_alpha, check_contract, check_rgb, check_size
from engines.models import ModelFiles

_PROVIDERS: Mapping[str, tuple[str, str]] = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
}
"""Provider by kind of device, and the package that has it."""


class OnnxRuntimeEngine:
    """See `engines.base.Engine`.

    Args:
        model: files.
        precision: ``fp32`` or ``int8``; with TensorRT ``fp16`` or ``fp32``.
        size: network input (height, width) in pixels, multiples of 32.
        threads: threads of the CPU to compute with, at least 1.
        reason: for ``spec.reason``.
        device: ``cpu``, or a kind of `_PROVIDERS`, with a number where there are several.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed, or this build cannot use the device.
        EngineError: the file is missing, damaged or not this kind of model, or the size does not fit.
    """

    def __init__(
        self, model: ModelFiles, precision: str, size: tuple[int, int], threads: int, reason: str, device: str = "cpu"
    ) -> None:
        check_size(size)
        onnxruntime = _load()
        provider = _provider(onnxruntime, device, precision)
        content = model.read("fp32" if precision == "fp16" else precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Decoder and encoder share the cores: threads that spin while they wait take their time away.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; its warnings are about its own optimiser
        for name, value in (("batch", 1), ("height", size[0]), ("width", size[1])):
            options.add_free_dimension_override_by_name(name, value)
        try:
            providers = [provider, "CPUExecutionProvider"] if provider else ["CPUExecutionProvider"]
            # Its own fallback opens the session anew on the CPU where a provider fails, even in mid-run, and prints that.
            session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
            inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load model {model.name!r} ({precision}): {_line(error)}") from error
        check_contract(model.name, inputs, outputs, size)
        if provider is not None and provider[0] not in session.get_providers():
            # It goes on without a provider that fails to start, and only logs it.
            raise EngineUnavailableError(
                f"ONNX Runtime has {provider[0]} but cannot start it; check that its CUDA, cuDNN or TensorRT libraries are those "
                "that this version was built for (its release notes say), or take --device cpu"
            )
        self._session: Any = session
        version = onnxruntime.__version__
        self._spec = EngineSpec(model.name, "onnxruntime", precision, device, 0 if provider else threads, size, version, reason)

    @property
    def spec(self) -> EngineSpec:
        """What is running."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s) alpha; see `engines.base.Engine.infer`."""
        if self._session is None:
            raise EngineError("the engine is closed")
        check_rgb(rgb, self._spec.size)
        try:
            # The graph is planned for one picture; on a CPU a batch would gain nothing.
            parts = [self._session.run(["alpha"], {"rgb": rgb[i : i + 1]})[0] for i in range(len(rgb))]
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_line(error)}") from error
        check_alpha(self._spec.model, parts[0].shape, self._spec.size)
        alpha: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return alpha

    def close(self) -> None:
        """Free the session; safe to call twice."""
        self._session = None


def probe() -> Probe:
    """The installed build and the devices it has providers for; see `engines.backends.probe`."""
    onnxruntime = _load()
    available = onnxruntime.get_available_providers()
    devices = {"cpu": "CPUExecutionProvider"}
    devices |= {kind: name for kind, (name, _) in _PROVIDERS.items() if name in available}
    both = [name for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml") if _is_installed(name)]
    note = f"{' and '.join(both)} are installed over each other, and the last one counts; pip uninstall all but one"
    return Probe(onnxruntime.__version__, devices, (note,) if len(both) > 1 else ())


def _load() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailableError(f"ONNX Runtime cannot be loaded ({error}); install it: pip install onnxruntime") from error
    return onnxruntime


def _provider(onnxruntime: Any, device: str, precision: str) -> tuple[str, dict[str, str]] | None:
    """Provider and its options; None for the CPU."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return None
    name, package = _PROVIDERS[kind]
    if name not in onnxruntime.get_available_providers():
        raise EngineUnavailableError(
            f"the installed ONNX Runtime {onnxruntime.__version__} has no {name}; pip uninstall onnxruntime, then pip install {package}, or take --device cpu"
        )
    options: dict[str, str] = {} if kind == "coreml" else {"device_id": number or "0"}
    if kind == "cuda":
        # Exact fp32: its usual TF32 has ten bits of mantissa. Exhaustive search costs seconds, once.
        options |= {"use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    if kind == "tensorrt":
        options |= {"trt_fp16_enable": "1" if precision == "fp16" else "0"}
    if kind == "coreml":
        options |= {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"}
    return name, options


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _ports(nodes: Iterable[Any]) -> list[Port]:
    """Inputs or outputs of a session."""
    ports = []
    for node in nodes:
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        ports.append(Port(node.name, {"float": "float32"}.get(kind, kind), tuple(d if isinstance(d, int) else None for d in node.shape or ())))
    return ports


def _line(error: Exception) -> str:
    """First line of a message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
