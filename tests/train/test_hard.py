"""The hard validation set, and the scores by set and size."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.lite import stress_set as hard
from streammat.train.measures.validation import ImageScore, Pair, Scores, by_share, score_images


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A synthetic cache has portraits alone, and one image of four is held out."""
    chosen = {name: hard.DIFFICULTIES[name] for name in ("several", "empty")}
    monkeypatch.setattr(
        hard, "DIFFICULTIES", {name: replace(part, data=replace(part.data, holdout=4)) for name, part in chosen.items()}
    )
    monkeypatch.setattr(hard, "SIZES", ((64, 96),))


def test_set_is_made_once_and_scored(data: Path, cache: Path, few: None, tmp_path: Path) -> None:
    result = run("hard", "--data", data, "--cache", cache, "--out", tmp_path / "hard", "--count", 2)
    assert result.exit_code == 0, result.output
    alphas = {path.parts[-3]: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (tmp_path / "hard").rglob("alpha/000.png")}
    assert alphas["several"].max() == 255
    assert alphas["empty"].max() == 0
    first = (tmp_path / "hard/several/img/000.png").read_bytes()
    (tmp_path / "hard/several/img/000.png").unlink()
    result = run("hard", "--data", data, "--cache", cache, "--out", tmp_path / "hard", "--count", 2)
    assert "several: 1 of 2" in result.output
    assert (tmp_path / "hard/several/img/000.png").read_bytes() == first

    torch.manual_seed(1)
    save_network(GFM(), tmp_path / "lite.safetensors")
    result = run(
        "score", tmp_path / "lite.safetensors", "--hard", tmp_path / "hard", "--pixels", 64 * 96,
        "--csv", tmp_path / "all.csv", "--worst", 3, tmp_path / "worst.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "hard/several" in result.output
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["share"] for row in rows if row["set"] == "hard/empty"} == {"0.0000"}
    assert cv2.imread(str(tmp_path / "worst.png")).shape[1] > 3 * 256


def test_nothing_to_score_is_said(tmp_path: Path) -> None:
    save_network(GFM(), tmp_path / "lite.safetensors")
    result = run("score", tmp_path / "lite.safetensors", "--hard", tmp_path)
    assert result.exit_code == 1
    assert "no validation images" in result.output


def test_scores_by_size(tmp_path: Path) -> None:
    for name, right in (("small", 8), ("large", 60)):
        label = np.zeros((64, 64), np.uint8)
        label[:, :right] = 255
        cv2.imwrite(str(tmp_path / f"{name}.png"), label)
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.full((64, 64, 3), 128, np.uint8))
    pairs = [Pair(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in ("small", "large")]
    scores = score_images(lambda size: lambda rgb: np.ones((1, size[0] // 2, size[1] // 2), np.float32), pairs)
    assert [round(score.iou, 4) for score in scores] == [8 / 64, 60 / 64]
    classes = by_share([*scores, ImageScore(pairs[0], 0.0, 1.0, 0.0, 0.0, 0.0)])
    assert list(classes) == ["10% to 20%", "40% to 100%"]
    assert classes["10% to 20%"].mad == pytest.approx(56 / 64)
    assert Scores.of(scores).pictures == 2
