"""The machine under test: its hardware, load by other processes, clock stability; memory of a process."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from streammat.engines.backends.nvidia import find_gpus
from streammat.engines.base import usable_cores

_LIBRARIES = ("av", "numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "openvino", "torch", "tensorrt")


@dataclass(frozen=True)
class Hardware:
    """The machine that the figures were measured on."""

    cpu: str
    cores: int
    """Number of cores that this process may use."""
    memory_bytes: int
    gpus: tuple[str, ...]
    cuda: str
    """Newest CUDA version that the driver supports; empty if there is no driver."""
    os: str
    machine: str
    """Kind of processor, such as ``x86_64``."""
    python: str
    libraries: dict[str, str]
    """Versions of the installed packages, by name."""


def describe() -> Hardware:
    """Return a description of this machine."""
    gpus = find_gpus()
    return Hardware(
        _cpu_name(), cores(), psutil.virtual_memory().total, gpus.names, gpus.driver, platform.platform(), platform.machine(), platform.python_version(),
        {name: version for name in _LIBRARIES if (version := _version(name)) is not None},
    )


def cores() -> int:
    """Return cores that this process may use."""
    return usable_cores()


class Watch:
    """Measures from now on how busy other processes keep the machine.

    That is the system's CPU time less that of this process and of its ended children. Windows does not count the latter: there the
    load average has to do.
    """

    def __init__(self) -> None:
        self.load = psutil.getloadavg()[0]
        """Load average of the last minute at the start."""
        self._begin = _used()

    def others(self) -> float | None:
        """Return the average number of cores that other processes used; None if the system does not tell."""
        before, now = self._begin, _used()
        if before is None or now is None or now[0] <= before[0]:
            return None
        return round(max(0.0, now[1] - before[1]) / (now[0] - before[0]), 2)


def clock_ms() -> float:
    """Return the CPU milliseconds of a fixed piece of work, about ten: it grows when the clock is lowered or a core is shared."""
    spent = []
    for _ in range(3):
        begin = time.thread_time_ns()
        hashlib.pbkdf2_hmac("sha256", b"streammat", b"bench", 10_000)
        spent.append((time.thread_time_ns() - begin) / 1e6)
    return round(min(spent), 3)


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    if sys.platform == "win32":
        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    try:
        # Not getrusage: on Linux a fresh program starts with the peak of the process that started it.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def grown_since(before: int) -> int:
    """Return by how many bytes the peak has grown since it was ``before``; Linux counts pages roughly, so that it can even seem to shrink."""
    return max(0, peak_memory() - before)


def _used() -> tuple[float, float] | None:
    """Return (wall time, CPU time of others), both in seconds since some moment."""
    if sys.platform == "win32":
        return None
    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    ours = os.times()
    return time.monotonic(), busy - (ours.user + ours.system + ours.children_user + ours.children_system)


def _cpu_name() -> str:
    if sys.platform == "darwin":
        told = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        name = told.stdout.strip()
    elif sys.platform == "win32":
        name = os.environ.get("PROCESSOR_IDENTIFIER", "")
    else:
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))), "")
        features = _generation(lines)
        name = f"{name} ({features})" if name and features else name
    return name or platform.processor() or platform.machine()


def _generation(lines: list[str]) -> str:
    """Return family and model of an x86 CPU: virtual machines shorten the name to ``AMD EPYC``."""
    found = {name: next((line.partition(":")[2].strip() for line in lines if line.partition("\t")[0] == name), "") for name in ("cpu family", "model")}
    return f"family {found['cpu family']}, model {found['model']}" if all(found.values()) else ""


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
