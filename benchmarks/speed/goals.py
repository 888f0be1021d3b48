# ruff: noqa: INP001 - scripts are no package
"""The speed goals of this project, each measured in one run: file to file, live, memory, start-up, and where the CPU time goes.

    python benchmarks/speed/goals.py examples/portrait.mp4 --out goals.json      # 5 rounds, about 7 minutes on two cores of 2024
    python benchmarks/speed/performance_page.py goals.json                       # puts them, and the chart, into docs/performance.md

Nothing else should run on the machine meanwhile. Every figure is taken in a process of its own, round by round; medians count. CPU time is user and
system time of all threads. What is measured:

* overhead: CPU time of a whole job, H.264 to H.264 (veryfast) on green, over that of decoding, the network and encoding, each
  alone, in the same round. Opening is in none of them. ``10-bit 4:2:2`` is the same with such a clip, which stays one.
* live CPU: per frame shown, a file at 30 frames per second as the camera, the filter over time, guard and rest as by default, into an output that
  throws away.
* memory: peak of resident memory of the whole process, Python and libraries included.
* start-up: from the start of Python to the first composite, files in the system's cache.
* one core, and the network on one thread: the whole job so, for the model of more cores in docs/performance.md.
* stages: benchmarks/speed/stages.py on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

FRAMES = 80
LIVE_RATE = 30
LIVE_SECONDS = 3.0
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "720p 10-bit 4:2:2": (720, 1280)}
"""(height, width) by name."""
STAGE_SIZES = ("640x480", "1280x720", "1920x1080", "3840x2160")
GOALS: tuple[tuple[str, str, float], ...] = (
    *((f"overhead, {size}, {engine}", "at most", 1.2) for size in ("720p", "1080p") for engine in ("openvino", "onnxruntime")),
    *((f"overhead, 720p 10-bit 4:2:2, {engine}", "at most", 1.3) for engine in ("openvino", "onnxruntime")),
    ("frames per second, 720p, openvino", "at least", 100.0),
    ("frames per second, 1080p, openvino", "at least", 65.0),
    *((f"live CPU ms per frame, 720p, {engine}", "at most", 12.0) for engine in ("openvino", "onnxruntime")),
    *((f"memory MB, 1080p, {engine}", "at most", 400.0) for engine in ("openvino", "onnxruntime")),
    ("start-up s, 720p, onnxruntime", "at most", 0.4),
)
"""What is measured, which side of the goal is good, the goal."""
Json = dict[str, Any]


def whole(clip: str, target: str, engine: str, begun: float, threads: int) -> Json:
    """Run one job in this process.

    Args:
        clip: H.264.
        target: file to write.
        engine: runs in int8.
        begun: when this process was started, in seconds of ``time.monotonic``.
        threads: of the network; 0: as by default.

    Returns:
        ``cpu_ms`` and ``fps`` without opening, ``memory_bytes`` and ``start_up_s``.
    """
    from streammat.bench.machine import peak_memory
    from streammat.config import CompositeOptions, EncodeOptions, MattingOptions, VideoOptions
    from streammat.jobs.video import VideoJob

    options = VideoOptions(MattingOptions(engine=engine, precision="int8", threads=threads), CompositeOptions("green"), EncodeOptions(overwrite=True))
    job = VideoJob(clip, target, options)
    drawn: list[float] = []
    compositor: Callable[..., Any] = job.pipeline._compositor  # noqa: SLF001 - nobody else is told of the first frame

    def timed(*given: Any) -> Any:
        images = compositor(*given)
        if not drawn:
            drawn.append(time.monotonic())
        return images

    job.pipeline._compositor = timed  # noqa: SLF001
    cpu, wall = time.process_time(), time.perf_counter()
    frames = job.run().frames_out
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_ms": cpu * 1000 / frames, "fps": frames / wall, "memory_bytes": peak_memory(), "start_up_s": drawn[0] - begun}


def measure(folder: Path, engines: Sequence[str], rounds: int, tell: Callable[[str], None]) -> list[Json]:
    """Measure every round; each is a dictionary of figures by the names of `GOALS`, and of what they are made of."""
    from dataclasses import asdict

    from streammat.bench.child_runner import ChildRunner
    from streammat.config import MattingOptions

    ask, found = ChildRunner().ask, []
    for size, shape in SIZES.items():
        if "10-bit" not in size:
            matting = asdict(MattingOptions())
            (folder / size).mkdir()
            ask("pictures", clip=str(folder / f"{size}.mp4"), frames=FRAMES, matting=matting, size=shape, folder=str(folder / size))
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        figures: Json = {}
        order = [*engines[turn % len(engines) :], *engines[: turn % len(engines)]]
        for size, shape in SIZES.items():
            clip, target = str(folder / f"{size}.mp4"), str(folder / "out.mp4")
            codec = ask("codec", clip=clip, target=target)
            figures |= {f"{kind} CPU ms, {size}": codec[kind]["cpu_ms"] for kind in ("decode", "encode")}
            for engine in order:
                matting = asdict(MattingOptions(engine=engine, precision="int8"))  # type: ignore[arg-type]
                network, seen = f"network CPU ms, {size}, {engine}", folder / size.removesuffix(" 10-bit 4:2:2")
                if "10-bit" in size:
                    figures[network] = figures[f"network CPU ms, 720p, {engine}"]
                else:
                    alone = ask("network", matting=matting, size=shape, batches=[1], calls=FRAMES, folder=str(seen))
                    figures[network] = alone["batches"][0]["cpu_ms"]
                done = one(clip, target, engine, folder)
                figures[f"overhead, {size}, {engine}"] = done["cpu_ms"] / (codec["decode"]["cpu_ms"] + codec["encode"]["cpu_ms"] + figures[network])
                figures[f"frames per second, {size}, {engine}"] = done["fps"]
                figures[f"whole CPU ms, {size}, {engine}"] = done["cpu_ms"]
                figures[f"memory MB, {size}, {engine}"] = done["memory_bytes"] / 1e6
                figures[f"start-up s, {size}, {engine}"] = done["start_up_s"]
                if "10-bit" not in size and engine == engines[0]:
                    figures[f"frames per second, {size}, {engine}, one core"] = one(clip, target, engine, folder, cores=1)["fps"]
                    alone = one(clip, target, engine, folder, threads=1)
                    figures[f"frames per second, {size}, {engine}, network on one thread"] = alone["fps"]
                    figures[f"whole CPU ms, {size}, {engine}, network on one thread"] = alone["cpu_ms"]
                if size == "720p":
                    shown = ask("live", matting=matting, clip=clip, background="green", seconds=LIVE_SECONDS)
                    figures[f"live CPU ms per frame, {size}, {engine}"] = shown["cpu_ms"]
                    figures[f"live latency ms p50, {size}, {engine}"] = shown["p50_ms"]
        found.append(figures)
    return found


def one(clip: str, target: str, engine: str, folder: Path, *, cores: int = 0, threads: int = 0) -> Json:
    """Run ``whole`` in a process of its own, on so many cores; 0: on all."""
    command = [sys.executable, __file__, clip, "--one", target, "--engine", engine, "--threads", str(threads), "--begun", str(time.monotonic())]
    # Users start what pip has compiled to bytecode, which this environment may not allow.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment, preexec_fn=_pinning(cores))  # noqa: S603 - ourselves
    return dict(json.loads(done.stdout))


def _pinning(cores: int) -> Callable[[], None] | None:
    """Return what pins a fresh process to its last ``cores`` cores; None for 0, and where the system has no such call."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return None
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    return lambda: os.sched_setaffinity(0, chosen)


