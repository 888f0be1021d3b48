"""Cost of the networks, by hand and beside the paper's Table 7."""

from __future__ import annotations

import re

import pytest
import torch
from click.testing import CliRunner

from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.evaluation.complexity import measure_complexity, measure_seconds, network_complexity, table7


def test_counts_by_hand() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8))
    cost = measure_complexity(model, 4, 6)
    assert cost.parameters == 8 * 3 * 9 + 8 + 16
    assert cost.macs == 4 * 6 * 8 * 3 * 9
    assert cost.elements == 2 * 4 * 6 * 8  # the bias and the norm


def test_shapes_alone_give_what_a_real_pass_gives() -> None:
    assert network_complexity("lite", "RIM", 64, 96) == measure_complexity(GFM("lite", "RIM"), 64, 96)


def test_table_7() -> None:
    rows = {row.network: row for row in table7()}
    assert list(rows) == ["shm", "lf", "hatt", "shmc", "d121", "r34", "r34_2b", "r101"]
    for name in ("lf", "hatt", "shmc"):
        row = rows[name]
        assert (row.ours.parameters + row.unused) / 1e6 == pytest.approx(row.paper_parameters, rel=0.02)
        assert row.ours.macs / 1e9 == pytest.approx(row.paper_macs, rel=0.02)
    assert "parameters -3.3%" in rows["shm"].why
    assert "matting network, thirteen and six convolutions as in its paper, 25.69 M" in rows["shm"].why
    assert (rows["shm"].paper_seconds, rows["r34"].paper_seconds) == (0.3346, 0.1734)
    for name, row in list(rows.items())[4:]:
        stored = (row.ours.parameters + row.unused) / 1e6
        assert stored == pytest.approx(125.88 if name == "r34_2b" else row.paper_parameters, abs=0.006)
        if name != "r101":  # the paper's figure for it holds the encoder twice
            assert row.ours.macs / 1e9 == pytest.approx(row.paper_macs, rel=0.012)
    assert "one more pass of the encoder" in rows["r101"].why


def test_seconds_are_a_median_on_named_hardware() -> None:
    result = CliRunner().invoke(main, ["complexity", "lite", "--height", "32", "--width", "32", "--seconds", "--passes", "2"])
    assert result.exit_code == 0, result.output
    found = re.search(r"lite: ([0-9.]+) s per image, ([0-9.]+) times GFM-TT\(r\); median of 2, (.+), \d+ threads", result.output)
    assert found is not None, result.output
    assert float(found[1]) > 0.0
    with torch.device("meta"):
        assert measure_seconds(torch.nn.Conv2d(3, 8, 3), 32, 32, 1) > 0.0
    absent = CliRunner().invoke(main, ["complexity", "lite", "--seconds", "--device", "cuda:7"])
    assert absent.exit_code == 1
    assert "device 'cuda:7' is not there" in absent.output


def test_command() -> None:
    result = CliRunner().invoke(main, ["complexity", "--table"])
    assert result.exit_code == 0, result.output
    assert "| r34 | 54.77 | 55.29 | 55.29 | 131.81 | 132.28 |" in result.output
    assert "| hatt | 105.32 | 107.37 | 106.96 | 1490.40 | 1502.46 |" in result.output
    wrong = CliRunner().invoke(main, ["complexity", "r9000"])
    assert wrong.exit_code == 1
    assert "there are lite, r34" in wrong.output
