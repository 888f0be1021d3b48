"""Every metric of the paper for a data set: mattes of whole images at their own size against their labels."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image
from streammat.train.data.layouts import Entry, load_pair, load_trimap
from streammat.train.data.pool import write_picture
from streammat.train.errors import DataError, RunError
from streammat.train.evaluation import metrics
from streammat.train.evaluation.contact_sheet import CELL, contact_sheet

Matte = NDArray[np.float32]
Matting = Callable[[Image], Mapping[str, Matte]]
"""uint8 (H, W, 3) RGB to one or more mattes, float32 (H, W), 0..1, by the name of what made them: of a test strategy, for one."""
TrimapMatting = Callable[[Image, Image], Mapping[str, Matte]]
"""The same of an image and its trimap."""

METRICS = ("SAD", "MSE", "MAD", "Grad", "Conn", "SAD-TRAN", "SAD-FG", "SAD-BG")
"""Columns of the paper's Table 1, in its order."""
VIDEO_METRICS = ("dtSSD", "MESSDdt")


@dataclass(frozen=True)
class EvaluationOptions:
    """What `evaluate_set` measures beside `METRICS`, and shows."""

    binary: bool = False
    """Labels are masks: IoU at 0.5 too."""
    trimaps: str | None = None
    """What the matting is given as its second argument: ``given``, the data set's trimaps and no others, or ``made``, those that are made
    from the truth where it has none. None: images alone."""
    video: bool = False
    """Images of one folder are the frames of a clip, in the order of their names: dtSSD and MESSDdt too."""
    worst: int = 8
    """Images on the sheet of worst cases, by SAD."""


@dataclass(frozen=True)
class Case:
    """One matte of one image."""

    name: str
    """Of the image within its set."""
    matting: str
    """What made the matte."""
    width: int
    height: int
    metrics: Mapping[str, float]
    seconds: float
    """For all mattes of the image, divided by their number."""
    made_trimap: bool
    """The data set has none: it was made from the truth."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured."""

    cases: tuple[Case, ...]
    clips: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """`VIDEO_METRICS` by matting and clip."""

    def averages(self) -> dict[str, dict[str, float]]:
        """Means over images, as the paper gives them, and of the video metrics over clips; by matting."""
        means: dict[str, dict[str, float]] = {}
        for matting in dict.fromkeys(case.matting for case in self.cases):
            rows = [case.metrics for case in self.cases if case.matting == matting]
            means[matting] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            clips = list(self.clips.get(matting, {}).values())
            means[matting] |= {name: float(np.mean([clip[name] for clip in clips])) for name in (VIDEO_METRICS if clips else ())}
        return means


