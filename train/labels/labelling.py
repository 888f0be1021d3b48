"""Labels public sets with masks and teacher networks, and writes reliable labels as mattes for training, with a manifest of all
images.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image, Matte, read_alpha, read_rgb
from streammat.train.data.pool import Tell, write_image
from streammat.train.errors import DataError
from streammat.train.labels.mask_to_alpha import matte_from_mask
from streammat.train.labels.public_sets import HELD, Item, PublicSet
from streammat.train.labels.rules import Label, animal_label, people_label, unlabelled
from streammat.train.teachers import detector, isnet, rvm

MANIFEST = "manifest"
HELD_FOLDER = "held"
LONG_SIDE = 640
"""Most pixels on the long side of labelled images."""
BAND = 0.020
"""Unknown band of masks on each side of their edge (`streammat.train.labels.mask_to_alpha.trimap_from_mask`)."""
PERSON, ANIMAL = 0.30, 0.25
"""Detector scores from which an image contains a person, or an animal."""
NOBODY = 0.12
"""Detector scores below which an image without a mask contains nobody."""
UNMASKED_PERSON = 0.20
"""Detector score from which an image of animals without a mask is left out, because it has people as well."""
SAME = 6
"""Most bits, of 64, in which the hashes of two copies of an image differ."""


@dataclass(frozen=True)
class Record:
    """Result for one image: a line of the manifest."""

    set: str
    name: str
    folder: str
    """Folder below the cache it was written to; empty: not written."""
    rule: str
    """The rule that labelled it, or why it was left out."""
    agreement: float
    share: float
    """Share of the image that is foreground."""


class LabelManifest:
    """``manifest/<set>.csv``: a line for each finished image, so that a second call continues an interrupted one.

    Args:
        cache: as in `label_set`.
        name: name of the set.
    """

    def __init__(self, cache: Path, name: str) -> None:
        path = cache / MANIFEST / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: set[str] = set()
        """Finished images."""
        if path.exists():
            with path.open(newline="", encoding="utf-8") as lines:
                self.known = {row["name"] for row in csv.DictReader(lines)}
        self._file = path.open("a", newline="", encoding="utf-8", buffering=1)
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(Record)])
        if not self._file.tell():
            self._writer.writeheader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Write a line, unless the image has one already."""
        if record.name not in self.known:
            self._writer.writerow(asdict(record) | {"agreement": round(record.agreement, 3), "share": round(record.share, 3)})
            self.known.add(record.name)


@dataclass
class Teachers:
    """The teacher networks; each is loaded at its first use.

    Args:
        folder: holds ``rvm.json``, ``centernet.json`` with their ``.bin`` files, and ``isnet.onnx``.
        threads: threads of each network.
    """

    folder: Path
    threads: int

    @cached_property
    def matting(self) -> rvm.RobustVideoMatting:
        """RobustVideoMatting."""
        return rvm.RobustVideoMatting(self.folder / rvm.FILE, self.threads)

    @cached_property
    def segmentation(self) -> isnet.ISNet:
        """ISNet."""
        return isnet.ISNet(self.folder / isnet.FILE, self.threads)

    @cached_property
    def detector(self) -> detector.Detector:
        """CenterNet."""
        return detector.Detector(self.folder / detector.FILE, self.threads)


class Hashes:
    """Finds copies of images that must not be used for training, or are in use already."""

    def __init__(self) -> None:
        self._known: list[tuple[int, str]] = []

    def add(self, rgb: Image, name: str) -> None:
        """Add an image under a name."""
        self._known.append((_hash(rgb), name))

    def find(self, rgb: Image) -> str | None:
        """Return the name of an image of which this one is a copy, possibly mirrored; None if there is none."""
        for view in (rgb, np.ascontiguousarray(rgb[:, ::-1])):
            bits = _hash(view)
            for known, name in self._known:
                if (bits ^ known).bit_count() <= SAME:
                    return name
        return None


def _hash(rgb: Image) -> int:
    """Return 64 bits of the low frequencies (the usual perceptual hash)."""
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(grey)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes())


