# ruff: noqa: INP001 - scripts are no package
"""One network on all threads, or several side by side with a thread each: what would a file's mattes gain from the latter?

    python benchmarks/speed/side_by_side.py                              # as many as there are cores
    taskset -c 1 python benchmarks/speed/side_by_side.py --networks 2     # on one core

Each round asks both ways for the same images, in this process. Printed are medians over the rounds: CPU time and wall time per image, and the CPU
time's ratio to one network, with the smallest and the largest, since other programs reach both ways alike.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from streammat.bench.machine import peak_memory
from streammat.engines.base import Engine, usable_cores
from streammat.engines.choice import open_engine
from streammat.models.library import find_model

SIZE = (256, 480)
"""(height, width) of the network's input at 720p."""


def spent(engines: list[Engine], images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return CPU and wall milliseconds per image; each engine has a thread that gives it its share of the images."""

    def work(engine: Engine, mine: NDArray[np.uint8]) -> None:
        for image in mine:
            engine.infer(image[None])

    threads = [threading.Thread(target=work, args=(engine, images[number :: len(engines)])) for number, engine in enumerate(engines)]
    cpu, wall = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - cpu) * 1000 / len(images), (time.perf_counter() - wall) * 1000 / len(images)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One network on all threads, or several side by side")
    parser.add_argument("--networks", type=int, default=usable_cores())
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=24, help="to a round")
    options = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (options.images, *SIZE, 3), np.uint8)
    model = find_model("lite")
    print("| | CPU ms | ratio | wall ms | MB more |\n|---|---|---|---|---|")
    for name in (each for each in ("openvino", "onnxruntime") if find_spec(each)):
        open_engine(model, name, options.precision, SIZE, 1).close()  # loads the library, whose memory is not the networks'
        ways: list[tuple[str, list[Engine], float]] = []
        for label, count, threads in (("one", 1, options.networks), (f"{options.networks} side by side", options.networks, 1)):
            before = peak_memory()
            engines = [open_engine(model, name, options.precision, SIZE, threads) for _ in range(count)]
            spent(engines, images)
            ways.append((label, engines, (peak_memory() - before) / 1e6))
        rounds = [[spent(engines, images) for _, engines, _ in ways] for _ in range(options.rounds)]
        for index, (label, _, more) in enumerate(ways):
            ratios = [each[index][0] / each[0][0] for each in rounds]
            cpu, wall = (statistics.median(each[index][which] for each in rounds) for which in (0, 1))
            print(f"| {name}, {label} | {cpu:.1f} | {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f}) | {wall:.1f} | {more:.0f} |")


if __name__ == "__main__":
    main()
