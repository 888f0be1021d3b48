"""Test strategies against the network called by hand, and against rules written out pixel by pixel."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from streammat.engines.network.gfm import GFM, Head, Prediction, fuse
from streammat.engines.network.rostas import CLASSES
from streammat.train.evaluation.predictors.strategies import (
    HYBRID,
    SINGLE,
    Strategy,
    enlarge,
    fuse_enlarged,
    glance_trimap,
    input_size,
    median_ensemble,
    parse_strategy,
    predict_alpha,
    predict_alphas,
    ratio_grid,
    shrink,
)


def network(rosta: str = "TT", kind: str = "lite") -> GFM:
    torch.manual_seed(0)
    return GFM(kind, rosta).eval()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (210, 300, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3).astype(np.uint8)


def test_sizes_are_floored_and_bounded() -> None:
    assert input_size(1080, 1920, Fraction(1, 3)) == (352, 640)
    assert input_size(1080, 1920, Fraction(1, 2)) == (512, 960)
    assert input_size(1080, 1920, Fraction(5, 13)) == (384, 736)
    assert input_size(96, 960, Fraction(1, 3)) == (32, 320)  # exactly a third, whatever floats make of it
    assert input_size(3000, 5000, Fraction(1, 2)) == (1472, 1600)
    assert input_size(1, 50, Fraction(1, 3)) == (32, 32)


def test_names() -> None:
    assert parse_strategy("hybrid") == HYBRID == Strategy(Fraction(1, 3), Fraction(1, 2))
    assert parse_strategy("single") == parse_strategy("5/13") == SINGLE
    assert parse_strategy("0.25:1/2") == Strategy(Fraction(1, 4), Fraction(1, 2))
    assert [str(parse_strategy(name)) for name in ("hybrid", "1/2")] == ["hybrid 1/3, 1/2", "single 1/2"]
    for wrong in ("fast", "1/0", "1:2:3", ""):
        with pytest.raises(ValueError, match="expected hybrid, single, a ratio"):
            parse_strategy(wrong)
    for wrong in ("0", "3/2", "1/2:-1"):
        with pytest.raises(ValueError, match="not above 0 and at most 1"):
            parse_strategy(wrong)


def test_grid_pairs_ratios_as_table_6_does() -> None:
    grid = ratio_grid([Fraction(1, 2), Fraction(1, 3)])
    assert [str(strategy) for strategy in grid] == ["single 1/2", "hybrid 1/3, 1/2", "single 1/3"]


def test_shrinking_is_that_of_the_published_test(rgb: np.ndarray) -> None:
    transform = pytest.importorskip("skimage.transform")
    for size in ((96, 128), (64, 256), (210, 96)):
        np.testing.assert_allclose(shrink(rgb, size), transform.resize(rgb, size) * 255, atol=1e-2)


def test_single_pass_is_the_network_between_two_resizings(rgb: np.ndarray) -> None:
    model = network()
    small = torch.from_numpy(shrink(rgb, (64, 96)))
    with torch.no_grad():
        inside = model.predict(small.permute(2, 0, 1)[None]).alpha[0, 0].numpy()
    alpha = predict_alpha(model, rgb, SINGLE)
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, cv2.resize(inside, (300, 210)), atol=1e-6)


def by_brightness(rosta: str) -> GFM:
    """A hard network whose answer is known: dark is background, bright foreground, and the focus is the red of its input."""
    model = network(rosta, "r34")

    def predict(image: torch.Tensor) -> Prediction:
        grey = image.mean(dim=1, keepdim=True)
        levels = [grey < 110, (grey >= 110) & (grey < 145), grey >= 145] if rosta == "TT" else [grey < 127, grey >= 127]
        glance, focus = torch.cat(levels, dim=1) * 8.0 - 4.0, image[:, :1] / 255.0
        alpha = fuse(torch.sigmoid(glance), focus, rosta)
        return Prediction({rosta: Head(glance, focus, alpha)}, alpha)

    model.predict = predict
    return model


def seen_classes(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What `by_brightness` makes of an image at a size, for TT: 0, 1, 2."""
    return np.digitize(shrink(rgb, size).mean(axis=2), [110, 145])


@pytest.fixture(scope="module")
def spots() -> np.ndarray:
    """Large areas of every brightness."""
    noise = cv2.GaussianBlur(np.random.default_rng(2).normal(size=(210, 300)).astype(np.float32), (0, 0), 12)
    grey = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)
    return np.clip(grey[:, :, None] + np.float32([12, 0, -12]), 0, 255).astype(np.uint8)


def test_hybrid_takes_each_part_from_its_own_pass(spots: np.ndarray) -> None:
    classes, focus = seen_classes(spots, (64, 96)), shrink(spots, (96, 128))[:, :, 0] / 255
    expected = cv2.resize(focus, (300, 210))
    for value, certain in ((0, 0.0), (2, 1.0)):
        whole = cv2.resize((classes == value).astype(np.float32), (300, 210)) > 0.9999
        assert 0.05 < whole.mean() < 0.7
        expected[whole] = certain
    np.testing.assert_allclose(predict_alpha(by_brightness("TT"), spots, HYBRID), expected, atol=1e-5)


