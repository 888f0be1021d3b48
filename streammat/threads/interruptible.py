"""Work that may never come to an end, waited for so that signals are heard meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NoAnswer(Exception):  # noqa: N818 - no fault of the program's
    """The work was given up; its thread is left behind."""


def answer_of(work: Callable[[], T], name: str, given_up: Callable[[], bool] = lambda: False) -> T:
    """Run ``work`` in a thread of its own and give its result, or raise its error.

    Python runs signal handlers in the main thread, and only between two of its own instructions: called there, a library that does not
    return would keep Ctrl-C from it. A handler that raises leaves ``work`` behind.

    Args:
        work: what to do.
        name: of the thread.
        given_up: asked now and then while the work goes on; true ends the wait.

    Raises:
        NoAnswer: it was given up.
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
