"""Mattes and training images from a synthetic data folder."""

from __future__ import annotations

import itertools
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streammat.train.config import DataConfig, LossConfig, TrainConfig
from streammat.train.data.layouts import FolderImages
from streammat.train.data.samples import Key, batch_keys
from streammat.train.data.targets import scaled_classes
from streammat.train.errors import DataError, RunError
from streammat.train.labels.mask_to_alpha import prepare_mattes, trimap_from_mask
from streammat.train.lite.dataset import PACK, MattingDataset, collect
from streammat.train.lite.ingredients import INGREDIENTS, recipe_without
from streammat.train.lite.scenes import SceneConfig
from streammat.train.recipes.presets import find_preset
from streammat.train.recipes.tracks import DataFolders, open_samples

CONFIG = DataConfig(sets=(("people_portraits", 1.0),), holdout=4)


def test_mattes_stay_near_their_masks(data: Path, cache: Path) -> None:
    mask = cv2.imread(str(data / "train/people_portraits/mask/000.png"), cv2.IMREAD_GRAYSCALE)
    alpha = cv2.imread(str(cache / "people_portraits/alpha/000.png"), cv2.IMREAD_GRAYSCALE)
    assert np.abs(mask.astype(float) - alpha).mean() < 8
    assert (alpha[55:65, 45:55] == 255).all()
    assert (alpha[:10] == 0).all()
    assert prepare_mattes(data, cache, 1, lambda _line: None) == 0


def test_mattes_need_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training images"):
        prepare_mattes(tmp_path, tmp_path / "cache", 1, lambda _line: None)
    with pytest.raises(DataError, match="train mattes"):
        collect(tmp_path, tmp_path / "none", CONFIG)


def test_cut_subjects_stay_certain_at_the_border() -> None:
    mask = np.zeros((80, 80), np.uint8)
    mask[40:, 20:60] = 255
    trimap = trimap_from_mask(mask, 0.05, 0.05)
    assert (trimap[-1, 30:50] == 1.0).all()
    assert trimap[40, 40] == 0.5
    assert trimap[0, 0] == 0.0


def test_samples_depend_on_their_index_alone(data: Path, cache: Path) -> None:
    one, other = (MattingDataset(data, cache, CONFIG, 5) for _ in range(2))
    for index in (3, 1, 3):
        a, b = one[Key(index, 64, 96)], other[Key(index, 64, 96)]
        np.testing.assert_array_equal(a.rgb, b.rgb)
        assert a.rgb.shape == (64, 96, 3)
        assert a.alpha.shape == a.contrast.shape == (64, 96)
    assert not np.array_equal(one[Key(1, 64, 96)].rgb, one[Key(2, 64, 96)].rgb)


def test_kinds_of_images(data: Path, cache: Path) -> None:
    rooms = MattingDataset(data, cache, replace(CONFIG, empty=1.0), 5)
    assert all(rooms[Key(i, 64, 64)].alpha.max() == 0 for i in range(5))
    composites = MattingDataset(data, cache, replace(CONFIG, empty=0.0, original=0.0, onto=0.0), 5)
    samples = [composites[Key(i, 64, 64)] for i in range(8)]
    assert sum(sample.alpha.max() == 255 for sample in samples) >= 6
    assert all((sample.contrast[sample.alpha == 0] == 0).all() for sample in samples)


def test_classes_for_each_head(data: Path, cache: Path) -> None:
    plain, all_heads = (
        MattingDataset(data, cache, CONFIG, 5, heads, stride) for heads, stride in ((("TT",), 2), (("TT", "FT", "BT"), 1))
    )
    sample = plain[Key(2, 64, 96)]
    assert sample.alpha.max() == 255
    assert list(sample.classes) == ["TT"]
    np.testing.assert_array_equal(sample.classes["TT"], scaled_classes(sample.alpha, "TT", 2))
    assert sample.classes["TT"].shape == (32, 48)
    assert {name: classes.shape for name, classes in all_heads[Key(2, 64, 96)].classes.items()} == dict.fromkeys(
        ("TT", "FT", "BT"), (64, 96)
    )