@pytest.mark.parametrize(("rosta", "sign"), [("FT", 1), ("BT", -1)])
def test_hybrid_of_two_classes(spots: np.ndarray, rosta: str, sign: int) -> None:
    bright = (shrink(spots, (64, 96)).mean(axis=2) >= 127).astype(np.float32)
    focus = shrink(spots, (96, 128))[:, :, 0] / 255
    expected = cv2.resize(bright, (300, 210)) + sign * cv2.resize(focus, (300, 210))
    np.testing.assert_allclose(predict_alpha(by_brightness(rosta), spots, HYBRID), expected.clip(0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("rosta", "expected"), [("TT", [0.0, 0.3, 0.3, 1.0]), ("FT", [0.3, 0.8, 1.0, 1.0]), ("BT", [0.0, 0.2, 0.6, 0.7])]
)
def test_fusion_of_decided_classes(rosta: str, expected: list[float]) -> None:
    last = np.array([0.0, 0.5, 0.9, 1.0], np.float32)
    between = np.zeros_like(last)
    weights = np.stack([1 - last, between, last] if rosta == "TT" else [1 - last, last], axis=-1)[None]
    alpha = fuse_enlarged(weights, np.full((1, 4), 0.3, np.float32), rosta, soft=False)
    np.testing.assert_allclose(alpha[0], expected, atol=1e-6)


@pytest.mark.parametrize("rosta", ["TT", "FT", "BT"])
def test_fusion_by_expectation_is_the_networks(rosta: str) -> None:
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(CLASSES[rosta]), (4, 5)).astype(np.float32)
    focus = rng.uniform(size=(4, 5)).astype(np.float32)
    theirs = fuse(torch.from_numpy(weights).permute(2, 0, 1)[None], torch.from_numpy(focus)[None, None], rosta, soft=True)
    np.testing.assert_allclose(fuse_enlarged(weights, focus, rosta, soft=True), theirs[0, 0].numpy(), atol=1e-6)


def test_rim_integrates_the_three_mattes(rgb: np.ndarray) -> None:
    model = network("RIM")
    alpha = predict_alpha(model, rgb, HYBRID)
    sizes = [torch.from_numpy(shrink(rgb, size)).permute(2, 0, 1)[None] for size in ((64, 96), (96, 128))]
    with torch.no_grad():
        glance, focus = (model.predict(tensor) for tensor in sizes)
        parts = []
        for rosta in ("TT", "FT", "BT"):
            weights = model.probability(glance.heads[rosta].glance)[0].permute(1, 2, 0).numpy()
            seen = focus.heads[rosta].focus[0, 0].numpy()[:, :, None]
            parts.append(fuse_enlarged(enlarge(weights, (210, 300)), enlarge(seen, (210, 300))[:, :, 0], rosta, soft=True))
        expected = model.integrate(torch.from_numpy(np.stack(parts))[None])[0, 0].numpy()
    np.testing.assert_allclose(alpha, expected.clip(0, 1), atol=1e-5)


def test_a_grid_gives_what_single_calls_give(rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    grid = ratio_grid([Fraction(1, 3), Fraction(1, 2)])
    alone = [predict_alpha(model, rgb, strategy) for strategy in grid]
    passes = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda image: passes.append(image.shape) or predict(image))
    together = predict_alphas(model, rgb, grid)
    assert len(passes) == 2
    assert list(together) == grid
    for one, other in zip(alone, together.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(alone[1], alone[2])


@pytest.mark.parametrize("shape", [(1, 1), (7, 45), (33, 31), (101, 67)])
@pytest.mark.parametrize("strategy", [HYBRID, SINGLE])
def test_small_and_odd_images(shape: tuple[int, int], strategy: Strategy) -> None:
    alpha = predict_alpha(network(), np.full((*shape, 3), 90, np.uint8), strategy)
    assert alpha.shape == shape
    assert 0.0 <= alpha.min() <= alpha.max() <= 1.0


def test_images_must_be_images() -> None:
    with pytest.raises(ValueError, match=r"image is float32 \(4, 4, 3\); expected uint8"):
        predict_alpha(network(), np.zeros((4, 4, 3), np.float32))


def test_trimap_is_certain_only_where_the_glance_is(spots: np.ndarray) -> None:
    classes = seen_classes(spots, (96, 128))
    expected = np.full(spots.shape[:2], 128, np.uint8)
    for value, level in ((0, 0), (2, 255)):
        expected[cv2.resize((classes == value).astype(np.float32), (300, 210)) > 0.9999] = level
    trimap = glance_trimap(by_brightness("TT"), spots, Fraction(1, 2))
    assert trimap.dtype == np.uint8
    np.testing.assert_array_equal(trimap, expected)
    assert set(np.unique(trimap)) == {0, 128, 255}


def test_rim_gives_the_trimap_of_its_tt(rgb: np.ndarray) -> None:
    assert glance_trimap(network("RIM"), rgb).shape == rgb.shape[:2]


def test_a_glance_without_transition_is_no_trimap(rgb: np.ndarray) -> None:
    with pytest.raises(ValueError, match="needs TT or RIM"):
        glance_trimap(network("FT"), rgb)


def test_median_of_an_ensemble() -> None:
    mattes = [np.full((2, 2), value, np.float32) for value in (0.9, 0.1, 0.4)]
    np.testing.assert_allclose(median_ensemble(mattes), 0.4)
    assert median_ensemble(mattes).dtype == np.float32
    for wrong in ([], [mattes[0], np.zeros((3, 2), np.float32)]):
        with pytest.raises(ValueError, match="at least one, all equal"):
            median_ensemble(wrong)
