"""``mattes``: plain folders, broken pairs, the contact sheet. Their quality is looked at in test_data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import make_data

from streammat.train.__main__ import main
from streammat.train.cli.data.mattes import command as mattes_command
from streammat.train.data.layouts import open_layout
from streammat.train.errors import DataError
from streammat.train.labels.mask_to_alpha import LONG_SIDE, PLAIN_SET, MatteSet, make_mattes, trimap_from_mask, write_sheet
from streammat.train.measures.contact_sheet import CELL


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """``img/`` and ``mask/`` and nothing above them."""
    return make_data(tmp_path / "made").joinpath("train/people_portraits").rename(tmp_path / "plain")


def test_a_plain_folder_becomes_a_data_set(plain: Path, tmp_path: Path) -> None:
    outcomes = make_mattes(plain, tmp_path / "out", 0, lambda _line: None, long_side=60)
    assert [outcome.problem for outcome in outcomes] == [""] * 4
    entries = open_layout(tmp_path / "out", "train", "plain")
    assert [entry.name for entry in entries] == ["000", "001", "002", "003"]
    alpha = cv2.imread(str(entries[0].alpha), cv2.IMREAD_UNCHANGED)
    assert alpha.shape == (60, 50)
    assert alpha[30, 25] == 255
    assert alpha[0, 0] == 0
    assert entries[0].foreground is not None
    assert make_mattes(plain, tmp_path / "out", 0, lambda _line: None, long_side=60) == []


@pytest.mark.parametrize("part", ["img", "mask"])
def test_two_files_of_one_name_are_refused(plain: Path, tmp_path: Path, part: str) -> None:
    """They would write one matte."""
    first = next((plain / part).iterdir())
    first.with_suffix(".bmp").write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=f"{part} has both .* keep one"):
        make_mattes(plain, tmp_path / "out", 0, lambda _line: None)


def test_alpha_is_taken_as_it_is_and_masks_are_not(plain: Path, tmp_path: Path) -> None:
    known = tmp_path / "data/train/detail_alpha"
    known.parent.mkdir(parents=True)
    plain.rename(known)
    (known / "mask").rename(known / "alpha")
    ramp = np.tile(np.linspace(0, 255, 100).astype(np.uint8), (120, 1))
    cv2.imwrite(str(known / "alpha/001.png"), ramp)
    make_mattes(tmp_path / "data", tmp_path / "out", 0, lambda _line: None)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/detail_alpha/alpha/001.png"), cv2.IMREAD_UNCHANGED), ramp)


def test_sheet_shows_samples_of_each_set(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write_sheet(plain, out, 3) is None
    make_mattes(plain, out, 0, lambda _line: None)
    path = write_sheet(plain, out, 2)
    assert path == out / "sheet.png"
    two = cv2.imread(str(path))
    assert two.shape[1] > 5 * CELL
    three = cv2.imread(str(write_sheet(plain, out, 3)))
    assert 1.4 < three.shape[0] / two.shape[0] < 1.6
    for colour in ((0, 200, 0), (220, 0, 220)):  # green, magenta
        assert (two == colour).all(axis=2).sum() > 10000


def test_command_names_broken_pairs_and_does_the_others(plain: Path, tmp_path: Path) -> None:
    whole = (plain / "img/000.jpg").read_bytes()
    (plain / "img/000.jpg").write_bytes(whole[:400])
    cv2.imwrite(str(plain / "mask/001.png"), np.zeros((9, 9), np.uint8))
    (plain / "mask/002.png").unlink()
    command = ["mattes", "--data", str(plain), "--cache", str(tmp_path / "out"), "--workers", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert f"mattes: image {plain}/img/000.jpg is cut off after 400 bytes; download or make it again" in lines
    assert any("mask/001.png is 9x9 pixels but" in line and "is 100x120" in line for line in lines)
    assert any("img/002.jpg has no mask of the same name" in line for line in lines)
    assert any(line.startswith("train: error: mattes: 3 of 4 could not be done") for line in lines)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["003.jpg", "003.jpg", "003.png", "sheet.png"]


@pytest.mark.parametrize("make", [False, True])
def test_command_needs_a_folder_with_images(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "data").mkdir()
    result = CliRunner().invoke(main, ["mattes", "--data", str(tmp_path / "data"), "--cache", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert ("no training images in" if make else "does not exist") in result.output
    with pytest.raises(DataError):
        make_mattes(tmp_path / "data", tmp_path / "out", 0, lambda _line: None)


def test_bands_of_large_images_are_wider() -> None:
    widths = []
    for scale in (1, 3):
        mask = np.zeros((LONG_SIDE * scale, LONG_SIDE * scale), np.uint8)
        mask[:, mask.shape[1] // 2 :] = 255
        row = trimap_from_mask(mask, 0.05, 0.05)[10]
        widths.append(int((row == 0.5).sum()))
    assert widths == [18, 54]


def test_defaults_have_one_value() -> None:
    defaults = {option.name: option.default for option in mattes_command.params}
    assert defaults["long_side"] == LONG_SIDE
    assert MatteSet("", defaults["band"], defaults["band"]) == PLAIN_SET
