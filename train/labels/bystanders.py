"""Searches for bystanders: the masks of the training sets show only the portrayed person, or one kind of animal.

The shipped network mattes everybody in view. Trained on images whose passers-by, riders and friends are labelled background, it
would learn to leave people out, and would memorise those images. So a network that has seen people of street photographs only as
cut-outs (``--without street``) searches for them, and images with bystanders are then only used as cut-outs. This is
self-training where the labels are known to be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from streammat.train.data.background_fill import fill_subject
from streammat.train.data.images import Image, read_alpha, read_rgb
from streammat.train.data.pool import Tell, write_whole
from streammat.train.errors import DataError
from streammat.train.measures.validation import Predict, network_size, predict_image

FILE = "bystanders.json"
"""Name of the file, in a set's folder of the cache, with the largest find besides the subject for each image, as a share of the
image.
"""
MOST: Mapping[str, float] = {
    "people_fullbody": 0.0006,
    "animals_horses": 0.003,
    "animals_cats": 0.01,
}
"""Sets to search, and the largest find, as a share of the image, that does not count as a bystander: for streets 10 x 12 pixels
of 512 x 384. Small finds beside animals are mostly errors of the network, and so are all finds in portraits (seats and shadows),
which are therefore not searched.
"""
PIXELS = 416 * 736
"""Pixels of the network's input, twice as many for the image without its subject; each is also run mirrored. Small figures need a
large input.
"""
_BELIEF = 0.25
_NEAR = 0.03


def bystander_share(seen: Image, alpha: Image) -> float:
    """Return the share of the image of the largest find that is not part of the labelled subject.

    Args:
        seen: uint8 (H, W), a network's matte.
        alpha: uint8 (H, W), the label.

    Returns:
        0..1.
    """
    reach = max(2, round(_NEAR * max(alpha.shape)))
    near = cv2.dilate(alpha, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 2
    elsewhere = (seen > _BELIEF * 255) & ~near
    count, _, facts, _ = cv2.connectedComponentsWithStats(elsewhere.astype(np.uint8))
    return float(facts[1:, cv2.CC_STAT_AREA].max() / alpha.size) if count > 1 else 0.0


def find_bystanders(
    open_predict: Callable[[tuple[int, int]], Predict], cache: Path, folder: str, report: Tell, *, filled: bool = True
) -> tuple[int, int]:
    """Search one set of the cache and write its `FILE`.

    Args:
        open_predict: opens the network for one input size.
        cache: folder of the mattes.
        folder: name of the set.
        report: called with one line at a time.
        filled: also search the image without its subject (`streammat.train.data.background_fill`), if that can be made. A network
            that was trained on an image may have learnt to leave out people beside its subject; a weak network has many false
            finds.

    Returns:
        Number of images, and of those with bystanders.

    Raises:
        DataError: the set has no mattes, or one is broken.
        RunError: the file cannot be written.
    """
    base = cache / folder
    images = sorted((base / "img").glob("[!.]*.jpg"))
    if not images:
        raise DataError(f"no mattes in {base}; run `python -m train mattes` first")
    networks: dict[tuple[int, int], Predict] = {}

    def views(rgb: Image, pixels: int) -> Image:
        size = network_size(rgb.shape[0], rgb.shape[1], pixels)
        if size not in networks:
            networks[size] = open_predict(size)
        mirrored = predict_image(networks[size], np.ascontiguousarray(rgb[:, ::-1]), size)[:, ::-1]
        mean: Image = np.rint((predict_image(networks[size], rgb, size) + mirrored) * 127.5).astype(np.uint8)
        return mean

    shares: dict[str, float] = {}
    for number, path in enumerate(images, 1):
        rgb, alpha = read_rgb(path), read_alpha(base / "alpha" / f"{path.stem}.png")
        share = bystander_share(views(rgb, PIXELS), alpha)
        if filled and (behind := fill_subject(rgb, alpha)) is not None:
            share = max(share, bystander_share(views(behind, 2 * PIXELS), np.zeros_like(alpha)))
        shares[path.stem] = round(share, 5)
        if number % 200 == 0:
            report(f"bystanders: {folder} {number}/{len(images)}")
    write_whole(base / FILE, (json.dumps(shares, indent=1) + "\n").encode())
    return len(images), sum(share > MOST[folder] for share in shares.values())


def read_bystanders(base: Path) -> dict[str, bool]:
    """Read whether each image shows its subject alone, by stem; empty if the set was not searched.

    Args:
        base: the set's folder in the cache.

    Raises:
        DataError: the file exists and cannot be read.
    """
    path = base / FILE
    if base.name not in MOST or not path.exists():
        return {}
    try:
        shares = json.loads(path.read_text(encoding="utf-8"))
        return {stem: float(share) <= MOST[base.name] for stem, share in shares.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, or run `python -m train bystanders` again") from error
