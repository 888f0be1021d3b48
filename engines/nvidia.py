"""Is there an NVIDIA GPU? Asked of the driver's own library, because loading torch to learn that there is none takes seconds."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_DEVICE = 100


@dataclass(frozen=True)
class Gpus:
    """What the driver says."""

    names: tuple[str, ...]
    """By number."""
    driver: str
    """Newest CUDA that it serves, such as ``13.0``; empty where there is no driver."""
    reason: str
    """Why there is none, with the cure; empty where there is one."""


@cache
def find_gpus() -> Gpus:
    """The machine's NVIDIA GPUs; no error where there are none."""
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
    names = []
    for index in range(count.value):
        handle, text = ctypes.c_int(), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(handle), index)
        cuda.cuDeviceGetName(text, len(text), handle)
        names.append(text.value.decode("utf-8", "replace"))
    return Gpus(tuple(names), driver, "" if names else "the NVIDIA driver finds no GPU; take --device cpu")
