"""Writes composites to disk as a data set in the layout of AM-2k, for inspection or for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streammat.train.data.images import read_rgb
from streammat.train.data.layouts import BackgroundEntry, Entry
from streammat.train.data.manifest import read_manifest, write_manifest
from streammat.train.data.pool import Outcome, Tell, run_jobs, write_image
from streammat.train.errors import RunError
from streammat.train.measures.contact_sheet import contact_sheet, evenly_spaced
from streammat.train.rssn.compose_sample import ComposedImages, Rssn, draw_steps, make_composite

MANIFEST, SHEET = "manifest.csv", "sheet.png"
_KINDS = ("mask", "fg", "bg", "original")  # the composite comes last: where it is, the others are
_SHEET_ROWS, _SHEET_COLUMNS = 10, 8


@dataclass(frozen=True)
class Row:
    """A line of the manifest, with its values as text."""

    composite: str
    foreground: str
    background: str
    denoise: str
    """Whether the step was applied: ``1`` or ``0``."""
    blur_kernel: str
    """Side of the square in pixels, ``0`` without blur."""
    noise: str
    """Whether the step was applied: ``1`` or ``0``."""


@dataclass(frozen=True)
class ComposeJob:
    """One composite."""

    folder: Path
    stem: str
    entry: Entry
    behind: BackgroundEntry
    rssn: Rssn
    seed: tuple[int, int]

    def target(self, kind: str) -> Path:
        """Return the file of one layer."""
        return self.folder / kind / f"{self.stem}.png"

    def row(self) -> Row:
        """Return the steps determined by the seed."""
        steps = draw_steps(np.random.default_rng(self.seed), self.rssn)
        flags = (str(int(steps.denoise)), str(steps.kernel), str(int(steps.noise)))
        assert self.entry.foreground is not None
        return Row(self.stem, str(self.entry.foreground.resolve()), str(self.behind.image.resolve()), *flags)


def write_composites(composites: ComposedImages, out: Path, workers: int, report: Tell) -> list[Outcome[ComposeJob, int]]:
    """Write the missing composites, ``manifest.csv`` and ``sheet.png``.

    Args:
        composites: what to compose; the random choices of composite ``i`` follow from its seed and ``i``.
        out: folder for ``train/{original,mask,fg,bg}/<foreground>_<copy>.png``: the composite, its matte, and the blended layers.
        workers: processes; 0: this one.
        report: called with one line at a time.

    Returns:
        The outcome of each missing composite.

    Raises:
        RunError: a file cannot be written, or ``out`` has composites made from other files or with other options.
    """
    jobs = [_job(composites, index, out) for index in range(len(composites))]
    rows = {job.stem: job.row() for job in jobs}
    for row in read_manifest(out / MANIFEST, Row):
        if row != rows.get(row.composite, row):
            raise RunError(
                f"{out} holds composites made from other files or by other options ({row.composite} differs); "
                "choose another folder"
            )
    # Before the work, so that an interrupted call leaves what the next one is held to.
    write_manifest(out / MANIFEST, rows.values(), Row)
    missing = [job for job in jobs if not job.target("original").exists()]
    report(f"compose: {len(missing)} of {len(jobs)} composites to do")
    outcomes = run_jobs(compose_one, missing, workers, report, "compose")
    made = [job for job in jobs if job.target("original").exists()]
    write_manifest(out / MANIFEST, [rows[job.stem] for job in made], Row)
    if made:
        _write_sheet(out / SHEET, made, composites.per_foreground)
        report(f"compose: look at {out / SHEET}")
    return outcomes


def compose_one(job: ComposeJob) -> int:
    """Write one composite and its layers; returns how many files.

    Raises:
        DataError: its files cannot be used.
        RunError: a file cannot be written.
    """
    layers, _ = make_composite(np.random.default_rng(job.seed), job.entry, job.behind, job.rssn)
    planes = {"original": layers.rgb, "mask": layers.alpha, "fg": layers.foreground, "bg": layers.background}
    for kind in _KINDS:
        write_image(job.target(kind), planes[kind])
    return len(_KINDS)


def _job(composites: ComposedImages, index: int, out: Path) -> ComposeJob:
    entry, behind = composites.pair(index)
    stem = f"{entry.name.replace('/', '_')}_{index % composites.per_foreground}"
    return ComposeJob(out / "train", stem, entry, behind, composites.rssn, (composites.seed, index))


def _write_sheet(path: Path, jobs: list[ComposeJob], per_foreground: int) -> None:
    """Write a sheet with a row for each of some foregrounds: the foreground, then its composites."""
    by_entry: dict[Path, list[ComposeJob]] = {}
    for job in jobs:
        by_entry.setdefault(job.entry.image, []).append(job)
    groups = list(by_entry.values())
    shown = [groups[index][:_SHEET_COLUMNS] for index in evenly_spaced(len(groups), _SHEET_ROWS)]
    rows = [[read_rgb(kept[0].target("fg")), *(read_rgb(job.target("original")) for job in kept)] for kept in shown]
    labels = [f"{kept[0].entry.name}: " + " | ".join(_summary(job.row()) for job in kept) for kept in shown]
    headings = ("foreground", *(f"composite {copy}" for copy in range(min(per_foreground, _SHEET_COLUMNS))))
    write_image(path, contact_sheet(rows, labels, headings))


def _summary(row: Row) -> str:
    steps = ("denoise" * (row.denoise == "1"), f"blur {row.blur_kernel}" * (row.blur_kernel != "0"), "noise" * (row.noise == "1"))
    return ", ".join(filter(None, steps)) or "plain"
