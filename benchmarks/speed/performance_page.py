# ruff: noqa: INP001 - scripts are no package
"""Put what ``benchmarks/speed/goals.py`` measured into docs/performance.md, and draw docs/budget.svg.

    python benchmarks/speed/goals.py examples/portrait.mp4 --out goals.json
    python benchmarks/speed/performance_page.py goals.json

What stands between two markers ``<!-- NAME -->`` and ``<!-- end of NAME -->`` is replaced: ``goals``, ``budget`` and ``cores``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
PARTS = {"decode", "network", "encode"}
"""Stages that anybody would need."""
COLOURS = {
    "decode": "#7a8794", "network input": "#e0a458", "network": "#4f7cac", "filter over time": "#c8553d", "refine": "#8f6fb0", "composite": "#5b9279",
    "encode": "#a5b0ba",
}
NAMES = {"640x480": "480p", "1280x720": "720p", "1920x1080": "1080p", "3840x2160": "4K"}
CORES = (1, 2, 4, 8, 16, 64)
Json = dict[str, Any]


def conditions(document: Json) -> str:
    """Return where and how it was measured, in one paragraph."""
    hardware, busy = document["hardware"], document["others_cores"] or 0.0
    libraries = ", ".join(f"{name} {hardware['libraries'][name]}" for name in ("av", "opencv-python", "onnxruntime", "openvino") if name in hardware["libraries"])
    return (
        f"{hardware['cpu']}, {hardware['cores']} cores, Python {hardware['python']}, {libraries}; {document['begun'][:10]}; {document['clip']}, "
        f"{document['rounds']} rounds of {document['frames']} frames, int8; medians, in brackets the smallest and the largest. "
        + (f"**Other programs kept {busy:.1f} cores busy: only ratios mean something.**" if busy > 0.2 else f"Other programs used {busy:.1f} of a core.")
    )


def goals(document: Json) -> Iterator[str]:
    """Yield the goals and what was reached."""
    yield conditions(document)
    yield ""
    yield "| | goal | measured | |"
    yield "|---|---|---|---|"
    for line in document["goals"]:
        digits = 2 if line["median"] < 10 else 1
        told = "met" if line["met"] else f"missed by {100 * line['missed_by']:.0f} %"
        value = f"{line['median']:.{digits}f} ({line['min']:.{digits}f}..{line['max']:.{digits}f})"
        yield f"| {line['goal']} | {line['wanted']} | {value} | {told} |"


def budget(document: Json) -> Iterator[str]:
    """Yield the table of CPU time by stage."""
    if note := document.get("stages_note"):
        yield from (note, "")
    columns = [(engine, size) for engine, sizes in document["stages"].items() for size in sizes]
    yield "| CPU ms per frame | " + " | ".join(f"{NAMES[size]}, {engine}" for engine, size in columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for stage in COLOURS:
        yield f"| {stage} | " + " | ".join(f"{document['stages'][engine][size][stage]:.1f}" for engine, size in columns) + " |"
    yield "| all | " + " | ".join(f"{document['stages'][engine][size]['all']:.1f}" for engine, size in columns) + " |"
    yield "| all over decode, network and encode | " + " | ".join(f"{_over(document['stages'][engine][size]):.2f}" for engine, size in columns) + " |"


def _over(stages: Json) -> float:
    return float(stages["all"] / sum(stages[name] for name in PARTS))


def frames_per_second(stages: Json, cores: int) -> tuple[float, str]:
    """The model of `docs/performance.md`: frames per second on so many cores, and what holds them.

    Args:
        stages: CPU milliseconds by stage, on one core.
        cores: of the machine.
    """
    threads = min(8, cores if cores <= 4 else max(4, cores // 2))
    codec = min(16, cores)
    times = {
        "all cores": stages["all"] / cores,
        "the thread of the network's input": stages["network input"],
        "the network": stages["network"] / threads,
        "the thread of the refinement": stages["filter over time"] + stages["refine"],
        "the thread of the composite": stages["composite"],
        "the encoder": stages["encode"] / codec,
        "the decoder": stages["decode"] / max(1, codec // 2),
    }
    holds = max(times, key=lambda name: times[name])
    return 1000 / times[holds], holds


def cores(document: Json) -> Iterator[str]:
    """Yield what the model says, and what was measured."""
    engine, sizes = next(iter(document["stages"].items()))
    figures = document["figures"]
    yield f"| frames per second, {engine} | " + " | ".join(f"{count} core{'s' if count > 1 else ''}" for count in CORES) + " |"
    yield "|---|" + "---|" * len(CORES)
    for size, stages in sizes.items():
        yield f"| {NAMES[size]}, model | " + " | ".join(f"{frames_per_second(stages, count)[0]:.0f}" for count in CORES) + " |"
        name = f"frames per second, {NAMES[size]}, {engine}"
        measured = {1: figures.get(f"{name}, one core"), document["hardware"]["cores"]: figures.get(name)}
        if any(measured.values()):
            yield f"| {NAMES[size]}, measured | " + " | ".join(f"{found['median']:.0f}" if (found := measured.get(count)) else "" for count in CORES) + " |"
    yield ""
    held = [f"{NAMES[size]} on 16: {frames_per_second(stages, 16)[1]}" for size, stages in sizes.items()]
    yield f"What holds the frames: {'; '.join(held)}."
    for size in ("720p", "1080p"):
        name = f"{size}, {engine}"
        single = [figures.get(f"{kind}, {name}, network on one thread") for kind in ("frames per second", "whole CPU ms")]
        usual = [figures.get(f"{kind}, {name}") for kind in ("frames per second", "whole CPU ms")]
        if all(single) and all(usual):
            yield (
                f"{size} with the network on one thread (`--threads 1`): {single[0]['median']:.1f} frames per second and {single[1]['median']:.1f} CPU ms a frame; "
                f"with {document['hardware']['cores']}: {usual[0]['median']:.1f} and {usual[1]['median']:.1f}."
            )


def chart(document: Json) -> str:
    """Return the drawing: a bar for each size and engine, a piece for each stage."""
    bars = [(engine, size) for size in NAMES for engine, sizes in document["stages"].items() if size in sizes]
    widest = max(document["stages"][engine][size]["all"] for engine, size in bars if size != "3840x2160")
    left, scale, tall, gap = 150, 560 / widest, 18, 6
    lines, y = [], 34
    x = 10
    for stage, colour in COLOURS.items():
        lines.append(f'<rect x="{x}" y="6" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="15">{stage}</text>')
        x += 30 + 6.4 * len(stage)
    for engine, size in bars:
        if size == "3840x2160":  # four times as long: its proportions alone
            continue
        spent, x = document["stages"][engine][size], float(left)
        lines.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{NAMES[size]}, {engine}</text>')
        for stage, colour in COLOURS.items():
            wide = spent[stage] * scale
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{tall}" fill="{colour}"><title>{stage}: {spent[stage]:.2f} ms</title></rect>')
            x += wide
        lines.append(f'<text x="{x + 5:.1f}" y="{y + 13}">{spent["all"]:.1f} ms</text>')
        y += tall + gap
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="790" height="{y + 6}" viewBox="0 0 790 {y + 6}" font-family="sans-serif" font-size="12">'
    title = "<title>CPU time of one frame by stage, in milliseconds</title>"
    return "\n".join([head, title, f'<rect width="790" height="{y + 6}" fill="#ffffff"/>', *lines, "</svg>", ""])


def replaced(page: str, name: str, lines: Iterator[str]) -> str:
    """Return the page with new lines between the markers of ``name``; SystemExit where they are not there."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"the page has no place for {name}; expected a line {begin!r} and after it a line {end!r}")
    return "\n".join([before + begin, *lines, end]) + after


def main() -> None:
    """Read, replace, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path, metavar="goals.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of performance.md and budget.svg")
    arguments = parser.parse_args()
    try:
        document: Json = json.loads(arguments.document.read_text(encoding="utf-8"))
        known = document["schema"] == "streammat-goals"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{arguments.document}: is no document of benchmarks/speed/goals.py --out ({error})") from error
    if not known:
        raise SystemExit(f"{arguments.document}: is {document['schema']}; expected streammat-goals, as benchmarks/speed/goals.py --out writes it")
    page = arguments.docs / "performance.md"
    text = page.read_text(encoding="utf-8")
    for name, lines in (("goals", goals(document)), ("budget", budget(document)), ("cores", cores(document))):
        text = replaced(text, name, lines)
    page.write_text(text, encoding="utf-8")
    (arguments.docs / "budget.svg").write_text(chart(document), encoding="utf-8")
    sys.stdout.write(f"{page}: goals, budget and cores; {arguments.docs / 'budget.svg'}\n")


if __name__ == "__main__":
    main()
