# ruff: noqa: INP001 - scripts are no package
"""Measures what ``--stable`` does to mattes: flicker, error and lag on clips with known alpha, through the shipped network.

Each clip is drawn at 640x360 and 30 frames a second, encoded with x264, decoded, and run through the network once; then the
same alphas are measured as they are (off) and filtered (on). ``dtSSD`` (Erofeev et al. 2015) is given times 100 and ``MAD``
times 1000, both at the network's output size. ``flicker`` is the RMS change of alpha from frame to frame, times 1000, where
nothing moves within reach of the subject's edge: by the truth, or, for clips without, by the image. ``lag`` is, in frames,
the delay of the truth that the matte fits best; negative is ahead.

    python benchmarks/live/temporal.py                                    # the example's person, every kind of clip
    python benchmarks/live/temporal.py --subject cut.png --room room.jpg   # another person, RGBA, in another room
    python benchmarks/live/temporal.py webcam1.mkv webcam2.mkv             # clips without truth: flicker alone
    python benchmarks/live/temporal.py --model runs/lite/lite.safetensors  # other weights
    python benchmarks/live/temporal.py --show frames.png                   # also frames to look at: truth, off, on

Needs scikit-image (``pip install 'streammat[dev]'``), which carries the example's portrait.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Frame
from streammat.models.library import find_model
from streammat.sources.file import FileSource

Floats = NDArray[Any]
"""float32."""
SIZE, RATE, FRAMES = (360, 640), 30, 60
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Pose = tuple[float, float, float, float]
"""(dx, dy in pixels, turn in radians, zoom)."""


@dataclass(frozen=True)
class Kind:
    """One kind of clip; every function takes seconds, so that the truth is known between frames too."""

    name: str
    pose: Callable[[float], Pose]
    light: Callable[[float], float] = lambda _: 1.0
    shake: Callable[[float], tuple[float, float]] = lambda _: (0.0, 0.0)
    """Movement of the whole image, pixels."""
    shot: Callable[[float], int] = lambda _: 0
    """Number of the shot: odd ones are mirrored, in another light."""
    noise: float = 3.0
    """Standard deviation of the sensor's noise, in values of 0..255."""
    crf: int = 23
    keyframes: int = 60


def _still(_: float) -> Pose:
    return 0.0, 0.0, 0.0, 1.0


def _sway(pixels: float, hertz: float) -> Callable[[float], Pose]:
    return lambda t: (pixels * math.sin(2 * math.pi * hertz * t), 0.0, 0.0, 1.0)


def _hand(t: float) -> tuple[float, float]:
    return 3.0 * math.sin(11.0 * t) + 1.5 * math.sin(23.0 * t + 1), 2.0 * math.sin(13.0 * t + 2) + 1.0 * math.sin(29.0 * t)


KINDS = (
    Kind("still", _still),
    Kind("still, noisy", _still, light=lambda _: 0.45, noise=9.0),
    Kind("still, low bitrate", _still, crf=36, keyframes=12),
    Kind("still, light changes", _still, light=lambda t: 1.0 - 0.35 * math.sin(math.pi * t)),
    Kind("breathing", lambda t: (0.0, 0.8 * math.sin(2.0 * t), 0.0, 1.0 + 0.003 * math.sin(2.0 * t))),
    Kind("slow", _sway(16.0, 0.25)),
    Kind("fast", _sway(110.0, 0.75)),
    Kind("fast, dim", _sway(110.0, 0.75), light=lambda _: 0.25, noise=6.0),
    Kind("waving", lambda t: (0.0, 0.0, 0.22 * math.sin(2 * math.pi * 1.2 * t), 1.0)),
    Kind("hand-held", _still, shake=_hand),
    Kind("cuts", _still, shot=lambda t: math.floor(t * RATE / 15 + 1e-6)),
)


