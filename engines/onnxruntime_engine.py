"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.base import EngineError, EngineSpec, EngineUnavailableError, Port, check_alpha, check_contract, check_rgb, check_size
from engines.models import ModelFiles


class OnnxRuntimeEngine:
    """See `engines.base.Engine`.

    Args:
        model: files.
        precision: ``fp32`` or ``int8``.
        size: network input (height, width) in pixels, multiples of 32.
        threads: threads to compute with, at least 1.
        reason: for ``spec.reason``.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed.
        EngineError: the file is missing, damaged or not this kind of model, or the size does not fit.
    """

    def __init__(self, model: ModelFiles, precision: str, size: tuple[int, int], threads: int, reason: str) -> None:
        check_size(size)
        content = model.read(precision)
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailableError(
                f"ONNX Runtime cannot be loaded ({error}); install it: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Decoder and encoder share the cores: threads that spin while they wait take their time away.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; its warnings are about its own optimiser
        for name, value in (("batch", 1), ("height", size[0]), ("width", size[1])):
            options.add_free_dimension_override_by_name(name, value)
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            inputs, outputs = _ports(session.get_inputs()), _ports(session.get_outputs())
        except Exception as error:  # its exceptions share no base class
            raise EngineError(f"ONNX Runtime cannot load model {model.name!r} ({precision}): {_line(error)}") from error
        check_contract(model.name, inputs, outputs, size)
        self._session: onnxruntime.InferenceSession | None = session
        version = onnxruntime.__version__
        self._spec = EngineSpec(model.name, "onnxruntime", precision, "cpu", threads, size, version, reason)

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
