"""Metrics against values worked by hand and against slow, plain versions of their definitions."""

from __future__ import annotations

import math
import time
from itertools import product

import cv2
import numpy as np
import pytest

from streammat.train.measures.metrics import conn, dtssd, grad, iou, largest_component, mad, messddt, mse, sad, sad_regions

TRUTH = np.array([[1.0, 1.0], [0.0, 0.0]])
GUESS = np.array([[0.9, 0.2], [0.6, 0.0]])


def smooth(rng: np.random.Generator, height: int, width: int, sigma: float = 3.0) -> np.ndarray:
    """A matte of blobs that reaches both 0 and 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigma)
    return np.clip(1.8 * (noise - noise.min()) / np.ptp(noise) - 0.4, 0.0, 1.0)


def plain_components(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """4-connected components in raster order of their first pixels."""
    seen: set[tuple[int, int]] = set()
    found = []
    for start in product(range(mask.shape[0]), range(mask.shape[1])):
        if not mask[start] or start in seen:
            continue
        seen.add(start)
        component = [start]
        for y, x in component:
            for there in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                inside = 0 <= there[0] < mask.shape[0] and 0 <= there[1] < mask.shape[1]
                if inside and mask[there] and there not in seen:
                    seen.add(there)
                    component.append(there)
        found.append(component)
    return found


def plain_conn(pred: np.ndarray, alpha: np.ndarray) -> float:
    """Connectivity error, pixel by pixel."""
    levels = np.arange(0, 1.1, 0.1)
    last = np.full(pred.shape, -1.0)
    for index in range(1, len(levels)):
        components = plain_components((pred >= levels[index]) & (alpha >= levels[index]))
        if not components:
            continue
        largest = set(max(components, key=len))  # the first of several
        for pixel in product(range(pred.shape[0]), range(pred.shape[1])):
            if last[pixel] < 0 and pixel not in largest:
                last[pixel] = levels[index - 1]
    last[last < 0] = 1.0
    total = 0.0
    for pixel in product(range(pred.shape[0]), range(pred.shape[1])):
        phi = [1 - (matte[pixel] - last[pixel]) * (matte[pixel] - last[pixel] >= 0.15) for matte in (pred, alpha)]
        total += abs(phi[0] - phi[1])
    return total / 1000


def plain_grad(pred: np.ndarray, alpha: np.ndarray) -> float:
    """Gradient error by direct sums of a sampled Gaussian and its derivative."""
    radius = 6  # 4 deviations
    at = np.arange(-radius, radius + 1)
    gauss = np.exp(-(at**2) / (2 * 1.4**2))
    gauss /= gauss.sum()
    slope = -at / 1.4**2 * gauss
    magnitudes = []
    for matte in (pred, alpha):
        padded = np.pad(matte, radius, mode="symmetric")
        parts = np.zeros((2, *matte.shape))
        for y, x in product(range(matte.shape[0]), range(matte.shape[1])):
            window = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            parts[0, y, x] = slope @ window @ gauss
            parts[1, y, x] = gauss @ window @ slope
        magnitudes.append(np.hypot(*parts))
    return float(((magnitudes[0] - magnitudes[1]) ** 2).sum() / 10)


def test_by_hand() -> None:
    assert iou(GUESS, TRUTH) == pytest.approx(1 / 3)
    assert mad(GUESS, TRUTH) == pytest.approx((0.1 + 0.8 + 0.6) / 4)
    assert mse(GUESS, TRUTH) == pytest.approx((0.01 + 0.64 + 0.36) / 4)
    assert sad(GUESS, TRUTH) == pytest.approx(1.5 / 1000)


def test_regions_by_hand() -> None:
    trimap = np.array([[255, 128], [128, 0]], np.uint8)
    regions = sad_regions(GUESS, TRUTH, trimap)
    assert regions == pytest.approx((1.4 / 1000, 0.1 / 1000, 0.0))
    assert (regions.tran, regions.fg, regions.bg) == regions
    assert sum(regions) == pytest.approx(sad(GUESS, TRUTH))
    with pytest.raises(ValueError, match=r"trimap has shape \(3, 2\)"):
        sad_regions(GUESS, TRUTH, np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match=r"values \[127\]; expected 0, 128 and 255"):
        sad_regions(GUESS, TRUTH, np.full((2, 2), 127, np.uint8))


def test_conn_by_hand() -> None:
    # Two pixels of the truth touch; the third, a lone 0.5 in both, leaves omega at the first level: l = 0.
    truth = np.array([[1.0, 1.0, 0.0, 0.5]])
    guess = np.array([[1.0, 0.6, 0.0, 0.7]])
    # The second stays up to 0.5 (0.6 is not 0.6000000000000001): d = 0.1 counts as 0, and 0.5. The fourth: d = 0.7 and 0.5.
    assert conn(guess, truth) == pytest.approx((0.5 + 0.2) / 1000)


@pytest.mark.parametrize("seed", range(6))
def test_conn_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = smooth(rng, 26, 31, 1.0 + seed / 2)
    guess = np.clip(truth + 0.6 * (smooth(rng, 26, 31, 1.5) - 0.5), 0, 1)
    assert conn(guess, truth) == pytest.approx(plain_conn(guess, truth), rel=1e-9)
    eighths = np.rint(guess * 255) / 255, np.rint(truth * 255) / 255
    assert conn(*eighths) == pytest.approx(plain_conn(*eighths), rel=1e-9)
    single = guess.astype(np.float32), truth.astype(np.float32)
    assert conn(*single) == pytest.approx(plain_conn(*(matte.astype(np.float64) for matte in single)), rel=1e-9)
    assert conn(guess, truth) > 0


def test_conn_of_several_components() -> None:
    truth = np.zeros((20, 24))
    truth[2:8, 2:8] = 1.0
    truth[10:16, 10:16] = 0.9
    truth[2:8, 14:20] = 0.8
    guess = truth.copy()
    guess[10:12] *= 0.5
    guess[4, 4] = 0.3
    guess[18, 3] = 0.4
    assert conn(guess, truth) == pytest.approx(plain_conn(guess, truth), rel=1e-9)


def test_conn_at_the_ends() -> None:
    rng = np.random.default_rng(9)
    truth, nothing, everything = smooth(rng, 12, 12), np.zeros((12, 12)), np.ones((12, 12))
    for a, b in ((nothing, nothing), (everything, everything), (truth, truth)):
        assert conn(a, b) == 0.0
    for a, b in ((nothing, truth), (everything, truth), (truth * 0.55, truth)):
        assert conn(a, b) == pytest.approx(plain_conn(a, b), rel=1e-9)
    # As published: no level is reached by both, so every pixel keeps l = 1.
    assert conn(nothing, truth) == 0.0


def test_the_first_of_equal_components_counts() -> None:
    mask = np.zeros((6, 9), np.bool_)
    mask[4, 1:4] = mask[0, 5:8] = mask[2:5, 8] = True
    np.testing.assert_array_equal(np.argwhere(largest_component(mask)), [[0, 5], [0, 6], [0, 7]])
    truth = mask * 1.0
    guess = mask * 0.5
    guess[mask] += 0.05 * np.arange(9)
    assert conn(guess, truth) == pytest.approx(plain_conn(guess, truth), rel=1e-9)


def test_diagonals_do_not_connect() -> None:
    assert np.count_nonzero(largest_component(np.eye(5, dtype=np.bool_))) == 1


def test_grad_is_its_definition() -> None:
    rng = np.random.default_rng(3)
    truth = smooth(rng, 22, 27, 2.0)
    guess = np.clip(truth + 0.3 * smooth(rng, 22, 27, 1.0), 0, 1)
    assert grad(guess, truth) == pytest.approx(plain_grad(guess, truth), rel=1e-4)
    assert grad(truth, truth) == 0.0
    assert grad(np.zeros((5, 5)), np.ones((5, 5))) == pytest.approx(0.0, abs=1e-12)


def test_conn_at_1080p_within_two_seconds() -> None:
    rng = np.random.default_rng(4)
    truth = smooth(rng, 1080, 1920, 12.0)
    guess = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1)
    started = time.process_time()  # what other programs take does not count
    assert conn(guess, truth) > 0
    assert time.process_time() - started < 2.0


def test_empty_images_agree() -> None:
    nothing = np.zeros((4, 4))
    assert iou(nothing, nothing) == 1.0
    assert iou(np.ones((4, 4)), nothing) == 0.0


METRICS = [iou, mad, mse, sad, grad, conn]


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_must_agree(metric) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\), truth \(3, 2\); expected two equal \(H, W\)"):
        metric(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"expected two equal \(H, W\)"):
        metric(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 255.0, -0.5])
def test_values_must_be_alphas(metric, value: float) -> None:
    wrong = np.zeros((3, 3), np.float32)
    wrong[1, 1] = value
    with pytest.raises(ValueError, match=r"truth has values .* expected numbers of 0\.\.1"):
        metric(np.zeros((3, 3)), wrong)
    with pytest.raises(ValueError, match="prediction has values"):
        metric(wrong, np.zeros((3, 3)))


def test_dtssd_by_hand() -> None:
    still = np.zeros((3, 2, 2))
    blinking = still.copy()
    blinking[1, 0, 0] = 0.8  # each of the two changes: sqrt(0.64 / 4)
    assert dtssd(blinking, still) == pytest.approx(0.4)
    assert dtssd(still + 0.3, still) == pytest.approx(0.0, abs=1e-12)  # a constant error does not flicker


def test_messddt_forgives_an_error_that_moves_along() -> None:
    rng = np.random.default_rng(5)
    wide = cv2.GaussianBlur(rng.uniform(0, 255, (64, 96, 3)).astype(np.float32), (0, 0), 2.0)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    matte = smooth(rng, 64, 96, 4.0)
    error = np.zeros((64, 96))
    error[20:44, 40:60] = 0.5
    shifts = (0, 3, 6)
    frames = np.stack([wide[:, s : s + 80] for s in shifts])
    truth = np.stack([matte[:, s : s + 80] for s in shifts]) * 0.5
    moving = truth + np.stack([error[:, s : s + 80] for s in shifts])
    fixed = truth + error[:, :80]
    assert messddt(truth, truth, frames) == 0.0
    assert messddt(moving, truth, frames) < 0.2 * messddt(fixed, truth, frames)
    assert messddt(fixed, truth) > 0  # without frames, the flow of the truth
    # A flicker of the whole image is the difference of the squared errors, whatever the motion.
    flicker = np.zeros((2, 32, 32))
    flicker[1] = 0.5
    assert messddt(flicker, np.zeros((2, 32, 32))) == pytest.approx(0.25)


@pytest.mark.parametrize("metric", [dtssd, messddt])
def test_videos_must_be_videos(metric) -> None:
    with pytest.raises(ValueError, match=r"expected two equal \(T, H, W\)"):
        metric(np.zeros((20, 20)), np.zeros((20, 20)))
    with pytest.raises(ValueError, match="at least two"):
        metric(np.zeros((1, 20, 20)), np.zeros((1, 20, 20)))


def test_flow_needs_fitting_frames() -> None:
    video = np.zeros((2, 20, 20))
    with pytest.raises(ValueError, match=r"expected uint8 \(2, 20, 20, 3\)"):
        messddt(video, video, np.zeros((2, 20, 21, 3), np.uint8))
    with pytest.raises(ValueError, match="at least 16 x 16"):
        messddt(video[:, :8], video[:, :8])
