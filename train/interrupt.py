"""Ctrl-C and SIGTERM end a run after the step that is under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal ended the run; its state is on the disk.

    Args:
        number: of the signal.
        step: steps done.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.number = number
        self.step = step


class Signals:
    """The signal that came, if any."""

    number = 0

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Note a first signal; a second one ends the process at once, as it would without this."""
        if self.number:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Note Ctrl-C and SIGTERM instead of dying of them; in a thread other than the main one nothing is changed."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
