"""docs/reproduce.md is what presets and the paper's figures give, and its commands can be given."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner, Result

from streammat.train.cli import main
from streammat.train.evaluation.predictors.strategies import parse_strategy
from streammat.train.recipes.presets import find_preset

PAGE = Path(__file__).resolve().parents[2] / "docs/reproduce.md"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["reproduce", *map(str, arguments)])


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    assert run(PAGE, "--check").exit_code == 0, "run `python -m train reproduce`"
    stale = tmp_path / "page.md"
    stale.write_text(PAGE.read_text().replace("| 10.26 |", "| 10.27 |"))
    refused = run(stale, "--check")
    assert refused.exit_code == 1
    assert f"{stale} is not what presets and figures give; run `python -m train reproduce {stale}`" in refused.output
    assert run(stale).exit_code == 0
    assert stale.read_text() == PAGE.read_text()
    stale.write_text(PAGE.read_text().replace("<!-- table 5 -->", ""))
    assert "the page has no mark for table '5'" in run(stale).output


def test_its_commands_can_be_given() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"`row (\S+) (\S+) (\S+)(?: (\S+))?`", text)
    assert len(rows) > 50
    for name, _data, _imagenet, backgrounds in rows:
        track = find_preset(name).track
        assert track is not None
        assert bool(track.backgrounds) == bool(backgrounds), name
    assert {str(parse_strategy(text)) for text in re.findall(r"--strategy (\S+)`", text)} >= {"single 5/11", "hybrid 1/4, 1/3"}
