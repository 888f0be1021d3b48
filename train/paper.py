"""Published figures to lay beside ours, read from ``paper_figures.json``; each has its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FIGURES = Path(__file__).with_name("paper_figures.json")


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table; None where the source does not say."""

    method: str
    """As printed: ``GFM(r)``."""
    metrics: Mapping[str, float]
    """By the name in the table: ``SAD``, ``MSE`` …; what the table lacks is absent."""
    source: str
    """Where the figures were read."""
    table: int | None = None
    """Number of the table in Li et al. 2022; None: the figures are from elsewhere."""
    set: str | None = None
    """``AM-2k``, ``PM-10k``, ``P3M-500-P`` …"""
    track: str | None = None
    """``ORI``, ``COMP-RSSN`` …"""
    network: str | None = None
    """Key of `engines.gfm.NETWORKS`."""
    preset: str | None = None
    """The preset of `train` that makes this row."""
    strategy: str | None = None
    """How the pictures were shown: ``hybrid``, ``single 5/13`` …"""
    note: str = ""
    """What to know before comparing."""

    def __str__(self) -> str:
        where = f"Table {self.table}" if self.table is not None else "published elsewhere"
        return ", ".join(part for part in (self.method, self.set, self.track, self.strategy, where) if part)


def load_rows(path: Path = FIGURES) -> tuple[PaperRow, ...]:
    """All published figures at hand, in the order of the file."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return tuple(PaperRow(**{key: value for key, value in entry.items() if value is not None}) for entry in entries)


def find_rows(name: str, rows: tuple[PaperRow, ...] | None = None) -> list[PaperRow]:
    """Rows to compare with.

    Args:
        name: of a preset (``am2k-ori-r34-tt``), or of a data set, which gives all that is known of it (``P3M-500-P``);
            upper and lower case are the same.
        rows: where to look; None takes `load_rows`.

    Returns:
        Those of the preset, else those of the set; none where nothing is known.
    """
    given = load_rows() if rows is None else rows
    wanted = name.casefold()
    return [row for row in given if (row.preset or "").casefold() == wanted] or [
        row for row in given if (row.set or "").casefold() == wanted
    ]
