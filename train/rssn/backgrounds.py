"""Builds a set of backgrounds from photographs, as BG-20k was made (Section 4.1).

It keeps photographs whose shorter side has at least 1080 pixels, reduced to 1080, and rejects near duplicates (perceptual hash)
and images with a salient person or animal, which in a composite would be a subject without alpha. The detector is this project's
own network: an image with more than a small share of subject is rejected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from streammat.engines.base import Engine
from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.train.data.images import Image, read_rgb
from streammat.train.data.layout_parts import image_files
from streammat.train.data.manifest import read_manifest, write_manifest
from streammat.train.data.pool import Tell, check_outcomes, run_jobs, write_image, write_whole
from streammat.train.errors import DataError
from streammat.train.measures.contact_sheet import contact_sheet, evenly_spaced, grid

MANIFEST, KEPT_SHEET, REJECTED_SHEET = "manifest.csv", "kept.png", "rejected.png"
UNREADABLE, SMALL, SUBJECT, DUPLICATE = "cannot be read", "too small", "subject covers", "duplicate of"
"""Prefixes of the reasons for rejection."""
_MEASURED = ".measured"
_SHAPES = ((288, 512), (384, 384), (512, 288))  # network inputs (height, width) for lying, square and standing images
_SHEET_IMAGES = 49


@dataclass(frozen=True)
class BackgroundOptions:
    """Options of the selection; the defaults follow BG-20k if the paper gives a number."""

    min_side: int = 1080
    """Pixels of the shorter side: smaller images are rejected, larger ones reduced to it."""
    distance: int = 6
    """Images whose 64-bit perceptual hashes differ in at most this many bits are near duplicates."""
    subject: float = 0.02
    """Largest share of subject in an image, 0..1; above 0, because the network has small false finds everywhere."""
    validation: float = 0.25
    """Share of the kept images that goes to ``testval``: BG-20k has 15,000 and 5,000."""
    seed: int = 0
    """Seed of the split."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one image, cached on disk because they are slow."""

    stamp: str
    """Size and time of the file and the model's digest, which identify the measurement."""
    width: int
    height: int
    fingerprint: str
    """64-bit perceptual hash (DCT), hexadecimal."""
    subject: float
    """Share of pixels with alpha above one half, 0..1."""


@dataclass(frozen=True)
class MeasureJob:
    """One image to measure."""

    image: Path
    target: Path
    model: Path
    stamp: str


@dataclass(frozen=True)
class WriteJob:
    """One image to reduce and write."""

    image: Path
    target: Path
    min_side: int


@dataclass(frozen=True)
class Verdict:
    """A line of the manifest, with its values as text."""

    picture: str
    """Name: source folder and path inside it."""
    split: str
    """``train``, ``testval``, or empty: rejected."""
    file: str
    """File in the set; empty: rejected."""
    size: str
    """Size of the file in the set, ``WIDTHxHEIGHT`` pixels; empty: rejected."""
    reason: str
    """Why it was rejected; empty: kept."""


def build_backgrounds(
    sources: Sequence[Path], out: Path, options: BackgroundOptions, model: Path, workers: int, report: Tell
) -> list[Verdict]:
    """Select photographs and write the set; measurements and files of an earlier call are reused.

    Args:
        sources: folders, searched recursively.
        out: folder for ``train/*.jpg``, ``testval/*.jpg``, ``manifest.csv``, ``kept.png`` and ``rejected.png``. Images listed in
            an earlier call's manifest that are no longer selected are removed.
        options: options of the selection.
        model: ONNX file of the detector, see `streammat.engines.model_files.ModelFiles.fp32`.
        workers: processes; 0: this one.
        report: called with one line at a time.

    Returns:
        A verdict for each image, ordered by name.

    Raises:
        DataError: a folder is missing, there are no images, or two would have the same name in the set.
        RunError: a file cannot be written.
        streammat.engines.base.EngineError: the model cannot be used.
    """
    pictures = _find(sources)
    measured, broken = _measure_all(pictures, out / _MEASURED, model, workers, report)
    verdicts = judge(measured, broken, options)
    earlier = read_manifest(out / MANIFEST, Verdict)
    fresh = {verdict.file: verdict for verdict in verdicts if verdict.file}
    for old in earlier:
        if old.file and fresh.get(old.file) != old:
            (out / old.file).unlink(missing_ok=True)
    write_manifest(out / MANIFEST, verdicts, Verdict)
    jobs = [
        WriteJob(pictures[verdict.picture], out / verdict.file, options.min_side)
        for verdict in fresh.values()
        if not (out / verdict.file).exists()
    ]
    written = run_jobs(write_one, jobs, workers, report, "writing")
    _write_sheets(verdicts, pictures, out)
    check_outcomes(written, "writing")
    return verdicts


