"""Compares our weights with other networks on every validation set, for ``python -m train peers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.engines.base import Engine
from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.multiscale import several_sizes
from streammat.train.data.images import Image, read_alpha, read_rgb
from streammat.train.lite.recipe import BEST_AREAS, PARTS
from streammat.train.measures import metrics
from streammat.train.measures.contact_sheet import contact_sheet, evenly_spaced, on_colour
from streammat.train.measures.validation import PIXELS, Pair, Predict, list_pairs, network_size, predict_image, validation_sets
from streammat.train.teachers import isnet, rvm, selfie

ImageMatting = Callable[[Image], NDArray[np.float32]]
"""A function from uint8 (H, W, 3) RGB to alpha, float32 (H, W)."""
TEACHERS: Mapping[str, tuple[str, Callable[[Path], ImageMatting]]] = {
    "RVM": (rvm.FILE, lambda file: rvm.RobustVideoMatting(file, precision="f32").image),
    "ISNet": (isnet.FILE, lambda file: isnet.ISNet(file).image),
    "MediaPipe": (selfie.FILE, lambda file: selfie.Selfie(file).image),
}
"""File in the folder of teachers, and the function that opens it, by name."""


@dataclass(frozen=True)
class Row:
    """One network on one set."""

    network: str
    set: str
    images: int
    iou: float
    mad: float
    grad: float
    """Gradient error per image, in thousands."""


def held_sets(cache_folder: Path) -> dict[str, list[Pair]]:
    """Return the sets that `streammat.train.labels.labelling` held out, as ``held/<set>``."""
    found = {f"held/{folder.name}": list_pairs(folder) for folder in sorted((cache_folder / "held").glob("*"))}
    return {name: pairs for name, pairs in found.items() if pairs}


def all_sets(data: Path | None, cache_folder: Path | None) -> dict[str, list[Pair]]:
    """Return all existing validation sets."""
    return (validation_sets(data) if data else {}) | (held_sets(cache_folder) if cache_folder else {})


def our_matte(opener: Callable[[tuple[int, int]], Predict], pixels: int = PIXELS) -> ImageMatting:
    """Return a function that runs our network on images of any size, once each.

    Args:
        opener: opens the network for one input size.
        pixels: input pixels.
    """
    opened = cache(opener)

    def matte(rgb: Image) -> NDArray[np.float32]:
        size = network_size(rgb.shape[0], rgb.shape[1], pixels)
        return predict_image(opened(size), rgb, size)

    return matte


def best_matte(weights: Path) -> ImageMatting:
    """Return a function that runs an exported lite network on images of any size as `--quality best` does."""
    files = ModelFiles(weights.stem, weights, parts=PARTS)

    @cache
    def opened(sizes: tuple[tuple[int, int], ...]) -> Engine:
        engines = [open_engine(files, "onnxruntime", "fp32", size, part="glance" if index else "focus") for index, size in enumerate(sizes)]
        return several_sizes(engines, fused=True)

    def matte(rgb: Image) -> NDArray[np.float32]:
        sizes = tuple(network_size(rgb.shape[0], rgb.shape[1], pixels) for pixels in BEST_AREAS)
        return predict_image(opened(sizes).infer, rgb, sizes[0])

    return matte


def compare(networks: Mapping[str, ImageMatting], sets: Mapping[str, Sequence[Pair]], most: int | None, report: Callable[[str], None]) -> list[Row]:
    """Score every network on every set.

    Args:
        networks: networks by name.
        sets: pairs of image and label, by the set's name.
        most: most images of each set, spread evenly; None: all.
        report: called with a line for each row.
    """
    rows = []
    for name, pairs in sets.items():
        chosen = [pairs[index] for index in evenly_spaced(len(pairs), most)] if most else list(pairs)
        scores: dict[str, list[tuple[float, float, float]]] = {network: [] for network in networks}
        for pair in chosen:
            rgb, truth = read_rgb(pair.image), read_alpha(pair.label).astype(np.float32) / 255.0
            for network, matte in networks.items():
                alpha = matte(rgb)
                scores[network].append((metrics.iou(alpha, truth), metrics.mad(alpha, truth), metrics.grad(alpha, truth)))
        for network, found in scores.items():
            rows.append(Row(network, name, len(found), *(float(value) for value in np.mean(found, axis=0))))
            report(f"{name:28} {network:14} {rows[-1].images:4} images, iou {rows[-1].iou:.4f}, mad {rows[-1].mad:.4f}, grad {rows[-1].grad:.2f}")
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: a line for each set, a column for each network, ``IoU / MAD``; the best IoU of a line
    in bold.
    """
    networks = list(dict.fromkeys(row.network for row in rows))
    lines = [f"| set | images | {' | '.join(networks)} |", "|---|---|" + "---|" * len(networks)]
    for name in dict.fromkeys(row.set for row in rows):
        found = {row.network: row for row in rows if row.set == name}
        best = max(row.iou for row in found.values())
        cells = [f"{row.iou:.3f} / {row.mad:.4f}" for row in found.values()]
        marked = [f"**{cell}**" if row.iou == best else cell for cell, row in zip(cells, found.values(), strict=True)]
        lines.append(f"| {name} | {next(iter(found.values())).images} | {' | '.join(marked)} |")
    return "\n".join(lines) + "\n"


def sheet(networks: Mapping[str, ImageMatting], pairs: Sequence[Pair], count: int) -> Image:
    """Make a contact sheet of images, labels and each network's results, spread evenly over ``pairs``."""
    rows, labels = [], []
    for index in evenly_spaced(len(pairs), count):
        rgb, label = read_rgb(pairs[index].image), read_alpha(pairs[index].label)
        alphas = [np.rint(matte(rgb) * 255.0).astype(np.uint8) for matte in networks.values()]
        rows.append((rgb, cv2.resize(label, rgb.shape[1::-1]).astype(np.uint8), *(on_colour(rgb, alpha, (0, 200, 0)) for alpha in alphas)))
        labels.append(pairs[index].image.name)
    return contact_sheet(rows, labels, ("image", "label", *networks), cell=256)
