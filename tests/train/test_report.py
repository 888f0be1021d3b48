"""The report's words and tables, and the published figures that it is given."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from streammat.train.evaluation.paper.published import PaperRow, find_rows, load_rows, paper_rows
from streammat.train.evaluation.paper.report import DECIMALS, DIFFERENCE, Facts, markdown, table

FACTS = Facts(("model.pth",), "am2k, validation", 200, 200, 0, 1.234, "cuda")
OURS = {"hybrid 1/3, 1/2": {"SAD": 10.254, "MSE": 0.00291, "Grad": 9.5}}
ROWS = (
    PaperRow("GFM(r)", {"SAD": 10.89, "MSE": 0.0028, "Conn": 9.96}, "the paper", 1, "AM-2k", "ORI", "r34", "am2k-x", "hybrid"),
    PaperRow("GFM(d)", {"SAD": 10.0}, "a readme", None, "AM-2k", note="backbone not said"),
)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_table_has_a_column_for_what_is_known() -> None:
    assert cells(table({"ours": OURS["hybrid 1/3, 1/2"], "theirs": {"SAD": 1.0, "Conn": 2.0}})) == [
        ["", "SAD", "MSE", "Grad", "Conn"],
        ["---", "---:", "---:", "---:", "---:"],
        ["ours", "10.25", "0.0029", "9.50", "-"],
        ["theirs", "1.00", "-", "-", "2.00"],
    ]


def test_published_figures_stand_beside_ours() -> None:
    text = markdown(FACTS, OURS, {}, "am2k-x", ROWS)
    assert "| ours, hybrid 1/3, 1/2 | 10.25 | 0.0029 | 9.50 | - |" in text
    assert "| GFM(r), AM-2k, ORI, hybrid, Table 1 | 10.89 | 0.0028 | - | 9.96 |" in text
    assert "- the paper\n- a readme\n" in text
    assert "GFM(d), AM-2k, published elsewhere: backbone not said" in text
    assert "200 images\n" in text
    assert "1.23 s" in text


def test_rows_of_one_name_are_both_there() -> None:
    text = markdown(FACTS, OURS, {}, "am2k-x", (ROWS[1], ROWS[1]))
    assert "published elsewhere |" in text
    assert "published elsewhere (2) |" in text


def test_it_says_plainly_what_is_missing() -> None:
    text = markdown(FACTS, OURS, {}, "am2k-comp-r34", [])
    assert "No published figures for am2k-comp-r34 are at hand" in text
    assert "published" not in markdown(FACTS, OURS, {}, None, []).lower()
    some = Facts(("m",), "d", 3, 9, 2, 1.0, "cpu")
    text = markdown(some, OURS, {}, None, [])
    assert "3 images of 9: not the whole set" in text
    assert "2 of 3 made from the truth" in text


def test_clips_have_their_own_table() -> None:
    text = markdown(FACTS, OURS, {"single 5/13": {"dog": {"dtSSD": 0.1, "MESSDdt": 0.002}}}, None, [])
    assert "## Clips, single 5/13\n" in text
    assert "| dog | 0.1000 | 0.00200 |" in text


def test_rows_are_found_by_preset_then_by_set(tmp_path: Path) -> None:
    assert find_rows("AM2K-X", ROWS) == [ROWS[0]]
    assert find_rows("am-2k", ROWS) == list(ROWS)
    assert find_rows("nothing", ROWS) == []
    path = tmp_path / "rows.json"
    path.write_text(
        json.dumps([{"method": "M", "metrics": {"SAD": 1.0}, "source": "s", "table": None, "name": "p", "note": ""}])
    )
    assert load_rows(path)[len(paper_rows()) :] == (PaperRow("M", {"SAD": 1.0}, "s", name="p"),)


def test_the_whole_paper_is_there() -> None:
    rows = paper_rows()
    assert sum(len(row.metrics) for row in rows) == 779
    counts = Counter(row.table for row in rows)
    assert counts == {1: 56, 2: 24, 3: 4, 4: 15, 5: 5, 6: 10, 7: 8}
    by_strategy = {row.strategy: row for row in find_rows("am2k-ori-d121-tt")}
    assert list(by_strategy) == [
        "hybrid 1/3, 1/2", "single 1/3", "single 1/2", "single 5/11", "single 5/12", "single 5/13", "single 5/14", "single 1/4",
        "hybrid 1/4, 1/2", "hybrid 1/4, 1/3",
    ]  # fmt: skip
    assert by_strategy["hybrid 1/3, 1/2"].metrics["SAD-TRAN"] == 8.24
    assert find_rows("am2k-ori-d121-tt-modern") == list(by_strategy.values())
    ensemble = find_rows("am2k-en-median-d121")[0]
    assert (ensemble.strategy, ensemble.metrics["SAD"]) == ("median of 3, single 1/3", 10.62)
    assert "inferred" in ensemble.note
    doubtful = {row.name: row.note for row in rows if "misprint" in row.note}
    assert set(doubtful) == {"pm10k-comp-rssn-gca", "pm10k-ori-lf"}


def test_ours_less_the_papers() -> None:
    rows = find_rows("am2k-ori-r34-tt")
    text = markdown(FACTS, OURS, {}, "am2k-ori-r34-tt", rows)
    assert "| GFM-TT(r), AM-2k, ORI, hybrid 1/3, 1/2, Table 1 | 10.89 | 0.0029 |" in text
    assert f"| {DIFFERENCE} | -0.64 | +0.0000 | - | -0.50 | - |" in text
    other = markdown(FACTS, {"single 1/7": OURS["hybrid 1/3, 1/2"]}, {}, "am2k-ori-r34-tt", rows)
    assert DIFFERENCE not in other  # another test: nothing to subtract


def test_every_row_shows_paper_ours_and_the_difference() -> None:
    named = {row.name for row in paper_rows() if row.table != 7}
    assert None not in named
    for row in paper_rows():
        if row.name is None:
            continue
        ours = {row.strategy or "its own": {name: value + 1.0 for name, value in row.metrics.items() if name != "Speed_s"}}
        lines = cells(markdown(FACTS, ours, {}, row.name, find_rows(row.name)))
        sad = f"{row.metrics['SAD']:.2f}"  # a later table may have the row under another title
        shown = next(number for number, line in enumerate(lines) if "Table" in line[0] and line[1] == sad and (row.strategy or "") in line[0])
        assert lines[shown + 1][0].startswith(DIFFERENCE), row
        assert {float(cell) for cell in lines[shown + 1][1:] if cell != "-"} == {1.0}, row


def test_figures_at_hand_can_be_shown() -> None:
    rows = load_rows()
    assert len(rows) > 122
    for row in rows:
        assert row.source, row
        assert row.method, row
        assert row.table is None or 1 <= row.table <= 7
        if row.table != 7:  # of parameters and multiply-adds
            assert set(row.metrics) <= {*DECIMALS, "Speed_s"}, row


def test_seconds_stand_beside_those_of_table_5() -> None:
    text = markdown(FACTS, {"single 1/3": {"SAD": 11.0}}, {}, "am2k-ori-d121-tt", find_rows("am2k-ori-d121-tt"))
    head, *rows = [line for line in cells(text) if line[0].startswith(("ours", "GFM")) or "seconds" in line]
    assert head[-1] == "seconds"
    assert rows[0][-1] == "1.2340"
    assert [row[-1] for row in rows if "single 1/3" in row[0] and "Table 5" in row[0]] == ["0.1536"]
    assert "seconds are of an image's matte: ours on cuda, the paper's on its own GPU" in text