def judge(measured: dict[str, Measured], broken: dict[str, str], options: BackgroundOptions) -> list[Verdict]:
    """Decide on every image; the first of several near duplicates, by name, is kept.

    Args:
        measured: measurements by name.
        broken: why images could not be read, by name.
        options: options of the selection.

    Returns:
        Verdicts ordered by name.
    """
    verdicts = [Verdict(name, "", "", "", f"{UNREADABLE}: {why}") for name, why in broken.items()]
    kept: list[str] = []
    hashes = np.zeros(len(measured), np.uint64)
    for name, found in sorted(measured.items()):
        own = np.uint64(int(found.fingerprint, 16))
        distances = np.bitwise_count(hashes[: len(kept)] ^ own)
        if min(found.width, found.height) < options.min_side:
            reason = f"{SMALL}: {found.width}x{found.height}"
        elif found.subject > options.subject:
            reason = f"{SUBJECT} {100 * found.subject:.1f} %"
        elif kept and distances.min() <= options.distance:
            reason = f"{DUPLICATE} {kept[int(distances.argmin())]} at distance {distances.min()}"
        else:
            hashes[len(kept)] = own
            kept.append(name)
            split = "testval" if _share(name, options.seed) < options.validation else "train"
            width, height = _reduced_size(found.width, found.height, options.min_side)
            verdicts.append(Verdict(name, split, f"{split}/{_file_name(name)}", f"{width}x{height}", ""))
            continue
        verdicts.append(Verdict(name, "", "", "", reason))
    return sorted(verdicts, key=lambda verdict: verdict.picture)


def subject_share(rgb: Image, model: Path) -> float:
    """Return the share of an image that the network takes for subject.

    Args:
        rgb: uint8 (H, W, 3).
        model: ONNX file.

    Returns:
        Share of pixels with alpha above 0.5, 0..1.

    Raises:
        streammat.engines.base.EngineError: the model cannot be used.
    """
    aspect = rgb.shape[0] / rgb.shape[1]
    height, width = min(_SHAPES, key=lambda shape: abs(np.log(aspect * shape[1] / shape[0])))
    small = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return float((_engine(model, (height, width)).infer(small[None]) > 0.5).mean())


def measure_one(job: MeasureJob) -> int:
    """Measure an image and write the result; returns 1, the number of files.

    Raises:
        DataError: it cannot be read.
    """
    import imagehash
    import PIL.Image

    rgb = read_rgb(job.image)
    fingerprint = str(imagehash.phash(PIL.Image.fromarray(rgb)))
    height, width = rgb.shape[:2]
    found = Measured(job.stamp, width, height, fingerprint, round(subject_share(rgb, job.model), 5))
    write_whole(job.target, json.dumps(asdict(found)).encode())
    return 1


def write_one(job: WriteJob) -> int:
    """Reduce an image and write it; returns 1, the number of files. Errors as in `measure_one`."""
    rgb = read_rgb(job.image)
    size = _reduced_size(rgb.shape[1], rgb.shape[0], job.min_side)
    write_image(job.target, np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8))
    return 1


