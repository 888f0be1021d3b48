"""Composes scenes: subjects, objects that are not subjects, and light, on a background.

The shipped network sees few real images, so the scenes must cover later use: subjects of every size and number, cut by the frame
and by furniture, in front of clutter, against the light. All random choices come from the caller's generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image
from streammat.train.data.pack import Cut
from streammat.train.lite.augment import jitter_colour
from streammat.train.lite.occluders import Plane, Props, Rng, Spot, at_edge, at_outline, folds, make_object, paste_object
from streammat.train.lite.warp import warp

SMALL = 0.4
"""Largest height of a small subject, relative to the image's."""


@dataclass(frozen=True)
class SceneConfig:
    """Options of scenes; probabilities are per scene unless said otherwise. 0 leaves an ingredient out."""

    crowd: tuple[float, ...] = (0.52, 0.24, 0.14, 0.10)
    """Probabilities of one, two, three … subjects."""
    height: tuple[float, float] = (0.13, 1.25)
    """Range of a subject's height relative to the image's."""
    small: float = 0.3
    """Share of subjects of up to `SMALL` of the image's height, drawn evenly on a log scale; the others evenly above."""
    portrait_height: float = 0.22
    """Least height of head and shoulders."""
    clutter: float = 0.35
    """One to three cut-outs of other images behind the subjects; they are background."""
    occluder: float = 0.1
    """One such cut-out in front of them, from an edge of the image."""
    fabric: float = 0.25
    """A large folded object, such as a bedspread, curtain or coat; per image without a subject."""
    held: float = 0.14
    """An object at the subject's outline, which belongs to it, such as things held in hands; per subject."""
    counter: float = 0.12
    """A subject that its own image cuts at the bottom is put behind something, instead of at the lower edge; per subject."""
    pattern: float = 0.2
    """Clothes with another texture or in one colour, most often black, white or the background's own colour; per person."""
    coat: float = 0.25
    """Fur of another colour, half of the time with stripes, checks or a texture; per animal (the data has only cats and horses)."""
    backlight: float = 0.07
    """Subjects darker than the background; half of the time as silhouettes."""
    glare: float = 0.03
    """Subjects nearly overexposed."""
    shadow: float = 0.2
    """A soft shadow on the background; per subject."""
    tilt: float = 0.15
    """The whole image rotated by up to 25 degrees."""


@dataclass(frozen=True)
class Scene:
    """A composed image and its layers; H x W."""

    rgb: Image
    """uint8 (H, W, 3), RGB."""
    alpha: Image
    """uint8 (H, W), 0..255: all subjects together."""
    contrast: Image
    """uint8 (H, W): mean absolute difference of foreground and background; 0 where unknown."""


def add_clutter(rng: Rng, background: Image, props: Props, config: SceneConfig) -> Image:
    """Put objects that are not subjects on a background; returns a new image, uint8 (H, W, 3)."""
    if rng.random() >= config.clutter:
        return background
    image = background.astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        paste_object(rng, image, props)
    return _to_uint8(image)


def add_fabric(rng: Rng, background: Image, props: Props, config: SceneConfig) -> Image:
    """Put a large folded object that is not a subject on a background; returns a new image, uint8 (H, W, 3)."""
    if rng.random() >= config.fabric:
        return background
    height, width = background.shape[:2]
    image = background.astype(np.float32)
    reach = float(np.exp(rng.uniform(np.log(0.3), np.log(0.9)))) * min(height, width)
    colour, mask = make_object(rng, height, width, props, Spot(rng.uniform(0, width), rng.uniform(0, height), reach))
    image += mask[:, :, None] * (colour * folds(rng, height, width)[:, :, None] - image)
    return _to_uint8(image)


