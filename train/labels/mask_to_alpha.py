"""Makes alpha mattes and foreground colours from binary masks, once, in a cache.

A binary mask tells little about hair. So the mask's edge is widened to a thin unknown band, in which closed-form matting (Levin
et al. 2008) computes alpha; multi-level foreground estimation (Germer et al. 2020) then removes the old background's colour from
the edge, so that a subject can be put on another background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image, read_alpha, read_rgb
from streammat.train.data.layout_parts import by_stem
from streammat.train.data.pool import Outcome, Tell, run_jobs, write_image
from streammat.train.errors import DataError
from streammat.train.measures.contact_sheet import contact_sheet, evenly_spaced, on_colour

LONG_SIDE = 512
"""Default limit of the long side of cached images, in pixels; training crops are smaller."""
SHEET = "sheet.png"
_WIDEST = 9  # radius of the band at most, in pixels of an image of LONG_SIDE


@dataclass(frozen=True)
class MatteSet:
    """The accuracy of the masks of one training set."""

    folder: str
    """Below ``<data>/train``, or empty: ``<data>`` itself; it has ``img/`` and ``mask/`` or ``alpha/``."""
    inside: float
    """Width of the unknown band inside the mask, as a fraction of the square root of the subject's area; 0: true alpha."""
    outside: float
    """Width of the band outside the mask, likewise."""


# Portrait masks follow the hair; parsing masks and polygons are looser, so their bands are wider.
MATTE_SETS: tuple[MatteSet, ...] = (
    MatteSet("people_portraits", 0.014, 0.016),
    MatteSet("people_fullbody", 0.022, 0.022),
    MatteSet("animals_cats", 0.020, 0.020),
    MatteSet("animals_horses", 0.016, 0.016),
    MatteSet("detail_alpha", 0.0, 0.0),
)
PLAIN_SET = MatteSet("", 0.020, 0.020)
"""Settings for any folder with ``img/`` and ``mask/``."""


@dataclass(frozen=True)
class MatteJob:
    """One image and its mask."""

    image: Path
    label: Path | None
    """The mask; None: missing, which is reported when the image is processed."""
    out: Path
    """Folder of the set in the cache."""
    spec: MatteSet
    long_side: int

    def target(self, kind: str) -> Path:
        """Return the file of a kind in the cache: ``img``, ``alpha`` or ``fg``."""
        return self.out / kind / f"{self.image.stem}{'.png' if kind == 'alpha' else '.jpg'}"


def trimap_from_mask(mask: NDArray[np.uint8], inside: float, outside: float) -> NDArray[np.float64]:
    """Widen the edge of a binary mask to an unknown band.

    Args:
        mask: uint8 (H, W), 0 or 255.
        inside: width of the band inside the subject, relative to the square root of its area.
        outside: width outside, likewise.

    Returns:
        float64 (H, W): 0 background, 0.5 unknown, 1 foreground.
    """
    size = float(np.sqrt(np.count_nonzero(mask > 127)))
    widest = round(_WIDEST * max(1.0, max(mask.shape) / LONG_SIDE))
    border = widest + 1

    def kernel(fraction: float) -> NDArray[np.uint8]:
        radius = int(np.clip(round(fraction * size), 2, widest))
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)

    # The border is repeated, so that a subject cut by the image's edge stays certain there.
    binary = np.where(mask > 127, 255, 0).astype(np.uint8)
    padded = cv2.copyMakeBorder(binary, border, border, border, border, cv2.BORDER_REPLICATE)
    core = cv2.erode(padded, kernel(inside))[border:-border, border:-border]
    reach = cv2.dilate(padded, kernel(outside))[border:-border, border:-border]
    trimap = np.full(mask.shape, 0.5)
    trimap[core > 127] = 1.0
    trimap[reach <= 127] = 0.0
    return trimap


def matte_from_mask(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], inside: float, outside: float) -> NDArray[np.uint8]:
    """Compute the alpha of an image by closed-form matting in the band around its mask's edge.

    Args:
        rgb: uint8 (H, W, 3), 0..255.
        mask: uint8 (H, W), 0 or 255.
        inside: see `trimap_from_mask`.
        outside: see `trimap_from_mask`.

    Returns:
        uint8 (H, W), 0..255.

    Raises:
        DataError: the solver does not converge.
    """
    from pymatting import estimate_alpha_cf

    trimap = trimap_from_mask(mask, inside, outside)
    unknown = (trimap > 0.0) & (trimap < 1.0)
    if not unknown.any() or not (trimap == 1.0).any() or not (trimap == 0.0).any():
        return mask
    try:
        alpha = estimate_alpha_cf(rgb / 255.0, trimap, laplacian_kwargs={"epsilon": 1e-5})
    except ValueError as error:
        raise DataError(f"closed-form matting failed: {error}; remove the image") from error
    # If colours do not separate, the closed form gives a grey smear; averaging with the mask limits that.
    soft = cv2.GaussianBlur(mask.astype(np.float64) / 255.0, (0, 0), 1.2)
    doubt = np.clip(np.abs(alpha - soft) * 2.0 - 0.8, 0.0, 0.5)
    alpha = np.where(unknown, alpha + doubt * (soft - alpha), alpha)
    result: NDArray[np.uint8] = np.clip(np.rint(alpha * 255.0), 0, 255).astype(np.uint8)
    return result


