"""The report as files: one page that needs no network, and the numbers as CSV and JSON beside it."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, UsageError, first_line
from streammat.report.collect import Check, ShotReport
from streammat.report.curves import CURVES, check_plots, curves_of
from streammat.report.measures import COLUMNS

_STYLE: Final = """
:root { color-scheme: dark; }
body { margin: 0 auto; max-width: 1000px; padding: 1.5rem; background: #16181c; color: #d8dbe0; font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .4rem; border-top: 1px solid #333842; padding-top: 1.2rem; }
p { margin: .3rem 0; color: #9aa1ad; } a { color: #8ab4f8; }
.strip { display: flex; gap: 2px; margin: .6rem 0; } .strip img { flex: 1 1 0; min-width: 0; object-fit: cover; }
.curves { width: 100%; display: block; margin: .6rem 0; }
.checks { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 14px; }
figure { margin: 0; background: #1f2228; padding: 8px; border-radius: 4px; } figure div { display: flex; gap: 2px; }
figure img { flex: 1 1 0; min-width: 0; } figcaption { margin-top: 6px; } figcaption b { color: #f0b86e; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; font-variant-numeric: tabular-nums; }
"""


def beside(path: Path) -> tuple[Path, Path]:
    """Return the paths of a page's CSV and JSON files."""
    return path.with_suffix(".csv"), path.with_suffix(".json")


def check_report(path: str, *, overwrite: bool) -> None:
    """Refuse an unusable name for a page.

    Raises:
        UsageError: it does not end in .html, one of its files exists and is not to be replaced, or the package that draws its
            curves is not installed.
    """
    check_plots()
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {path}: is a page; expected a name that ends in .html")
    for each in (page, *beside(page)):
        if os.path.lexists(each) and not overwrite:
            raise UsageError(f"{each}: is there already; give -y to replace it")


def write_report(path: Path, shots: Sequence[ShotReport], *, overwrite: bool, missing: Sequence[str] = ()) -> None:
    """Write the page, and CSV and JSON beside it.

    Args:
        path: path of the page.
        shots: reports in the order of the page.
        overwrite: replace existing files.
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
        raise OutputError(f"{path}: the report cannot be written ({first_line(error)}); check space and permissions") from error


def read_reports(path: Path) -> list[ShotReport]:
    """Read the shots from a report's JSON file.

    Raises:
        OSError, ValueError, KeyError, TypeError: the file is not such a report.
    """
    return [ShotReport.of(shot) for shot in json.loads(path.read_bytes())["shots"]]


def page_of(shots: Sequence[ShotReport], missing: Sequence[str] = ()) -> str:
    """Return the page as HTML."""
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
    strip = "".join(
        f'<img src="data:image/jpeg;base64,{image}" title="frame {shot.frames[index]}" alt="frame {shot.frames[index]}">' for index, image in shot.strip
    )
    checks = "".join(map(_check, shot.checks)) or "<p>Nothing stands out.</p>"
    length = f"{len(shot.seconds)} frames, {shot.rate:.6g} fps"
    return (
        f'<h2 id="{escape(shot.name, quote=True)}">{escape(shot.name)}</h2><p>{length}</p><div class="strip">{strip}</div>'
        f'<img class="curves" src="data:image/svg+xml;base64,{base64.b64encode(curves_of(shot)).decode()}" alt="{escape(", ".join(CURVES.values()))}">'
        f'<div class="checks">{checks}</div>'
    )


def _check(check: Check) -> str:
    images = "".join(f'<img src="data:image/jpeg;base64,{check.images[kind]}" alt="{kind}" title="{kind}">' for kind in ("before", "matte", "checkerboard"))
    reasons = ", ".join(f"{escape(each)} ({value:.2f})" for each, value in check.reasons.items())
    where = f"{check.seconds:.3f} s" + (f", {escape(check.timecode)}" if check.timecode else "")
    return f"<figure><div>{images}</div><figcaption><b>frame {check.frame}</b> ({where}): {reasons}</figcaption></figure>"


def _csv(shots: Sequence[ShotReport]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shot", "frame", "seconds", *COLUMNS, "cut", "check"])
    for shot in shots:
        checks = {check.index: "; ".join(check.reasons) for check in shot.checks}
        cuts = set(shot.cuts)
        for index, seconds in enumerate(shot.seconds):
            writer.writerow([shot.name, shot.frames[index], seconds, *(shot.values[column][index] for column in COLUMNS), int(index in cuts), checks.get(index, "")])
    return text.getvalue()
