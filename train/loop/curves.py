"""The curve of a run as CSV: a row at regular steps, a column for each term of the loss."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from streammat.engines.whole_files import whole_file
from streammat.train.errors import RunError

HEAD = ("step", "seconds", "rate", "total")


class Curve:
    """Writes ``curve.csv``; a resumed run gives the same rows as an uninterrupted one.

    Args:
        path: the file; it may exist.
        names: names of the terms.
        step: step at which the run starts: later rows come from steps after the last checkpoint and are removed, because those
            steps are repeated.

    Raises:
        RunError: the file cannot be read or written.
    """

    def __init__(self, path: Path, names: Sequence[str], step: int) -> None:
        self.path = path
        header = [*HEAD, *names]
        try:
            rows: list[list[str]] = []
            if path.exists() and step:
                with path.open(newline="") as file:
                    found = list(csv.reader(file))
                # A row that a crash cut short is one of those that come again.
                rows = [row for row in found[1:] if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= step]
            with whole_file(path) as partial, partial.open("x", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        except OSError as error:
            raise RunError(f"cannot write the curve {path}: {error.strerror}; free space, or give another --out") from error

    def add(self, step: int, seconds: float, rate: float, losses: Sequence[float]) -> None:
        """Append a row.

        Args:
            step: steps done.
            seconds: of training so far.
            rate: the decoders' learning rate.
            losses: the total, then the terms.

        Raises:
            RunError: the file cannot be written.
        """
        row = [step, round(seconds, 1), f"{rate:.3e}", *(f"{value:.6g}" for value in losses)]
        try:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(row)
        except OSError as error:
            raise RunError(f"cannot write the curve {self.path}: {error.strerror}; free space, or give another --out") from error
