"""The rules of the guard one by one, with alphas and second looks that are made up; `test_guard.py` has the shipped network's own."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streammat.engines.base import EngineError
from streammat.live.guarding.guard import PATIENCE, RECENT, Guard
from streammat.live.guarding.seen_background import CELLS, SeenBackground, cells_of

SIZE, HALF = (96, 128), (48, 64)
"""Of the network's input and of its alpha."""
INSIDE = (slice(18, 30), slice(24, 40))
"""Where the second look has the image, in its alpha: a quarter of the size, in the middle."""
Alpha = NDArray[np.float32]


def image(seed: int = 0) -> NDArray[np.uint8]:
    """Soft colours, others for each seed."""
    small = np.random.default_rng(seed).integers(30, 225, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def box(top: int = 20, bottom: int = 28, left: int = 28, right: int = 36, value: float = 1.0) -> Alpha:
    """A subject that is a rectangle; by default a small one in the middle."""
    alpha = np.zeros(HALF, np.float32)
    alpha[top:bottom, left:right] = value
    return alpha


def sides(*names: str) -> Alpha:
    """A subject that is nothing but lines along sides of the image."""
    alpha = np.zeros(HALF, np.float32)
    for name in names:
        alpha[{"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}[name]] = 1.0
    return alpha


class Look:
    """A second look that finds ``alpha`` again; ``around`` is what it says of the grey."""

    def __init__(self, alpha: Alpha | None = None, around: Alpha | None = None) -> None:
        self.shown: list[NDArray[np.uint8]] = []
        self._seen = np.zeros(HALF, np.float32) if around is None else around.copy()
        if alpha is not None:
            self._seen[INSIDE] = cv2.resize(alpha, (16, 12), interpolation=cv2.INTER_AREA)

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.shown.append(rgb)
        return self._seen[None]


class Filter:
    """A filter over time that gives what it is told to."""

    def __init__(self, gives: Callable[[Alpha], Alpha]) -> None:
        self.gives, self.times, self.restarts = gives, [], 0

    def __call__(self, alpha: Alpha, rgb: NDArray[np.uint8], at: Fraction) -> Alpha:
        self.times.append(at)
        return self.gives(alpha)

    def restart(self) -> None:
        self.restarts += 1


def nobody(rgb: Any) -> Any:
    raise AssertionError("a second look that nothing called for")


def at(seconds: float) -> Fraction:
    return Fraction(10) + Fraction(seconds)


@pytest.mark.parametrize("alpha", [np.zeros((1, *HALF), np.float32), np.zeros((0, 64), np.float32)])
def test_what_has_another_shape_is_no_alpha(alpha: Alpha) -> None:
    with pytest.raises(EngineError, match="^the network's alpha is .*; expected .height, width."):
        Guard()(alpha, image(), at(0), nobody)


def test_values_are_within_0_and_1_and_their_mean_is_kept() -> None:
    guard = Guard()
    assert guard.opacity == 0.0
    shown = guard(box(value=1.7) - 0.5 * (box(0, 2, 0, 2)), image(), at(0), nobody)
    assert np.array_equal(shown, box())
    assert guard.opacity == pytest.approx(64 / 3072)


@pytest.mark.parametrize("share", [0.27, 0.33])
def test_how_much_may_be_undecided(share: float) -> None:
    """In between for a share of the image: up to 0.3 with a second look, no more."""
    alpha = box(0, 48, 0, round(64 * share), 0.5)
    if share > 0.3:
        with pytest.raises(EngineError, match="^the matte is neither subject nor background"):
            Guard()(alpha, image(), at(0), nobody)
    else:
        look = Look(alpha)
        Guard()(alpha, image(), at(0), look)
        assert look.shown


@pytest.mark.parametrize("alpha", [
    sides("top", "bottom", "left"), sides("top", "bottom", "right"), sides("top", "left", "right"), sides("bottom", "left", "right"),
    box(1, 47, 1, 63), box(0, 48, 0, 12, 0.5),
], ids=["not right", "not left", "not bottom", "not top", "full", "unsure"])  # fmt: skip
def test_what_calls_for_a_second_look(alpha: Alpha) -> None:
    """A border or an image that is nearly full, much that is undecided; it passes where the look agrees, and only there."""
    look = Look(alpha)
    assert np.array_equal(Guard()(alpha, image(), at(0), look), alpha)
    assert len(look.shown) == 1
    with pytest.raises(EngineError, match="^the matte fills the frame, is uncertain or has grown suddenly"):
        Guard()(alpha, image(), at(0), Look())
    with pytest.raises(EngineError, match="^the network calls plain grey subject"):
        Guard()(alpha, image(), at(0), Look(alpha, np.ones(HALF, np.float32)))


def test_what_does_not() -> None:
    for alpha in (box(), sides("top", "bottom"), box(4, 44, 4, 60)):
        Guard()(alpha, image(), at(0), nobody)


def test_the_second_look_is_shown_the_image_small_in_the_middle_of_grey() -> None:
    look = Look(box(1, 47, 1, 63))
    Guard()(box(1, 47, 1, 63), image(), at(0), look)
    (shown,) = look.shown
    assert shown.shape == (1, *SIZE, 3)
    small = shown[0, 36:60, 48:80].astype(int)
    assert np.abs(small - cv2.resize(image(), (32, 24), interpolation=cv2.INTER_AREA)).mean() < 3
    outside = np.ones(SIZE, bool)
    outside[36:60, 48:80] = False
    assert (shown[0][outside] == 128).all()


@pytest.mark.parametrize("alpha", [
    np.maximum(box(40, 48, 0, 64), sides("left", "right")), np.maximum(box(0, 48, 54, 64), sides("top", "bottom")),
], ids=["bottom", "right"])  # fmt: skip
def test_the_second_look_is_compared_as_far_as_its_image_reaches(alpha: Alpha) -> None:
    Guard()(alpha, image(), at(0), Look(alpha))


def test_values_of_the_second_look_are_within_0_and_1() -> None:
    alpha, around = box(1, 47, 1, 63), np.full(HALF, -5.0, np.float32)
    around[:6, :30] = 7.0  # 180 of 2880
    look = Look(alpha, around)
    look._seen[INSIDE] = np.where(look._seen[INSIDE] > 0.5, 3.0, -2.0)
    Guard()(alpha, image(), at(0), look)
    around[:6, :60] = 7.0
    with pytest.raises(EngineError, match="plain grey"):
        Guard()(alpha, image(), at(0), Look(alpha, around))


def test_a_soft_edge_around_the_small_image_does_not_count() -> None:
    alpha, around = box(1, 47, 1, 63), np.zeros(HALF, np.float32)
    around[16:32, 22:42] = 1.0
    around[:4, :60] = 1.0  # 240 of 2752
    Guard()(alpha, image(), at(0), Look(alpha, around))
    below = np.zeros(HALF, np.float32)
    below[32:47, 22:42] = 1.0  # 300 of 2752
    with pytest.raises(EngineError, match="plain grey"):
        Guard()(alpha, image(), at(0), Look(alpha, below))


# --------------------------------------------------------------------------------------------------------------------
# Over time


@pytest.mark.parametrize(("later", "looks"), [(0.0, True), (0.5, True), (float(RECENT), True), (1.1, False), (-0.5, False)])
def test_a_subject_that_grows_suddenly(later: float, looks: bool) -> None:
    """Compared with the last alpha shown, for a second; the image is another, so that no room is claimed."""
    guard, grown = Guard(), box(10, 40, 10, 40)
    guard(box(), image(), at(0), nobody)
    look = Look(grown)
    guard(grown, image(1), at(later), look)
    assert bool(look.shown) == looks


def test_a_claim_on_a_room_that_has_not_changed() -> None:
    """Refused for two seconds; then believed where the second look agrees."""
    guard, claim = Guard(), box(4, 44, 14, 50)
    guard(box(), image(), at(0), nobody)
    for later in (1.5, 2.5, 1.5 + float(PATIENCE) - 0.01):
        with pytest.raises(EngineError, match="^the matte calls subject what was background a moment ago"):
            guard(claim, image(), at(later), nobody)
    with pytest.raises(EngineError, match="^the matte fills the frame"):
        guard(claim, image(), at(1.5) + PATIENCE, Look())
    look = Look(claim)
    guard(claim, image(), at(1.5) + PATIENCE, look)
    assert look.shown
    guard(claim, image(), at(1.6) + PATIENCE, nobody)


@pytest.mark.parametrize(("gives", "kept"), [
    (lambda alpha: 0 * alpha, True), (lambda alpha: 0.5 + 0 * alpha, False), (lambda alpha: 1 + 0 * alpha, False),
    (lambda alpha: box(4, 44, 14, 50), False),
], ids=["nothing", "undecided", "all", "the room"])  # fmt: skip
def test_what_the_filter_makes_of_an_alpha_has_to_pass_as_well(gives: Callable[[Alpha], Alpha], kept: bool) -> None:
    stable = Filter(lambda alpha: alpha)
    guard = Guard(stable)  # type: ignore[arg-type]
    guard(box(), image(), at(0), nobody)
    stable.gives = gives
    shown = guard(box(), image(), at(0.04), nobody)
    assert np.array_equal(shown, gives(box()) if kept else box())
    assert stable.restarts == int(not kept)
    assert stable.times == [at(0), at(0.04)]


def test_a_filtered_alpha_is_no_worse_than_one_that_was_in_doubt() -> None:
    full = box(0, 48, 0, 64)
    stable = Filter(lambda alpha: alpha - 0.01)
    shown = Guard(stable)(full, image(), at(0), Look(full))  # type: ignore[arg-type]
    assert np.array_equal(shown, full - np.float32(0.01))
    assert stable.restarts == 0


def test_the_filter_starts_anew_after_a_refusal() -> None:
    stable = Filter(lambda alpha: alpha)
    with pytest.raises(EngineError):
        Guard(stable)(box(0, 48, 0, 64, 0.5), image(), at(0), nobody)  # type: ignore[arg-type]
    assert stable.restarts == 1


# --------------------------------------------------------------------------------------------------------------------
# The room

NONE, ALL = np.zeros(HALF, np.float32), np.ones(HALF, np.float32)
LEFT = box(0, 48, 0, 32)


def learnt(*cells: NDArray[np.float32]) -> SeenBackground:
    """A room that was seen whole, in each of ``cells``."""
    room = SeenBackground()
    for each in cells:
        room.learn(NONE, each)
    return room


def test_nothing_is_claimed_of_a_room_that_was_not_seen() -> None:
    room, cells = SeenBackground(), cells_of(image())
    assert room.claimed(ALL, cells) == 0
    room.learn(ALL, cells)
    assert room.claimed(ALL, cells) == 0
    room.learn(NONE, cells)
    assert room.claimed(ALL, cells) == pytest.approx(1)
    assert room.claimed(LEFT, cells) == pytest.approx(0.5, abs=0.02)
    room.forget()
    assert room.claimed(ALL, cells) == 0


def test_the_light_may_change_in_each_colour() -> None:
    cells = cells_of(image())
    assert learnt(cells).claimed(ALL, cells * np.array([1.2, 1.0, 0.75], np.float32)) > 0.9


def test_what_has_changed_is_not_claimed_where_it_has() -> None:
    cells = cells_of(image())
    other = cells.copy()
    other[:, :20] = cells_of(image(1))[:, :20]
    share = learnt(cells).claimed(ALL, other)
    assert share == pytest.approx(28 / 48, abs=0.05)


def test_parts_that_are_seen_one_after_the_other_are_all_known() -> None:
    room, cells = SeenBackground(), cells_of(image())
    room.learn(LEFT, cells)
    room.learn(1 - LEFT, cells)
    assert room.claimed(LEFT, cells) == pytest.approx(0.5, abs=0.02)


def test_small_changes_are_followed_slowly_and_large_ones_at_once() -> None:
    cells = cells_of(image())
    shift = np.where(np.indices(CELLS).sum(0) % 2, 1.0, -1.0)[..., None].astype(np.float32)  # no change of the light
    room = learnt(cells, cells + 5 * shift)
    assert room.claimed(ALL, cells - 5.3 * shift) > 0.8
    assert room.claimed(ALL, cells - 6.2 * shift) < 0.2
    half = cells + 5 * shift
    half[:, :20] = cells_of(image(1))[:, :20]
    room = learnt(cells, half)
    assert room.claimed(ALL, half - np.where(np.arange(48)[:, None] >= 20, 10.3, 0) * shift) > 0.8


def test_noise_of_a_camera_is_averaged_away() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (960, 960, 3)).astype(np.uint8) * 255
    cells = cells_of(noise)
    assert (cells.shape, cells.dtype) == ((*CELLS, 3), np.float32)
    assert cells.std() < 12


@pytest.mark.parametrize("scale", [(8, 8), (4, 6), (3, 5), (2, 2)])
def test_cells_are_means_of_what_they_cover(scale: tuple[int, int]) -> None:
    """Of images of many sizes, also where they are halved first."""
    colours = np.random.default_rng(7).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    image = np.kron(colours, np.ones((*scale, 1), np.uint8))
    assert np.abs(cells_of(image) - colours).max() < 0.01
    assert cells_of(image).dtype == np.float32