def evaluate_set(
    entries: Sequence[Entry],
    matting: Matting | TrimapMatting,
    out: Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    report: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Measure mattes of a data set.

    Args:
        entries: of `streammat.train.data.layouts.open_layout`, at least one.
        matting: makes the mattes.
        out: receives ``pictures.csv``, a row for each matte as soon as it is measured, and ``worst.png``, image, prediction,
            truth and error of the worst cases (``worst-2.png`` … for further mattings). None: nothing is written.
        options: what else to measure.
        report: takes a line for each image.

    Returns:
        Everything that was measured.

    Raises:
        ValueError: there are no entries.
        DataError: an image, label or trimap is missing or broken, sizes differ, or a clip has one frame; what was measured
            before is in ``pictures.csv``.
        RunError: ``out`` cannot be written, or a matte has values that are no alpha.
    """
    if not entries:
        raise ValueError("no images to evaluate on")
    if options.trimaps == "given" and (bare := [entry for entry in entries if entry.trimap is None]):
        raise DataError(
            f"{bare[0].image} has no trimap ({len(bare)} of {len(entries)} lack one), and the method needs one; put them into trimap/ "
            "beside the mattes, or give --made-trimaps to make them from the truth"
        )
    cases: list[Case] = []
    worst: dict[str, list[tuple[Case, list[Image]]]] = {}
    clips = _Clips(entries) if options.video else None
    with _Rows(out, (*METRICS, "IoU") if options.binary else METRICS) as rows:
        for number, entry in enumerate(entries, 1):
            rgb, label = load_pair(entry)
            trimap = load_trimap(entry, label, exact=options.trimaps is not None)
            truth = label.astype(np.float32) / np.float32(255.0)
            given = () if options.trimaps is None else (trimap,)
            started = time.perf_counter()
            mattes = matting(rgb, *given)
            seconds = (time.perf_counter() - started) / len(mattes)
            for name, alpha in mattes.items():
                try:
                    figures = measure(alpha, truth, trimap, binary=options.binary)
                except ValueError as error:  # a network that was trained to NaN, for one
                    raise RunError(f"matte of {entry.image} by {name} cannot be measured: {error}") from error
                case = Case(entry.name, name, rgb.shape[1], rgb.shape[0], figures, seconds, entry.trimap is None)
                cases.append(case)
                rows.add(case)
                _keep_worst(worst.setdefault(name, []), case, (rgb, alpha, truth), options.worst)
                if clips is not None:
                    clips.add(entry, name, rgb, alpha, truth)
            first = cases[-len(mattes)]
            report(f"{number}/{len(entries)} {first.name}: SAD {first.metrics['SAD']:.2f}, {seconds * len(mattes):.1f} s")
    evaluation = Evaluation(tuple(cases), {} if clips is None else clips.means())
    if out is not None:
        for number, kept in enumerate(worst.values(), 1):
            _write_sheet(out / ("worst.png" if number == 1 else f"worst-{number}.png"), kept)
    return evaluation


def measure(alpha: Matte, truth: Matte, trimap: Image, *, binary: bool = False) -> dict[str, float]:
    """Every metric of one matte.

    Args:
        alpha: float (H, W), 0..1.
        truth: float (H, W), 0..1.
        trimap: uint8 (H, W): 0, 128, 255.
        binary: IoU too.

    Returns:
        `METRICS`, by name and in their order.
    """
    regions = metrics.sad_regions(alpha, truth, trimap)
    whole = (f(alpha, truth) for f in (metrics.sad, metrics.mse, metrics.mad, metrics.grad, metrics.conn))
    figures = dict(zip(METRICS, (*whole, *regions), strict=True))
    return figures | ({"IoU": metrics.iou(alpha, truth)} if binary else {})


class _Rows:
    """``pictures.csv``: complete up to the last image, whatever ends the run."""

    def __init__(self, out: Path | None, columns: Sequence[str]) -> None:
        self.columns = columns
        self.path = None if out is None else out / "pictures.csv"

    def __enter__(self) -> Self:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.file = self.path.open("w", newline="", encoding="utf-8")
            except OSError as error:
                raise _unwritten(self.path, error) from error
            self._write(["picture", "matting", "width", "height", *self.columns, "seconds", "trimap"])
        return self

    def add(self, case: Case) -> None:
        figures = (f"{case.metrics[name]:.6g}" for name in self.columns)
        trimap = "made" if case.made_trimap else "given"
        self._write([case.name, case.matting, case.width, case.height, *figures, f"{case.seconds:.3f}", trimap])

    def _write(self, row: Sequence[object]) -> None:
        if self.path is None:
            return
        try:
            csv.writer(self.file).writerow(row)
            self.file.flush()
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def __exit__(self, *_error: object) -> None:
        if self.path is not None:
            self.file.close()


class _Clips:
    """Video metrics of clips whose frames come one after the other; only the last frame is kept."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        frames = Counter(entry.image.parent for entry in entries)
        alone = next((folder for folder, count in frames.items() if count < 2), None)
        if alone is not None:
            raise DataError(f"{alone} has one frame; video metrics need at least two (leave out --video for images)")
        self.last: dict[str, tuple[Path, Image, Matte, Matte]] = {}
        self.pairs: dict[str, dict[str, list[tuple[float, float]]]] = {}

    def add(self, entry: Entry, matting: str, rgb: Image, alpha: Matte, truth: Matte) -> None:
        folder = entry.image.parent
        clip = (folder.parent if folder.name in _FRAME_FOLDERS else folder).name
        pairs = self.pairs.setdefault(matting, {}).setdefault(clip, [])
        before = self.last.get(matting)
        self.last[matting] = (folder, rgb, alpha, truth)
        if before is None or before[0] != folder:
            return
        if before[1].shape != rgb.shape:
            raise DataError(
                f"frame {entry.image} is of {rgb.shape[1]} x {rgb.shape[0]}, the one before it is not; expected one size"
            )
        _, frame, previous, previous_truth = before
        alphas, truths, frames = np.stack([previous, alpha]), np.stack([previous_truth, truth]), np.stack([frame, rgb])
        try:
            pairs.append((metrics.dtssd(alphas, truths), metrics.messddt(alphas, truths, frames)))
        except ValueError as error:
            raise DataError(f"frame {entry.image} cannot be compared with the one before: {error}") from error

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """Both metrics by matting and clip; as they are means over pairs, so is this."""
        return {
            matting: {
                clip: dict(zip(VIDEO_METRICS, np.mean(pairs, axis=0).tolist(), strict=True)) for clip, pairs in clips.items()
            }
            for matting, clips in self.pairs.items()
        }


_FRAME_FOLDERS = ("img", "image", "images", "input", "original")


def _keep_worst(kept: list[tuple[Case, list[Image]]], case: Case, planes: tuple[Image, Matte, Matte], count: int) -> None:
    """Put a case among the worst, if it is; images are kept at the size that the sheet shows."""
    kept.sort(key=lambda pair: -pair[0].metrics["SAD"])
    if len(kept) >= count and kept[-1][0].metrics["SAD"] >= case.metrics["SAD"]:
        return
    rgb, alpha, truth = planes
    grey = [np.rint(plane.clip(0.0, 1.0) * 255.0).astype(np.uint8) for plane in (alpha, truth, np.abs(alpha - truth))]
    scale = min(1.0, CELL / max(truth.shape))
    size = tuple(max(1, round(side * scale)) for side in reversed(truth.shape))
    small = [np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in (rgb, *grey)]
    kept[count - 1 :] = []
    kept.append((case, small))


def _write_sheet(path: Path, kept: Sequence[tuple[Case, list[Image]]]) -> None:
    ordered = sorted(kept, key=lambda pair: -pair[0].metrics["SAD"])
    labels = [f"{case.name}, {case.matting}: SAD {case.metrics['SAD']:.2f}, MSE {case.metrics['MSE']:.4f}" for case, _ in ordered]
    sheet = contact_sheet([pictures for _, pictures in ordered], labels, ("image", "prediction", "truth", "error"))
    write_picture(path, sheet)


def _unwritten(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write {path}: {error.strerror}; make room or give another folder")
