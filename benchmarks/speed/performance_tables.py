# ruff: noqa: INP001 - scripts are no package
"""Remake the tables of docs/performance.md from what ``streammat bench --out`` wrote.

    streammat bench examples/portrait.mp4 --engine all --size 640x480 --size 1280x720 --size 1920x1080 --out lite.json
    python benchmarks/speed/performance_tables.py lite.json [more.json …] [--page docs/performance.md]

What stands between the page's two markers is replaced; every file given gets a section, in their order.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from streammat.bench.report import SCHEMA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: made by benchmarks/speed/performance_tables.py -->", "<!-- end of tables -->"
Json = dict[str, Any]


def section(document: Json) -> Iterator[str]:
    """The lines of one run."""
    hardware, options = document["hardware"], document["options"]
    where = ", ".join([hardware["cpu"], f"{hardware['cores']} cores", *hardware["gpus"]])
    libraries = ", ".join(f"{name} {version}" for name, version in hardware["libraries"].items())
    yield f"### {options['matting']['model']} on {where}"
    yield ""
    clip = Path(options["clip"]).name if options["clip"] else "a drawn scene"
    yield (
        f"{hardware['os'].partition('-')[0]} {hardware['machine']}, Python {hardware['python']}, streammat {document['streammat']}, {libraries}. Measured on {clip}: {options['rounds']} rounds of "
        f"{options['frames']} frames, quality {options['matting']['quality']}, background {options['background']}; medians, in brackets the smallest "
        "and the largest round. Ratios are times per image over those of the fastest engine, round by round."
    )
    yield ""
    for warning in document["warnings"]:
        yield f"**Warning:** {warning}."
        yield ""
    for size in document["sizes"]:
        yield from tables(size)
    if document["not_run"]:
        yield "Not run:"
        yield ""
        for entry in document["not_run"]:
            what = " ".join(part for part in (entry["engine"], entry["precision"], entry["device"]) if part)
            at = f" at {entry['size']['width']}x{entry['size']['height']}" if entry["size"] else ""
            yield f"- {what}{at}: {entry['reason']}"
        yield ""


def tables(size: Json) -> Iterator[str]:
    """The tables of one size of the frame."""
    frame, *networks = (f"{sides['width']}x{sides['height']}" for sides in (size["size"], *size["network_sizes"]))
    yield f"**{frame}**, network {' and '.join(networks)}"
    yield ""
    header = ["network alone", "ms p50", "ms p99", "fps", "CPU ms", "ratio", "alpha apart from fp32: mean", "max"]
    rows = []
    for engine in size["engines"]:
        for row in engine["network"]:
            name = named(engine) + (f", batch {row['batch']}" if len(engine["network"]) > 1 else "")
            apart = ["-", "-"] if engine["difference_mean"] is None else [f"{engine['difference_mean']:.5f}", f"{engine['difference_max']:.3f}"]
            line = [name, wide(row["p50_ms"], 2), mid(row["p99_ms"], 2), mid(row["fps"], 1), mid(row["cpu_ms"], 1), mid(row["ratio"], 2), *apart]
            rows.append(line)
    yield from table(header, rows)
    rows = [
        [
            named(engine), wide(whole["fps"], 1), mid(whole["cpu_ms"], 1), mid(whole["ratio"], 2),
            mid(whole["overhead"], 2) if whole["overhead"] else "-", megabytes(whole["memory_bytes"]), megabytes(engine["memory_bytes"]),
            mid(engine["start_up_s"], 2),
        ]
        for engine in size["engines"] if (whole := engine["file"])
    ]
    yield from table(["file to file", "fps", "CPU ms", "ratio", "CPU over its parts'", "MB", "MB, network alone", "start-up s"], rows)
    if codec := size["codec"]:
        yield f"Decoding alone takes {mid(codec['decode_cpu_ms'], 1)} CPU ms per frame, encoding alone {mid(codec['encode_cpu_ms'], 1)}."
        yield ""
    rows, rate = [], 0.0
    for kind in ("live", "flooded"):
        for engine in size["engines"]:
            if live := engine[kind]:
                rate = live["camera_fps"]
                alone = next((mid(row["cpu_ms"], 1) for row in engine["network"] if row["batch"] == 1), "-")
                rows.append([
                    named(engine), f"{rate:g}", wide(live["fps"], 1), mid(live["p50_ms"], 1), mid(live["p99_ms"], 1), percent(live["within_33_ms"]),
                    f"{mid(live['dropped'], 0)} of {mid(live['captured'], 0)}", mid(live["cpu_ms"], 1), alone, megabytes(live["memory_bytes"]),
                ])
    header = ["live", "camera fps", "fps shown", "latency ms p50", "p99", "within 33 ms", "dropped", "CPU ms", "CPU ms of the network alone", "MB"]
    yield from table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table; nothing where there are no rows."""
    if rows:
        yield f"| {' | '.join(header)} |"
        yield f"|{'---|' * len(header)}"
        for row in rows:
            yield f"| {' | '.join(row)} |"
        yield ""


def named(engine: Json) -> str:
    """An engine in one word or three."""
    return f"{engine['engine']} {engine['precision']} {engine['device']}"


def mid(value: Json, digits: int) -> str:
    """The median."""
    return f"{value['median']:.{digits}f}"


def wide(value: Json, digits: int) -> str:
    """The median and the extremes."""
    return f"{mid(value, digits)} ({value['min']:.{digits}f}..{value['max']:.{digits}f})"


def percent(value: Json | None) -> str:
    """A share."""
    return "-" if value is None else f"{100 * value['median']:.1f} %"


def megabytes(value: Json) -> str:
    """Bytes in millions."""
    return f"{value['median'] / 1e6:.0f}"


def read(path: Path) -> Json:
    """A document; SystemExit with one line where it is none."""
    try:
        document: Json = json.loads(path.read_text(encoding="utf-8"))
        found = (document["schema"], document["schema_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: is no document of `streammat bench --out` ({error})") from error
    if found != ("streammat-bench", SCHEMA):
        raise SystemExit(f"{path}: is {found[0]} version {found[1]}; expected streammat-bench version {SCHEMA}; measure again")
    return document


def main() -> None:
    """Read, replace, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("documents", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    lines = [line for path in arguments.documents for line in section(read(path))]
    text = arguments.page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{arguments.page}: has no place for tables; expected a line {BEGIN!r} and after it a line {END!r}")
    arguments.page.write_text("\n".join([before + BEGIN, "", *lines, END]) + after, encoding="utf-8")
    sys.stdout.write(f"{arguments.page}: {len(arguments.documents)} sections\n")


if __name__ == "__main__":
    main()
