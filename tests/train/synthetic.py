"""A tiny data folder drawn from scratch: discs of one colour before stripes of another."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def make_data(folder: Path, count: int = 4) -> Path:
    """Write ``train/people_portraits`` with binary masks and ``backgrounds/houses``; returns ``folder``."""
    rng = np.random.default_rng(0)
    for kind in ("train/people_portraits/img", "train/people_portraits/mask", "backgrounds/houses"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        picture = np.full((120, 100, 3), rng.integers(0, 90, 3), np.uint8)
        picture[:, ::7] += 40
        cv2.imwrite(str(folder / f"backgrounds/houses/{index}.jpg"), picture)
        mask = np.zeros((120, 100), np.uint8)
        cv2.circle(mask, (50, 60), 30 + index, 255, -1)
        picture[mask > 0] = rng.integers(150, 255, 3)
        cv2.imwrite(str(folder / f"train/people_portraits/img/{index:03}.jpg"), picture)
        cv2.imwrite(str(folder / f"train/people_portraits/mask/{index:03}.png"), mask)
    return folder
