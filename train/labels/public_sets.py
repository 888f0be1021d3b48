"""The public sets of images, with and without masks, that the shipped network is trained on, in their repositories' layouts.

Each is unpacked to ``<raw>/<repository with a plus for the slash>``, for instance ``<raw>/gmguarino+PennFudan``. None of them
is part of this project; docs/lite_training.md names their licences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streammat.train.data.images import Image, read_alpha, read_rgb

Mask = Callable[[], Image | None]
"""A function that reads the mask: uint8 (H, W), 0 or 255; None if there is none."""
HELD = 10
"""Every n-th image of a set (or whole clip, for clips) is held out of training."""


@dataclass(frozen=True)
class Item:
    """One image of a set."""

    name: str
    """Name, unique within the set; the stem of written files."""
    image: Path
    mask: Mask
    kind: str
    """Kind: ``people``, ``animals``, ``objects``, ``any`` if it must be detected, or ``empty``: a room in which nobody may be detected."""
    group: str = ""
    """Group; images of one clip are held out together."""


@dataclass(frozen=True)
class PublicSet:
    """A set and its repository."""

    name: str
    repository: str
    commit: str
    items: Callable[[Path], Iterator[Item]]
    held: tuple[str, ...] = ()
    """Groups held out of training; empty: every `HELD`-th image."""
    left_out: tuple[str, ...] = ()
    """Groups that are not used at all."""
    wrong: frozenset[str] = frozenset()
    """Images whose labels were inspected and show neither a person nor an animal: flowers, houses, sculptures."""
    every: int = 1
    """Take only every n-th image, for large sets of similar images."""


def _grey(path: Path) -> Mask:
    def read() -> Image:
        return np.where(read_alpha(path) > 127, 255, 0).astype(np.uint8)

    return read


def _counted(path: Path) -> Mask:
    """Return the numbers of persons, 0 for none."""

    def read() -> Image:
        plane = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert plane is not None
        return np.where(plane > 0, 255, 0).astype(np.uint8)

    return read


def _nothing() -> None:
    return None


_PLAYERS = ((27, 154, 218), (38, 198, 129), (255, 106, 77), (22, 100, 252))
"""RGB label colours of teams, goalkeepers and referees in the football set; found by comparing each colour with a network's matte."""


def _players(path: Path) -> Mask:
    def read() -> Image:
        colours = read_rgb(path)
        found = np.zeros(colours.shape[:2], bool)
        for colour in _PLAYERS:
            found |= (np.abs(colours.astype(np.int16) - colour) <= 8).all(axis=2)
        return np.where(found, 255, 0).astype(np.uint8)

    return read


def _polygons(path: Path, image: Path, classes: frozenset[int]) -> Mask:
    def read() -> Image:
        height, width = read_rgb(image).shape[:2]
        mask = np.zeros((height, width), np.uint8)
        for line in path.read_text(encoding="utf-8").splitlines():
            number, *values = line.split()
            if int(number) in classes:
                points = np.array(values, np.float64).reshape(-1, 2) * (width, height)
                cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)
        return mask

    return read


_DAVIS_KINDS = {
    "blackswan": "animals", "camel": "animals", "goat": "animals", "libby": "animals", "horsejump-high": "animals",
    "bmx-trees": "people", "kite-surf": "people", "motocross-jump": "people", "paragliding-launch": "people", "parkour": "people",
    "scooter-black": "people", "soapbox": "people", "breakdance": "people",
    "cows": "animals", "dog": "animals", "dance-twirl": "people",
}  # fmt: skip


def _davis(root: Path) -> Iterator[Item]:
    for clip, kind in sorted(_DAVIS_KINDS.items()):
        frames = sorted((root / "DAVIS/JPEGImages/480p" / clip).glob("*.jpg"))
        for path in frames[::3]:
            mask = root / "DAVIS/Annotations/480p" / clip / f"{path.stem}.png"
            yield Item(f"{clip}_{path.stem}", path, _grey(mask), kind, clip)


def _ecssd(root: Path) -> Iterator[Item]:
    for path in sorted((root / "data/ECSSD/images").glob("*.jpg")):
        yield Item(path.stem, path, _grey(root / "data/ECSSD/ground_truth_mask" / f"{path.stem}.png"), "any")


_ECSSD_THINGS = frozenset(
    f"{number:04}"
    for number in (
        244, 255, 259, 274, 282, 288, 290, 320, 322, 349, 351, 358, 360, 361, 363, 367, 368, 371, 376, 378, 437, 470, 511, 528, 580, 588, 601, 714,
        716, 827, 831, 851, 894, 895, 910, 921, 929, 975, 990
    )
)


_VOC = {"Person": "people", "Bird": "animals", "Dog": "animals", "Cat": "animals", "Horse": "animals", "Sheep": "animals", "Cow": "animals"}


def _voc(root: Path) -> Iterator[Item]:
    for folder in sorted((root / "Pascal_10").iterdir()):
        for path in sorted(folder.glob("img_*.jpg")):
            mask = root / "eval_pascal_10" / folder.name / f"{path.stem}.png"
            if mask.exists():
                yield Item(f"{folder.name}_{path.stem}", path, _grey(mask), _VOC.get(folder.name, "objects"))


