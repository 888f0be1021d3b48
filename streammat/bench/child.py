"""One measurement in its own process: a job as JSON on stdin, the result as JSON on stdout.

A job is ``{"kind": …, …}`` with the arguments of the function of that name below; it answers with the function's result, or with
``{"error": one line}``. Warnings that our packages log come along as ``notes``.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammat.bench.machine import grown_since, peak_memory
from streammat.config import CompositeOptions, EncodeOptions, LiveOptions, MattingOptions, VideoOptions
from streammat.engines.base import Engine, EngineError, EngineSpec
from streammat.engines.registry import BACKENDS
from streammat.errors import StreammatError, one_line
from streammat.events import Event, Fault
from streammat.jobs.live import LiveRun
from streammat.jobs.video import VideoJob
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.network import open_network
from streammat.media.frame import Frame, Matte
from streammat.models.library import find_model
from streammat.sinks.file import FileSink
from streammat.sources.file import FileSource

WARM_UP = 5
"""Calls of the network before those that are timed, for each batch size: they allocate memory and load kernels."""
_IMAGES = 24
"""Different input images for the network, spread over the clip."""
_KEPT = 48
"""Frames that the encoder is given, forwards and backwards."""


class _Recorder:
    """Takes the place of an engine and records its input images."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.spec = EngineSpec("none", "none", "none", "none", 0, size, "", "")
        self.images: list[NDArray[np.uint8]] = []

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `streammat.engines.base.Engine.infer`."""
        self.images.extend(rgb.copy())
        return np.zeros(rgb.shape[:3], np.float32)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def images(clip: str, frames: int, matting: dict[str, Any], size: tuple[int, int], folder: str) -> dict[str, Any]:
    """Write ``pictures.npy``, the network's input for some of the clip's ``frames`` of ``size``, and ``alphas.npy``, its float32
    output.
    """
    options = MattingOptions(**matting)
    model = find_model(options.model)
    recorder = _Recorder(network_sizes(*size, options.quality, model.areas)[0])
    infer = HostMatting(recorder).infer
    reader = FileSource(clip, audio=False)
    chosen = {round(index) for index in np.linspace(0, frames - 1, _IMAGES)}
    for item in reader:
        if isinstance(item, Frame) and item.index in chosen:
            infer(item)
    reader.close()
    given = np.stack(recorder.images)
    np.save(Path(folder) / "pictures.npy", given)
    try:
        engine = open_network(model, size, 0, replace(options, engine="onnxruntime", precision="fp32", device="cpu"))
        alphas = np.concatenate([engine.infer(given[index : index + 1]) for index in range(len(given))])
        engine.close()
    except EngineError as error:
        return {"pictures": len(given), "reference": None, "reason": one_line(error)}
    np.save(Path(folder) / "alphas.npy", alphas)
    return {"pictures": len(given), "reference": f"{engine.spec.backend} {engine.spec.version} fp32 cpu", "reason": ""}


def network(matting: dict[str, Any], size: tuple[int, int], batches: list[int], calls: int, folder: str) -> dict[str, Any]:
    """Measure the network alone: start-up, ``calls`` images in batches of each size, memory, difference to float32.

    Args:
        matting: fields of `MattingOptions`.
        size: (height, width) of the frame.
        batches: how many images at once.
        calls: images, rounded up to whole batches.
        folder: the folder that `images` wrote to.
    """
    given = np.load(Path(folder) / "pictures.npy")
    options = MattingOptions(**matting)
    before = peak_memory()
    begin = time.perf_counter()
    engine = open_network(find_model(options.model), size, 0, options, batch=max(batches))
    first = engine.infer(given[:1])
    start_up = time.perf_counter() - begin
    rows = [_timed(engine, given, batch, math.ceil(calls / batch)) for batch in batches]
    memory = grown_since(before)
    result = {"start_up_s": round(start_up, 3), "memory_bytes": memory, "batches": rows, "spec": asdict(engine.spec)}
    if "torch" in BACKENDS[engine.spec.backend].needs:
        result["device_bytes"] = import_module("torch").cuda.max_memory_reserved(engine.spec.device)
    truth = Path(folder) / "alphas.npy"
    if truth.exists():
        alphas = np.concatenate([first, *(engine.infer(given[index : index + 1]) for index in range(1, len(given)))])
        apart = np.abs(alphas - np.load(truth))
        result |= {"mean": round(float(apart.mean()), 6), "max": round(float(apart.max()), 5)}
    engine.close()
    return result


def _timed(engine: Engine, given: NDArray[np.uint8], batch: int, calls: int) -> dict[str, Any]:
    # The clip's images over and over, every batch starting with another one.
    groups = [np.ascontiguousarray(given[np.arange(start, start + batch) % len(given)]) for start in range(min(len(given), calls))]
    for index in range(WARM_UP):
        engine.infer(groups[index % len(groups)])
    spent = []
    cpu, begin = time.process_time(), time.perf_counter()
    for index in range(calls):
        called = time.perf_counter()
        engine.infer(groups[index % len(groups)])
        spent.append((time.perf_counter() - called) * 1000 / batch)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    p50, p99 = np.percentile(spent, (50, 99))
    return {
        "batch": batch, "calls": calls, "p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4),
        "cpu_ms": round(cpu * 1000 / (calls * batch), 4), "fps": round(calls * batch / wall, 3),
    }


def codec(clip: str, target: str) -> dict[str, Any]:
    """Measure decoding alone and encoding alone."""
    with _measured() as decode:
        reader = FileSource(clip)
        count = sum(isinstance(item, Frame) for item in reader)
        reader.close()
    reader = FileSource(clip)
    kept = list(islice((item for item in reader if isinstance(item, Frame)), _KEPT))
    reader.close()
    info = reader.info
    tick = round(1 / (info.rate * info.time_base))
    empty = Matte(np.zeros(info.size, np.uint8))
    with _measured() as encode:
        sink = FileSink(target, info, "composite", EncodeOptions(overwrite=True), tracks=False)
        for index in range(count):
            # To and fro, so that motion stays as in the clip.
            turn = index % max(1, 2 * len(kept) - 2)
            frame = kept[min(turn, 2 * len(kept) - 2 - turn)]
            sink.write(replace(frame, pts=index * tick, index=index), empty)
        sink.close()
    return {"decode": decode.per_frame(count), "encode": encode.per_frame(count)}


def file(matting: dict[str, Any], clip: str, target: str, background: str) -> dict[str, Any]:
    """Measure the whole job from file to file, without the time to open it."""
    before = peak_memory()
    options = VideoOptions(MattingOptions(**matting), CompositeOptions(background), EncodeOptions(overwrite=True))
    job = VideoJob(clip, target, options)
    with _measured() as spent:
        report = job.run()
    return {**spent.per_frame(report.frames_out), "memory_bytes": grown_since(before)}


def live(matting: dict[str, Any], clip: str, background: str, seconds: float) -> dict[str, Any]:
    """Measure the live path from a file as the camera to a null output, the first frames included."""
    before = peak_memory()
    options = LiveOptions(
        replace(MattingOptions(**matting), stable=LiveOptions().matting.stable), backgrounds=(background,), camera=clip, loop=True,
        outputs=("null",), duration=seconds, fixed=True,
    )
    heard: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Fault):
            heard.append(event.message)

    job = LiveRun(options, emit)
    rate = float(job.info.rate)
    with _measured() as spent:
        report = job.run()
    (output,) = report.outputs
    shown = report.shown.get("composite", 0)
    if not shown:
        raise EngineError(f"no live frame was shown; {heard[0] if heard else output.error or f'{seconds:g} s were too short'}")
    latency = output.latency
    return {
        "camera_fps": round(rate, 3), "fps": round(report.fps, 3), "p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms,
        # Of all frames that came: one that was dropped was not in time.
        "within_33_ms": round(latency.within_33_ms * shown / report.captured, 4),
        "captured": report.captured, "shown": shown, "dropped": report.dropped + output.dropped, "faults": report.faults,
        "cpu_ms": spent.per_frame(shown)["cpu_ms"], "memory_bytes": grown_since(before),
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"pictures": images, "network": network, "codec": codec, "file": file, "live": live}


@dataclass
class _Spent:
    """Wall and CPU time spent inside `_measured`."""

    cpu: float = 0.0
    wall: float = 0.0

    def per_frame(self, frames: int) -> dict[str, float]:
        return {"cpu_ms": round(self.cpu * 1000 / frames, 4), "fps": round(frames / self.wall, 3)}


@contextmanager
def _measured() -> Iterator[_Spent]:
    spent = _Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    yield spent
    spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


def main() -> None:
    """Read a job, do it, answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to us too; whoever asked for us ends us
    # What libraries print must not get into the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    notes = _Notes()
    logging.getLogger("streammat").addHandler(notes)
    job = json.load(sys.stdin)
    if "size" in job:
        job["size"] = tuple(job["size"])
    try:
        result = JOBS[job.pop("kind")](**job)
    except StreammatError as error:
        result = {"error": one_line(error)}
    except MemoryError:
        result = {"error": "out of memory"}
    json.dump({**result, "notes": list(dict.fromkeys(notes.lines))}, answer)
    answer.close()


if __name__ == "__main__":
    main()
