"""Shows a batch: a live table on a terminal, a line for each shot elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import click

from streammat.batch.events import BatchEvent, Damaged, Done, Failed, Kept, Planned, ShardEvent, json_of

_MOST = 24
"""Most rows of the table; shots at work come first."""


@dataclass
class _Row:
    """State of one shot in the table."""

    state: str = "waiting"
    frames: int = 0
    """Expected number of frames; 0 if unknown."""
    before: int = 0
    """Frames done before this run."""
    done: dict[int, int] = field(default_factory=dict)
    """Frames done in this run, by shard."""
    workers: dict[int, str] = field(default_factory=dict)
    """Names of the workers, by shard."""
    reason: str = ""
    """The error, if the shot has failed."""

    @property
    def made(self) -> int:
        """Frames done in this run."""
        return sum(self.done.values())


class Board(AbstractContextManager["Board"]):
    """Displays the events of a batch.

    Args:
        names: names of the shots.
        as_json: print one JSON object per line on stdout.
        quiet: print nothing else.
    """

    def __init__(self, names: list[str], *, as_json: bool, quiet: bool) -> None:
        self._rows = {name: _Row() for name in names}
        self._as_json = as_json
        self._quiet = quiet
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._live: Any = None
        if not (as_json or quiet) and sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.live import Live
            except ModuleNotFoundError:
                return
            self._live = Live(console=Console(file=sys.stderr), get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: BatchEvent) -> None:
        """Handle an event."""
        with self._lock:
            self._note(event)
        if self._as_json:
            click.echo(json.dumps({**json_of(event), "seconds": round(time.monotonic() - self._begin, 3)}))
        elif not self._quiet and self._live is None and (line := _line(event)):
            click.echo(line, err=True)

    def _note(self, event: BatchEvent) -> None:
        row = self._rows[event.shot]
        if isinstance(event, Kept | Done):
            row.state, row.frames, row.reason = "was done" if isinstance(event, Kept) else "done", event.frames, ""
            row.workers.clear()
        elif isinstance(event, Failed):
            row.state, row.reason = "failed", event.reason
            row.workers.clear()
        elif isinstance(event, Planned):
            row.state, row.frames, row.before = "waiting", event.frames, event.done
        elif isinstance(event, ShardEvent):
            row.state = "at work"
            row.done[event.shard] = event.frames or 0
            if event.state in ("started", "progress"):
                row.workers[event.shard] = event.worker
            else:
                row.workers.pop(event.shard, None)

    def state(self) -> dict[str, Any]:
        """Return the whole table as JSON values: ``summary``, and ``shots`` with those at work first; from any thread."""
        with self._lock:
            order = sorted(self._rows.items(), key=lambda item: ("at work", "failed", "waiting", "done", "was done").index(item[1].state))
            shots = [
                {"name": name, "state": row.state, "frames": row.frames, "done": row.frames if row.state in ("done", "was done") else row.before + row.made,
                 "workers": sorted(set(row.workers.values())), "reason": row.reason}
                for name, row in order
            ]  # fmt: skip
            return {"summary": self._summary(list(self._rows.values())), "shots": shots}

    def _summary(self, rows: list[_Row]) -> str:
        made = sum(row.made for row in rows)
        rate = made / max(1e-3, time.monotonic() - self._begin)
        left = sum(max(0, row.frames - row.before - row.made) for row in rows if row.state in ("waiting", "at work"))
        rest = f", {left / rate / 60:.1f} minutes left" if rate > 0 and left else ""
        failed = sum(row.state == "failed" for row in rows)
        ready = sum(row.state in ("done", "was done") for row in rows)
        workers = len({worker for row in rows for worker in row.workers.values()})
        return f"{ready} of {len(rows)} shots done, {failed} failed; {rate:.1f} frames per second by {workers} {'worker' if workers == 1 else 'workers'}{rest}"

    def _table(self) -> Any:
        from rich.table import Table

        state = self.state()
        shots = state["shots"]
        table = Table(title=state["summary"], title_justify="left")
        for column in ("shot", "state", "frames", "workers"):
            table.add_column(column, justify="right" if column == "frames" else "left")
        for shot in shots[:_MOST]:
            table.add_row(shot["name"], shot["state"], f"{shot['done']}/{shot['frames'] or '?'}", ", ".join(shot["workers"]))
        if len(shots) > _MOST:
            table.add_row(f"… {len(shots) - _MOST} more", "", "", "")
        return table


def _line(event: BatchEvent) -> str:
    """Return an event in words; empty if it is not shown."""
    if isinstance(event, Kept):
        return f"{event.shot}: was done before"
    if isinstance(event, Damaged):
        return f"{event.shot}: not as it was written, made again: {', '.join(event.files)}"
    if isinstance(event, Done):
        return f"{event.shot}: {event.frames} frames done: {', '.join(event.outputs)}"
    if isinstance(event, ShardEvent) and event.state == "lost":
        return f"{event.shot}: shard {event.shard}: {event.reason}"
    return ""