def label_set(public: PublicSet, raw: Path, cache: Path, teachers: Teachers, seen: Hashes, report: Tell) -> None:
    """Label one set and write it to ``<cache>/<kind>_<set>/{img,alpha,fg}``; held-out images go to ``<cache>/held/…/{img,mask}``.

    Args:
        public: one of `streammat.train.labels.public_sets.SETS`.
        raw: folder of the unpacked repositories.
        cache: folder for the results.
        teachers: the teacher networks.
        seen: images that must not be used again; those of this set are added.
        report: called with a line from time to time.

    Raises:
        DataError: the set is missing.
        RunError: a file cannot be written.
    """
    root = raw / public.repository.replace("/", "+")
    items = list(public.items(root))[:: public.every] if root.is_dir() else []
    if not items:
        raise DataError(f"{root} holds no images of {public.repository}; unpack its commit {public.commit} there")
    with LabelManifest(cache, public.name) as manifest:
        for number, item in enumerate(items):
            held = item.group in public.held if item.group else number % HELD == HELD - 1
            if (item.group in public.left_out and item.group) or item.name in public.wrong:
                manifest.add(Record(public.name, item.name, "", "looked-at" if item.name in public.wrong else "left-out", 0.0, 0.0))
            elif item.name in manifest.known:
                if not item.group:
                    seen.add(_at_most(read_rgb(item.image), LONG_SIDE), f"{public.name}/{item.name}")
            else:
                manifest.add(_label_item(public.name, item, cache, teachers, seen, held=held))
            if number % 100 == 99:
                report(f"sets: {public.name} {number + 1}/{len(items)}")


