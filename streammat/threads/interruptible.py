"""Waits for calls that may never return, so that signals are handled meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NoAnswer(Exception):  # noqa: N818 - no fault of the program's
    """Raised when the work was abandoned; its thread is left behind."""


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
    found: list[T] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        if thread.is_alive() and given_up():
            raise NoAnswer
    if failed:
        raise failed[0]
    return found[0]
