"""The building blocks of layouts: folders, the images and mattes in them, and what must exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

from streammat.train.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Extensions of images, in lower case."""
TRAIN, VALIDATION = "train", "validation"
SPLITS = {TRAIN: (TRAIN, "training"), VALIDATION: (VALIDATION, "val", "test", "testing")}
"""Names of each split: our own first, then other names that users and plain sets may use."""
_SPLIT_FOLDERS = frozenset(name for names in SPLITS.values() for name in names)
_PLAIN_DEPTH = 3
"""Folders between a split's folder and its ``img``."""


@dataclass(frozen=True)
class Entry:
    """Files of one image; None if the data set has none."""

    image: Path
    """The image; if `composed`, the foreground for `background`."""
    alpha: Path
    trimap: Path | None = None
    foreground: Path | None = None
    background: Path | None = None
    original_denoise: Path | None = None
    fg_denoise: Path | None = None
    composed: bool = False
    """True if the image has no file: it is composed of foreground and background when it is loaded."""
    name: str = ""
    """Name for results: the stem, after the set's folder if a split consists of several sets."""


class Part(Protocol):
    """Protocol of a part: some folders of a split."""

    def needs(self, root: Path) -> dict[str, bool]:
        """Return what must exist, as shown to the user, and whether it does."""
        ...

    def entries(self, root: Path) -> list[Entry]:
        """Return the images, ordered by name.

        Raises:
            DataError: an image without a matte, a matte without an image, or nothing at all.
        """
        ...


@dataclass(frozen=True)
class Folders:
    """A part with images and mattes in two folders below ``base``, and extra layers beside them."""

    base: str
    image: str
    alpha: str = "mask"

    def needs(self, root: Path) -> dict[str, bool]:
        """Return the two folders, with whether they exist."""
        return {f"{self.base}/{name}": (root / self.base / name).is_dir() for name in (self.image, self.alpha)}

    def entries(self, root: Path) -> list[Entry]:
        """See `Part.entries`."""
        return _paired(root / self.base, self.image, self.alpha)


@dataclass(frozen=True)
class SideBySide:
    """A part with images and mattes in one folder, distinguished by the end of their stems."""

    base: str
    ending: str = "_matte"

    def needs(self, root: Path) -> dict[str, bool]:
        """Return the folder, with whether it has at least one matte."""
        folder = root / self.base
        return {f"{self.base}/*{self.ending}.png": folder.is_dir() and any(folder.glob(f"*{self.ending}.*"))}

    def entries(self, root: Path) -> list[Entry]:
        """See `Part.entries`."""
        files = by_stem(root / self.base)
        images = {stem: path for stem, path in files.items() if not stem.endswith(self.ending)}
        alphas = {stem.removesuffix(self.ending): path for stem, path in files.items() if stem.endswith(self.ending)}
        _check_partners(images, alphas, root / self.base, root / self.base)
        return [Entry(image, alphas[stem], name=stem) for stem, image in images.items()]


@dataclass(frozen=True)
class Composed:
    """A part by Adobe's lists of foregrounds and backgrounds, which fix the order.

    ``Training_set`` holds ``{Adobe-licensed images,Other}/{fg,alpha}``, ``training_fg_names.txt`` and
    ``training_bg_names.txt``; ``Test_set`` holds ``Adobe-licensed images/{fg,alpha,trimaps}``, ``test_fg_names.txt`` and
    ``test_bg_names.txt``. Foreground ``i`` stands on backgrounds ``i * each`` to ``i * each + each - 1``; its trimaps are
    ``<stem>_<0..each-1>.png``. Backgrounds (COCO for training, PASCAL VOC for the test) are searched under their listed names,
    without the prefix ``COCO_train2014_``, and as ``<stem>_<0..each-1>.png``. Without a folder of backgrounds the training split
    has only its foregrounds, to be composed by `streammat.train.rssn.write`; the test split needs the backgrounds.
    """

    base: str
    lists: str
    each: int
    groups: tuple[str, ...]
    backgrounds: tuple[str, ...]
    """Folders below the root; the first that exists is taken."""
    needs_backgrounds: bool

    def needs(self, root: Path) -> dict[str, bool]:
        """Return the lists and the folders of the first group, with whether they exist; the other group may be missing."""
        lists = [f"{self.base}/{self.lists}_{kind}_names.txt" for kind in ("fg", "bg")]
        folders = [f"{self.base}/{self.groups[0]}/{kind}" for kind in ("fg", "alpha")]
        found = {name: (root / name).is_file() for name in lists} | {name: (root / name).is_dir() for name in folders}
        if self.needs_backgrounds:
            found[" or ".join(self.backgrounds)] = bool(self._background_folder(root))
        return found

    def entries(self, root: Path) -> list[Entry]:
        """See `Part.entries`; in the order of the lists."""
        base = root / self.base
        names = {kind: _lines(base / f"{self.lists}_{kind}_names.txt") for kind in ("fg", "bg")}
        if len(names["bg"]) != self.each * len(names["fg"]):
            raise DataError(
                f"{base}: {len(names['fg'])} foregrounds and {len(names['bg'])} backgrounds are listed; "
                f"expected {self.each} backgrounds for each foreground: restore the lists that came with the set"
            )
        backgrounds = self._background_folder(root)
        found: list[Entry] = []
        for number, name in enumerate(names["fg"]):
            image, alpha = self._listed(base, name, "fg"), self._listed(base, name, "alpha")
            stem = Path(name).stem
            if backgrounds is None:
                found.append(Entry(image, alpha, foreground=image, name=stem))
                continue
            for copy, listed in enumerate(names["bg"][number * self.each : (number + 1) * self.each]):
                numbered = f"{stem}_{copy}"
                background = _background(backgrounds, listed, f"{numbered}.png")
                trimap = base / self.groups[0] / "trimaps" / f"{numbered}.png"
                entry = Entry(image, alpha, trimap if trimap.is_file() else None, image, background, composed=True)
                found.append(replace(entry, name=numbered))
        return found

    def _background_folder(self, root: Path) -> Path | None:
        return next((root / folder for folder in self.backgrounds if (root / folder).is_dir()), None)

    def _listed(self, base: Path, name: str, kind: str) -> Path:
        for group in self.groups:
            path = base / group / kind / name
            if path.is_file():
                return path
        raise DataError(f"{base}: {kind}/{name} is listed but in none of {', '.join(self.groups)}; unpack the set again")


