"""One training process, or several started by ``torchrun``: their ranks, devices and communication."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from streammat.train.errors import RunError


@dataclass(frozen=True)
class Group:
    """The processes of a run, from the view of one of them."""

    device: torch.device
    """Device of this process."""
    rank: int = 0
    size: int = 1

    @property
    def is_leader(self) -> bool:
        """True for the leading process, which writes files and reports."""
        return self.rank == 0

    def largest(self, values: list[float]) -> list[float]:
        """Return the element-wise maximum over all processes, so that all of them make the same decision."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def mean(self, values: list[float]) -> list[float]:
        """Return the element-wise mean over all processes."""
        return [value / self.size for value in self._reduced(values, dist.ReduceOp.SUM)]

    def share(self, count: int) -> slice:
        """Return this process's part of a batch of ``count`` samples.

        Raises:
            RunError: they cannot be divided evenly.
        """
        if count % self.size:
            raise RunError(
                f"a batch of {count} cannot be shared by {self.size} processes; give a --batch that {self.size} divides"
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def _reduced(self, values: list[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, operation)
        reduced: list[float] = tensor.tolist()
        return reduced


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the group of processes, if ``torchrun`` started several, and leave it at the end.

    Args:
        device: as in `streammat.train.config.TrainConfig.device`; each process of a node takes the CUDA device of its
            local rank.

    Raises:
        RunError: the device does not exist.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = find_device(device, int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else None)
    if size == 1:
        yield Group(place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Group(place, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def find_device(name: str, local_rank: int | None = None) -> torch.device:
    """Return the device of this process.

    Args:
        name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<index>``.
        local_rank: number of this process on its machine, if there are several; it selects the CUDA device.

    Raises:
        RunError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RunError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:<index>") from error
    if device.type not in ("cpu", "cuda"):
        raise RunError(f"device {name!r} is not supported for training; expected auto, cpu, cuda or cuda:<index>")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index if device.index is not None else local_rank or 0
    if index >= count:
        raise RunError(f"device {name!r} is not there: torch sees {count} CUDA devices; use --device cpu, or fewer processes")
    return torch.device("cuda", index)


def share_gradients(objective: nn.Module, group: Group) -> nn.Module:
    """Prepare a network with its losses for training: with several processes their gradients are averaged.

    On CUDA batch norms take their statistics over all processes; on the CPU, where torch has no such norm, each process has its
    own, and the leading one's running averages are used.

    Args:
        objective: as in `streammat.train.loop.objective`, on the group's device; its batch norms are replaced in place if
            necessary.
        group: the group of this process.
    """
    if group.size == 1:
        return objective
    if group.device.type == "cuda":
        objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
    return nn.parallel.DistributedDataParallel(objective)
