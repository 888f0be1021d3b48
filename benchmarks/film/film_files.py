# ruff: noqa: INP001 - scripts are no package
"""Measures what plates cost beside the network: CPU milliseconds a frame of reading, showing, drawing, writing and verifying EXR.

Every frame goes through all steps in this thread, and the process's CPU clock (user and system) is read between them, so what other programs do on the
machine matters little. Frames of the clip are scaled, converted to light and given grain, as plates have it. Run it on one core:

    taskset -c 1 python benchmarks/film/film_files.py examples/portrait.mp4
    taskset -c 1 python benchmarks/film/film_files.py clip.mp4 --size 3840x2160 --frames 5 --json
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.config import MatteControls, MattingOptions, SequenceOptions
from streammat.film.compositor import PlateCompositor
from streammat.film.header import Header
from streammat.film.images import read_image, write_image
from streammat.film.sequence_sink import SequenceSink
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import parse_sequence
from streammat.matting.matting import HostMatting
from streammat.matting.network import open_network
from streammat.media.frame import Frame
from streammat.models.library import find_model

COMPRESSIONS = ("none", "zip", "zips", "piz", "dwaa")


class Spent:
    """CPU milliseconds by step, one number for each frame."""

    def __init__(self) -> None:
        self.by: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def on(self, step: str) -> Iterator[None]:
        """Count what is done inside."""
        begin = time.process_time()
        yield
        self.by[step].append((time.process_time() - begin) * 1000)


def plates(clip: str, size: tuple[int, int], count: int) -> list[NDArray[np.float16]]:
    """Images of a clip as light with grain: (H, W, 3) half."""
    grain = np.random.default_rng(0)
    found = []
    with av.open(clip) as container:
        for image in container.decode(video=0):
            rgb = cv2.resize(image.to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_CUBIC)
            light = np.power(rgb.astype(np.float32) / 255, 2.4)
            light += grain.normal(0, 0.01, light.shape).astype(np.float32) * np.sqrt(light + 0.01)
            found.append(light.astype(np.float16))
            if len(found) == count:
                break
    return found


def measured(clip: str, size: tuple[int, int], frames: int, space: str, engine: str) -> Spent:
    """All steps of some frames."""
    spent = Spent()
    images = plates(clip, size, frames)
    window = (0, 0, *size)
    header = Header(window, window)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for compression in COMPRESSIONS:
            how = SequenceOptions(compression=compression, verify=False)
            for number, pixels in enumerate(images):
                path = folder / f"{compression}.{number:04}.exr"
                with spent.on(f"write R G B, {compression}"):
                    write_image(path, pixels, ("R", "G", "B"), header, how, overwrite=True, associated=True)
                with spent.on(f"write and verify R G B, {compression}"):
                    write_image(path, pixels, ("R", "G", "B"), header, replace(how, verify=True), overwrite=True, associated=True)
                with spent.on(f"read, {compression}"):
                    read_image(path, None, window)
        name = parse_sequence(str(folder / "zip.####.exr"))
        assert name is not None
        source = SequenceSource(name, SequenceOptions(color_space=space))
        options = MattingOptions(engine=engine, threads=1)  # type: ignore[arg-type]
        network = open_network(find_model("lite"), size[::-1], 0, options)
        matting = HostMatting(network)
        draw = PlateCompositor([("transparent", True)], None, decontaminate=True, alpha="straight", controls=MatteControls())
        sinks = {
            "cut-out": SequenceSink(str(folder / "cut.####.exr"), source.info, "transparent", SequenceOptions(), overwrite=True, alpha="straight"),
            "matte": SequenceSink(str(folder / "matte.####.exr"), source.info, "matte", SequenceOptions(), overwrite=True, alpha="straight"),
        }
        items = iter(source)
        while True:
            with spent.on("read and show"):
                frame = next(items, None)
            if not isinstance(frame, Frame):
                spent.by["read and show"].pop()
                break
            assert frame.plate is not None
            with spent.on("show"):
                frame.plate.space.shown(frame.plate.pixels)
            with spent.on("network, its input, refinement"):
                matte = matting(frame)
            with spent.on("draw a cut-out"):
                (image,) = draw(frame, matte)
            for kind, sink in sinks.items():
                with spent.on(f"write and verify a {kind}"):
                    sink.write(image, matte)
        network.close()
    return spent


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--space", default="acescg", help="as --color-space")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    cv2.setNumThreads(1)
    spent = measured(arguments.clip, (width, height), arguments.frames, arguments.space, arguments.engine)
    found = {step: round(median(values), 2) for step, values in spent.by.items()}
    for compression in COMPRESSIONS:
        found[f"verify R G B, {compression}"] = round(found.pop(f"write and verify R G B, {compression}") - found[f"write R G B, {compression}"], 2)
    if arguments.json:
        print(json.dumps(found))
    else:
        for step, milliseconds in sorted(found.items()):
            print(f"{step:40} {milliseconds:8.1f} ms")
        print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
