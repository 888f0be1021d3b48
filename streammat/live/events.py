"""Events of a live run, sent to all listeners: the command line, scripts on the control socket, the control page."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from streammat.errors import one_line
from streammat.events import Emit, Event, Fault, Status, json_of

Hear = Callable[[dict[str, Any]], None]
"""A listener: takes one event as `json_of` returns it; must return at once."""

_STATUSES: Final = 300
"""Status events kept for later subscribers: five minutes."""
_OTHERS: Final = 200
_REPEAT_SECONDS: Final = 5.0
"""Seconds between two reports of the same fault."""


class Events:
    """Distributes events: called with each event, from any thread; it never waits.

    Args:
        emit: called first with each event.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._hear: list[Hear] = []
        self._statuses: deque[dict[str, Any]] = deque(maxlen=_STATUSES)
        self._others: deque[dict[str, Any]] = deque(maxlen=_OTHERS)
        self._faults: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Distribute one event; a fault that repeats with every frame is reported from time to time only."""
        if isinstance(event, Fault) and self._repeats(event.message):
            return
        self._emit(event)
        message = json_of(event, time.time())
        with self._lock:
            (self._statuses if isinstance(event, Status) else self._others).append(message)
            for hear in self._hear:
                hear(message)

    def _repeats(self, message: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._faults.get(message, -2 * _REPEAT_SECONDS) < _REPEAT_SECONDS:
                return True
            if len(self._faults) > 100:
                self._faults.clear()
            self._faults[message] = now
            return False

    def subscribe(self, hear: Hear) -> list[dict[str, Any]]:
        """Call ``hear`` with every event from now on.

        Returns:
            Recent events, oldest first.
        """
        with self._lock:
            self._hear.append(hear)
            return sorted([*self._statuses, *self._others], key=lambda message: float(message["time"]))

    def unsubscribe(self, hear: Hear) -> None:
        """Call ``hear`` no more; does nothing if it was not subscribed."""
        with self._lock:
            self._hear = [each for each in self._hear if each is not hear]


class Faults:
    """Counts and reports frames that could not be shown. Call it with the error, from any thread.

    Args:
        emit: called with a `Fault` for each.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.count = 0

    def __call__(self, error: Exception) -> None:
        """Count a frame that could not be shown, and report why."""
        self.count += 1
        self._emit(Fault(one_line(error)))
