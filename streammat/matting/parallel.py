"""Runs a network on several frames of a stream in parallel, and what follows it in the frames' order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from streammat.threads.interruptible import Answer

T = TypeVar("T")


class Parallel(Generic[T]):
    """Runs calls in parallel, and what follows each of them one at a time, in the order in which they were begun.

    Args:
        most: calls that may run at a time.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)
        self._following = threading.Lock()
        self._waiting: deque[Call[T]] = deque()
        self._running: deque[Answer[T]] = deque()

    def begin(self, work: Callable[[], T], then: Callable[[T], T]) -> Call[T]:
        """Begin a call, as soon as fewer than ``most`` run. One thread begins calls.

        Args:
            work: runs in a thread of its own.
            then: what follows, given its result; runs in a thread that asks for the result of this call or of a later one.
        """
        self._free.acquire()
        while self._running and self._running[0].came(0.0):
            self._running.popleft()
        self._running.append(Answer(lambda: self._run(work), "streammat-network"))
        call = Call(self._running[-1], then, self._follow)
        self._waiting.append(call)
        return call

    def idle(self, seconds: float) -> bool:
        """Wait until no call runs, for at most ``seconds``; return whether that is so. No calls are begun meanwhile."""
        until = time.monotonic() + seconds
        return all(answer.came(max(0.0, until - time.monotonic())) for answer in self._running)

    def _run(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._free.release()

    def _follow(self, call: Call[T]) -> None:
        with self._following:
            while not call.ended:
                self._waiting.popleft().end()


class Call(Generic[T]):
    """One call, for any thread."""

    def __init__(self, answer: Answer[T], then: Callable[[T], T], follow: Callable[[Call[T]], None]) -> None:
        self._answer = answer
        self._then = then
        self._follow = follow
        self._found: list[T] = []
        self._failed: Exception | None = None
        self.ended = False
        """What follows the call is done as well."""

    def wait(self) -> float:
        """Wait for the call alone; return the seconds that it took."""
        return self._answer.wait()

    def result(self) -> T:
        """Wait for the call and what follows it; return the result of that, or raise the error of either."""
        self._follow(self)
        if self._failed is not None:
            raise self._failed
        return self._found[0]

    def end(self) -> None:
        """Wait for the call, and do what follows."""
        try:
            self._found.append(self._then(self._answer.get()))
        except Exception as error:  # noqa: BLE001 - raised for whom it concerns
            self._failed = error
        self.ended = True
