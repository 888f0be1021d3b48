"""Which engine to run on this machine; the choice is recorded, and a request is never quietly replaced."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from engines.base import Engine, EngineError, EngineUnavailableError
from engines.models import ModelFiles

BACKENDS = {"openvino": "pip install 'streammat[openvino]'", "onnxruntime": "pip install onnxruntime"}
"""Module name and cure, fastest first."""
_AVX512_VNNI, _NEON_DOTPROD = 23, 101  # OpenCV's numbers of CPU features; Python has no names for them
PRECISIONS = ("fp32", "int8")
DEFAULT_SIZE = (288, 512)
"""Network input (height, width): a 16:9 picture on a laptop."""


def open_engine(
    model: ModelFiles,
    backend: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] = DEFAULT_SIZE,
    threads: int = 0,
    cache: Path | None = None,
) -> Engine:
    """Open the engine that was asked for, or the best that this machine has.

    Args:
        model: files.
        backend: ``auto``, ``openvino`` or ``onnxruntime``.
        precision: ``auto``, ``fp32`` or ``int8``.
        size: network input (height, width) in pixels, multiples of 32.
        threads: threads to compute with; 0 takes as many as the machine has cores, up to 8.
        cache: folder where OpenVINO may keep compiled models; None writes nothing.

    Returns:
        An open engine; ``spec.reason`` says why this one.

    Raises:
        EngineUnavailableError: the backend that was asked for, or every backend, is not installed.
        EngineError: an unknown name, a bad size, or a model file that cannot be used.
    """
    if backend not in ("auto", *BACKENDS):
        raise EngineError(f"unknown backend {backend!r}; known are auto, {', '.join(BACKENDS)}")
    if precision not in ("auto", *PRECISIONS):
        raise EngineError(f"unknown precision {precision!r}; known are auto, {', '.join(PRECISIONS)}")
    if threads < 0:
        raise EngineError(f"threads is {threads}; expected 0 (automatic) or more")
    chosen, why_backend = _choose_backend(backend)
    taken, why_precision = _choose_precision(precision, model)
    reason = f"{why_backend}; {why_precision}"
    count = threads or default_threads()
    if chosen == "openvino":
        from engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, taken, size, count, reason, cache)
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, taken, size, count, reason)


def installed_backends() -> list[str]:
    """Backends that can be imported, fastest first; imports none of them."""
    return [name for name in BACKENDS if find_spec(name) is not None]


def default_threads() -> int:
    """One thread per core that this process may use, up to 8; hardware threads beyond four count as half."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, usable if usable <= 4 else max(4, usable // 2)))


def _choose_backend(backend: str) -> tuple[str, str]:
    found = installed_backends()
    if backend != "auto":
        if backend not in found:
            raise EngineUnavailableError(f"{backend} is not installed; {BACKENDS[backend]}")
        return backend, f"{backend} was asked for"
    if not found:
        cures = " or ".join(BACKENDS.values())
        raise EngineUnavailableError(f"no inference backend is installed; {cures}")
    if "openvino" in found and (_is_x86() or len(found) == 1):
        return "openvino", "openvino is installed and the fastest here"
    why = "openvino is not installed" if "openvino" not in found else "openvino pays on x86 only"
    return "onnxruntime", why


def _choose_precision(precision: str, model: ModelFiles) -> tuple[str, str]:
    if precision != "auto":
        return precision, f"{precision} was asked for"
    if model.int8 is None:
        return "fp32", "the model has no int8 file"
    feature = int8_feature()
    if feature is None:
        return "fp32", "the CPU has no int8 dot products"
    return "int8", f"the CPU has {feature}"


def int8_feature() -> str | None:
    """The CPU's int8 dot-product extension, or None.

    Without one, int8 gains little, and on x86 the substitute instruction saturates and spoils the result.
    """
    import cv2

    if _is_x86():
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
        except OSError:  # not Linux
            flags = []
        if "avx512_vnni" in flags or cv2.checkHardwareSupport(_AVX512_VNNI):
            return "AVX-512 VNNI"
        return "AVX-VNNI" if "avx_vnni" in flags else None
    if platform.machine().lower() in ("arm64", "aarch64"):
        apple = platform.system() == "Darwin"
        if apple or cv2.checkHardwareSupport(_NEON_DOTPROD):
            return "Arm dot products"
    return None


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")
