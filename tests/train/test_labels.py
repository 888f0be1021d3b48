"""Labels made of masks and teachers: who is right where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import make_data, make_image, write
from toy_graphs import write_bright_rvm, write_colour_detector

from streammat.train.__main__ import main
from streammat.train.labels.labelling import Hashes, LabelManifest
from streammat.train.labels.public_sets import SETS
from streammat.train.labels.rules import animal_label, people_label, unlabelled
from streammat.train.teachers.detector import Detector, Found

SHAPE = (120, 160)


def blob(x: int, radius: int = 25, value: float = 1.0) -> np.ndarray:
    plane = np.zeros(SHAPE, np.float32)
    cv2.circle(plane, (x, 60), radius, value, -1)
    return plane


def as_mask(plane: np.ndarray) -> np.ndarray:
    return np.where(plane > 0.5, 255, 0).astype(np.uint8)


def never() -> np.ndarray:
    raise AssertionError("the mask's own matte is costly and was not needed")


def test_people_whom_the_mask_leaves_out_are_added_and_haze_is_not() -> None:
    mask, seen = as_mask(blob(40)), np.maximum(blob(40, 24), blob(120, 15))
    label = people_label(mask, never, np.maximum(seen, blob(90, 8, 0.3)))
    assert label.alpha is not None
    assert label.rule == "network-edge"
    assert label.alpha[60, 40] == 1
    assert label.alpha[60, 120] == 1
    assert label.alpha[60, 90] == 0


def test_a_mask_that_the_network_hardly_finds_has_its_own_edge() -> None:
    mask = as_mask(blob(40))
    label = people_label(mask, lambda: mask, blob(40, 10))
    assert label.alpha is not None
    assert label.rule == "mask-edge"
    assert np.array_equal(label.alpha > 0.5, mask > 127)


def test_animals_take_the_segmentation_near_their_mask_alone() -> None:
    mask, fur = as_mask(blob(40)), np.maximum(blob(40, 26), blob(120))
    label = animal_label(mask, never, fur, None)
    assert label.alpha is not None
    assert label.alpha[60, 120] == 0
    assert label.alpha[60, 65] == 1  # beyond the mask's edge
    other = animal_label(mask, lambda: mask, blob(120), blob(120))
    assert other.alpha is not None
    assert other.rule == "mask-edge+people"
    assert other.alpha[60, 120] == 1


@pytest.mark.parametrize(
    ("one", "other", "rule"),
    [
        (blob(40), blob(40), "two-views"),
        (blob(40), blob(40, 18), "views-differ"),
        (blob(40, 25, 0.6), blob(40, 25, 0.6), "half-seen"),
        (blob(40, 0), blob(40, 0), "nobody"),
    ],
)
def test_without_a_mask_two_views_have_to_agree(one: np.ndarray, other: np.ndarray, rule: str) -> None:
    label = unlabelled(one, other, [])
    assert label.rule == rule
    assert (label.alpha is not None) == (rule == "two-views")


@pytest.mark.parametrize(
    ("second", "rule"),
    [(blob(40, 22), "two-networks"), (blob(40, 10), "networks-differ"), (np.maximum(blob(40, 22), blob(120)), "two-networks")],
)
def test_where_two_views_agree_less_a_second_network_decides(second: np.ndarray, rule: str) -> None:
    label = unlabelled(blob(40, 25), blob(40, 24), [], lambda: second)
    assert label.rule == rule
    assert label.alpha is None or (label.alpha[60, 40] == 1 and label.alpha[60, 120] == 0)


@pytest.mark.parametrize(
    ("score", "side", "rule"), [(0.9, 0.4, "somebody-missed"), (0.9, 0.1, "two-views"), (0.2, 0.4, "two-views")]
)
def test_everybody_of_some_size_whom_the_detector_finds_is_in_the_matte(score: float, side: float, rule: str) -> None:
    there = Found(False, 0.9, 0.1, 0.25, 0.4, 0.75)
    other = Found(False, score, 0.55, 0.5, 0.55 + side, 0.5 + side)
    assert unlabelled(blob(40), blob(40), [there, other]).rule == rule


def test_copies_are_found_mirrored_and_coded_again() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (120, 160, 3), dtype=np.uint8), (0, 0), 9)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    seen = Hashes()
    seen.add(image, "first")
    _, code = cv2.imencode(".jpg", np.ascontiguousarray(image[:, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 40])
    assert seen.find(cv2.imdecode(code, cv2.IMREAD_COLOR)) == "first"
    assert seen.find(255 - image[::-1]) is None


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, list[str]]:
    """Penn-Fudan as it is laid out, with twelve images; the second is one that is validated on."""
    pytest.importorskip("openvino")
    data = make_data(tmp_path / "data", 1)
    root = tmp_path / "raw/gmguarino+PennFudan/data/PennFudanPed"
    for index in range(12):
        parts = make_image(20 + index, soft=False)
        parts["image"][: 10 + 9 * index, :40] = np.random.default_rng(index).integers(0, 100, 3)
        write(root / f"PNGImages/P{index:05}.png", parts["image"])
        write(root / f"PedMasks/P{index:05}_mask.png", np.where(parts["alpha"] > 127, 1, 0).astype(np.uint8))
        if index == 1:
            write(data / "val/people_portraits/img/1.png", parts["image"])
    write_bright_rvm(tmp_path / "teachers")
    (tmp_path / "mattes").mkdir()
    words = [word for name in ("raw", "teachers", "data", "mattes") for word in (f"--{name}", str(tmp_path / name))]
    return tmp_path / "cache", ["sets", *words, "--cache", str(tmp_path / "cache"), "--only", "penn"]


def test_sets_are_labelled_held_out_and_written_down(world: tuple[Path, list[str]]) -> None:
    cache, words = world
    with LabelManifest(cache, "penn"):
        pass  # as a call leaves it that ended before its first image
    for _ in range(2):  # the second call finds everything done
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    lines = [line.split(",") for line in (cache / "manifest/penn.csv").read_text().splitlines()[1:]]
    assert [line[1] for line in lines] == [f"P{index:05}" for index in range(12)]
    rules = {line[1]: line[3] for line in lines}
    assert rules["P00001"].startswith("copy of ")
    assert rules["P00000"] == "network-edge"
    assert lines[9][2] == "held/people_penn"
    assert sorted(path.stem for path in (cache / "held/people_penn/mask").iterdir()) == ["P00009"]
    kept = {path.stem for path in (cache / "people_penn/img").iterdir()}
    assert kept == {path.stem for path in (cache / "people_penn/alpha").iterdir()}
    assert "P00009" not in kept
    assert "P00001" not in kept


def test_images_without_masks_are_sorted_by_a_detector(world: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs are kept if somebody is there, rooms if nobody is."""
    cache, words = world
    write_colour_detector(cache.parent / "teachers")
    entries = {entry.name: entry for entry in SETS}
    for name in ("flickr", "rooms"):
        monkeypatch.setitem(entries, name, replace(entries[name], every=1))
    monkeypatch.setattr("streammat.train.labels.public_sets.SETS", tuple(entries.values()))
    for index, colour in enumerate([(255, 255, 255), None]):
        image = np.random.default_rng(index).integers(0, 20, (96, 128, 3), dtype=np.uint8)
        if colour:
            cv2.circle(image, (64, 48), 20, colour, -1)
        write(cache.parent / f"raw/quantumnaan+sic_translator/data/images/{index}.jpg", image)
        write(cache.parent / f"raw/SilviuBR24+room-classification/dataset/train/hall/{index}.jpg", image[::-1, :90])
    result = CliRunner().invoke(main, [*words[:-1], "flickr", "--only", "rooms"])
    assert result.exit_code == 0, result.output
    records = [line.split(",")[1:4] for name in ("flickr", "rooms") for line in (cache / f"manifest/{name}.csv").read_text().splitlines()[1:]]
    assert records == [
        ["0", "people_flickr", "two-views"],
        ["1", "", "nobody"],
        ["train_hall_0", "", "perhaps-somebody"],
        ["train_hall_1", "objects_rooms", "nobody"],
    ]


