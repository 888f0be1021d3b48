"""Events of a batch: a class each, with typed fields; `json_of` returns their JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class BatchEvent:
    """Root of all events of a batch."""

    event: ClassVar[str]
    """Name of the event in JSON."""
    shot: str
    """Name of the shot."""


@dataclass(frozen=True)
class Damaged(BatchEvent):
    """Outputs of an earlier run are missing or changed, and are made again."""

    event: ClassVar[str] = "damaged"
    files: list[str]


@dataclass(frozen=True)
class Kept(BatchEvent):
    """The shot was complete before this run."""

    event: ClassVar[str] = "kept"
    frames: int


@dataclass(frozen=True)
class Planned(BatchEvent):
    """The shot is divided into shards."""

    event: ClassVar[str] = "planned"
    frames: int
    shards: int
    done: int
    """Frames done before this run."""


@dataclass(frozen=True)
class ShardEvent(BatchEvent):
    """A shard was started, went on, or ended."""

    event: ClassVar[str] = "shard"
    shard: int
    state: Literal["started", "progress", "done", "failed", "lost"]
    worker: str
    frames: int | None = None
    """Frames done; None unless it goes on or is done."""
    networks: int | None = None
    """Networks that its worker has opened so far; None unless it is done."""
    reason: str | None = None
    """The error, if there is one."""


@dataclass(frozen=True)
class Done(BatchEvent):
    """The shot is complete."""

    event: ClassVar[str] = "done"
    frames: int
    outputs: list[str]


@dataclass(frozen=True)
class Failed(BatchEvent):
    """The shot failed; the others go on."""

    event: ClassVar[str] = "failed"
    reason: str


Emit = Callable[[BatchEvent], None]
"""A function that takes an event."""


def json_of(event: BatchEvent) -> dict[str, Any]:
    """Return an event as ``--json`` has it, without fields that are None."""
    return {"event": event.event, **{name: value for name, value in vars(event).items() if value is not None}}
