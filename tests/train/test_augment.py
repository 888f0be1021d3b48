"""The faults of cameras: what frames of one of them share, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from streammat.train.lite.augment import NO_FAULTS, CameraFaults, draw_camera_faults, drift, expose

PICTURE = cv2.resize(np.random.default_rng(3).integers(60, 200, (24, 32, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_NEAREST)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_a_perfect_camera_changes_nothing() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        np.testing.assert_array_equal(expose(rng, PICTURE, draw_camera_faults(rng, NO_FAULTS)), PICTURE)


@pytest.mark.parametrize("fault", ["dark", "vignette", "noise", "blur", "grey", "jpeg"])
def test_every_fault_shows(fault: str) -> None:
    faults = replace(NO_FAULTS, **{fault: 1.0})
    for seed in range(5):
        rng = np.random.default_rng(seed)
        faulty = expose(rng, PICTURE, draw_camera_faults(rng, faults))
        assert faulty.shape == PICTURE.shape
        assert faulty.dtype == np.uint8
        assert difference(faulty, PICTURE) > 0.05


def test_frames_share_the_camera_but_not_the_noise() -> None:
    faults = replace(NO_FAULTS, dark=1.0, vignette=1.0, blur=1.0)
    for seed in range(5):
        camera = draw_camera_faults(np.random.default_rng(seed), faults)
        one, other, same = (expose(np.random.default_rng(moment), PICTURE, camera) for moment in (1, 2, 1))
        np.testing.assert_array_equal(one, same)
        assert 0 < difference(one, other) < difference(one, PICTURE)


def test_grain_of_codecs_is_alike_in_all_channels() -> None:
    grey = np.full((96, 128, 3), 120, np.uint8)

    def likeness(*, luma: bool) -> float:
        grain = expose(np.random.default_rng(1), grey, CameraFaults(noise=8.0, luma=luma)).astype(float) - 120
        return float(np.corrcoef(grain[:, :, 0].ravel(), grain[:, :, 1].ravel())[0, 1])

    assert likeness(luma=True) > 0.8
    assert abs(likeness(luma=False)) < 0.1


def test_exposure_drifts_a_little() -> None:
    moved = [difference(drift(np.random.default_rng(seed), PICTURE), PICTURE) for seed in range(20)]
    assert min(moved) > 0
    assert max(moved) < 40
