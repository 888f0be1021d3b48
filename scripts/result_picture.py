#!/usr/bin/env python3
"""Remake docs/result.jpg: the example clip, its matte and two results, side by side."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 2.0


def image(path: Path) -> np.ndarray:
    """The frame shown at SECONDS, BGR."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= SECONDS:
                return frame.to_ndarray(format="bgr24")
    raise SystemExit(f"{path}: shorter than {SECONDS} s")


def main() -> None:
    """Run streammat and lay four images out."""
    clip = ROOT / "examples" / "portrait.mp4"
    with tempfile.TemporaryDirectory() as folder:
        out, matte, blurred = (Path(folder) / name for name in ("out.mp4", "matte.mkv", "blurred.mp4"))
        command = [sys.executable, "-m", "streammat", "video", str(clip)]
        subprocess.run([*command, str(out), "--bg", str(ROOT / "examples" / "beach.jpg"), "--matte", str(matte)], check=True)
        subprocess.run([*command, str(blurred), "--bg", "blur"], check=True)
        tiles = [cv2.resize(image(path), (640, 360), interpolation=cv2.INTER_AREA) for path in (clip, matte, out, blurred)]
    sheet = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    (ROOT / "docs").mkdir(exist_ok=True)
    cv2.imwrite(str(ROOT / "docs" / "result.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
