"""Names of the events of a live run, and the type of the functions that they are told to; ``docs/live.md`` has their meaning."""

from __future__ import annotations

from typing import Any, Literal, Protocol

EventName = Literal[
    "started", "page", "status", "reply", "said", "level", "reloaded", "fault", "camera-lost", "camera-back", "stream-lost", "stream-back",
    "microphone-lost", "microphone-back", "monitor-lost", "monitor-back", "output-started", "output-ended", "output-failed", "ended",
]  # fmt: skip


class Tell(Protocol):
    """A function that reports an event to users and programs; called from any thread, it must return at once."""

    def __call__(self, event: EventName, **details: Any) -> None:
        """Report an event with its details, which JSON can hold."""
        ...
