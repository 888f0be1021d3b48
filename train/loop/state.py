"""Checkpoints: the whole state of a run on disk, written atomically, continued exactly, refused for other runs."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from streammat.engines.errors import first_line
from streammat.engines.whole_files import whole_file
from streammat.train.config import MAY_CHANGE, TrainConfig
from streammat.train.errors import RunError
from streammat.train.methods.base import Model

FORMAT = 2
"""Version of the file format; raised when its contents change."""


@dataclass
class State:
    """The changing state of a training. Every random choice follows from the seed and ``step``, so no random state is kept."""

    model: Model
    average: Model
    """The averaged network; `model` itself without averaging."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Steps done."""
    elapsed: float = 0.0
    """Seconds of training so far, over all resumed parts."""
    window: list[list[float]] = field(default_factory=list)
    """Losses since the last row of the curve, a list for each step."""


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Lock a run's folder, which must exist: two runs would overwrite each other's checkpoints. A killed run releases its lock;
    on file systems without locks nothing is locked.

    Raises:
        RunError: another process holds the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another run is training in {out}; wait until it ends, or give another --out") from error
    except (OSError, NotImplementedError):
        pass  # what cannot be written is told of by the first checkpoint
    try:
        yield
    finally:
        lock.release()


def save_state(path: Path, state: State, config: TrainConfig) -> None:
    """Write a checkpoint beside the old one, flush it to the disk, and replace the old one.

    Args:
        path: path of the checkpoint.
        state: state of the run.
        config: options of the run.

    Raises:
        RunError: it cannot be written, for instance because the disk is full; the old checkpoint is kept.
    """
    content = {
        "format": FORMAT,
        "config": asdict(config),
        "model": state.model.state_dict(),
        "average": state.average.state_dict() if state.average is not state.model else None,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "step": state.step,
        "elapsed": state.elapsed,
        "window": state.window,
    }
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        # torch's own error of a failed write does not say why it failed.
        full = isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < _needed(content)
        reason = "No space left on device" if full else first_line(error).split(". ")[0]
        kept = f"the one before, {path}, is kept" if path.exists() else "none was written before"
        raise RunError(
            f"cannot write checkpoint {path}: {reason}; {kept}; free space and give the same command"
        ) from error


def load_state(path: Path, state: State, config: TrainConfig) -> None:
    """Continue from a checkpoint.

    Args:
        path: file of `save_state`.
        state: freshly made for ``config``; filled in place.
        config: options of the resumed run.

    Raises:
        RunError: the file is damaged, or its run had other options, beyond those in `MAY_CHANGE`.
    """
    hint = "delete it to start anew, or give another --out"
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise RunError(f"checkpoint {path} is damaged ({first_line(error)}); {hint}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(f"checkpoint {path} is not of this version of the program; {hint}")
    now = asdict(config)
    for name, before in content["config"].items():
        if name not in MAY_CHANGE and _plain(before) != _plain(now.get(name)):
            raise RunError(
                f"checkpoint {path} was made with {name} {_plain(before)!r}, but this run has {_plain(now.get(name))!r}; "
                f"give the same options, {hint}"
            )
    try:
        state.model.load_state_dict(content["model"])
        if state.average is not state.model:
            state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.scaler.load_state_dict(content["scaler"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(f"checkpoint {path} does not fit the network ({first_line(error)}); {hint}") from error
    state.step, state.elapsed, state.window = content["step"], content["elapsed"], content["window"]


def _needed(content: Any) -> int:
    """Return the bytes of all tensors in nested dictionaries and lists, which a file needs at least."""
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else ()
    return sum(_needed(value) for value in inner)


def _plain(value: Any) -> Any:
    """Return a value with tuples as lists, to compare values after serialisation."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
