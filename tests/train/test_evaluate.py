"""Evaluation of data sets on disk: by functions whose mattes are known, and by the command with real networks."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner, Result
from synthetic import make_am2k, make_p3m10k

from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.train.__main__ import main
from streammat.train.data.layouts import open_layout
from streammat.train.errors import DataError, RunError
from streammat.train.evaluation.evaluate import (
    METRICS,
    EvaluationOptions,
    evaluate_set,
)
from streammat.train.measures import metrics
from streammat.train.measures.validation import Pair, evaluate, network_size, validation_sets

SIZES = ((100, 130), (120, 140), (33, 41))


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def soft_disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    return np.rint(np.clip((radius - distance) / 4 + 0.5, 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def am2k(tmp_path: Path) -> Path:
    """AM-2k's layout; trimaps are of another kernel than ours, so that it shows which were used."""
    rng = np.random.default_rng(0)
    root = tmp_path / "am2k"
    for index, (height, width) in enumerate(SIZES):
        alpha = soft_disc(height, width, 10 + 3 * index)
        trimap = np.where(alpha == 255, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)
        name = f"m_{index:03}"
        write(root / f"validation/original/{name}.jpg", rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        write(root / f"validation/mask/{name}.png", alpha)
        write(root / f"validation/trimap/{name}.png", trimap)
    return root


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    root = tmp_path / "clips"
    for clip, count in (("dog", 3), ("cows", 2)):
        for frame in range(count):
            image = cv2.GaussianBlur(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8), (0, 0), 2)
            write(root / clip / f"img/{frame:05}.png", image)
            write(root / clip / f"mask/{frame:05}.png", (soft_disc(40, 48, 8 + frame) > 127).astype(np.uint8) * 255)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    paths = {rosta: folder / f"lite_{rosta.lower()}.safetensors" for rosta in ("TT", "FT", "BT", "RIM")}
    for rosta, path in paths.items():
        save_network(GFM("lite", rosta), path)
    return paths


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "pictures.csv").open() as file:
        return list(csv.DictReader(file))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


# The function.


def grey(rgb: np.ndarray) -> dict[str, np.ndarray]:
    time.sleep(0.002)
    return {"grey": np.full(rgb.shape[:2], 0.5, np.float32), "black": np.zeros(rgb.shape[:2], np.float32)}


def test_every_metric_of_every_matte(am2k: Path, tmp_path: Path) -> None:
    entries = open_layout(am2k, "validation")
    evaluation = evaluate_set(entries, grey, tmp_path / "out", EvaluationOptions(binary=True))
    assert [(case.name, case.matting) for case in evaluation.cases[:3]] == [
        ("m_000", "grey"),
        ("m_000", "black"),
        ("m_001", "grey"),
    ]
    means = {name: [] for name in (*METRICS, "IoU")}
    for entry, case in zip(entries, evaluation.cases[::2], strict=True):
        truth = cv2.imread(str(entry.alpha), cv2.IMREAD_GRAYSCALE) / 255.0
        trimap = cv2.imread(str(entry.trimap), cv2.IMREAD_GRAYSCALE)
        half = np.full(truth.shape, 0.5)
        expected = {
            "SAD": metrics.sad(half, truth),
            "MSE": metrics.mse(half, truth),
            "MAD": metrics.mad(half, truth),
            "Grad": metrics.grad(half, truth),
            "Conn": metrics.conn(half, truth),
            **dict(zip(("SAD-TRAN", "SAD-FG", "SAD-BG"), metrics.sad_regions(half, truth, trimap), strict=True)),
            "IoU": 0.0,
        }
        assert case.metrics == pytest.approx(expected, rel=1e-5)
        assert (case.height, case.width) == truth.shape
        assert not case.made_trimap
        assert case.seconds >= 0.001  # half of the time for two mattes
        for name, value in expected.items():
            means[name].append(value)
    averages = evaluation.averages()
    assert averages["grey"] == pytest.approx({name: np.mean(values) for name, values in means.items()}, rel=1e-5)
    written = rows_of(tmp_path / "out")
    assert len(written) == 2 * len(SIZES)
    assert float(written[4]["SAD"]) == pytest.approx(evaluation.cases[4].metrics["SAD"], rel=1e-5)
    assert [written[0][name] for name in ("picture", "matting", "width", "height", "trimap")] == [
        "m_000",
        "grey",
        "130",
        "100",
        "given",
    ]