class Scene:
    """A person in front of a room.

    Args:
        person: (h, w, 3) float32 RGB 0..1, the person's own colour everywhere.
        alpha: (h, w) float32 0..1.
        room: (360, 640, 3) float32 RGB 0..1.
    """

    def __init__(self, person: Floats, alpha: Floats, room: Floats) -> None:
        self._person, self._alpha, self._room = person, alpha, room

    def alpha(self, kind: Kind, t: float) -> Floats:
        """The truth at ``t`` seconds, (360, 640)."""
        return np.clip(self._warp(self._alpha, kind, t, cv2.BORDER_CONSTANT), 0.0, 1.0)

    def picture(self, kind: Kind, t: float, random: np.random.Generator) -> NDArray[np.uint8]:
        """The frame at ``t`` seconds, (360, 640, 3) RGB."""
        alpha = self.alpha(kind, t)[..., None]
        person = self._warp(self._person, kind, t, cv2.BORDER_REPLICATE)
        room = self._room[:, ::-1] * 0.7 if kind.shot(t) % 2 else self._room
        dx, dy = kind.shake(t)
        room = cv2.warpAffine(np.ascontiguousarray(room), np.array([[1, 0, dx], [0, 1, dy]]), SIZE[::-1], borderMode=cv2.BORDER_REFLECT)
        shot = (alpha * person + (1 - alpha) * room) * kind.light(t) * 255
        grey = random.normal(0, kind.noise, (*SIZE, 1)) + random.normal(0, kind.noise / 3, (*SIZE, 3))
        return np.asarray(np.clip(np.rint(shot + grey), 0, 255), np.uint8)

    def _warp(self, plane: Floats, kind: Kind, t: float, border: int) -> Floats:
        height, width = plane.shape[:2]
        x, y, turn, zoom = kind.pose(t)
        shake_x, shake_y = kind.shake(t)
        scale = 0.92 * SIZE[0] / height * zoom
        c, s = scale * math.cos(turn), scale * math.sin(turn)
        side = 0.62 if kind.shot(t) % 2 else 0.5
        target = SIZE[1] * side + x + shake_x, SIZE[0] + y + shake_y
        flip = -1.0 if kind.shot(t) % 2 else 1.0
        turned = np.array([[c * flip, -s, 0.0], [s * flip, c, 0.0]])
        turned[:, 2] = np.array(target) - turned[:, :2] @ np.array([width / 2, height])
        return np.asarray(cv2.warpAffine(plane, turned, SIZE[::-1], flags=cv2.INTER_AREA, borderMode=border), np.float32)


class Recorder:
    """Stands where ``SteadyFilter`` stands and keeps what passes, unchanged."""

    def __init__(self) -> None:
        self.seen: list[tuple[Floats, NDArray[np.uint8], Fraction]] = []

    def __call__(self, alpha: Floats, rgb: NDArray[np.uint8], at: Fraction) -> Floats:
        """Keep what a filter would be given."""
        self.seen.append((alpha.copy(), rgb.copy(), at))
        return alpha


def write(path: Path, scene: Scene, kind: Kind) -> None:
    """Encode a clip of ``kind``."""
    random = np.random.default_rng(5)
    with av.open(str(path), "w") as out:
        options = {"crf": str(kind.crf), "preset": "veryfast", "g": str(kind.keyframes), "tune": "zerolatency"}
        stream = out.add_stream("libx264", RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(FRAMES):
            image = av.VideoFrame.from_ndarray(scene.picture(kind, index / RATE, random), format="rgb24")
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))


def record(path: Path, files: ModelFiles) -> Recorder:
    """Return the network's alphas of a clip, before any filter."""
    source = FileSource(str(path), audio=False)
    recorder = Recorder()
    engine = open_engine(files, size=network_sizes(*source.info.size, "balanced")[0])
    matting = HostMatting(engine, recorder)
    try:
        for item in source:
            if isinstance(item, Frame):
                matting.infer(item)
    finally:
        engine.close()
        source.close()
    return recorder


def filtered(recorder: Recorder) -> tuple[Floats, float]:
    """The alphas after ``SteadyFilter``, (T, h, w), and its median cost in milliseconds per frame."""
    stable, spent, results = SteadyFilter(), [], []
    for alpha, rgb, at in recorder.seen:
        begin = time.perf_counter()
        result = stable(alpha, rgb, at)
        spent.append(time.perf_counter() - begin)
        results.append(result.copy())
    return np.stack(results), float(np.median(spent)) * 1e3


# -- measures, on (T, h, w) ---------------------------------------------------------------------------------------


def dtssd(alphas: Floats, truth: Floats) -> float:
    """Mean over pairs of frames of the RMS difference between the change of alpha and that of the truth."""
    change = np.diff(alphas.astype(np.float64) - truth, axis=0)
    return float(np.sqrt(np.square(change).mean((1, 2))).mean())


