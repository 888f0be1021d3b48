# ruff: noqa: INP001 - scripts are no package
"""Measures an evaluation at the size of AM-2k's: a made tree of its layout, scored by the command as a user gives it.

    python benchmarks/quality/evaluation.py gfm_r34_tt.pth                       # 200 images of 1080x1440
    python benchmarks/quality/evaluation.py weights.safetensors --images 60 --size 540x720

CPU seconds of an image by part, on one thread; then the whole set: seconds, cores at work, resident memory after a fifth of the images and
at the end; then the set again, killed half way and gone on with, which has to give the same table.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from streammat.engines.network.gfm import GFM
from streammat.train.data.layouts import load_pair, load_trimap, open_layout
from streammat.train.evaluation.predictors.strategies import predict_alpha
from streammat.train.measures import metrics
from streammat.train.methods.weights import load_weights

EARLY = 0.2
"""Share of the images after which memory is looked at for the first time."""


def make_tree(root: Path, count: int, height: int, width: int) -> None:
    """``validation`` of AM-2k's layout: a furry disc before stripes, each another."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for index in range(count):
        rng = np.random.default_rng(index)
        angle = np.arctan2(y - height / 2, x - width / 2)
        radius = height * (0.3 + 0.02 * np.sin(angle * rng.integers(40, 200)) + 0.05 * np.sin(angle * 3 + index))
        alpha = np.clip((radius - np.hypot(y - height / 2, x - width / 2)) / 6 + 0.5, 0, 1)
        noise = cv2.resize(rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8), (width, height))
        rgb = alpha[:, :, None] * (noise * 0.3 + 150) + (1 - alpha[:, :, None]) * noise * 0.5
        matte = np.rint(alpha * 255).astype(np.uint8)
        trimap = np.where(cv2.erode(matte, np.ones((25, 25))) == 255, 255, np.where(cv2.dilate(matte, np.ones((25, 25))) == 0, 0, 128))
        for folder, image, suffix in (("original", np.rint(rgb).astype(np.uint8), "jpg"), ("mask", matte, "png"), ("trimap", trimap.astype(np.uint8), "png")):
            path = root / "validation" / folder / f"m_{index:08}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)


def parts(model: GFM, data: Path, images: int) -> dict[str, float]:
    """CPU seconds of an image, by part, on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        spent[name] = spent.get(name, 0.0) + (time.process_time() - started) / images
        return result

    for entry in open_layout(data, "validation")[:images]:
        rgb, label = timed("read", lambda entry=entry: load_pair(entry))
        trimap = timed("read", lambda entry=entry, label=label: load_trimap(entry, label))
        alpha = timed("network", lambda rgb=rgb: predict_alpha(model, rgb))
        truth: NDArray[np.float32] = label.astype(np.float32) / np.float32(255.0)
        for name in ("sad", "mse", "mad", "grad", "conn"):
            timed(name, lambda name=name, alpha=alpha, truth=truth: getattr(metrics, name)(alpha, truth))
        timed("sad by area", lambda alpha=alpha, truth=truth, trimap=trimap: metrics.sad_regions(alpha, truth, trimap))
    return spent


def lines_of(out: Path) -> int:
    """Lines of the table so far."""
    path = out / "pictures.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def watch(command: list[str], out: Path, count: int, kill_at: int | None = None) -> str:
    """Run the command; what is to be said of it. ``kill_at``: end it by SIGKILL when the table has this many lines."""
    started = time.monotonic()
    process = psutil.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    early = late = cpu = 0.0
    while process.poll() is None:
        done = lines_of(out)
        if kill_at is not None and done >= kill_at:
            process.kill()
        try:
            used, times = process.memory_info().rss / 1e6, process.cpu_times()
            cpu = times.user + times.system
        except psutil.NoSuchProcess:
            continue
        early, late = (max(early, used), late) if done < count * EARLY else (early, max(late, used))
        time.sleep(0.05)
    took = time.monotonic() - started
    return f"{took:.0f} s, {cpu:.0f} CPU seconds, {cpu / took:.2f} cores at work; largest resident memory {early:.0f} MB in the first fifth, {late:.0f} MB after it"


def table_of(out: Path) -> list[dict[str, str]]:
    """The table without seconds."""
    with (out / "pictures.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="of GFM")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", default="1080x1440", help="height x width")
    parser.add_argument("--parts", type=int, default=5, help="images that parts are timed on")
    options = parser.parse_args()
    model = load_weights(options.weights)
    if not isinstance(model, GFM):
        parser.error(f"{options.weights} is of {model.network}; expected weights of GFM")
    height, width = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root / "data", options.images, height, width)
        for name, seconds in parts(model, root / "data", options.parts).items():
            print(f"{name}: {seconds:.3f} CPU s per image")
        command = [sys.executable, "-m", "streammat.train", "evaluate", str(options.weights), "--data", str(root / "data")]
        for name, more in (("one after the other (--workers 0)", ["--workers", "0"]), ("as the command does it", [])):
            out = root / name.split(" ", 1)[0]
            print(f"{name}: {watch([*command, *more], out, options.images)}", flush=True)
        killed = root / "killed"
        watch(command, killed, options.images, kill_at=options.images // 2)
        left = lines_of(killed)
        again = watch(command, killed, options.images)
        same = table_of(killed) == table_of(root / "as")
        print(f"killed after {left - 1} of {options.images} images and gone on with: {again}; the table is {'the same' if same else 'another one'}")
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main()
