"""Training images of the ``lite`` recipe: crops of original images, composed scenes, and images without a subject.

Sample ``i`` depends on the seed and ``i`` alone, so a resumed run sees exactly the samples of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from streammat.train.config import WIDER_SETS, DataConfig
from streammat.train.data.images import Image, Levels
from streammat.train.data.pack import Pack, Subject, bounding_box, open_pack
from streammat.train.data.samples import Key, Sample
from streammat.train.data.targets import scaled_classes
from streammat.train.errors import DataError
from streammat.train.labels.bystanders import read_bystanders
from streammat.train.lite.augment import PAIR_JPEG, PAIR_NOISE, FaultConfig, draw_camera_faults, drift, expose, jitter_colour
from streammat.train.lite.occluders import Props, Rng
from streammat.train.lite.scenes import Scene, SceneConfig, add_clutter, add_fabric, compose, turned
from streammat.train.lite.warp import warp

_T = TypeVar("_T")
PACK = "pack.bin"
OBJECTS = "objects_"
"""Prefix of the names of sets without subjects."""
GROUPS = frozenset(f"people_{name}" for name in ("penn", "ecssd", "coco", "davis", "football", "voc", "street", "flickr", "sports"))
"""Sets of groups and passers-by: when the subjects are removed, people too small to be labelled may remain."""
STREET = "people_fullbody"
"""The set whose masks show one person of several."""
_FRAMES = 104_729  # added to the seed of what differs between frames of one scene


@dataclass(frozen=True)
class Collection:
    """Files of one part of the data: for training, or held out."""

    subjects: Mapping[str, Sequence[Subject]]
    """Subjects by set."""
    rooms: Sequence[Path]
    landscapes: Sequence[Path]
    things: Sequence[Subject] = ()
    """Cut-outs of objects that are not subjects."""
    objects: Sequence[Path] = ()
    """Photographs of objects, without subjects."""

    def all_subjects(self) -> list[Subject]:
        """Return the subjects of all sets, one set after the other."""
        return [subject for found in self.subjects.values() for subject in found]


def collect(data: Path, cache: Path, config: DataConfig) -> tuple[Collection, Collection]:
    """Find the images, and hold every n-th of every kind out of training.

    Args:
        data: folder with ``backgrounds/houses`` and ``backgrounds/hd``; either may be missing.
        cache: as written by `streammat.train.labels.mask_to_alpha.prepare_mattes`.
        config: which sets, and how many are held out.

    Returns:
        The files for training, and those held out; the choice depends only on the sorted file names.

    Raises:
        DataError: the cache is empty.
    """
    sets: dict[str, list[Subject]] = {}
    for folder, _ in config.sets:
        base = cache / folder
        alone = {} if config.everybody else read_bystanders(base)
        hidden = folder == STREET and not config.street
        found = [
            Subject(path, base / "alpha" / f"{path.stem}.png", base / "fg" / path.name, folder, config.everybody or (False if hidden else alone.get(path.stem)))
            for path in sorted((base / "img").glob("[!.]*.jpg"))
        ]
        if found:
            sets[folder] = found
    if not sets:
        raise DataError(f"no mattes under {cache}; run `python -m train mattes` first")
    places = [sorted((data / "backgrounds" / name).rglob("*.jpg")) for name in ("houses", "hd")]
    places.append(sorted(cache.glob(f"{OBJECTS}*/img/[!.]*.jpg")))

    def part(*, held: bool) -> Collection:
        chosen = {folder: _part(found, config.holdout, held=held) for folder, found in sets.items()}
        rooms, landscapes, objects = (_part(found, config.holdout, held=held) for found in places)
        subjects = {folder: [subject for subject in found if not _is_object(subject, config)] for folder, found in chosen.items()}
        things = [subject for found in chosen.values() for subject in found if _is_object(subject, config)]
        return Collection({folder: found for folder, found in subjects.items() if found}, rooms, landscapes, things, objects)

    return part(held=False), part(held=True)


class MattingDataset:
    """Map from a sample's index to a training image.

    Args:
        data: as from `collect`.
        cache: folder of mattes; the pack of decoded images is kept there as well.
        config: proportions.
        seed: seed of all random choices.
        heads: RoSTas that need a glance target: ``TT``, ``FT``, ``BT``.
        stride: input pixels per output pixel of the network.
        scene: options of composites.
        faults: faults of the camera.
        held: use the held-out files instead.

    Raises:
        DataError: the cache is empty, or an image is broken.
        RunError: the pack cannot be written.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        config: DataConfig,
        seed: int,
        heads: tuple[str, ...] = ("TT",),
        stride: int = 2,
        scene: SceneConfig | None = None,
        faults: FaultConfig | None = None,
        *,
        held: bool = False,
    ) -> None:
        parts = collect(data, cache, config)
        self.collection = parts[held]
        self.held = parts[True].all_subjects()
        """Subjects held out of training."""
        self.config, self.scene, self.faults = config, scene or SceneConfig(), faults or FaultConfig()
        self.seed, self.heads, self.stride = seed, heads, stride
        self.pack = _pack_all(data, cache, config)
        self.props = Props(self.background, [self.pack.cut(subject) for subject in self.collection.things])
        self.filled = [s for s in self.collection.all_subjects() if _is_alone(s) and self.pack.without(s) is not None]
        """Subjects whose images have enough background to be backgrounds without them."""
        self.folders = [folder for folder, _ in config.sets if folder in self.collection.subjects]
        if not self.folders:
            raise DataError(f"each matte under {cache} is held out or none is; expected more than {config.holdout} of a set")
        shares = np.array([share for folder, share in config.sets if folder in self.folders])
        self.shares = shares / shares.sum()

    def __getitem__(self, key: Key) -> Sample:
        """Make a sample.

        Raises:
            DataError: the pack vanished.
        """
        rng = np.random.Generator(np.random.Philox(key=[self.seed, key.number]))
        scene = self.make_scene(rng, key.height, key.width)
        # Crops are of any scale, so the kernels go by the crop's size and not by the size of the image it came from.
        classes = {rosta: scaled_classes(scene.alpha, rosta, self.stride) for rosta in self.heads}
        if key.frame is None:
            return Sample(expose(rng, scene.rgb, draw_camera_faults(rng, self.faults)), scene.alpha, scene.contrast, classes, number=key.number)
        camera = draw_camera_faults(rng, replace(self.faults, noise=PAIR_NOISE, jpeg=PAIR_JPEG))
        moment = np.random.Generator(np.random.Philox(key=[self.seed + _FRAMES, 2 * key.number + key.frame]))
        return Sample(expose(moment, drift(moment, scene.rgb), camera), scene.alpha, scene.contrast, classes, key.frame, key.number)

    def make_scene(self, rng: Rng, height: int, width: int) -> Scene:
        """Make an image, without the camera's faults."""
        kind = rng.random()
        if kind < self.config.empty:
            return self._empty(rng, height, width)
        first = self._subject(rng)
        if kind < self.config.empty + self.config.original * self._originality(first):
            if width > height and rng.random() < self.config.mosaic:
                return self._mosaic(rng, first, height, width)
            return self._original(rng, first, height, width)
        others = int(rng.choice(len(self.scene.crowd), p=np.array(self.scene.crowd) / sum(self.scene.crowd)))
        cuts = [self.pack.cut(subject) for subject in (first, *(self._subject(rng) for _ in range(others)))]
        known: Image | None = None
        if rng.random() < self.config.onto:
            shown = self._original(rng, self._shown(rng), height, width)
            background, known = shown.rgb, shown.alpha
        else:
            background = add_clutter(rng, jitter_colour(rng, self.background(rng, height, width), 0.6), self.props, self.scene)
        return compose(rng, background, known, cuts, self.props, self.scene)

    def background(self, rng: Rng, height: int, width: int) -> Image:
        """Return a crop without a subject: of a room, a landscape, an image with its subject removed, or the part beside the
        subject.
        """
        rooms, landscapes = self.collection.rooms, self.collection.landscapes
        source: Levels
        if self.collection.objects and rng.random() < self.config.objects:
            source = self.pack.read(str(self.collection.objects[int(rng.integers(len(self.collection.objects)))]))
        elif self.filled and rng.random() < self.config.filled:
            source = self.pack.without(self.filled[int(rng.integers(len(self.filled)))]) or []
        elif rng.random() < self.config.beside and (beside := self._beside(rng)) is not None:
            source = beside
        elif rooms and (not landscapes or rng.random() < 0.78):
            source = self.pack.read(str(rooms[int(rng.integers(len(rooms)))]))
        elif landscapes:
            source = self.pack.read(str(landscapes[int(rng.integers(len(landscapes)))]))
        else:
            noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            source = [cv2.resize(noise, (384, 256), interpolation=cv2.INTER_CUBIC).astype(np.uint8)]
        rows, columns = source[0].shape[:2]
        size = min(rows / height, columns / width) * rng.uniform(0.35, 1.0)
        cx = rng.uniform(size * width / 2, columns - size * width / 2)
        cy = rng.uniform(size * height / 2, rows - size * height / 2)
        rgb = warp(source, cx, cy, size, 0.0, height, width, mirror=bool(rng.random() < 0.5))
        if rng.random() < 0.2:
            rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.8, 5.0)).astype(np.uint8, copy=False)
        return rgb

    def _empty(self, rng: Rng, height: int, width: int) -> Scene:
        background = jitter_colour(rng, self.background(rng, height, width), 0.6)
        nothing = np.zeros((height, width), np.uint8)
        return Scene(add_clutter(rng, add_fabric(rng, background, self.props, self.scene), self.props, self.scene), nothing, nothing)

    def _subject(self, rng: Rng) -> Subject:
        pool = self.collection.subjects[self.folders[int(rng.choice(len(self.folders), p=self.shares))]]
        return pool[int(rng.integers(len(pool)))]

    def _shown(self, rng: Rng) -> Subject:
        """Draw a subject whose original image may be used."""
        for _ in range(8):
            subject = self._subject(rng)
            if subject.alone is not False:
                break
        return subject

    def _originality(self, subject: Subject) -> float:
        """Return the factor for the share of original images, in which passers-by are labelled background."""
        if subject.alone is False:
            return 0.0
        return 1.2 if _is_alone(subject) or self.config.everybody else 0.6

    def _original(self, rng: Rng, subject: Subject, height: int, width: int) -> Scene:
        levels = self.pack.image(subject)
        x0, y0, x1, y1 = bounding_box(levels[0][:, :, 3])
        low, high = self.config.cover
        if not _is_alone(subject) and not self.config.everybody:
            low = max(low, 0.7)  # near enough that few passers-by are in view
        cover = np.exp(rng.uniform(np.log(low), np.log(high)))
        rows, columns = levels[0].shape[:2]
        # The crop is as large as the cover asks, but never leaves the image.
        size = max((y1 - y0) / height, (x1 - x0) / width) / cover
        size = min(size, rows / height, columns / width)
        cx = _place(rng, (x0 + x1) / 2, size * width, x1 - x0, columns)
        cy = _place(rng, (y0 + y1) / 2, size * height, y1 - y0, rows)
        rgba = warp(levels, cx, cy, size, 0.0, height, width, mirror=bool(rng.random() < 0.5))
        rgb, cut = np.ascontiguousarray(rgba[:, :, :3]), np.ascontiguousarray(rgba[:, :, 3])
        scene = Scene(jitter_colour(rng, rgb, 0.5), cut, np.zeros((height, width), np.uint8))
        return turned(rng, scene) if rng.random() < self.scene.tilt else scene

    def _mosaic(self, rng: Rng, first: Subject, height: int, width: int) -> Scene:
        """Return two original images side by side."""
        middle = int(rng.uniform(0.35, 0.65) * width)
        parts = (self._original(rng, first, height, middle), self._original(rng, self._shown(rng), height, width - middle))
        return Scene(*(np.concatenate(planes, axis=1) for planes in zip(*((s.rgb, s.alpha, s.contrast) for s in parts), strict=True)))

    def _beside(self, rng: Rng) -> Levels | None:
        """Return the part of an image beside its subject; None if it is too small, or not known to be empty."""
        subject = self._subject(rng)
        if not _is_alone(subject):
            return None
        levels = self.pack.image(subject)
        rows, columns = levels[0].shape[:2]
        # The smallest size tells where the subject is, to a few pixels.
        occupied = np.flatnonzero((levels[-1][:, :, 3] > 2).any(axis=0)) * (columns / levels[-1].shape[1])
        if not occupied.size:
            return None
        slack = 2.0 * columns / levels[-1].shape[1]
        left, right = occupied[0] / columns, 1.0 - occupied[-1] / columns
        most = max(left, right) - slack / columns
        if most < 0.25 or most * columns < 64:
            return None
        # Long strips are of no use for wide crops: a part of them is cut out.
        tall = min(1.0, 2.0 * most * columns / rows)
        top = rng.uniform(0.0, 1.0 - tall)
        return [_section(level, (left - slack / columns) if left >= right else -(right - slack / columns), top, tall) for level in levels]


