"""Published figures for comparison: the tables of Li et al. 2022, and a few quoted by others.

``tables.csv`` holds every figure of the paper's seven tables as it is printed, ``figures.json`` those from elsewhere,
each with its source. The preset and test strategy that reproduce a row are derived from its columns here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

TABLES = Path(__file__).with_name("tables.csv")
FIGURES = Path(__file__).with_name("figures.json")
SOURCE = "Li et al., IJCV 2022, Table"

NETWORKS = {"DenseNet-121": "d121", "ResNet-34": "r34", "ResNet-34-2b": "r34_2b", "ResNet-101": "r101"}
"""Key of `streammat.engines.network.gfm.NETWORKS` by the encoder's name in the tables."""
LETTERS = {"d121": "d", "r34": "r", "r34_2b": "r2b", "r101": "r†"}
"""The paper's letters for the networks: GFM(d)."""
SETS = {"AM-2k": "am2k", "PM-10k": "pm10k"}
BASELINES = {"SHM": "shm", "LF": "lf", "HATT": "hatt", "SHMC": "shmc", "DIM": "dim", "IndexNet": "indexnet", "GCA": "gca"}
"""Key of `streammat.train.methods.METHODS` by the method's name in the tables; SSS has none."""
_PARTS = {
    "GFM-SINGLE": ("-single-decoder", "single decoder"),
    "GFM w/ one PPM": ("-one-ppm", "one PPM"),
    "GFM excl. PPM": ("-no-ppm", "no PPM"),
    "GFM excl. BB": ("-no-bridge", "no bridge block"),
}
"""Table 4, network: ends of the presets' names, and descriptions."""
_STEPS = {
    "GFM": ("comp-bg20k", "no step of RSSN"),
    "GFM w/ blur": ("comp-rssn-only-blur", "blur alone"),
    "GFM w/ denoise": ("comp-rssn-only-denoise", "denoising alone"),
    "GFM w/ noise": ("comp-rssn-only-noise", "noise alone"),
    "GFM w/ RSSN": ("comp-rssn", "all three steps"),
}
"""Table 4, composition: tracks of the presets, and descriptions."""
_UNITS = {"Parameters_M": "parameters_millions", "Complexity_GMac_800x800": "gmac_800x800", "Inference_s_V100_800x800": "seconds_800x800"}
_MISPRINTS = {
    ("2", "PM-10k", "COMP-RSSN", "GCA"): "MSE 0.0090 is probably a misprint of 0.0009: its SAD is the lowest of the track, where others have 0.0010.",
    ("1", "PM-10k", "ORI", "LF"): "MAD 0.0152 is probably a misprint: it repeats the row's MSE, and by the SAD of the other rows it would be about 0.022.",
}
_INFERRED = "The paper does not say the encoder; DenseNet-121 is inferred, because the figures are those of Table 1 where the test is the same."
HYBRID_NAME = "hybrid 1/3, 1/2"


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table; None if the source does not say."""

    method: str
    """The method as printed, with the encoder's letter and the RoSTa: ``GFM-TT(r)``."""
    metrics: Mapping[str, float]
    """Metrics by the name in the table: ``SAD``, ``MSE`` …; missing ones are absent."""
    source: str
    """Source of the figures."""
    table: int | None = None
    """Number of the table in Li et al. 2022; None: the figures are from elsewhere."""
    set: str | None = None
    """``AM-2k``, ``PM-10k``, ``P3M-500-P`` …"""
    track: str | None = None
    """``ORI``, ``COMP-RSSN`` …"""
    network: str | None = None
    """Key of `streammat.engines.network.gfm.NETWORKS` or `streammat.train.methods.METHODS`."""
    name: str | None = None
    """Name for ``evaluate --row``: that of the preset that reproduces the row, or its own if there is none."""
    strategy: str | None = None
    """Name of the test strategy, as in `streammat.train.evaluation.predictors.strategies.Strategy`; None: unknown, or the method's own."""
    note: str = ""
    """Note on the comparison."""

    def __str__(self) -> str:
        where = f"Table {self.table}" if self.table is not None else "published elsewhere"
        return ", ".join(part for part in (self.method, self.set, self.track, self.strategy, where) if part)


