"""Draws the scenery of the example files: a living room in daylight, and a beach in the late afternoon."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]
"""(H, W, 3) RGB or (H, W) grey, float32 0..1."""

WIDTH, HEIGHT = 960, 540
"""Size of the room, in pixels."""


def disc(radius: int) -> NDArray[np.uint8]:
    """A round structuring element."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)


def noise(random: np.random.Generator, height: int, width: int, cells: float, stretch: float = 1.0, octaves: int = 5) -> Picture:
    """Cloud-like noise, (height, width), mean 0.5; ``stretch`` above 1 draws it out sideways."""
    total, norm = np.zeros((height, width), np.float32), 0.0
    for octave in range(octaves):
        rows = max(2, int(cells * 2**octave))
        columns = max(2, int(rows * width / height / stretch))
        grid = random.random((rows, columns), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
        norm += 0.5**octave
    return total / norm


def smooth(low: float, high: float, value: Any) -> Any:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Any, b: Any, t: Any) -> Any:
    """``a`` where ``t`` is 0, ``b`` where it is 1; (H, W) weights take colours."""
    t = np.asarray(t, np.float32)
    t = t[..., None] if t.ndim == 2 else t
    return (np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t).astype(np.float32)


def draw_room() -> Picture:
    """A living room in daylight, slightly out of focus, (HEIGHT, WIDTH, 3)."""
    k = 2  # drawn at twice the size
    height, width = HEIGHT * k, WIDTH * k
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / k

    def box(room: Picture, left: float, top: float, right: float, bottom: float, colour: Any) -> None:
        room[int(top * k) : int(bottom * k), int(left * k) : int(right * k)] = colour

    plaster = noise(random, height, width, 14) - 0.5
    room = mix((0.66, 0.68, 0.63), (0.78, 0.77, 0.70), smooth(0, 540, y) * 0.5 + 0.3) + 0.05 * plaster[..., None]
    room = room.astype(np.float32)

    # Window: sky, trees, sill, frame.
    left, top, right, bottom = 58, 40, 300, 372
    box(room, left - 14, top - 14, right + 14, bottom + 12, (0.88, 0.87, 0.83))
    sky = mix((0.62, 0.79, 0.95), (0.93, 0.96, 0.97), smooth(top, bottom - 90, y))
    clouds = smooth(0.50, 0.70, noise(random, height, width, 5, 2.0))
    outside = mix(sky, (1.0, 1.0, 0.99), clouds * 0.7)
    leaves = noise(random, height, width, 16)
    crown = smooth(-14, 14, y - (268 - 60 * (noise(random, height, width, 4) - 0.5) * 2 - 34 * np.sin(x / 41)))
    outside = mix(outside, mix((0.16, 0.30, 0.13), (0.56, 0.70, 0.34), smooth(0.33, 0.68, leaves)), crown)
    outside = cv2.GaussianBlur(outside, (0, 0), 5 * k)
    window = np.s_[int(top * k) : int(bottom * k), int(left * k) : int(right * k)]
    room[window] = outside[window]
    box(room, (left + right) / 2 - 6, top, (left + right) / 2 + 6, bottom, (0.86, 0.85, 0.81))
    box(room, left, 150, right, 158, (0.86, 0.85, 0.81))
    box(room, left - 30, bottom + 12, right + 30, bottom + 26, (0.93, 0.92, 0.88))
    box(room, left - 30, bottom + 26, right + 30, bottom + 32, (0.52, 0.53, 0.50))

    # Curtains on both sides.
    for centre, reach in ((28, 44), (338, 42)):
        folds = 0.5 + 0.5 * np.sin((x - centre) / 5.2 + 0.7 * np.sin(y / 160 + centre))
        cloth = mix((0.50, 0.42, 0.33), (0.87, 0.79, 0.66), 0.25 + 0.65 * folds)
        edge = reach + 7 * np.sin(y / 90 + centre)
        room = mix(room, cloth, smooth(3, 0, np.abs(x - centre) - edge))

    # Bookcase on the right.
    left, top, right, bottom = 668, 66, 934, 560
    wood = mix((0.36, 0.24, 0.15), (0.47, 0.33, 0.21), noise(random, height, width, 60, 0.06, 3))
    case = np.s_[int(top * k) : int(bottom * k), int(left * k) : int(right * k)]
    room[case] = wood[case]
    palette = [
        (0.60, 0.20, 0.16), (0.18, 0.30, 0.42), (0.80, 0.73, 0.58), (0.22, 0.36, 0.27), (0.72, 0.50, 0.20), (0.35, 0.20, 0.30),
        (0.86, 0.84, 0.79), (0.30, 0.45, 0.52), (0.48, 0.30, 0.22), (0.15, 0.17, 0.21), (0.66, 0.36, 0.28), (0.52, 0.56, 0.42),
    ]  # fmt: skip
    shelf = 128.0
    for number, floor in enumerate(np.arange(top + shelf, bottom + 40, shelf)):
        inner = floor - shelf + 10
        box(room, left + 10, inner, right - 10, floor, (0.20, 0.14, 0.10))
        shade = smooth(inner, inner + 46, y)
        part = np.s_[int(inner * k) : int(floor * k), int((left + 10) * k) : int((right - 10) * k)]
        room[part] = (room * (0.5 + 0.5 * shade[..., None]))[part]
        position, stop = left + 14.0, right - 16.0
        gap = (left + 48 + 83 * number % 150, 44.0)
        while position < stop - 12:
            if gap[0] <= position < gap[0] + 24:  # a bowl stands here
                bowl, at = tuple(c * 0.8 + 0.14 for c in palette[(5 * number + 4) % 12]), int((position + gap[1] / 2) * k)
                cv2.ellipse(room, (at, int((floor - 30) * k)), (19 * k, 30 * k), 0, 0, 180, bowl, -1, cv2.LINE_AA)
                cv2.ellipse(
                    room, (at, int((floor - 30) * k)), (19 * k, 5 * k), 0, 0, 360, tuple(c * 0.6 for c in bowl), -1, cv2.LINE_AA
                )
                position += gap[1]
                continue
            thick, tall = random.uniform(10, 22), random.uniform(66, 106)
            colour = np.array(palette[random.integers(len(palette))]) * random.uniform(0.8, 1.08)
            end = min(position + thick, stop)
            box(room, position, floor - tall, end, floor, colour)
            box(room, position, floor - tall, position + 2, floor, colour * 1.22)
            box(room, end - 2, floor - tall, end, floor, colour * 0.55)
            box(room, position + 2, floor - tall * 0.82, end - 2, floor - tall * 0.76, np.clip(colour * 1.5 + 0.1, 0, 0.95))
            position = end + (random.uniform(0, 2) if random.random() < 0.8 else 8)
        box(room, left, floor, right, floor + 9, (0.50, 0.36, 0.23))
        box(room, left, floor + 7, right, floor + 9, (0.25, 0.16, 0.10))
    box(room, left - 3, top - 8, right + 3, top + 2, (0.53, 0.38, 0.25))

    # A plant on the bookcase, a vase in the gaps' place, an image on the wall.
    pot_x, pot_y = 760.0, 60.0
    for _ in range(46):
        angle, length = random.uniform(-1.25, 1.25), random.uniform(34, 78)
        tip = (pot_x + math.sin(angle) * length, pot_y - 16 - math.cos(angle) * length * 0.62 + abs(angle) * 16)
        middle = ((pot_x + tip[0]) / 2 + random.uniform(-7, 7), (pot_y - 16 + tip[1]) / 2 - 9)
        t = np.linspace(0, 1, 24)[:, None]
        spine = (1 - t) ** 2 * (pot_x, pot_y - 14) + 2 * t * (1 - t) * np.array(middle) + t**2 * np.array(tip)
        normal = np.stack([-np.gradient(spine[:, 1]), np.gradient(spine[:, 0])], 1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        half = normal * (5.5 * np.sin(np.pi * t**0.8))
        leaf = np.concatenate([spine + half, (spine - half)[::-1]])
        green = np.array((0.20, 0.38, 0.17)) * random.uniform(0.75, 1.5)
        cv2.fillPoly(room, [np.round(leaf * k).astype(np.int32)], tuple(map(float, green)), cv2.LINE_AA)
    pot = np.array([(pot_x - 21, pot_y - 24), (pot_x + 21, pot_y - 24), (pot_x + 16, pot_y), (pot_x - 16, pot_y)])
    cv2.fillPoly(room, [np.round(pot * k).astype(np.int32)], (0.76, 0.45, 0.31), cv2.LINE_AA)
    box(room, 408, 64, 576, 184, (0.24, 0.18, 0.14))
    box(room, 414, 70, 570, 178, (0.94, 0.93, 0.89))
    hills = mix((0.91, 0.76, 0.58), (0.55, 0.66, 0.72), smooth(84, 134, y))
    for level, tint in ((124, (0.42, 0.53, 0.55)), (138, (0.30, 0.42, 0.41)), (151, (0.19, 0.28, 0.27))):
        hills = mix(hills, tint, smooth(-1.5, 1.5, y - level - 7 * np.sin(x / (9 + level / 12) + level)))
    painting = np.s_[84 * k : 164 * k, 432 * k : 552 * k]
    room[painting] = hills[painting]

    # Floor lamp between image and bookcase.
    box(room, 611, 232, 616, 540, (0.17, 0.16, 0.16))
    shade_mask = smooth(2, -2, np.abs(x - 613.5) - (26 + 24 * smooth(150, 236, y))) * (y > 152) * (y < 236)
    room = mix(room, mix((1.0, 0.93, 0.74), (0.97, 0.80, 0.52), np.clip(np.abs(x - 613) / 50, 0, 1)), shade_mask)

    # Light: daylight from the window, the lamp's warm glow, corners darker.
    daylight = np.exp(-(((x - 180) / 330) ** 2) - ((y - 230) / 330) ** 2)
    warm = np.exp(-(((x - 613) / 120) ** 2) - ((y - 214) / 140) ** 2)
    light = 0.70 + 0.38 * daylight
    room = room * light[..., None] + warm[..., None] * np.array((0.20, 0.14, 0.06), np.float32)
    corner = ((x - WIDTH / 2) / WIDTH) ** 2 + ((y - HEIGHT / 2) / HEIGHT) ** 2
    room = room * (1 - 0.42 * corner[..., None])

    # Out of focus as behind a portrait: a small round aperture.
    lens = disc(3 * k).astype(np.float32)
    room = cv2.filter2D(np.clip(room, 0, 1.2) ** 2.2, -1, lens / lens.sum()) ** (1 / 2.2)
    return np.asarray(np.clip(cv2.resize(room, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), 0, 1), np.float32)


def draw_beach(width: int = 1920, height: int = 1080) -> NDArray[np.uint8]:
    """A beach in the late afternoon, (height, width, 3) RGB."""
    random = np.random.default_rng(23)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width, y / height
    horizon, sun = 0.44, (0.73, 0.285)

    # Sky, sun, clouds.
    sky = mix((0.22, 0.46, 0.76), (0.60, 0.79, 0.90), smooth(0, 0.30, v))
    sky = mix(sky, (1.0, 0.87, 0.68), smooth(0.20, horizon, v) * 0.85)
    distance = np.hypot((u - sun[0]) * width / height, v - sun[1])
    sky = mix(sky, (1.0, 0.90, 0.66), np.exp(-((distance / 0.33) ** 2)) * 0.62)
    depth = np.clip((horizon - v) / horizon, 0.02, 1)
    field = cv2.remap(
        noise(random, 1400, 2000, 7, 1.6, 7), ((u - 0.5) / (depth + 0.35) * 900 + 1000).astype(np.float32),
        (1300 - 420 / (depth + 0.35)).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    cover = smooth(0.51, 0.68, field) * smooth(0.02, 0.30, depth)
    lit = mix((0.83, 0.80, 0.84), (1.0, 0.98, 0.95), smooth(0.52, 0.72, field + 0.16 * np.exp(-distance * 2.2)))
    sky = mix(sky, lit, cover * 0.86)
    sky = mix(sky, (1.0, 0.985, 0.90), smooth(0.040, 0.034, distance) * 0.9 + 0.42 * np.exp(-((distance / 0.075) ** 2)))

    # Sea: perspective waves, the sun's path on them.
    away = np.clip(v - horizon, 1e-3, None)
    plane_y, plane_x = 0.09 / away, (u - 0.5) / away
    swell = cv2.remap(
        noise(random, 2000, 2000, 80, 3.2, 4), np.clip(plane_x * 74 + 1000, 0, 1999).astype(np.float32),
        ((plane_y * 620) % 1999).astype(np.float32), cv2.INTER_LINEAR,
    ) - 0.5  # fmt: skip
    sea = mix((0.30, 0.55, 0.66), (0.10, 0.47, 0.56), smooth(0, 0.12, away))
    sea = mix(sea, (0.42, 0.76, 0.74), smooth(0.10, 0.235, away + 0.05 * (u - 0.5)))
    fade = smooth(0.0, 0.05, away)
    sea = sea + (swell * 0.55 * (0.25 + 0.75 * fade))[..., None] * np.array((0.75, 0.95, 0.95), np.float32)
    path = np.exp(-(((u - sun[0]) / (0.035 + 0.34 * away)) ** 2))
    sparkle = smooth(0.02, 0.20, swell) * path
    sea = mix(sea, (1.0, 0.93, 0.76), np.clip(sparkle * 0.85 + path * 0.20, 0, 1) * smooth(0.30, 0.05, away))

    # The line where the water ends, its foam, wet and dry sand.
    wave = 0.030 * np.sin(u * 5.1 + 0.8) + 0.014 * np.sin(u * 13.7 + 2.0) + 0.006 * np.sin(u * 37 + 1) + 0.085 * (u - 0.5)
    shore = 0.715 + wave + 0.010 * (noise(random, height, width, 6) - 0.5)
    grains = noise(random, height, width, 300, 1.0, 2) - 0.5
    dunes = noise(random, height, width, 9, 2.2, 5) - 0.5
    sand = mix((0.83, 0.70, 0.53), (0.95, 0.85, 0.68), smooth(0.75, 1.0, v))
    sand = sand + (0.10 * grains + 0.16 * dunes)[..., None] * np.array((1.0, 0.93, 0.8), np.float32)
    wet = smooth(0.105, 0.035, v - shore + 0.022 * np.sin(u * 8.3 + 0.4))
    mirror = mix((0.60, 0.50, 0.40), (0.80, 0.75, 0.66), 0.35 + 0.5 * np.exp(-(((u - sun[0]) / 0.22) ** 2)))
    sand = mix(sand, mirror + (0.03 * grains)[..., None], wet * 0.82)
    water = smooth(0.004, -0.004, v - shore)
    lace = noise(random, height, width, 46, 1.7, 5)
    ragged = np.abs(v - shore + 0.010) + 0.018 * (lace - 0.5)
    foam = np.clip(smooth(0.020, 0.006, ragged) + 0.55 * smooth(0.50, 0.62, lace) * smooth(0.055, 0.010, shore - v) * water, 0, 1)
    for offset, width_of in ((0.075, 0.0085), (0.135, 0.0050), (0.176, 0.0030)):
        line = 0.715 - offset + wave * (1 - 4.6 * offset) + 0.006 * np.sin(u * 11 + offset * 90)
        broken = smooth(0.46, 0.60, noise(random, height, width, 5, 1.2, 4))
        crest = smooth(width_of * 1.6, width_of * 0.4, np.abs(v - line) + width_of * 1.6 * (lace - 0.5)) * broken
        sea = mix(sea, sea * 0.80, smooth(0.018, 0.0, np.abs(v - line + 0.014)) * broken * 0.5)
        foam = np.maximum(foam, 0.9 * crest * water)
    ground = mix(sand * (1 - 0.22 * smooth(0.022, 0.0, v - shore))[..., None], sea, water)
    ground = mix(ground, (0.99, 0.98, 0.95), foam * 0.94)
    beach = mix(sky, ground, smooth(horizon - 0.0006, horizon + 0.0006, v))

    # A far headland.
    ridge = horizon - 0.050 * smooth(0.30, 0.05, u) - 0.020 * (noise(random, 4, width, 2, 0.02)[1] - 0.2) * smooth(0.32, 0.1, u)
    land = smooth(0.0, 0.002, v - ridge) * smooth(0.001, -0.001, v - horizon) * smooth(0.325, 0.30, u)
    trees = noise(random, height, width, 90, 1.5, 3)
    beach = mix(beach, mix((0.34, 0.46, 0.46), (0.46, 0.56, 0.50), trees), land * 0.93)
    beach = beach * (1 - 0.20 * ((u - 0.5) ** 2 + (v - 0.5) ** 2))[..., None]
    return np.asarray(np.round(np.clip(beach, 0, 1) * 255), np.uint8)
