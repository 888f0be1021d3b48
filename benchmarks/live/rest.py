# ruff: noqa: INP001 - scripts are no package
"""Measures what letting the network rest saves, and what it costs: the mattes that are shown against those of a network that works on every frame.

Each clip goes through two mattings side by side, one whose network works on every frame and one that rests (``streammat.matting.rest``), and the mattes at
the frame's size are compared. ``worked`` is the share of frames with work. ``mean`` and ``worst`` are the mean absolute difference of alpha over all
frames and in the worst frame, times 1000. ``stale`` is the longest run of frames in which more than 0.2 % of the image is subject in one and
background in the other (a difference of more than a half). CPU is what the matting takes for a frame, user and system, without and with rest.

    python benchmarks/live/rest.py                           # drawn clips: still, noisy, breathing, entries at several speeds
    python benchmarks/live/rest.py webcam1.mkv webcam2.mkv   # clips of yours

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
from temporal import KINDS, Kind, example_scene, write

from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.rest import Rest
from streammat.matting.steady import SteadyFilter
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


LISTENS = Kind("listens", lambda t: (1.2 * math.sin(0.7 * t), 0.4 * math.sin(2.0 * t), 0.004 * math.sin(0.9 * t), 1.0 + 0.002 * math.sin(2.0 * t)))
"""Somebody who breathes, sways by a pixel or two and turns the head by a quarter of a degree."""
ENTRIES = (
    *(_enters(speed) for speed in (30.0, 60.0, 120.0, 240.0)),
    replace(_enters(60.0), name="enters, 60 px/s, dim and noisy", light=lambda _: 0.3, noise=6.0),
    replace(_enters(60.0), name="enters, 60 px/s, lamp flickers", light=_flickers),
    replace(_enters(15.0), name="enters, 15 px/s, dim", light=lambda _: 0.3),
    replace(_enters(60.0), name="enters, 60 px/s, dim, lamp flickers", light=lambda t: 0.3 * _flickers(t)),
    LISTENS,
    replace(KINDS[0], name="still, lamp flickers", light=_flickers),
)


@dataclass(frozen=True)
class Found:
    """A row of the table."""

    worked: float
    mean: float
    worst: float
    stale: int
    always_ms: float
    resting_ms: float


def compared(path: Path, files: ModelFiles) -> Found:
    """Resting against always working: the mattes of both, frame by frame, and the CPU milliseconds that each takes (decoding not counted)."""
    source = FileSource(str(path), audio=False)
    size = network_sizes(*source.info.size, "balanced")[0]
    rest = Rest()
    mattings = [HostMatting(open_engine(files, size=size, threads=1), SteadyFilter(), rest=one) for one in (None, rest)]
    spent, means, longest, run = [0.0, 0.0], [], 0, 0
    try:
        for item in source:
            if not isinstance(item, Frame):
                continue
            mattes = []
            for number, matting in enumerate(mattings):
                begin = time.process_time()
                mattes.append(matting(item).alpha)
                spent[number] += time.process_time() - begin
            differences = cv2.absdiff(*mattes)
            means.append(float(differences.mean()) / 255)
            run = run + 1 if (differences > 127).mean() > STALE else 0
            longest = max(longest, run)
    finally:
        for matting in mattings:
            matting.engine.close()
        source.close()
    frames = len(means)
    return Found(1 - rest.frames / frames, 1000 * float(np.mean(means)), 1000 * max(means), longest, *(1000 * one / frames for one in spent))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What letting the network rest saves and costs")
    parser.add_argument("clips", nargs="*", help="clips; none: draw some")
    parser.add_argument("--model", default="lite", help="name or file, as of `streammat video`")
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
            found = compared(path, files)
            cpu = f"{found.always_ms:.1f} → {found.resting_ms:.1f} ({100 * found.resting_ms / found.always_ms:.0f} %)"
            print(f"| {name} | {100 * found.worked:.0f} % | {found.mean:.2f} | {found.worst:.2f} | {found.stale} | {cpu} |", flush=True)


if __name__ == "__main__":
    main()
