"""Where the time goes: decoding, the network, encoding and the whole job, side by side in one run.

CPU time is that of the whole process, every thread counted, so it says what a frame costs; frames per second say
what two threads more or less make of it on this machine.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from streammat.config import EncodeOptions, MattingOptions, VideoOptions
from streammat.errors import InputError
from streammat.frame import Frame, Matte
from streammat.jobs import VideoJob, open_network
from streammat.models.library import find_model
from streammat.sinks.file import FileSink
from streammat.sources.file import FileSource


@dataclass(frozen=True)
class Timing:
    """One thing measured."""

    name: str
    cpu_ms: float
    """CPU milliseconds per frame, every thread counted."""
    fps: float
    """Frames per second by the wall clock."""


@dataclass(frozen=True)
class SizeResult:
    """Everything measured at one frame size; medians over the rounds."""

    size: tuple[int, int]
    """(height, width)."""
    frames: int
    timings: tuple[Timing, ...]
    """decode, network, encode, end to end."""
    overhead: float
    """CPU of end to end over the sum of decode, network and encode: median of the rounds' own ratios."""
    start_up_s: float
    """Seconds until the first frame is read: opening files, loading the network; on top of end to end."""
    engine: dict[str, Any]


def run(
    clip: str | None, sizes: Iterable[tuple[int, int]], matting: MattingOptions, *, frames: int, rounds: int, background: str
) -> Iterator[SizeResult]:
    """Measure each size.

    Args:
        clip: what is shown, scaled to each size; None draws a moving figure in front of a textured wall.
        sizes: (height, width).
        matting: which model, engine, precision and network size.
        frames: frames per round.
        rounds: each round measures everything once, in turn, so that a drifting clock hits all alike.
        background: as ``--bg``.

    Raises:
        UsageError: there is no such model.
        InputError: the clip or the model cannot be read.
        EngineError: the network cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="streammat-bench-") as folder:
        for size in sizes:
            yield _measure(clip, size, matting, frames, rounds, background, Path(folder))


def _measure(
    clip: str | None, size: tuple[int, int], matting: MattingOptions, frames: int, rounds: int, background: str, folder: Path
) -> SizeResult:
    source = folder / f"in{size[0]}.mp4"
    target = folder / f"out{size[0]}.mp4"
    write_clip(source, pictures(clip, size), size, frames)
    kept = _take(source, min(frames, 48))
    engine = open_network(find_model(matting.model), size, 0, matting)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (1, *engine.spec.size, 3), dtype=np.uint8)
    for _ in range(5):
        engine.infer(rgb)  # first calls pay for memory and for lazy kernels

    def decode() -> None:
        reader = FileSource(str(source))
        for _ in reader:
            pass
        reader.close()

    def network() -> None:
        for _ in range(frames):
            engine.infer(rgb)

    def encode() -> None:
        sink = FileSink(str(target), kept.info, "composite", EncodeOptions(overwrite=True), tracks=False)
        empty = Matte(np.zeros(size, np.uint8))
        for index in range(frames):
            # The same pictures to and fro, so that motion stays as in the clip.
            turn = index % (2 * len(kept.frames) - 2) if len(kept.frames) > 1 else 0
            frame = kept.frames[turn if turn < len(kept.frames) else 2 * len(kept.frames) - 2 - turn]
            sink.write(replace(frame, pts=index * kept.tick, index=index), empty)
        sink.close()

    starts: list[float] = []

    def whole() -> Callable[[], object]:
        begin = time.perf_counter()
        options = VideoOptions(matting=matting, encode=EncodeOptions(overwrite=True))
        options = replace(options, composite=replace(options.composite, background=background))
        job = VideoJob(str(source), str(target), options)
        starts.append(time.perf_counter() - begin)
        return job.run

    # Each gives what is timed; what stands before that is start-up, which does not grow with the frames.
    work: dict[str, Callable[[], Callable[[], object]]] = {
        "decode": lambda: decode,
        "network": lambda: network,
        "encode": lambda: encode,
        "end to end": whole,
    }
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, prepare in work.items():
            step = prepare()
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            rows[name].append(((time.process_time() - cpu) * 1000 / frames, frames / (time.perf_counter() - wall)))
    timings = tuple(
        Timing(name, round(statistics.median(cpu for cpu, _ in row), 3), round(statistics.median(fps for _, fps in row), 2))
        for name, row in rows.items()
    )
    ratios = [
        rows["end to end"][turn][0] / sum(rows[name][turn][0] for name in ("decode", "network", "encode"))
        for turn in range(rounds)
    ]
    spec = engine.spec
    engine.close()
    described = {"model": spec.model, "backend": spec.backend, "version": spec.version, "precision": spec.precision, "device": spec.device, "size": spec.size, "threads": spec.threads}
    start_up = round(statistics.median(starts), 3)
    return SizeResult(size, frames, timings, round(statistics.median(ratios), 3), start_up, described)


@dataclass(frozen=True)
class _Kept:
    frames: list[Frame]
    info: Any
    tick: int


def _take(source: Path, number: int) -> _Kept:
    reader = FileSource(str(source))
    frames = list(islice((item for item in reader if isinstance(item, Frame)), number))
    info = reader.info
    tick = round(1 / (info.rate * info.time_base))
    reader.close()
    return _Kept(frames, info, tick)


def write_clip(path: Path, images: Iterable[av.VideoFrame], size: tuple[int, int], frames: int) -> None:
    """Encode ``frames`` pictures of ``size`` (height, width) as H.264 at 30 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.thread_type = "AUTO"
        for index, image in enumerate(islice(images, frames)):
            image.pts, image.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def pictures(clip: str | None, size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    """Endless yuv420p pictures of ``size``: the clip over and over, or a drawn scene."""
    if clip is None:
        yield from _drawn(size)
        return
    while True:
        reader = FileSource(clip, audio=False)
        found = False
        for item in reader:
            if isinstance(item, Frame):
                found = True
                image = item.image.reformat(size[1], size[0], "yuv420p", interpolation="AREA")
                image.pict_type = 0
                yield image
        reader.close()
        if not found:
            raise InputError(f"{clip}: not one frame in it")


def _drawn(size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    height, width = size
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 200, (height // 8, width // 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for index in count():
        picture = wall.copy()
        x = int(width * (0.5 + 0.08 * np.sin(index / 15)))
        cv2.ellipse(picture, (x, height), (width // 5, int(height * 0.45)), 0, 0, 360, (60, 40, 120), -1, cv2.LINE_AA)
        cv2.ellipse(picture, (x, int(height * 0.38)), (width // 14, height // 6), 0, 0, 360, (200, 160, 140), -1, cv2.LINE_AA)
        noisy = np.asarray(cv2.add(picture, rng.integers(0, 6, picture.shape, np.uint8)), np.uint8)
        yield av.VideoFrame.from_ndarray(noisy, format="rgb24").reformat(format="yuv420p")
