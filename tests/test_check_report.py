"""``--report``: the frames that stand out are on the page, and nothing of a clean clip is."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import Audio, write_clip
from running import QUICK, call

from streammat.report.measures import Measuring

ONE = (*QUICK[:-1], "1")


def disc(radius: float, across: float = 64.0, soft: float = 2.0) -> Any:
    """Alpha of a disc in 96x128."""
    y, x = np.mgrid[0:96, 0:128]
    return np.clip((radius - np.hypot(x - across, y - 48)) / soft + 0.5, 0, 1).astype(np.float32)


def holed() -> Any:
    return disc(30) * (1 - disc(12))


@pytest.mark.parametrize(
    ("alphas", "reason"),
    [
        ([disc(20), disc(30)], "the area jumps"),
        ([disc(20), disc(0) * 0], "the subject vanishes"),
        ([disc(0) * 0, disc(20)], "a subject appears"),
        ([disc(30), holed()], "holes"),
        ([disc(30), disc(30) * np.float32(0.6)], "low confidence"),
        ([disc(30, 95), disc(30, 105)], "clipped by the edge"),
        ([disc(30), disc(30.5)], None),
        ([holed(), holed()], None),
    ],
)
def test_what_makes_a_frame_worth_a_look(alphas: list[Any], reason: str | None) -> None:
    measuring = Measuring()
    grey = np.full((96, 128, 3), 90, np.uint8)
    first = measuring(alphas[0], grey)
    assert not first.reasons
    found = measuring(alphas[1], grey)
    assert (reason in found.reasons) if reason else not found.reasons, found


def test_numbers_are_what_they_say() -> None:
    measuring = Measuring()
    grey = np.full((96, 128, 3), 90, np.uint8)
    one = measuring(disc(30), grey)
    assert abs(one.area - np.pi * 30**2 / (96 * 128)) < 0.01
    assert abs(one.edge - 1) < 0.1
    assert one.confidence > 0.9
    assert one.flicker == one.holes == one.clipped == 0
    assert measuring(disc(30), grey).flicker == 0
    changed = measuring(disc(30) * np.float32(0.9), grey)
    assert abs(changed.flicker - 0.1 * np.sqrt(np.mean(disc(30) ** 2))) < 0.001
    cut = measuring(disc(5), np.full((96, 128, 3), 200, np.uint8))
    assert cut.cut
    assert not cut.reasons
    assert cut.flicker == 0
    assert abs(measuring(holed(), np.full((96, 128, 3), 200, np.uint8)).holes - 12**2 / (30**2 - 12**2)) < 0.03


def test_the_page_needs_no_network_and_has_every_frame_beside_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a <b>.mov", size=(96, 64), frames=8, audio=[Audio()], timecode="01:00:00:00")
    call("video", clip, tmp_path / "out.mov", *ONE, "--report", tmp_path / "r.html").ok()
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "a &lt;b&gt;" in page
    assert "<b>" not in page.split("<h2")[1].split("</h2>")[0]
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(8))
    (shot,) = json.loads((tmp_path / "r.json").read_text())["shots"]
    assert len(shot["values"]["area"]) == 8
    assert len(shot["strip"]) == 8
    assert all(0 < float(row["area"]) < 1 for row in rows)
    call("video", clip, tmp_path / "again.mov", *ONE, "--report", tmp_path / "r.html").refused(2, "r.html", "-y")
    call("video", clip, tmp_path / "again.mov", *ONE, "--report", tmp_path / "r.txt").refused(2, ".html")
    assert not (tmp_path / "again.mov").exists()
