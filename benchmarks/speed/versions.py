# ruff: noqa: INP001 - scripts are no package
"""CPU time and wall time of one command in several checkouts, in turn: what a change of the whole tree costs.

    git worktree add ../before 72c515c
    git worktree add ../moved f96bafc
    python benchmarks/speed/versions.py ../before ../moved . -- video examples/portrait.mp4 {out} -y --quiet --threads 1

Each round runs the command once in each checkout, in a fresh process that imports that checkout alone, and counts user and system time
of the process and its children. Every round begins with another one. Given are medians, and the median of the rounds' ratios to the first, with
the smallest and the largest: other programs on the machine reach all of them alike. Wall time tells little while these keep every core busy.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="CPU time and wall time of one command in several checkouts.")
    parser.add_argument("checkouts", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    own, command = sys.argv[1:], []
    if "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    if not command:
        parser.error("give the command of streammat behind --")
    spent: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in options.checkouts}
    with tempfile.TemporaryDirectory() as folder:
        # The first of each is warming up: files get into the system's cache.
        for turn in range(-1, options.rounds):
            shift = turn % len(options.checkouts)
            for checkout in options.checkouts[shift:] + options.checkouts[:shift]:
                seconds = _run(checkout.resolve(), [text.format(out=f"{folder}/out.mp4") for text in command])
                if turn >= 0:
                    spent[checkout].append(seconds)
    first = spent[options.checkouts[0]]
    for checkout, each in spent.items():
        told = []
        for index, name in enumerate(("CPU", "wall")):
            ratios = [mine[index] / base[index] for mine, base in zip(each, first, strict=True)]
            told.append(f"{statistics.median(one[index] for one in each):.2f} {name} s, ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
        print(f"{checkout}: {'; '.join(told)}")


def _run(checkout: Path, command: list[str]) -> tuple[float, float]:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # A checkout's own folder comes before what is installed; its links make streammat.engines of its engines/.
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    arguments = [sys.executable, "-m", "streammat", *command]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        sys.exit(f"{checkout}: ended with {done.returncode}: {done.stderr.strip()}")
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    main()