def test_broken_images_are_named(data: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    for path in (tmp_path / "cache").rglob("alpha/*.png"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"alpha/\d+.png is cut off after 50 bytes"):
        MattingDataset(data, tmp_path / "cache", CONFIG, 5)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_changed_image_is_packed_again(data: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache", ignore=shutil.ignore_patterns("pack.*"))
    before = MattingDataset(data, tmp_path / "cache", CONFIG, 5)
    subject = before.collection.all_subjects()[0]
    picture = before.pack.image(subject)[0].copy()
    written = (tmp_path / "cache" / PACK).stat().st_mtime_ns
    MattingDataset(data, tmp_path / "cache", CONFIG, 5)
    assert (tmp_path / "cache" / PACK).stat().st_mtime_ns == written
    cv2.imwrite(str(subject.image), 255 - cv2.imread(str(subject.image)))
    after = MattingDataset(data, tmp_path / "cache", CONFIG, 5).pack.image(subject)[0]
    assert np.abs(picture[:, :, :3].astype(int) - after[:, :, :3]).mean() > 50


def test_packed_levels_halve(data: Path, cache: Path) -> None:
    dataset = pickle.loads(pickle.dumps(MattingDataset(data, cache, CONFIG, 5)))  # noqa: S301 (as a worker gets it)
    levels = dataset.pack.image(dataset.collection.all_subjects()[0])
    assert [level.shape[2] for level in levels] == [4] * len(levels)
    for larger, smaller in itertools.pairwise(levels):
        assert smaller.shape[:2] == (larger.shape[0] // 2, larger.shape[1] // 2)
        assert abs(larger.mean() - smaller.mean()) < 2


def test_holdout_is_not_trained_on(data: Path, cache: Path) -> None:
    trained, held = collect(data, cache, CONFIG)
    assert len(held.all_subjects()) == 1
    assert len(trained.all_subjects()) == 3
    assert not set(held.all_subjects()) & set(trained.all_subjects())
    assert not set(held.rooms) & set(trained.rooms)
    assert collect(data, cache, replace(CONFIG, holdout=0))[1].all_subjects() == []
    only = MattingDataset(data, cache, CONFIG, 5, held=True)
    assert only.collection.all_subjects() == held.all_subjects()


def test_one_pack_for_every_choice_of_sets(data: Path, cache: Path, tmp_path: Path) -> None:
    """A run beside another one must not replace the pack under it."""
    own = Path(shutil.copytree(cache, tmp_path / "cache"))
    shutil.copytree(own / "people_portraits", own / "animals_cats")
    MattingDataset(data, own, DataConfig(), 5)
    before = (own / PACK).stat().st_mtime_ns
    alone = MattingDataset(data, own, CONFIG, 5)
    assert (own / PACK).stat().st_mtime_ns == before
    assert {subject.folder for subject in alone.collection.all_subjects()} == {"people_portraits"}


def test_things_are_clutter(data: Path, cache: Path) -> None:
    stem = collect(data, cache, CONFIG)[0].all_subjects()[0].image.stem
    dataset = MattingDataset(data, cache, replace(CONFIG, things=(("people_portraits", stem),)), 5)
    assert [subject.image.stem for subject in dataset.collection.things] == [stem]
    assert stem not in [subject.image.stem for subject in dataset.collection.all_subjects()]


def test_batches_hold_the_same_pixels_and_resume() -> None:
    config = TrainConfig(steps=20)
    whole = list(batch_keys(config, 0))
    assert list(batch_keys(config, 7)) == whole[7:]
    for batch in whole:
        pixels = sum(key.height * key.width for key in batch)
        assert 0.6 * config.pixels_per_batch < pixels <= config.pixels_per_batch
    indices = [key.number for batch in whole for key in batch]
    assert len(set(indices)) == len(indices)


def test_pairs_are_frames_of_one_still_scene(data: Path, cache: Path) -> None:
    """In the wanted share of the batches; alpha is the same, and the image nearly so."""
    config = replace(TrainConfig(steps=200), pairs=0.3, loss=LossConfig(steady=1.0))
    batches = list(batch_keys(config, 0))
    in_pairs = [batch for batch in batches if batch[0].frame is not None]
    assert 40 <= len(in_pairs) <= 80
    for batch in in_pairs:
        assert [key.frame for key in batch] == [0, 1] * (len(batch) // 2)
        assert [key.number for key in batch[0::2]] == [key.number for key in batch[1::2]]
    scenes = [key.number for batch in batches for key in batch if key.frame != 1]
    assert len(set(scenes)) == len(scenes)
    samples, _ = open_samples(find_preset("lite"), config, None, DataFolders(data, cache=cache))
    differences = []
    for index in range(6):
        one, other, next_scene = (samples[Key(later, 64, 64, frame)] for later, frame in ((index, 0), (index, 1), (index + 1, 0)))
        np.testing.assert_array_equal(one.alpha, other.alpha)
        np.testing.assert_array_equal(one.rgb, samples[Key(index, 64, 64, 0)].rgb)
        apart, scenes = (float(np.abs(one.rgb.astype(float) - seen.rgb).mean()) for seen in (other, next_scene))
        assert 0 < apart < scenes
        differences.append(apart)
    assert np.mean(differences) < 20
    with pytest.raises(RunError, match="no pairs of frames"):
        open_samples(find_preset("folder"), config, FolderImages([]), DataFolders(data))


def test_crops_grow_as_training_goes_on() -> None:
    config = TrainConfig(steps=600)
    sides = [batch[0].height * batch[0].width for batch in batch_keys(config, 0)]
    assert np.mean(sides[:200]) < 0.8 * np.mean(sides[-200:])
    level = list(batch_keys(replace(config, final_shares=()), 0))
    start = [batch[0].height * batch[0].width for batch in level]
    assert np.mean(start[-200:]) < np.mean(sides[-200:])


def test_every_ingredient_can_be_left_out() -> None:
    whole = recipe_without(())
    assert all(recipe_without((name,)) != whole for name in INGREDIENTS)
    assert recipe_without(("crowd", "tilt")).scene == replace(SceneConfig(), crowd=(1.0,), tilt=0.0)
    with pytest.raises(RunError, match="no ingredient 'salt'; it has composites"):
        recipe_without(("salt",))


def test_runs_without_an_ingredient(data: Path, cache: Path) -> None:
    folders = DataFolders(data, cache=cache)
    config = replace(TrainConfig(), without=("composites", "empty", "faults"))
    samples, _ = open_samples(find_preset("lite"), config, None, folders)
    assert all(not samples[Key(index, 64, 64)].contrast.any() for index in range(10))  # composites alone know what is behind
    with pytest.raises(RunError, match="--without is for preset lite"):
        open_samples(find_preset("folder"), config, FolderImages([]), folders)