def _penn(root: Path) -> Iterator[Item]:
    for path in sorted((root / "data/PennFudanPed/PNGImages").glob("*.png")):
        yield Item(path.stem, path, _counted(root / "data/PennFudanPed/PedMasks" / f"{path.stem}_mask.png"), "people")


def _football(root: Path) -> Iterator[Item]:
    for path in sorted((root / "images").glob("*.png")):
        yield Item(path.stem, path, _players(root / "masks" / path.name), "people")


def _snapshots(root: Path) -> Iterator[Item]:
    for part in ("train", "valid"):
        for path in sorted((root / "data" / part).glob("*.jpg")):
            yield Item(path.stem, path, _grey(root / "data" / f"{part}_mask" / f"{path.stem}.png"), "people")


def _street(root: Path) -> Iterator[Item]:
    known = {path.stem for path in (root / "annotations/pixel-level").glob("*.mat")}
    for path in sorted((root / "photos").glob("*.jpg")):
        if path.stem not in known:
            yield Item(path.stem, path, _nothing, "people")


def _coco(root: Path) -> Iterator[Item]:
    classes = frozenset({0, *range(14, 24)})
    for path in sorted((root / "coco128-seg/images/train2017").glob("*.jpg")):
        labels = root / "coco128-seg/labels/train2017" / f"{path.stem}.txt"
        if labels.exists() and any(int(line.split()[0]) in classes for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()):
            yield Item(path.stem, path, _polygons(labels, path, classes), "any")


def _small_animals(root: Path) -> Iterator[Item]:
    for path in sorted((root / "12-image-segmentation-pub/images").glob("*.png")):
        yield Item(path.stem, path, _grey(root / "12-image-segmentation-pub/gt" / path.name), "animals")


def _wild_animals(root: Path) -> Iterator[Item]:
    for path in sorted((root / "data/images").glob("*/*.jpg")):
        mask = root / "data/masks" / path.parent.name / f"{path.stem.replace('image', 'mask')}.png"
        yield Item(f"{path.parent.name}_{path.stem}", path, _grey(mask), "animals")


def _hair(root: Path) -> Iterator[Item]:
    for path in sorted((root / "Data/Celeb1k").glob("*/original/*.jpg")):
        yield Item(f"celeb_{path.stem}", path, _nothing, "people")
    for path in sorted((root / "Data/Figaro1k/Original").glob("*/*.*")):
        yield Item(f"figaro_{path.stem}", path, _nothing, "people")


def _rooms(root: Path) -> Iterator[Item]:
    for path in sorted((root / "dataset").glob("*/*/*.jpg")):
        yield Item(f"{path.parent.parent.name}_{path.parent.name}_{path.stem}", path, _nothing, "empty")


def _flickr(root: Path) -> Iterator[Item]:
    for path in sorted((root / "data/images").glob("*.jpg")):
        yield Item(path.stem, path, _nothing, "any")


def _sports(root: Path) -> Iterator[Item]:
    for path in sorted((root / "images").glob("*.jpg")):
        yield Item(path.stem, path, _nothing, "people")


SETS: tuple[PublicSet, ...] = (
    PublicSet("voc", "Not-IITian/Icml_coseg_coloc", "e027a8c", _voc),
    PublicSet("penn", "gmguarino/PennFudan", "4d34ade", _penn),
    PublicSet("ecssd", "total-black/U2Net-ECSSD-Evaluation", "244b473", _ecssd, wrong=_ECSSD_THINGS),
    PublicSet("coco", "Goodccccl/yolov8_python", "0f2dcc3", _coco),
    PublicSet(
        "davis", "MathLee/EOR-VOS", "1bde4d5", _davis, held=("parkour", "camel", "soapbox"), left_out=("cows", "dog", "dance-twirl", "breakdance")
    ),
    PublicSet("football", "sahankrt20/Football-Match-Semantic-Segmentation", "cf3cccb", _football),
    PublicSet("wild_animals", "carlotavz/computer-vision-animal-segmentation", "d8bfc0a", _wild_animals),
    PublicSet("small_animals", "dbaranchuk/animal-segmentation", "85c2b2e", _small_animals),
    PublicSet("snapshots", "dmitrybeloborodov/HumanSegmentation", "fc0f903", _snapshots, every=2),
    PublicSet("street", "bearpaw/clothing-co-parsing", "fe34fb7", _street, every=2),
    PublicSet("hair", "ubisemper/segmentation_product", "11e9a4e", _hair, every=4),
    PublicSet("flickr", "quantumnaan/sic_translator", "d27da85", _flickr),
    PublicSet("sports", "axelcarlier/lsp", "8fabf31", _sports, every=8),
    PublicSet("rooms", "SilviuBR24/room-classification", "0eca0b2", _rooms, every=64),
)
"""The sets, in the order of labelling: the most useful first."""