def test_people_and_animals_are_found_with_their_boxes(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    detector = Detector(write_colour_detector(tmp_path), 1)
    image = np.zeros((256, 512, 3), np.uint8)
    image[96:160, 64:128, 0] = 255
    image[96:160, 384:448, 1] = 255
    found = detector.find(image, 0.5)
    person, animal = (next(one for one in found if one.animal == kind) for kind in (False, True))
    assert person.score > 0.9
    assert person.left < 96 / 512 < person.right < animal.left < 416 / 512 < animal.right
    assert person.right - person.left == pytest.approx(120 / 512, abs=0.02)
    assert detector.scores(image) == (pytest.approx(1, abs=0.05), pytest.approx(1, abs=0.05))


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("raw", "teachers", "mattes"):
        (tmp_path / name).mkdir()
    data = make_data(tmp_path / "data", 1)
    words = [word for name in ("raw", "teachers", "mattes") for word in (f"--{name}", str(tmp_path / name))]
    result = CliRunner().invoke(main, ["sets", *words, "--data", str(data), "--cache", str(tmp_path / "cache"), "--only", "penn"])
    assert result.exit_code == 1
    assert "holds no images of gmguarino/PennFudan; unpack its commit 4d34ade there" in result.output


def test_command_knows_every_set() -> None:
    from streammat.train.cli.data.sets import _NAMES

    assert tuple(entry.name for entry in SETS) == _NAMES
