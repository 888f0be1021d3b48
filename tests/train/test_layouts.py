"""Readers of the released data sets, on small trees of the same layout, whole and broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic import (
    make_am2k,
    make_backgrounds,
    make_composition1k,
    make_dapm,
    make_image,
    make_p3m10k,
    make_plain,
    write,
)

from streammat.train.data.layouts import FolderImages, load_layers, load_pair, load_trimap, open_backgrounds, open_layout
from streammat.train.errors import DataError

RNG = np.random.default_rng(0)


def relative(root: Path, entry: object) -> dict[str, str]:
    return {k: v.relative_to(root).as_posix() for k, v in vars(entry).items() if isinstance(v, Path)}


def test_am2k(tmp_path: Path) -> None:
    root = make_am2k(tmp_path)
    train = open_layout(root, "train")
    assert [entry.name for entry in train] == ["m_00000000", "m_00000001", "m_00000002"]
    assert relative(root, train[1]) == {"image": "train/original/m_00000001.jpg", "alpha": "train/mask/m_00000001.png"}
    validation = open_layout(root, "val")
    assert relative(root, validation[0])["trimap"] == "validation/trimap/m_00000000.png"


def test_am2k_with_layers(tmp_path: Path) -> None:
    root = make_am2k(tmp_path, layers=True)
    entries = open_layout(root, "train", "am2k")
    assert set(relative(root, entries[0])) == {"image", "alpha", "foreground", "background", "original_denoise", "fg_denoise"}
    layers = FolderImages(entries).load(1, RNG)
    parts = make_image(1)
    np.testing.assert_array_equal(layers.foreground, parts["fg"])
    np.testing.assert_array_equal(layers.background, parts["bg"])
    np.testing.assert_array_equal(layers.alpha, parts["alpha"])


def test_p3m10k(tmp_path: Path) -> None:
    root = make_p3m10k(tmp_path)
    assert {entry.image.parent.name for entry in open_layout(root, "train")} == {"blurred_image"}
    both = open_layout(root, "validation")
    assert both == open_layout(root, "P3M-500-P") + open_layout(root, "P3M-500-NP")
    assert [entry.image.parent.name for entry in both] == ["blurred_image"] * 2 + ["original_image"] * 2
    assert all(entry.trimap for entry in both)
    shutil.rmtree(root / "validation/P3M-500-NP")
    with pytest.raises(DataError, match=r"nearest layout is P3M-10k, which lacks validation/P3M-500-NP/original_image and "):
        open_layout(root, "validation")
    assert len(open_layout(root, "P3M-500-P")) == 2


def test_composition1k_test_split(tmp_path: Path) -> None:
    root = make_composition1k(tmp_path)
    entries = open_layout(root, "test")
    assert len(entries) == 40
    assert entries[23].name == "test 1_3"
    assert relative(root, entries[23]) == {
        "image": "Test_set/Adobe-licensed images/fg/test 1.png",
        "foreground": "Test_set/Adobe-licensed images/fg/test 1.png",
        "alpha": "Test_set/Adobe-licensed images/alpha/test 1.png",
        "trimap": "Test_set/Adobe-licensed images/trimaps/test 1_3.png",
        "background": "VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg",
    }
    layers = load_layers(entries[23])
    # The backgrounds are of one colour, their number; both the small and the large ones cover the image.
    assert layers.background.shape == layers.rgb.shape == (120, 100, 3)
    assert np.abs(layers.background.astype(int) - 23).max() <= 2
    weight = layers.alpha[:, :, None] / 255.0
    expected = weight * layers.foreground + (1 - weight) * layers.background
    assert (expected - layers.rgb).min() > -1e-3
    assert (expected - layers.rgb).max() < 1
    np.testing.assert_array_equal(load_pair(entries[23])[0], layers.rgb)
    shutil.rmtree(root / "VOCdevkit")
    with pytest.raises(DataError, match=r"Composition-1k, which lacks Test_set/bg or .*VOC2012/JPEGImages"):
        open_layout(root, "test")


def test_composition1k_training_split(tmp_path: Path) -> None:
    root = make_composition1k(tmp_path)
    entries = open_layout(root, "train")
    assert [entry.name for entry in entries] == ["training 0", "training 1"]
    assert entries[1].foreground == root / "Training_set/Other/fg/training 1.png"
    assert not any(entry.composed for entry in entries)
    for number in range(100):
        write(root / f"train2017/{number:012}.jpg", np.full((8, 8, 3), 100, np.uint8))
    for number in range(100):
        write(root / f"train2017/training 1_{number}.png", np.full((8, 8, 3), 100, np.uint8))
    composed = open_layout(root, "train")
    assert len(composed) == 200
    assert composed[50].background == root / "train2017/000000000050.jpg"
    assert composed[150].background == root / "train2017/training 1_50.png"
    (root / "train2017/000000000007.jpg").unlink()
    with pytest.raises(DataError, match=r"COCO_train2014_000000000007.jpg is listed but not in .*train2017"):
        open_layout(root, "train")


def test_composition1k_with_broken_lists(tmp_path: Path) -> None:
    root = make_composition1k(tmp_path)
    names = root / "Training_set/training_bg_names.txt"
    names.write_text("\n".join(names.read_text().split()[:-1]))
    with pytest.raises(DataError, match=r"2 foregrounds and 199 backgrounds are listed; expected 100 backgrounds for each"):
        open_layout(root, "train")
    (root / "Test_set/Adobe-licensed images/alpha/test 1.png").unlink()
    with pytest.raises(DataError, match=r"alpha/test 1.png is listed but in none of Adobe-licensed images"):
        open_layout(root, "test")


def test_dapm(tmp_path: Path) -> None:
    root = make_dapm(tmp_path)
    for split, folder in (("train", "training"), ("test", "testing")):
        entries = open_layout(root, split)
        assert [relative(root, entry) for entry in entries] == [
            {"image": f"{folder}/{index:05}.png", "alpha": f"{folder}/{index:05}_matte.png"} for index in range(2)
        ]
    (root / "testing/00001_matte.png").unlink()
    with pytest.raises(DataError, match=r"00001.png has no matte .*\(1 of 2 are alone\)"):
        open_layout(root, "test")


@pytest.mark.parametrize(
    ("place", "image", "alpha"),
    [(".", "img", "mask"), ("train", "images", "alpha"), ("training", "input", "matte"), ("train/one", "image", "mask")],
)
def test_plain(tmp_path: Path, place: str, image: str, alpha: str) -> None:
    make_plain(tmp_path / place, image=image, alpha=alpha)
    entries = open_layout(tmp_path, "train")
    assert [entry.name for entry in entries] == ["000", "001", "002"]
    assert entries[0].alpha == tmp_path / place / alpha / "000.png"


def test_plain_of_several_sets(tmp_path: Path) -> None:
    for place in ("train/cats", "train/people", "val/video/dog"):
        make_plain(tmp_path / place, 2)
    make_plain(tmp_path / "train/people", 2, alpha="mask")
    (tmp_path / "train/people/img/.hidden.jpg").touch()
    (tmp_path / "train/people/img/notes.txt").touch()
    entries = open_layout(tmp_path, "train")
    assert [entry.name for entry in entries] == ["train/cats/000", "train/cats/001", "train/people/000", "train/people/001"]
    assert entries[2].alpha.parent.name == "alpha"  # a matte tells more than a mask
    assert [entry.name for entry in open_layout(tmp_path, "validation")] == ["000", "001"]


def test_a_missing_split_is_not_taken_from_another(tmp_path: Path) -> None:
    make_plain(tmp_path / "data/train/cats")
    for root in (tmp_path / "data", tmp_path):
        with pytest.raises(
            DataError, match=r"has no split 'validation' .* which lacks img/ beside alpha/, matte/, mask/, in validation/ or"
        ):
            open_layout(root, "validation")


def test_wrong_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data set folder .*nowhere does not exist; give the folder"):
        open_layout(tmp_path / "nowhere", "train")
    make_am2k(tmp_path / "half")
    shutil.rmtree(tmp_path / "half/train/mask")
    with pytest.raises(
        DataError,
        match=r"half has no split 'train' of a known layout \(AM-2k or PM-10k, P3M-10k, .*plain\): found in .*half/: train/ validation/, train/: original/; "
        r"the nearest layout is AM-2k or PM-10k, which lacks train/mask$",
    ):
        open_layout(tmp_path / "half", "train")
    with pytest.raises(DataError, match=r"nearest layout is P3M-10k, which lacks train/blurred_image and train/mask$"):
        open_layout(tmp_path / "half", "train", "p3m")
    make_plain(tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare/alpha")
    with pytest.raises(DataError, match=r"bare has img/ but no mattes; expected alpha or matte or mask beside it"):
        open_layout(tmp_path / "bare", "train")
    with pytest.raises(DataError, match="unknown layout 'am3k'; expected auto or one of am2k, p3m"):
        open_layout(tmp_path / "half", "train", "am3k")
    with pytest.raises(DataError, match="unknown split 'P3M-500-P'; expected one of train, validation"):
        open_layout(tmp_path / "half", "P3M-500-P", "am2k")


def test_images_and_mattes_without_partners(tmp_path: Path) -> None:
    root = make_plain(tmp_path)
    write(root / "img/003.jpg", make_image(3)["image"])
    write(root / "img/004.jpg", make_image(4)["image"])
    with pytest.raises(DataError, match=r"003.jpg has no matte of the same name in .*alpha \(2 of 5 are alone\)"):
        open_layout(root, "train")
    for index in (0, 3, 4):
        (root / f"img/{index:03}.jpg").unlink()
    with pytest.raises(DataError, match=r"000.png has no image of the same name in .*img \(1 of 3 are alone\)"):
        open_layout(root, "train")
    write(root / "img/001.png", make_image(1)["image"])
    with pytest.raises(DataError, match=r"img has both 001.jpg and 001.png; keep one of them"):
        open_layout(root, "train")
    for path in (root / "img").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"img has no images; expected .jpg"):
        open_layout(root, "train")


def test_sizes_are_checked_when_a_image_is_loaded(tmp_path: Path) -> None:
    root = make_am2k(tmp_path, layers=True)
    images = FolderImages(open_layout(root, "train"))
    write(root / "train/bg/m_00000001.png", make_image(1)["bg"][:60])
    with pytest.raises(DataError, match=r"bg/m_00000001.png is 100x60 pixels but .*original/m_00000001.jpg is 100x120"):
        images.load(1, RNG)
    write(root / "train/mask/m_00000000.png", make_image(0)["alpha"][:, 1:])
    with pytest.raises(DataError, match=r"mask/m_00000000.png is 99x120 pixels but .*m_00000000.jpg is 100x120"):
        images.load(0, RNG)
    images.load(2, RNG)


def test_broken_files_are_named_when_a_image_is_loaded(tmp_path: Path) -> None:
    root = make_plain(tmp_path, 4)
    content = (root / "img/000.jpg").read_bytes()
    (root / "img/000.jpg").write_bytes(content[:-100])
    (root / "img/001.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (root / "alpha/002.png").write_bytes(b"")
    write(root / "alpha/003.png", make_image(3)["image"])
    images = FolderImages(open_layout(root, "train"))
    assert len(images) == 4
    for index, message in enumerate(
        ("000.jpg is cut off", "001.jpg cannot be decoded", "002.png is empty", "003.png is a coloured")
    ):
        with pytest.raises(DataError, match=message):
            images.load(index, RNG)


@pytest.mark.parametrize("largest", [0, 1])
def test_empty_mattes_cannot_be_trained_on(tmp_path: Path, largest: int) -> None:
    root = make_plain(tmp_path)
    write(root / "alpha/001.png", np.minimum(make_image(1)["alpha"], largest))
    entries = open_layout(root, "train")
    with pytest.raises(DataError, match=rf"alpha/001.png is empty \(largest value {largest} of 255\); remove the pair"):
        FolderImages(entries).load(1, RNG)
    assert load_pair(entries[1])[1].max() == largest  # an evaluation may well hold one


def test_without_layers_the_contrast_is_nothing(tmp_path: Path) -> None:
    layers = FolderImages(open_layout(make_plain(tmp_path), "train")).load(0, RNG)
    np.testing.assert_array_equal(layers.foreground, layers.rgb)
    np.testing.assert_array_equal(layers.background, layers.rgb)


def test_deep_mattes(tmp_path: Path) -> None:
    root = make_plain(tmp_path)
    alpha = make_image(0)["alpha"]
    write(root / "alpha/000.png", alpha.astype(np.uint16) * 257)
    np.testing.assert_array_equal(load_pair(open_layout(root, "train")[0])[1], alpha)


def test_trimaps(tmp_path: Path) -> None:
    root = make_am2k(tmp_path)
    given, alpha = open_layout(root, "validation")[0], make_image(0)["alpha"]
    np.testing.assert_array_equal(load_trimap(given, alpha), make_image(0)["trimap"])
    made = load_trimap(open_layout(root, "train")[0], alpha)
    assert set(np.unique(made)) == {0, 128, 255}
    assert (made == 128).sum() > (make_image(0)["trimap"] == 128).sum()
    grey = make_image(0)["trimap"].copy()
    grey[grey == 128] = 127
    write(given.trimap, grey)
    np.testing.assert_array_equal(load_trimap(given, alpha), make_image(0)["trimap"])


def test_backgrounds(tmp_path: Path) -> None:
    root = make_backgrounds(tmp_path / "bg20k", denoised=True)
    entries = open_backgrounds(root)
    assert [entry.image.parent.name for entry in entries] == ["train"] * 3
    assert entries[2].denoise == root / "train_denoise/h_000002.jpg"
    assert [entry.image.parent.name for entry in open_backgrounds(root, "val")] == ["testval"] * 3
    write(tmp_path / "coco/train2017/1.jpg", make_image(0)["bg"])
    assert open_backgrounds(tmp_path / "coco")[0].denoise is None
    write(tmp_path / "any/rooms/1.jpg", make_image(0)["bg"])
    write(tmp_path / "any/2.png", make_image(0)["bg"])
    assert [entry.image.name for entry in open_backgrounds(tmp_path / "any")] == ["2.png", "1.jpg"]


def test_backgrounds_of_one_name_keep_their_own_denoised_images(tmp_path: Path) -> None:
    for folder in ("any", "any_denoise"):
        for place in ("halls/1.jpg", "rooms/1.jpg"):
            write(tmp_path / folder / place, make_image(0)["bg"])
    found = {entry.image: entry.denoise for entry in open_backgrounds(tmp_path / "any")}
    assert found == {tmp_path / "any" / place: tmp_path / "any_denoise" / place for place in ("halls/1.jpg", "rooms/1.jpg")}


def test_backgrounds_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="background folder .*none does not exist"):
        open_backgrounds(tmp_path / "none")
    with pytest.raises(DataError, match="has no images; expected backgrounds"):
        open_backgrounds(tmp_path)
    with pytest.raises(DataError, match="unknown split 'x' of backgrounds"):
        open_backgrounds(tmp_path, "x")
    (make_backgrounds(tmp_path / "bg20k") / "testval").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"bg20k has no split 'validation'"):
        open_backgrounds(tmp_path / "bg20k", "validation")
