"""Evaluates mattes of whole images at their own size with all metrics of the paper.

Images are read ahead and mattes measured by threads beside the network, a bounded number of them, in the order of the images:
all cores work, memory does not grow with the set, and neither Conn nor Grad keeps the network waiting.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from streammat.train.data.images import Image, Matte
from streammat.train.data.layouts import Entry, load_pair, load_trimap
from streammat.train.data.pool import write_image
from streammat.train.errors import DataError, RunError
from streammat.train.evaluation.results import Case, Rows
from streammat.train.measures import metrics
from streammat.train.measures.contact_sheet import CELL, contact_sheet

Predictor = Callable[[Image], Mapping[str, Matte]]
"""A function from uint8 (H, W, 3) RGB to one or more mattes, float32 (H, W), 0..1, by name, such as that of a test strategy."""
TrimapPredictor = Callable[[Image, Image], Mapping[str, Matte]]
"""The same from an image and its trimap, uint8 (H, W), 0, 128 and 255."""

METRICS = ("SAD", "MSE", "MAD", "Grad", "Conn", "SAD-TRAN", "SAD-FG", "SAD-BG")
"""Columns of the paper's Table 1, in its order."""
VIDEO_METRICS = ("dtSSD", "MESSDdt")


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of `evaluate_set`: further measures, and what to show."""

    binary: bool = False
    """Labels are masks: also measure IoU at 0.5."""
    trimaps: str | None = None
    """Trimaps for the matting: ``given``, only the data set's own, or ``made``, made from the truth if there are none. None:
    images alone.
    """
    video: bool = False
    """Images of one folder are the frames of a clip, in the order of their names: also measure dtSSD and MESSDdt."""
    worst: int = 8
    """Number of images on the sheet of worst cases, by SAD."""
    workers: int | None = None
    """Threads that measure beside the network; None: one per core. 0: no threads, so that the seconds are the network's alone."""
    identity: str = ""
    """Identity as in `streammat.train.evaluation.results.Rows`: a run of the same identity continues an interrupted one. Clips
    are always measured anew.
    """


@dataclass(frozen=True)
class Evaluation:
    """All results of an evaluation."""

    cases: tuple[Case, ...]
    clips: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """`VIDEO_METRICS` by matting and clip."""

    def averages(self) -> dict[str, dict[str, float]]:
        """Return means over images, as in the paper, and of the video metrics over clips; by matting."""
        means: dict[str, dict[str, float]] = {}
        for matting in dict.fromkeys(case.matting for case in self.cases):
            rows = [case.metrics for case in self.cases if case.matting == matting]
            means[matting] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            clips = list(self.clips.get(matting, {}).values())
            means[matting] |= {name: float(np.mean([clip[name] for clip in clips])) for name in (VIDEO_METRICS if clips else ())}
        return means