def compose(
    rng: Rng, background: Image, known: Image | None, cuts: Sequence[Cut], props: Props, config: SceneConfig
) -> Scene:
    """Put subjects in front of a background.

    Args:
        rng: source of chance.
        background: uint8 (H, W, 3).
        known: alpha of subjects already in the background, uint8 (H, W); None: there are none.
        cuts: subjects, at least one; smaller ones are placed further back.
        props: objects and textures.
        config: probabilities.
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
    image = behind.copy()
    base = np.zeros((height, width), np.float32) if known is None else known.astype(np.float32) / 255.0
    total, pasted = base.copy(), np.zeros((height, width), np.float32)
    layers = sorted(_layout(rng, cuts, config), key=lambda item: item[1])
    for cut, share, across in layers:
        colour, alpha, foot = _place(rng, cut, share, across, height, width, config)
        if cut.animal and rng.random() < config.coat:
            colour = _dyed(rng, colour)
            if rng.random() < 0.5:
                colour = _patterned(rng, colour, alpha, props, mean, (0.0, 0.1), (0.2, 0.8))
        elif not cut.animal and rng.random() < config.pattern:
            colour = _patterned(rng, colour, alpha, props, mean, (0.35, 0.6), (0.5, 1.0))
        lit = _lit(rng, jitter_colour(rng, colour, 0.6), alpha, mean, dim)
        a = alpha.astype(np.float32) / 255.0
        if rng.random() < config.shadow:
            _cast_shadow(rng, image, a)
        image += a[:, :, None] * (lit - image)
        total, pasted = a + total * (1.0 - a), a + pasted * (1.0 - a)
        if rng.random() < config.held and (spot := at_outline(rng, a)) is not None:
            colour_held, mask = make_object(rng, height, width, props, spot)
            image += mask[:, :, None] * (np.clip(colour_held * dim, 0, 255) - image)
            total, pasted = mask + total * (1.0 - mask), mask + pasted * (1.0 - mask)
        if foot is not None:
            _hide(image, (total, pasted), *_counter(rng, foot, height, width, props))
    contrast = np.abs(image - behind).mean(axis=2) / np.maximum(pasted, 1e-3)
    if rng.random() < config.occluder:
        _hide(image, (total, pasted), *make_object(rng, height, width, props, at_edge(rng, height, width)))
    # What is behind is known where nothing but pasted subjects was added.
    contrast[(pasted < 0.02) | (base > 0.02)] = 0.0
    scene = Scene(_to_uint8(image), _to_uint8(total * 255.0), _to_uint8(contrast))
    return turned(rng, scene) if rng.random() < config.tilt else scene


def turned(rng: Rng, scene: Scene) -> Scene:
    """Return the scene as seen by a tilted camera, enlarged so that no corner is empty."""
    height, width = scene.alpha.shape
    angle = float(np.clip(rng.normal(0, 11), -25, 25))
    turn = np.radians(abs(angle))
    size = 1.0 / (np.cos(turn) + max(height / width, width / height) * np.sin(turn))
    rgb, alpha, contrast = (
        warp([plane], width / 2, height / 2, size, angle, height, width) for plane in (scene.rgb, scene.alpha, scene.contrast)
    )
    contrast[alpha == 0] = 0
    return Scene(rgb, alpha, contrast)


def _layout(rng: Rng, cuts: Sequence[Cut], config: SceneConfig) -> list[tuple[Cut, float, float]]:
    """Draw for each subject its relative height and the horizontal position of its middle, 0..1."""
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
    """Return a subject's colour and alpha on an empty canvas, and, if something must hide its lower end, the height of that."""
    mirror = bool(rng.random() < 0.5)
    rows, columns = cut.rgba[0].shape[:2]
    size = rows / (share * height)
    foot = None
    if not cut.below:
        # At least a third of it stays in the image.
        bottom = rng.uniform(0.45, 1.0) * height if share < 0.5 else rng.uniform(0.85, 1.0 + 0.66 * share) * height
        bottom = max(bottom, 0.33 * share * height)
    elif share < 0.8 and rng.random() < config.counter:
        bottom = foot = rng.uniform(max(share, 0.4), 1.0) * height
    else:
        bottom = height + (rng.uniform(0.0, 0.25) * share * height if rng.random() < 0.4 else 0.0)
    cy = rows - (bottom - height / 2) * size
    # A side that its own image cut lies on the new one's edge: subjects cut in mid-air teach nothing.
    if cut.left != cut.right:
        cx = width / 2 * size if cut.left else columns - width / 2 * size
    else:
        cx = columns / 2 - (across - 0.5) * width * size * (-1 if mirror else 1)
    angle = rng.uniform(-8, 8) if rng.random() < 0.2 and not (cut.below or cut.left or cut.right) else 0.0
    placed = warp(cut.rgba, cx, cy, size, angle, height, width, mirror=mirror, border=cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(placed[:, :, :3]), np.ascontiguousarray(placed[:, :, 3]), foot


def _lit(rng: Rng, colour: Image, alpha: Image, behind: NDArray[np.float32], dim: float) -> Plane:
    """Move the subject's mean colour towards the background's, as common light would, half of the time; then ``dim`` it."""
    out = colour.astype(np.float32)
    solid = alpha > 200
    if rng.random() < 0.5 and solid.any():
        gap = behind - out[solid].mean(axis=0)
        out = out + gap * np.float32(rng.uniform(0.0, 0.6))
    if dim != 1.0:
        out = out * np.float32(dim)
    return np.clip(out, 0, 255).astype(np.float32)


def _dyed(rng: Rng, colour: Image) -> Image:
    """Change the hue: scale the channels differently, and sometimes exchange them."""
    order = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    return _to_uint8(colour[:, :, order].astype(np.float32) * np.exp(rng.normal(0, 0.25, 3)))


def _patterned(
    rng: Rng,
    colour: Image,
    alpha: Image,
    props: Props,
    behind: NDArray[np.float32],
    top: tuple[float, float],
    strength: tuple[float, float],
) -> Image:
    """Put one colour, a texture, stripes or checks on a subject, from a share ``top`` of its height down, as clothes or fur."""
    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    if rows.size < 8:
        return colour
    bottom = rows[-1] + 1
    start = rows[0] + rng.uniform(*top) * (bottom - rows[0])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    kind = rng.random()
    if kind < 0.5:
        # Black, the colour of what is behind, white, any.
        ends = (rng.uniform(0, 40, 3), rng.normal(behind, 15.0), rng.uniform(200, 255, 3), rng.uniform(0, 255, 3))
        plain = ends[int(np.searchsorted((0.2, 0.3, 0.38), kind, side="right"))]
        cloth = np.broadcast_to(plain.astype(np.float32), (height, width, 3))
    elif kind < 0.72:
        cloth = props.texture(rng, height, width).astype(np.float32)
    else:
        turn, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period))
        if rng.random() < 0.4:
            wave = wave * np.sin((y * np.cos(turn) - x * np.sin(turn)) * (2 * np.pi / period))
        one, two = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
        cloth = np.where((wave > 0)[:, :, None], one, two).astype(np.float32)
    soft = np.clip((y - start) / max(2.0, 0.08 * (bottom - rows[0])), 0, 1)[:, :, None]
    # Folds stay: the subject's own light and dark goes through.
    shade = colour.astype(np.float32).mean(axis=2, keepdims=True) / 128.0
    mixed = colour + soft * rng.uniform(*strength) * (cloth * np.clip(shade, 0.3, 1.4) - colour)
    return _to_uint8(mixed)


