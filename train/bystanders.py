"""Who else is in a picture: masks of fashion photographs show the one who is portrayed.

The shipped network mattes everybody in view. Trained on pictures whose passers-by are labelled background, it would learn to
leave people out; so a first network, trained mostly on composites, looks for them, and pictures that have any are only
used as cut-outs from then on. Self-training, in the one place where the labels are known to be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from train.errors import DataError
from train.pictures import Image, read_alpha, read_rgb
from train.pool import Report, write_whole
from train.validation import Predict, network_size, predict_picture

FILE = "bystanders.json"
"""In a set's folder of the cache: for each picture the largest thing found besides its subject, as a share of the picture."""
MOST = 0.0006
"""Share up to which a picture counts as without bystanders: 10 x 12 pixels of 512 x 384."""
PIXELS = (416 * 736,)
"""Sizes of the network's input at which it looks, each also mirrored; small figures need a large one."""
_BELIEF = 0.25
_NEAR = 0.03


def bystander_share(views: Callable[[Image], Image], rgb: Image, alpha: Image) -> float:
    """How much of the picture the largest thing takes up that is no part of the labelled subject.

    Args:
        views: uint8 (H, W, 3) to the network's alpha, uint8 (H, W).
        rgb: uint8 (H, W, 3).
        alpha: uint8 (H, W), the label.

    Returns:
        0..1.
    """
    reach = max(2, round(_NEAR * max(alpha.shape)))
    near = cv2.dilate(alpha, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 2
    elsewhere = (views(rgb) > _BELIEF * 255) & ~near
    count, _, facts, _ = cv2.connectedComponentsWithStats(elsewhere.astype(np.uint8))
    return float(facts[1:, cv2.CC_STAT_AREA].max() / alpha.size) if count > 1 else 0.0


def find_bystanders(open_predict: Callable[[tuple[int, int]], Predict], cache: Path, folder: str, report: Report) -> tuple[int, int]:
    """Look through one set of the cache and write its `FILE`.

    Args:
        open_predict: gives the network for one input size.
        cache: mattes.
        folder: name of the set.
        report: takes one line at a time.

    Returns:
        Pictures, and those with bystanders.

    Raises:
        DataError: there are no mattes of the set, or one is broken.
        RunError: the file cannot be written.
    """
    base = cache / folder
    pictures = sorted((base / "img").glob("[!.]*.jpg"))
    if not pictures:
        raise DataError(f"no mattes in {base}; run `python -m train mattes` first")
    networks: dict[tuple[int, int], Predict] = {}

    def views(rgb: Image) -> Image:
        largest = np.zeros(rgb.shape[:2], np.float32)
        for pixels in PIXELS:
            size = network_size(rgb.shape[0], rgb.shape[1], pixels)
            if size not in networks:
                networks[size] = open_predict(size)
            mirrored = predict_picture(networks[size], np.ascontiguousarray(rgb[:, ::-1]), size)[:, ::-1]
            largest = np.maximum(largest, (predict_picture(networks[size], rgb, size) + mirrored) / 2)
        return np.rint(largest * 255).astype(np.uint8)

    shares: dict[str, float] = {}
    for number, path in enumerate(pictures, 1):
        shares[path.stem] = round(bystander_share(views, read_rgb(path), read_alpha(base / "alpha" / f"{path.stem}.png")), 5)
        if number % 200 == 0:
            report(f"bystanders: {folder} {number}/{len(pictures)}")
    write_whole(base / FILE, (json.dumps(shares, indent=1) + "\n").encode())
    return len(pictures), sum(share > MOST for share in shares.values())


def read_bystanders(base: Path) -> dict[str, bool]:
    """Whether a picture shows its subject alone, by its stem; empty where nobody looked.

    Args:
        base: the set's folder in the cache.

    Raises:
        DataError: the file is there and cannot be read.
    """
    path = base / FILE
    if not path.exists():
        return {}
    try:
        shares = json.loads(path.read_text(encoding="utf-8"))
        return {stem: float(share) <= MOST for stem, share in shares.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, or run `python -m train bystanders` again") from error


LOOKED_THROUGH = ("people_fullbody",)
"""Sets whose masks show one person of several. On portraits a first network finds its own errors for the most part, and those are
the pictures that teach most."""
