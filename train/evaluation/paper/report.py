"""The report on an evaluation: a Markdown table of our figures, beside published ones if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streammat.train.evaluation.paper.published import PaperRow, compared, difference

DECIMALS = {
    "SAD": 2,
    "MSE": 4,
    "MAD": 4,
    "Grad": 2,
    "Conn": 2,
    "SAD-TRAN": 2,
    "SAD-FG": 2,
    "SAD-BG": 2,
    "IoU": 4,
    "dtSSD": 4,
    "MESSDdt": 5,
    "Speed_s": 4,
}
"""Metrics in the order of the paper's tables, with their numbers of decimals."""
HEADINGS = {"Speed_s": "seconds"}
"""Headings of columns that differ from the metric's name."""
DIFFERENCE = "ours - paper"
"""Label of the row of differences after a published row with the same test strategy."""


@dataclass(frozen=True)
class Facts:
    """Facts about an evaluation."""

    models: tuple[str, ...]
    """Files of the models."""
    data: str
    """Folder of the data set and split."""
    images: int
    of: int
    """Number of images of the whole split; more than ``images`` if there was a limit."""
    made_trimaps: int
    """Number of images whose trimap was made from the truth, because the set has none."""
    seconds: float
    """Mean time for an image's mattes, in seconds."""
    device: str
    """The hardware's name."""


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return figures as a Markdown table.

    Args:
        rows: metrics by name, by the label in the first column; metrics that no row has get no column. Figures of rows whose
            label begins with `DIFFERENCE` have a sign.

    Returns:
        Lines, without a newline at the end; a missing figure is ``-``.
    """
    names = [name for name in DECIMALS if any(name in metrics for metrics in rows.values())]
    lines = [["", *(HEADINGS.get(name, name) for name in names)], ["---", *("---:" for _ in names)]]
    for label, metrics in rows.items():
        sign = "+" if label.startswith(DIFFERENCE) else ""
        lines.append([label, *(f"{metrics[name]:{sign}.{DECIMALS[name]}f}" if name in metrics else "-" for name in names)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def markdown(
    facts: Facts,
    averages: Mapping[str, Mapping[str, float]],
    videos: Mapping[str, Mapping[str, Mapping[str, float]]],
    row: str | None,
    published: Sequence[PaperRow],
) -> str:
    """Return the whole report.

    Args:
        facts: facts about the evaluation.
        averages: means over images, by test strategy.
        videos: video metrics of each clip, by test strategy; may be empty.
        row: name by which published figures were searched; None: not searched.
        published: rows that were found.

    Returns:
        Markdown, with a newline at the end.
    """
    timed = any("Speed_s" in entry.metrics for entry in published)
    rows: dict[str, Mapping[str, float]] = {f"ours, {label}": {**metrics, **({"Speed_s": facts.seconds} if timed else {})} for label, metrics in averages.items()}
    notes = [f"{row_}: {row_.note}" for row_ in published if row_.note]
    notes += [f"seconds are of an image's matte: ours on {facts.device}, the paper's on its own GPU."] if timed else []
    for entry in published:
        rows[_unused(str(entry), rows)] = entry.metrics
        for label, metrics in averages.items():
            if compared(label, entry) and (gap := difference(metrics, entry.metrics)):
                which = f", {label}" if len(averages) > 1 else ""
                rows[_unused(f"{DIFFERENCE}{which}", rows)] = gap
    part = "" if facts.images == facts.of else f" of {facts.of}: not the whole set"
    lines = [
        "# Evaluation",
        "",
        f"- model: {', '.join(facts.models)}",
        f"- data: {facts.data}, {facts.images} images{part}",
        f"- trimaps: {_trimaps(facts)}",
        f"- time: {facts.seconds:.2f} s for the matte of an image, on {facts.device}",
        "",
        table(rows),
        "",
        "Means over images; SAD and its parts, and Conn, in thousands.",
    ]
    if row is not None and not published:
        lines += ["", f"No published figures for {row} are at hand: there is nothing to compare ours with."]
    elif published:
        sources = dict.fromkeys(entry.source for entry in published)
        lines += ["", "Published figures hold for the set and track they name, from:", *(f"- {source}" for source in sources)]
    if notes:
        lines += ["", "Before comparing:", *(f"- {note}" for note in notes)]
    for label, clips in videos.items():
        lines += ["", f"## Clips, {label}", "", table(clips)]
    return "\n".join(lines) + "\n"


def _trimaps(facts: Facts) -> str:
    if not facts.made_trimaps:
        return "those of the data set"
    which = "all" if facts.made_trimaps == facts.images else f"{facts.made_trimaps} of {facts.images}"
    return f"{which} made from the truth (kernel 25), because the data set has none; SAD-TRAN, SAD-FG and SAD-BG depend on them"


def _unused(label: str, rows: Mapping[str, object]) -> str:
    """Return ``label``, with a number if it is taken."""
    number = 2
    unused = label
    while unused in rows:
        unused, number = f"{label} ({number})", number + 1
    return unused
