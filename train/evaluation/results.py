"""Reads and writes ``pictures.csv``: a row for each measured matte; a run that continues an interrupted one reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from streammat.train.data.pool import write_whole
from streammat.train.errors import RunError

TABLE = "pictures.csv"
UNFINISHED = "unfinished"
"""Name of the file beside an unfinished table that identifies its run; only the same run may continue it."""
_BEFORE = ("picture", "matting", "width", "height")
_AFTER = ("seconds", "trimap")


@dataclass(frozen=True)
class Case:
    """One matte of one image."""

    name: str
    """Name of the image within its set."""
    matting: str
    """Name of the matting."""
    width: int
    height: int
    metrics: Mapping[str, float]
    seconds: float
    """Seconds for all mattes of the image, divided by their number."""
    made_trimap: bool
    """True if the trimap was made from the truth."""


class Rows:
    """The table of a run, which is complete up to the last image, whatever ends the run.

    Args:
        out: folder; None: nothing is written.
        columns: metrics, in order.
        identity: digest of everything that the figures depend on. An unfinished table with the same identity is continued; empty:
            every run starts anew.
    """

    def __init__(self, out: Path | None, columns: Sequence[str], identity: str = "") -> None:
        self.columns, self.identity = tuple(columns), identity
        self.path = None if out is None else out / TABLE
        self.mark = None if out is None else out / UNFINISHED
        self.kept: tuple[Case, ...] = ()
        """Results of an earlier run: complete images, in order."""

    def __enter__(self) -> Self:
        if self.path is None or self.mark is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.kept = self._left()
            text = io.StringIO(newline="")
            csv.writer(text).writerows([(*_BEFORE, *self.columns, *_AFTER), *map(self._cells, self.kept)])
            write_whole(self.path, text.getvalue().encode())
            if self.identity:
                write_whole(self.mark, self.identity.encode())
            else:
                self.mark.unlink(missing_ok=True)
            self.file = self.path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise _unwritten(self.path, error) from error
        return self

    def add(self, case: Case) -> None:
        """Write a row and hand it to the system.

        Raises:
            RunError: it cannot be written.
        """
        if self.path is None:
            return
        try:
            csv.writer(self.file).writerow(self._cells(case))
            self.file.flush()
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if self.path is not None and self.mark is not None:
            self.file.close()
            if kind is None:
                self.mark.unlink(missing_ok=True)

    def _cells(self, case: Case) -> list[object]:
        figures = (f"{case.metrics[name]:.9g}" for name in self.columns)
        return [case.name, case.matting, case.width, case.height, *figures, f"{case.seconds:.3f}", "made" if case.made_trimap else "given"]

    def _left(self) -> tuple[Case, ...]:
        """Return the results of an interrupted run of the same identity, without its last image, which may lack mattes."""
        assert self.path is not None
        assert self.mark is not None
        if not self.identity or not self.path.exists() or not self.mark.exists() or self.mark.read_text(encoding="utf-8") != self.identity:
            return ()
        whole = self.path.read_bytes().rpartition(b"\n")[0].decode()
        rows = csv.reader(io.StringIO(whole, newline=""))
        if next(rows, None) != [*_BEFORE, *self.columns, *_AFTER]:
            return ()
        cases = [self._case(row) for row in rows]
        last = cases[-1].name if cases else ""
        return tuple(case for case in cases if case.name != last)

    def _case(self, row: Sequence[str]) -> Case:
        name, matting, width, height = row[:4]
        *figures, seconds, trimap = row[4:]
        return Case(name, matting, int(width), int(height), dict(zip(self.columns, map(float, figures), strict=True)), float(seconds), trimap == "made")


def _unwritten(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write {path}: {error.strerror}; make room or give another folder")
