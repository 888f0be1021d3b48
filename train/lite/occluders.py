"""Objects that are not subjects: clutter behind them, occluders, and things that they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image
from streammat.train.data.pack import Cut
from streammat.train.lite.augment import jitter_colour
from streammat.train.lite.warp import warp

Rng = np.random.Generator
Plane = NDArray[np.float32]
"""(H, W) or (H, W, 3)."""


@dataclass(frozen=True)
class Props:
    """Props of scenes: textures and cut-outs."""

    texture: Callable[[Rng, int, int], Image]
    """Returns a crop of some background, uint8 (height, width, 3)."""
    things: Sequence[Cut] = ()
    """Cut-outs that are no subjects."""


@dataclass(frozen=True)
class Spot:
    """Position of an object: its middle and half of its height, in pixels."""

    x: float
    y: float
    reach: float


def anywhere(rng: Rng, height: int, width: int) -> Spot:
    """Draw a position and size in an image of ``height`` x ``width`` pixels."""
    reach = np.exp(rng.uniform(np.log(0.06), np.log(0.35))) * min(height, width)
    return Spot(rng.uniform(0, width), rng.uniform(0, height), reach)


def at_edge(rng: Rng, height: int, width: int) -> Spot:
    """Draw a position at the left, right or lower edge, for objects nearer to the camera than the subjects."""
    spot = anywhere(rng, height, width)
    inside = rng.uniform(-0.3, 0.7) * spot.reach
    side = int(rng.integers(3))
    if side == 2:
        return Spot(spot.x, height - inside, spot.reach)
    return Spot(inside if side == 0 else width - inside, spot.y, spot.reach)


def at_outline(rng: Rng, alpha: Plane) -> Spot | None:
    """Draw a position where hands may be: at the outline of a subject, below its head; None if there is none.

    Args:
        rng: source of chance.
        alpha: the subject's alpha, (H, W), 0..1.
    """
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
    return Spot(float(x) + outwards * rng.uniform(-0.4, 0.5) * reach, y, reach)


def make_object(rng: Rng, height: int, width: int, props: Props, spot: Spot) -> tuple[Plane, Plane]:
    """Return colour (H, W, 3) and soft mask (H, W), 0..1, of a cut-out object, or of a random shape."""
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


def paste_object(rng: Rng, image: Plane, props: Props) -> None:
    """Draw an object into an image, float32 (H, W, 3), in place."""
    height, width = image.shape[:2]
    colour, mask = make_object(rng, height, width, props, anywhere(rng, height, width))
    image += mask[:, :, None] * (colour - image)


def folds(rng: Rng, height: int, width: int) -> Plane:
    """Return the shading of folded cloth, (H, W), around 1.0: waves along one direction, bent by slower ones across it."""
    scale = 4
    y, x = np.mgrid[0 : max(1, height // scale), 0 : max(1, width // scale)].astype(np.float32) * np.float32(scale / max(height, width))
    turn, waves = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3.0), np.log(18.0)))
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    bend = rng.uniform(0.0, 2.0) * np.sin(2 * np.pi * (rng.uniform(0.5, 2.0) * across + rng.uniform(0.0, 1.0)))
    light = 1.0 + rng.uniform(0.1, 0.4) * np.sin(2 * np.pi * waves * along + bend) * np.cos(np.pi * across + rng.uniform(0.0, np.pi))
    whole: Plane = cv2.resize(light.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    return whole
