"""``streammat batch`` on numbered images: shards by number, frames under their own names, one that is damaged made again."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from media import person, write_clip
from numpy.typing import NDArray
from plates import linear, oiio, write_plate
from running import QUICK, call, names

ONE = (*QUICK[:-1], "1", "--workers", "1")


def pixels(path: Path) -> NDArray[np.float32]:
    """Of an EXR file, whose header holds the time at which it was written."""
    return np.asarray(oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT))


def test_sequences_are_cut_into_shards_and_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "plates/sh010").mkdir(parents=True)
    for number in range(1001, 1007):
        write_plate(tmp_path / f"plates/sh010/plate.{number}.exr", linear(number))
    whole = tmp_path / "whole"
    whole.mkdir()
    call("video", tmp_path / "plates/sh010", "--matte", whole / "m.#.exr", *QUICK[:-1], "1").ok()
    command = ("batch", tmp_path / "plates", tmp_path / "out", *ONE, "--shard-frames", "3", "--json")
    call(*command).ok()
    made = tmp_path / "out/sh010"
    assert names(made) == [f"sh010_matte.{number}.exr" for number in range(1001, 1007)]
    for number in range(1001, 1007):
        assert np.array_equal(pixels(made / f"sh010_matte.{number}.exr"), pixels(whole / f"m.{number}.exr"))
    (made / "sh010_matte.1005.exr").write_bytes((made / "sh010_matte.1005.exr").read_bytes()[:-100])
    again = [json.loads(line) for line in call(*command).ok().out.splitlines()]
    assert [event["files"] for event in again if event["event"] == "damaged"] == [["sh010/sh010_matte.1005.exr"]]
    assert {event["shard"] for event in again if event["event"] == "shard"} == {2}
    assert np.array_equal(pixels(made / "sh010_matte.1005.exr"), pixels(whole / "m.1005.exr"))


def test_a_farm_runs_the_tasks_of_the_template(tmp_path: Path) -> None:
    """The template is valid; its tasks' commands make every frame once, in any order, and can be run again."""
    openjd = pytest.importorskip("openjd.model", reason="needs openjd-model")
    (tmp_path / "sh020").mkdir()
    for number in range(1001, 1004):
        write_plate(tmp_path / f"sh020/plate.{number}.exr", linear(number))
    clips = [write_clip(tmp_path / f"{'long' * 20}{take}.mov", size=(64, 64), frames=3) for take in "ab"]
    template = json.loads(call("batch", tmp_path / "sh020", *clips, tmp_path / "out", *ONE, "--shard-frames", "2", "--emit", "openjd").ok().out)
    job = openjd.create_job(job_template=openjd.decode_job_template(template=template), job_parameter_values={})
    step, *whole = job.steps
    assert len(whole) == 2
    assert not any(each.parameterSpace for each in whole)
    tasks = [each["Frames"].value for each in openjd.StepParameterSpaceIterator(space=step.parameterSpace)]
    assert tasks == ["1001-1002", "1003"]
    for frames in (tasks[1], tasks[0], tasks[1]):
        call(*(word.replace("{{Task.Param.Frames}}", frames) for word in template["steps"][0]["script"]["actions"]["onRun"]["args"])).ok()
    assert names(tmp_path / "out/sh020") == [f"sh020_matte.{number}.exr" for number in range(1001, 1004)]
    call(*template["steps"][1]["script"]["actions"]["onRun"]["args"]).ok()
    assert names(tmp_path / "out") == [clips[0].name, "sh020"]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra film")
def test_frames_to_check_have_the_plates_numbers_and_timecodes(tmp_path: Path) -> None:
    """Frames 1001 to 1004 are empty, then somebody is there."""
    (tmp_path / "sh030").mkdir()
    somebody = (person(0, 128, 96) / np.float32(510)) ** np.float32(2.2)  # so dark that no other scene seems to begin
    for number in range(1001, 1009):
        plate = somebody if number > 1004 else np.full_like(somebody, somebody.mean((0, 1)))
        write_plate(tmp_path / f"sh030/plate.{number}.exr", plate, timecode=(0x01000000 + number - 1001, 0))
    options = ("--report", tmp_path / "r.html", "--exposure", "0", "--no-stable", "--shard-frames", "3")
    call("batch", tmp_path / "sh030", tmp_path / "out", *ONE, *options).ok()
    (shot,) = json.loads((tmp_path / "r.json").read_text())["shots"]
    assert shot["frames"] == list(range(1001, 1009))
    assert [(check["frame"], check["timecode"]) for check in shot["checks"]] == [(1005, "01:00:00:04")]


@pytest.mark.skipif(find_spec("scenedetect") is None, reason="needs the extra film")
def test_sequences_are_cut_where_a_scene_ends(tmp_path: Path) -> None:
    """Logarithmic plates, too, which only ``--color-space`` tells how to show."""
    (tmp_path / "sh040").mkdir()
    for number in range(1001, 1041):
        plate = linear(1) if number < 1023 else 0.2 * linear(9)
        write_plate(tmp_path / f"sh040/plate.{number}.dpx", plate, "uint16", bits=10, attributes={"dpx:Transfer": "Logarithmic"})
    command = ("batch", tmp_path / "sh040", tmp_path / "out", *ONE, "--shard-frames", "30", "--emit", "openjd")
    call(*command).refused(2, "--color-space")
    template = json.loads(call(*command, "--color-space", "logc3").ok().out)
    (frames,) = template["steps"][0]["parameterSpace"]["taskParameterDefinitions"]
    assert frames["range"] == ["1001-1022", "1023-1040"]
