# ruff: noqa: INP001 - scripts are no package
"""What letting the network rest saves, and what it costs: the alphas that are shown against those of a network that works on every frame.

Each clip goes through the network once; then the same alphas are filtered over time, once all of them and once those of the frames on which
the network would have worked, the others being kept (``streammat.matting.rest``). ``worked`` is the share of frames with work. ``mean`` and ``worst`` are
the mean absolute difference of alpha over all frames and in the worst frame, times 1000. ``stale`` is the longest run of frames in which more
than 0.2 % of the image is subject in one and background in the other (a difference of more than a half). CPU is what `Matting` takes for a
frame, user and system, without and with rest.

    python benchmarks/rest.py                           # drawn clips: still, noisy, breathing, entries at several speeds
    python benchmarks/rest.py webcam1.mkv webcam2.mkv   # clips of yours
    python benchmarks/rest.py --no-cpu                  # differences alone

Needs scikit-image (``pip install 'streammat[dev]'``), which carries the example's portrait.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from temporal import KINDS, Floats, Kind, Recorder, example_scene, record, write

from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.matting.matting import Matting, network_sizes
from streammat.matting.rest import Rest
from streammat.matting.temporal import TemporalFilter
from streammat.media.frame import Frame
from streammat.models.library import find_model
from streammat.sources.file import FileSource

STALE = 0.002
"""Share of the image."""


def _enters(pixels_a_second: float) -> Kind:
    """Somebody comes in from the left; nobody is there at first."""
    return Kind(f"enters, {pixels_a_second:g} px/s", lambda t: (-500.0 + pixels_a_second * t, 0.0, 0.0, 1.0))


def _flickers(t: float) -> float:
    """A lamp at 100 Hz before a shutter at 30: 10 Hz are left."""
    return 1.0 + 0.05 * math.sin(2 * math.pi * 10 * t)


ENTRIES = (
    *(_enters(speed) for speed in (30.0, 60.0, 120.0, 240.0)),
    replace(_enters(60.0), name="enters, 60 px/s, dim and noisy", light=lambda _: 0.3, noise=6.0),
    replace(_enters(60.0), name="enters, 60 px/s, lamp flickers", light=_flickers),
    replace(KINDS[0], name="still, lamp flickers", light=_flickers),
)


@dataclass(frozen=True)
class Found:
    """One row."""

    worked: float
    mean: float
    worst: float
    stale: int


def rested(recorder: Recorder) -> tuple[Floats, list[bool]]:
    """(alphas that are shown, whether the network worked) for each frame."""
    rest, stable = Rest(), TemporalFilter()
    alphas, worked = [], []
    for alpha, rgb, at in recorder.seen:
        kept = rest(rgb, at)
        worked.append(kept is None)
        if kept is None:
            kept = stable(alpha, rgb, at)
            rest.keep(kept, rgb, at)
        alphas.append(kept)
    return np.stack(alphas), worked


def compared(recorder: Recorder) -> Found:
    """Resting against always working."""
    stable = TemporalFilter()
    always = np.stack([stable(alpha, rgb, at) for alpha, rgb, at in recorder.seen])
    shown, worked = rested(recorder)
    differences = np.abs(shown - always)
    wrong = (differences > 0.5).mean((1, 2)) > STALE
    longest = run = 0
    for one in wrong:
        run = run + 1 if one else 0
        longest = max(longest, run)
    means = differences.mean((1, 2))
    return Found(float(np.mean(worked)), 1000 * float(means.mean()), 1000 * float(means.max()), longest)


def cpu_ms(path: Path, files: ModelFiles, rest: Rest | None) -> float:
    """CPU milliseconds of `Matting` for a frame, decoding not counted."""
    source = FileSource(str(path), audio=False)
    engine = open_engine(files, size=network_sizes(*source.info.size, "balanced")[0], threads=1)
    matting = Matting(engine, TemporalFilter(), rest=rest)
    spent, frames = 0.0, 0
    try:
        for item in source:
            if isinstance(item, Frame):
                begin = time.process_time()
                matting(item)
                spent += time.process_time() - begin
                frames += 1
    finally:
        engine.close()
        source.close()
    return 1000 * spent / frames


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What letting the network rest saves and costs")
    parser.add_argument("clips", nargs="*", help="clips; none: draw some")
    parser.add_argument("--model", default="lite", help="name or file, as of `streammat video`")
    parser.add_argument("--no-cpu", action="store_true", help="do not measure CPU time")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    files = find_model(arguments.model)
    print("| clip | worked | mean | worst | stale | CPU ms |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        clips: list[tuple[str, Path]] = [(Path(clip).stem, Path(clip)) for clip in arguments.clips]
        if not clips:
            scene = example_scene()
            for number, kind in enumerate((*KINDS, *ENTRIES)):
                clips.append((kind.name, Path(folder) / f"{number}.mp4"))
                write(clips[-1][1], scene, kind)
        for name, path in clips:
            found = compared(record(path, files))
            cpu = "-" if arguments.no_cpu else f"{cpu_ms(path, files, None):.1f} → {cpu_ms(path, files, Rest()):.1f}"
            print(f"| {name} | {100 * found.worked:.0f} % | {found.mean:.2f} | {found.worst:.2f} | {found.stale} | {cpu} |", flush=True)


if __name__ == "__main__":
    main()
