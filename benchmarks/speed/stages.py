# ruff: noqa: INP001 - scripts are no package
"""Measures where the CPU time of ``streammat video`` goes: H.264 to H.264 (veryfast) on green, stage by stage.

Every frame goes through all stages in this thread, and the process's CPU clock (user and system, every thread counted) is read
between them, so what other programs do on the machine matters little. What the threads of a real run add (hand-over, waking,
caches) is not in it; ``streammat bench`` measures the whole. Run it on one core, so that codecs take one thread each:

    taskset -c 1 python benchmarks/speed/stages.py examples/portrait.mp4
    taskset -c 1 python benchmarks/speed/stages.py clip.mp4 --size 1920x1080 --engine onnxruntime --frames 60 --rounds 5 --json

Two versions are compared by running it from each in turn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.bench.clip import clip_images, rate_of, write_clip
from streammat.compositing.backgrounds import open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.config import EncodeOptions, MattingOptions
from streammat.engines.base import Engine, EngineSpec
from streammat.matting.matting import HostMatting
from streammat.matting.network import open_network
from streammat.matting.refine import Refiner
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Frame
from streammat.models.library import find_model
from streammat.sinks.file import FileSink
from streammat.sources.file import FileSource

STAGES = ("decode", "network input", "network", "filter over time", "refine", "composite", "encode")


class Clock:
    """CPU seconds of the process by stage; what is measured inside another stage is taken from that one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._last = time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside."""
        self._pass()
        self._open.append(name)
        try:
            yield
        finally:
            self._pass()
            self._open.pop()

    def _pass(self) -> None:
        now = time.process_time()
        if self._open:
            self.spent[self._open[-1]] += now - self._last
        self._last = now


class TimedEngine:
    """An engine whose calls are counted as ``network``."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    @property
    def spec(self) -> EngineSpec:
        """The spec of the engine."""
        return self._engine.spec

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `engines.base.Engine.infer`."""
        with self._clock.stage("network"):
            return self._engine.infer(rgb)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()


def run(clip: str, target: str, engine: Engine, background: str) -> dict[str, float]:
    """CPU milliseconds per frame of each stage, over all frames of ``clip``."""
    clock = Clock()
    stable = SteadyFilter()

    def filtered(alpha: NDArray[np.float32], rgb: NDArray[np.uint8], at: Fraction) -> NDArray[np.float32]:
        with clock.stage("filter over time"):
            return stable(alpha, rgb, at)

    matting, refine = HostMatting(TimedEngine(engine, clock), filtered), Refiner()
    reader = FileSource(clip, audio=False)
    compositor = Compositor(["composite"], open_background(parse_background(background)), decontaminate=True, alpha="straight")
    sink = FileSink(target, reader.info, "composite", EncodeOptions(overwrite=True), tracks=False)
    items = iter(reader)
    while True:
        with clock.stage("decode"):
            frame = next(items, None)
        if frame is None:
            break
        assert isinstance(frame, Frame)
        with clock.stage("network input"):
            alpha = matting.infer(frame)
        with clock.stage("refine"):
            matte = refine(alpha, frame)
        with clock.stage("composite"):
            (picture,) = compositor(frame, matte)
        with clock.stage("encode"):
            sink.write(picture, matte)
    with clock.stage("encode"):
        sink.close()
    reader.close()
    return {name: clock.spent[name] * 1000 / sink.frames for name in STAGES}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", help="a scene is drawn without one")
    parser.add_argument("--size", action="append", help="such as 1280x720; may be given several times")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bg", default="green")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for text in options.size or ["1280x720", "1920x1080"]:
            width, height = map(int, text.split("x"))
            clip = Path(folder) / "in.mp4"
            write_clip(clip, clip_images(options.clip, (height, width)), (height, width), options.frames, rate_of(options.clip))
            matting = MattingOptions(engine=options.engine, precision=options.precision, threads=1)
            engine = open_network(find_model(matting.model), (height, width), 0, matting)
            rounds = [run(str(clip), str(Path(folder) / "out.mp4"), engine, options.bg) for _ in range(options.rounds + 1)][1:]
            engine.close()
            found[text] = {name: round(median(each[name] for each in rounds), 3) for name in STAGES}
            found[text]["all"] = round(sum(found[text].values()), 3)
            if not options.json:
                print(f"{text}, {engine.spec.backend} {engine.spec.precision}: " + ", ".join(f"{n} {v:.2f}" for n, v in found[text].items()))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
