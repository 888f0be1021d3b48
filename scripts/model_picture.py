#!/usr/bin/env python3
"""Remake docs/lite.jpg and docs/failures.jpg: images that no training saw and anyone may show, the shipped network's mattes, and the cut-outs.

The images come with scikit-image and Matplotlib (in the public domain or CC0): a portrait, a cat, a man with a camera, and three without anybody; and
what goes wrong: the same in the dark, on the side and shaken, a flag behind a portrait, a motorcycle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from matplotlib import cbook
from skimage import data

from streammat.engines import shipped as models
from streammat.train.cli.common import open_weights
from streammat.train.data.images import Image
from streammat.train.measures.contact_sheet import contact_sheet, on_colour
from streammat.train.measures.validation import network_size, predict_image

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _in_the_dark(rgb: Image) -> Image:
    """Return an image as a sensor sees it with little light: dark, with noise of 12 of 255."""
    dark = 90.0 * np.square(rgb / 255.0) + np.random.default_rng(1).normal(0, 12, rgb.shape)
    return np.clip(np.rint(dark), 0, 255).astype(np.uint8)


PICTURES: dict[str, dict[str, Callable[[], Image]]] = {
    "lite.jpg": {
        "astronaut": data.astronaut,
        "chelsea": data.chelsea,
        "camera": data.camera,
        "coffee": data.coffee,
        "rocket": data.rocket,
        "motorcycle": lambda: data.stereo_motorcycle()[0],
    },
    "failures.jpg": {
        "a flag behind": lambda: cv2.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))[:, :, ::-1],
        "in the dark": lambda: _in_the_dark(data.astronaut()),
        "on the side": lambda: np.rot90(data.astronaut(), -1),
        "shaken": lambda: cv2.blur(data.chelsea(), (1, 41)),
        "black on black": lambda: _in_the_dark(np.dstack([data.camera()] * 3)),
        "nobody": lambda: data.stereo_motorcycle()[0],
    },
}


def main() -> None:
    """Matte, lay out, write."""
    opener = open_weights(models.shipped().fp32)
    for name, pictures in PICTURES.items():
        rows: list[list[Image]] = []
        labels = []
        for title, load in pictures.items():
            rgb = np.ascontiguousarray(np.dstack([load()] * 3) if load().ndim == 2 else load()[:, :, :3])
            size = network_size(rgb.shape[0], rgb.shape[1])
            alpha = np.rint(predict_image(opener(size), rgb, size) * 255.0).astype(np.uint8)
            rows.append([rgb, alpha, on_colour(rgb, alpha, (0, 177, 64))])
            labels.append(f"{title}: mean alpha {alpha.mean() / 255:.3f}")
        # Two rows of three side by side.
        sheet = [contact_sheet(rows[part], labels[part], cell=220) for part in (slice(0, 3), slice(3, 6))]
        height = max(half.shape[0] for half in sheet)
        padded = [cv2.copyMakeBorder(half, 0, height - half.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(236, 236, 236)) for half in sheet]
        cv2.imwrite(str(DOCS / name), np.hstack(padded)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