def _pack_all(data: Path, cache: Path, config: DataConfig) -> Pack:
    """Open the pack of all sets, even of those that this run does not use: a different pack would replace the file of a parallel
    run.
    """
    others = tuple(entry for entry in dict([*WIDER_SETS, *DataConfig.sets]).items() if entry[0] not in dict(config.sets))
    parts = collect(data, cache, replace(config, sets=(*config.sets, *others), things=(), holdout=0))
    subjects = sorted(parts[0].all_subjects(), key=lambda subject: subject.image)
    return open_pack(cache / PACK, subjects, sorted((*parts[0].rooms, *parts[0].landscapes, *parts[0].objects)))


def _section(level: Image, side: float, top: float, tall: float) -> Image:
    """Return the left (``side`` > 0) or right part of an image, from ``top`` on; sizes are shares of the image's."""
    rows, columns = level.shape[:2]
    across = slice(0, max(1, int(side * columns))) if side > 0 else slice(min(columns - 1, columns - int(-side * columns)), columns)
    return level[int(top * rows) : max(int(top * rows) + 1, int((top + tall) * rows)), across, :3]


def _is_alone(subject: Subject) -> bool:
    """Return whether an image shows only its subject. Unsearched street photographs may have others, as may images of groups, far
    away.
    """
    if subject.folder in GROUPS:
        return False
    return subject.folder != STREET if subject.alone is None else subject.alone


def _is_object(subject: Subject, config: DataConfig) -> bool:
    return (subject.folder, subject.image.stem) in config.things


def _part(found: Sequence[_T], every: int, *, held: bool) -> list[_T]:
    """Return the held-out items, or the rest; 0 holds out nothing."""
    return [item for number, item in enumerate(found) if (every > 0 and number % every == every - 1) == held]


def _place(rng: Rng, middle: float, crop: float, extent: float, limit: int) -> float:
    """Return the centre of a crop that contains a part of the subject and stays within the image."""
    wanted = middle + rng.uniform(-0.35, 0.35) * max(crop, extent)
    return float(np.clip(wanted, crop / 2, max(crop / 2, limit - crop / 2)))