def test_trimaps_are_made_where_there_are_none(am2k: Path, tmp_path: Path) -> None:
    for path in (am2k / "validation/trimap").iterdir():
        path.unlink()
    (am2k / "validation/trimap").rmdir()
    evaluation = evaluate_set(open_layout(am2k, "validation"), grey, tmp_path / "out")
    assert all(case.made_trimap for case in evaluation.cases)
    assert {row["trimap"] for row in rows_of(tmp_path / "out")} == {"made"}
    # A disc of radius 10 has nothing left 12 pixels from its edge.
    assert evaluation.cases[0].metrics["SAD-FG"] == 0.0


def test_the_worst_are_shown(am2k: Path, tmp_path: Path) -> None:
    evaluate_set(open_layout(am2k, "validation"), grey, tmp_path / "out", EvaluationOptions(worst=2))
    shown = cv2.imread(str(tmp_path / "out/worst.png"))
    one_more = tmp_path / "more"
    evaluate_set(open_layout(am2k, "validation"), grey, one_more, EvaluationOptions(worst=3))
    taller = cv2.imread(str(one_more / "worst.png"))
    assert taller.shape[1] == shown.shape[1]
    assert taller.shape[0] > shown.shape[0]
    np.testing.assert_array_equal(taller[: shown.shape[0] - 6], shown[:-6])  # the worst first, whatever came first
    assert (tmp_path / "out/worst-2.png").exists()


def test_what_was_measured_is_kept_when_a_image_is_broken(am2k: Path, tmp_path: Path) -> None:
    broken = am2k / "validation/original/m_002.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(DataError, match=r"m_002\.jpg"):
        evaluate_set(open_layout(am2k, "validation"), grey, tmp_path / "out")
    assert [row["picture"] for row in rows_of(tmp_path / "out")[::2]] == ["m_000", "m_001"]


def test_mattes_that_are_none(am2k: Path) -> None:
    entries = open_layout(am2k, "validation")
    with pytest.raises(RunError, match=r"m_000\.jpg by broken cannot be measured: prediction has values of nan"):
        evaluate_set(entries, lambda rgb: {"broken": np.full(rgb.shape[:2], np.nan, np.float32)})
    with pytest.raises(ValueError, match="no images"):
        evaluate_set([], grey)


def test_results_that_cannot_be_written(am2k: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot write .*pictures\.csv"):
        evaluate_set(open_layout(am2k, "validation"), grey, tmp_path / "file")


def test_clips_are_kept_apart(clips: Path) -> None:
    entries = open_layout(clips, "validation")
    count = iter(range(100))

    def blinking(rgb: np.ndarray) -> dict[str, np.ndarray]:
        return {"blinking": np.full(rgb.shape[:2], next(count) % 2, np.float32)}

    evaluation = evaluate_set(entries, blinking, options=EvaluationOptions(video=True))
    assert set(evaluation.clips["blinking"]) == {"cows", "dog"}
    for clip, figures in evaluation.clips["blinking"].items():
        files = sorted((clips / clip / "mask").iterdir())
        truth = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / 255.0 for path in files])
        frames = np.stack([cv2.imread(str(path))[:, :, ::-1] for path in sorted((clips / clip / "img").iterdir())])
        first = 0 if clip == "cows" else 2  # cows come first
        guess = np.stack([np.full((40, 48), (first + index) % 2, np.float64) for index in range(len(files))])
        assert figures["dtSSD"] == pytest.approx(metrics.dtssd(guess, truth), rel=1e-5)
        assert figures["MESSDdt"] == pytest.approx(metrics.messddt(guess, truth, frames), rel=1e-5)
    means = evaluation.averages()["blinking"]
    assert means["dtSSD"] == pytest.approx(np.mean([clip["dtSSD"] for clip in evaluation.clips["blinking"].values()]))


def test_frames_that_make_no_clip(clips: Path) -> None:
    options = EvaluationOptions(video=True)
    with pytest.raises(DataError, match="one frame; video metrics need at least two"):
        evaluate_set(open_layout(clips, "validation")[:1], grey, options=options)
    image = clips / "cows/img/00001.png"
    for path in (image, clips / "cows/mask/00001.png"):
        write(path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:30])
    with pytest.raises(DataError, match="expected one size"):
        evaluate_set(open_layout(clips, "validation"), grey, options=options)


# The recipe's scores.


