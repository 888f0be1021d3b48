"""Validation of the shipped network: a few numbers for many small images, whose labels are mostly masks.

`streammat.train.evaluation.evaluate` has the paper's metrics.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image, read_alpha, read_rgb
from streammat.train.measures import metrics
from streammat.train.measures.contact_sheet import contact_sheet, on_colour

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function from uint8 (1, h, w, 3) RGB to float32 (1, h/2, w/2) alpha; h and w multiples of 32."""

PIXELS = 288 * 512
"""Most pixels of the network's input at the quality ``balanced``, which a laptop can afford."""
SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)
"""Borders of the classes of a subject's size, as a share of the image."""


@dataclass(frozen=True)
class Pair:
    """An image and its label."""

    image: Path
    label: Path


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image."""

    pair: Pair
    share: float
    """Share of the image that the subjects cover, 0..1."""
    iou: float
    """IoU at alpha > 0.5; 1 if neither label nor matte has a subject."""
    mad: float
    mse: float
    sad: float


@dataclass(frozen=True)
class Scores:
    """Means over images."""

    pictures: int
    iou: float
    mad: float
    mse: float
    sad: float

    @classmethod
    def of(cls, scores: Sequence[ImageScore]) -> Scores:
        """Return means.

        Raises:
            ValueError: there are no images.
        """
        if not scores:
            raise ValueError("no images to evaluate on")
        means = np.mean([(score.iou, score.mad, score.mse, score.sad) for score in scores], axis=0)
        return cls(len(scores), *(float(value) for value in means))


def validation_sets(data: Path) -> dict[str, list[Pair]]:
    """Return the validation pairs by set; missing sets are left out.

    Args:
        data: folder with ``val/people_portraits``, ``val/animals_cats`` and ``val/video/<clip>``.
    """
    folders = {"people_portraits": data / "val/people_portraits", "animals_cats": data / "val/animals_cats"}
    for clip in sorted((data / "val/video").glob("*")):
        folders[f"video/{clip.name}"] = clip
    found = {name: list_pairs(folder) for name, folder in folders.items()}
    return {name: pairs for name, pairs in found.items() if pairs}


def hard_sets(folder: Path) -> dict[str, list[Pair]]:
    """Return the sets written by `streammat.train.lite.stress_set.write_hard`, as ``hard/<difficulty>``."""
    found = {f"hard/{part.name}": list_pairs(part) for part in sorted(folder.glob("*"))}
    return {name: pairs for name, pairs in found.items() if pairs}


def list_pairs(folder: Path) -> list[Pair]:
    """Return the images of ``folder/img`` with the label of the same stem in ``folder/mask`` or ``folder/alpha``."""
    labels: Mapping[str, Path] = {path.stem: path for kind in ("mask", "alpha") for path in (folder / kind).glob("*")}
    return [Pair(path, labels[path.stem]) for path in sorted((folder / "img").glob("*")) if path.stem in labels]


def network_size(height: int, width: int, pixels: int = PIXELS) -> tuple[int, int]:
    """Return an input size with the image's aspect ratio and about ``pixels`` pixels; height and width are multiples of 32."""
    scale = (pixels / (height * width)) ** 0.5
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


def predict_image(predict: Predict, rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Predict the matte of a whole image.

    Args:
        predict: the network.
        rgb: uint8 (H, W, 3).
        size: network input (height, width).

    Returns:
        float32 (H, W), 0..1.
    """
    small = cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)
    alpha = predict(small[None])[0]
    full: NDArray[np.float32] = cv2.resize(alpha, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR)
    return full


def score_images(
    open_predict: Callable[[tuple[int, int]], Predict], pairs: Iterable[Pair], pixels: int = PIXELS
) -> list[ImageScore]:
    """Score a network on images.

    Args:
        open_predict: opens the network for one input size; called once per size.
        pairs: images and labels.
        pixels: approximate pixels of the network's input.

    Raises:
        DataError: an image cannot be read.
    """
    networks: dict[tuple[int, int], Predict] = {}
    scores: list[ImageScore] = []
    for pair in pairs:
        rgb, label = read_rgb(pair.image), read_alpha(pair.label)
        size = network_size(label.shape[0], label.shape[1], pixels)
        if size not in networks:
            networks[size] = open_predict(size)
        alpha = predict_image(networks[size], rgb, size)
        truth = label.astype(np.float32) / 255.0
        measured = (metrics.iou(alpha, truth), metrics.mad(alpha, truth), metrics.mse(alpha, truth), metrics.sad(alpha, truth))
        scores.append(ImageScore(pair, float(truth.mean()), *measured))
    return scores


def evaluate(open_predict: Callable[[tuple[int, int]], Predict], pairs: Iterable[Pair]) -> Scores:
    """Return means over the images; arguments and errors as in `score_images` and `Scores.of`."""
    return Scores.of(score_images(open_predict, pairs))


def by_share(scores: Sequence[ImageScore]) -> dict[str, Scores]:
    """Return means by the size of the subject, in the classes of `SHARES`; images without a subject, and empty classes, are left
    out.
    """
    found: dict[str, Scores] = {}
    for low, high in itertools.pairwise(SHARES):
        part = [score for score in scores if low < score.share <= high]
        if part:
            found[f"{low:.0%} to {high:.0%}"] = Scores.of(part)
    return found


def worst_sheet(
    open_predict: Callable[[tuple[int, int]], Predict], scores: Sequence[ImageScore], count: int, pixels: int = PIXELS
) -> Image:
    """Make a contact sheet of the images with the largest mean error: image, label, alpha, and the cut-out on green.

    Args:
        open_predict: as in `score_images`.
        scores: its results.
        count: number of images.
        pixels: as in `score_images`.
    """
    rows, labels = [], []
    for score in sorted(scores, key=lambda score: -score.mad)[:count]:
        rgb = read_rgb(score.pair.image)
        size = network_size(rgb.shape[0], rgb.shape[1], pixels)
        alpha = np.rint(predict_image(open_predict(size), rgb, size) * 255.0).astype(np.uint8)
        rows.append((rgb, read_alpha(score.pair.label), alpha, on_colour(rgb, alpha, (0, 200, 0))))
        parts = score.pair.image.parts
        labels.append(f"{'/'.join(parts[-3:-2])}/{parts[-1]}: IoU {score.iou:.3f}, MAD {score.mad:.4f}")
    return contact_sheet(rows, labels, ("image", "label", "alpha", "on green"))
