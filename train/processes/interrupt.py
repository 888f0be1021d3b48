"""Handles Ctrl-C, SIGTERM and a closed terminal: a run ends after the current step, and signals are blocked while processes
start.

A signal that was ignored at the start stays ignored: shells do that for jobs in the background.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a run; Windows has no SIGHUP."""


class Stopped(KeyboardInterrupt):
    """Raised when a signal ended the run; its state is on the disk.

    Args:
        number: number of the signal.
        step: steps done.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.number = number
        self.step = step


class Signals:
    """The received signal, if any."""

    number = 0

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Record a first signal; a second one ends the process at once, with its default action."""
        if self.number:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Record the signals of `ENDING` instead of ending at once; does nothing in threads other than the main one."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signals.receive) for number in heard}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Block signals while processes are started, which inherit the block; pending signals are delivered here afterwards. Windows
    does not support that, and its Ctrl-C reaches all processes.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