def _label_item(name: str, item: Item, cache: Path, teachers: Teachers, seen: Hashes, *, held: bool) -> Record:
    rgb = _at_most(read_rgb(item.image), LONG_SIDE)
    copy = None if item.group else seen.find(rgb)
    if copy is not None:
        return Record(name, item.name, "", f"copy of {copy}", 0.0, 0.0)
    if not item.group:
        seen.add(rgb, f"{name}/{item.name}")
    mask = item.mask()
    if mask is not None:
        mask = np.asarray(cv2.resize(mask, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    kind, label = _label(item, rgb, mask, teachers)
    share = 0.0 if label.alpha is None else float(label.alpha.mean())
    if label.alpha is None:
        return Record(name, item.name, "", label.rule, label.agreement, share)
    folder = f"{kind}_{name}"
    if held:
        if mask is None and kind != "objects":
            return Record(name, item.name, "", "held-without-mask", label.agreement, share)
        base = cache / HELD_FOLDER / folder
        write_image(base / "mask" / f"{item.name}.png", np.zeros(rgb.shape[:2], np.uint8) if kind == "objects" or mask is None else mask)
        write_image(base / "img" / f"{item.name}.png", rgb)
        return Record(name, item.name, f"{HELD_FOLDER}/{folder}", label.rule, label.agreement, share)
    write_matte(cache / folder, item.name, rgb, label.alpha)
    return Record(name, item.name, folder, label.rule, label.agreement, share)


def _label(item: Item, rgb: Image, mask: Image | None, teachers: Teachers) -> tuple[str, Label]:
    """Return kind and label of one image; each network runs only if its result is needed."""
    if mask is None:
        return _label_unmasked(item, rgb, teachers)
    binary = np.where(mask > 127, 255, 0).astype(np.uint8)

    def matte() -> Image:
        return matte_from_mask(rgb, binary, BAND, BAND)

    kind = item.kind
    if kind == "people":
        return kind, people_label(binary, matte, teachers.matting.image(rgb))
    person, animal = teachers.detector.scores(rgb)
    if kind == "objects" and (person >= PERSON or animal >= ANIMAL):
        return kind, Label(None, "object-with-somebody", person)
    people = teachers.matting.image(rgb) if kind == "any" or person >= PERSON else None
    if kind == "any":
        assert people is not None
        kind = _sorted(binary, people, person, animal)
    if kind == "people":
        assert people is not None
        return kind, people_label(binary, matte, people)
    if kind == "animals":
        return kind, animal_label(binary, matte, teachers.segmentation.image(rgb), people if person >= PERSON else None)
    if item.kind == "any":
        return kind, Label(None, "object-or-rare-animal", animal)  # the detector knows ten kinds of animals: squirrels and deer are objects to it
    if people is not None:
        return kind, Label(None, "object-with-somebody", person)
    return kind, Label(np.zeros(rgb.shape[:2], np.float32), "object", 1.0)


def _label_unmasked(item: Item, rgb: Image, teachers: Teachers) -> tuple[str, Label]:
    """Label an image without a mask: people, animals without people, or an empty room."""
    found = teachers.detector.find(rgb, NOBODY)
    people, animals = ([one for one in found if one.animal == kind] for kind in (False, True))
    person, animal = (max((one.score for one in some), default=0.0) for some in (people, animals))
    if item.kind == "empty":
        nobody = Label(np.zeros(rgb.shape[:2], np.float32), "nobody", 1.0)
        return "objects", Label(None, "perhaps-somebody", max(person, animal)) if found else nobody
    if item.kind == "any" and animals:
        if person >= UNMASKED_PERSON:
            return "animals", Label(None, "animals-and-people", animal)
        mirrored = teachers.segmentation.image(np.ascontiguousarray(rgb[:, ::-1]))[:, ::-1]
        label = unlabelled(teachers.segmentation.image(rgb), np.ascontiguousarray(mirrored), animals, lambda: _farther(rgb, teachers.segmentation))
        sure = animal >= ANIMAL or label.alpha is None or teachers.matting.image(rgb).mean() < 0.005
        return "animals", label if sure else Label(None, "perhaps-an-animal", animal)
    return "people", unlabelled(*teachers.matting.views(rgb), people, lambda: teachers.segmentation.image(rgb))


def _farther(rgb: Image, network: isnet.ISNet) -> Matte:
    """Return the matte of an image that is shown to the network with a border of a tenth of its size, mirrored, around it."""
    height, width = rgb.shape[:2]
    y, x = height // 10, width // 10
    wider = np.asarray(cv2.copyMakeBorder(rgb, y, y, x, x, cv2.BORDER_REFLECT_101), np.uint8)
    return np.ascontiguousarray(network.image(wider)[y : y + height, x : x + width])


def _sorted(mask: Image, people: Matte, person: float, animal: float) -> str:
    """Return whether a mask shows people, animals or neither."""
    inside = mask > 127
    covered = float(np.count_nonzero(inside & (people > 0.5))) / max(1, int(np.count_nonzero(inside)))
    if covered >= 0.5 and person >= 0.2:
        return "people"
    if animal >= ANIMAL:
        return "animals"
    return "people" if covered >= 0.8 else "objects"


def write_matte(base: Path, name: str, rgb: Image, alpha: Matte) -> None:
    """Write image, alpha and foreground of one label; the image is written last, so if it exists, the others do."""
    from pymatting import estimate_foreground_ml

    stored = np.clip(np.rint(alpha * 255.0), 0, 255).astype(np.uint8)
    foreground = estimate_foreground_ml(rgb / 255.0, stored / 255.0) if stored.any() else rgb / 255.0
    write_image(base / "alpha" / f"{name}.png", stored)
    write_image(base / "fg" / f"{name}.jpg", np.clip(np.rint(foreground * 255.0), 0, 255).astype(np.uint8))
    write_image(base / "img" / f"{name}.jpg", rgb)


def relabel(data: Path, mattes: Path, cache: Path, folder: str, teachers: Teachers, report: Tell) -> None:
    """Label a set of `streammat.train.labels.mask_to_alpha` again, so that its alphas include people whom its masks leave out.

    Args:
        data: folder, with ``train/<folder>/alpha_rvm`` if the matting network's alphas have been written already.
        mattes: as written by `streammat.train.labels.mask_to_alpha`.
        cache: folder for ``<folder>/{img,alpha,fg}``.
        folder: name of the set.
        teachers: the teacher networks.
        report: called with a line from time to time.
    """
    images = sorted((mattes / folder / "img").glob("[!.]*.jpg"))
    with LabelManifest(cache, folder) as manifest:
        for number, path in enumerate(images):
            if path.stem not in manifest.known:
                rgb, matte = read_rgb(path), read_alpha(mattes / folder / "alpha" / f"{path.stem}.png")
                label = _second_label(data, folder, path.stem, rgb, matte, teachers)
                assert label.alpha is not None
                write_matte(cache / folder, path.stem, rgb, label.alpha)
                manifest.add(Record(folder, path.stem, folder, label.rule, label.agreement, float(label.alpha.mean())))
            if number % 200 == 199:
                report(f"sets: {folder} {number + 1}/{len(images)}")


def _second_label(data: Path, folder: str, stem: str, rgb: Image, matte: Image, teachers: Teachers) -> Label:
    known = data / "train" / folder / "alpha_rvm" / f"{stem}.png"
    mask = np.where(matte > 127, 255, 0).astype(np.uint8)
    if not folder.startswith("animals_"):
        people = _resized(read_alpha(known), rgb) / 255.0 if known.exists() else teachers.matting.image(rgb)
        return people_label(mask, lambda: matte, np.asarray(people, np.float32))
    person, _ = teachers.detector.scores(rgb)
    beside = teachers.matting.image(rgb) if person >= PERSON else None
    return animal_label(mask, lambda: matte, teachers.segmentation.image(rgb), beside)


def known_images(data: Path, cache: Path, progress: Callable[[str], None]) -> Hashes:
    """Return the hashes of all validation images, of those held out, and of the existing training sets."""
    seen = Hashes()
    for path in _existing(data, cache):
        seen.add(_at_most(read_rgb(path), LONG_SIDE), "/".join(path.parts[-3:]))
    progress(f"sets: {len(seen._known)} images are known already")  # noqa: SLF001
    return seen


def _existing(data: Path, cache: Path) -> Iterator[Path]:
    for folder in (data / "val", data / "train", cache / HELD_FOLDER):
        yield from sorted(path for path in folder.rglob("img/*") if path.is_file())


def _at_most(rgb: Image, long_side: int) -> Image:
    height, width = rgb.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _resized(plane: Image, like: Image) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
