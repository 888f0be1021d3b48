"""Scenes put together: subjects, things that are no subjects, and light, on a background.

The shipped network sees few real pictures, so that what it meets later has to come from here: subjects of every size and
number, cut by the frame and by furniture, before clutter, against the light. What a scene is made of is drawn by the caller's
generator alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment import jitter_colour
from train.pack import Cut, Levels
from train.pictures import Image

Rng = np.random.Generator
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Props:
    """What scenes are furnished with."""

    texture: Callable[[Rng, int, int], Image]
    """Gives a crop of some background, uint8 (height, width, 3)."""
    things: Sequence[Cut] = ()
    """Cut-outs that are no subjects."""


SMALL = 0.4
"""Height over the picture's up to which a subject counts as small."""


@dataclass(frozen=True)
class SceneConfig:
    """What scenes are made of; probabilities are per scene unless said otherwise. 0 leaves an ingredient out."""

    crowd: tuple[float, ...] = (0.52, 0.24, 0.14, 0.10)
    """Of one, two, three … subjects."""
    height: tuple[float, float] = (0.13, 1.25)
    """Subject's height over the picture's."""
    small: float = 0.3
    """Subjects of up to `SMALL` of the picture's height, drawn evenly on a log scale; the others evenly from there on."""
    portrait_height: float = 0.22
    """Least height of head and shoulders."""
    clutter: float = 0.35
    """One to three cut-outs of other pictures behind the subjects, which are background."""
    occluder: float = 0.1
    """One such before them, that reaches in from an edge of the picture."""
    held: float = 0.14
    """A thing at the subject's outline, which belongs to it as what hands hold does; per subject."""
    counter: float = 0.3
    """A subject that its own picture cut below stands behind something, instead of at the lower edge; per subject."""
    pattern: float = 0.08
    """Clothes of another texture; per subject."""
    backlight: float = 0.07
    """Subjects darker than what is behind them; half of the time to a silhouette."""
    glare: float = 0.03
    """Subjects nearly overexposed."""
    shadow: float = 0.2
    """A soft shadow on what is behind; per subject."""
    tilt: float = 0.15
    """The whole picture turned by up to 25 degrees."""


@dataclass(frozen=True)
class Scene:
    """A picture and what it is made of; H x W."""

    rgb: Image
    """uint8 (H, W, 3), RGB."""
    alpha: Image
    """uint8 (H, W), 0..255: all subjects together."""
    contrast: Image
    """uint8 (H, W): mean absolute difference of foreground and background; 0 where they are unknown."""


def add_clutter(rng: Rng, background: Image, props: Props, config: SceneConfig) -> Image:
    """Things that are no subjects, on a background; uint8 (H, W, 3), a new picture."""
    if rng.random() >= config.clutter:
        return background
    picture = background.astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        _paste_thing(rng, picture, props)
    return _to_uint8(picture)


def compose(
    rng: Rng, background: Image, known: Image | None, cuts: Sequence[Cut], props: Props, config: SceneConfig
) -> Scene:
    """Put subjects before a background.

    Args:
        rng: source of chance.
        background: uint8 (H, W, 3).
        known: alpha of subjects that the background already shows, uint8 (H, W); None: it shows none.
        cuts: subjects, at least one; the smaller they come out, the further back they stand.
        props: for things and patterns.
        config: what may happen.
    """
    height, width = background.shape[:2]
    behind = background.astype(np.float32)
    dim = 1.0
    if rng.random() < config.backlight:
        dim = rng.uniform(0.1, 0.3) if rng.random() < 0.5 else rng.uniform(0.3, 0.65)
        behind = np.clip(behind * rng.uniform(1.0, 1.5) + rng.uniform(0, 40), 0, 255).astype(np.float32)
    elif rng.random() < config.glare:
        dim = rng.uniform(1.3, 2.2)
    mean = behind.mean(axis=(0, 1))
    picture = behind.copy()
    base = np.zeros((height, width), np.float32) if known is None else known.astype(np.float32) / 255.0
    total, pasted = base.copy(), np.zeros((height, width), np.float32)
    layers = sorted(_layout(rng, cuts, config), key=lambda item: item[1])
    for cut, share, across in layers:
        colour, alpha, foot = _place(rng, cut, share, across, height, width, config)
        if rng.random() < config.pattern:
            colour = _patterned(rng, colour, alpha, props)
        lit = _lit(rng, jitter_colour(rng, colour, 0.6), alpha, mean, dim)
        a = alpha.astype(np.float32) / 255.0
        if rng.random() < config.shadow:
            _cast_shadow(rng, picture, a)
        picture += a[:, :, None] * (lit - picture)
        total, pasted = a + total * (1.0 - a), a + pasted * (1.0 - a)
        if rng.random() < config.held and (spot := _at_outline(rng, a)) is not None:
            colour_held, mask = _thing(rng, height, width, props, spot)
            picture += mask[:, :, None] * (np.clip(colour_held * dim, 0, 255) - picture)
            total, pasted = mask + total * (1.0 - mask), mask + pasted * (1.0 - mask)
        if foot is not None:
            _hide(picture, (total, pasted), *_counter(rng, foot, height, width, props))
    contrast = np.abs(picture - behind).mean(axis=2) / np.maximum(pasted, 1e-3)
    if rng.random() < config.occluder:
        _hide(picture, (total, pasted), *_thing(rng, height, width, props, _at_edge(rng, height, width)))
    # What is behind is known where nothing but pasted subjects was added.
    contrast[(pasted < 0.02) | (base > 0.02)] = 0.0
    scene = Scene(_to_uint8(picture), _to_uint8(total * 255.0), _to_uint8(contrast))
    return turned(rng, scene) if rng.random() < config.tilt else scene