def flicker(alphas: Floats, still: NDArray[np.bool_]) -> float:
    """RMS change of alpha from frame to frame over ``still``, (T - 1, h, w); nan where nothing is."""
    return float(np.sqrt(np.square(np.diff(alphas, axis=0))[still].mean())) if still.any() else math.nan


def still_parts(recorder: Recorder, truth: Floats | None) -> NDArray[np.bool_]:
    """Return where nothing moves from frame to frame near the edge of the subject, (T - 1, h, w): by the truth, else by the image."""
    alphas = np.stack([alpha for alpha, _, _ in recorder.seen])
    height, width = alphas.shape[1:]
    window = np.ones((9, 9), np.uint8)
    if truth is None:
        smalls = (cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) for _, rgb, _ in recorder.seen)
        shown, most = [cv2.GaussianBlur(small.astype(np.float32), (0, 0), 2.0) for small in smalls], 2.5
    else:
        shown, most = list(truth[..., None]), 0.01
    parts = []
    for index in range(len(alphas) - 1):
        quiet = cv2.dilate(np.abs(shown[index + 1] - shown[index]).max(2), window) < most
        edge = np.median(alphas[max(0, index - 7) : index + 8], 0) if truth is None else truth[index]
        near = cv2.dilate(((edge > 0.05) & (edge < 0.95)).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
        parts.append(quiet & near)
    return np.stack(parts)


def lag_of(alphas: Floats, truth_at: Callable[[float], Floats]) -> float:
    """Delay in frames that makes the truth fit ``alphas`` best; ``truth_at`` takes a frame's number, whole or not."""
    delays = np.arange(-1.5, 4.01, 0.25)
    skip = 4  # so that the truth is there for every delay
    costs = np.array(
        [
            np.mean([np.square(alphas[i] - truth_at(i - d)).mean() for i in range(skip, len(alphas), 2)])
            for d in delays
        ]
    )
    if costs.max() < 1.05 * costs.min():
        return math.nan  # nothing moves
    best = int(costs[1:-1].argmin()) + 1
    left, middle, right = costs[best - 1 : best + 2]
    return float(delays[best] + 0.25 * 0.5 * (left - right) / (left - 2 * middle + right))


# -- the table ----------------------------------------------------------------------------------------------------


def rows(scene: Scene, folder: Path, kinds: tuple[Kind, ...], files: ModelFiles) -> Iterator[tuple[Kind, Recorder, Floats, Floats, Floats]]:
    """(kind, what was recorded, truth, off, on) of each clip."""
    for kind in kinds:
        path = folder / "clip.mp4"
        write(path, scene, kind)
        recorder = record(path, files)
        off = np.stack([alpha for alpha, _, _ in recorder.seen])
        truth = np.stack([at_size(scene.alpha(kind, i / RATE), off.shape[1:]) for i in range(len(off))])
        yield kind, recorder, truth, off, filtered(recorder)[0]


def at_size(alpha: Floats, shape: tuple[int, ...]) -> Floats:
    """The mean over each of the network's cells."""
    return np.asarray(cv2.resize(alpha, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


def line(name: str, off: list[float], on: list[float]) -> str:
    """Return a row: each measure off → on."""
    cells = ["-" if math.isnan(a) else f"{a:.2f} → {b:.2f}" for a, b in zip(off, on, strict=True)]
    return f"| {name} | " + " | ".join(cells) + " |"


def example_scene() -> Scene:
    """The person and the room of the example clip."""
    sys.path.insert(0, str(EXAMPLES))
    import make_example  # type: ignore[import-not-found]
    import scenery  # type: ignore[import-not-found]
    from skimage import data

    portrait = data.astronaut().astype(np.float32) / 255
    alpha = read(EXAMPLES / "astronaut_alpha.png", cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    room = cv2.resize(scenery.draw_room(), SIZE[::-1], interpolation=cv2.INTER_AREA)
    return Scene(make_example.own_colour(portrait, alpha), alpha, np.asarray(room, np.float32))


def scene_of(subject: str, room: str) -> Scene:
    """A cut-out with alpha in front of any image."""
    picture = read(Path(subject), cv2.IMREAD_UNCHANGED)
    if picture.ndim != 3 or picture.shape[2] != 4:
        raise SystemExit(f"{subject}: has no alpha; expected an RGBA image")
    shown = read(Path(room), cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    scale = max(SIZE[0] / shown.shape[0], SIZE[1] / shown.shape[1])
    scaled = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    behind = cv2.resize(scaled[: SIZE[0], : SIZE[1]], SIZE[::-1])
    person = np.ascontiguousarray(picture[..., 2::-1], np.float32) / 255
    return Scene(person, picture[..., 3].astype(np.float32) / 255, np.asarray(behind, np.float32))


def read(path: Path, flags: int) -> NDArray[Any]:
    """An image that must be there."""
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise SystemExit(f"{path}: cannot be read; expected an image")
    return picture


def strip(recorder: Recorder, *videos: Floats) -> NDArray[np.uint8]:
    """The image and each of ``videos`` at four moments, side by side and below each other; BGR."""
    count = len(recorder.seen)
    lines = []
    for index in (count // 4, count // 2, count // 2 + 1, 3 * count // 4):
        rgb = cv2.cvtColor(recorder.seen[index][1], cv2.COLOR_RGB2BGR)
        greys = [cv2.resize(video[index], rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR) for video in videos]
        lines.append(np.hstack([rgb, *(cv2.cvtColor(np.rint(grey * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR) for grey in greys)]))
    return np.vstack(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Flicker, error and lag of mattes without and with --stable")
    parser.add_argument("clips", nargs="*", help="clips without truth; none: draw clips with known alpha")
    parser.add_argument("--model", default="lite", help="name or file, as of `streammat video`")
    parser.add_argument("--subject", help="RGBA cut-out of a person instead of the example's")
    parser.add_argument("--room", help="the image behind --subject")
    parser.add_argument("--kind", action="append", choices=[kind.name for kind in KINDS], help="only this kind of clip")
    parser.add_argument("--show", metavar="PNG", help="also write frames to look at")
    arguments = parser.parse_args()
    if (arguments.subject is None) != (arguments.room is None):
        parser.error("--subject and --room belong together")
    cv2.setNumThreads(1)
    files = find_model(arguments.model)
    sheets = []
    if arguments.clips:
        print("| clip | flicker off → on |\n|---|---|")
        for clip in arguments.clips:
            recorder = record(Path(clip), files)
            off = np.stack([alpha for alpha, _, _ in recorder.seen])
            on, cost = filtered(recorder)
            still = still_parts(recorder, None)
            print(line(Path(clip).stem, [1e3 * flicker(off, still)], [1e3 * flicker(on, still)]), flush=True)
            sheets.append(strip(recorder, off, on))
    else:
        scene = scene_of(arguments.subject, arguments.room) if arguments.subject else example_scene()
        kinds = tuple(kind for kind in KINDS if arguments.kind is None or kind.name in arguments.kind)
        print("| clip, off → on | dtSSD | MAD | flicker | lag |\n|---|---|---|---|---|")
        with tempfile.TemporaryDirectory(prefix="streammat-temporal-") as folder:
            for kind, recorder, truth, off, on in rows(scene, Path(folder), kinds, files):
                still = still_parts(recorder, truth)

                def truth_at(number: float, kind: Kind = kind, shape: tuple[int, ...] = off.shape[1:]) -> Floats:
                    return at_size(scene.alpha(kind, number / RATE), shape)

                moves = float(np.abs(np.diff(truth, axis=0)).mean()) > 1e-4 and kind.name != "cuts"
                values = [
                    [1e2 * dtssd(a, truth), 1e3 * float(np.abs(a - truth).mean()), 1e3 * flicker(a, still),
                     lag_of(a, truth_at) if moves else math.nan]
                    for a in (off, on)
                ]  # fmt: skip
                print(line(kind.name, *values), flush=True)
                sheets.append(strip(recorder, truth, off, on))
        cost = filtered(recorder)[1]
    height, width = recorder.seen[-1][0].shape
    print(f"\ncost at {width}x{height}: {cost:.2f} ms per frame (median)")
    if arguments.show:
        widest = max(sheet.shape[1] for sheet in sheets)
        padded = [cv2.copyMakeBorder(sheet, 0, 0, 0, widest - sheet.shape[1], cv2.BORDER_CONSTANT) for sheet in sheets]
        cv2.imwrite(arguments.show, np.vstack(padded))


if __name__ == "__main__":
    main()