def evaluate_set(
    entries: Sequence[Entry],
    matting: Predictor | TrimapPredictor,
    out: Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    report: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Measure mattes of a data set.

    Args:
        entries: as from `streammat.train.data.layouts.open_layout`, at least one.
        matting: makes the mattes.
        out: receives ``pictures.csv``, a row for each matte as soon as it is measured, and ``worst.png``, image, prediction,
            truth and error of the worst cases (``worst-2.png`` … for further mattings). None: nothing is written.
        options: further measures.
        report: called with a line for each image.

    Returns: All results.

    Raises:
        ValueError: there are no entries.
        DataError: an image, label or trimap is missing or broken, sizes differ, or a clip has one frame; earlier results are in
            ``pictures.csv``.
        RunError: ``out`` cannot be written, or a matte has values that are not alpha.
    """
    if not entries:
        raise ValueError("no images to evaluate on")
    if options.trimaps == "given" and (bare := [entry for entry in entries if entry.trimap is None]):
        raise DataError(
            f"{bare[0].image} has no trimap ({len(bare)} of {len(entries)} lack one), and the method needs one; put them into trimap/ "
            "beside the mattes, or give --made-trimaps to make them from the truth"
        )
    found = _Found(entries, matting, options)
    with Rows(out, (*METRICS, "IoU") if options.binary else METRICS, "" if options.video else options.identity) as rows:
        for case in rows.kept:
            found.keep(case)
        done = len({case.name for case in rows.kept})
        if done:
            report(f"{done} of {len(entries)} images were measured before")
        for number, measured in enumerate(_measured(entries[done:], matting, options), done + 1):
            for case, alpha in zip(measured.cases, measured.mattes.values(), strict=True):
                rows.add(case)
                found.add(measured.loaded, case, alpha)
            first = measured.cases[0]
            report(f"{number}/{len(entries)} {first.name}: SAD {first.metrics['SAD']:.2f}, {first.seconds * len(measured.cases):.1f} s")
        if out is not None:
            found.write_sheets(out)
    return found.evaluation()


class _Loaded(NamedTuple):
    """A loaded image with its label and trimap."""

    entry: Entry
    rgb: Image
    truth: Matte
    trimap: Image


class _Measured(NamedTuple):
    """Results for one image; cases and mattes in the same order."""

    loaded: _Loaded
    mattes: Mapping[str, Matte]
    cases: Sequence[Case]


def _measured(entries: Sequence[Entry], matting: Predictor | TrimapPredictor, options: EvaluationOptions) -> Iterator[_Measured]:
    """Yield images in order, each with its figures; results before an error are yielded first."""
    workers = len(os.sched_getaffinity(0)) if options.workers is None and hasattr(os, "sched_getaffinity") else options.workers
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers == 0:
        for entry in entries:
            loaded = _load(entry, options)
            yield _measure_all(loaded, *_matted(matting, loaded, options), options)
        return
    with ThreadPoolExecutor(workers, "evaluate") as pool:
        waiting = iter(entries)
        ahead: deque[Future[_Loaded]] = deque(pool.submit(_load, entry, options) for entry in islice(waiting, _AHEAD))
        behind: deque[Future[_Measured]] = deque()
        try:
            while ahead:
                try:
                    loaded = ahead.popleft().result()
                    ahead.extend(pool.submit(_load, entry, options) for entry in islice(waiting, 1))
                    matted = _matted(matting, loaded, options)
                except Exception:
                    while behind:
                        yield behind.popleft().result()
                    raise
                behind.append(pool.submit(_measure_all, loaded, *matted, options))
                while len(behind) > workers or (behind and behind[0].done()):
                    yield behind.popleft().result()
            while behind:
                yield behind.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _load(entry: Entry, options: EvaluationOptions) -> _Loaded:
    rgb, label = load_pair(entry)
    trimap = load_trimap(entry, label, exact=options.trimaps is not None)
    return _Loaded(entry, rgb, label.astype(np.float32) / np.float32(255.0), trimap)


def _matted(matting: Predictor | TrimapPredictor, loaded: _Loaded, options: EvaluationOptions) -> tuple[Mapping[str, Matte], float]:
    """Return mattes, and the seconds of each."""
    given = () if options.trimaps is None else (loaded.trimap,)
    started = time.perf_counter()
    mattes = matting(loaded.rgb, *given)
    return mattes, (time.perf_counter() - started) / len(mattes)


def _measure_all(loaded: _Loaded, mattes: Mapping[str, Matte], seconds: float, options: EvaluationOptions) -> _Measured:
    cases = []
    for name, alpha in mattes.items():
        try:
            figures = measure(alpha, loaded.truth, loaded.trimap, binary=options.binary)
        except ValueError as error:  # a network that was trained to NaN, for one
            raise RunError(f"matte of {loaded.entry.image} by {name} cannot be measured: {error}; leave it out, or train it again") from error
        height, width = loaded.truth.shape
        cases.append(Case(loaded.entry.name, name, width, height, figures, seconds, loaded.entry.trimap is None))
    return _Measured(loaded, mattes, cases)


def measure(alpha: Matte, truth: Matte, trimap: Image, *, binary: bool = False) -> dict[str, float]:
    """Measure all metrics of one matte.

    Args:
        alpha: float (H, W), 0..1.
        truth: float (H, W), 0..1.
        trimap: uint8 (H, W): 0, 128, 255.
        binary: also IoU.

    Returns:
        `METRICS`, by name and in their order.
    """
    regions = metrics.sad_regions(alpha, truth, trimap)
    whole = (f(alpha, truth) for f in (metrics.sad, metrics.mse, metrics.mad, metrics.grad, metrics.conn))
    figures = dict(zip(METRICS, (*whole, *regions), strict=True))
    return figures | ({"IoU": metrics.iou(alpha, truth)} if binary else {})


class _Found:
    """Results of a run so far; only the worst images are kept, reduced."""

    def __init__(self, entries: Sequence[Entry], matting: Predictor | TrimapPredictor, options: EvaluationOptions) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.matting, self.options = matting, options
        self.cases: list[Case] = []
        self.clips = _Clips(entries) if options.video else None
        self.worst: dict[str, list[tuple[Case, list[Image] | None]]] = {}

    def keep(self, case: Case) -> None:
        """Add a case of an earlier run, whose matte is made again if it is shown."""
        self.cases.append(case)
        self._rank(case, lambda: None)

    def add(self, loaded: _Loaded, case: Case, alpha: Matte) -> None:
        """Add a case of this run; those of a clip in the order of its frames."""
        self.cases.append(case)
        self._rank(case, lambda: _small(loaded.rgb, alpha, loaded.truth))
        if self.clips is not None:
            self.clips.add(loaded.entry, case.matting, loaded.rgb, alpha, loaded.truth)

    def _rank(self, case: Case, images: Callable[[], list[Image] | None]) -> None:
        kept, count = self.worst.setdefault(case.matting, []), self.options.worst
        kept.sort(key=lambda pair: -pair[0].metrics["SAD"])
        if len(kept) >= count and kept[-1][0].metrics["SAD"] >= case.metrics["SAD"]:
            return
        kept[count - 1 :] = []
        kept.append((case, images()))

    def write_sheets(self, out: Path) -> None:
        """Write ``worst.png`` … of each matting."""
        for number, kept in enumerate(self.worst.values(), 1):
            shown = [(case, self._again(case) if images is None else images) for case, images in kept]
            _write_sheet(out / ("worst.png" if number == 1 else f"worst-{number}.png"), shown)

    def _again(self, case: Case) -> list[Image]:
        loaded = _load(self.entries[case.name], self.options)
        mattes, _ = _matted(self.matting, loaded, self.options)
        return _small(loaded.rgb, mattes[case.matting], loaded.truth)

    def evaluation(self) -> Evaluation:
        """Return all results."""
        return Evaluation(tuple(self.cases), {} if self.clips is None else self.clips.means())


class _Clips:
    """Computes video metrics of clips frame by frame; only the last frame is kept."""

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
            raise DataError(f"frame {entry.image} cannot be compared with the one before: {error}; expected frames of one size") from error

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return both metrics by matting and clip, as means over pairs of frames."""
        return {
            matting: {
                clip: dict(zip(VIDEO_METRICS, np.mean(pairs, axis=0).tolist(), strict=True)) for clip, pairs in clips.items()
            }
            for matting, clips in self.pairs.items()
        }


_AHEAD = 2
"""Number of images read ahead of the network."""
_FRAME_FOLDERS = ("img", "image", "images", "input", "original")


def _small(rgb: Image, alpha: Matte, truth: Matte) -> list[Image]:
    """Return image, prediction, truth and error at the size that the sheet shows."""
    grey = [np.rint(plane.clip(0.0, 1.0) * 255.0).astype(np.uint8) for plane in (alpha, truth, np.abs(alpha - truth))]
    scale = min(1.0, CELL / max(truth.shape))
    size = tuple(max(1, round(side * scale)) for side in reversed(truth.shape))
    return [np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in (rgb, *grey)]


def _write_sheet(path: Path, kept: Sequence[tuple[Case, list[Image]]]) -> None:
    ordered = sorted(kept, key=lambda pair: -pair[0].metrics["SAD"])
    labels = [f"{case.name}, {case.matting}: SAD {case.metrics['SAD']:.2f}, MSE {case.metrics['MSE']:.4f}" for case, _ in ordered]
    sheet = contact_sheet([pictures for _, pictures in ordered], labels, ("image", "prediction", "truth", "error"))
    write_image(path, sheet)

