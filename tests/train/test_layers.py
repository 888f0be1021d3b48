"""``layers`` and ``compose``: what they write, that they continue, and what they say of broken files."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from streammat.train.__main__ import main
from streammat.train.data.images import read_alpha, read_rgb
from streammat.train.data.layouts import open_backgrounds, open_layout
from streammat.train.errors import DataError
from streammat.train.rssn.compose_sample import BM3D_SIGMA, PER_FOREGROUND
from streammat.train.rssn.layers import LayerOptions, denoise_backgrounds, estimate_colours, make_layers

HEIGHT, WIDTH = 36, 48


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture if picture.ndim == 2 else picture[:, :, ::-1])


def soft_disc() -> np.ndarray:
    plane = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(plane, (WIDTH // 2, HEIGHT // 2), 12, 255, -1)
    return cv2.GaussianBlur(plane, (0, 0), 2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """AM-2k's layout: a red disc with a soft edge before blue, with some noise."""
    alpha = soft_disc()
    noise = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3))
    share = alpha[:, :, None] / 255.0
    rgb = np.clip(share * (220, 40, 30) + (1 - share) * (20, 40, 200) + noise, 0, 255).astype(np.uint8)
    for name in ("a", "b"):
        write(tmp_path / f"am2k/train/original/{name}.png", rgb)
        write(tmp_path / f"am2k/train/mask/{name}.png", alpha)
    return tmp_path / "am2k"


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    source = np.random.default_rng(1)
    for number in range(6):
        write(tmp_path / f"rooms/{number}.jpg", source.integers(0, 90, (60, 60, 3), np.uint8))
    return tmp_path / "rooms"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_closed_form_separates_the_colours() -> None:
    alpha = soft_disc()
    share = alpha[:, :, None] / 255.0
    rgb = np.rint(share * (220, 40, 30) + (1 - share) * (20, 40, 200)).astype(np.uint8)
    foreground, background = estimate_colours(rgb, alpha)
    edge = (alpha > 60) & (alpha < 200)
    assert np.abs(foreground[edge].astype(int) - (220, 40, 30)).mean() < 6
    assert np.abs(background[edge].astype(int) - (20, 40, 200)).mean() < 6


def test_layers_lie_beside_the_images_and_are_found_there(data: Path) -> None:
    lines: list[str] = []
    outcomes = make_layers(data, "train", "auto", LayerOptions(), 0, lines.append)
    assert [outcome.result for outcome in outcomes] == [2, 2]
    entry = open_layout(data, "train")[0]
    assert entry.foreground is not None
    assert entry.background is not None
    assert read_rgb(entry.foreground).shape == (HEIGHT, WIDTH, 3)
    assert make_layers(data, "train", "auto", LayerOptions(), 0, lines.append) == []
    assert lines[-1] == "layers: 0 of 2 images to do"
    (data / "train/bg/b.png").unlink()
    assert [outcome.result for outcome in make_layers(data, "train", "auto", LayerOptions(), 0, lines.append)] == [1]


def test_denoised_layers_are_calmer(data: Path) -> None:
    (data / "train/original/b.png").unlink()
    (data / "train/mask/b.png").unlink()
    make_layers(data, "train", "auto", LayerOptions(denoise=True), 0, lambda _line: None)
    entry = open_layout(data, "train")[0]
    assert entry.original_denoise is not None
    assert entry.fg_denoise is not None
    corner = (slice(0, 8), slice(0, 8))
    assert read_rgb(entry.original_denoise)[corner].std(axis=(0, 1)).max() < 0.5 * read_rgb(entry.image)[corner].std(axis=(0, 1)).min()
    middle = (slice(14, 22), slice(20, 28))
    assert entry.foreground is not None
    assert read_rgb(entry.fg_denoise)[middle].std() <= read_rgb(entry.foreground)[middle].std()


