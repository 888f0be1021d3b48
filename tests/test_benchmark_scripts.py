"""The scripts of ``benchmarks/`` that put figures into docs/performance.md run, and count all that they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
CLIP = str(BENCHMARKS.parent / "examples" / "portrait.mp4")


def output(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_stage_takes_some_time():
    given = (CLIP, "--size", "128x96", "--frames", "3", "--rounds", "1", "--engine", "onnxruntime", "--json")
    found = json.loads(output(str(BENCHMARKS / "stages.py"), *given))["128x96"]
    stages = ["decode", "network input", "network", "filter over time", "refine", "composite", "encode"]
    assert list(found) == [*stages, "all"]
    assert all(found[name] > 0 for name in stages)
    assert found["all"] == pytest.approx(sum(found[name] for name in stages), abs=0.01)


def test_eight_shots_of_film(tmp_path: Path):
    pytest.importorskip("PyOpenColorIO", reason="needs the extra film")
    said = output(str(BENCHMARKS / "film_shots.py"), CLIP, str(tmp_path), "--frames", "2", "--width", "192")
    assert said.splitlines()[-1].endswith("checks, 0 failed"), said
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_peers_that_cannot_run_are_named():
    said = output(str(BENCHMARKS / "peers.py"), CLIP, "--size", "128x96", "--frames", "2", "--rounds", "1", "--threads", "1")
    assert "streammat onnxruntime" in said
    for name in ("RVM", "MediaPipe selfie", "rembg", "backgroundremover"):
        assert f"\n{name}: " in said
