"""``--report``: the frames that stand out are on the page, and nothing of a clean clip is."""

from __future__ import annotations

import base64
import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, person, write_clip
from running import QUICK, call

from streammat.report.measures import Measuring

ONE = (*QUICK[:-1], "1")
curves = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra film")


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


@curves
def test_the_page_needs_no_network_and_has_every_frame_beside_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a <b>.mov", size=(96, 64), frames=8, audio=[Audio()], timecode="01:00:00:00")
    call("video", clip, tmp_path / "out.mov", *ONE, "--report", tmp_path / "r.html").ok()
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "a &lt;b&gt;" in page
    assert "<b>" not in page.split("<h2")[1].split("</h2>")[0]
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(1, 9))
    (shot,) = json.loads((tmp_path / "r.json").read_text())["shots"]
    assert len(shot["values"]["area"]) == 8
    assert len(shot["strip"]) == 8
    drawn = base64.b64decode(page.split("data:image/svg+xml;base64,")[1].split('"')[0]).decode()
    assert drawn.count("share of the frame") == 1
    assert not re.search(r'href="(?!#)', drawn)
    assert all(0 < float(row["area"]) < 1 for row in rows)
    call("video", clip, tmp_path / "again.mov", *ONE, "--report", tmp_path / "r.html").refused(2, "r.html", "-y")
    call("video", clip, tmp_path / "again.mov", *ONE, "--report", tmp_path / "r.txt").refused(2, ".html")
    assert not (tmp_path / "again.mov").exists()


def write_jump(path: Path) -> Path:
    """24 frames with a timecode: a person, from frame 13 on only the room."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25, options={"preset": "ultrafast", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.metadata["timecode"] = "01:00:00:00"
        for index in range(24):
            shown = person(0, 128, 96) // 2  # so dark that no other scene seems to begin
            image = av.VideoFrame.from_ndarray(shown if index < 12 else np.full_like(shown, shown.mean((0, 1))), format="rgb24")
            image.pts = index
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
    return path


@curves
@pytest.mark.parametrize("shard", ["0", "12", "13"])
def test_a_frame_to_check_has_its_number_and_timecode_however_the_clip_was_cut(tmp_path: Path, shard: str) -> None:
    """At a seam (12) as within a shard (13); numbers are those that --frames takes."""
    clip = write_jump(tmp_path / "in.mov")
    options = ("--no-stable", "--workers", "1", "--report", tmp_path / "r.html", "--shard-frames", shard)
    call("batch", clip, tmp_path / "out", *ONE, *options).ok()
    (shot,) = json.loads((tmp_path / "r.json").read_text())["shots"]
    assert shot["frames"] == list(range(1, 25))
    (check,) = shot["checks"]
    assert (check["frame"], check["timecode"]) == (13, "01:00:00:12")
    assert set(check["reasons"]) & {"the area jumps", "the subject vanishes"}
    assert all(check["images"].values())
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows if row["check"]] == ["13"]