def test_scores_of_the_recipe(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    clips.rename(tmp_path / "val/video")
    sets = validation_sets(tmp_path)
    assert {name: len(pairs) for name, pairs in sets.items()} == {"video/cows": 2, "video/dog": 3}
    scores = evaluate(lambda size: lambda rgb: np.ones((1, size[0] // 2, size[1] // 2), np.float32), sets["video/dog"])
    truth = [cv2.imread(str(pair.label), cv2.IMREAD_GRAYSCALE) / 255.0 for pair in sets["video/dog"]]
    assert scores.pictures == 3
    assert scores.mad == pytest.approx(np.mean([1 - label.mean() for label in truth]))
    with pytest.raises(ValueError, match="no images"):
        evaluate(lambda _size: lambda rgb: rgb, [])
    with pytest.raises(DataError, match="cannot read"):
        evaluate(lambda _size: lambda rgb: rgb, [Pair(tmp_path / "none.jpg", tmp_path / "none.png")])


def test_network_size_keeps_the_aspect() -> None:
    assert network_size(720, 1280) == (288, 512)
    assert network_size(640, 480) == (448, 320)
    assert network_size(10, 4000) == (32, 7680)


# The command.


def test_command_writes_everything(am2k: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(weights["TT"], "--data", am2k, "--row", "am2k-ori-r34-tt", "--out", out)
    assert result.exit_code == 0, result.output
    report = (out / "report.md").read_text()
    assert report in result.output
    assert "ours, hybrid 1/3, 1/2" in report
    assert "trimaps: those of the data set" in report
    assert sorted(path.name for path in out.iterdir()) == ["pictures.csv", "report.md", "worst.png"]


def test_command_says_what_is_not_the_whole(am2k: Path, weights: dict[str, Path]) -> None:
    result = run(weights["TT"], "--data", am2k, "--limit", 2, "--strategy", "single")
    assert result.exit_code == 0, result.output
    assert "2 images of 3: not the whole set" in result.output


@pytest.mark.parametrize(
    ("rosta", "options", "mattings"),
    [
        ("RIM", ["--strategy", "1/2"], ["single 1/2"]),
        ("TT", ["--grid", "1/2,1/3"], ["single 1/2", "hybrid 1/3, 1/2", "single 1/3"]),
        ("TT", ["--trimap-from-glance"], ["trimap of glance 1/3, closed-form"]),
        ("TT", ["--ensemble", "FT", "--ensemble", "BT"], ["median of 3, hybrid 1/3, 1/2"]),
    ],
)
def test_strategies_of_the_command(
    am2k: Path, weights: dict[str, Path], tmp_path: Path, rosta: str, options: list[str], mattings: list[str]
) -> None:
    named = [weights.get(option, option) for option in options]
    result = run(weights[rosta], "--data", am2k, "--limit", 1, "--out", tmp_path / "out", *named)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out")
    assert [row["matting"] for row in rows] == mattings
    assert len({row["SAD"] for row in rows}) == len(mattings)


def test_video_command(clips: Path, weights: dict[str, Path]) -> None:
    result = run(weights["TT"], "--data", clips, "--video", "--binary")
    assert result.exit_code == 0, result.output
    assert "## Clips, hybrid 1/3, 1/2" in result.output
    assert "| IoU | dtSSD | MESSDdt |" in result.output


def test_exported_networks(am2k: Path, clips: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    from streammat.engines.export.onnx import export_onnx
    from streammat.engines.network.checkpoint import load_network

    exported = tmp_path / "pair/lite.fp32.onnx"
    exported.parent.mkdir()
    export_onnx(load_network(weights["TT"]), exported)
    for file, out in ((exported, "onnx"), (weights["TT"], "torch")):
        result = run(file, "--data", am2k, "--strategy", "single", "--out", tmp_path / out)
        assert result.exit_code == 0, result.output
    sads = [[float(row["SAD"]) for row in rows_of(tmp_path / out)] for out in ("onnx", "torch")]
    assert sads[0] == pytest.approx(sads[1], rel=0.02)  # images are made smaller in another way
    assert "one pass" in run(exported, "--data", am2k, "--strategy", "hybrid").output
    assert run(exported, "--data", am2k, "--ensemble", weights["FT"]).exit_code == 2
    # The folder of a pair: both precisions on the recipe's own sets.
    (exported.parent / "lite.int8.onnx").write_bytes(exported.read_bytes())
    (tmp_path / "val").mkdir()
    clips.rename(tmp_path / "val/video")
    result = run(exported.parent, "--data", tmp_path, "--name", "lite", "--backend", "onnxruntime")
    assert result.exit_code == 0, result.output
    assert [line.split()[:2] for line in result.output.splitlines()] == [
        [precision, f"video/{clip}"] for precision in ("fp32", "int8") for clip in ("cows", "dog")
    ]
    assert "--limit is not for the folder" in run(exported.parent, "--data", tmp_path, "--limit", 3).output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "fast"], "expected hybrid, single, a ratio"),
        (["--grid", "1/2,x"], "--grid"),
        (["--grid", "1/2", "--strategy", "single"], "cannot be combined"),
        (["--device", "tpu9"], "device 'tpu9' cannot be used"),
        (["--split", "P3M-500-P"], "P3M-500-P"),
        (["--trimap-from-glance", "--matter", "none.onnx"], "matter none.onnx does not exist"),
        (["--rosta", "RIM"], "RIM"),
    ],
)
def test_wrong_options_are_one_line(am2k: Path, weights: dict[str, Path], options: list[str], message: str) -> None:
    result = run(weights["TT"], "--data", am2k, *options)
    assert result.exit_code in (1, 2)
    assert message in result.output.strip().splitlines()[-1]
    assert "Traceback" not in result.output


def test_a_glance_without_transition_is_no_trimap(am2k: Path, weights: dict[str, Path]) -> None:
    result = run(weights["FT"], "--data", am2k, "--trimap-from-glance")
    assert result.exit_code == 1
    assert "train: error: the glance of RoSTa FT gives no trimap" in result.output


def test_a_broken_image_is_one_line(am2k: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    (am2k / "validation/mask/m_001.png").write_bytes(b"")
    result = run(weights["TT"], "--data", am2k, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "m_001.png is empty" in result.output.strip().splitlines()[-1]
    assert len(rows_of(tmp_path / "out")) == 1


# Long sets: threads, and runs that are interrupted.


def test_threads_change_nothing(am2k: Path, tmp_path: Path) -> None:
    entries = open_layout(am2k, "validation")
    found = [evaluate_set(entries, grey, tmp_path / str(workers), EvaluationOptions(workers=workers)) for workers in (0, 1, 3)]
    for other in found[1:]:
        assert [(case.name, case.matting, case.metrics) for case in other.cases] == [(case.name, case.matting, case.metrics) for case in found[0].cases]


def test_images_are_measured_at_once_and_beside_the_network(am2k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, measured, seen = threading.Barrier(3), iter(range(9)), iter(range(9))

    def conn(*_planes: np.ndarray) -> float:
        if next(measured) < 2:
            meeting.wait(20)  # for the other image, and for the network, which sees the third one meanwhile
        return 0.0

    def matting(rgb: np.ndarray) -> dict[str, np.ndarray]:
        if next(seen) == 2:
            meeting.wait(20)
        return {"black": np.zeros(rgb.shape[:2], np.float32)}

    monkeypatch.setattr(metrics, "conn", conn)
    assert len(evaluate_set(open_layout(am2k, "validation"), matting, options=EvaluationOptions(workers=2)).cases) == 3


def test_an_interrupted_run_goes_on(am2k: Path, tmp_path: Path) -> None:
    entries, seen = open_layout(am2k, "validation"), []

    def failing(rgb: np.ndarray) -> dict[str, np.ndarray]:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(rgb.shape)
        return grey(rgb)

    options = EvaluationOptions(identity="these weights", workers=0)
    with pytest.raises(KeyboardInterrupt):
        evaluate_set(entries, failing, tmp_path / "out", options)
    with (tmp_path / "out/pictures.csv").open("a") as file:
        file.write("m_002,gr")  # the power went
    lines: list[str] = []
    seen.clear()
    evaluation = evaluate_set(entries, lambda rgb: seen.append(rgb.shape) or grey(rgb), tmp_path / "out", options, lines.append)
    whole = evaluate_set(entries, grey, tmp_path / "whole", options)
    assert lines[0] == "1 of 3 images were measured before"  # the last one may lack mattes and is measured again
    assert [shape[:2] for shape in seen] == [*SIZES[1:], SIZES[0], SIZES[0]]  # and the first for the sheets of the worst
    assert [case.metrics for case in evaluation.cases] == [pytest.approx(case.metrics, rel=1e-8) for case in whole.cases]
    drop = [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(tmp_path / "out")]
    assert drop == [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(tmp_path / "whole")]
    np.testing.assert_array_equal(*(cv2.imread(str(tmp_path / name / "worst.png")) for name in ("out", "whole")))
    assert not (tmp_path / "out/unfinished").exists()
    # A whole run is begun anew, and so is one of something else.
    evaluate_set(entries, lambda rgb: seen.append(rgb.shape) or grey(rgb), tmp_path / "out", options)
    assert len(seen) == 4 + 3
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        evaluate_set(entries, failing, tmp_path / "out", options)
    seen.clear()
    evaluate_set(entries, lambda rgb: seen.append(rgb.shape) or grey(rgb), tmp_path / "out", EvaluationOptions(identity="others", workers=0))
    assert len(seen) == 3


def test_the_command_goes_on_with_the_same_weights_alone(am2k: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    broken = am2k / "validation/original/m_002.jpg"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    options = ("--data", am2k, "--out", tmp_path / "out", "--strategy", "1/2")
    assert run(weights["TT"], *options).exit_code == 1
    broken.write_bytes(content)
    assert "measured before" not in run(weights["RIM"], *options).output
    broken.write_bytes(b"")
    assert run(weights["TT"], *options).exit_code == 1
    broken.write_bytes(content)
    done = run(weights["TT"], *options)
    assert done.exit_code == 0, done.output
    assert "1 of 3 images were measured before" in done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pictures.csv", "report.md", "worst.png"]


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_am2k, make_p3m10k])
def test_two_hundred_images_killed_and_gone_on_with_in_flat_memory(make, weights: dict[str, Path], tmp_path: Path) -> None:
    make(tmp_path / "data", 200 if make is make_am2k else 100)
    command = [sys.executable, "-m", "streammat.train", "evaluate", weights["TT"], "--data", tmp_path / "data", "--out"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads that wait for each other take all the time of a busy machine

    def lines_of(folder: str) -> int:
        path = tmp_path / folder / "pictures.csv"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def resident(process: psutil.Process) -> int:
        return process.memory_info().rss

    whole = psutil.Popen([*command, tmp_path / "whole"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=alone)
    early = late = 0
    while whole.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            count, used = lines_of("whole"), resident(whole)
            early, late = (max(early, used), late) if count < 60 else (early, max(late, used))
        time.sleep(0.02)
    assert whole.returncode == 0
    assert lines_of("whole") == 201
    assert late < early + 30e6  # 140 images more
    killed = subprocess.Popen([*command, tmp_path / "out"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=alone)
    while lines_of("out") < 80:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    done = subprocess.run([*command, tmp_path / "out"], capture_output=True, text=True, check=True, env=alone)
    assert int(re.search(r"(\d+) of 200 images were measured before", done.stderr)[1]) >= 78
    kept = [[{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(tmp_path / name)] for name in ("out", "whole")]
    assert kept[0] == kept[1]


# Programs.


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_outside_program_is_scored(am2k: Path, tmp_path: Path) -> None:
    sss = program(tmp_path / "sss", "import cv2\nimage = cv2.imread(sys.argv[1])\ncv2.imwrite(sys.argv[2], image[:, :, 0] * 0 + 51)")
    done = run(sss, "--data", am2k, "--row", "am2k-ori-sss", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "| SSS, AM-2k, ORI, Table 1 | 552.88 |" in done.output
    assert "| ours - paper |" in done.output
    for entry, row in zip(open_layout(am2k, "validation"), rows_of(tmp_path / "out"), strict=True):
        truth = cv2.imread(str(entry.alpha), cv2.IMREAD_GRAYSCALE) / 255.0
        assert float(row["MAD"]) == pytest.approx(np.abs(0.2 - truth).mean(), rel=1e-4)
    for text, message in (
        ("sys.exit('no licence')", "sss ended with 1: no licence"),
        ("", "wrote no matte"),
        ("import cv2, numpy\ncv2.imwrite(sys.argv[2], numpy.zeros((3, 4), 'uint8'))", "wrote a matte of 4x3 for an image of 130x100"),
    ):
        refused = run(program(tmp_path / "sss", text), "--data", am2k)
        assert refused.exit_code == 1
        assert message in refused.output.strip().splitlines()[-1]
    assert "leave out --strategy" in run(sss, "--data", am2k, "--strategy", "1/2").output
