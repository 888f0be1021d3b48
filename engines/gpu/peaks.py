"""Measures a device's peaks, to compare engines with: matrix products and bandwidth of copies to and from the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from streammat.engines.backends.cuda import load_weights
from streammat.engines.base import EngineError, check_size, first_line
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.folded import FoldedMatte

_SECONDS = 0.5  # that each measurement takes at least
_REPEATS = 5


@dataclass(frozen=True)
class Peaks:
    """Rates per second, each the best of several repetitions."""

    matrix_flops: float
    """Additions and multiplications in a large square matrix product of fp16."""
    upload_bytes: float
    """Bytes from the host's pinned memory to the device."""
    download_bytes: float


def measure(device: str, side: int = 8192, megabytes: int = 256) -> Peaks:
    """Measure a device of torch.

    Args:
        device: ``cuda:0``; any other torch device serves for tests, though its memory needs no pinning.
        side: side of the matrices.
        megabytes: size of each copy.

    Raises:
        EngineError: there is no such device, or it has too little memory.
    """
    where = torch.device(device)
    on_gpu = where.type == "cuda"
    try:
        left = torch.randn(side, side, dtype=torch.float16, device=where)
        right = torch.randn(side, side, dtype=torch.float16, device=where)
        product = torch.empty_like(left)
        host = torch.zeros(megabytes * 2**20, dtype=torch.uint8, pin_memory=on_gpu)
        there = torch.empty_like(host, device=where)

        def wait() -> None:
            if on_gpu:
                torch.cuda.synchronize(where)

        matrix = _best(lambda: torch.mm(left, right, out=product), wait)
        up = _best(lambda: there.copy_(host, non_blocking=True), wait)
        down = _best(lambda: host.copy_(there, non_blocking=True), wait)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise EngineError(f"{device} cannot be measured: {first_line(error)}") from error
    return Peaks(2.0 * side**3 / matrix, host.numel() / up, host.numel() / down)


def flop_per_picture(model: ModelFiles, size: tuple[int, int]) -> int:
    """Count the additions and multiplications of a network for one image, in convolutions and matrix products.

    Args:
        model: the model; its weights are read, not run.
        size: network input (height, width), multiples of 32.

    Raises:
        EngineError: the model has no weights, or they are damaged.
    """
    check_size(size)
    network = FoldedMatte(load_weights(model)).to("meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros((1, *size, 3), dtype=torch.uint8, device="meta"))
    return int(counter.get_total_flops())


def device_memory(device: str) -> int:
    """Return the peak of torch's memory on a GPU in this process, in bytes; 0 on other devices."""
    where = torch.device(device)
    return torch.cuda.max_memory_reserved(where) if where.type == "cuda" else 0


def _best(work: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the seconds per call of the fastest repetition; each repetition has enough calls to be timed."""
    work()
    wait()
    begin = time.perf_counter()
    work()
    wait()
    calls = max(1, int(_SECONDS / _REPEATS / max(time.perf_counter() - begin, 1e-6)))
    best = float("inf")
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best
