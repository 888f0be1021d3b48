"""Makes the layers for RSSN, once per data set: foreground and background colours, and denoised images.

==================  ===================================================================================================
``fg``, ``bg``      colours of subject and background by the closed-form method (Levin et al. 2008, equation 19), given
                    image and alpha
``fg_denoise``      ``fg`` by BM3D, see `streammat.train.rssn.compose_sample.denoise`
``original_denoise``  the image by BM3D
``<set>_denoise``   of a folder of backgrounds, beside it: each by BM3D
==================  ===================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streammat.train.data.images import Image, read_rgb
from streammat.train.data.layouts import BACKGROUND_FOLDERS, Entry, load_pair, open_backgrounds, open_layout
from streammat.train.data.pool import Outcome, Tell, run_jobs, write_image
from streammat.train.errors import DataError
from streammat.train.rssn.compose_sample import BM3D_SIGMA, denoise

COLOURS, DENOISED = ("fg", "bg"), ("original_denoise", "fg_denoise")


@dataclass(frozen=True)
class LayerOptions:
    """Options of making layers."""

    denoise: bool = False
    """Also make denoised images; minutes each at full size."""
    sigma: float = BM3D_SIGMA
    """Noise for `streammat.train.rssn.compose_sample.denoise`, in grey levels."""
    long_side: int | None = None
    """Reduce larger images to this many pixels on their long side; None: keep their size."""
    out: Path | None = None
    """Folder for a separate data set in the layout of AM-2k, with images and mattes; None: beside the images."""


@dataclass(frozen=True)
class LayerJob:
    """One image of a data set."""

    entry: Entry
    folder: Path
    """Folder for ``fg/`` and the other layers."""
    stem: str
    options: LayerOptions

    def target(self, kind: str) -> Path:
        """Return the file of one kind of layer."""
        return self.folder / kind / f"{self.stem}.png"

    def wanted(self) -> list[Path]:
        """Return all files that the job makes."""
        copies = () if self.options.out is None else ("original", "mask")
        return [self.target(kind) for kind in (*copies, *COLOURS, *(DENOISED if self.options.denoise else ()))]


@dataclass(frozen=True)
class DenoiseJob:
    """One background."""

    image: Path
    target: Path
    options: LayerOptions


def estimate_colours(rgb: Image, alpha: Image) -> tuple[Image, Image]:
    """Estimate foreground and background of an image: the minimiser of equation 19 in Levin et al. 2008, by PyMatting.

    Args:
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W), 0..255.

    Returns:
        Foreground and background, uint8 (H, W, 3), straight colour. The foreground is continued smoothly where alpha is 0, and
        the background where alpha is 255.

    Raises:
        DataError: the solver does not converge.
    """
    from pymatting import estimate_foreground_cf

    try:
        colours = estimate_foreground_cf(rgb / 255.0, alpha / 255.0, return_background=True)
    except ValueError as error:
        raise DataError(f"closed-form colours cannot be found: {error}; remove the image") from error
    foreground, background = (np.rint(np.clip(colour, 0.0, 1.0) * 255.0).astype(np.uint8) for colour in colours)
    return foreground, background


def reduce(image: Image, long_side: int | None) -> Image:
    """Reduce an image, uint8 (H, W) or (H, W, 3), to at most ``long_side`` pixels on its long side; smaller ones are unchanged."""
    if long_side is None or max(image.shape[:2]) <= long_side:
        return image
    scale = long_side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def make_layers(
    data: Path, split: str, kind: str, options: LayerOptions, workers: int, report: Tell
) -> list[Outcome[LayerJob, int]]:
    """Make the missing layers of a data set.

    Args:
        data: root of the data set.
        split: as in `streammat.train.data.layouts.open_layout`.
        kind: layout, as there.
        options: which layers to make.
        workers: processes; 0: this one.
        report: called with one line at a time.

    Returns:
        The outcome of each image that was not done yet.

    Raises:
        DataError: the data set cannot be read, or has no place for layers.
        RunError: a file cannot be written.
    """
    if options.long_side is not None and options.out is None:
        raise DataError("reduced layers do not fit the images they are made from; give a folder for a data set of their own")
    entries = open_layout(data, split, kind)
    jobs = [_layer_job(entry, split, options) for entry in entries]
    missing = [job for job in jobs if not all(path.exists() for path in job.wanted())]
    report(f"layers: {len(missing)} of {len(jobs)} images to do")
    return run_jobs(make_one, missing, workers, report, "layers")


def denoise_backgrounds(
    root: Path, split: str, options: LayerOptions, workers: int, report: Tell
) -> list[Outcome[DenoiseJob, int]]:
    """Denoise the remaining images of a set of backgrounds, into ``<folder>_denoise`` beside it.

    Arguments, result and errors are those of `make_layers`.
    """
    entries = open_backgrounds(root, split)
    folder = next((root / name for name in BACKGROUND_FOLDERS.get(split, ()) if (root / name).is_dir()), root)
    place = folder.with_name(f"{folder.name}_denoise")
    # JPEG, as BG-20k's own: PNG files of the whole set would fill 50 GB.
    targets = {entry.image: place / entry.image.relative_to(folder).with_suffix(".jpg") for entry in entries}
    jobs = [DenoiseJob(image, target, options) for image, target in targets.items() if not target.exists()]
    report(f"backgrounds: {len(jobs)} of {len(entries)} to denoise")
    return run_jobs(denoise_one, jobs, workers, report, "backgrounds")


def make_one(job: LayerJob) -> int:
    """Make the missing files of one image; returns how many were written.

    Raises:
        DataError: its files cannot be used.
        RunError: a file cannot be written.
    """
    options = job.options
    rgb, alpha = (reduce(image, options.long_side) for image in load_pair(job.entry))
    missing = [path for path in job.wanted() if not path.exists()]
    planes = {"original": rgb, "mask": alpha}
    if any(path.parent.name in (*COLOURS, "fg_denoise") for path in missing):
        done = [job.target(kind) for kind in COLOURS]
        if all(path.exists() for path in done):
            colours = read_rgb(done[0]), read_rgb(done[1])
        else:
            try:
                colours = estimate_colours(rgb, alpha)
            except DataError as error:
                raise DataError(f"{job.entry.image}: {error}") from error
        planes.update(zip(COLOURS, colours, strict=True))
    for path in missing:
        kind = path.parent.name
        plane = denoise(planes["fg" if kind == "fg_denoise" else "original"], options.sigma) if kind in DENOISED else planes[kind]
        write_image(path, plane)
    return len(missing)


def denoise_one(job: DenoiseJob) -> int:
    """Denoise one background; returns 1, the number of files written. Errors as in `make_one`."""
    write_image(job.target, denoise(reduce(read_rgb(job.image), job.options.long_side), job.options.sigma))
    return 1


def _layer_job(entry: Entry, split: str, options: LayerOptions) -> LayerJob:
    if options.out is not None:
        return LayerJob(entry, options.out / split, entry.name.replace("/", "_"), options)
    if entry.foreground == entry.image:
        raise DataError(f"{entry.image} is a foreground already; RSSN composes this data set as it is, without layers")
    if entry.image.parent == entry.alpha.parent:
        raise DataError(
            f"{entry.image.parent} holds images and mattes in one folder, which leaves layers no place; "
            "give a folder for a data set of their own"
        )
    return LayerJob(entry, entry.image.parent.parent, entry.image.stem, options)