def _cast_shadow(rng: Rng, image: Plane, alpha: Plane) -> None:
    height, width = alpha.shape
    small = cv2.resize(alpha, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    shift = np.array([[1, 0, rng.normal(0, 0.04) * width / 4], [0, 1, rng.uniform(-0.01, 0.06) * height / 4]])
    small = cv2.warpAffine(small, shift, (small.shape[1], small.shape[0]))
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.01, 0.05) * max(height, width) / 4 + 0.3)
    dark = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    image *= (1.0 - np.float32(rng.uniform(0.15, 0.6)) * dark)[:, :, None]


def _counter(rng: Rng, foot: float, height: int, width: int, props: Props) -> tuple[Plane, Plane]:
    """Draw an object with a level upper edge that hides everything below ``foot``: a table, a wall, a seat."""
    y = np.arange(height, dtype=np.float32)[:, None]
    edge = foot - rng.uniform(0.01, 0.05) * height
    slope = rng.normal(0, 0.02) * (np.arange(width, dtype=np.float32)[None] - width / 2)
    # The slope must not lift the edge above what has to be hidden.
    mask = np.clip(y - (edge - np.abs(slope).max() + slope), 0, 1)
    return jitter_colour(rng, props.texture(rng, height, width), 0.7).astype(np.float32), mask.astype(np.float32)


def _hide(image: Plane, alphas: Sequence[Plane], colour: Plane, mask: Plane) -> None:
    image += mask[:, :, None] * (colour - image)
    for alpha in alphas:
        np.multiply(alpha, 1.0 - mask, out=alpha)


def _to_uint8(values: NDArray[np.floating]) -> Image:
    result: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return result
