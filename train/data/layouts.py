"""Layouts of released data sets: pairs images with mattes.

Every layout is one entry of `LAYOUTS`, every folder of a layout one `streammat.train.data.layout_parts.Part`; no other module
knows data sets by name.

==============  ========================================================================================================
am2k            AM-2k and PM-10k: ``train/{original,mask}`` with ``fg, bg, original_denoise, fg_denoise`` where they have
                been made, ``validation/{original,mask,trimap}``
p3m             P3M-10k: ``train/{blurred_image,mask}`` with the same extras, ``validation/P3M-500-P/{blurred_image,mask,
                trimap}`` and ``validation/P3M-500-NP/{original_image,mask,trimap}``; both have a split of their own name
composition1k   Adobe's Deep Image Matting set (``Combined_Dataset``); see
                `streammat.train.data.layout_parts.Composed`
dapm            Deep Automatic Portrait Matting: ``{training,testing}/{NAME.png,NAME_matte.png}``
plain           ``img`` (or ``image, images, input``) beside ``alpha`` (or ``matte, mask``), anywhere below the split's folder
                or, where there is none, below the root itself; several such sets count as one
==============  ========================================================================================================

An image and its matte have the same stem; their suffixes may differ. Hidden files are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streammat.train.data.images import Image, Layers, read_alpha, read_rgb
from streammat.train.data.layout_parts import (
    SPLITS,
    TRAIN,
    VALIDATION,
    Composed,
    Entry,
    Folders,
    Part,
    Plain,
    SideBySide,
    image_files,
)
from streammat.train.data.targets import BACKGROUND_BELOW, trimap
from streammat.train.errors import DataError

_NAMES_SHOWN = 8

__all__ = [
    "BACKGROUND_FOLDERS",
    "LAYOUTS",
    "BackgroundEntry",
    "Entry",
    "FolderImages",
    "Layout",
    "load_layers",
    "load_pair",
    "load_trimap",
    "open_backgrounds",
    "open_layout",
]


@dataclass(frozen=True)
class Layout:
    """One data set's folders, by split."""

    title: str
    splits: Mapping[str, tuple[Part, ...]]


_P3M_P = Folders("validation/P3M-500-P", "blurred_image")
_P3M_NP = Folders("validation/P3M-500-NP", "original_image")
_ADOBE = "Adobe-licensed images"
_COCO = ("Training_set/bg", "train2014", "train2017")
_VOC = ("Test_set/bg", "VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2008/JPEGImages")

LAYOUTS: Mapping[str, Layout] = {
    "am2k": Layout("AM-2k or PM-10k", {s: (Folders(s, "original"),) for s in (TRAIN, VALIDATION)}),
    "p3m": Layout(
        "P3M-10k",
        {
            TRAIN: (Folders(TRAIN, "blurred_image"),),
            VALIDATION: (_P3M_P, _P3M_NP),
            "P3M-500-P": (_P3M_P,),
            "P3M-500-NP": (_P3M_NP,),
        },
    ),
    "composition1k": Layout(
        "Composition-1k",
        {
            TRAIN: (Composed("Training_set", "training", 100, (_ADOBE, "Other"), _COCO, needs_backgrounds=False),),
            VALIDATION: (Composed("Test_set", "test", 20, (_ADOBE,), _VOC, needs_backgrounds=True),),
        },
    ),
    "dapm": Layout("DAPM", {TRAIN: (SideBySide("training"),), VALIDATION: (SideBySide("testing"),)}),
    "plain": Layout("plain", {s: (Plain(s),) for s in (TRAIN, VALIDATION)}),
}
"""Layouts by the name used in options; `open_layout` tries them in this order."""


