"""Scenes: what is put together is what the alpha says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streammat.train.data.pack import Cut
from streammat.train.lite.occluders import Props
from streammat.train.lite.scenes import Scene, SceneConfig, add_clutter, add_fabric, compose, turned
from streammat.train.lite.warp import warp

Image = NDArray[np.uint8]
HEIGHT, WIDTH = 96, 160
PLAIN = replace(
    SceneConfig(),
    crowd=(1.0,),
    **{field.name: 0.0 for field in fields(SceneConfig) if field.name in
       ("small", "clutter", "occluder", "held", "counter", "pattern", "coat", "backlight", "glare", "shadow", "tilt")},
)


def texture(rng: np.random.Generator, height: int, width: int) -> Image:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def cut_out(
    colour: tuple[int, int, int] = (250, 20, 20), *, below: bool = False, portrait: bool = False, animal: bool = False
) -> Cut:
    """An ellipse of one colour in several sizes."""
    alpha = np.zeros((120, 80), np.uint8)
    cv2.ellipse(alpha, (40, 60), (36, 56), 0, 0, 360, 255, -1)
    rgba = np.dstack([np.full((120, 80, 3), colour, np.uint8), alpha])
    levels = [rgba]
    for _ in range(2):
        levels.append(cv2.resize(levels[-1], (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2), interpolation=cv2.INTER_AREA))
    return Cut(levels, below, left=False, right=False, portrait=portrait, animal=animal)


def scene(config: SceneConfig, seed: int, cuts: Sequence[Cut] | None = None, known: Image | None = None) -> Scene:
    background = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    props = Props(texture, [cut_out((20, 20, 250))])
    return compose(np.random.default_rng(seed), background, known, cuts or [cut_out()], props, config)


@pytest.mark.parametrize("config", [PLAIN, SceneConfig()])
def test_alpha_is_where_the_subject_is(config: SceneConfig) -> None:
    found = 0
    for seed in range(40):
        result = scene(replace(config, height=(0.4, 1.0)), seed)
        assert result.rgb.shape == (HEIGHT, WIDTH, 3)
        assert result.alpha.shape == result.contrast.shape == (HEIGHT, WIDTH)
        assert (result.contrast[result.alpha == 0] == 0).all()
        found += bool((result.alpha > 200).any())
    assert found >= 36  # occluders may hide one


def test_a_plain_scene_is_the_background_and_the_subject() -> None:
    result = scene(PLAIN, 3)
    assert (result.rgb[result.alpha == 0] == 100).all()
    solid = result.alpha == 255
    gap = np.abs(result.rgb[solid].astype(int) - 100).mean()
    assert gap > 20
    assert abs(int(result.contrast[solid].mean()) - gap) < 2


def test_several_subjects_are_all_in_alpha() -> None:
    one, four = ([(scene(PLAIN, seed, [cut_out()] * count).alpha > 127).mean() for seed in range(20)] for count in (1, 4))
    assert np.mean(four) > 1.5 * np.mean(one)


def test_small_subjects() -> None:
    small = [(scene(replace(PLAIN, small=1.0), seed).alpha > 127).any(axis=1).sum() for seed in range(20)]
    assert max(small) <= 0.45 * HEIGHT


def test_what_hides_a_subject_hides_its_alpha() -> None:
    """A subject cut below stands behind something: under its lower end nothing is foreground."""
    hidden = 0
    for seed in range(20):
        result = scene(replace(PLAIN, counter=1.0, height=(0.4, 0.6)), seed, [cut_out(below=True)])
        rows = np.flatnonzero((result.alpha > 127).any(axis=1))
        hidden += bool(rows.size and rows[-1] < HEIGHT - 1)
        assert (result.alpha[-1] < 128).all() or rows[-1] == HEIGHT - 1
    assert hidden >= 10
    bare, covered = ([scene(replace(PLAIN, occluder=share), seed).alpha.mean() for seed in range(20)] for share in (0.0, 1.0))
    assert np.mean(covered) < np.mean(bare)


def test_what_is_held_belongs_to_the_subject() -> None:
    bare, held = ([scene(replace(PLAIN, held=share, height=(0.5, 0.6)), seed) for seed in range(20)] for share in (0.0, 1.0))
    more = [(b.alpha > 127).mean() - (a.alpha > 127).mean() for a, b in zip(bare, held, strict=True)]
    assert np.mean(more) > 0.002
    assert min(more) >= 0
    parts = [cv2.connectedComponents((result.alpha > 127).astype(np.uint8))[0] - 1 for result in held]
    assert sum(count == 1 for count in parts) >= 16  # it touches the subject
    assert all((result.contrast[result.alpha == 0] == 0).all() for result in held)


def test_backlight_darkens_the_subject_alone() -> None:
    for seed in range(10):
        result = scene(replace(PLAIN, backlight=1.0), seed)
        solid, empty = result.alpha == 255, result.alpha == 0
        assert result.rgb[solid].mean() < result.rgb[empty].mean()


def test_clothes_change_the_lower_part_alone() -> None:
    plain = patterned = 0
    for seed in range(20):
        dressed = scene(replace(PLAIN, pattern=1.0, height=(0.8, 0.9)), seed)
        rows = np.flatnonzero((dressed.alpha == 255).any(axis=1))
        head, feet = (dressed.rgb[part][dressed.alpha[part] == 255].std(axis=0).mean() for part in (rows[:5], rows[-20:]))
        assert head < 5
        plain += bool(feet < 20)
        patterned += bool(feet > 30)
    assert plain >= 3
    assert patterned >= 3


def test_animals_have_coats_and_people_clothes() -> None:
    for animal in (True, False):
        coats = [scene(replace(PLAIN, coat=share), 5, [cut_out(animal=animal)]) for share in (0.0, 1.0)]
        clothes = [scene(replace(PLAIN, pattern=share), 5, [cut_out(animal=animal)]) for share in (0.0, 1.0)]
        assert np.array_equal(coats[0].rgb, coats[1].rgb) is not animal
        assert np.array_equal(clothes[0].rgb, clothes[1].rgb) is animal
        np.testing.assert_allclose(coats[0].alpha, coats[1].alpha)


def test_known_subjects_stay() -> None:
    known = np.zeros((HEIGHT, WIDTH), np.uint8)
    known[:, :20] = 255
    result = scene(PLAIN, 4, known=known)
    assert (result.alpha[:, :20] == 255).all()
    assert (result.contrast[:, :20] == 0).all()


def test_clutter_is_no_subject_and_changes_the_background() -> None:
    background = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    props = Props(texture, [cut_out((20, 20, 250))])
    assert add_clutter(np.random.default_rng(1), background, props, PLAIN) is background
    cluttered = add_clutter(np.random.default_rng(1), background, props, replace(PLAIN, clutter=1.0))
    assert (cluttered != background).any()


def test_fabric_is_large_and_folded() -> None:
    background = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    plain = Props(lambda _rng, height, width: np.full((height, width, 3), 180, np.uint8))
    assert add_fabric(np.random.default_rng(1), background, plain, PLAIN) is background
    covered = []
    for seed in range(12):
        changed = add_fabric(np.random.default_rng(seed), background, plain, replace(PLAIN, fabric=1.0))
        inside = (changed != background).any(axis=2)
        covered.append(inside.mean())
        assert not inside.any() or changed[inside].std() > 3  # of one colour, were it not for its folds
    assert np.mean(covered) > 0.2


def test_turned_scenes_have_no_empty_corners() -> None:
    grey = np.full((HEIGHT, WIDTH), 200, np.uint8)
    flat = Scene(np.dstack([grey] * 3), grey, grey)
    for seed in range(10):
        result = turned(np.random.default_rng(seed), flat)
        assert (result.rgb == 200).all()
        assert (result.alpha == 200).all()


def test_warp_cuts_where_it_is_told() -> None:
    plane = np.zeros((40, 60), np.uint8)
    plane[10:20, 30:50] = 255
    np.testing.assert_array_equal(warp([plane], 40, 15, 1.0, 0.0, 10, 20), np.full((10, 20), 255))
    plane[10:20, 40:50] = 100
    np.testing.assert_array_equal(warp([plane], 40, 15, 1.0, 0.0, 10, 20)[5], [255] * 10 + [100] * 10)
    np.testing.assert_array_equal(warp([plane], 40, 15, 1.0, 0.0, 10, 20, mirror=True)[5], [100] * 10 + [255] * 10)


def test_warp_takes_the_size_that_fits() -> None:
    """The same piece, whichever of the sizes it comes from."""
    ramp = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1))
    levels = [ramp, ramp[::2, ::2], ramp[::4, ::4]]
    for size in (1.0, 2.0, 4.0, 6.0):
        piece = warp(levels, 128, 128, size, 0.0, 32, 32)
        columns = 128 + (np.arange(32) - 15.5) * size
        np.testing.assert_allclose(piece[16], np.clip(columns, 0, 255), atol=3)
