"""Runs slow jobs on many files in a pool of processes; files are written atomically, and finished work is never lost.

A job writes its files atomically, with `write_image`, and jobs whose files exist are not repeated. So calling an interrupted
command again continues it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2

from streammat.engines import whole_files
from streammat.train.data.images import Image
from streammat.train.errors import DataError, RunError
from streammat.train.processes.interrupt import held_signals

Job = TypeVar("Job")
Result = TypeVar("Result")

Tell = Callable[[str], None]
"""Called with one line for the user."""
_REPORT_S = 10.0
"""Seconds between two lines of progress."""
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """Outcome of one job."""

    job: Job
    result: Result | None
    """Result; None if there is a problem."""
    problem: str = ""
    """Why the job's files cannot be used, in one line; empty: success."""


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, report: Tell, what: str
) -> list[Outcome[Job, Result]]:
    """Run all jobs; a broken file does not stop the others.

    Args:
        work: a function at the top of a module (workers import it); raises `DataError` for a file that cannot be used.
        jobs: picklable arguments of ``work``.
        workers: processes; 0: this one.
        report: called with a line for each problem, progress every few seconds, and the state of an interrupted call.
        what: name of the work at the start of each line.

    Returns:
        Outcomes in the order of ``jobs``.

    Raises:
        RunError: a file cannot be written, or a worker died.
        KeyboardInterrupt: passed on; finished work stays.
    """
    progress = _Progress(len(jobs), report, what)
    outcomes: dict[int, Outcome[Job, Result]] = {}
    try:
        for index, outcome in _each(work, jobs, workers):
            outcomes[index] = outcome
            progress.count(outcome.problem)
    except KeyboardInterrupt:
        report(f"{what}: stopped; {len(outcomes)} of {len(jobs)} are done and kept")
        raise
    except BrokenProcessPool as error:
        raise RunError(
            f"{what}: a worker process died after {len(outcomes)} of {len(jobs)}, for lack of memory most likely; "
            "the same command continues: take fewer --workers"
        ) from error
    return [outcomes[index] for index in range(len(jobs))]


def check_outcomes(outcomes: Sequence[Outcome[Job, Result]], what: str) -> None:
    """Raise an error at the end of a command if any of its files was broken.

    Raises:
        DataError: names their number; each was reported when it was found.
    """
    broken = sum(bool(outcome.problem) for outcome in outcomes)
    if broken:
        raise DataError(
            f"{what}: {broken} of {len(outcomes)} could not be done, as said above; the others are; "
            "mend or remove the files and run the same command again"
        )


def write_image(path: Path, image: Image) -> None:
    """Write an image atomically.

    Args:
        path: ends in ``.png`` or ``.jpg`` (quality 95); its folder is created if necessary.
        image: uint8 (H, W, 3) RGB or (H, W) grey.

    Raises:
        RunError: it cannot be written.
    """
    stored = image if image.ndim == 2 else image[:, :, ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    good, content = cv2.imencode(path.suffix, stored, options)
    assert good, f"OpenCV cannot write {path.suffix}"
    write_whole(path, content.tobytes())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically; otherwise as `write_image`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_files.write_whole(path, content)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}; free space or mend its permissions; the same command then continues"
        ) from error


def _each(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Outcome[Job, Result]]]:
    """Yield outcomes as they come, with the index of their job."""
    if workers == 0 or not jobs:
        yield from ((index, _guarded(work, job)) for index, job in enumerate(jobs))
        return
    # Spawned, not forked: a fork of a process with threads (torch, OpenVINO) can copy a lock that is never released.
    spawn = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn, initializer=_start_worker)
    try:
        # One that is still importing would print a traceback at Ctrl-C.
        with held_signals(signal.SIGINT):
            futures = {pool.submit(_guarded, work, job): index for index, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        # Some jobs take minutes, too long to wait for after an interrupt; their files are written atomically.
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _guarded(work: Callable[[Job], Result], job: Job) -> Outcome[Job, Result]:
    try:
        return Outcome(job, work(job))
    except DataError as error:
        return Outcome(job, None, str(error))


def _start_worker() -> None:
    # Ctrl-C reaches the whole group of processes; only the first one reports it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # a process per core is enough
    if hasattr(os, "nice"):
        os.nice(5)


def _end_with_parent() -> None:
    """End this worker when its parent is killed; otherwise it would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Progress:
    """Reports problems at once, progress every few seconds and at the end."""

    def __init__(self, total: int, report: Tell, what: str) -> None:
        self._total, self._report, self._what = total, report, what
        self._done = self._broken = 0
        self._start = self._last = time.monotonic()

    def count(self, problem: str) -> None:
        self._done += 1
        now = time.monotonic()
        if problem:
            self._broken += 1
            self._report(f"{self._what}: {problem}")
        if self._done == self._total or now - self._last >= _REPORT_S:
            self._last = now
            spent = now - self._start
            left = spent / self._done * (self._total - self._done)
            broken = f", {self._broken} broken" if self._broken else ""
            rest = f", about {left:.0f} s left" if self._done < self._total else ""
            self._report(f"{self._what}: {self._done}/{self._total}{broken} in {spent:.0f} s{rest}")
