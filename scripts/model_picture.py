#!/usr/bin/env python3
"""Remake docs/lite.jpg: images that no training saw and anyone may show, the shipped network's mattes, and the cut-outs.

The images come with scikit-image (in the public domain or CC0): a portrait, a cat, a man with a camera, and three without anybody.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from streammat.engines import shipped as models
from streammat.train.cli.common import open_weights
from streammat.train.data.images import Image
from streammat.train.measures.contact_sheet import contact_sheet, on_colour
from streammat.train.measures.validation import network_size, predict_image

TARGET = Path(__file__).resolve().parents[1] / "docs" / "lite.jpg"
PICTURES = {
    "astronaut": data.astronaut,
    "chelsea": data.chelsea,
    "camera": data.camera,
    "coffee": data.coffee,
    "rocket": data.rocket,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
}


def main() -> None:
    """Matte, lay out, write."""
    opener = open_weights(models.shipped().fp32)
    rows: list[list[Image]] = []
    labels = []
    for name, load in PICTURES.items():
        rgb = np.ascontiguousarray(np.dstack([load()] * 3) if load().ndim == 2 else load()[:, :, :3])
        size = network_size(rgb.shape[0], rgb.shape[1])
        alpha = np.rint(predict_image(opener(size), rgb, size) * 255.0).astype(np.uint8)
        rows.append([rgb, alpha, on_colour(rgb, alpha, (0, 177, 64))])
        labels.append(f"{name}: mean alpha {alpha.mean() / 255:.3f}")
    # Two rows of three side by side.
    sheet = [contact_sheet(rows[part], labels[part], cell=220) for part in (slice(0, 3), slice(3, 6))]
    height = max(half.shape[0] for half in sheet)
    padded = [cv2.copyMakeBorder(half, 0, height - half.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(236, 236, 236)) for half in sheet]
    cv2.imwrite(str(TARGET), np.hstack(padded)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
