"""Foreground colour at soft edges, where foreground, background and alpha are known."""

from __future__ import annotations

import av
import numpy as np
import pytest
from scenes import LAYOUTS, frame_of, matte_of, scene

from streammat.compositing.foreground import ForegroundEstimator
from streammat.media.frame import planes_of
from streammat.media.planes import resize_alpha


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [(180, 320), (181, 323), (320, 180)])
def test_error_at_soft_edges_at_least_halves(name, size):
    foreground, _, alpha, image = scene(*size)
    frame, truth = frame_of(image, name), frame_of(foreground, name)
    matte = matte_of(alpha, frame)
    kept = [plane.copy() for plane in frame.planes]
    before = after = 0.0
    result = ForegroundEstimator()(frame, matte)
    assert len(result) == frame.layout.colour_planes
    for plane, own, true, copy in zip(result, frame.planes, truth.planes, kept, strict=False):
        share = resize_alpha(matte, plane.shape)
        top = np.iinfo(share.dtype).max
        soft = (share > 0) & (share < top)
        assert (plane[~soft] == own[~soft]).all()
        assert (own == copy).all()
        assert (plane.shape, plane.dtype) == (own.shape, own.dtype)
        assert plane.max() < 1 << frame.layout.depth
        before += np.abs(own[soft].astype(float) - true[soft]).sum()
        after += np.abs(plane[soft].astype(float) - true[soft]).sum()
    assert after < before / 2


def test_nothing_soft_gives_the_frames_own_planes():
    _, _, alpha, image = scene(96, 128)
    frame = frame_of(image, "yuv420p")
    for value in (0, 255):
        result = ForegroundEstimator()(frame, matte_of(np.full(alpha.shape, value / 255), frame))
        assert all(a is b for a, b in zip(result, frame.planes, strict=True))


def test_soft_everywhere_and_tiny_images():
    estimate = ForegroundEstimator()
    for size in ((1, 1), (5, 3), (64, 48)):
        frame = frame_of(np.full((*size, 3), 90.0), "yuv420p")
        result = estimate(frame, matte_of(np.full(size, 0.5), frame))
        assert all(np.abs(a.astype(int) - b).max() <= 2 for a, b in zip(result, frame.planes, strict=True))


def test_faint_specks_far_from_the_subject():
    estimate = ForegroundEstimator()
    _, _, alpha, image = scene(181, 323)
    frame = frame_of(image, "yuv420p")
    matte = matte_of(alpha, frame)
    for y, x in ((0, 0), (0, 322), (180, 0), (180, 322), (90, 5)):
        matte.alpha[y, x] = 1
    for plane, own in zip(estimate(frame, matte), frame.planes, strict=True):
        assert np.abs(plane[:4, :4].astype(int) - own[:4, :4]).max() < 128
    alone = matte_of(np.zeros_like(alpha), frame)
    alone.alpha[3, 320] = 200
    assert len(estimate(frame, alone)) == 3


def test_kept_memory_leaves_earlier_results_alone():
    estimate = ForegroundEstimator()
    _, _, alpha, image = scene(96, 128)
    frame = frame_of(image, "yuv420p")
    first = estimate(frame, matte_of(alpha, frame))
    copies = [plane.copy() for plane in first]
    other = frame_of(image[::-1], "yuv420p")
    estimate(other, matte_of(alpha[::-1], other))
    assert all((a == b).all() for a, b in zip(first, copies, strict=True))


def test_texture_of_a_half_transparent_subject_is_kept():
    """By what a pixel differs from its neighbours stays in the estimate, weaker as the method has it."""
    rng = np.random.default_rng(4)
    alpha = np.zeros((96, 128))
    alpha[:, 64:] = 1.0
    alpha[:, 40:64] = 0.8
    texture = np.where(alpha[..., None] > 0, rng.choice([60.0, 180.0], (96, 128, 1)), 0) * np.ones(3)
    frame = frame_of(np.where(alpha[..., None] > 0, texture * alpha[..., None] + 120 * (1 - alpha[..., None]), 120), "yuv444p")
    luma = ForegroundEstimator()(frame, matte_of(alpha, frame))[0]
    true = frame_of(texture, "yuv444p").planes[0]
    soft = np.s_[16:80, 44:60]
    assert np.corrcoef(luma[soft].ravel(), true[soft].ravel())[0, 1] > 0.95