def prepare_one(job: MatteJob) -> int:
    """Write the alpha, foreground and image of one pair; the image is written last, so its presence means that the pair is done.

    Returns:
        1, the number of pairs.

    Raises:
        DataError: a file is missing or broken, or their sizes differ.
        RunError: a file cannot be written.
    """
    from pymatting import estimate_foreground_ml

    if job.label is None:
        raise DataError(f"{job.image} has no mask of the same name beside it; add the mask or remove the image")
    rgb, label = read_rgb(job.image), read_alpha(job.label)
    if rgb.shape[:2] != label.shape:
        raise DataError(
            f"{job.label} is {label.shape[1]}x{label.shape[0]} pixels but {job.image} is {rgb.shape[1]}x{rgb.shape[0]}; "
            "both must have the same size; download or make the pair again"
        )
    scale = min(1.0, job.long_side / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    rgb, label = (np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8) for plane in (rgb, label))
    if job.spec.inside > 0:
        mask = np.where(label > 127, 255, 0).astype(np.uint8)
        try:
            label = matte_from_mask(rgb, mask, job.spec.inside, job.spec.outside)
        except DataError as error:
            raise DataError(f"{job.image}: {error}") from error
    foreground = estimate_foreground_ml(rgb / 255.0, label / 255.0)
    write_image(job.target("alpha"), label)
    write_image(job.target("fg"), np.clip(np.rint(foreground * 255.0), 0, 255).astype(np.uint8))
    write_image(job.target("img"), rgb)
    return 1


def make_mattes(
    data: Path, cache: Path, workers: int, report: Tell, long_side: int = LONG_SIDE, plain: MatteSet = PLAIN_SET
) -> list[Outcome[MatteJob, int]]:
    """Write mattes for every pair that has none yet; may be interrupted and run again.

    Args:
        data: folder with ``train/<set>/img`` and ``mask`` or ``alpha`` for the sets of `MATTE_SETS`, or with ``img`` and
            ``mask`` of its own.
        cache: folder for ``<set>/img/*.jpg``, ``<set>/alpha/*.png`` and ``<set>/fg/*.jpg`` of equal size; without
            ``<set>/`` where ``data`` is a single set.
        workers: processes; 0: this one.
        report: called with one line at a time.
        long_side: larger images are reduced to this many pixels on their long side.
        plain: settings if ``data`` is a single set.

    Returns:
        The outcome of each pair.

    Raises:
        DataError: ``data`` has no training set.
        RunError: a file cannot be written, or a worker died.
    """
    jobs = _list_jobs(data, cache, long_side, plain)
    if not jobs:
        raise DataError(f"no training images in {data}; expected train/<set>/img and mask, or img and mask, in it")
    missing = [job for job in jobs if not job.target("img").exists()]
    # Sets are mixed, so that an early look at the cache shows all of them.
    missing.sort(key=lambda job: job.image.stem[::-1])
    return run_jobs(prepare_one, missing, workers, report, "mattes")


def prepare_mattes(data: Path, cache: Path, workers: int, report: Tell) -> int:
    """Call `make_mattes` and return only the number of pairs that were written now."""
    return sum(not outcome.problem for outcome in make_mattes(data, cache, workers, report))


def write_sheet(data: Path, cache: Path, samples: int) -> Path | None:
    """Write ``sheet.png`` for judging mattes by eye: image, mask, alpha, and the subject on green and on magenta.

    Args:
        data: as in `make_mattes`.
        cache: the folder that it filled.
        samples: number of images of each set, spread evenly.

    Returns:
        The file; None if there are no mattes.
    """
    by_set: dict[Path, list[MatteJob]] = {}
    for job in _list_jobs(data, cache, LONG_SIDE, PLAIN_SET):
        if job.label is not None and job.target("img").exists():
            by_set.setdefault(job.out, []).append(job)
    chosen = [jobs[index] for jobs in by_set.values() for index in evenly_spaced(len(jobs), samples)]
    if not chosen:
        return None
    rows = [_sheet_row(job) for job in chosen]
    labels = [f"{job.spec.folder}/{job.image.name}".lstrip("/") for job in chosen]
    write_image(cache / SHEET, contact_sheet(rows, labels, ("image", "mask", "alpha", "on green", "on magenta"), cell=384))
    return cache / SHEET


def _sheet_row(job: MatteJob) -> Sequence[Image]:
    assert job.label is not None
    alpha, foreground = read_alpha(job.target("alpha")), read_rgb(job.target("fg"))
    backs = ((0, 200, 0), (220, 0, 220))
    return (read_rgb(job.target("img")), read_alpha(job.label), alpha, *(on_colour(foreground, alpha, back) for back in backs))


def _list_jobs(data: Path, cache: Path, long_side: int, plain: MatteSet) -> list[MatteJob]:
    """List every image of every existing set, done or not."""
    sets = [(spec, data / "train" / spec.folder, cache / spec.folder) for spec in MATTE_SETS]
    jobs: list[MatteJob] = []
    for spec, source, out in (*sets, (plain, data, cache)):
        if not (source / "img").is_dir():
            continue
        folder = source / ("alpha" if spec.inside == 0 else "mask")
        labels = by_stem(folder) if folder.is_dir() else {}
        jobs += [MatteJob(image, labels.get(stem), out, spec, long_side) for stem, image in by_stem(source / "img").items()]
    return jobs
