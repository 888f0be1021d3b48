"""Mattes of whole pictures at their own size against their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train import metrics

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 (1, h, w, 3) RGB to float32 (1, h/2, w/2) alpha; h and w multiples of 32."""

PIXELS = 288 * 512
"""Pixels of the network's input: what a 720p webcam gets at the paper's 5/13, floored, within a laptop's budget."""


@dataclass(frozen=True)
class Pair:
    """A picture and its label."""

    image: Path
    label: Path


@dataclass(frozen=True)
class Scores:
    """Means over pictures."""

    pictures: int
    iou: float
    mad: float
    mse: float
    sad: float


def validation_sets(data: Path) -> dict[str, list[Pair]]:
    """Validation pairs by set; sets that are not there are left out.

    Args:
        data: folder with ``val/people_portraits``, ``val/animals_cats`` and ``val/video/<clip>``.
    """
    folders = {"people_portraits": data / "val/people_portraits", "animals_cats": data / "val/animals_cats"}
    for clip in sorted((data / "val/video").glob("*")):
        folders[f"video/{clip.name}"] = clip
    found = {name: list_pairs(folder) for name, folder in folders.items()}
    return {name: pairs for name, pairs in found.items() if pairs}


def list_pairs(folder: Path) -> list[Pair]:
    """Pictures of ``folder/img`` with the label of the same stem in ``folder/mask`` or ``folder/alpha``."""
    labels: Mapping[str, Path] = {path.stem: path for kind in ("mask", "alpha") for path in (folder / kind).glob("*")}
    return [Pair(path, labels[path.stem]) for path in sorted((folder / "img").glob("*")) if path.stem in labels]


def network_size(height: int, width: int, pixels: int = PIXELS) -> tuple[int, int]:
    """Input size of the picture's aspect with about ``pixels`` pixels; height and width rounded to multiples of 32."""
    scale = (pixels / (height * width)) ** 0.5
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


def predict_picture(predict: Predict, rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Matte of a whole picture.

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


def evaluate(open_predict: Callable[[tuple[int, int]], Predict], pairs: Iterable[Pair]) -> Scores:
    """Score a network on pictures.

    Args:
        open_predict: gives the network for one input size; called once per size.
        pairs: pictures.

    Returns:
        Means over the pictures.

    Raises:
        ValueError: there are no pictures.
        OSError: a picture cannot be read.
    """
    networks: dict[tuple[int, int], Predict] = {}
    rows: list[tuple[float, float, float, float]] = []
    for pair in pairs:
        bgr = cv2.imread(str(pair.image), cv2.IMREAD_COLOR)
        label = cv2.imread(str(pair.label), cv2.IMREAD_GRAYSCALE)
        if bgr is None or label is None:
            raise OSError(f"cannot read {pair.image} or {pair.label}")
        size = network_size(*bgr.shape[:2])
        if size not in networks:
            networks[size] = open_predict(size)
        alpha = predict_picture(networks[size], np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8), size)
        truth = label.astype(np.float32) / 255.0
        rows.append((metrics.iou(alpha, truth), metrics.mad(alpha, truth), metrics.mse(alpha, truth), metrics.sad(alpha, truth)))
    if not rows:
        raise ValueError("no pictures to evaluate on")
    means = np.mean(rows, axis=0)
    return Scores(len(rows), *(float(value) for value in means))
