"""Soft pixels found and blended by their places, against the plain computation on whole planes."""

from __future__ import annotations

import av
import numpy as np
import pytest
from scenes import LAYOUTS, frame_of, matte_of, scene

from streammat.compositing.backgrounds import ColourBackground
from streammat.compositing.compositor import Compositor
from streammat.compositing.foreground import ForegroundEstimator
from streammat.compositing.soft_pixels import SoftPixels
from streammat.media.frame import planes_of
from streammat.media.planes import resize_alpha


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 24), (48, 65)])
def test_finds_what_is_neither_empty_nor_full_and_writes_there(dtype, size):
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    planes = [rng.choice([0, 1, top - 1, top], size, p=p).astype(dtype) for p in ([0.45, 0.05, 0.05, 0.45], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0.5, 0.5, 0])]
    # Rows of the last are longer than it is wide.
    planes.append(np.tile(planes[0], (1, 2))[:, : size[1]])
    for alpha in planes:
        soft = SoftPixels(alpha)
        y, x = np.nonzero((alpha > 0) & (alpha < top))
        assert len(soft) == len(y)
        assert (soft.y == y).all()
        assert (soft.x == x).all()
        assert (soft.alpha == alpha[y, x]).all()
        assert np.abs(soft.share - alpha[y, x] / top).max(initial=0) < 1e-6
        target = np.zeros((size[0], size[1] + 7), dtype)[:, : size[1]]
        soft.put(target, soft.alpha.astype(np.float32))
        assert (soft.of(target) == soft.alpha).all()
        target[y, x] = 0
        assert not target.any()
        soft.copy_subject(np.full(size, 7, dtype), target)
        assert (target == 7 * (alpha > 0)).all()
        turned = np.zeros(size[::-1], dtype).T
        soft.put(turned, soft.alpha.astype(np.float32))
        assert (soft.of(turned) == soft.alpha).all()
        assert (turned == np.where((alpha > 0) & (alpha < top), alpha, 0)).all()


@pytest.mark.parametrize("name", [*LAYOUTS, "yuv422p10le"])
@pytest.mark.parametrize("size", [(96, 128), (97, 131), (1, 1), (5, 3)])
def test_a_subject_over_a_background_is_the_plain_blend(name, size):
    _, room, drawn, picture = scene(*size)
    frame, behind = frame_of(picture, name), frame_of(room[::-1] * 0.5, name).planes
    for alpha in (drawn, np.zeros(size), np.ones(size), np.full(size, 0.5)):
        matte = matte_of(alpha, frame)
        foreground = ForegroundEstimator().estimate(frame, matte)
        kept = [plane.copy() for plane in (*frame.planes, *behind)]
        out = planes_of(av.VideoFrame(size[1], size[0], name), frame.layout)
        foreground.over(behind, out)
        own = [plane.copy() for plane in behind]
        foreground.over(own, own)
        for index, whole in enumerate(foreground.planes()):
            code = resize_alpha(matte, whole.shape)
            top = np.iinfo(code.dtype).max
            share = code / top
            # The colour is rounded where it stands alone: half a code value of it, and half of the result.
            plain = whole * share + behind[index] * (1 - share)
            assert np.abs(out[index] - plain).max() <= 1.01
            assert (out[index][code == 0] == behind[index][code == 0]).all()
            assert (out[index][code == top] == frame.planes[index][code == top]).all()
            assert (out[index] == own[index]).all()
        assert all((plane == copy).all() for plane, copy in zip((*frame.planes, *behind), kept, strict=True))


def test_specks_too_faint_for_the_grid_keep_the_colour_of_the_frame():
    name = "yuv420p"  # deeper mattes are never so faint
    _, room, alpha, picture = scene(360, 640)
    frame, behind = frame_of(picture, name), frame_of(room * 0.5, name).planes
    for y, x in ((0, 0), (0, 639), (359, 0), (359, 639)):
        alpha[y, x] = 0.02
    matte = matte_of(alpha, frame)
    foreground = ForegroundEstimator().estimate(frame, matte)
    out = [np.empty_like(plane) for plane in behind]
    foreground.over(behind, out)
    share = matte.alpha[0, 0] / np.iinfo(matte.alpha.dtype).max
    for y, x in ((0, 0), (359, 639)):
        assert foreground.planes()[0][y, x] == frame.planes[0][y, x]
        assert abs(out[0][y, x] - (frame.planes[0][y, x] * share + behind[0][y, x] * (1 - share))) <= 0.51


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(96, 128), (97, 131), (1, 1)])
def test_one_colour_by_its_codes_is_the_same_as_by_its_planes(name, size):
    _, _, drawn, picture = scene(*size)
    frame, green = frame_of(picture, name), ColourBackground((0, 177, 64))
    for alpha in (drawn, np.zeros(size), np.ones(size)):
        matte = matte_of(alpha, frame)
        foreground = ForegroundEstimator().estimate(frame, matte)
        expected = [np.empty_like(plane) for plane in foreground.own]
        foreground.over(green.planes(frame, matte), expected)
        (got,) = Compositor(["composite"], green, decontaminate=True, alpha="straight")(frame, matte)
        assert all((a == b).all() for a, b in zip(got.planes, expected, strict=True))
