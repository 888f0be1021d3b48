"""Short runs side by side: of the paper's methods and of its compositions."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from synthetic import make_am2k, make_backgrounds

from streammat.train.cli import main
from streammat.train.evaluation.evaluate import METRICS
from streammat.train.evaluation.paper.comparison import Result as Scored
from streammat.train.evaluation.paper.comparison import compositions, methods, read_result, table

SHORT = ("--network", "lite", "--steps", 2, "--batch", 2, "--crop", 32, "--images", 2, "--strategy", "1/2", "--precision", "fp32")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_compositions_with_several_seeds_are_tabulated_and_done_once(tmp_path: Path) -> None:
    data, backgrounds = make_am2k(tmp_path / "data", layers=True), make_backgrounds(tmp_path / "backgrounds", denoised=True)
    command = ["composition", "--data", data, "--backgrounds", backgrounds, "--out", tmp_path / "out", *SHORT, "--seed", 1, "--seed", 2]
    rows = ["--only", "rssn-none", "--only", "rssn-all"]
    done = run(*command, *rows)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out/table.md").read_text()
    assert text in done.output
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()]
    assert [line[:2] for line in lines[2:]] == [["no step", "1, 2"], ["all three steps", "1, 2"]]
    assert lines[0][3:] == list(METRICS)
    results = [read_result(tmp_path / f"out/rssn-none-{seed}.json") for seed in (1, 2)]
    low, high = sorted(result.metrics["SAD"] for result in results)
    assert lines[2][3] == f"{(low + high) / 2:.2f} ± {(high - low) / 2**0.5:.2f}"
    assert results[0].metrics != results[1].metrics
    assert results[0].images == 2
    assert (tmp_path / "out/rssn-all-2/worst.png").exists()
    assert not (tmp_path / "out/rssn-all-2/checkpoint.pt").exists()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")}
    assert run(*command, *rows).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")} == times
    other = run(*command, *rows, "--steps", 3)
    assert other.exit_code == 1
    assert "was made with other options" in other.output.strip().splitlines()[-1]
    (tmp_path / "out/rssn-none-1.json").write_text("{")
    assert "delete it and give the same command" in run(*command, *rows).output.strip().splitlines()[-1]


def test_methods_are_those_of_table_1(tmp_path: Path) -> None:
    assert [row.name for row in methods("r34")] == ["gfm-tt", "gfm-ft", "gfm-bt", "shm", "lf", "hatt", "shmc"]
    assert [row.track.steps for row in compositions("d121")] == [(), ("denoise",), ("blur",), ("noise",), ("denoise", "blur", "noise")]
    data = make_am2k(tmp_path / "data")
    done = run("methods", "--data", data, "--out", tmp_path / "out", *SHORT, "--seed", 3, "--only", "gfm-ft")
    assert done.exit_code == 0, done.output
    assert "| GFM-FT (lite) | 3 |" in done.output
    assert json.loads((tmp_path / "out/gfm-ft-3.json").read_text())["options"]["steps"] == 2
    for options, message in ((["--only", "sss"], "no row 'sss'; expected one of gfm-tt"), (["--strategy", "fast"], "--strategy: strategy 'fast' is unknown")):
        refused = run("methods", "--data", data, "--out", tmp_path / "other", *SHORT, *options)
        assert refused.exit_code == 1
        assert message in refused.output.strip().splitlines()[-1]
    refused = run("composition", "--data", data, "--out", tmp_path / "other", *SHORT)
    assert "composes with backgrounds; give --backgrounds" in refused.output


def test_one_seed_has_no_spread() -> None:
    scored = Scored({}, {"SAD": 1.234, "MSE": 0.5}, 3, 2.0, 1.0)
    assert table(methods("r34"), {"lf": {7: scored}}).splitlines()[2:] == ["| LF | 7 | 2.000 → 1.000 | 1.23 | 0.5000 |"]