def turned(rng: Rng, scene: Scene) -> Scene:
    """The scene seen by a tilted camera, near enough that no corner is empty."""
    height, width = scene.alpha.shape
    angle = float(np.clip(rng.normal(0, 11), -25, 25))
    turn = np.radians(abs(angle))
    size = 1.0 / (np.cos(turn) + max(height / width, width / height) * np.sin(turn))
    rgb, alpha, contrast = (
        warp([plane], width / 2, height / 2, size, angle, height, width) for plane in (scene.rgb, scene.alpha, scene.contrast)
    )
    contrast[alpha == 0] = 0
    return Scene(rgb, alpha, contrast)


def warp(
    levels: Levels,
    cx: float,
    cy: float,
    size: float,
    angle: float,
    height: int,
    width: int,
    *,
    mirror: bool = False,
    border: int = cv2.BORDER_REFLECT_101,
) -> Image:
    """Cut a piece out of a picture.

    Args:
        levels: uint8 (H, W) or (H, W, C) in one or several sizes, each half of the one before.
        cx: middle of the piece in pixels of the largest size, from its left edge.
        cy: likewise from its upper edge.
        size: pixels of the largest size to one of the piece.
        angle: of the piece within the picture, in degrees.
        height: of the piece in pixels.
        width: of the piece in pixels.
        mirror: swap left and right of the piece.
        border: OpenCV's border mode beyond the picture.

    Returns:
        uint8 (height, width) or (height, width, C).
    """
    level = int(np.clip(np.ceil(np.log2(max(size, 1e-6) / 1.5)), 0, len(levels) - 1))
    plane = levels[level]
    fx, fy = (full / own for full, own in zip(levels[0].shape[1::-1], plane.shape[1::-1], strict=True))
    # From pixel edges to the centres that the warp counts in.
    cx, cy = cx / fx - 0.5, cy / fy - 0.5
    along = -1.0 if mirror else 1.0
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    across = np.array([[along * cos * size / fx, -sin * size / fx], [along * sin * size / fy, cos * size / fy]])
    matrix = np.column_stack([across, [cx, cy] - across @ [(width - 1) / 2, (height - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(np.ascontiguousarray(plane), matrix, (width, height), flags=flags, borderMode=border)
    return cut.astype(np.uint8, copy=False)


def _layout(rng: Rng, cuts: Sequence[Cut], config: SceneConfig) -> list[tuple[Cut, float, float]]:
    """For each subject its height over the picture's and where its middle is across the picture, 0..1."""
    low, high = config.height
    if rng.random() < config.small:
        base = np.log(low) + rng.random() * (np.log(SMALL) - np.log(low))
    else:
        base = np.log(rng.uniform(SMALL, high if len(cuts) == 1 else 0.95))
    if len(cuts) == 1:
        return [(cuts[0], _share(base, cuts[0], config), rng.uniform(-0.02, 1.02))]
    slots = (rng.permutation(len(cuts)) + rng.uniform(0.1, 0.9, len(cuts))) / len(cuts)
    # People of a group are about as far away as each other, or not at all.
    spread = 0.15 if rng.random() < 0.5 else 0.6
    return [(cut, _share(base + rng.normal(0, spread), cut, config), slot) for cut, slot in zip(cuts, slots, strict=True)]


def _share(logarithm: float, cut: Cut, config: SceneConfig) -> float:
    least = config.portrait_height if cut.portrait else config.height[0]
    return float(np.clip(np.exp(logarithm), least, config.height[1]))


def _place(
    rng: Rng, cut: Cut, share: float, across: float, height: int, width: int, config: SceneConfig
) -> tuple[Image, Image, float | None]:
    """A subject's colour and alpha on an empty canvas, and, if it has to hide behind something, the height of its lower end."""
    mirror = bool(rng.random() < 0.5)
    rows, columns = cut.rgba[0].shape[:2]
    size = rows / (share * height)
    foot = None
    if not cut.below:
        # At least a third of it stays in the picture.
        bottom = rng.uniform(0.45, 1.0) * height if share < 0.5 else rng.uniform(0.85, 1.0 + 0.66 * share) * height
        bottom = max(bottom, 0.33 * share * height)
    elif share < 0.8 and rng.random() < config.counter:
        bottom = foot = rng.uniform(max(share, 0.4), 1.0) * height
    else:
        bottom = height + (rng.uniform(0.0, 0.25) * share * height if rng.random() < 0.4 else 0.0)
    cy = rows - (bottom - height / 2) * size
    # A side that its own picture cut lies on the new one's edge: subjects cut in mid-air teach nothing.
    if cut.left != cut.right:
        cx = width / 2 * size if cut.left else columns - width / 2 * size
    else:
        cx = columns / 2 - (across - 0.5) * width * size * (-1 if mirror else 1)
    angle = rng.uniform(-8, 8) if rng.random() < 0.2 and not (cut.below or cut.left or cut.right) else 0.0
    placed = warp(cut.rgba, cx, cy, size, angle, height, width, mirror=mirror, border=cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(placed[:, :, :3]), np.ascontiguousarray(placed[:, :, 3]), foot


def _lit(rng: Rng, colour: Image, alpha: Image, behind: NDArray[np.float32], dim: float) -> Plane:
    """Move the subject's mean colour towards the background's, as one light would, half of the time; then ``dim`` it."""
    out = colour.astype(np.float32)
    solid = alpha > 200
    if rng.random() < 0.5 and solid.any():
        gap = behind - out[solid].mean(axis=0)
        out = out + gap * np.float32(rng.uniform(0.0, 0.6))
    if dim != 1.0:
        out = out * np.float32(dim)
    return np.clip(out, 0, 255).astype(np.float32)


def _patterned(rng: Rng, colour: Image, alpha: Image, props: Props) -> Image:
    """Stripes, checks or a texture on the lower part of a subject, where clothes are."""
    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    if rows.size < 8:
        return colour
    top, bottom = rows[0], rows[-1] + 1
    start = top + rng.uniform(0.35, 0.6) * (bottom - top)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.5:
        cloth = props.texture(rng, height, width).astype(np.float32)
    else:
        turn, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period))
        if rng.random() < 0.4:
            wave = wave * np.sin((y * np.cos(turn) - x * np.sin(turn)) * (2 * np.pi / period))
        one, two = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
        cloth = np.where((wave > 0)[:, :, None], one, two).astype(np.float32)
    soft = np.clip((y - start) / max(2.0, 0.08 * (bottom - top)), 0, 1)[:, :, None]
    # Folds stay: the subject's own light and dark goes through.
    shade = colour.astype(np.float32).mean(axis=2, keepdims=True) / 128.0
    mixed = colour + soft * rng.uniform(0.5, 1.0) * (cloth * np.clip(shade, 0.3, 1.4) - colour)
    return _to_uint8(mixed)


def _cast_shadow(rng: Rng, picture: Plane, alpha: Plane) -> None:
    height, width = alpha.shape
    small = cv2.resize(alpha, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    shift = np.array([[1, 0, rng.normal(0, 0.04) * width / 4], [0, 1, rng.uniform(-0.01, 0.06) * height / 4]])
    small = cv2.warpAffine(small, shift, (small.shape[1], small.shape[0]))
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.01, 0.05) * max(height, width) / 4 + 0.3)
    dark = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    picture *= (1.0 - np.float32(rng.uniform(0.15, 0.6)) * dark)[:, :, None]


@dataclass(frozen=True)
class _Spot:
    """Where a thing goes: its middle and half of its height, in pixels."""

    x: float
    y: float
    reach: float


def _anywhere(rng: Rng, height: int, width: int) -> _Spot:
    reach = np.exp(rng.uniform(np.log(0.06), np.log(0.35))) * min(height, width)
    return _Spot(rng.uniform(0, width), rng.uniform(0, height), reach)


def _at_edge(rng: Rng, height: int, width: int) -> _Spot:
    """What stands nearer to the camera than the subjects reaches in from a side or from below."""
    spot = _anywhere(rng, height, width)
    inside = rng.uniform(-0.3, 0.7) * spot.reach
    side = int(rng.integers(3))
    if side == 2:
        return _Spot(spot.x, height - inside, spot.reach)
    return _Spot(inside if side == 0 else width - inside, spot.y, spot.reach)


def _at_outline(rng: Rng, alpha: Plane) -> _Spot | None:
    """A place where hands may be: at the outline of a subject, below its head."""
    solid = alpha > 0.5
    rows = np.flatnonzero(solid.any(axis=1))
    if rows.size < 16:
        return None
    top, tall = rows[0], rows.size
    y = int(top + rng.uniform(0.3, 0.9) * tall)
    columns = np.flatnonzero(solid[min(y, alpha.shape[0] - 1)])
    if not columns.size:
        return None
    x, outwards = (columns[0], -1.0) if rng.random() < 0.5 else (columns[-1], 1.0)
    reach = np.exp(rng.uniform(np.log(0.08), np.log(0.3))) * tall
    # Near enough for the two to be one.
    return _Spot(float(x) + outwards * rng.uniform(-0.4, 0.5) * reach, y, reach)


def _thing(rng: Rng, height: int, width: int, props: Props, spot: _Spot) -> tuple[Plane, Plane]:
    """Colour (H, W, 3) and soft mask (H, W), 0..1, of a thing, or of something of a random outline."""
    if props.things and rng.random() < 0.3:
        thing = props.things[int(rng.integers(len(props.things)))]
        rows, columns = thing.rgba[0].shape[:2]
        size = rows / (2.0 * spot.reach)
        cx, cy = columns / 2 + (width / 2 - spot.x) * size, rows / 2 + (height / 2 - spot.y) * size
        rgba = warp(thing.rgba, cx, cy, size, rng.uniform(-20, 20), height, width, border=cv2.BORDER_CONSTANT)
        lit = jitter_colour(rng, np.ascontiguousarray(rgba[:, :, :3]), 0.7)
        return lit.astype(np.float32), rgba[:, :, 3].astype(np.float32) / 255.0
    mask = np.zeros((height, width), np.uint8)
    kind, middle = rng.random(), np.array((spot.x, spot.y))
    if kind < 0.35:
        axes = np.maximum(1, np.rint(spot.reach * rng.uniform(0.4, 1.4, 2))).astype(int).tolist()
        cv2.ellipse(mask, np.rint(middle).astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = int(rng.integers(4, 11)) if kind < 0.75 else 4
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind < 0.75 else rng.uniform(0, 0.2) + np.arange(4) * np.pi / 2 + 0.8
        radii = spot.reach * (rng.uniform(0.5, 1.4, corners) if kind < 0.75 else 1.0)
        stretch = rng.uniform(0.5, 2.0)
        points = middle + np.stack([np.cos(angles) * stretch, np.sin(angles) / stretch], 1) * np.reshape(radii, (-1, 1))
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.5)).astype(np.float32) / 255.0
    if rng.random() < 0.3:
        flat = np.full((height, width, 3), rng.uniform(0, 255, 3), np.float32)
        return flat + rng.normal(0, 4, (height, width, 1)).astype(np.float32), soft
    return jitter_colour(rng, props.texture(rng, height, width), 0.7).astype(np.float32), soft


def _paste_thing(rng: Rng, picture: Plane, props: Props) -> None:
    height, width = picture.shape[:2]
    colour, mask = _thing(rng, height, width, props, _anywhere(rng, height, width))
    picture += mask[:, :, None] * (colour - picture)


def _counter(rng: Rng, foot: float, height: int, width: int, props: Props) -> tuple[Plane, Plane]:
    """Something with a level upper edge that hides all below ``foot``: a table, a wall, a seat."""
    y = np.arange(height, dtype=np.float32)[:, None]
    edge = foot - rng.uniform(0.01, 0.05) * height
    slope = rng.normal(0, 0.02) * (np.arange(width, dtype=np.float32)[None] - width / 2)
    # The slope must not lift the edge above what has to be hidden.
    mask = np.clip(y - (edge - np.abs(slope).max() + slope), 0, 1)
    return jitter_colour(rng, props.texture(rng, height, width), 0.7).astype(np.float32), mask.astype(np.float32)


def _hide(picture: Plane, alphas: Sequence[Plane], colour: Plane, mask: Plane) -> None:
    picture += mask[:, :, None] * (colour - picture)
    for alpha in alphas:
        np.multiply(alpha, 1.0 - mask, out=alpha)


def _to_uint8(values: NDArray[np.floating]) -> Image:
    result: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return result
