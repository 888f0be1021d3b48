"""Loads samples into batches of tensors, optionally in worker processes."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from streammat.train.config import TrainConfig
from streammat.train.data.samples import Key, Sample, batch_keys
from streammat.train.errors import RunError, TrainError
from streammat.train.processes.distributed import Group
from streammat.train.processes.interrupt import ENDING, held_signals


class Samples(Protocol):
    """Protocol of the training samples, such as `streammat.train.data.crops.CropDataset` and
    `streammat.train.lite.dataset.MattingDataset`.
    """

    def __getitem__(self, key: Key) -> Sample:
        """Make a sample; it depends only on the key."""
        ...


@dataclass(frozen=True)
class Batch:
    """N samples of H x W pixels; h x w is the size of the network's output."""

    rgb: Tensor
    """uint8 (N, H, W, 3)."""
    alpha: Tensor
    """uint8 (N, H, W)."""
    contrast: Tensor
    """uint8 (N, H, W)."""
    classes: Mapping[str, Tensor]
    """uint8 (N, h, w) by RoSTa."""
    pairs: bool = False
    """True if each sample with an even index and the next one are frames of one still scene."""
    number: int = 0
    """Number of its first sample; random choices for the batch as a whole depend on it."""

    def pin_memory(self) -> Batch:
        """Pin the memory; called by torch's loader for CUDA devices."""
        classes = {rosta: plane.pin_memory() for rosta, plane in self.classes.items()}
        return Batch(self.rgb.pin_memory(), self.alpha.pin_memory(), self.contrast.pin_memory(), classes, self.pairs, self.number)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        classes = {rosta: plane.to(device, non_blocking=True) for rosta, plane in self.classes.items()}
        rgb, alpha, contrast = (plane.to(device, non_blocking=True) for plane in (self.rgb, self.alpha, self.contrast))
        return Batch(rgb, alpha, contrast, classes, self.pairs, self.number)


def load_batches(samples: Samples, config: TrainConfig, first: int, group: Group) -> Iterator[Batch]:
    """Yield this process's part of every batch from step ``first`` on.

    Args:
        samples: picklable if there are workers: each gets a copy.
        config: sizes, seed, steps and workers.
        first: step, counted from 0.
        group: divides each batch between processes.

    Yields:
        Batches on the CPU.

    Raises:
        TrainError: raised by the samples, here or in a worker.
    """
    loader: DataLoader[Any] = DataLoader(
        _Guarded(samples),
        batch_sampler=_Batches(config, first, group),
        collate_fn=_collate,
        num_workers=config.workers,
        worker_init_fn=_start_worker if config.workers else None,
        prefetch_factor=4 if config.workers else None,
        pin_memory=group.device.type == "cuda",
        # A fork of a process that has threads, as torch's has, can hang for ever.
        multiprocessing_context="spawn" if config.workers else None,
    )
    # A signal may reach every process of a group: the training process alone answers it, and ends the workers. They inherit
    # the block, so that it holds from their first instruction on.
    with held_signals(*ENDING):  # the tracker ignores all of them but SIGHUP, which would kill it
        resource_tracker.ensure_running()  # starting it later would lift the block
    before = set(multiprocessing.active_children())
    with held_signals(*ENDING):
        batches = iter(loader)
    # An error's traceback may hold this generator, or torch's iterator, until Python exits. Torch does nothing for its workers
    # by then, and Python sends them a SIGTERM, which they block, and waits for them for ever. So they are ended here.
    workers = set(multiprocessing.active_children()) - before
    kill = partial(_kill, workers)  # one of its own, so that another loader's stays registered
    atexit.register(kill)
    try:
        for batch in batches:
            if isinstance(batch, TrainError):
                raise batch
            yield batch
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # A worker that aborts on its way out is told of by torch's handler of SIGCHLD in the midst of this, and nobody wants
            # it any more.
            with suppress(RuntimeError):
                batches._shutdown_workers()  # noqa: SLF001 (there is no public name)
        kill()
        atexit.unregister(kill)


class _Guarded(Dataset[Sample | TrainError]):
    """Returns expected errors as values, because torch would wrap them in long tracebacks."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, key: Key) -> Sample | TrainError:
        try:
            return self.samples[key]
        except TrainError as error:
            return error


class _Batches(Sampler[list[Key]]):
    def __init__(self, config: TrainConfig, first: int, group: Group) -> None:
        self.config, self.first, self.group = config, first, group

    def __iter__(self) -> Iterator[list[Key]]:
        for keys in batch_keys(self.config, self.first):
            mine = keys[self.group.share(len(keys))]
            if keys[0].frame is not None and len(mine) % 2:
                raise RunError(f"a batch of {len(keys)} in pairs cannot be shared by {self.group.size} processes; give a larger --batch")
            yield mine


def _collate(samples: Sequence[Sample | TrainError]) -> Batch | TrainError:
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, TrainError):
            return sample
        good.append(sample)

    def stacked(planes: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(planes))

    return Batch(
        stacked([sample.rgb for sample in good]),
        stacked([sample.alpha for sample in good]),
        stacked([sample.contrast for sample in good]),
        {rosta: stacked([sample.classes[rosta] for sample in good]) for rosta in good[0].classes},
        pairs=good[0].frame is not None,
        number=good[0].number,
    )


def _kill(workers: Iterable[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


def _start_worker(_index: int) -> None:
    import cv2

    if hasattr(os, "nice"):
        os.nice(3)
    cv2.setNumThreads(1)
