"""Upsampling alpha along the image's own edges, where the true alpha is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scenes import frame_of, scene

from streammat.matting.refine import RESIDUE, Refiner


def small_of(alpha, factor):
    """What a perfect network would give: the mean over each of its cells, a little blurred."""
    height, width = (max(2, round(n / factor)) for n in alpha.shape)
    return cv2.GaussianBlur(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA), (0, 0), 0.5).astype(np.float32)


def unit(plane):
    return plane.astype(np.float64) / np.iinfo(plane.dtype).max


def shift_of(got, truth):
    """(dy, dx) in pixels, to first order: the least-squares displacement of ``truth`` that explains ``got``."""
    return [-((got - truth) * slope).sum() / (slope * slope).sum() for slope in np.gradient(truth)]


@pytest.mark.parametrize(
    ("size", "factor", "name"),
    [
        ((360, 640), 5.625, "yuv420p"),
        ((640, 360), 5.0, "yuv420p"),
        ((721, 1283), 5.6, "yuv420p"),
        ((1080, 1920), 14.0, "yuv420p"),
        ((360, 640), 5.625, "yuv420p10le"),
        ((360, 640), 5.625, "gray"),
        ((360, 640), 5.625, "gbrp"),
        ((360, 640), 5.625, "gbrp12le"),
        ((360, 640), 2.0, "yuv444p"),
        ((65, 49), 4.0, "yuv420p"),
    ],
)
def test_error_is_clearly_lower_than_bilinear_and_nothing_shifts(size, factor, name):
    _, _, alpha, image = scene(*size)
    frame, small = frame_of(image, name), small_of(alpha, factor)
    matte = Refiner()(small, frame)
    assert matte.alpha.shape == size
    assert matte.alpha.dtype == frame.layout.dtype
    got = unit(matte.alpha)
    plain = cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(got - alpha).mean() < 0.6 * np.abs(plain - alpha).mean()
    assert ((got > 0.1) & (got < 0.9)).mean() > 0.25 * ((alpha > 0.1) & (alpha < 0.9)).mean()
    assert max(abs(shift) for shift in shift_of(got, alpha)) < 0.1


@pytest.mark.parametrize("size", [(360, 640), (361, 643)])
def test_without_contrast_alpha_is_as_soft_as_it_came_and_in_place(size):
    y, x = np.mgrid[: size[0], : size[1]]
    truth = np.clip((np.hypot(y - size[0] / 2, x - size[1] / 2) - 140) / -40, 0, 1)
    small = cv2.resize(truth, (size[1] // 5, size[0] // 5), interpolation=cv2.INTER_AREA).astype(np.float32)
    got = unit(Refiner()(small, frame_of(np.full((*size, 3), 128.0), "yuv420p")).alpha)
    expected = np.clip((truth - RESIDUE) / (1 - 2 * RESIDUE), 0, 1)
    assert np.abs(got - expected).max() < 0.06
    assert max(abs(shift) for shift in shift_of(got, expected)) < 0.1


def test_flat_regions_are_exact_in_spite_of_texture():
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (240, 320, 3))
    refine = Refiner()
    for name in ("yuv420p", "yuv420p10le"):
        frame = frame_of(noise, name)
        top = np.iinfo(frame.layout.dtype).max
        for value, code in ((0.0, 0), (0.008, 0), (1.0, top), (0.992, top)):
            assert (refine(np.full((48, 64), value, np.float32), frame).alpha == code).all()
        half = np.zeros((48, 64), np.float32)
        half[:, 32:] = 1
        got = refine(half, frame).alpha
        assert (got[:, :140] == 0).all()
        assert (got[:, 180:] == top).all()


def test_residues_fade_out_without_a_step():
    frame = frame_of(np.full((96, 128, 3), 100.0), "yuv420p10le")
    levels = [int(Refiner()(np.full((24, 32), value, np.float32), frame).alpha[48, 64]) for value in np.linspace(0, RESIDUE + 0.02, 81)]
    assert levels[0] == 0
    assert levels[-1] > 1000
    assert all(0 <= b - a < 200 for a, b in zip(levels, levels[1:], strict=False))


def test_a_higher_alpha_never_gives_a_lower_matte():
    _, _, alpha, image = scene(240, 320)
    frame, refine = frame_of(image, "yuv420p"), Refiner()
    flat = frame_of(np.full((240, 320, 3), 128.0), "yuv420p")
    small = small_of(alpha, 5)
    lower, upper = refine(small * 0.8, flat).alpha.astype(int), refine(small, flat).alpha.astype(int)
    assert (upper >= lower - 1).all()
    assert refine(small, frame).alpha.mean() > refine(small * 0.8, frame).alpha.mean()


def test_an_edge_is_monotone():
    x = np.arange(320)[None] * np.ones((192, 1))
    truth = np.clip((x - 156) / 8, 0, 1)
    image = (40 + 160 * truth)[..., None] * np.ones(3)
    got = Refiner()(small_of(truth, 5), frame_of(image, "yuv420p")).alpha.astype(int)
    assert (np.diff(got, axis=1) >= -1).all()
    assert np.abs(unit(got.astype(np.uint8)) - truth).mean() < 0.01


def test_parts_interpolate_as_the_whole(monkeypatch):
    _, _, alpha, image = scene(360, 640)
    frame, small = frame_of(image, "yuv420p"), small_of(alpha, 5.6)
    expected = Refiner()(small, frame).alpha
    monkeypatch.setattr("streammat.matting.refine.STRIP", 5)
    monkeypatch.setattr("streammat.matting.refine.GAP", 2)
    assert np.abs(Refiner()(small, frame).alpha.astype(int) - expected).max() <= 1


def test_odd_and_tiny_images():
    refine = Refiner()
    for size in ((1, 1), (3, 2), (65, 49), (16, 300)):
        frame = frame_of(np.full((*size, 3), 90.0), "yuv420p")
        for shape in ((1, 1), (2, 2), (32, 32)):
            matte = refine(np.full(shape, 0.5, np.float32), frame)
            assert matte.alpha.shape == size
            assert np.abs(matte.alpha.astype(int) - 128).max() <= 1


def test_earlier_mattes_stay_as_they_are():
    _, _, alpha, image = scene(240, 320)
    refine = Refiner()
    first = refine(small_of(alpha, 5), frame_of(image, "yuv420p"))
    copy = first.alpha.copy()
    refine(small_of(alpha[::-1], 5), frame_of(image[::-1], "yuv420p"))
    assert (first.alpha == copy).all()
