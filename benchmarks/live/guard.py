# ruff: noqa: INP001 - scripts are no package
"""Measures what the guard of live mattes (`streammat.live.guarding.guard`) refuses: of clips and of people near the camera, where it should refuse nothing, and
of faults, where it should refuse everything; all through the network, the filter over time and the full-size matte, as live video does it.

    python benchmarks/live/guard.py examples/portrait.mp4 webcam1.mkv webcam2.mkv       # clips: no refusals; faults over them: nothing shown
    python benchmarks/live/guard.py clip.mp4 --rooms beach.jpg office.jpg               # also noise over images without anybody
    python benchmarks/live/guard.py clip.mp4 --people val/people_portraits --rooms r1.jpg r2.jpg   # also people near the camera, leaning in
    python benchmarks/live/guard.py clip.mp4 --show refused.png                         # what was refused there, to look at

``--people`` is a folder with ``img/`` and ``mask/`` of the same stems, 0 and 255. A frame counts as shown by mistake where its matte covers
more than a tenth of the image beside what the undisturbed one does.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.config import MattingOptions
from streammat.engines.base import Engine, EngineError, EngineSpec
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.matting.network import open_network
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Colour, Frame, layout_of, planes_of
from streammat.models.library import find_model
from streammat.sources.file import FileSource

Image = NDArray[np.uint8]
SIZE, RATE = (720, 1280), 30
TOO_MUCH = 0.1
FAULTY = 30
"""Frames of each clip that faults are tried on."""
BLOCKS, SHARE = (4, 8, 12, 16, 24, 32), 0.3
ZOOMS = (2.2, 1.7, 1.4, 1.15, 1.0)
"""Width of the image in widths of the head."""


class Faulty:
    """An engine that says something else in some calls."""

    def __init__(
        self, engine: Engine, fault: Callable[[NDArray[np.float32], Image], NDArray[np.float32]], when: Callable[[int], bool]
    ) -> None:
        self._engine, self._fault, self._when, self._calls = engine, fault, when, -1

    @property
    def spec(self) -> EngineSpec:
        """The spec of the engine."""
        return self._engine.spec

    def infer(self, rgb: Image) -> NDArray[np.float32]:
        """Return the engine's alpha, or that of the fault."""
        self._calls += 1
        alpha = self._engine.infer(rgb)
        return self._fault(alpha, rgb) if self._when(self._calls) else alpha

    def close(self) -> None:
        """Nothing to free: the engine has another owner."""


def luma(alpha: NDArray[np.float32], rgb: Image) -> NDArray[np.float32]:
    """The brightness of the image, in place of its alpha."""
    grey = cv2.resize(rgb[0].mean(2, dtype=np.float32), alpha.shape[:0:-1], interpolation=cv2.INTER_AREA)
    return np.asarray(grey[None] / 255, np.float32)


