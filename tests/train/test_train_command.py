"""``python -m train train``: runs, goes on, and says in one line what is wrong."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from synthetic import make_am2k, make_backgrounds, make_plain

from streammat.engines.network.checkpoint import load_network
from streammat.train.__main__ import main

SMALL = ["--batch", "2", "--crop", "64", "--workers", "0", "--threads", "1", "--log-every", "1", "--precision", "fp32"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def steps(out: Path) -> list[str]:
    with (out / "curve.csv").open() as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_plain_folder_of_images(tmp_path: Path) -> None:
    data, out = make_plain(tmp_path / "data"), tmp_path / "out"
    arguments = ["--preset", "folder", "--rosta", "ft", "--data", data, "--out", out, *SMALL, "--samples-every", 2]
    result = call(*arguments, "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert "folder: lite FT, 3 images, 3 steps, encoder from random weights" in result.output
    assert "3 images have no foreground and background: no composition loss" in result.output
    assert f"wrote {out / 'lite_ft.safetensors'}" in result.output
    assert load_network(out / "lite_ft.safetensors").rosta == "FT"
    assert (out / "samples/step_000002.png").exists()
    more = call(*arguments, "--steps", 5)
    assert "resumed at step 3" in more.output
    assert steps(out) == ["1", "2", "3", "4", "5"]
    other = call(*arguments[:2], "--rosta", "bt", *arguments[4:], "--steps", 5)
    assert other.exit_code == 1
    assert "was made with rosta 'FT', but this run has 'BT'" in other.output


def test_preset_of_the_paper(tmp_path: Path) -> None:
    data = make_am2k(tmp_path / "data", 2, layers=True)
    backgrounds = make_backgrounds(tmp_path / "bg", denoised=True)
    preset = ["--preset", "am2k-comp-rssn-r34-tt", "--data", data, "--backgrounds", backgrounds, "--out", tmp_path / "out"]
    result = call(*preset, *SMALL, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert "am2k-comp-rssn-r34-tt: r34 TT, 10 images, 1 steps" in result.output
    assert "no composition loss" not in result.output
    assert load_network(tmp_path / "out/r34_tt.safetensors").network == "r34"


def test_lite_recipe_on_mattes(data: Path, cache: Path, tmp_path: Path) -> None:
    result = call("--data", data, "--cache", cache, "--out", tmp_path, *SMALL, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert load_network(tmp_path / "lite.safetensors").network == "lite"


def test_second_stage_starts_from_the_first(data: Path, cache: Path, tmp_path: Path) -> None:
    common = ["--data", data, "--cache", cache, *SMALL]
    assert call(*common, "--out", tmp_path / "first", "--steps", 1).exit_code == 0
    first = tmp_path / "first/lite.safetensors"
    second = call(*common, "--preset", "lite-second", "--start", first, "--out", tmp_path / "second", "--steps", 1)
    assert second.exit_code == 0, second.output
    assert f"from {first}" in second.output
    # A step at the start of the warm-up moves next to nothing, but for the statistics of the batch norms.
    old, new = (load_network(path).state_dict() for path in (first, tmp_path / "second/lite.safetensors"))
    weights = [key for key in old if key.endswith("weight")]
    assert max(float((old[key] - new[key]).abs().max()) for key in weights) < 2e-3
    without = call(*common, "--preset", "lite-second", "--out", tmp_path / "third", "--steps", 1)
    assert without.exit_code == 1
    assert "goes on from the weights" in without.output
    both = call(*common, "--start", first, "--imagenet", first, "--out", tmp_path / "third", "--steps", 1)
    assert both.exit_code == 1
    assert "both --start and --imagenet" in both.output
    wrong = call(*common, "--rosta", "FT", "--start", first, "--out", tmp_path / "fourth", "--steps", 1)
    assert wrong.exit_code == 1
    assert "are of RoSTa TT, not FT" in wrong.output


def test_presets_are_listed() -> None:
    result = call("--list-presets")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert any(line.startswith("am2k-ori-r34-tt ") and line.endswith("AM-2k, ORI: r34, TT (paper: SAD 10.89 in Table 1)") for line in lines)
    assert "-modern" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "am2k-ori-r43-tt"], "train: error: unknown preset 'am2k-ori-r43-tt'; did you mean am2k-ori-r34-"),
        (["--preset", "am2k-ori-r34-tt", "--network", "lite"], "train: error: preset am2k-ori-r34-tt has network r34"),
        (["--preset", "am2k-comp-coco-r34-tt"], "give --backgrounds, the folder of COCO"),
        (["--preset", "folder", "--network", "vgg"], "train: error: no network named 'vgg'"),
        (["--preset", "folder", "--crop", "100"], "crop 100 does not fit the network"),
        (["--preset", "folder", "--precision", "fp16", "--device", "cpu"], "train: error: precision fp16 needs CUDA"),
        (["--preset", "folder", "--device", "cuda:77"], "train: error: device 'cuda:77' is not there"),
        (["--preset", "lite"], "give --cache"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    data = make_plain(tmp_path / "data")
    result = call("--data", data, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.splitlines()[-1].startswith("train: error: ")
    assert "Traceback" not in result.output


def test_missing_imagenet_weights_of_another_network(tmp_path: Path) -> None:
    data = make_plain(tmp_path / "data")
    (tmp_path / "weights.npz").write_bytes(b"no weights")
    result = call("--preset", "folder", "--data", data, "--out", tmp_path / "out", "--imagenet", tmp_path / "weights.npz", *SMALL)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("train: error: cannot use ImageNet weights")


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    data, out = make_plain(tmp_path / "data"), tmp_path / "out"
    (out / "lite.safetensors").mkdir(parents=True)
    result = call("--preset", "folder", "--data", data, "--out", out, *SMALL, "--steps", 1)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith(f"train: error: cannot write weights {out / 'lite.safetensors'}")


@pytest.fixture
def hangup() -> Iterator[None]:
    """Processes started meanwhile hear of a closed terminal; under nohup they would go on ignoring it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
def test_signals_end_a_run_that_the_same_command_continues(tmp_path: Path) -> None:
    data, out = make_plain(tmp_path / "data"), tmp_path / "out"
    command = [sys.executable, "-m", "train", "train", "--preset", "folder", "--data", str(data), "--out", str(out), *SMALL]
    command[command.index("--workers") + 1] = "1"
    reached = 0
    # Ctrl-C reaches every process of a terminal, here while the worker starts, and so does its end; SIGTERM, of a scheduler, the training alone.
    for number, send, rows in ((signal.SIGINT, os.killpg, 1), (signal.SIGTERM, os.kill, 3), (signal.SIGHUP, os.killpg, 3)):
        run = subprocess.Popen([*command, "--steps", "100000"], stderr=subprocess.PIPE, text=True, process_group=0)
        deadline = time.monotonic() + 120
        while run.poll() is None and time.monotonic() < deadline and lines(out / "curve.csv") < reached + rows:
            time.sleep(0.05)
        send(run.pid, number)
        message = run.communicate(timeout=120)[1]
        assert run.returncode == 128 + number, message
        last = message.splitlines()[-1]
        assert last.startswith(f"train: stopped by {number.name} after step ")
        assert last.endswith("; the same command continues")
        assert "Traceback" not in message
        reached = int(last.split("step ")[1].split(";")[0])
    assert reached >= 2
    assert steps(out) == [str(step) for step in range(1, reached + 1)]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
