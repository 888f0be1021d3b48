"""Worker processes: each shard is one run of the public command line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from streammat.engines.base import usable_cores

MEMORY: Final = 1 << 30
"""Estimated memory of a process in bytes: 4K frames in four stages, the network and the codecs."""
CORES: Final = 4
"""Cores that one process uses: the network, and reading, compositing and writing beside it."""


@dataclass(frozen=True)
class Task:
    """One shard for a worker."""

    shot: str
    shard: int
    arguments: tuple[str, ...]
    """Arguments of ``streammat``."""


@dataclass(frozen=True)
class WorkerEvent:
    """A report from a worker about a task."""

    kind: Literal["started", "progress", "done", "failed", "lost"]
    """Kind of the event; ``lost``: the worker has disappeared."""
    task: Task
    worker: str
    frames: int = 0
    """Frames written so far."""
    reason: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    """The report of ``--json``, once the task is done."""


class Workers(Protocol):
    """The workers of a batch, on this machine or others."""

    count: int
    attempts: int
    """Attempts for a shard whose worker is lost."""

    def begin(self, tasks: Sequence[Task]) -> None:
        """Add tasks to the queue, in this order."""
        ...

    def drop(self, shot: str) -> None:
        """Remove the shot's waiting tasks from the queue."""
        ...

    def wait(self, seconds: float) -> WorkerEvent | None:
        """Return the next event, or None if there is none within ``seconds``."""
        ...

    def end(self) -> None:
        """End all work, finished or not, and return when nothing runs; may be called twice."""
        ...


def local_count() -> int:
    """Return the number of processes for this machine: one per `CORES` cores, as memory allows; one per GPU if there are any."""
    from streammat.engines.backends.nvidia import find_gpus

    cores = usable_cores()
    if gpus := len(find_gpus().names):
        return gpus
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return max(1, min(cores // CORES, memory // 2 // MEMORY))
    return max(1, cores // CORES)


class ThreadedWorkers(ABC):
    """Workers that are each driven by a thread of this process, one task after the other.

    Args:
        names: names of the workers.
    """

    attempts = 2

    def __init__(self, names: Sequence[str]) -> None:
        self.count = len(names)
        self._tasks: deque[Task] = deque()
        self._ready = threading.Condition()
        self._ending = False
        self._events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
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

    def wait(self, seconds: float) -> WorkerEvent | None:
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
        """Return whether the worker can take a task; called again until it can."""
        del worker
        return True

    @abstractmethod
    def _perform(self, task: Task, worker: str) -> Iterator[WorkerEvent]:
        """Let the worker run a task; yields its events up to the last."""

    @abstractmethod
    def _halt(self) -> None:
        """End the tasks at work; called with the lock held."""

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
            last = WorkerEvent("lost", task, worker, reason="its worker said nothing")
            for event in self._perform(task, worker):
                if event.kind in ("started", "progress"):
                    self._events.put(event)
                else:
                    last = event
            self._events.put(last)


class LocalWorkers(ThreadedWorkers):
    """Processes of this machine.

    Args:
        count: number of processes at once.
        options: added to each task's arguments, which take precedence.
    """

    def __init__(self, count: int, options: Sequence[str] = ()) -> None:
        names = [str(number) for number in range(1, count + 1)]
        self._children = {name: Child(options, gpu=gpu_of(int(name) - 1, os.environ)) for name in names}
        super().__init__(names)

    def _perform(self, task: Task, worker: str) -> Iterator[WorkerEvent]:
        return self._children[worker].perform(task, worker)

    def end(self) -> None:
        """See `Workers.end`."""
        super().end()
        for child in self._children.values():
            child.wait()

    def _halt(self) -> None:
        for child in self._children.values():
            child.end()


def gpu_of(worker: int, environment: Mapping[str, str]) -> str | None:
    """Return the GPU of worker ``number`` (from 0), as ``CUDA_VISIBLE_DEVICES`` names it; None if there are fewer than two."""
    from streammat.engines.backends.nvidia import find_gpus

    names = environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if "CUDA_VISIBLE_DEVICES" in environment else list(map(str, range(len(find_gpus().names))))
    return names[worker % len(names)] if len(names) > 1 else None


class Child:
    """A process that runs one task after the other and keeps its network open between them: see `streammat.cli.child`.

    It is started with the first task, and again after a failed one. It has its own session, so that a terminal's Ctrl-C reaches
    only the starting process.

    Args:
        options: added to each task's arguments, which take precedence.
        gpu: the only GPU that it sees, as ``CUDA_VISIBLE_DEVICES`` names it; None: all of them.
    """

    def __init__(self, options: Sequence[str] = (), *, gpu: str | None = None) -> None:
        self._options = tuple(options)
        # What libraries print goes nowhere as it is: the command has no descriptor to move it to.
        self._environment = {**os.environ, "STREAMMAT_LIBRARIES": "1", **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def perform(self, task: Task, worker: str) -> Iterator[WorkerEvent]:
        """Run a task; yields its events, the last of which is ``done``, ``failed`` or ``lost``."""
        try:
            process = self._started()
        except OSError as error:
            yield WorkerEvent("failed", task, worker, reason=f"no process can be started ({error.strerror})")
            return
        if process is None:
            return
        yield WorkerEvent("started", task, worker)
        said: dict[str, Any] = {}
        code: int | None = None
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # it has ended already
            process.stdin.write(json.dumps([task.arguments[0], *self._options, *task.arguments[1:], "--events"]) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            with suppress(ValueError):
                found = json.loads(line)
                if found.get("event") == "ended":
                    code = int(found["code"])
                    said["networks"] = found["networks"]
                    break
                if found.get("event") == "progress":
                    yield WorkerEvent("progress", task, worker, int(found["frames"]))
                else:
                    said = found
        if code == 0 and "frames_out" in said:
            yield WorkerEvent("done", task, worker, int(said["frames_out"]), report=said)
            return
        if (left := self.wait()) < 0 and code is None and "error" not in said:
            yield WorkerEvent("lost", task, worker, reason=f"its process was ended by {signal.Signals(-left).name}; is there enough memory?")
        elif "error" in said:
            yield WorkerEvent("failed", task, worker, reason=str(said["error"]))
        else:
            yield WorkerEvent("lost", task, worker, reason=f"its process ended with code {left if code is None else code} and no word")

    def end(self) -> None:
        """End the task at work, and start no more; may be called twice."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.terminate()

    def _started(self) -> subprocess.Popen[str] | None:
        """Return the process, starting it if there is none; None after ``end``."""
        with self._lock:
            if self._ended:
                return None
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    [sys.executable, "-m", "streammat.cli.child", str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    text=True, encoding="utf-8", start_new_session=True, env=self._environment,
                )  # fmt: skip
            return self._process

    def wait(self) -> int:
        """Wait for the end of the process, which gets no further task; returns its exit code, 0 if there is no process."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(OSError):
            process.communicate()
        return process.wait()