def test_backgrounds_are_denoised_beside_their_folder(rooms: Path) -> None:
    for number in range(1, 6):
        (rooms / f"{number}.jpg").unlink()
    options = LayerOptions(denoise=True, sigma=30.0, long_side=40)
    assert len(denoise_backgrounds(rooms, "train", options, 0, lambda _line: None)) == 1
    entry = open_backgrounds(rooms)[0]
    assert entry.denoise == rooms.with_name("rooms_denoise") / "0.jpg"
    clean = read_rgb(entry.denoise)
    assert clean.shape == (40, 40, 3)
    assert clean.std() < 0.5 * read_rgb(entry.image).std()
    assert denoise_backgrounds(rooms, "train", options, 0, lambda _line: None) == []


def test_reduced_layers_make_a_data_set_of_their_own(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    make_layers(data, "train", "auto", LayerOptions(out=out, long_side=24), 0, lambda _line: None)
    entry = open_layout(out, "train", "am2k")[0]
    assert read_rgb(entry.image).shape == (18, 24, 3)
    assert read_alpha(entry.alpha).shape == (18, 24)
    assert entry.foreground is not None
    assert not (data / "train/fg").exists()
    with pytest.raises(DataError, match="data set of their own"):
        make_layers(data, "train", "auto", LayerOptions(long_side=24), 0, lambda _line: None)


def test_images_and_mattes_in_one_folder_need_another_place(tmp_path: Path) -> None:
    for name in ("x.png", "x_matte.png"):
        write(tmp_path / "training" / name, soft_disc())
    with pytest.raises(DataError, match="in one folder"):
        make_layers(tmp_path, "train", "dapm", LayerOptions(), 0, lambda _line: None)
    outcomes = make_layers(tmp_path, "train", "dapm", LayerOptions(out=tmp_path / "out"), 0, lambda _line: None)
    assert outcomes[0].problem == ""
    assert files(tmp_path / "out/train") == ["bg/x.png", "fg/x.png", "mask/x.png", "original/x.png"]


def test_command_names_broken_files_and_does_the_others(data: Path) -> None:
    whole = (data / "train/original/a.png").read_bytes()
    (data / "train/original/a.png").write_bytes(whole[: len(whole) // 2])
    result = run("layers", "--data", data, "--workers", 1)
    assert result.exit_code == 1
    assert f"layers: image {data}/train/original/a.png is cut off" in result.output
    assert "train: error: layers: 1 of 2 could not be done" in result.output
    assert files(data / "train/fg") == ["b.png"]
    (data / "train/original/a.png").write_bytes(whole)
    make_layers(data, "train", "auto", LayerOptions(), 0, lambda _line: None)
    assert files(data / "train/fg") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "no/such/folder"], 1, "train: error: data set folder no/such/folder does not exist"),
        (["--backgrounds", "no/such", "--denoise"], 1, "train: error: background folder no/such does not exist"),
        ([], 2, "give --data"),
        (["--backgrounds", "x"], 2, "add --denoise"),
        (["--data", "x", "--long-side", "64"], 2, "add --out"),
    ],
)
def test_command_line_faults(arguments: list[str], code: int, message: str) -> None:
    result = run("layers", *arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_an_interrupted_command_stops_at_once_and_continues(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    write(tmp_path / "rooms/a.jpg", source.integers(0, 255, (32, 32, 3), np.uint8))
    write(tmp_path / "rooms/b.jpg", source.integers(0, 255, (700, 900, 3), np.uint8))  # a minute of BM3D
    command = ["layers", "--backgrounds", str(tmp_path / "rooms"), "--denoise", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "train", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "rooms_denoise/a.jpg").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # the first one is done; its outcome is on the way
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "backgrounds: stopped; 1 of 2 are done and kept" in output
    assert error == "train: interrupted; the same command continues\n"
    assert files(tmp_path / "rooms_denoise") == ["a.jpg"]
    (tmp_path / "rooms/b.jpg").unlink()
    assert "0 of 1 to denoise" in run(*command).output


@pytest.fixture
def layered(data: Path) -> Path:
    for name, colour in (("fg", (220, 40, 30)), ("bg", (20, 40, 200))):
        for stem in ("a", "b"):
            write(data / f"train/{name}/{stem}.png", np.full((HEIGHT, WIDTH, 3), colour, np.uint8))
    return data


def test_compose_writes_a_data_set(layered: Path, rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["compose", "--data", layered, "--backgrounds", rooms, "--out", out, "--no-denoise", "--workers", 1]
    result = run(*command)
    assert result.exit_code == 0, result.output
    entries = open_layout(out, "train", "am2k")
    assert [entry.name for entry in entries] == [f"{stem}_{copy}" for stem in "ab" for copy in range(5)]
    with (out / "manifest.csv").open(newline="") as file:
        rows = {row["composite"]: row for row in csv.DictReader(file)}
    assert set(rows) == {entry.name for entry in entries}
    assert {row["denoise"] for row in rows.values()} == {"0"}
    for entry in entries:
        assert entry.foreground is not None
        assert entry.background is not None
        rgb, alpha, behind = read_rgb(entry.image), read_alpha(entry.alpha), read_rgb(entry.background)
        assert (read_rgb(entry.foreground) == (220, 40, 30)).all()
        exact = np.array_equal(rgb[alpha == 0], behind[alpha == 0])
        assert exact == (rows[entry.name]["noise"] == "0")
        assert (behind.std() < 5) == (rows[entry.name]["blur_kernel"] != "0"), "blurred noise is flat"
    assert {"0"} < {row["blur_kernel"] for row in rows.values()}
    assert cv2.imread(str(out / "sheet.png")).shape[1] > 6 * 256

    before = {path: path.stat().st_mtime_ns for path in (out / "train").rglob("*.png")}
    whole = (out / "train/original/a_3.png").read_bytes()
    (out / "train/original/a_3.png").unlink()
    result = run(*command)
    assert "1 of 10 composites to do" in result.output
    assert (out / "train/original/a_3.png").read_bytes() == whole
    assert before[out / "train/original/b_0.png"] == (out / "train/original/b_0.png").stat().st_mtime_ns
    result = run(*command, "--seed", 1)
    assert result.exit_code == 1
    assert "by other options" in result.output


def test_compose_leaves_out_what_it_is_told(layered: Path, rooms: Path, tmp_path: Path) -> None:
    switches = ["--no-denoise", "--no-blur", "--no-noise", "--limit", 1, "--per-foreground", 2, "--workers", 1]
    assert run("compose", "--data", layered, "--backgrounds", rooms, "--out", tmp_path / "out", *switches).exit_code == 0
    lines = (tmp_path / "out/manifest.csv").read_text().splitlines()
    assert len(lines) == 3
    assert all(line.endswith(",0,0,0") for line in lines[1:])


def test_compose_faults(data: Path, rooms: Path, tmp_path: Path) -> None:
    command = ["compose", "--data", data, "--backgrounds", rooms, "--out", tmp_path / "out", "--workers", 1]
    result = run(*command, "--no-denoise")
    assert result.exit_code == 1
    assert "has no foreground colours (fg/) (2 of 2 lack it); run `python -m train layers" in result.output
    for stem in ("a", "b"):
        write(data / f"train/fg/{stem}.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert "no denoised foreground" in run(*command).output
    write(data / "train/mask/a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    result = run(*command, "--no-denoise")
    assert result.exit_code == 1
    assert f"matte {data}/train/mask/a.png is empty" in result.output
    assert "compose: 5 of 10 could not be done" in result.output
    assert len(open_layout(tmp_path / "out", "train", "am2k")) == 5


def test_defaults_have_one_value() -> None:
    from streammat.train.cli.data.compose import command as compose
    from streammat.train.cli.data.layers import command as layers

    assert {option.name: option.default for option in compose.params}["per_foreground"] == PER_FOREGROUND
    assert {option.name: option.default for option in layers.params}["sigma"] == BM3D_SIGMA
