# ruff: noqa: INP001 - scripts are no package
"""Edges of the full-size matte against true alpha: bilinear enlargement, the refinement guided by luma alone, and by colour.

    python benchmarks/quality/edges.py                       # the example clip, with the network's alpha
    python benchmarks/quality/edges.py FOLDER --factor 5.5    # images FOLDER/img and FOLDER/alpha; the small alpha is exact

Printed are means over the images: MAD times 1000, gradient error in thousands, and CPU time per image in ms on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.choice import open_engine
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.refine import Refiner
from streammat.media.frame import Colour, Frame, Layout, layout_of, planes_of
from streammat.models.library import find_model
from streammat.sources.file import FileSource
from streammat.train.data.images import read_alpha, read_rgb
from streammat.train.measures import metrics

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Case = tuple[NDArray[np.float32], Frame, NDArray[np.float32]]
"""Small alpha, frame, and true alpha of the frame's size, 0..1."""


def clip_cases(every: int = 10) -> Iterator[Case]:
    """Frames of the example clip, with the shipped network's alpha."""
    source = FileSource(str(EXAMPLES / "portrait.mp4"), audio=False)
    frames = [item for item in source if isinstance(item, Frame)][::every]
    with av.open(str(EXAMPLES / "portrait_alpha.mkv")) as container:
        truths = [image.to_ndarray(format="gray") for image in container.decode(video=0)][::every]
    engine = open_engine(find_model("lite"), size=network_sizes(*frames[0].size, "balanced")[0])
    matting = HostMatting(engine)
    for frame, truth in zip(frames, truths, strict=True):
        yield matting.infer(frame), frame, truth.astype(np.float32) / 255.0
    engine.close()
    source.close()


def folder_cases(folder: Path, factor: float) -> Iterator[Case]:
    """Images with true alpha, whose mean over ``factor`` by ``factor`` pixels, slightly blurred, is the small alpha."""
    for path in sorted((folder / "img").iterdir()):
        truth = read_alpha(folder / "alpha" / f"{path.stem}.png").astype(np.float32) / 255.0
        height, width = truth.shape
        small = cv2.resize(truth, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
        yield cv2.GaussianBlur(small, (0, 0), 0.5).astype(np.float32), frame_of(av.VideoFrame.from_ndarray(read_rgb(path), format="rgb24"), "yuv420p"), truth


def frame_of(image: av.VideoFrame, name: str) -> Frame:
    """A frame of an image in a layout."""
    layout, image = known(name), image.reformat(format=name)
    return Frame(image, layout, Colour(1, 1, 1, 1), 0, Fraction(1, 25), 1, 0, planes_of(image, layout))


def known(name: str) -> Layout:
    """A layout that there is."""
    layout = layout_of(name)
    assert layout is not None
    return layout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Edges of the matte against true alpha")
    parser.add_argument("folder", nargs="?", type=Path, help="holds img and alpha; none: the example clip")
    parser.add_argument("--factor", type=float, default=5.5, help="pixels to one of the small alpha")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cases: Sequence[Case] = list(folder_cases(options.folder, options.factor) if options.folder else clip_cases())
    if not cases:
        parser.error(f"no images in {options.folder}/img")
    refine, grey = Refiner(), {id(frame): frame_of(frame.image, "gray") for _, frame, _ in cases}
    ways: dict[str, Callable[[NDArray[np.float32], Frame], NDArray[np.float32]]] = {
        "bilinear": lambda small, frame: np.asarray(cv2.resize(small, frame.size[::-1], interpolation=cv2.INTER_LINEAR), np.float32),
        "luma alone": lambda small, frame: unit(refine(small, grey[id(frame)]).alpha),
        "colour": lambda small, frame: unit(refine(small, frame).alpha),
    }
    print("| | MAD | Grad | CPU ms |\n|---|---|---|---|")
    for name, way in ways.items():
        begin = time.process_time()
        made = [way(small, frame) for small, frame, _ in cases]
        spent = (time.process_time() - begin) / len(cases) * 1e3
        scores = [(1e3 * metrics.mad(alpha, truth), metrics.grad(alpha, truth)) for alpha, (_, _, truth) in zip(made, cases, strict=True)]
        mad, grad = np.mean(scores, axis=0)
        print(f"| {name} | {mad:.2f} | {grad:.2f} | {spent:.1f} |")


def unit(plane: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Code values to 0..1."""
    return np.asarray(plane / np.float32(np.iinfo(plane.dtype).max), np.float32)


if __name__ == "__main__":
    main()
