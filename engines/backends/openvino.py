"""OpenVINO on the CPU: the fastest engine on x86."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
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
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import Probe


class OpenVinoEngine:
    """See `streammat.engines.base.Engine`.

    Args:
        model: files.
        precision: ``fp32``, ``bf16`` (the fp32 file, computed in bfloat16) or ``int8``.
        size: network input (height, width) in pixels, multiples of 32.
        threads: number of threads, at least 1.
        reason: for ``spec.reason``.
        cache: folder for compiled models; None: compile at every start and write nothing.
        part: what ``infer`` gives.
        parallel: calls of ``infer`` that may run in parallel, at most ``threads``.

    Raises:
        EngineUnavailableError: OpenVINO is not installed, or the CPU has no bfloat16.
        EngineError: the file is missing, damaged or not this kind of model, or the size does not fit.
    """

    def __init__(
        self, model: ModelFiles, *, precision: str, size: tuple[int, int], reason: str, device: str = "cpu", threads: int = 0, batch: int = 1,
        cache: Path | None = None, part: Part = "alpha", parallel: int = 1,
    ) -> None:
        del device, batch  # the CPU, and any batch
        threads = threads or default_threads()
        check_size(size)
        content = model.read_part("int8" if precision == "int8" else "fp32", part)
        openvino = _load()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": str(parallel),
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads would compete with decoder and encoder for the same cores.
            "ENABLE_CPU_PINNING": False,
            # Its default is bfloat16 if the CPU has it, which costs accuracy.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if cache is not None:
            config["CACHE_DIR"] = str(cache)
        try:
            core = openvino.Core()
            if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                # It would silently compute in float.
                raise EngineUnavailableError("this CPU has no bfloat16 (AVX-512 BF16, AMX or Arm's); take --precision fp32 or int8")
            network = core.read_model(content, b"")
            output = model.part_name(part)
            check_contract(model.name, _ports(network.inputs), _ports(network.outputs), size, output)
            network.reshape([1, *size, 3])
            check_contract(model.name, _ports(network.inputs), _ports(network.outputs), size, output)
            compiled = core.compile_model(network, "CPU", config)
            requests = [compiled.create_infer_request() for _ in range(parallel)]
        except EngineError:
            raise
        except Exception as error:  # it raises RuntimeError and others
            if memory := memory_error("OpenVINO", size, error):
                raise memory from error
            raise EngineError(f"OpenVINO cannot load model {model.name!r} ({precision}): {_line(error)}; take another --engine or --precision") from error
        self._closed = False
        self._requests: SimpleQueue[Any] = SimpleQueue()
        """Those that no call uses at the moment."""
        for request in requests:
            self._requests.put(request)
        self._part = part
        version = openvino.__version__.split("-")[0]
        self._spec = EngineSpec(model.name, "openvino", precision, "cpu", threads, size, version, reason, parallel)

    @property
    def spec(self) -> EngineSpec:
        """The engine's name, precision, device and input size."""
        return self._spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 (N, H, W, 3) RGB to float32 (N, H/s, W/s) alpha; see `streammat.engines.base.Engine.infer`."""
        if self._closed:
            raise EngineError("the engine is closed; open another one")
        check_rgb(rgb, self._spec.size)
        parts: list[NDArray[np.float32]] = []
        free = self._requests  # closing exchanges it: what is under way then is not kept
        request = free.get()
        try:
            for index in range(len(rgb)):
                request.infer([rgb[index : index + 1]], share_inputs=True, share_outputs=True)
                # The request owns its output and overwrites it next time.
                parts.append(request.get_output_tensor().data.copy())
        except Exception as error:
            if memory := memory_error("OpenVINO", self._spec.size, error):
                raise memory from error
            raise EngineError(f"OpenVINO failed: {_line(error)}; take another --engine") from error
        finally:
            free.put(request)
        planes = parts[0] if len(parts) == 1 else np.concatenate(parts)
        planes = planes[:, 0] if self._part == "focus" else planes
        check_alpha(self._spec.model, (1, *planes.shape[1:]), self._spec.size, self._part)
        return planes

    def close(self) -> None:
        """Free the compiled model; safe to call twice."""
        self._closed = True
        self._requests = SimpleQueue()


def probe() -> Probe:
    """Return version and processor; see `streammat.engines.registry.probe`."""
    openvino = _load()
    core = openvino.Core()
    bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
    return Probe(openvino.__version__.split("-")[0], {"cpu": name}, () if bf16 else ("no bf16: this CPU has none",))


def _load() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailableError(f"OpenVINO cannot be loaded ({error}); install it: pip install 'streammat[openvino]'") from error
    return openvino


def _ports(nodes: Iterable[Any]) -> list[Port]:
    """Return the inputs or outputs of a network."""
    return [
        Port(
            next(iter(node.get_names()), ""),
            node.get_element_type().to_dtype().name,
            tuple(side.get_length() if side.is_static else None for side in node.get_partial_shape()),
        )
        for node in nodes
    ]


def _line(error: Exception) -> str:
    """Return the last line of a message: OpenVINO's first lines name places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
