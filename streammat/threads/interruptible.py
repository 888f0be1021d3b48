"""Calls in threads of their own, which may never return, so that signals are handled meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NoAnswer(Exception):  # noqa: N818 - no fault of the program's
    """Raised when the work was abandoned; its thread is left behind."""


class Answer(Generic[T]):
    """The result of a call that runs in a thread of its own, from now on.

    Args:
        work: the call.
        name: name of the thread.
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._found: list[T] = []
        self._failed: list[BaseException] = []
        self.seconds = 0.0
        """Seconds that the call took, once it has ended."""
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    def get(self) -> T:
        """Wait for the call; return its result, or raise its error."""
        self._thread.join()
        if self._failed:
            raise self._failed[0]
        return self._found[0]

    def wait(self) -> float:
        """Wait for the call; return the seconds that it took."""
        self._thread.join()
        return self.seconds

    def came(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return whether the call has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, work: Callable[[], T]) -> None:
        begin = time.perf_counter()
        try:
            self._found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._failed.append(error)
        self.seconds = time.perf_counter() - begin


def answer_of(work: Callable[[], T], name: str, given_up: Callable[[], bool] = lambda: False) -> T:
    """Run ``work`` in a separate thread and return its result, or raise its error.

    Python runs signal handlers only in the main thread and between its own instructions: a library call there that does not
    return would block Ctrl-C. If a handler raises, ``work`` is left behind.

    Args:
        work: the call.
        name: name of the thread.
        given_up: called from time to time while the work goes on; True ends the wait.

    Raises:
        NoAnswer: the wait was ended.
    """
    answer = Answer(work, name)
    while not answer.came(0.1):
        if given_up():
            raise NoAnswer
    return answer.get()
