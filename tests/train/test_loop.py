"""The loop: it learns, and a resumed run is the unbroken one."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train.config import DataConfig, TrainConfig
from train.loop import learning_rate, schedule_progress, train

DATA_CONFIG = DataConfig(sets=(("people_portraits", 1.0),), holdout=0)
CONFIG = TrainConfig(
    steps=6,
    pixels_per_batch=2 * 64 * 64,
    sizes=((64, 64, 1.0),),
    workers=0,
    threads=1,
    log_every=1,
    bf16=False,
    checkpoint_minutes=1e9,
)


def losses(out: Path) -> list[list[str]]:
    with (out / "curve.csv").open() as file:
        return [[row["step"], row["rate"], row["total"]] for row in csv.DictReader(file)]


def test_resumed_run_is_the_unbroken_one(data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(CONFIG, DATA_CONFIG, data, cache, tmp_path / "whole", None, lambda _line: None)

    from train import loop

    real = loop.train_step
    calls = iter(range(100))

    def interrupted(*arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    saving = replace(CONFIG, checkpoint_minutes=-1.0)
    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(saving, DATA_CONFIG, data, cache, tmp_path / "broken", None, lambda _line: None)
    lines: list[str] = []
    resumed = train(saving, DATA_CONFIG, data, cache, tmp_path / "broken", None, lines.append)
    assert lines[0].startswith("resumed at step 3")
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_schedule() -> None:
    config = TrainConfig(steps=100, minutes=10.0, warmup=0.1, learning_rate=1.0)
    assert schedule_progress(config, 50, 0.0) == 0.5
    assert schedule_progress(config, 10, 450.0) == 0.75
    assert schedule_progress(config, 10, 9999.0) == 1.0
    assert learning_rate(config, 0.05) == pytest.approx(0.5)
    assert learning_rate(config, 0.1) == pytest.approx(1.0)
    assert learning_rate(config, 0.55) == pytest.approx(0.505)
    assert learning_rate(config, 1.0) == pytest.approx(0.01)
