"""The steps of RSSN one by one, and composites as the training loop asks for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streammat.train.data.layouts import BackgroundEntry, Entry
from streammat.train.errors import DataError, RunError
from streammat.train.rssn.compose_sample import (
    ComposedImages,
    Rssn,
    Steps,
    add_noise,
    blend,
    blur_background,
    compose,
    denoise,
    draw_steps,
    fit_background,
)

NO_RSSN = Rssn(denoise=0.0, blur=0.0, noise=0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture if picture.ndim == 2 else picture[:, :, ::-1])
    return path


def test_blend_is_the_matting_equation() -> None:
    foreground, background = np.full((1, 3, 3), 200, np.uint8), np.full((1, 3, 3), 101, np.uint8)
    blended = blend(foreground, np.array([[0, 255, 100]], np.uint8), background)
    # 200 * 100 / 255 + 101 * 155 / 255 = 139.82, rounded and not cut
    np.testing.assert_array_equal(blended[0, :, 0], [101, 200, 140])
    with pytest.raises(ValueError, match="do not fit"):
        blend(foreground, np.zeros((2, 2), np.uint8), background)


def test_blur_averages_a_square() -> None:
    picture = np.zeros((101, 101, 3), np.uint8)
    picture[50, 50] = 250
    picture[49, 50] = 250
    np.testing.assert_array_equal(blur_background(picture, 5)[48:52, 48:53].reshape(-1, 3), np.full((20, 3), 20))
    assert blur_background(picture, 5)[55:].max() == 0
    assert blur_background(picture, 0) is picture
    np.testing.assert_array_equal(blur_background(np.full((8, 9, 3), 77, np.uint8), 60), np.full((8, 9, 3), 77))


def test_noise_clips_and_does_not_wrap() -> None:
    black, grey, white = (add_noise(rng(), np.full((64, 64, 3), level, np.uint8), 10.0) for level in (0, 128, 255))
    assert black.max() < 100
    assert white.min() > 155
    assert 9.5 < grey.std() < 10.5
    assert abs(grey.mean() - 128) < 0.5
    assert not np.array_equal(grey[:, :, 0], grey[:, :, 1]), "each channel has its own noise"


def test_denoise_removes_noise_and_keeps_edges() -> None:
    clean = np.full((48, 40, 3), 90, np.uint8)
    clean[:, 20:] = (200, 60, 30)
    noisy = add_noise(rng(), clean, 10.0)
    error = [np.sqrt(np.mean((picture.astype(float) - clean) ** 2)) for picture in (noisy, denoise(noisy))]
    assert error[1] < 0.4 * error[0]


def test_denoise_takes_grey_and_tiny_images() -> None:
    grey = np.repeat(rng().integers(100, 120, (6, 9, 1), np.uint8), 3, axis=2)
    clean = denoise(grey)
    assert clean.shape == grey.shape
    assert np.ptp(clean, axis=2).max() == 0
    assert abs(clean.mean() - grey.mean()) < 3


def test_background_covers_the_foreground_whole() -> None:
    wide = np.zeros((20, 100, 3), np.uint8)
    wide[:, :, 0] = np.arange(100)
    places = {int(fit_background(rng(seed), wide, 40, 60)[0, 0, 0]) for seed in range(12)}
    assert len(places) > 4
    fitted = fit_background(rng(), wide, 40, 60)
    assert fitted.shape == (40, 60, 3)
    # scaled by 2 in both directions: red rises by 30 over 60 columns
    assert abs(int(fitted[5, 59, 0]) - int(fitted[5, 0, 0]) - 29.5) <= 1.5
    assert fit_background(rng(), wide, 7, 5).shape == (7, 5, 3)


def test_steps_follow_their_probabilities() -> None:
    source = rng(1)
    steps = [draw_steps(source, Rssn(denoise=0.5, blur=0.25, noise=0.0)) for _ in range(2000)]
    assert abs(np.mean([step.denoise for step in steps]) - 0.5) < 0.04
    assert abs(np.mean([step.kernel > 0 for step in steps]) - 0.25) < 0.04
    assert not any(step.noise for step in steps)
    kernels = Counter(step.kernel for step in steps if step.kernel)
    assert set(kernels) == {20, 30, 40, 50, 60}  # the paper's five, and none between
    assert min(kernels.values()) > 60  # of 500
    assert draw_steps(source, NO_RSSN) == Steps(denoise=False, kernel=0, noise=False)


def test_ablations_agree_in_all_but_what_they_switch_off() -> None:
    whole, without = rng(3), rng(3)
    for _ in range(20):
        full, part = draw_steps(whole, Rssn()), draw_steps(without, Rssn(blur=0.0))
        assert part == replace(full, kernel=0)


@pytest.mark.parametrize(
    "options", [{"blur": 1.5}, {"denoise": -0.1}, {"kernels": (0, 5)}, {"kernels": ()}, {"noise_sigma": -1.0}]
)
def test_options_that_mean_nothing(options: dict) -> None:
    with pytest.raises(RunError, match="expected"):
        Rssn(**options)


def test_compose_returns_what_went_into_the_composite() -> None:
    foreground, alpha = np.full((30, 40, 3), 220, np.uint8), np.zeros((30, 40), np.uint8)
    alpha[:, 20:] = 255
    background = rng().integers(0, 100, (30, 40, 3), np.uint8)
    layers = compose(rng(), foreground, alpha, background, Steps(denoise=False, kernel=9, noise=False), 10.0)
    np.testing.assert_array_equal(layers.background, blur_background(background, 9))
    np.testing.assert_array_equal(layers.rgb[:, :20], layers.background[:, :20])
    assert (layers.rgb[:, 20:] == 220).all()
    noisy = compose(rng(), foreground, alpha, background, Steps(denoise=False, kernel=9, noise=True), 10.0)
    assert 8 < (noisy.rgb[:, 20:].astype(float) - 220).std() < 12
    assert noisy.foreground is foreground


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    found = []
    for number in range(3):
        alpha = np.zeros((24, 32), np.uint8)
        alpha[8:, 8:24] = 255
        picture = np.full((24, 32, 3), 100 + number, np.uint8)
        files = {name: write(tmp_path / name / f"{number}.png", picture) for name in ("original", "fg")}
        clean = write(tmp_path / "fg_denoise" / f"{number}.png", picture + 50)
        found.append(Entry(files["original"], write(tmp_path / f"mask/{number}.png", alpha), foreground=files["fg"], fg_denoise=clean))
    return found


@pytest.fixture
def backgrounds(tmp_path: Path) -> list[BackgroundEntry]:
    return [
        BackgroundEntry(
            write(tmp_path / f"bg/{number}.png", np.full((50, 50, 3), number, np.uint8)),
            write(tmp_path / f"bg_denoise/{number}.png", np.full((50, 50, 3), number + 20, np.uint8)),
        )
        for number in range(9)
    ]


def test_an_epoch_holds_every_foreground_on_its_own_backgrounds(entries, backgrounds) -> None:
    images = ComposedImages(entries, backgrounds, NO_RSSN, per_foreground=5, seed=4)
    assert len(images) == 15
    pairs = [images.pair(index) for index in range(15)]
    assert [entry for entry, _ in pairs] == [entry for entry in entries for _ in range(5)]
    assert len({behind.image for _, behind in pairs[:5]}) == 5
    again = ComposedImages(entries, backgrounds, NO_RSSN, per_foreground=5, seed=4)
    assert [again.pair(index) for index in reversed(range(15))] == pairs[::-1]
    other = ComposedImages(entries, backgrounds, NO_RSSN, per_foreground=5, seed=5)
    assert [other.pair(index) for index in range(15)] != pairs
    few = ComposedImages(entries, backgrounds[:2], NO_RSSN, per_foreground=5)
    assert {few.pair(index)[1] for index in range(15)} == set(backgrounds[:2])


def test_a_composite_follows_from_index_and_generator(entries, backgrounds) -> None:
    images = ComposedImages(entries, backgrounds, Rssn())
    one, two, other = (images.load(3, rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.rgb, two.rgb)
    assert one.rgb.shape == one.foreground.shape == one.background.shape == (24, 32, 3)
    assert not np.array_equal(one.rgb, other.rgb)


def test_denoised_files_are_read_for_both(entries, backgrounds) -> None:
    level = int(ComposedImages(entries, backgrounds, NO_RSSN).pair(6)[1].image.stem)
    plain = ComposedImages(entries, backgrounds, NO_RSSN).load(6, rng())
    clean = ComposedImages(entries, backgrounds, Rssn(denoise=1.0, blur=0.0, noise=0.0)).load(6, rng())
    assert [plain.rgb[20, 16, 0], plain.rgb[0, 0, 0]] == [101, level]
    assert [clean.rgb[20, 16, 0], clean.rgb[0, 0, 0]] == [151, level + 20]


def test_missing_denoised_files_are_said_at_once(entries, backgrounds) -> None:
    bare = [replace(entry, fg_denoise=None) for entry in entries]
    with pytest.raises(DataError, match=r"fg_denoise/.*3 of 3.*train layers --denoise --data"):
        ComposedImages(bare, backgrounds, Rssn())
    with pytest.raises(DataError, match=r"_denoise.*train layers --denoise --backgrounds"):
        ComposedImages(entries, [BackgroundEntry(entry.image) for entry in backgrounds], Rssn())
    assert len(ComposedImages(bare, backgrounds, Rssn(denoise=0.0))) == 15


def test_denoising_on_the_fly(entries, backgrounds) -> None:
    noisy = add_noise(rng(), np.full((24, 32, 3), 128, np.uint8), 10.0)
    assert entries[0].foreground is not None
    write(entries[0].foreground, noisy)
    bare, behind = [replace(entries[0], fg_denoise=None)], [BackgroundEntry(write(entries[0].image, noisy))]
    layers = ComposedImages(bare, behind, Rssn(denoise=1.0, blur=0.0, noise=0.0), denoise_now=True).load(0, rng())
    assert layers.foreground.std() < 0.5 * noisy.std()
    assert layers.background.std() < 0.5 * noisy.std()


def test_what_cannot_be_composed(entries, backgrounds) -> None:
    with pytest.raises(DataError, match=r"no foreground colours.*train layers --data"):
        ComposedImages([replace(entries[0], foreground=None)], backgrounds, NO_RSSN)
    with pytest.raises(DataError, match="0 backgrounds"):
        ComposedImages(entries, [], NO_RSSN)
    write(entries[0].alpha, np.zeros((24, 32), np.uint8))
    with pytest.raises(DataError, match="is empty"):
        ComposedImages(entries, backgrounds, NO_RSSN).load(0, rng())
    write(entries[1].alpha, np.full((9, 32), 255, np.uint8))
    with pytest.raises(DataError, match=r"32x24 pixels but .* is 32x9"):
        ComposedImages(entries, backgrounds, NO_RSSN).load(5, rng())