def stages(clip: str | None, engines: Sequence[str], rounds: int, frames: int, tell: Callable[[str], None]) -> Json:
    """CPU milliseconds of each stage by engine and size, on one core."""
    found = {}
    for engine in engines:
        tell(f"stages, {engine}")
        command = [sys.executable, str(Path(__file__).with_name("stages.py")), *([clip] if clip else []), "--engine", engine, "--json"]
        command += ["--rounds", str(rounds), "--frames", str(frames), *(word for size in STAGE_SIZES for word in ("--size", size))]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=_pinning(1))  # noqa: S603 - ourselves
        found[engine] = json.loads(done.stdout)
    return found


def spread(rounds: Sequence[Json]) -> Json:
    """Median, smallest and largest of each figure."""
    return {
        name: {"median": median(values), "min": min(values), "max": max(values)}
        for name in rounds[0] for values in [[figures[name] for figures in rounds]]
    }


def verdict(figures: Json) -> list[Json]:
    """Each goal with what was measured and by how much it was missed."""
    lines = []
    for name, side, goal in GOALS:
        if name in figures:
            value = figures[name]["median"]
            met = value <= goal if side == "at most" else value >= goal
            lines.append({"goal": name, "wanted": f"{side} {goal:g}", **figures[name], "met": met, "missed_by": 0.0 if met else abs(value / goal - 1)})
    return lines


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", help="a scene is drawn without one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--stage-frames", type=int, default=8)
    parser.add_argument("--out", help="file for the JSON document")
    for hidden in ("--one", "--engine", "--threads", "--begun"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(whole(options.clip, options.one, options.engine, float(options.begun), int(options.threads))))
        return
    from dataclasses import asdict

    from streammat.bench.clip import clip_images, write_clip
    from streammat.bench.machine import Watch, describe

    engines = [name for name in ("openvino", "onnxruntime") if find_spec(name) is not None]
    begun, began, watch = datetime.now(UTC), time.monotonic(), Watch()

    def tell(what: str) -> None:
        print(f"[{time.monotonic() - began:.0f} s] {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for size, shape in SIZES.items():
            pixels = "yuv422p10le" if "10-bit" in size else "yuv420p"
            write_clip(folder / f"{size}.mp4", clip_images(options.clip, shape), shape, options.frames, Fraction(LIVE_RATE), pixels)
        for engine in engines:  # writes the bytecode
            one(str(folder / "720p.mp4"), str(folder / "out.mp4"), engine, folder)
        rounds = measure(folder, engines, options.rounds, tell)
    spent = stages(options.clip, engines, options.rounds, options.stage_frames, tell)
    document = {
        "schema": "streammat-goals", "begun": begun.isoformat(timespec="seconds"), "hardware": asdict(describe()), "others_cores": watch.others(),
        "clip": Path(options.clip).name if options.clip else "a drawn scene", "rounds": options.rounds, "frames": options.frames,
        "figures": spread(rounds), "goals": verdict(spread(rounds)), "stages": spent,
    }
    for line in document["goals"]:
        missed = "met" if line["met"] else f"missed by {100 * line['missed_by']:.0f} %"
        print(f"{line['goal']:48} {line['wanted']:14} {line['median']:8.2f} ({line['min']:.2f}..{line['max']:.2f})  {missed}")
    print(f"other programs kept {document['others_cores'] or 0:.1f} cores busy")
    if options.out:
        Path(options.out).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
