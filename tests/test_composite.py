"""Blending against a float64 reference, in every layout."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streammat.compositing.compositor import Compositor, near_subject
from streammat.media.frame import Layout, Matte, Plane, layout_of, planes_of
from streammat.media.planes import Blender, alpha_plane, bounding_box, resize_alpha, runs, shrink

LAYOUTS = ["yuv420p", "yuv422p10le", "yuv444p", "yuv410p", "gbrp", "gbrp12le", "gray", "gray16le", "yuva420p"]
SIZES = [(48, 64), (49, 65), (1, 1), (5, 3)]


def layout(name: str) -> Layout:
    found = layout_of(name)
    assert found is not None
    return found


def planes(kind: Layout, size: tuple[int, int], seed: int) -> tuple[Plane, ...]:
    rng = np.random.default_rng(seed)
    shapes = [kind.plane_shape(index, *size) for index in range(kind.colour_planes)]
    return tuple(rng.integers(0, 1 << kind.depth, shape).astype(kind.dtype) for shape in shapes)


def soft_matte(kind: Layout, size: tuple[int, int]) -> Matte:
    """Empty left, full right, every value between."""
    top = np.iinfo(kind.dtype).max
    ramp = np.clip(np.linspace(-0.5, 1.5, size[1]), 0, 1)[None] * np.ones((size[0], 1))
    ramp[: size[0] // 4] = np.round(ramp[: size[0] // 4])
    return Matte(np.rint(ramp * top).astype(kind.dtype))


def reference(fg: Plane, alpha: Plane, bg: Plane) -> np.ndarray:
    share = alpha.astype(np.float64) / np.iinfo(alpha.dtype).max
    return fg * share + bg * (1 - share)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_blend_is_within_one_code_of_the_real_result_and_exact_at_both_ends(name, size):
    kind = layout(name)
    fg, bg, matte = planes(kind, size, 1), planes(kind, size, 2), soft_matte(kind, size)
    kept = [plane.copy() for plane in (*fg, *bg)]
    for out in (Blender()(fg, matte, bg, None, kind), Blender()(fg, matte, bg, [np.empty_like(p) for p in fg], kind)):
        for index, plane in enumerate(out):
            alpha = resize_alpha(matte, plane.shape)
            assert plane.dtype == kind.dtype
            assert np.abs(plane - reference(fg[index], alpha, bg[index])).max() <= 1
            assert (plane[alpha == 0] == bg[index][alpha == 0]).all()
            full = alpha == np.iinfo(alpha.dtype).max
            assert (plane[full] == fg[index][full]).all()
    assert all((plane == copy).all() for plane, copy in zip((*fg, *bg), kept, strict=True))


def test_blend_of_equal_images_changes_nothing():
    kind = layout("yuv420p")
    same = planes(kind, (64, 256), 3)
    out = Blender()(same, soft_matte(kind, (64, 256)), same, None, kind)
    assert all((a == b).all() for a, b in zip(out, same, strict=True))


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_blend_writes_into_strided_planes_of_a_image(name):
    kind = layout(name)
    size = (50, 70)
    image = av.VideoFrame(size[1], size[0], name)
    target = planes_of(image, kind)
    fg, bg, matte = planes(kind, size, 1), planes(kind, size, 2), soft_matte(kind, size)
    blender = Blender()
    blender(fg, matte, bg, target, kind)
    expected = Blender()(fg, matte, bg, None, kind)
    assert not target[0].flags.c_contiguous
    assert all((a == b).all() for a, b in zip(planes_of(image, kind), expected, strict=True))
    blender(fg, Matte(np.zeros_like(matte.alpha)), bg, target, kind)
    assert all((a == b).all() for a, b in zip(target, bg, strict=True))


def test_blend_in_place_of_the_background():
    kind = layout("yuv420p")
    fg, bg, matte = planes(kind, (64, 64), 1), planes(kind, (64, 64), 2), soft_matte(kind, (64, 64))
    expected = Blender()(fg, matte, bg, None, kind)
    Blender()(fg, matte, bg, bg, kind)
    assert all((a == b).all() for a, b in zip(bg, expected, strict=True))


@pytest.mark.parametrize(("name", "black"), [("yuv420p", 16), ("yuv420p", 0), ("yuv444p10le", 64), ("gbrp", 0), ("gray", 16)])
def test_premultiply_goes_to_black(name, black):
    kind = layout(name)
    fg, matte = planes(kind, (48, 64), 1), soft_matte(kind, (48, 64))
    for index, plane in enumerate(Blender().premultiply(fg, matte, kind, black)):
        target = black if kind.rgb or index == 0 else 1 << (kind.depth - 1)
        alpha = resize_alpha(matte, plane.shape)
        assert np.abs(plane - reference(fg[index], alpha, np.full_like(plane, target))).max() <= 1
        assert (plane[alpha == 0] == target).all()
    kept = [np.empty_like(plane) for plane in fg]
    assert all(given is found for given, found in zip(kept, Blender().premultiply(fg, matte, kind, black, kept), strict=True))


def test_premultiply_with_kept_memory_follows_a_change_of_size():
    kind, blender = layout("yuv420p"), Blender()
    for size in ((48, 64), (24, 32), (48, 64)):
        fg, matte = planes(kind, size, 1), soft_matte(kind, size)
        for a, b in zip(blender.premultiply(fg, matte, kind, 16), Blender().premultiply(fg, matte, kind, 16), strict=True):
            assert (a == b).all()


@pytest.mark.parametrize(("bits", "depth"), [(8, 8), (16, 10), (16, 12), (16, 16), (16, 8), (8, 10)])
def test_alpha_plane_is_full_range(bits, depth):
    dtype = np.uint8 if bits == 8 else np.uint16
    alpha = np.linspace(0, (1 << bits) - 1, 1024).astype(dtype).reshape(32, 32)
    plane = alpha_plane(Matte(alpha), depth)
    assert plane.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert (plane.min(), plane.max()) == (0, (1 << depth) - 1)
    assert np.abs(plane - alpha.astype(float) * ((1 << depth) - 1) / ((1 << bits) - 1)).max() <= 0.5


def test_resize_alpha_is_a_mean_over_what_a_sample_covers():
    alpha = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9)
    padded = np.pad(alpha, ((0, 1), (0, 1)), "edge").astype(float)
    expected = padded.reshape(4, 2, 5, 2).mean((1, 3))
    assert np.abs(resize_alpha(Matte(alpha), (4, 5)) - expected).max() <= 0.5
    assert resize_alpha(Matte(alpha), (7, 9)) is alpha
    assert resize_alpha(Matte(np.full((7, 9), 255, np.uint8)), (3, 4)).min() == 255


def test_shrink_means_blocks():
    plane = np.random.default_rng(0).integers(0, 65536, (16, 24)).astype(np.uint16)
    for fx, fy in ((2, 2), (4, 2), (8, 8), (1, 4)):
        expected = plane.reshape(16 // fy, fy, 24 // fx, fx).astype(float).mean((1, 3))
        assert np.abs(shrink(plane, fx, fy) - expected).max() <= 2


def test_bounds_of_both_depths():
    for dtype in (np.uint8, np.uint16):
        plane = np.zeros((20, 31), dtype)
        assert bounding_box(plane)[0] == bounding_box(plane)[1]
        plane[3, 7] = plane[11, 30] = 1
        assert bounding_box(plane) == (3, 12, 7, 31)
        plane[:] = 0
        plane[5, 4] = 256 if dtype is np.uint16 else 1
        assert bounding_box(plane) == (5, 6, 4, 5)


def test_runs_tile_the_map_and_hold_the_band():
    rng = np.random.default_rng(5)
    for share in (0.0, 0.01, 0.2, 1.0):
        band = rng.random((37, 53)) < share
        seen = np.zeros(band.shape, int)
        for y0, y1, x0, x1, inside in runs(band, 8, 3):
            seen[y0:y1, x0:x1] += 1
            assert inside or not band[y0:y1, x0:x1].any()
        assert (seen == 1).all()


@pytest.mark.parametrize("top", [255, 65535])
def test_straight_colour_reaches_eight_pixels_beyond_the_subject(top: int) -> None:
    """However faint it is there."""
    matte = Matte(np.zeros((40, 50), np.uint8 if top == 255 else np.uint16))
    matte.alpha[20, 25] = 1
    near = np.zeros((40, 50), bool)
    near[12:29, 17:34] = True
    assert np.array_equal(near_subject(matte), near)


def test_a_composite_needs_a_background() -> None:
    with pytest.raises(ValueError, match="^a composite needs a background"):
        Compositor(["matte", "composite"], None, decontaminate=False, alpha="straight")
    Compositor(["matte", "transparent", "foreground"], None, decontaminate=False, alpha="straight")
