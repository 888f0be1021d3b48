"""Estimates the time and disk space of a batch by a short measurement."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streammat.batch.files import counter_of
from streammat.batch.plan import Plan
from streammat.batch.workers import Child, Task
from streammat.errors import InputError, OutputError, first_line
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import find_sequence, frames_text

_FRAMES: Final = 8
"""Frames processed for the measurement."""


@dataclass(frozen=True)
class Estimate:
    """The estimate for one shot, made by one process."""

    seconds: float
    bytes: int
    """Size of all of its outputs."""


def estimates(plans: Sequence[Plan], warm_up: float) -> list[Estimate]:
    """Return one estimate for each plan. Of shots with the same options and kinds of outputs one is measured; the others are
    assumed to cost as much per pixel.

    Args:
        plans: the plans.
        warm_up: seconds that are looked at before a shard, which cost as much as those that are written, at most.

    Raises:
        InputError: the frames to measure cannot be made.
        OutputError: there is no space for them.
    """
    known: dict[object, tuple[float, float, float]] = {}
    found = []
    for plan in plans:
        kind = plan.shot.options, tuple((name, Path(path).suffix.lower()) for name, path in plan.shot.outputs)
        height, width = plan.size
        if kind not in known:
            begin, each, size = _measured(plan)
            known[kind] = begin, each / (height * width), size / (height * width)
        begin, each, size = known[kind]
        looked_at = 0.0 if "--no-stable" in plan.shot.options else warm_up * float(plan.rate)
        worked = plan.frames + (len(plan.shards) - 1) * looked_at
        found.append(Estimate(begin + worked * height * width * each, round(plan.frames * height * width * size)))
    return found


def free_space(out: str) -> int:
    """Return the free bytes of the disk that holds the folder, or would hold it."""
    folder = Path(out).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _measured(plan: Plan) -> tuple[float, float, float]:
    """Return (seconds that a process takes to start, seconds per frame, bytes per frame)."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            outputs = {}
            for kind, path in plan.shot.outputs:
                match = counter_of(path)
                outputs[kind] = os.path.join(folder, f"{kind}{'' if match is None else '.' + match[0]}{Path(path).suffix}")
            frames = min(plan.frames, _FRAMES) or _FRAMES
            sequence = find_sequence(plan.shot.source)
            if sequence is None:
                part = f"--duration={float((frames - 0.5) / plan.rate):.6f}"
            else:
                numbers = SequenceSource(sequence, plan.sequence_options, None).info.numbers
                part = f"--frames={frames_text(numbers[:frames])}"
            task = Task(plan.shot.name, 1, tuple(plan.shot.command(outputs, part)))
            child, begin = Child(), time.monotonic()
            try:
                *_, last = child.perform(task, "")
            finally:
                child.end()
                child.wait()
            took = time.monotonic() - begin
            if last.kind != "done":
                raise InputError(f"shot {plan.shot.name}: {last.reason}")
            size = sum(file.stat().st_size for file in Path(folder).iterdir())
            working = float(last.report["seconds"])
            return max(0.0, took - working), working / last.frames, size / last.frames
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: the first frames of shot {plan.shot.name} cannot be made there to measure ({first_line(error)}); check its space") from error