def test_each_matte_has_its_own_edges():
    """What is kept between frames belongs to one matte: another one of the same size, and the same one for other planes, are looked at anew."""
    _, _, alpha, image = scene(96, 128)
    frame, other = frame_of(image, "yuv420p"), frame_of(image, "yuv444p")
    mattes = [matte_of(alpha, frame), matte_of(alpha[:, ::-1].copy(), frame)]
    estimate = ForegroundEstimator()
    for shown, matte in ((frame, mattes[0]), (frame, mattes[1]), (other, mattes[1]), (frame, mattes[1]), (frame, mattes[0])):
        for plane, fresh in zip(estimate(shown, matte), ForegroundEstimator()(shown, matte), strict=True):
            assert np.array_equal(plane, fresh)


def test_a_matte_and_a_background_that_come_again_draw_as_new_ones_do():
    """As while the network rests: other frames with the same matte, in front of backgrounds that come again and that change."""
    _, room, alpha, image = scene(97, 131)
    frames = [frame_of(image * light, "yuv420p") for light in (1.0, 0.8, 0.6)]
    mattes = [matte_of(alpha, frames[0]), matte_of(alpha[:, ::-1].copy(), frames[0])]
    first, second = (frame_of(room * light, "yuv420p").planes for light in (0.5, 0.9))
    estimate = ForegroundEstimator()
    for number, background in enumerate((first, first, second, (90, 120, 130), (20, 120, 130), first, first)):
        frame, matte = frames[number % 3], mattes[number // 6]
        drawn, fresh = (planes_of(av.VideoFrame(131, 97, "yuv420p"), frame.layout) for _ in range(2))
        estimate.estimate(frame, matte).over(background, drawn)
        ForegroundEstimator().estimate(frame, matte).over(background, fresh)
        assert all(map(np.array_equal, drawn, fresh))


@pytest.mark.parametrize(("name", "top"), [("gbrp", 255), ("gbrp10le", 1023)])
def test_estimates_stay_within_the_range(name: str, top: int):
    """A soft speck brighter than all about it would be brighter than white, and a darker one darker than black."""
    alpha = np.zeros((64, 96))
    alpha[:, 48:] = 1.0
    alpha[:, 40:48] = 0.5
    for subject, behind in ((255.0, 0.0), (0.0, 255.0)):
        image = np.full((64, 96, 3), behind)
        image[:, 40:] = subject
        frame = frame_of(image, name)
        values = ForegroundEstimator().estimate(frame, matte_of(alpha, frame)).values
        for value in values:
            assert value.min() >= 0
            assert value.max() <= top
        assert min(np.abs(value - (top if subject else 0)).max() for value in values) < 2


def test_alpha_next_to_nothing_and_to_all_is_left_alone():
    """Nearer than a 64th part of the scale: 3 of 255 is corrected, 2 is not."""
    _, _, alpha, image = scene(96, 128)
    frame = frame_of(image, "yuv444p")
    matte = matte_of(alpha, frame)
    matte.alpha[40:44, 60:64] = 128  # in the middle of much that is soft
    for faint in (2, 3, 252, 253):
        matte.alpha[20:70, 30:100] = np.where((matte.alpha[20:70, 30:100] > 0) & (matte.alpha[20:70, 30:100] < 255), faint, matte.alpha[20:70, 30:100])
        soft = np.zeros(matte.alpha.shape, bool)
        soft[24:66, 34:96] = matte.alpha[24:66, 34:96] == faint
        assert soft.sum() > 50
        plane = ForegroundEstimator()(frame, matte)[0]
        changed = plane[soft] != frame.planes[0][soft]
        assert changed.any() == (faint in (3, 252)), faint