def open_layout(root: Path, split: str, kind: str = "auto") -> list[Entry]:
    """Find the images of a data set and their mattes, without reading them.

    Args:
        root: folder of the data set.
        split: ``train``, ``validation`` (also ``val``, ``test``), or a split of one layout alone (``P3M-500-P``).
        kind: a key of `LAYOUTS`, or ``auto``: the first complete layout.

    Returns:
        At least one entry.

    Raises:
        DataError: there is no such folder, layout or split; folders are missing (the message names those of the nearest layout);
            an image or matte has no partner; a folder has no images.
    """
    if not root.is_dir():
        raise DataError(f"data set folder {root} does not exist; give the folder that the set was unpacked to")
    if kind != "auto" and kind not in LAYOUTS:
        raise DataError(f"unknown layout {kind!r}; expected auto or one of {', '.join(LAYOUTS)}")
    split = next((name for name, folders in SPLITS.items() if split in folders), split)
    tried = LAYOUTS if kind == "auto" else {kind: LAYOUTS[kind]}
    candidates = {name: layout.splits[split] for name, layout in tried.items() if split in layout.splits}
    if not candidates:
        known = dict.fromkeys(name for layout in tried.values() for name in layout.splits)
        raise DataError(f"unknown split {split!r}; expected one of {', '.join(known)}")
    needs = {}
    for name, parts in candidates.items():
        needs[name] = {need: there for part in parts for need, there in part.needs(root).items()}
        if all(needs[name].values()):
            return [entry for part in parts for entry in part.entries(root)]
    share = {name: sum(found.values()) / len(found) for name, found in needs.items()}
    nearest = max(share, key=lambda name: share[name])
    if not share[nearest]:  # nothing is near; the last one asks for least
        nearest = list(share)[-1]
    missing = " and ".join(need for need, there in needs[nearest].items() if not there)
    raise DataError(
        f"{root} has no split {split!r} of a known layout ({', '.join(LAYOUTS[name].title for name in share)}): "
        f"found in {_listing(root, needs[nearest])}; the nearest layout is {LAYOUTS[nearest].title}, which lacks {missing}"
    )


@dataclass(frozen=True)
class BackgroundEntry:
    """An image without a subject, and its denoised version, if it exists."""

    image: Path
    denoise: Path | None = None


BACKGROUND_FOLDERS = {
    TRAIN: ("train", "train2014", "train2017", "train_bg"),
    VALIDATION: ("testval", "validation", "val", "test", "val2014", "val2017"),
}
"""Folders of BG-20k, COCO and sets made by ``python -m train backgrounds``, by split; denoised images are in ``<folder>_denoise``."""


def open_backgrounds(root: Path, split: str = TRAIN) -> list[BackgroundEntry]:
    """Find images without subjects: BG-20k, COCO, or any folder of images with subfolders.

    Args:
        root: folder of the set; without any of `BACKGROUND_FOLDERS`, all images below it are taken.
        split: ``train`` or ``validation``.

    Returns:
        At least one entry, by path.

    Raises:
        DataError: no such folder or split, or no images in it.
    """
    if not root.is_dir():
        raise DataError(f"background folder {root} does not exist; give a folder of images, BG-20k or COCO")
    split = next((name for name, folders in SPLITS.items() if split in folders), split)
    if split not in BACKGROUND_FOLDERS:
        raise DataError(f"unknown split {split!r} of backgrounds; expected one of {', '.join(BACKGROUND_FOLDERS)}")
    there = {name: [folder for folder in names if (root / folder).is_dir()] for name, names in BACKGROUND_FOLDERS.items()}
    if not there[split] and any(there.values()):
        raise DataError(f"{root} has no split {split!r} of backgrounds; expected one of {', '.join(BACKGROUND_FOLDERS[split])}")
    folder = root / there[split][0] if there[split] else root
    # Images of several folders may have one name.
    denoised = dict(_places(folder.with_name(f"{folder.name}_denoise")))
    found = [BackgroundEntry(path, denoised.get(place)) for place, path in _places(folder)]
    if not found:
        raise DataError(f"{folder} has no images; expected backgrounds as JPEG or PNG, in it or in its subfolders")
    return found


def load_pair(entry: Entry) -> tuple[Image, Image]:
    """Read an image and its matte.

    Args:
        entry: as from `open_layout`.

    Returns:
        uint8 RGB (H, W, 3) and uint8 alpha (H, W).

    Raises:
        DataError: a file is missing or broken, or their sizes differ.
    """
    if entry.composed:
        layers = load_layers(entry)
        return layers.rgb, layers.alpha
    return _load_files(entry)


def load_trimap(entry: Entry, alpha: Image, *, exact: bool = False) -> Image:
    """Load the trimap of an image: the data set's own, or made from alpha with TT's kernel.

    Args:
        entry: as from `open_layout`.
        alpha: uint8 (H, W) of the same entry.
        exact: refuse files with values other than 0, 128 and 255.

    Returns:
        uint8 (H, W): 0 background, 255 foreground, 128 for every other value of the file.

    Raises:
        DataError: the file is broken or of another size, or has other values and was to be exact.
    """
    if entry.trimap is None:
        return trimap(alpha)
    grey = read_alpha(entry.trimap)
    _check_size(entry.trimap, grey, entry.alpha, alpha)
    if exact and not np.isin(grey, (0, 128, 255)).all():
        strange = np.setdiff1d(grey, (0, 128, 255))[:5].tolist()
        raise DataError(f"trimap {entry.trimap} has values {strange}; expected 0, 128 and 255 alone: save it without compression or smoothing")
    return np.where((grey == 0) | (grey == 255), grey, np.uint8(128))


