"""Training pictures: crops as taken, composites of one to three subjects, and empty rooms.

Sample ``i`` depends on the seed and ``i`` alone, so a resumed run sees exactly what an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment import degrade, jitter_colour
from train.config import DataConfig, TrainConfig
from train.errors import DataError
from train.pictures import Image, read_alpha, read_rgb
from train.samples import Sample
from train.targets import scaled_classes

Rng = np.random.Generator


@dataclass(frozen=True)
class Subject:
    """One cached matte: files of equal size and where the subject is."""

    image: Path
    alpha: Path
    foreground: Path
    folder: str


def list_subjects(cache: Path, config: DataConfig) -> tuple[dict[str, list[Subject]], list[Subject]]:
    """Find the cached mattes.

    Args:
        cache: as written by `train.mattes.prepare_mattes`.
        config: which sets, and how many portraits to hold out.

    Returns:
        Training subjects per set, and the held-out portraits (every n-th one, so they never move).

    Raises:
        DataError: the cache is empty.
    """
    sets: dict[str, list[Subject]] = {}
    for folder, _ in config.sets:
        base = cache / folder
        found = [
            Subject(path, base / "alpha" / f"{path.stem}.png", base / "fg" / path.name, folder)
            for path in sorted((base / "img").glob("[!.]*.jpg"))
        ]
        if found:
            sets[folder] = found
    if not sets:
        raise DataError(f"no mattes under {cache}; run `python -m train mattes` first")
    portraits = sets.get("people_portraits", [])
    stride = max(2, len(portraits) // config.holdout) if config.holdout else len(portraits) + 1
    held = portraits[stride - 1 :: stride][: config.holdout]
    kept = [subject for subject in portraits if subject not in set(held)]
    if portraits:
        sets["people_portraits"] = kept
    return sets, held


class MattingDataset:
    """Map from a sample's index to a training picture.

    Args:
        data: folder with ``backgrounds/houses`` and ``backgrounds/hd``; either may be missing.
        cache: mattes.
        config: proportions.
        seed: of every random choice.
        heads: RoSTas that need a glance target: ``TT``, ``FT``, ``BT``.
        stride: input pixels per output pixel of the network.

    Raises:
        DataError: the cache is empty, or a landscape is broken.
    """

    def __init__(
        self, data: Path, cache: Path, config: DataConfig, seed: int, heads: tuple[str, ...] = ("TT",), stride: int = 2
    ) -> None:
        self.sets, self.held = list_subjects(cache, config)
        self.config = config
        self.seed = seed
        self.heads = heads
        self.stride = stride
        self.rooms = sorted((data / "backgrounds" / "houses").rglob("*.jpg"))
        # The landscapes are 3 to 6 thousand pixels wide: decoding one per sample would starve the training.
        self.landscapes = [_read_at_most(path, 1600) for path in sorted((data / "backgrounds" / "hd").rglob("*.jpg"))]
        shares = np.array([share for folder, share in config.sets if folder in self.sets])
        self.folders = [folder for folder, _ in config.sets if folder in self.sets]
        self.shares = shares / shares.sum()

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        """Make sample ``index`` at ``height`` x ``width``, multiples of the stride; key is (index, height, width).

        Raises:
            DataError: a file of the sample is missing or broken.
        """
        index, height, width = key
        rng = np.random.Generator(np.random.Philox(key=[self.seed, index]))
        kind = rng.random()
        if kind < self.config.empty:
            rgb = self._background(rng, height, width)
            sample = Sample(rgb, np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8))
        else:
            subject = self._subject(rng)
            # Bystanders in street photos are labelled background: more of those subjects are cut out and moved.
            share = self.config.original * (0.7 if subject.folder == "people_fullbody" else 1.1)
            if kind < self.config.empty + share:
                sample = self._original(rng, subject, height, width)
            else:
                sample = self._composite(rng, subject, height, width)
        # Crops are of any scale, so the kernels go by the crop's size and not by the size of the picture it came from.
        classes = {rosta: scaled_classes(sample.alpha, rosta, self.stride) for rosta in self.heads}
        return Sample(degrade(rng, sample.rgb), sample.alpha, sample.contrast, classes)

    def _subject(self, rng: Rng) -> Subject:
        pool = self.sets[self.folders[rng.choice(len(self.folders), p=self.shares)]]
        return pool[rng.integers(len(pool))]

    def _original(self, rng: Rng, subject: Subject, height: int, width: int) -> Sample:
        image, alpha = read_rgb(subject.image), read_alpha(subject.alpha)
        if rng.random() < 0.5:
            image, alpha = image[:, ::-1], alpha[:, ::-1]
        x0, y0, x1, y1 = bounding_box(alpha)
        cover = np.exp(rng.uniform(*np.log(self.config.cover)))
        rows, columns = alpha.shape
        # The crop is as large as the cover asks, but never leaves the picture.
        size = max((y1 - y0) / height, (x1 - x0) / width) / cover
        size = min(size, rows / height, columns / width)
        crop_h, crop_w = size * height, size * width
        cx = _place(rng, (x0 + x1) / 2, crop_w, x1 - x0, columns)
        cy = _place(rng, (y0 + y1) / 2, crop_h, y1 - y0, rows)
        angle = rng.uniform(-8, 8) if rng.random() < 0.25 else 0.0
        rgb, cut = (warp(plane, cx, cy, size, angle, height, width) for plane in (image, alpha))
        return Sample(jitter_colour(rng, rgb, 0.5), cut, np.zeros((height, width), np.uint8))

    def _composite(self, rng: Rng, first: Subject, height: int, width: int) -> Sample:
        background = jitter_colour(rng, self._background(rng, height, width), 0.6).astype(np.float32)
        picture, total = background.copy(), np.zeros((height, width), np.float32)
        count = int(rng.choice([1, 2, 3], p=[0.68, 0.22, 0.10]))
        for number in range(count):
            subject = first if number == 0 else self._subject(rng)
            colour, alpha = self._placed(rng, subject, height, width)
            lit = _match_brightness(rng, jitter_colour(rng, colour, 0.6), alpha, background)
            a = alpha.astype(np.float32) / 255.0
            picture += a[:, :, None] * (lit - picture)
            total = a + total * (1.0 - a)
        safe = np.maximum(total, 1e-3)[:, :, None]
        foreground = (picture - (1.0 - total[:, :, None]) * background) / safe
        contrast = np.abs(np.clip(foreground, 0, 255) - background).mean(axis=2)
        contrast[total < 0.02] = 0.0
        return Sample(_to_uint8(picture), _to_uint8(total * 255.0), _to_uint8(contrast))

    def _placed(self, rng: Rng, subject: Subject, height: int, width: int) -> tuple[Image, Image]:
        """Subject's colours and alpha at a random scale and place on an empty canvas."""
        colour, alpha = read_rgb(subject.foreground), read_alpha(subject.alpha)
        if rng.random() < 0.5:
            colour, alpha = colour[:, ::-1], alpha[:, ::-1]
        x0, y0, x1, y1 = bounding_box(alpha)
        low, high = self.config.scale
        if subject.folder == "people_portraits":
            low = 0.4
        size = (y1 - y0) / (np.exp(rng.uniform(np.log(low), np.log(high))) * height)
        # A subject that its own picture cuts stays cut by the new one: floating half bodies teach nothing.
        rows, columns = alpha.shape
        cut_below = y1 >= rows - 2
        bottom = height + (rng.uniform(0.0, 0.1) * height if rng.random() < 0.4 else 0.0)
        cy = y1 - (bottom - height / 2) * size if cut_below else rng.uniform(y0, y1) + rng.normal(0, 0.1) * height * size
        cx = rng.uniform(x0, x1) + rng.uniform(-0.4, 0.4) * width * size
        if x0 <= 1 and x1 < columns - 2:
            cx = x0 + width / 2 * size
        elif x1 >= columns - 2 and x0 > 1:
            cx = x1 - width / 2 * size
        angle = rng.uniform(-8, 8) if rng.random() < 0.2 and not cut_below else 0.0
        return (
            warp(colour, cx, cy, size, angle, height, width),
            warp(alpha, cx, cy, size, angle, height, width, cv2.BORDER_CONSTANT),
        )

    def _background(self, rng: Rng, height: int, width: int) -> Image:
        """A crop of a room (mostly) or of a landscape."""
        if self.rooms and (not self.landscapes or rng.random() < 0.72):
            picture = read_rgb(self.rooms[rng.integers(len(self.rooms))])
        elif self.landscapes:
            picture = self.landscapes[rng.integers(len(self.landscapes))]
        else:
            noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            picture = cv2.resize(noise, (384, 256), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        rows, columns = picture.shape[:2]
        size = min(rows / height, columns / width) * rng.uniform(0.35, 1.0)
        cx = rng.uniform(size * width / 2, columns - size * width / 2)
        cy = rng.uniform(size * height / 2, rows - size * height / 2)
        rgb = warp(picture, cx, cy, size, 0.0, height, width)
        if rng.random() < 0.2:
            rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.8, 5.0)).astype(np.uint8)
        return rgb


