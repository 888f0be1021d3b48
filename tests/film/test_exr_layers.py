"""Further layers of EXR: matte, confidence and foreground beside the base layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from film.plates import SIZE, film, linear, opened, write_plate
from media import BT709, write_clip
from numpy.typing import NDArray
from running import video

ALL = ("confidence.Y", "foreground.R", "foreground.G", "foreground.B", "matte.Y")


def channels(path: Path) -> dict[str, NDArray[Any]]:
    """An EXR's channels by name."""
    spec, pixels = opened(path)
    return {name: pixels[:, :, place] for place, name in enumerate(spec.channelnames)}


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """One frame of half floats, one pixel of which is infinite in the middle of the subject."""
    folder = tmp_path / "plates"
    folder.mkdir()
    pixels = linear(0)
    pixels[50, 48] = np.inf
    write_plate(folder / "s.1001.exr", pixels)
    return folder


def test_all_layers(plates: Path, tmp_path: Path) -> None:
    """Named and never numbered; confidence is of the network's alpha, whatever is done to the matte; foreground is straight, the plate's bits where alpha is 1."""
    video(plates, tmp_path / "o.####.exr", "--exr-layers", "matte,confidence,foreground", "--foreground", tmp_path / "f.####.exr").ok()
    found = channels(tmp_path / "o.1001.exr")
    assert tuple(found) == ("R", "G", "B", "A", *ALL)
    assert (found["matte.Y"] == found["A"]).all()
    alpha = found["A"].astype(np.float32)
    assert np.abs(found["confidence.Y"] - np.abs(2 * alpha - 1)).max() < 1e-3
    beside = channels(tmp_path / "f.1001.exr")
    assert all((found[f"foreground.{name}"] == beside[name]).all() for name in "RGB")
    full = alpha == 1
    assert full[50, 48] and np.isinf(found["foreground.R"][50, 48])
    assert all((found[f"foreground.{name}"][full] == channels(plates / "s.1001.exr")[name][full]).all() for name in "RGB")
    video(plates, tmp_path / "c.####.exr", "--exr-layers", "confidence", "--clip-black", "0.4", "--clip-white", "0.6").ok()
    clipped = channels(tmp_path / "c.1001.exr")
    assert (clipped["A"] != found["A"]).any()
    assert (clipped["confidence.Y"] == found["confidence.Y"]).all()


def test_beside_a_composite_and_a_matte(plates: Path, tmp_path: Path) -> None:
    """A composite has its matte with it; without OUT the matte gets the layers; other outputs do not."""
    video(plates, tmp_path / "o.####.exr", "--bg", "green", "--exr-layers", "matte", "--matte", tmp_path / "m.####.exr").ok()
    over, matte = channels(tmp_path / "o.1001.exr"), channels(tmp_path / "m.1001.exr")
    assert tuple(over) == ("R", "G", "B", "matte.Y")
    assert tuple(matte) == ("A",)
    assert (over["matte.Y"] == matte["A"]).all()
    film(plates, "--matte", tmp_path / "n.####.exr", "--exr-layers", "confidence,foreground").ok()
    assert tuple(channels(tmp_path / "n.1001.exr")) == ("A", "confidence.Y", "foreground.R", "foreground.G", "foreground.B")


@pytest.mark.parametrize("compression", ["piz", "dwaa"])
def test_of_a_clip(tmp_path: Path, compression: str) -> None:
    """Light, as the base layer; under any compression."""
    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=SIZE, frames=1, tags=BT709)
    video(clip, tmp_path / "o.####.exr", "--exr-layers", "foreground", "--compression", compression).ok()
    found = channels(tmp_path / "o.0001.exr")
    full = found["A"] == 1
    assert full.mean() > 0.1
    difference = np.abs(found["foreground.G"][full].astype(np.float32) - found["G"][full])
    assert difference.max() == 0 if compression == "piz" else difference.mean() < 0.02


def test_refused_layers(plates: Path, tmp_path: Path) -> None:
    """A layer that is unknown, and layers of files that hold none."""
    video(plates, tmp_path / "o.####.exr", "--exr-layers", "matte,depth").refused(2, "'depth'", "confidence")
    video(plates, tmp_path / "o.####.dpx", "--exr-layers", "matte").refused(2, "--exr-layers", "out.####.exr")
