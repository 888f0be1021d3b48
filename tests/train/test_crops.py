"""Crops: sizes, places, targets, order and repeatability."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import make_am2k, make_plain

from streammat.train.data.crops import CropDataset, CropOptions
from streammat.train.data.images import Layers
from streammat.train.data.layouts import FolderImages, open_layout
from streammat.train.data.samples import ImageSet, Key
from streammat.train.data.targets import rosta_classes

HEADS = ("TT", "FT", "BT")
PLAIN = CropOptions(transition=0.0, flip=0.0)


class Drawn:
    """Images whose red and green tell each pixel's column and row (modulo 256), with a disc in the upper left."""

    def __init__(self, height: int, width: int, count: int = 5) -> None:
        y, x = np.mgrid[:height, :width]
        rgb = np.dstack([x % 256, y % 256, np.zeros_like(x)]).astype(np.uint8)
        alpha = np.zeros((height, width), np.uint8)
        cv2.circle(alpha, (width // 4, height // 4), height // 8, 255, -1)
        background = np.broadcast_to(np.array([170, 140, 200], np.uint8), rgb.shape)
        self.layers = Layers(rgb, alpha, np.full_like(rgb, 200), np.ascontiguousarray(background))
        self.count = count
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.count

    def load(self, index: int, rng: np.random.Generator) -> Layers:
        self.loaded.append(index)
        return self.layers


def sample_at(pictures: ImageSet, options: CropOptions, *, index: int = 0, size: int = 320, stride: int = 1, seed: int = 0):
    return CropDataset(pictures, HEADS, stride, seed, options)[Key(index, size, size)]


def test_options_are_those_of_the_paper() -> None:
    assert CropOptions() == CropOptions(sides=(640, 960, 1280), transition=0.5, flip=0.5)


@pytest.mark.parametrize("stride", [1, 2])
def test_shapes(stride: int) -> None:
    sample = CropDataset(Drawn(700, 900), HEADS, stride, 0)[Key(3, 320, 320)]
    assert sample.rgb.shape == (320, 320, 3)
    assert sample.alpha.shape == sample.contrast.shape == (320, 320)
    assert {name: classes.shape for name, classes in sample.classes.items()} == dict.fromkeys(HEADS, (320 // stride,) * 2)
    planes = (sample.rgb, sample.alpha, sample.contrast, *sample.classes.values())
    assert all(plane.dtype == np.uint8 and plane.flags.c_contiguous for plane in planes)
    assert list(CropDataset(Drawn(700, 900), ("BT",), stride, 0)[Key(3, 320, 320)].classes) == ["BT"]


@pytest.mark.parametrize("side", [320, 400])
def test_targets_are_those_of_the_whole_image(side: int) -> None:
    pictures = Drawn(700, 900, count=1)
    alpha = pictures.layers.alpha
    seen = set()
    for index in range(12):
        sample = sample_at(pictures, CropOptions((side,), 1.0, 0.0), index=index, size=side)
        left, top = int(sample.rgb[0, 0, 0]), int(sample.rgb[0, 0, 1])  # the ring's crops start before column 256
        window = np.s_[top : top + side, left : left + side]
        np.testing.assert_array_equal(sample.alpha, alpha[window])
        for rosta, classes in sample.classes.items():
            np.testing.assert_array_equal(classes, rosta_classes(alpha, rosta)[window])
        seen.add((left, top))
    assert len(seen) > 6


def test_targets_are_sampled_at_the_stride() -> None:
    fine, coarse = (sample_at(Drawn(700, 900), PLAIN, stride=stride) for stride in (1, 4))
    for rosta in HEADS:
        assert coarse.classes[rosta].shape == (80, 80)
        assert (coarse.classes[rosta] == fine.classes[rosta][2::4, 2::4]).mean() > 0.99


def test_crop_sides_are_drawn_and_shrink_to_fit() -> None:
    def side(sample) -> int:
        return round(float(np.median(np.diff(sample.rgb[100:110, :, 0].astype(int), axis=1) % 256)) * 320)

    pictures = Drawn(1300, 1400)
    drawn = {side(sample_at(pictures, CropOptions(flip=0.0), index=index)) for index in range(20)}
    assert drawn == {640, 960, 1280}
    assert side(sample_at(Drawn(640, 1000), CropOptions((1280,), 0.5, 0.0))) == 640
    # An image smaller than the training size is enlarged.
    small = sample_at(Drawn(100, 160), PLAIN)
    assert small.alpha.shape == (320, 320)
    assert np.ptp(small.rgb[:, 0, 1].astype(int)) >= 98
    wide = CropDataset(Drawn(640, 1000), HEADS, 1, 0, PLAIN)[Key(0, 160, 320)]
    assert np.ptp(wide.rgb[:, 0, 1].astype(int)) < 256 * 2
    assert wide.rgb.shape == (160, 320, 3)


def test_centres_lie_in_the_transition() -> None:
    pictures = Drawn(900, 1300, count=1)

    def centred(options: CropOptions) -> float:
        hits = [sample_at(pictures, options, index=i, size=64).classes["TT"][32, 32] == 1 for i in range(40)]
        return float(np.mean(hits))

    assert centred(CropOptions((64,), 1.0)) == 1.0
    assert 0.3 < centred(CropOptions((64,), 0.5)) < 0.7
    assert centred(CropOptions((64,), 0.0)) < 0.15


def test_flips() -> None:
    straight, flipped = (sample_at(Drawn(700, 900), CropOptions(flip=flip), stride=2) for flip in (0.0, 1.0))
    np.testing.assert_array_equal(straight.rgb[:, ::-1], flipped.rgb)
    np.testing.assert_array_equal(straight.alpha[:, ::-1], flipped.alpha)
    for rosta in HEADS:
        np.testing.assert_array_equal(straight.classes[rosta][:, ::-1], flipped.classes[rosta])
    dataset = CropDataset(Drawn(700, 900, count=1), (), 1, 0, CropOptions((640,), 0.0))
    rising = [np.diff(dataset[Key(i, 64, 64)].rgb[0, :, 0].astype(int) % 256)[0] for i in range(40)]
    assert 8 < sum(step > 0 for step in rising) < 32


def test_contrast_is_the_mean_difference() -> None:
    np.testing.assert_array_equal(sample_at(Drawn(700, 900), PLAIN).contrast, (30 + 60 + 0) // 3)


def test_samples_depend_on_seed_and_index_alone() -> None:
    first, second = (CropDataset(Drawn(700, 900), HEADS, 2, 4) for _ in range(2))
    order = [7, 0, 13]
    kept = {index: first[Key(index, 64, 64)] for index in order}
    for index in reversed(order):
        again = second[Key(index, 64, 64)]
        np.testing.assert_array_equal(kept[index].rgb, again.rgb)
        np.testing.assert_array_equal(kept[index].classes["TT"], again.classes["TT"])
    other = CropDataset(Drawn(700, 900), HEADS, 2, 5)
    assert any(not np.array_equal(kept[index].rgb, other[Key(index, 64, 64)].rgb) for index in order)


def test_each_epoch_shows_every_image_once_in_its_own_order() -> None:
    pictures = Drawn(64, 64, count=17)
    dataset = CropDataset(pictures, (), 1, 9)
    for index in range(51):
        dataset[Key(index, 32, 32)]
    epochs = [tuple(pictures.loaded[start : start + 17]) for start in (0, 17, 34)]
    assert all(sorted(epoch) == list(range(17)) for epoch in epochs)
    assert len(set(epochs)) == 3


def test_files_end_to_end_and_in_workers(tmp_path: Path) -> None:
    dataset = CropDataset(FolderImages(open_layout(make_am2k(tmp_path / "a", layers=True), "train")), HEADS, 2, 0)
    sample = dataset[Key(0, 96, 96)]
    assert sample.contrast.max() > 50
    assert set(np.unique(sample.classes["TT"])) <= {0, 1, 2}
    copied = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copied[Key(0, 96, 96)].rgb, sample.rgb)
    plain = CropDataset(FolderImages(open_layout(make_plain(tmp_path / "b"), "train")), HEADS, 2, 0)
    assert plain[Key(1, 96, 96)].contrast.max() == 0