FAULTS: dict[str, Callable[[Any, Any], Any]] = {
    "all subject": lambda alpha, _: np.ones_like(alpha),
    "constant 0.9": lambda alpha, _: np.full_like(alpha, 0.9),
    "constant 0.8": lambda alpha, _: np.full_like(alpha, 0.8),
    "luma as alpha": luma,
    "subject and room exchanged": lambda alpha, _: 1 - alpha,
}


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--rooms", nargs="*", default=[])
    parser.add_argument("--people")
    parser.add_argument("--every", type=int, default=4, help="take each n-th of the people")
    parser.add_argument("--show")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    refused: list[Image] = []
    for clip in options.clips:
        of_clip(clip, refused)
    rooms = [covering(read(path)) for path in options.rooms]
    if rooms:
        of_noise(rooms)
    if options.people:
        of_people(sorted(Path(options.people).glob("img/*"))[:: options.every], rooms or [np.full((*SIZE, 3), 128, np.uint8)], refused)
    if options.show and refused:
        rows = [np.concatenate(refused[n : n + 4], 1) for n in range(0, len(refused) // 4 * 4, 4)] or refused[:1]
        cv2.imwrite(options.show, np.concatenate(rows)[..., ::-1])


def of_clip(path: str, refused: list[Image]) -> None:
    """Count what is refused of a clip, and what faults over it show."""
    source = FileSource(path, audio=False)
    engine = opened(source.info.size)
    frames = [item for item, _ in zip((item for item in source if isinstance(item, Frame)), range(300), strict=False)]
    shown, said = run(CheckedMatting(engine, SteadyFilter()), frames, refused)
    print(f"{Path(path).name}: {len(frames)} frames, {sum(said.values())} refused {dict(said) or ''}")
    for name, fault in FAULTS.items():
        for kind, when in (("always", lambda _: True), ("now and then", lambda n: n > 5 and n % 9 in (2, 3, 4, 7))):
            faulty = Faulty(engine, fault, when)
            found, said = run(CheckedMatting(faulty, SteadyFilter()), frames[:FAULTY], [])
            bad = sum(alpha - shown.get(n, 0.0) > TOO_MUCH for n, alpha in found.items())
            print(f"    {name}, {kind}: {sum(said.values())} of {FAULTY} refused, {bad} shown by mistake")
    engine.close()
    source.close()


def of_noise(rooms: list[Image]) -> None:
    """Count what noise over images without anybody shows."""
    rng, engine = np.random.default_rng(0), opened(SIZE)
    for block in BLOCKS:
        bad = total = fooled = 0
        for room in rooms:
            frames = [frame_of(noisy(room, block, rng), n) for n in range(5)]
            shown, _ = run(CheckedMatting(engine, SteadyFilter()), frames, [])
            bad += sum(alpha > TOO_MUCH for alpha in shown.values())
            total += len(frames)
            fooled += sum(float(engine.infer(small(frame, engine))[0].mean()) > TOO_MUCH for frame in frames)
        print(f"noise in {100 * SHARE:.0f} % of blocks of {block}: {total} frames, the network is fooled in {fooled}, shown by mistake {bad}")
    engine.close()


def of_people(paths: Iterable[Path], rooms: list[Image], refused: list[Image]) -> None:
    """Count what is refused of people near the camera."""
    engine, said, count, runs, held = opened(SIZE), Counter[str](), 0, 0, 0
    leaning, leaned = Counter[str](), 0
    for number, path in enumerate(paths):
        image = read(str(path))
        mask = cv2.imread(str(next(path.parent.parent.glob(f"mask/{path.stem}.*"))), cv2.IMREAD_GRAYSCALE)
        for crop in near(image, mask > 127):
            _, why = run(CheckedMatting(engine, SteadyFilter()), [frame_of(crop, n) for n in range(3)], refused)
            count, said = count + 3, said + why
        if number % 4 == 0:
            frames = [frame_of(drawn, n) for n, drawn in enumerate(leans(image, mask, rooms[number // 4 % len(rooms)]))]
            _, why = run(CheckedMatting(engine, SteadyFilter()), frames, refused)
            leaned, leaning, runs, held = leaned + len(frames), leaning + why, runs + 1, max(held, sum(why.values()))
    print(f"people near the camera: {count} frames, {sum(said.values())} refused {dict(said)}")
    print(f"leaning in and back: {leaned} frames of {runs} runs, {sum(leaning.values())} refused, {held} at most in one {dict(leaning)}")
    engine.close()


def near(image: Image, mask: NDArray[np.bool_]) -> Iterator[Image]:
    """16:9 about the head, from head and shoulders to a head that fills it."""
    rows = np.nonzero(mask.any(1))[0]
    head = mask[rows[0] : rows[0] + (rows[-1] - rows[0]) // 4]
    centre, wide = int(np.median(np.nonzero(head)[1])), float(np.median(head.sum(1)[len(head) // 3 :]))
    for zoom in ZOOMS:
        width = int(wide * zoom)
        height = round(width * 9 / 16)
        top = min(max(int(rows[0] + 0.78 * wide - height / 2), 0), mask.shape[0] - height)
        left = min(max(centre - width // 2, 0), mask.shape[1] - width)
        if top >= 0 and left >= 0 and mask[top : top + height, left : left + width].mean() > 0.55:
            yield cv2.resize(image[top : top + height, left : left + width], SIZE[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[misc]


def leans(image: Image, mask: Image, room: Image) -> Iterator[Image]:
    """Somebody in front of a still room comes three times as near within 0.7 s, stays and goes back."""
    rng = np.random.default_rng(1)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.2)
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    tall = image.shape[0] - rows[0]
    for zoom in [1.0] * 8 + list(np.linspace(1, 3.2, 20)) + [3.2] * 6 + list(np.linspace(3.2, 1, 20)):
        scale = zoom * SIZE[0] * 0.75 / tall
        up = SIZE[0] * max(0.25 - 0.35 * (zoom - 1), -0.35)
        move = np.array([[scale, 0, SIZE[1] / 2 - scale * (columns[0] + columns[-1]) / 2], [0, scale, up - scale * rows[0]]])
        alpha = cv2.warpAffine(soft, move, SIZE[::-1])[..., None]
        person = cv2.warpAffine(image, move, SIZE[::-1], borderMode=cv2.BORDER_REPLICATE)
        yield np.clip(person * alpha + room * (1 - alpha) + rng.normal(0, 3, room.shape), 0, 255).astype(np.uint8)


def noisy(image: Image, block: int, rng: np.random.Generator) -> Image:
    """Random colours in a share of the blocks."""
    rows, columns = -(-SIZE[0] // block), -(-SIZE[1] // block)
    blocks = [rng.integers(0, 256, (rows, columns, 3), np.uint8), (rng.random((rows, columns, 1)) < SHARE).astype(np.uint8)]
    colour, hit = (np.kron(plane, np.ones((block, block, 1), np.uint8))[: SIZE[0], : SIZE[1]] for plane in blocks)
    return np.where(hit > 0, colour, image)


# -- one stream ----------------------------------------------------------------------------------------------------------


def run(matting: CheckedMatting, frames: list[Frame], refused: list[Image]) -> tuple[dict[int, float], Counter[str]]:
    """Mean alpha, 0..1, of the frames that were shown, by their place, and how often each reason was given for the others."""
    shown, said = {}, Counter[str]()
    for number, frame in enumerate(frames):
        try:
            alpha = matting(frame).alpha
        except EngineError as error:
            said[str(error)] += 1
            refused.append(cv2.resize(frame.image.to_ndarray(format="rgb24"), (320, 180)))
        else:
            shown[number] = float(alpha.mean()) / np.iinfo(alpha.dtype).max
    return shown, said


def opened(size: tuple[int, int]) -> Engine:
    """The shipped network for frames of ``size``."""
    return open_network(find_model("lite"), size, 0, MattingOptions())


def frame_of(rgb: Image, index: int) -> Frame:
    """A frame of an RGB image, as live video has it."""
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(format="yuv420p", dst_colorspace=1)
    layout = layout_of("yuv420p")
    assert layout is not None
    return Frame(image, layout, Colour(1, 1, 1, 1), index, Fraction(1, RATE), 1, index, planes_of(image, layout))


def small(frame: Frame, engine: Engine) -> Image:
    """The image as the network is shown it."""
    return cv2.resize(frame.image.to_ndarray(format="rgb24"), engine.spec.size[::-1], interpolation=cv2.INTER_AREA)[None]


def read(path: str) -> Image:
    """The image in a file, RGB."""
    return cv2.imread(path)[..., ::-1]


def covering(image: Image) -> Image:
    """The image cut to ``SIZE``."""
    scale = max(SIZE[0] / image.shape[0], SIZE[1] / image.shape[1])
    big = cv2.resize(image, (max(SIZE[1], round(image.shape[1] * scale)), max(SIZE[0], round(image.shape[0] * scale))), interpolation=cv2.INTER_AREA)
    top, left = (big.shape[0] - SIZE[0]) // 2, (big.shape[1] - SIZE[1]) // 2
    return big[top : top + SIZE[0], left : left + SIZE[1]]  # type: ignore[return-value]


if __name__ == "__main__":
    main()
