"""Chooses the engine for this machine; the choice is recorded, and a request is never silently replaced."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from streammat.engines.backends.nvidia import find_gpus
from streammat.engines.base import Engine, EngineError, EngineUnavailableError, Part, check_size, default_threads
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import BACKENDS, PRECISIONS, check_device, installed_backends, kind_of, numbered, probe

logger = logging.getLogger(__name__)

_AVX512_VNNI, _NEON_DOTPROD = 23, 101  # OpenCV's numbers of CPU features; Python has no names for them
DEFAULT_SIZE = (288, 512)
"""Network input (height, width): a 16:9 image on a laptop."""


@dataclass(frozen=True)
class Choice:
    """The chosen backend, precision and device, with the reason."""

    backend: str
    precision: str
    device: str
    reason: str


def open_engine(
    model: ModelFiles,
    backend: str = "auto",
    precision: str = "auto",
    size: tuple[int, int] = DEFAULT_SIZE,
    threads: int = 0,
    cache: Path | None = None,
    *,
    device: str = "auto",
    batch: int = 1,
    part: Part = "alpha",
    parallel: int = 1,
) -> Engine:
    """Open the requested engine, or the best one on this machine.

    Args:
        model: files.
        backend: ``auto``, or a name of `streammat.engines.registry.BACKENDS`.
        precision: ``auto``, or one of `streammat.engines.registry.PRECISIONS` that the backend knows.
        size: network input (height, width) in pixels, multiples of 32.
        threads: number of CPU threads; 0: one per core, up to 8.
        cache: folder for OpenVINO's compiled models; None: write nothing.
        device: ``auto``, or one of `streammat.engines.registry.DEVICES`; ``cuda:1`` is the second GPU.
        batch: largest batch that ``infer`` will get; a GPU processes it together.
        part: what ``infer`` gives; another one than ``alpha`` needs a backend with ``parts``.
        parallel: calls of ``infer`` that should run in parallel, at most ``threads``; ``spec.parallel`` has what became of it.

    Returns:
        An open engine; ``spec.reason`` says why this one.

    Raises:
        EngineUnavailableError: the requested backend or device, or every backend, is missing.
        EngineError: an unknown name, a bad size, or a model file that cannot be used.
    """
    check_size(size)
    if threads < 0:
        raise EngineError(f"threads is {threads}; expected 0 (automatic) or more")
    for name, count in (("batch", batch), ("parallel", parallel)):
        if count < 1:
            raise EngineError(f"{name} is {count}; expected 1 or more")
    choice = choose(model, backend, precision, device, size, batch)
    taken = BACKENDS[choice.backend]
    threads = threads or default_threads()
    shared = min(parallel, threads) if taken.parallel and choice.device == "cpu" else 1
    opened: Engine = getattr(import_module(taken.home), taken.engine)(
        model, precision=choice.precision, size=size, reason=choice.reason, device=choice.device, threads=threads, batch=batch, cache=cache,
        **({} if part == "alpha" else {"part": part}), **({} if shared == 1 else {"parallel": shared}),
    )
    return opened


def choose(
    model: ModelFiles, backend: str, precision: str, device: str, size: tuple[int, int] = DEFAULT_SIZE, batch: int = 1
) -> Choice:
    """Return the engine that `open_engine` opens for these arguments; loads a backend only to check whether it can use an
    existing GPU.

    Raises:
        EngineUnavailableError, EngineError: as `open_engine`.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise EngineError(f"unknown backend {backend!r}; expected auto, {', '.join(BACKENDS)}")
    if precision != "auto" and precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}; expected auto, {', '.join(PRECISIONS)}")
    if device != "auto":
        check_device(device)
    device = numbered(device)
    taken, where, why = _choose_backend(model, backend, precision, device, size, batch)
    known = BACKENDS[taken].precisions[kind_of(where)]
    if precision == "auto":
        kind, because = _choose_precision(model, known, where)
    elif precision in known:
        kind, because = precision, f"{precision} was asked for"
    else:
        raise EngineError(f"{taken} on {where} has no {precision}; it supports {', '.join(known)}{_others(precision)}")
    return Choice(taken, kind, where, f"{why}; {because}")



def _choose_backend(
    model: ModelFiles, backend: str, precision: str, device: str, size: tuple[int, int], batch: int
) -> tuple[str, str, str]:
    """Return (backend, device, reason)."""
    if backend != "auto":
        return _asked_backend(backend, device)
    kind = kind_of(device)
    if kind == "cpu" or (device == "auto" and not find_gpus().names):
        return _choose_on_cpu(precision, "")
    if kind in ("auto", "cuda"):
        where = "cuda:0" if device == "auto" else device
        try:
            if (built := _find_built(model, precision, where, size, batch)) is not None:
                return built, where, f"{built} has an engine for this model, size and GPU"
            taken, usable = _choose_on_gpu(model, precision)
        except EngineUnavailableError as error:
            if device != "auto":
                raise
            return _choose_on_cpu(precision, f"; {find_gpus().names[0]} is here but not used: {error}")
        if device != "auto":
            return taken, where, f"{device} was asked for and {taken} is the fastest that can use it"
        return taken, usable, f"{find_gpus().names[int(usable.partition(':')[2])]} is here and {taken} is the fastest that can use it"
    able = [name for name, entry in BACKENDS.items() if kind in entry.precisions]
    return next((name for name in able if BACKENDS[name].installed), able[-1]), device, f"{device} was asked for"


