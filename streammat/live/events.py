"""Events of a live run, sent to all listeners: the command line, scripts on the control socket, the control page."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

Hear = Callable[[dict[str, Any]], None]
"""A listener: takes one event, ``{"event": name, "time": seconds since 1970, …}``; must return at once."""

_STATUSES: Final = 300
"""Status events kept for later subscribers: five minutes."""
_OTHERS: Final = 200


class Events:
    """Distributes events: called with each event, from any thread; it never waits.

    Args:
        tell: called first with each event, as ``tell(event, **details)``.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._hear: list[Hear] = []
        self._statuses: deque[dict[str, Any]] = deque(maxlen=_STATUSES)
        self._others: deque[dict[str, Any]] = deque(maxlen=_OTHERS)

    def __call__(self, event: str, **details: Any) -> None:
        """Distribute one event."""
        self._tell(event, **details)
        message = {"event": event, "time": round(time.time(), 3), **details}
        with self._lock:
            (self._statuses if event == "status" else self._others).append(message)
            for hear in self._hear:
                hear(message)

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
