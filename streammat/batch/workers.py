"""Processes that work on shards: each shard is one run of the public command line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from streammat.engines.base import usable_cores

MEMORY: Final = 1 << 30
"""Bytes that a process is counted with: 4K frames in four stages, the network and the codecs."""
CORES: Final = 4
"""Cores that one process keeps busy: the network, and reading, compositing and writing beside it."""


@dataclass(frozen=True)
class Task:
    """One shard for a worker."""

    shot: str
    shard: int
    arguments: tuple[str, ...]
    """Of ``streammat``."""


@dataclass(frozen=True)
class Event:
    """What became of a task."""

    kind: Literal["started", "progress", "done", "failed", "lost"]
    """``lost``: its worker went away."""
    task: Task
    worker: str
    frames: int = 0
    """Written so far."""
    reason: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    """What ``--json`` says, where it is done."""


class Workers(Protocol):
    """Whoever works on tasks, here or elsewhere."""

    count: int

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take tasks, beside those that were given before, to be worked on in this order."""
        ...

    def drop(self, shot: str) -> None:
        """Begin no more of the shot's tasks."""
        ...

    def wait(self, seconds: float) -> Event | None:
        """The next event, or None where there is none within ``seconds``."""
        ...

    def end(self) -> None:
        """Leave what is not done, and return when nothing works on; twice is fine."""
        ...


def local_count() -> int:
    """Processes for this machine: one for every `CORES` cores, as far as the memory allows; one for each GPU where there are any."""
    from streammat.engines.backends.nvidia import find_gpus

    cores = usable_cores()
    if gpus := len(find_gpus().names):
        return gpus
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return max(1, min(cores // CORES, memory // 2 // MEMORY))
    return max(1, cores // CORES)


class ThreadedWorkers:
    """Workers that have a thread here each, which takes one task after the other.

    Args:
        names: of the workers.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.count = len(names)
        self._tasks: deque[Task] = deque()
        self._ready = threading.Condition()
        self._ending = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(name,), name=f"streammat-worker-{name}", daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def begin(self, tasks: Sequence[Task]) -> None:
        """See `Workers.begin`."""
        with self._ready:
            self._tasks.extend(tasks)
            self._ready.notify_all()

    def drop(self, shot: str) -> None:
        """See `Workers.drop`."""
        with self._ready:
            self._tasks = deque(task for task in self._tasks if task.shot != shot)

    def wait(self, seconds: float) -> Event | None:
        """See `Workers.wait`."""
        with suppress(queue.Empty):
            return self._events.get(timeout=seconds)
        return None

    def end(self) -> None:
        """See `Workers.end`."""
        with self._ready:
            self._ending = True
            self._tasks.clear()
            self._halt()
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _is_there(self, worker: str) -> bool:
        """Whether the worker can take a task; asked again until it can."""
        del worker
        return True

    def _perform(self, task: Task, worker: str) -> Iterator[Event]:
        """Have the worker work on a task: what it says, and in the end what became of it."""
        raise NotImplementedError

    def _halt(self) -> None:
        """End what is being worked on; called with the lock held."""
        raise NotImplementedError

    def _work(self, worker: str) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._ending or bool(self._tasks))
                if self._ending:
                    return
            if not self._is_there(worker):
                continue
            with self._ready:
                if self._ending or not self._tasks:
                    continue
                task = self._tasks.popleft()
            last = Event("lost", task, worker, reason="its worker said nothing")
            for event in self._perform(task, worker):
                if event.kind in ("started", "progress"):
                    self._events.put(event)
                else:
                    last = event
            self._events.put(last)


class LocalWorkers(ThreadedWorkers):
    """Processes of this machine.

    Args:
        count: of processes that work at once.
        options: added to each task's arguments; its own count more.
    """

    def __init__(self, count: int, options: Sequence[str] = ()) -> None:
        self._options = options
        self._children: dict[str, subprocess.Popen[str]] = {}
        super().__init__([str(number) for number in range(1, count + 1)])

    def _perform(self, task: Task, worker: str) -> Iterator[Event]:
        with self._ready:
            if self._ending:
                return
            try:
                child = self._children[worker] = start(task, self._options, gpu=gpu_of(int(worker) - 1, os.environ))
            except OSError as error:
                yield Event("failed", task, worker, reason=f"no process can be started ({error.strerror})")
                return
        yield from told_by(child, task, worker)
        with self._ready:
            del self._children[worker]

    def _halt(self) -> None:
        for child in self._children.values():
            child.terminate()


def gpu_of(worker: int, environment: Mapping[str, str]) -> str | None:
    """The GPU of a worker, counted from 0, as ``CUDA_VISIBLE_DEVICES`` names it; None where there are fewer than two to choose from."""
    from streammat.engines.backends.nvidia import find_gpus

    names = environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if "CUDA_VISIBLE_DEVICES" in environment else list(map(str, range(len(find_gpus().names))))
    return names[worker % len(names)] if len(names) > 1 else None


def start(task: Task, options: Sequence[str] = (), *, gpu: str | None = None) -> subprocess.Popen[str]:
    """A process at work on ``task``, on one GPU where it is named: the command line with progress on stdout.

    It has a session of its own, so that a terminal's Ctrl-C is ours alone.
    """
    environment = None if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    command = [sys.executable, "-m", "streammat.cli.child", str(os.getpid()), task.arguments[0], *options, *task.arguments[1:], "--events"]
    return subprocess.Popen(  # noqa: S603 - our own command line
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=True, env=environment
    )


def told_by(child: subprocess.Popen[str], task: Task, worker: str) -> Iterator[Event]:
    """What a process says, and in the end what became of it: ``done``, ``failed`` or ``lost``."""
    yield Event("started", task, worker)
    said: dict[str, Any] = {}
    assert child.stdout is not None
    with child:
        for line in child.stdout:
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "progress":
                    yield Event("progress", task, worker, int(said["frames"]))
    if child.returncode == 0 and "frames_out" in said:
        yield Event("done", task, worker, int(said["frames_out"]), report=said)
    elif "error" in said:
        yield Event("failed", task, worker, reason=str(said["error"]))
    elif child.returncode < 0:
        yield Event("lost", task, worker, reason=f"its process was ended by {signal.Signals(-child.returncode).name}; is there enough memory?")
    else:
        yield Event("lost", task, worker, reason=f"its process ended with code {child.returncode} and no word")
