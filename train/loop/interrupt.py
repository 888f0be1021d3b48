"""Ctrl-C, SIGTERM and a closed terminal: a run ends after the step that is under way, and processes start where neither can hit them.

A signal that was ignored when the program was started stays ignored: so shells keep a terminal's Ctrl-C from jobs in the background.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a run to end; Windows has no SIGHUP."""


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
    """Note the signals of `ENDING` instead of dying of them; in a thread other than the main one nothing is changed."""
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
    """Hold signals back while processes are started, which inherit that; what comes meanwhile is delivered here afterwards.

    Windows has no such thing, and its Ctrl-C reaches everybody.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
