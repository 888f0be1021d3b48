"""Small data sets drawn from scratch in the layouts of the released ones: a disc of one colour before stripes of another."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE = (120, 100)
"""Height and width of every image made here, in pixels."""


def make_image(index: int, *, soft: bool = True) -> dict[str, np.ndarray]:
    """An image and what it is made of.

    Returns:
        ``image``, ``fg``, ``bg`` uint8 (120, 100, 3) RGB, ``alpha`` and ``trimap`` uint8 (120, 100); the disc has a soft edge of
        about six pixels, or a sharp one.
    """
    rng = np.random.default_rng(index)
    background = np.full((*SIZE, 3), rng.integers(0, 90, 3), np.uint8)
    background[:, ::7] += 40
    foreground = np.full((*SIZE, 3), rng.integers(150, 255, 3), np.uint8)
    disc = np.zeros(SIZE, np.uint8)
    cv2.circle(disc, (50, 60), 30 + index % 5, 255, -1)
    alpha = cv2.GaussianBlur(disc, (7, 7), 0) if soft else disc
    weight = alpha[:, :, None] / 255.0
    image = np.rint(weight * foreground + (1 - weight) * background).astype(np.uint8)
    trimap = np.where(alpha == 255, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)
    return {"image": image, "alpha": alpha, "fg": foreground, "bg": background, "trimap": trimap}


def write(path: Path, picture: np.ndarray) -> Path:
    """Write uint8 RGB (H, W, 3) or grey (H, W), uint8 or uint16; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[:, :, ::-1] if picture.ndim == 3 else picture)
    return path


def make_data(folder: Path, count: int = 4) -> Path:
    """Write ``train/people_portraits`` with binary masks and ``backgrounds/houses``; returns ``folder``."""
    for index in range(count):
        parts = make_image(index, soft=False)
        write(folder / f"backgrounds/houses/{index}.jpg", parts["bg"])
        write(folder / f"train/people_portraits/img/{index:03}.jpg", parts["image"])
        write(folder / f"train/people_portraits/mask/{index:03}.png", parts["alpha"])
    return folder


def make_am2k(folder: Path, count: int = 3, *, layers: bool = False) -> Path:
    """AM-2k: ``train`` and ``validation``; ``layers`` adds fg, bg and their denoised versions to ``train``."""
    for index in range(count):
        parts = make_image(index)
        name = f"m_{index:08}"
        for split in ("train", "validation"):
            write(folder / split / f"original/{name}.jpg", parts["image"])
            write(folder / split / f"mask/{name}.png", parts["alpha"])
        write(folder / f"validation/trimap/{name}.png", parts["trimap"])
        if layers:
            for kind, source in (("fg", "fg"), ("bg", "bg"), ("original_denoise", "image"), ("fg_denoise", "fg")):
                write(folder / f"train/{kind}/{name}.png", parts[source])
    return folder


def make_p3m10k(folder: Path, count: int = 2) -> Path:
    """P3M-10k: ``train`` and both validation sets."""
    for index in range(count):
        parts = make_image(index)
        for split, kind in (
            ("train", "blurred_image"),
            ("validation/P3M-500-P", "blurred_image"),
            ("validation/P3M-500-NP", "original_image"),
        ):
            name = f"p_{split[-1]}{index:07}"
            write(folder / split / kind / f"{name}.jpg", parts["image"])
            write(folder / split / f"mask/{name}.png", parts["alpha"])
            if split != "train":
                write(folder / split / f"trimap/{name}.png", parts["trimap"])
    return folder


def make_composition1k(folder: Path, count: int = 2, *, backgrounds: bool = True) -> Path:
    """Composition-1k with ``count`` foregrounds a split, the second and later ones of the training split in ``Other``.

    ``backgrounds`` adds those of the test, which are smaller than the foregrounds or larger.
    """
    sets = (("Training_set", "training", 100, "COCO_train2014_{:012}.jpg"), ("Test_set", "test", 20, "2008_{:06}.jpg"))
    for base, lists, each, pattern in sets:
        names = [f"{lists} {index}.png" for index in range(count)]
        listed = [pattern.format(index) for index in range(count * each)]
        for index, name in enumerate(names):
            parts = make_image(index)
            group = "Other" if index and base == "Training_set" else "Adobe-licensed images"
            write(folder / base / group / "fg" / name, parts["fg"])
            write(folder / base / group / "alpha" / name, parts["alpha"])
            if base == "Test_set":
                for copy in range(each):
                    write(folder / base / group / f"trimaps/{Path(name).stem}_{copy}.png", parts["trimap"])
        (folder / base / f"{lists}_fg_names.txt").write_bytes("\r\n".join(names).encode())
        (folder / base / f"{lists}_bg_names.txt").write_text("\n".join(listed) + "\n")
        if backgrounds and base == "Test_set":
            for index, name in enumerate(listed):
                write(folder / "VOCdevkit/VOC2012/JPEGImages" / name, np.full((40 + 20 * (index % 6), 90, 3), index, np.uint8))
    return folder


def make_dapm(folder: Path, count: int = 2) -> Path:
    """DAPM: images and mattes side by side in ``training`` and ``testing``."""
    for index in range(count):
        parts = make_image(index)
        for split in ("training", "testing"):
            write(folder / split / f"{index:05}.png", parts["image"])
            write(folder / split / f"{index:05}_matte.png", parts["alpha"])
    return folder


def make_plain(folder: Path, count: int = 3, *, image: str = "img", alpha: str = "alpha") -> Path:
    """One plain set: ``img`` beside ``alpha``."""
    for index in range(count):
        parts = make_image(index)
        write(folder / image / f"{index:03}.jpg", parts["image"])
        write(folder / alpha / f"{index:03}.png", parts["alpha"])
    return folder


def make_backgrounds(folder: Path, count: int = 3, *, denoised: bool = False) -> Path:
    """BG-20k: ``train`` and ``testval``, and ``train_denoise`` if asked for."""
    for index in range(count):
        picture = make_image(index)["bg"]
        for split in ("train", "testval", *(["train_denoise"] if denoised else [])):
            write(folder / split / f"h_{index:06}.jpg", picture)
    return folder