@dataclass(frozen=True)
class Plain:
    """A part of all folders of images that have a folder of mattes beside them, below the split's own folder, or below the root
    if there is none.
    """

    split: str

    IMAGES: ClassVar[tuple[str, ...]] = ("img", "image", "images", "input")
    ALPHAS: ClassVar[tuple[str, ...]] = ("alpha", "matte", "mask")

    def needs(self, root: Path) -> dict[str, bool]:
        """Return whether there is at least one set."""
        name = f"{self.IMAGES[0]}/ beside {'/, '.join(self.ALPHAS)}/, in {self.split}/ or in the folder itself"
        return {name: any(True for _ in self._sets(root))}

    def entries(self, root: Path) -> list[Entry]:
        """See `Part.entries`; set by set."""
        found: list[Entry] = []
        sets = list(self._sets(root))
        for folder, image in sets:
            alpha = next((name for name in self.ALPHAS if (folder / name).is_dir()), None)
            if alpha is None:
                raise DataError(f"{folder} has {image}/ but no mattes; expected {' or '.join(self.ALPHAS)} beside it")
            prefix = "" if len(sets) == 1 else f"{folder.relative_to(root).as_posix()}/"
            found += [replace(entry, name=prefix + entry.name) for entry in _paired(folder, image, alpha)]
        return found

    def _sets(self, root: Path) -> Iterator[tuple[Path, str]]:
        base = next((root / name for name in SPLITS[self.split] if (root / name).is_dir()), root)
        yield from self._below(base, _PLAIN_DEPTH)

    def _below(self, folder: Path, depth: int) -> Iterator[tuple[Path, str]]:
        image = next((name for name in self.IMAGES if (folder / name).is_dir()), None)
        if image is not None:
            yield folder, image
        elif depth:
            # A folder named after a split is not entered from above, so that no split ever falls back on another one.
            for child in sorted(path for path in folder.iterdir() if path.is_dir()):
                if not child.name.startswith(".") and child.name not in _SPLIT_FOLDERS:
                    yield from self._below(child, depth - 1)


def image_files(folder: Path) -> list[Path]:
    """Return the images directly in ``folder``, by name; hidden and other files are skipped."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _paired(folder: Path, image: str, alpha: str) -> list[Entry]:
    """Return the images of ``folder/image`` with their mattes of ``folder/alpha`` and extra layers beside them."""
    images, alphas = by_stem(folder / image), by_stem(folder / alpha)
    _check_partners(images, alphas, folder / image, folder / alpha)
    names = ("trimap", "fg", "bg", "original_denoise", "fg_denoise")
    extras = {name: by_stem(folder / name) if (folder / name).is_dir() else {} for name in names}
    return [
        Entry(
            path,
            alphas[stem],
            trimap=extras["trimap"].get(stem),
            foreground=extras["fg"].get(stem),
            background=extras["bg"].get(stem),
            original_denoise=extras["original_denoise"].get(stem),
            fg_denoise=extras["fg_denoise"].get(stem),
            name=stem,
        )
        for stem, path in images.items()
    ]


def by_stem(folder: Path) -> dict[str, Path]:
    """Return the images directly in ``folder`` by their names without extension.

    Raises:
        DataError: two have the same.
    """
    files: dict[str, Path] = {}
    for path in image_files(folder):
        if path.stem in files:
            raise DataError(f"{folder} has both {files[path.stem].name} and {path.name}; keep one of them")
        files[path.stem] = path
    return files


def _check_partners(images: Mapping[str, Path], alphas: Mapping[str, Path], image_folder: Path, alpha_folder: Path) -> None:
    if not images:
        raise DataError(f"{image_folder} has no images; expected {', '.join(SUFFIXES)}: unpack the set again")
    for some, others, what, folder in (
        (images, alphas, "matte", alpha_folder),
        (alphas, images, "image", image_folder),
    ):
        alone = [path for stem, path in some.items() if stem not in others]
        if alone:
            raise DataError(
                f"{alone[0]} has no {what} of the same name in {folder} "
                f"({len(alone)} of {len(some)} are alone); add the missing files or remove these"
            )


def _background(folder: Path, listed: str, numbered: str) -> Path:
    """Find a background by its listed name, by COCO's name of 2017, or by the name that composing scripts give it."""
    for name in (listed, listed.removeprefix("COCO_train2014_"), numbered):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"background {listed} is listed but not in {folder}; complete that folder or remove it")


def _lines(path: Path) -> list[str]:
    """Read a list with one name per line, with either line ending."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {error}; restore the list that came with the set") from error
