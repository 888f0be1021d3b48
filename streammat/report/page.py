"""The report as files: one page that needs no network, and the numbers as CSV and JSON beside it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, UsageError, reason
from streammat.report.collect import Check, ShotReport
from streammat.report.measures import COLUMNS

_CURVES: Final = {
    "area": "area: share of the frame",
    "confidence": "confidence: how decided alpha is inside the subject",
    "flicker": "flicker: change of alpha where the image stands still",
    "edge": "edge: length of the outline over that of a disc",
}
_WIDTH, _HEIGHT = 900, 90
"""Of a curve, in pixels."""
_STYLE: Final = """
:root { color-scheme: dark; }
body { margin: 0 auto; max-width: 1000px; padding: 1.5rem; background: #16181c; color: #d8dbe0; font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .4rem; border-top: 1px solid #333842; padding-top: 1.2rem; }
p { margin: .3rem 0; color: #9aa1ad; } a { color: #8ab4f8; }
.strip { display: flex; gap: 2px; margin: .6rem 0; } .strip img { flex: 1 1 0; min-width: 0; object-fit: cover; }
.curve { margin: .5rem 0; } .curve svg { width: 100%; height: 90px; background: #1f2228; display: block; }
.curve b { font-weight: 500; font-size: 12px; color: #9aa1ad; }
.checks { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 14px; }
figure { margin: 0; background: #1f2228; padding: 8px; border-radius: 4px; } figure div { display: flex; gap: 2px; }
figure img { flex: 1 1 0; min-width: 0; } figcaption { margin-top: 6px; } figcaption b { color: #f0b86e; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; font-variant-numeric: tabular-nums; }
"""


def beside(path: Path) -> tuple[Path, Path]:
    """The CSV and the JSON file of a page."""
    return path.with_suffix(".csv"), path.with_suffix(".json")


def check_report(path: str, *, overwrite: bool) -> None:
    """Refuse a page's name.

    Raises:
        UsageError: it does not end in .html, or a file of it is there and is not to be replaced.
    """
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {path}: is a page; expected a name that ends in .html")
    for each in (page, *beside(page)):
        if os.path.lexists(each) and not overwrite:
            raise UsageError(f"{each}: is there already; give -y to replace it")


def write_report(path: Path, shots: Sequence[ShotReport], *, overwrite: bool, missing: Sequence[str] = ()) -> None:
    """Write the page, and CSV and JSON beside it.

    Args:
        path: of the page.
        shots: in the order in which they are to be shown.
        overwrite: files may be replaced.
        missing: names of shots that were not measured.

    Raises:
        UsageError, OutputError: it cannot be written.
    """
    check_report(str(path), overwrite=overwrite)
    table, numbers = beside(path)
    try:
        write_whole(table, _csv(shots).encode())
        write_whole(numbers, json.dumps({"shots": [shot.as_dict() for shot in shots]}, separators=(",", ":")).encode())
        write_whole(path, page_of(shots, missing).encode())
    except OSError as error:
        raise OutputError(f"{path}: the report cannot be written ({reason(error)}); check space and permissions") from error


def read_reports(path: Path) -> list[ShotReport]:
    """The shots of a report's JSON file.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is none.
    """
    return [ShotReport.of(shot) for shot in json.loads(path.read_bytes())["shots"]]


def page_of(shots: Sequence[ShotReport], missing: Sequence[str] = ()) -> str:
    """The page as HTML."""
    frames, checks = sum(len(shot.seconds) for shot in shots), sum(len(shot.checks) for shot in shots)
    rows = "".join(
        f'<tr><td><a href="#{escape(shot.name, quote=True)}">{escape(shot.name)}</a><td>{len(shot.seconds)}<td>{len(shot.checks)}</tr>' for shot in shots
    )
    without = f"<p>Not measured, as they were made without --report: {escape(', '.join(missing))}</p>" if missing else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Frames to check</title>'
        f"<style>{_STYLE}</style><h1>{checks} frames to check of {frames}</h1>{without}"
        f"<table><tr><th>shot<th>frames<th>to check</tr>{rows}</table>{''.join(map(_shot, shots))}</html>"
    )


def _shot(shot: ShotReport) -> str:
    strip = "".join(f'<img src="data:image/jpeg;base64,{image}" title="frame {frame}" alt="frame {frame}">' for frame, image in shot.strip)
    curves = "".join(_curve(shot, column, title) for column, title in _CURVES.items())
    checks = "".join(map(_check, shot.checks)) or "<p>Nothing stands out.</p>"
    length = f"{len(shot.seconds)} frames, {shot.rate:.6g} fps"
    return (
        f'<h2 id="{escape(shot.name, quote=True)}">{escape(shot.name)}</h2><p>{length}</p><div class="strip">{strip}</div>'
        f'{curves}<div class="checks">{checks}</div>'
    )


def _check(check: Check) -> str:
    images = "".join(f'<img src="data:image/jpeg;base64,{check.images[kind]}" alt="{kind}" title="{kind}">' for kind in ("before", "matte", "checkerboard"))
    reasons = ", ".join(f"{escape(each)} ({value:.2f})" for each, value in check.reasons.items())
    where = f"{check.seconds:.3f} s" + (f", {escape(check.timecode)}" if check.timecode else "")
    return f"<figure><div>{images}</div><figcaption><b>frame {check.frame}</b> ({where}): {reasons}</figcaption></figure>"


def _curve(shot: ShotReport, column: str, title: str) -> str:
    """One measure over time: a point for each pixel at most, the highest and the lowest of what falls on it; frames to check are marked."""
    values = shot.values[column]
    most = max([*values, 1e-6])
    across, down = _WIDTH / max(1, len(values) - 1), (_HEIGHT - 8) / most

    def point(index: int) -> str:
        return f"{index * across:.1f},{_HEIGHT - 4 - values[index] * down:.1f}"

    step = max(1, len(values) // _WIDTH)
    points = []
    for begin in range(0, len(values), step):
        part = range(begin, min(begin + step, len(values)))
        points += sorted({min(part, key=values.__getitem__), max(part, key=values.__getitem__)})
    marks = "".join(f'<line x1="{check.frame * across:.1f}" x2="{check.frame * across:.1f}" y2="{_HEIGHT}" stroke="#f0b86e" stroke-opacity=".5"/>' for check in shot.checks)
    line = f'<polyline points="{" ".join(map(point, points))}" fill="none" stroke="#8ab4f8" stroke-width="1.2"/>'
    return (
        f'<div class="curve"><b>{escape(title)}; up to {most:.3g}</b>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">{marks}{line}</svg></div>'
    )


def _csv(shots: Sequence[ShotReport]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shot", "frame", "seconds", *COLUMNS, "cut", "check"])
    for shot in shots:
        checks = {check.frame: "; ".join(check.reasons) for check in shot.checks}
        cuts = set(shot.cuts)
        for index, seconds in enumerate(shot.seconds):
            writer.writerow([shot.name, index, seconds, *(shot.values[column][index] for column in COLUMNS), int(index in cuts), checks.get(index, "")])
    return text.getvalue()
