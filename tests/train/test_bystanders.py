"""Who else is in an image, and what training then does with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.config import DataConfig
from streammat.train.data.samples import Key
from streammat.train.errors import DataError
from streammat.train.labels.bystanders import FILE, bystander_share, find_bystanders, read_bystanders
from streammat.train.lite.dataset import STREET, MattingDataset

SET = "animals_cats"
"""One that is looked through."""
CONFIG = DataConfig(sets=((SET, 1.0),), holdout=0)


@pytest.fixture
def own(cache: Path, tmp_path: Path) -> Path:
    """A cache that may be written to."""
    own = Path(shutil.copytree(cache, tmp_path / "cache"))
    (own / "people_portraits").rename(own / SET)
    return own


def test_the_labelled_subject_is_no_bystander() -> None:
    label, seen = np.zeros((2, 200, 200), np.uint8)
    cv2.circle(label, (60, 100), 30, 255, -1)
    assert bystander_share(label, label) == 0
    cv2.circle(seen, (60, 100), 33, 255, -1)  # a little larger than its label
    assert bystander_share(seen, label) == 0
    cv2.rectangle(seen, (150, 20), (169, 39), 255, -1)
    cv2.rectangle(seen, (150, 100), (154, 104), 255, -1)
    assert bystander_share(seen, label) == pytest.approx(400 / 40_000)
    assert bystander_share(seen // 8, label) == 0


def test_found_by_a_network_in_every_view(own: Path) -> None:
    sizes = []

    def opener(size: tuple[int, int]):
        sizes.append(size)
        return lambda rgb: (rgb[:, ::2, ::2].max(axis=3) > 128).astype(np.float32)  # discs are bright

    assert find_bystanders(opener, own, SET, lambda _line: None) == (4, 0)
    assert len(sizes) == 1
    image = own / SET / "img/001.jpg"
    rgb = cv2.imread(str(image))
    rgb[:12, -12:] = 255
    cv2.imwrite(str(image), rgb)
    assert find_bystanders(opener, own, SET, lambda _line: None) == (4, 1)
    assert read_bystanders(own / SET) == {"000": True, "001": False, "002": True, "003": True}
    with pytest.raises(DataError, match="no mattes"):
        find_bystanders(opener, own, "people_fullbody", lambda _line: None)


def widen(base: Path) -> None:
    """Room beside the discs."""
    for path in base.rglob(f"{SET}/*/*.*"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.copyMakeBorder(image, 0, 0, 60, 60, cv2.BORDER_REPLICATE))


def test_who_hides_beside_a_subject_is_found_without_it(own: Path) -> None:
    """A network that was trained on an image may leave out all but its subject."""
    widen(own)
    image = own / SET / "img/002.jpg"
    rgb = cv2.imread(str(image))
    rgb[20:44, 4:24] = 255
    cv2.imwrite(str(image), rgb)

    def largest(rgb: np.ndarray) -> np.ndarray:
        _, parts, facts, _ = cv2.connectedComponentsWithStats((rgb[0, ::2, ::2].max(axis=2) > 145).astype(np.uint8))
        areas = facts[1:, cv2.CC_STAT_AREA]
        return (parts == 1 + areas.argmax() if areas.size else np.zeros_like(parts)).astype(np.float32)[None]

    def search(*, filled: bool) -> tuple[int, int]:
        return find_bystanders(lambda _size: largest, own, SET, lambda _line: None, filled=filled)

    assert search(filled=False) == (4, 0)
    assert search(filled=True) == (4, 1)
    assert read_bystanders(own / SET)["002"] is False


def test_street_photographs_as_cut_outs_alone(data: Path, own: Path) -> None:
    shutil.copytree(own / SET, own / STREET)
    (own / STREET / FILE).write_text(json.dumps({f"{number:03}": 0.0 for number in range(4)}))
    both = replace(CONFIG, sets=((STREET, 0.5), (SET, 0.5)))
    for seen in (True, False):
        subjects = MattingDataset(data, own, replace(both, street=seen), 5).collection.subjects
        assert {subject.alone for subject in subjects[STREET]} == {seen}
        assert {subject.alone for subject in subjects[SET]} == {None}


def test_such_images_are_cut_outs_alone(data: Path, own: Path) -> None:
    shown = replace(CONFIG, empty=0.0, original=9.0)
    (own / SET / FILE).write_text(json.dumps({f"{number:03}": 0.5 for number in range(4)}))
    dataset = MattingDataset(data, own, shown, 5)
    assert all(subject.alone is False for subject in dataset.collection.all_subjects())
    assert dataset.filled == []
    assert any(dataset[Key(index, 64, 64)].contrast.any() for index in range(5))  # composites: what is behind is known
    (own / SET / FILE).write_text(json.dumps({f"{number:03}": 0.0 for number in range(4)}))
    dataset = MattingDataset(data, own, shown, 5)
    assert not any(dataset[Key(index, 64, 64)].contrast.any() for index in range(5))


def test_images_without_their_subjects_are_backgrounds(data: Path, own: Path) -> None:
    widen(own)
    bare = replace(CONFIG, empty=1.0, filled=1.0)
    dataset = MattingDataset(data, own, bare, 5)
    assert len(dataset.filled) == 4
    for index in range(4):
        assert dataset[Key(index, 64, 64)].alpha.max() == 0


def test_damaged_list(data: Path, own: Path) -> None:
    (own / SET / FILE).write_text("[1, 2")
    with pytest.raises(DataError, match="is damaged"):
        MattingDataset(data, own, CONFIG, 5)


def test_command_needs_mattes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_network(GFM(), tmp_path / "lite.safetensors")
    result = CliRunner().invoke(main, ["bystanders", str(tmp_path / "lite.safetensors"), "--cache", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("train: error: no mattes in ")