def load_layers(entry: Entry) -> Layers:
    """Read an image, its matte, and its foreground and background.

    Without a foreground in the data set, the image itself is taken; without a background, the foreground, so that their contrast,
    and with it the composition loss, is 0. A composed image is made as by the script of Adobe's set: the background is enlarged
    if it is too small, cropped at its top left, and blended with fractions dropped. (It enlarges with Pillow's cubic filter;
    OpenCV's is a little sharper.)

    Args:
        entry: as from `open_layout`.

    Returns:
        Layers of one size.

    Raises:
        DataError: a file is missing or broken, or a size differs from the image's.
    """
    rgb, alpha = _load_files(entry)
    foreground = rgb
    if entry.foreground is not None and entry.foreground != entry.image:
        foreground = _layer(entry.foreground, entry.image, rgb)
    if entry.composed and entry.background is not None:
        background = _fitted(read_rgb(entry.background), alpha.shape)
        weight = alpha[:, :, None] / np.float32(255)
        rgb = (foreground * weight + background * (1 - weight)).astype(np.uint8)
    else:
        background = foreground if entry.background is None else _layer(entry.background, entry.image, rgb)
    return Layers(rgb, alpha, foreground, background)


class FolderImages:
    """The original images of a data set (the ORI track); a `streammat.train.data.samples.ImageSet`.

    Args:
        entries: as from `open_layout`.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    def __len__(self) -> int:
        """Return images per epoch."""
        return len(self.entries)

    def load(self, index: int, rng: np.random.Generator) -> Layers:  # noqa: ARG002 (the protocol's)
        """Load image ``index``; nothing is random.

        Raises:
            DataError: as in `load_layers`, or the matte has no subject.
        """
        entry = self.entries[index]
        layers = load_layers(entry)
        brightest = int(layers.alpha.max())
        if brightest < BACKGROUND_BELOW:
            raise DataError(
                f"matte {entry.alpha} is empty (largest value {brightest} of 255); "
                "remove the pair from the training set, or stretch masks of 0 and 1 to 0 and 255"
            )
        return layers


def _places(folder: Path) -> list[tuple[Path, Path]]:
    """Return every image of a folder by its relative path without the extension."""
    return [(path.relative_to(folder).with_suffix(""), path) for path in _all_images(folder)]


def _all_images(folder: Path) -> list[Path]:
    """Return the images of a folder and of all folders below it; nothing if it is missing."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())] if folder.is_dir() else []
    return sorted(path for part in folders for path in image_files(part))


def _load_files(entry: Entry) -> tuple[Image, Image]:
    rgb, alpha = read_rgb(entry.image), read_alpha(entry.alpha)
    _check_size(entry.alpha, alpha, entry.image, rgb)
    return rgb, alpha


def _layer(path: Path, image: Path, rgb: Image) -> Image:
    layer = read_rgb(path)
    _check_size(path, layer, image, rgb)
    return layer


def _check_size(path: Path, plane: Image, image: Path, rgb: Image) -> None:
    (height, width), (rows, columns) = plane.shape[:2], rgb.shape[:2]
    if (height, width) != (rows, columns):
        raise DataError(
            f"{path} is {width}x{height} pixels but {image} is {columns}x{rows}; "
            "both must have the same size; download or make the pair again"
        )


def _fitted(background: Image, shape: tuple[int, ...]) -> Image:
    """Return the top left H x W of a background, enlarged first if it is smaller."""
    height, width = shape
    rows, columns = background.shape[:2]
    ratio = max(height / rows, width / columns)
    if ratio > 1:
        size = (math.ceil(columns * ratio), math.ceil(rows * ratio))
        background = cv2.resize(background, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    return background[:height, :width]


def _listing(root: Path, needs: Iterable[str]) -> str:
    """List the contents of ``root`` and of its folders that belong to the nearest layout."""
    inside = {need.split("/")[0] for need in needs if "/" in need}
    folders = [root, *(root / name for name in sorted(inside) if (root / name).is_dir())]
    return ", ".join(f"{folder if folder == root else folder.name}/: {_names(folder)}" for folder in folders)


def _names(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    shown = " ".join(names[:_NAMES_SHOWN]) or "nothing"
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown
