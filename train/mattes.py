"""Alpha mattes and foreground colours from binary masks, written once to a cache.

A binary mask tells little about hair. The mask's edge is opened to a thin unknown band and closed-form matting
(Levin et al. 2008) decides it; multi-level foreground estimation (Germer et al. 2020) then removes the old background's
colour from the edge, so that a subject can be put on another background.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 512
"""Cached pictures have at most this many pixels on their long side; training crops are smaller."""


@dataclass(frozen=True)
class MatteSet:
    """How far the masks of one training set can be trusted."""

    folder: str
    """Below ``<data>/train``; holds ``img/`` and ``mask/`` or ``alpha/``."""
    inside: float
    """Width of the unknown band inside the mask, as a fraction of the square root of the subject's area."""
    outside: float
    """The same outside the mask."""


# Portrait masks follow the hair; parsing masks and polygons are looser, so their bands are wider.
MATTE_SETS: tuple[MatteSet, ...] = (
    MatteSet("people_portraits", 0.014, 0.016),
    MatteSet("people_fullbody", 0.022, 0.022),
    MatteSet("animals_cats", 0.020, 0.020),
    MatteSet("animals_horses", 0.016, 0.016),
    MatteSet("detail_alpha", 0.0, 0.0),
)


def trimap_from_mask(mask: NDArray[np.uint8], inside: float, outside: float) -> NDArray[np.float64]:
    """Open the edge of a binary mask to an unknown band.

    Args:
        mask: uint8 (H, W), 0 or 255.
        inside: width of the band inside the subject over the square root of its area.
        outside: the same outside.

    Returns:
        float64 (H, W): 0 background, 0.5 unknown, 1 foreground.
    """
    size = float(np.sqrt(np.count_nonzero(mask > 127)))

    def kernel(fraction: float) -> NDArray[np.uint8]:
        radius = int(np.clip(round(fraction * size), 2, 9))
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)

    # The border is repeated, so that a subject cut by the picture's edge stays certain there.
    padded = cv2.copyMakeBorder(np.where(mask > 127, 255, 0).astype(np.uint8), 10, 10, 10, 10, cv2.BORDER_REPLICATE)
    core = cv2.erode(padded, kernel(inside))[10:-10, 10:-10]
    reach = cv2.dilate(padded, kernel(outside))[10:-10, 10:-10]
    trimap = np.full(mask.shape, 0.5)
    trimap[core > 127] = 1.0
    trimap[reach <= 127] = 0.0
    return trimap


def matte_from_mask(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], inside: float, outside: float) -> NDArray[np.uint8]:
    """Alpha of a picture by closed-form matting in the band around its mask's edge.

    Args:
        rgb: uint8 (H, W, 3), 0..255.
        mask: uint8 (H, W), 0 or 255.
        inside: see `trimap_from_mask`.
        outside: see `trimap_from_mask`.

    Returns:
        uint8 (H, W), 0..255.
    """
    from pymatting import estimate_alpha_cf

    trimap = trimap_from_mask(mask, inside, outside)
    unknown = (trimap > 0.0) & (trimap < 1.0)
    if not unknown.any() or not (trimap == 1.0).any() or not (trimap == 0.0).any():
        return mask
    alpha = estimate_alpha_cf(rgb / 255.0, trimap, laplacian_kwargs={"epsilon": 1e-5})
    # Where colours do not separate, the closed form leaves a grey smear: half of the mask's own opinion keeps it honest.
    soft = cv2.GaussianBlur(mask.astype(np.float64) / 255.0, (0, 0), 1.2)
    doubt = np.clip(np.abs(alpha - soft) * 2.0 - 0.8, 0.0, 0.5)
    alpha = np.where(unknown, alpha + doubt * (soft - alpha), alpha)
    result: NDArray[np.uint8] = np.clip(np.rint(alpha * 255.0), 0, 255).astype(np.uint8)
    return result


def _prepare_one(job: tuple[str, str, str, str, float, float]) -> str:
    """Write the alpha, foreground and picture of one pair; the picture comes last, so its presence means done."""
    from pymatting import estimate_foreground_ml

    image_path, label_path, out_dir, stem, inside, outside = job
    out = Path(out_dir)
    bgr = cv2.imread(image_path, cv2.IMREAD_COLOR)
    label = cv2.imread(label_path, cv2.IMREAD_GRAYSCALE)
    if bgr is None or label is None:
        return f"unreadable: {image_path}"
    scale = min(1.0, LONG_SIDE / max(bgr.shape[:2]))
    size = (round(bgr.shape[1] * scale), round(bgr.shape[0] * scale))
    bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    label = cv2.resize(label, size, interpolation=cv2.INTER_AREA)
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    if inside > 0:
        label = matte_from_mask(rgb.astype(np.uint8, copy=False), np.where(label > 127, 255, 0).astype(np.uint8), inside, outside)
    foreground = estimate_foreground_ml(rgb / 255.0, label / 255.0)
    fg_bgr = np.clip(np.rint(foreground[:, :, ::-1] * 255.0), 0, 255).astype(np.uint8)
    cv2.imwrite(str(out / "alpha" / f"{stem}.png"), label)
    cv2.imwrite(str(out / "fg" / f"{stem}.jpg"), fg_bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    partial = out / "img" / f".{stem}.jpg"
    cv2.imwrite(str(partial), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    partial.rename(out / "img" / f"{stem}.jpg")
    return ""


def _be_nice() -> None:
    if hasattr(os, "nice"):
        os.nice(5)


def prepare_mattes(data: Path, cache: Path, workers: int, report: Callable[[str], None] = print) -> int:
    """Write mattes for every training pair that has none yet; safe to interrupt and to run again.

    Args:
        data: folder with ``train/<set>/img`` and ``mask`` or ``alpha``.
        cache: receives ``<set>/img/*.jpg``, ``<set>/alpha/*.png`` and ``<set>/fg/*.jpg`` of equal size.
        workers: processes.
        report: takes one line of progress.

    Returns:
        Pairs that were written now.

    Raises:
        FileNotFoundError: ``data`` holds none of the training sets.
    """
    jobs: list[tuple[str, str, str, str, float, float]] = []
    for spec in MATTE_SETS:
        source = data / "train" / spec.folder
        labels = source / ("alpha" if spec.inside == 0 else "mask")
        out = cache / spec.folder
        by_stem = {path.stem: path for path in sorted(labels.glob("*"))}
        for image in sorted((source / "img").glob("*")):
            if image.stem in by_stem and not (out / "img" / f"{image.stem}.jpg").exists():
                label = by_stem[image.stem]
                jobs.append((str(image), str(label), str(out), image.stem, spec.inside, spec.outside))
        for kind in ("img", "alpha", "fg"):
            (out / kind).mkdir(parents=True, exist_ok=True)
    if not jobs and not any(cache.glob("*/img/*.jpg")):
        raise FileNotFoundError(f"no training pictures under {data / 'train'}; expected <set>/img and <set>/mask")
    # Sets are mixed, so that an early look at the cache shows all of them.
    jobs.sort(key=lambda job: job[3][::-1])
    start = time.monotonic()
    # Spawned, not forked: a fork of a process with threads (torch, OpenVINO) can copy a lock that nobody will open.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_be_nice) as pool:
        for done, problem in enumerate(pool.map(_prepare_one, jobs, chunksize=4), 1):
            if problem:
                report(problem)
            if done % 100 == 0 or done == len(jobs):
                report(f"mattes: {done}/{len(jobs)} in {time.monotonic() - start:.0f} s")
    return len(jobs)
