"""``streammat batch --web``: the batch is shown to who has its link, and to nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from media import write_clip
from running import QUICK, spawn
from web_parts import PageRun

pytest.importorskip("uvicorn", reason="needs the extra web")


def test_a_page_shows_shots_frames_and_failures_to_who_has_the_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/a.mp4", size=(64, 64), frames=4)
    write_clip(tmp_path / "in/z.mp4", size=(256, 256), frames=200)
    (tmp_path / "in/broken.mp4").write_bytes(b"no video")
    with spawn("batch", tmp_path / "in", tmp_path / "out", *QUICK[:-1], "1", "--workers", "1", "--json", "--web", "127.0.0.1:0") as process:
        run = PageRun(process)
        assert process.stdout is not None
        for line in process.stdout:
            run.events.append(json.loads(line))
            if run.events[-1].get("shot") == "z" and run.events[-1].get("state") == "progress":
                break
        assert run.ask("GET", "/state").status == 401
        cookie = run.enter()
        assert run.ask("GET", "/enter?" + run.link.partition("?")[2]).status == 401
        state = run.ask("GET", "/state", {"Cookie": cookie}).json
        assert run.ask("GET", "/state", {"Cookie": cookie, "Host": "example.com"}).status == 403
        for part in ("/", "/static/batch.js", "/static/batch.css"):
            assert run.ask("GET", part, {"Cookie": cookie}).status == 200
        process.communicate(timeout=60)
    assert process.returncode == 1
    shots = {shot["name"]: shot for shot in state["shots"]}
    assert (shots["a"]["state"], shots["a"]["done"]) == ("done", 4)
    assert shots["z"]["state"] == "at work"
    assert 0 < shots["z"]["done"] < shots["z"]["frames"] == 200
    assert shots["z"]["workers"] == ["1"]
    assert shots["broken"]["state"] == "failed"
    assert "broken.mp4" in shots["broken"]["reason"]
    assert state["summary"].startswith("1 of 3 shots done, 1 failed; ")