def _asked_backend(backend: str, device: str) -> tuple[str, str, str]:
    entry = BACKENDS[backend]
    if not entry.installed:
        raise EngineUnavailableError(f"{backend} is not installed; {entry.hint}")
    usual = next(iter(entry.precisions))
    where = ("cuda:0" if usual == "cuda" else usual) if device == "auto" else device
    if kind_of(where) not in entry.precisions:
        raise EngineError(f"{backend} does not run on {device}; it runs on {', '.join(entry.precisions)}")
    return backend, where, f"{backend} was asked for"


def _find_built(model: ModelFiles, precision: str, device: str, size: tuple[int, int], batch: int) -> str | None:
    """Return the backend for which an engine was built; one that has to be built first is never chosen automatically."""
    for name, entry in BACKENDS.items():
        if not entry.needs_build or _unable(name, model, precision, "cuda") is not None or not entry.installed:
            continue
        try:
            if import_module(entry.home).find_built(model, size, batch, device) is not None and device in probe(name).devices:
                return name
        except EngineError as error:
            logger.warning("%s is passed over: %s", name, error)
    return None


def _choose_on_gpu(model: ModelFiles, precision: str) -> tuple[str, str]:
    """Return the fastest backend that can use an NVIDIA GPU, and its first GPU; raises EngineUnavailableError with all reasons
    against.
    """
    faults = []
    for name, entry in BACKENDS.items():
        if "cuda" not in entry.precisions or entry.needs_build:
            continue
        if (fault := _unable(name, model, precision, "cuda")) is not None:
            faults.append(fault)
            continue
        try:
            for device in probe(name).devices:
                if kind_of(device) == "cuda":
                    return name, numbered(device)
            faults.append(f"the installed {name} has no CUDA provider; {entry.gpu_hint or entry.hint}")
        except EngineUnavailableError as error:
            faults.append(str(error))
    raise EngineUnavailableError("; ".join(faults))


def _unable(name: str, model: ModelFiles, precision: str, kind: str) -> str | None:
    """Return why a backend cannot run a model on a kind of device; None if it can."""
    entry = BACKENDS[name]
    if precision not in ("auto", *entry.precisions[kind]):
        return f"{name} computes no {precision} there"
    if entry.needs_weights and model.weights is None:
        return f"model {model.name!r} has no weights for {name} (import it again)"
    return None


def _choose_on_cpu(precision: str, note: str) -> tuple[str, str, str]:
    able = [name for name, entry in BACKENDS.items() if "cpu" in entry.precisions and precision in ("auto", *entry.precisions["cpu"])]
    found = [name for name in installed_backends("cpu") if name in able]
    if not found:
        hints = " or ".join(entry.hint for entry in BACKENDS.values() if precision in ("auto", *entry.precisions.get("cpu", ())))
        missing = "" if precision == "auto" else f" for {precision} on the CPU"
        raise EngineUnavailableError(f"no inference backend{missing} is installed; {hints}" if hints else f"no backend computes {precision} on the CPU")
    taken = next((name for name in found if _is_x86() or not BACKENDS[name].only_x86), found[0])
    if taken == able[0]:
        return taken, "cpu", f"{taken} is installed and the fastest here{note}"
    faster = able[0]
    why = f"{faster} is not installed" if faster not in found else f"{faster} pays on x86 only"
    return taken, "cpu", why + note


def _choose_precision(model: ModelFiles, known: tuple[str, ...], device: str) -> tuple[str, str]:
    if kind_of(device) != "cpu":
        return known[0], f"{known[0]} is what it does best"
    if model.int8 is None:
        return "fp32", "the model has no int8 file"
    feature = int8_feature()
    if feature is None:
        return "fp32", "the CPU has no int8 dot products"
    return "int8", f"the CPU has {feature}"


def _others(precision: str) -> str:
    """Name other backends that offer a precision, for a message."""
    places = [f"{entry.name} on {kind}" for entry in BACKENDS.values() for kind, kinds in entry.precisions.items() if precision in kinds]
    return f"; {precision} is to be had from {', '.join(places)}" if places else ""


def int8_feature() -> str | None:
    """Return the CPU's int8 dot-product extension, or None.

    Without one, int8 gains little, and on x86 the older instruction saturates, which spoils the result.
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
