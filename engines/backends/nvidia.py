"""Finds NVIDIA GPUs through the driver's own library, because loading torch for that takes seconds."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MANAGEMENT = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_NO_DEVICE = 100
_MAJOR, _MINOR = 75, 76  # attributes of a device


@dataclass(frozen=True)
class Gpus:
    """GPUs and driver version, as reported by the driver."""

    names: tuple[str, ...]
    """Names of the GPUs, by number."""
    driver: str
    """Newest CUDA version that the driver supports, such as ``13.0``; empty if there is no driver."""
    reason: str
    """Why there is no GPU, and what to do; empty if there is one."""
    capabilities: tuple[str, ...] = ()
    """Compute capability by number, such as ``9.0``."""


@cache
def find_gpus() -> Gpus:
    """Return the machine's NVIDIA GPUs; having none is not an error."""
    if sys.platform == "darwin":
        return Gpus((), "", "macOS has no NVIDIA driver; take --device coreml or cpu")
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError:
        return Gpus((), "", f"no NVIDIA driver is installed ({_LIBRARY} is not there); install one, or take --device cpu")
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    status = cuda.cuInit(0)
    if status == _NO_DEVICE:
        return Gpus((), driver, "the NVIDIA driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or take --device cpu")
    if status:
        return Gpus((), driver, f"the NVIDIA driver does not start (CUDA error {status}); check nvidia-smi, restart, or take --device cpu")
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    names, capabilities = [], []
    for index in range(count.value):
        handle, text = ctypes.c_int(), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(handle), index)
        cuda.cuDeviceGetName(text, len(text), handle)
        names.append(text.value.decode("utf-8", "replace"))
        parts = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
            parts.append(str(value.value))
        capabilities.append(".".join(parts))
    return Gpus(tuple(names), driver, "" if names else "the NVIDIA driver finds no GPU; take --device cpu", tuple(capabilities))


@cache
def driver_version() -> str:
    """Return the driver's version, such as ``580.95.05``; if it does not tell (Jetson), the newest CUDA version that it supports."""
    try:
        library = ctypes.CDLL(_MANAGEMENT)
    except OSError:
        return f"CUDA {find_gpus().driver}"
    text = ctypes.create_string_buffer(80)
    told = library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, len(text)) == 0
    return text.value.decode("ascii", "replace") if told else f"CUDA {find_gpus().driver}"