@cache
def load_rows(path: Path = FIGURES) -> tuple[PaperRow, ...]:
    """Load all published figures: the paper's tables in order, then those of ``path``."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return (*paper_rows(), *(PaperRow(**{key: value for key, value in entry.items() if value is not None}) for entry in entries))


@cache
def paper_rows() -> tuple[PaperRow, ...]:
    """Return every row of the paper's seven tables, in order."""
    grouped: dict[tuple[str, ...], dict[str, float]] = {}
    with TABLES.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            key = tuple(line[column] for column in ("table", "set", "track", "method", "backbone", "rosta"))
            grouped.setdefault(key, {})[_UNITS.get(line["metric"], line["metric"])] = float(line["value"])
    return tuple(_row(key, metrics) for key, metrics in grouped.items())


def table_rows(table: int) -> list[PaperRow]:
    """Return the rows of one table."""
    return [row for row in paper_rows() if row.table == table]


def find_rows(name: str, rows: tuple[PaperRow, ...] | None = None) -> list[PaperRow]:
    """Find rows for comparison.

    Args:
        name: name of a preset (``am2k-ori-r34-tt``) or of another row, or of a data set, for all its rows (``P3M-500-P``); case
            and ``-modern`` at the end are ignored.
        rows: rows to search; None: `load_rows`.

    Returns:
        Rows of the preset, else of the set; empty if nothing is known. Rows that a later table repeats (same name, strategy and
        figures) are left out.
    """
    given = load_rows() if rows is None else rows
    wanted = name.casefold().removesuffix("-modern")
    named = [row for row in given if (row.name or "").casefold() == wanted]
    found = named or [row for row in given if (row.set or "").casefold() == wanted]
    return [row for index, row in enumerate(found) if not any(_repeats(row, earlier) for earlier in found[:index])]


def difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Return our figures minus theirs, for the metrics that both have."""
    return {name: ours[name] - value for name, value in theirs.items() if name in ours}


def compared(label: str, row: PaperRow) -> bool:
    """Return whether figures of the test strategy ``label`` are comparable with ``row``."""
    return row.strategy is None or row.strategy == label


def _repeats(row: PaperRow, earlier: PaperRow) -> bool:
    same = (row.name, row.set, row.strategy) == (earlier.name, earlier.set, earlier.strategy) and row.name is not None
    return same and row.metrics.items() <= earlier.metrics.items()


def _row(key: Sequence[str], metrics: Mapping[str, float]) -> PaperRow:
    table, data, track, method, backbone, rosta = key
    network = NETWORKS.get(backbone.removesuffix(" (inferred)")) or BASELINES.get(method)
    track, _, test = track.partition("; ")
    title, name, strategy = method, None, None
    if backbone:
        assert network is not None
        title = f"GFM-{rosta}({LETTERS[network]})"
        words = f"{SETS.get(data)}-{track.lower()}-{network}-{rosta.lower()}"
        name, strategy = (words if data else None), HYBRID_NAME
        if table == "4" and method != "GFM" and track == "ORI":
            name, title = words + _PARTS[method][0], f"{title}, {_PARTS[method][1]}"
        elif table == "4" and track != "ORI":
            name, title = f"{SETS[data]}-{_STEPS[method][0]}-{network}-tt", f"{title}, {_STEPS[method][1]}"
            track = "COMP"
        elif method == "GFM EN-median":
            title, name = "GFM(d), EN-median", f"{SETS[data]}-en-median-{network}"
        elif method.startswith("GFM+DIM"):
            title, name, strategy = f"{title} + DIM", f"{SETS[data]}-glance-dim-{network}", None
    elif data:
        name = f"{SETS[data]}-{track.lower()}-{network or method.lower()}"
        if method.startswith("DIM ("):
            title, network, name = "DIM, true trimap", "dim", f"{SETS[data]}-ori-dim"
    if test.startswith("test ratio"):
        strategy = f"single {test.removeprefix('test ratio ')}"
        strategy = f"median of 3, {strategy}" if method == "GFM EN-median" else strategy
    elif test:
        ratios = [1 / Fraction(part.split("=")[1]) for part in test.split()]
        strategy = f"single {ratios[0]}" if ratios[0] == ratios[1] else f"hybrid {ratios[0]}, {ratios[1]}"
    note = _MISPRINTS.get((table, data, track, method), "") or (_INFERRED if "inferred" in backbone else "")
    return PaperRow(title, metrics, f"{SOURCE} {table}", int(table), data or None, track or None, network, name, None if table == "7" else strategy, note)
