"""The mean of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner

from streammat.engines.network.checkpoint import load_network, save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main


def save(path: Path, seed: int, rosta: str = "TT") -> Path:
    torch.manual_seed(seed)
    save_network(GFM("lite", rosta), path)
    return path


def test_mean_of_two(tmp_path: Path) -> None:
    one, two = (save(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    result = CliRunner().invoke(main, ["average", str(one), str(two), "--out", str(tmp_path / "new/mean.safetensors")])
    assert result.exit_code == 0, result.output
    a, b, mean = (load_network(path).state_dict() for path in (one, two, tmp_path / "new/mean.safetensors"))
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (a[key] + b[key]) / 2)


def test_of_one_network_alone(tmp_path: Path) -> None:
    one, two = save(tmp_path / "1.safetensors", 1), save(tmp_path / "2.safetensors", 2, "FT")
    result = CliRunner().invoke(main, ["average", str(one), str(two), "--out", str(tmp_path / "mean.safetensors")])
    assert result.exit_code == 1
    assert "only weights of the same network can be averaged" in result.output
    assert not (tmp_path / "mean.safetensors").exists()
