"""Cost of the networks, by hand and beside the paper's Table 7."""

from __future__ import annotations

import re

import pytest
import torch
from click.testing import CliRunner

from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.evaluation.paper.table7 import table7
from streammat.train.measures.complexity import measure_complexity, measure_seconds, network_complexity


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
    # What the reason says of the parts that are not there, by hand: DIM's conv6 and deconv6 at 50x50, PSPNet's stem at 400x400, and the wider
    # first block behind it at 200x200.
    shm, pair = rows["shm"], 512 * 512 * 9 + 512 * 512
    stem = 3 * 64 * 9 + 64 * 64 * 9 + 64 * 128 * 9 - 3 * 64 * 49
    block = 64 * 64 + 64 * 256
    macs = shm.ours.macs + pair * 50 * 50 + stem * 400 * 400 + block * 200 * 200
    stored = shm.ours.parameters + shm.unused + pair + 2 * 512 + stem + 384 + block
    assert f"it would be {stored / 1e6:.2f} M ({stored / 79.27e6 - 1:+.1%}) and {macs / 1e9:.1f} G ({macs / 870.16e9 - 1:+.1%})" in shm.why
    assert {name: (round(count / 1e6, 2), round(work / 1e9, 1)) for name, (count, work) in shm.ours.parts.items()} == {
        "encoder": (23.51, 243.3),
        "trimap": (25.44, 212.4),
        "matting": (25.69, 378.1),
    }
    for row in rows.values():
        assert sum(work for _, work in row.ours.parts.values()) == row.ours.macs
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
    assert "expected one of lite, r34" in wrong.output
