"""A device with its streams: uploads and downloads overlap with the computation of other frames.

Three streams: one uploads, one computes, one downloads. Host memory is pinned; torch caches it, and reuses it when its copies are
done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

_cuda: Any = torch.cuda  # has no types for most of this
Plane = NDArray[Any]


@dataclass(frozen=True)
class PendingUpload:
    """Planes being uploaded to the device: uint8, or int16 that stands for uint16."""

    flat: Tensor
    shapes: tuple[tuple[int, int], ...]
    sixteen: bool
    event: Any

    def arrived(self, streams: DeviceStreams) -> list[Tensor]:
        """Return the planes, (h, w) each, for use by kernels launched next on the current stream."""
        streams.wait(self.event, self.flat)
        flat = self.flat.view(torch.int16) if self.sixteen else self.flat
        planes, begin = [], 0
        for height, width in self.shapes:
            planes.append(flat[begin : begin + height * width].view(height, width))
            begin += height * width
        return planes


class DeviceStreams:
    """A device with its streams; without CUDA everything runs synchronously, in order."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self.compute, self._up, self._down = self._streams(3)

    def _streams(self, count: int) -> list[Any]:
        return [_cuda.Stream(self.device) if self.cuda else None for _ in range(count)]

    def on(self, stream: Any) -> Any:
        """Launch kernels in the block on ``stream``."""
        return _cuda.stream(stream) if self.cuda else nullcontext()

    def bring(self, planes: Sequence[Plane]) -> PendingUpload:
        """Upload planes in one copy."""
        sixteen = planes[0].itemsize == 2
        size = sum(plane.size for plane in planes) * planes[0].itemsize
        host = torch.empty(size, dtype=torch.uint8, pin_memory=self.cuda)
        flat, begin = host.numpy().view(planes[0].dtype), 0
        for plane in planes:
            flat[begin : begin + plane.size].reshape(plane.shape)[:] = plane
            begin += plane.size
        shapes = tuple((plane.shape[0], plane.shape[1]) for plane in planes)
        if not self.cuda:
            return PendingUpload(host, shapes, sixteen, None)
        with self.on(self._up):
            there = host.to(self.device, non_blocking=True)
            event = _cuda.Event()
            event.record()
        return PendingUpload(there, shapes, sixteen, event)

    def wait(self, event: Any, memory: Tensor) -> None:
        """Let the current stream wait for an upload."""
        if event is not None:
            current = _cuda.current_stream(self.device)
            current.wait_event(event)
            memory.record_stream(current)

    def take(self, parts: Sequence[Tensor]) -> Callable[[], list[Plane]]:
        """Begin to download flat uint8 tensors in one copy; the returned function waits for them."""
        sizes = [part.numel() for part in parts]
        # Each part begins at an even byte, so that it can be seen as uint16.
        padded = [part if part.numel() % 2 == 0 else torch.cat([part, part.new_zeros(1)]) for part in parts]
        flat = torch.cat(padded)
        if not self.cuda:
            return lambda: _split(flat.numpy(), sizes)
        host = torch.empty(flat.numel(), dtype=torch.uint8, pin_memory=True)
        self._down.wait_stream(_cuda.current_stream(self.device))
        with self.on(self._down):
            host.copy_(flat, non_blocking=True)
            flat.record_stream(self._down)
            event = _cuda.Event()
            event.record()

        def wait() -> list[Plane]:
            event.synchronize()
            return _split(host.numpy(), sizes)

        return wait

    def free(self) -> None:
        """Free unused memory."""
        if self.cuda:
            torch.cuda.empty_cache()


def _split(flat: Plane, sizes: Sequence[int]) -> list[Plane]:
    parts, begin = [], 0
    for size in sizes:
        parts.append(flat[begin : begin + size])
        begin += size + size % 2
    return parts
