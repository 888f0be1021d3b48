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

    def __call__(self, event: dict[str, Any]) -> None:
        """Handle an event."""
        with self._lock:
            self._note(event)
        if self._as_json:
            click.echo(json.dumps({**event, "seconds": round(time.monotonic() - self._begin, 3)}))
        elif not self._quiet and self._live is None and (line := _line(event)):
            click.echo(line, err=True)

    def _note(self, event: dict[str, Any]) -> None:
        row = self._rows[event["shot"]]
        if event["event"] in ("kept", "done", "failed"):
            row.state = {"kept": "was done", "done": "done", "failed": "failed"}[event["event"]]
            row.frames = event.get("frames", row.frames)
            row.reason = event.get("reason", "")
            row.workers.clear()
        elif event["event"] == "planned":
            row.state, row.frames, row.before = "waiting", event["frames"], event["done"]
        elif event["event"] == "shard":
            row.state = "at work"
            shard = event["shard"]
            row.done[shard] = event.get("frames", 0)
            if event["state"] in ("started", "progress"):
                row.workers[shard] = event["worker"]
            else:
                row.workers.pop(shard, None)

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


def _line(event: dict[str, Any]) -> str:
    """Return an event in words; empty if it is not shown."""
    name = event["shot"]
    if event["event"] == "kept":
        return f"{name}: was done before"
    if event["event"] == "damaged":
        return f"{name}: not as it was written, made again: {', '.join(event['files'])}"
    if event["event"] == "done":
        return f"{name}: {event['frames']} frames done: {', '.join(event['outputs'])}"
    if event.get("state") == "lost":
        return f"{name}: shard {event['shard']}: {event['reason']}"
    return ""
