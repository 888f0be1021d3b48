"""The table of backends: requirements, devices and precisions. It imports none of them.

`probe` tells whether one runs on this machine, and why not; `streammat.engines.choice.open_engine` opens them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

from streammat.engines.base import EngineError, EngineUnavailableError

DEVICES: Mapping[str, str] = {
    "cpu": "the processor",
    "cuda": "an NVIDIA GPU; cuda:1 is the second",
    "tensorrt": "an NVIDIA GPU, through ONNX Runtime's TensorRT provider",
    "directml": "any GPU on Windows, through ONNX Runtime",
    "coreml": "Apple's GPU and neural engine, through ONNX Runtime",
}
"""Kinds of devices, with descriptions."""
BackendName = Literal["tensorrt", "cuda", "openvino", "onnxruntime"]
PrecisionName = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One library that runs networks."""

    name: BackendName
    needs: tuple[str, ...]
    """Modules that must be importable."""
    hint: str
    """The command that installs them."""
    precisions: Mapping[str, tuple[str, ...]]
    """Precisions by kind of device; the first is the default of ``auto``."""
    home: str
    """Module with ``probe() -> Probe`` and the engine's class."""
    engine: str
    """Name of the class in ``home``: an `Engine`, constructed as ``(model, *, precision, size, reason, device, threads, batch,
    cache)``, with ``part`` if it has ``parts``, and with ``parallel`` if that is true.
    """
    gpu_hint: str = ""
    """The command that adds NVIDIA GPUs, if they need more."""
    needs_weights: bool = False
    """True if it runs a model's weights and not its ONNX file."""
    needs_build: bool = False
    """True if an engine must be built first: ``find_built`` in ``home`` finds it, and ``auto`` takes no other."""
    only_x86: bool = False
    """True if ``auto`` takes it on x86 processors alone, since others are faster elsewhere."""
    parts: bool = False
    """True if it gives every `streammat.engines.base.Part`, so that several sizes can be fused; otherwise their mean is taken."""
    parallel: bool = False
    """True if several threads may call ``infer`` at a time on the CPU."""
    any_batch: bool = False
    """True if it gains by several frames at once, and takes any number up to the largest."""

    @property
    def installed(self) -> bool:
        """True if the required packages are installed; imports nothing."""
        return all(find_spec(name) is not None for name in self.needs)


@dataclass(frozen=True)
class Probe:
    """Devices that a backend finds on this machine."""

    version: str
    devices: Mapping[str, str]
    """Devices, as ``--device`` takes them, with their names, such as ``NVIDIA H100``."""
    notes: tuple[str, ...] = ()
    """Reasons why further devices or precisions cannot be used."""


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            name="tensorrt", needs=("tensorrt", "torch"), hint="pip install 'streammat[tensorrt]'", precisions={"cuda": ("fp16",)},
            home="streammat.engines.tensorrt.engine", engine="TensorRtEngine", needs_weights=True, needs_build=True,
        ),
        Backend(
            name="cuda", needs=("torch", "safetensors"), hint="pip install 'streammat[cuda]'", precisions={"cuda": ("fp16", "bf16", "fp32")},
            home="streammat.engines.backends.cuda", engine="CudaEngine", needs_weights=True, parts=True, any_batch=True,
        ),
        Backend(
            name="openvino", needs=("openvino",), hint="pip install 'streammat[openvino]'", precisions={"cpu": ("fp32", "bf16", "int8")},
            home="streammat.engines.backends.openvino", engine="OpenVinoEngine", parts=True, parallel=True, only_x86=True,
        ),
        Backend(
            name="onnxruntime", needs=("onnxruntime",), hint="pip install onnxruntime", gpu_hint="pip install onnxruntime-gpu",
            precisions={"cpu": ("fp32", "int8"), "cuda": ("fp32",), "tensorrt": ("fp32",), "directml": ("fp32",), "coreml": ("fp32",)},
            home="streammat.engines.backends.onnxruntime", engine="OnnxRuntimeEngine", parts=True, parallel=True,
        ),
    )
}
"""Backends by name, fastest first. A new one is an entry here, its name in `BackendName`, and its class: nothing else names backends."""


def probe(name: str) -> Probe:
    """Probe a backend on this machine; imports it.

    Args:
        name: key of `BACKENDS`.

    Raises:
        EngineUnavailableError: it is not installed or cannot run here; the message says why, and what to do.
        EngineError: there is no such backend.
    """
    if name not in BACKENDS:
        raise EngineError(f"unknown backend {name!r}; expected auto, {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if not backend.installed:
        missing = next(module for module in backend.needs if find_spec(module) is None)
        what = name if missing == name else f"{missing}, which {name} needs,"
        raise EngineUnavailableError(f"{what} is not installed; {backend.hint}")
    found: Probe = import_module(backend.home).probe()
    return found


def check_present(device: str, found: Probe) -> None:
    """Refuse a device that a backend has not found here.

    Raises:
        EngineUnavailableError: it is not among ``found.devices``; the message says why, if known.
    """
    if device not in found.devices:
        why = "".join(f"; {note}" for note in found.notes if note.startswith(f"{device}:"))
        raise EngineUnavailableError(f"there is no {device} that can be used; found are {', '.join(found.devices)}{why}")


def installed_backends(device: str = "cpu") -> list[str]:
    """Return the backends that are installed and support this kind of device, fastest first; imports none of them."""
    return [name for name, backend in BACKENDS.items() if kind_of(device) in backend.precisions and backend.installed]


def kind_of(device: str) -> str:
    """Return the kind of a device: ``cuda`` for ``cuda:1``."""
    return device.partition(":")[0]


def numbered(device: str) -> str:
    """Return a device with its number, as backends name it: ``cuda:0`` for ``cuda``; others unchanged."""
    return "cuda:0" if device == "cuda" else device


def check_device(device: str) -> None:
    """Refuse an invalid device name.

    Raises:
        EngineError: it is not in `DEVICES`, or has a number that its kind does not take.
    """
    kind, colon, number = device.partition(":")
    if kind not in DEVICES or (colon and (kind in ("cpu", "coreml") or not number.isascii() or not number.isdigit())):
        raise EngineError(f"unknown device {device!r}; expected auto, {', '.join(DEVICES)}, and cuda:1 for the second GPU")
