"""Runs with and without an ingredient, and contact sheets of clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import media
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.evaluation import ablation
from streammat.train.evaluation.peers.clips import missing_inside
from streammat.train.measures.validation import Scores


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_network(GFM(), tmp_path / "lite.safetensors")
    return tmp_path / "lite.safetensors"


def test_variants_are_trained_once_and_tabulated(
    data: Path, cache: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(shutil.copytree(data, tmp_path / "data"))
    shutil.copytree(whole / "train/people_portraits", whole / "val/people_portraits")
    real = ablation.configure
    monkeypatch.setattr(ablation, "configure", lambda preset, **options: real(preset, crop=64, batch=2, **{**options, "workers": 0}))
    command = ["ablate", "--data", whole, "--cache", cache, "--start", weights, "--out", tmp_path / "out", "--steps", 1]
    result = run(*command, "--threads", 1, "--only", "start", "--only", "everything", "--only", "faults")
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| without", "| start", "| everything", "| faults"]
    assert (tmp_path / "out/table.md").read_text() in result.output
    made = json.loads((tmp_path / "out/faults.json").read_text())
    assert made["people_portraits"]["pictures"] == 4
    (tmp_path / "out/start.json").write_text(json.dumps({"people_portraits": {**made["people_portraits"], "iou": 0.125}}))
    again = run(*command, "--only", "start")
    assert "| start | 0.1250 |" in again.output
    (tmp_path / "out/start.json").write_text("{")
    assert run(*command, "--only", "start").output.splitlines()[-1].endswith("delete it and give the same command")
    assert "no variant 'salt'" in run(*command, "--only", "salt").output


def test_empty_rooms_show_what_is_left() -> None:
    scores = {"start": {"hard/empty": Scores(1, 0.5, 0.0123, 0.0, 0.0), "hard/small": Scores(1, 0.75, 0.5, 0.0, 0.0)}}
    lines = ablation.table(scores, ["hard/empty", "hard/small"]).splitlines()
    assert lines[0] == "| without | hard/empty (mean alpha) | hard/small |"
    assert lines[2] == "| start | 0.0123 | 0.7500 |"


def test_sheet_of_clips(weights: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    media.write_clip(clips / "one.mp4", frames=5, size=(96, 64))
    result = run("clips", weights, "--clips", clips, "--out", tmp_path / "sheet.png", "--frames", 3, "--pixels", 64 * 96)
    assert result.exit_code == 0, result.output
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 3 * 96
    (clips / "two.mp4").write_text("no video")
    result = run("clips", weights, "--clips", clips, "--out", tmp_path / "sheet.png", "--pixels", 64 * 96)
    assert result.exit_code == 1
    assert "cannot decode" in result.output
    assert "two.mp4" in result.output


def test_holes_in_a_body_are_told_of() -> None:
    solid = cv2.circle(np.zeros((360, 640), np.uint8), (320, 200), 120, 255, -1)
    assert missing_inside(np.zeros_like(solid)) == 0.0
    assert missing_inside(cv2.GaussianBlur(solid, (0, 0), 3)) < 0.01
    translucent = cv2.circle(solid.copy(), (320, 200), 60, 102, -1)
    # A quarter of the circle's area, less what the border takes away, lacks six tenths.
    assert 0.15 < missing_inside(translucent) < 0.25
    cut_below = np.vstack([np.zeros((100, 640), np.uint8), translucent[:260]])
    assert missing_inside(cut_below) > 0.15