def _find(sources: Sequence[Path]) -> dict[str, Path]:
    """Find the images, ordered by name."""
    found: dict[str, Path] = {}
    files: dict[str, str] = {}
    for source in sources:
        if not source.is_dir():
            raise DataError(f"folder {source} does not exist; give folders of photographs")
        root = source.resolve()
        for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
            for path in image_files(folder):
                name = f"{root.name}/{path.relative_to(root).as_posix()}"
                other = files.setdefault(_file_name(name), name)
                if other != name or name in found:
                    raise DataError(f"{found[other]} and {path} would both become {_file_name(name)}; rename one of them")
                found[name] = path
    if not found:
        raise DataError(f"no images in {', '.join(map(str, sources))}; expected photographs as JPEG or PNG")
    return dict(sorted(found.items()))


def _measure_all(
    pictures: dict[str, Path], folder: Path, model: Path, workers: int, report: Tell
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Return the measurements of all images, and why the others cannot be read."""
    digest = hashlib.sha256(ModelFiles(model.stem, model).read("fp32")).hexdigest()[:16]
    jobs, measured = {}, {}
    for name, path in pictures.items():
        status = path.stat()
        target = folder / f"{_file_name(name)}.json"
        stamp = f"{status.st_size} {status.st_mtime_ns} {digest}"
        known = _read_measured(target)
        if known is not None and known.stamp == stamp:
            measured[name] = known
        else:
            jobs[name] = MeasureJob(path, target, model, stamp)
    report(f"measuring: {len(jobs)} of {len(pictures)} images to do")
    outcomes = dict(zip(jobs, run_jobs(measure_one, list(jobs.values()), workers, report, "measuring"), strict=True))
    broken = {name: outcome.problem for name, outcome in outcomes.items() if outcome.problem}
    for name in outcomes.keys() - broken.keys():
        found = _read_measured(jobs[name].target)
        assert found is not None
        measured[name] = found
    return measured, broken


def _read_measured(path: Path) -> Measured | None:
    try:
        return Measured(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # missing, or of an older form: measured again
        return None


@lru_cache(maxsize=len(_SHAPES))
def _engine(model: Path, size: tuple[int, int]) -> Engine:
    """Return a worker's engine for a size, cached for the next image."""
    return open_engine(ModelFiles(model.stem, model), precision="fp32", size=size, threads=1)


def _reduced_size(width: int, height: int, side: int) -> tuple[int, int]:
    scale = side / min(width, height)
    return max(side, round(width * scale)), max(side, round(height * scale))


def _file_name(name: str) -> str:
    return str(Path(name.replace("/", "_")).with_suffix(".jpg"))


def _share(name: str, seed: int) -> float:
    """Return a number in 0..1 derived from the name, so that an image stays in its split when others are added or removed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]) / 2.0**64


def _write_sheets(verdicts: Sequence[Verdict], pictures: dict[str, Path], out: Path) -> None:
    """Write contact sheets of kept and of rejected images, by reason."""
    kept = [out / verdict.file for verdict in verdicts if verdict.file]
    shown = [read_rgb(kept[index]) for index in evenly_spaced(len(kept), _SHEET_IMAGES) if kept[index].exists()]
    if shown:
        write_image(out / KEPT_SHEET, contact_sheet(grid(shown)))
    rejected = [v for start in (SUBJECT, DUPLICATE, SMALL) for v in verdicts if v.reason.startswith(start)]
    sample = [rejected[index] for index in evenly_spaced(len(rejected), _SHEET_IMAGES)]
    if sample:
        rows = grid([read_rgb(pictures[verdict.picture]) for verdict in sample])
        columns = len(rows[0])
        labels = [" | ".join(v.reason for v in sample[at * columns : (at + 1) * columns]) for at in range(len(rows))]
        write_image(out / REJECTED_SHEET, contact_sheet(rows, labels))