def batch_keys(config: TrainConfig, first: int) -> Iterator[list[tuple[int, int, int]]]:
    """Batches of sample keys from step ``first`` on; batch ``k`` depends on the seed and ``k`` alone."""
    shares = np.array([share for _, _, share in config.sizes])
    most = max(config.pixels_per_batch // (height * width) for height, width, _ in config.sizes)
    for step in range(first, config.steps):
        rng = np.random.Generator(np.random.Philox(key=[config.seed + 7919, step]))
        height, width, _ = config.sizes[rng.choice(len(shares), p=shares / shares.sum())]
        count = max(2, config.pixels_per_batch // (height * width))
        yield [(step * max(2, most) + number, height, width) for number in range(count)]


def bounding_box(alpha: Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of where alpha exceeds one half; the whole picture where nothing does."""
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    columns = np.flatnonzero((alpha > 127).any(axis=0))
    if not rows.size:
        return 0, 0, alpha.shape[1], alpha.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def warp(
    plane: Image,
    cx: float,
    cy: float,
    size: float,
    angle: float,
    height: int,
    width: int,
    border: int = cv2.BORDER_REFLECT_101,
) -> Image:
    """Cut ``height`` x ``width`` pixels around (cx, cy), each ``size`` source pixels wide, turned by ``angle`` degrees."""
    if size > 1.5:  # shrink first: linear sampling alone would alias
        small = (max(1, round(plane.shape[1] / size)), max(1, round(plane.shape[0] / size)))
        fx, fy = plane.shape[1] / small[0], plane.shape[0] / small[1]
        plane = cv2.resize(plane, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        cx, cy, size = cx / fx, cy / fy, size / fx
    cx, cy = cx - 0.5, cy - 0.5  # from pixel edges to the centres that the warp counts in
    cos, sin = np.cos(np.radians(angle)) * size, np.sin(np.radians(angle)) * size
    matrix = np.array(
        [
            [cos, -sin, cx - cos * (width - 1) / 2 + sin * (height - 1) / 2],
            [sin, cos, cy - sin * (width - 1) / 2 - cos * (height - 1) / 2],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(plane), matrix, (width, height), flags=flags, borderMode=border).astype(np.uint8)


def _place(rng: Rng, middle: float, crop: float, extent: float, limit: int) -> float:
    """Centre of a crop that holds part of the subject and stays within the picture."""
    wanted = middle + rng.uniform(-0.35, 0.35) * max(crop, extent)
    return float(np.clip(wanted, crop / 2, max(crop / 2, limit - crop / 2)))


def _match_brightness(rng: Rng, colour: Image, alpha: Image, background: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the subject's mean colour towards the background's, as one light would, half of the time."""
    out = colour.astype(np.float32)
    solid = alpha > 200
    if rng.random() < 0.5 and solid.any():
        gap = background.mean(axis=(0, 1)) - out[solid].mean(axis=0)
        out = np.clip(out + gap * rng.uniform(0.0, 0.6), 0, 255)
    return out


def _to_uint8(values: Any) -> Image:
    result: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return result


def _read_at_most(path: Path, long_side: int) -> Image:
    rgb = read_rgb(path)
    scale = min(1.0, long_side / max(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
