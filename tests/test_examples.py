"""Every example does what it says, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from media import probe, write_clip
from running import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


def example(name: str, *arguments: str | Path) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    write_clip(path, frames=6)
    return path


def test_matte_image(tmp_path: Path) -> None:
    assert "of it is the subject" in example("matte_image.py", REPOSITORY / "streammat/models/portrait.jpg", tmp_path / "me.png")
    rgba = cv2.imread(str(tmp_path / "me.png"), cv2.IMREAD_UNCHANGED)
    assert rgba.shape[2] == 4
    assert rgba[:, :, 3].min() == 0
    assert rgba[:, :, 3].max() == 255


def test_process_video(clip: Path, tmp_path: Path) -> None:
    assert "6 frames at" in example("process_video.py", clip, tmp_path / "out.mp4", EXAMPLES / "beach.jpg")
    assert probe(tmp_path / "out.mp4").frames == probe(tmp_path / "out.mp4.matte.mkv").frames == 6


def test_custom_background(clip: Path, tmp_path: Path) -> None:
    example("custom_background.py", clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").frames == 6


def test_webcam_loop(clip: Path) -> None:
    told = example("webcam_loop.py", clip, "null", "2.5")
    assert "frames captured" in told
    assert "on green" in told or "on blur" in told
