"""The tables of docs/reproduce.md, made from the presets and the paper's figures so that neither can disagree with the page.

The page's text is written by hand; the parts between ``<!-- table NAME -->`` and ``<!-- end -->`` are generated here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from streammat.train.errors import DataError
from streammat.train.evaluation.paper.published import HYBRID_NAME, PaperRow, table_rows
from streammat.train.evaluation.paper.report import DECIMALS
from streammat.train.recipes.presets import METHODS, SETS, find_preset, presets

PUBLISHED = {
    "am2k-ori-d121-tt": "gfm_d121_tt.pth",
    "am2k-ori-d121-rim": "gfm_d121_rim.pth",
    "am2k-ori-r34-tt": "gfm_r34_tt.pth",
    "am2k-ori-r34-ft": "gfm_r34_ft.pth",
    "am2k-ori-r34-bt": "gfm_r34_bt.pth",
    "am2k-ori-r34_2b-tt": "gfm_r34_2b_tt.pth",
    "am2k-ori-r101-tt": "gfm_r101_tt.pth",
}
"""File of the authors' weights by preset."""
IMAGENET = {
    "d121": "densenet121",
    "r34": "resnet34",
    "r34_2b": "resnet34",
    "r101": "resnet101",
    "shm": "resnet50",
    "lf": "densenet201",
    "hatt": "resnext101_32x8d",
    "dim": "vgg16",
}
"""Name of the encoder's ImageNet weights by network; none: it starts from random ones."""
_DATA = {"am2k": "$AM2K", "pm10k": "$P3M"}
_BACKGROUNDS = {"COCO": "$COCO", "BG-20k": "$BG20K"}
_HEADINGS = {"SAD-TRAN": "TRAN", "SAD-FG": "FG", "SAD-BG": "BG", "Speed_s": "seconds"}
_MARK = re.compile(r"(<!-- table (?P<name>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """Return the page with all tables regenerated.

    Args:
        page: Markdown, with marks as described in the module.

    Raises:
        DataError: a mark names no table, or one of `TABLES` has no mark.
    """
    found: list[str] = []

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise DataError(f"the page has a mark for table {name!r}; expected one of {', '.join(TABLES)}")
        found.append(name)
        return f"{match[1]}\n{TABLES[name]()}\n\n{match[3]}"

    filled = _MARK.sub(table, page)
    if missing := [name for name in TABLES if name not in found]:
        raise DataError(f"the page has no mark for table {missing[0]!r}; add the lines <!-- table {missing[0]} --> and <!-- end -->")
    return filled


def command(row: PaperRow) -> str:
    """Return the commands that reproduce a row of tables 1 to 6; ``-`` if this project cannot."""
    known = presets()
    if row.table == 6:
        assert row.strategy is not None
        return f"`python -m train evaluate $GFM/gfm_d121_tt.pth --data $AM2K --row {row.name} --strategy {_ratios(row.strategy)}`"
    if row.table == 5:
        return f"`{_table5(row)}`"
    if row.method == "SSS":
        assert row.name is not None
        return f"`python -m train evaluate $SSS --data {_DATA[row.name.split('-', 1)[0]]} --row {row.name}`"
    if row.name == "am2k-glance-dim-d121":
        return f"`python -m train evaluate $GFM/gfm_d121_tt.pth --data $AM2K --trimap-from-glance --matter $DIM --row {row.name}`"
    return "-" if row.name is None or row.name not in known else f"`{_row_command(row.name)}`"


def _table5(row: PaperRow) -> str:
    def weights(rosta: str) -> str:
        name = f"am2k-ori-d121-{rosta}"
        return f"$GFM/{PUBLISHED[name]}" if name in PUBLISHED else f"$RUNS/{name}/d121_{rosta}.safetensors"

    assert row.name is not None
    shown = row.name.rpartition("-")[2]
    first = "tt" if "median" in row.name else shown
    more = "".join(f" --ensemble {weights(rosta)}" for rosta in ("ft", "bt")) if "median" in row.name else ""
    return f"python -m train evaluate {weights(first)}{more} --data $AM2K --row {row.name} --strategy 1/3"


def _row_command(name: str) -> str:
    preset = find_preset(name)
    assert preset.track is not None
    data, network = name.split("-", 1)[0], preset.config.network
    imagenet = IMAGENET.get(network, "-")
    behind = f" {_BACKGROUNDS[preset.track.backgrounds]}" if preset.track.backgrounds else ""
    return f"row {name} {_DATA[data]} {imagenet}{behind}"


def _ratios(strategy: str) -> str:
    return strategy.removeprefix("single ").removeprefix("hybrid ").replace(", ", ":")


def _table(rows: Iterable[PaperRow], label: Callable[[PaperRow], str], *, weights: bool = False) -> str:
    """Return a Markdown table: label, printed figures, command; and below it notes on single rows."""
    rows = list(rows)
    metrics = [name for name in DECIMALS if any(name in row.metrics for row in rows)]
    headings = ["row", *(_HEADINGS.get(name, name) for name in metrics), "command", *(["published weights"] if weights else [])]
    lines = [headings, ["---", *("---:" for _ in metrics), "---", *(["---"] if weights else [])]]
    notes: list[str] = []
    for row in rows:
        mark = ""
        if row.note and "inferred" not in row.note:
            notes.append(f"\\* {label(row)}: {row.note}")
            mark = " \\*"
        figures = [f"{row.metrics[name]:.{DECIMALS[name]}f}" if name in row.metrics else "-" for name in metrics]
        published = PUBLISHED.get(row.name or "")
        lines.append([label(row) + mark, *figures, command(row), *([f"`{published}`" if published else "-"] if weights else [])])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([text, *notes])


def _table1(data: str, tracks: Sequence[str]) -> Callable[[], str]:
    def made() -> str:
        rows = [row for row in table_rows(1) if row.set == data and row.track in tracks]
        several = len(tracks) > 1
        return _table(rows, lambda row: f"{row.method}, {row.track}" if several else row.method, weights=data == "AM-2k" and not several)

    return made


def _table2(data: str) -> Callable[[], str]:
    return lambda: _table((row for row in table_rows(2) if row.set == data), lambda row: f"{row.method}, {row.track}")


def _table4(*, composed: bool) -> str:
    return _table((row for row in table_rows(4) if (row.track != "ORI") == composed), lambda row: row.method)


def _table7() -> str:
    """Return the table of costs beside the paper's, the parts of the other methods, and the causes of the differences."""
    from streammat.train.evaluation.paper.table7 import PAPER_SIDE, table7

    rows = table7()
    lines = [["network", "parameters, M", "paper", "difference", f"GMac at {PAPER_SIDE}x{PAPER_SIDE}", "paper", "difference"], ["---", *["---:"] * 6]]
    parts = [["network", "part", "parameters, M", "GMac"], ["---", "---", "---:", "---:"]]
    for row in rows:
        stored, macs = (row.ours.parameters + row.unused) / 1e6, row.ours.macs / 1e9
        gaps = [f"{ours / theirs - 1:+.1%}" for ours, theirs in ((stored, row.paper_parameters), (macs, row.paper_macs))]
        lines.append([row.network, f"{stored:.2f}", f"{row.paper_parameters}", gaps[0], f"{macs:.2f}", f"{row.paper_macs}", gaps[1]])
        if row.network in METHODS:
            parts += [[row.network, name, f"{count / 1e6:.2f}", f"{work / 1e9:.2f}"] for name, (count, work) in row.ours.parts.items()]
            if row.unused:
                parts.append([row.network, "unused classifiers", f"{row.unused / 1e6:.2f}", "0.00"])
    tables = ["\n".join(f"| {' | '.join(line)} |" for line in table) for table in (lines, parts)]
    return "\n\n".join([tables[0], "By part, of the other methods:", tables[1], "\n".join(f"- {row.network}: {row.why}." for row in rows)])


_COMP = ("COMP-COCO", "COMP-BG20K", "COMP-RSSN")
TABLES: Mapping[str, Callable[[], str]] = {
    **{f"1 {key} ori": _table1(title.split(" ")[0] if key == "am2k" else "PM-10k", ("ORI",)) for key, title in SETS.items()},
    **{f"1 {key} comp": _table1(title.split(" ")[0] if key == "am2k" else "PM-10k", _COMP) for key, title in SETS.items()},
    "2 am2k": _table2("AM-2k"),
    "2 pm10k": _table2("PM-10k"),
    "3": lambda: _table(table_rows(3), lambda row: row.method),
    "4 network": lambda: _table4(composed=False),
    "4 composition": lambda: _table4(composed=True),
    "5": lambda: _table(table_rows(5), lambda row: row.method),
    "6": lambda: _table(table_rows(6), lambda row: row.strategy or HYBRID_NAME),
    "7": _table7,
}
"""The tables, by the names in the page's marks."""
