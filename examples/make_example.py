"""Makes the example files beside this script: a clip of a person in a room, its exact alpha, and a background.

The person is NASA's portrait of astronaut Eileen Collins (public domain), which scikit-image carries; the room and the
beach are drawn by ``scenery.py``. Every frame is ``alpha * person + (1 - alpha) * room``, and that alpha is what
``portrait_alpha.mkv`` holds, so a matte of ``portrait.mp4`` can be measured against the truth.

    python examples/make_example.py            # everything, from the alpha that lies here
    python examples/make_example.py --cut-out  # first cut the portrait out again (needs pymatting)
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scenery import HEIGHT, WIDTH, disc, draw_beach, draw_room
from skimage import data

Picture = NDArray[Any]
"""(H, W, 3) RGB or (H, W) grey, float32 0..1."""

HERE = Path(__file__).resolve().parent
RATE, FRAMES = 25, 125
ZOOM = 1.52
"""Size of the portrait in the frame: its 512 pixels become ZOOM * 512."""
SAMPLE_RATE = 48000

# The outline of the person, by hand, in pixels of the portrait at twice its size; GrabCut and matting refine it.
OUTLINE = [
    (450, 32), (520, 42), (570, 78), (598, 130), (603, 185), (588, 235), (562, 262), (548, 274), (530, 300), (512, 347),
    (560, 370), (600, 430), (610, 480), (640, 485), (682, 520), (700, 570), (715, 640), (728, 690), (780, 688), (850, 698),
    (920, 740), (972, 820), (992, 890), (1012, 940), (1023, 960), (1023, 1023), (80, 1023), (60, 960), (48, 900), (40, 850),
    (37, 790), (45, 720), (62, 640), (78, 570), (100, 520), (140, 480), (190, 440), (228, 415), (228, 385), (245, 345),
    (280, 312), (340, 297), (372, 298), (366, 272), (350, 265), (338, 240), (312, 215), (305, 175), (314, 125), (350, 82),
    (400, 48),
]  # fmt: skip
HAIR_ROWS = 140
"""Rows of the portrait that hold the hair: there the matte may be soft over more pixels."""


def grow(mask: Picture, radius: int) -> NDArray[np.uint8]:
    """Dilate ``mask`` (or erode it where ``radius`` is negative), taking the image to go on beyond its edges."""
    pad = 32
    wide = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    done = cv2.dilate(wide, disc(radius)) if radius >= 0 else cv2.erode(wide, disc(-radius))
    return np.asarray(done[pad:-pad, pad:-pad], np.uint8)


def cut_out(portrait: Picture) -> NDArray[np.uint8]:
    """Alpha of the portrait, (512, 512) uint8: outline, then GrabCut, then closed-form matting along the edge."""
    from pymatting import estimate_alpha_cf

    mask = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(np.array(OUTLINE) / 2).astype(np.int32)], 1)
    state = np.where(mask > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[grow(mask, -7) > 0] = cv2.GC_FGD
    state[grow(mask, 7) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    bgr = np.ascontiguousarray((portrait[:, :, ::-1] * 255).round().astype(np.uint8))
    cv2.grabCut(bgr, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    person = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = grow(grow(person, 5), -5)  # the clasp of the collar
    outside, inside = grow(person, 2), grow(person, -2)
    outside[:HAIR_ROWS], inside[:HAIR_ROWS] = grow(person, 6)[:HAIR_ROWS], grow(person, -4)[:HAIR_ROWS]
    trimap = np.full(person.shape, 0.5)
    trimap[inside > 0] = 1.0
    trimap[outside == 0] = 0.0
    alpha = estimate_alpha_cf(portrait.astype(np.float64), trimap)
    alpha = np.clip((alpha - 0.04) / 0.92, 0.0, 1.0)
    return np.asarray(np.round(alpha * 255), np.uint8)


def own_colour(portrait: Picture, alpha: Picture) -> Picture:
    """The person's colour carried outwards over the soft edge, so that nothing of the old backdrop is left in it."""
    solid = (alpha > 0.97).astype(np.float32)
    colour = portrait * solid[..., None]
    total, weight = np.zeros_like(portrait), np.zeros_like(alpha)
    for radius, strength in ((1.2, 1.0), (2.5, 1e-2), (6.0, 1e-4), (24.0, 1e-8)):
        total += strength * cv2.GaussianBlur(colour, (0, 0), radius)
        weight += strength * cv2.GaussianBlur(solid, (0, 0), radius)
    spread = total / np.maximum(weight, 1e-12)[..., None]
    keep = np.clip((alpha - 0.75) / 0.22, 0, 1)[..., None]
    return np.clip(keep * portrait + (1 - keep) * spread, 0, 1).astype(np.float32)


def pose(index: int) -> NDArray[np.float64]:
    """Where the portrait stands in frame ``index``: a 2x3 affine map; the movement repeats when the clip does."""
    phase = 2 * math.pi * index / FRAMES
    zoom = ZOOM * (1 + 0.025 * math.sin(phase + 0.6))
    angle = math.radians(1.8 * math.sin(2 * phase))
    shift_x, shift_y = 46 * math.sin(phase), 5 * math.sin(2 * phase + 1)
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    pivot, target = np.array([226.0, 420.0]), np.array([470.0 + shift_x, 42 + 405 * ZOOM + shift_y])
    return np.column_stack([turn, target - turn @ pivot])


def write_clip() -> None:
    """``portrait.mp4`` and ``portrait_alpha.mkv``."""
    portrait = data.astronaut().astype(np.float32) / 255
    stored = cv2.imread(str(HERE / "astronaut_alpha.png"), cv2.IMREAD_GRAYSCALE)
    if stored is None:
        message = "examples/astronaut_alpha.png is missing: run with --cut-out"
        raise SystemExit(message)
    alpha = stored.astype(np.float32) / 255
    person = own_colour(portrait, alpha)
    person = np.clip(person * np.array((0.97, 0.96, 0.93), np.float32), 0, 1)
    room = draw_room()
    random = np.random.default_rng(11)
    with (
        av.open(str(HERE / "portrait.mp4"), "w", container_options={"fflags": "+bitexact", "movflags": "+faststart"}) as clip,
        av.open(str(HERE / "portrait_alpha.mkv"), "w", container_options={"fflags": "+bitexact"}) as truth,
    ):
        clip.metadata["title"] = "streammat example"
        clip.metadata["comment"] = (
            "Person: NASA portrait of astronaut Eileen Collins, public domain; room drawn by make_example.py"
        )
        video = clip.add_stream("libx264", RATE, options={"crf": "21", "preset": "slow", "flags": "+bitexact"})
        tone = clip.add_stream("aac", SAMPLE_RATE, options={"flags": "+bitexact"}, layout="stereo")
        matte = truth.add_stream("libx264", RATE, options={"qp": "0", "preset": "slow", "flags": "+bitexact"})
        assert isinstance(video, av.VideoStream)
        assert isinstance(matte, av.VideoStream)
        assert isinstance(tone, av.AudioStream)
        for stream, pix_fmt, limits in ((video, "yuv420p", 1), (matte, "gray", 2)):
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
            context = stream.codec_context
            context.thread_count, context.thread_type = 1, "NONE"  # the same bytes every time
            context.color_range = limits
            context.color_primaries = context.color_trc = context.colorspace = 1
        tone.codec_context.bit_rate = 64000
        for index in range(FRAMES):
            shot, mask = picture(person, alpha, room, pose(index), random)
            frame = av.VideoFrame.from_ndarray(shot, format="rgb24").reformat(
                format="yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709", interpolation="BICUBIC"
            )
            grey = av.VideoFrame.from_ndarray(mask, format="gray")
            for image, stream, container in ((frame, video, clip), (grey, matte, truth)):
                image.pts, image.time_base = index, Fraction(1, RATE)
                container.mux(stream.encode(image))
            clip.mux(tone.encode(sound(index)))
        clip.mux(video.encode(None))
        clip.mux(tone.encode(None))
        truth.mux(matte.encode(None))


def picture(
    person: Picture, alpha: Picture, room: Picture, where: NDArray[np.float64], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One frame, (HEIGHT, WIDTH, 3) RGB, and its alpha, (HEIGHT, WIDTH)."""
    size = (WIDTH, HEIGHT)
    mask = cv2.warpAffine(alpha, where, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    mask = np.round(np.clip(mask, 0, 1) * 255) / 255
    colour = cv2.warpAffine(person, where, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    shot = mask[..., None] * np.clip(colour, 0, 1) + (1 - mask[..., None]) * room
    grain = random.normal(0, 1.0, (HEIGHT, WIDTH, 1)) * (1.1 + 1.2 * (1 - shot.mean(2, keepdims=True)))
    rgb = np.clip(np.round(shot * 255 + grain), 0, 255).astype(np.uint8)
    return rgb, np.round(mask * 255).astype(np.uint8)


def sound(index: int) -> av.AudioFrame:
    """The samples that belong to frame ``index``: a quiet chord that swells and fades."""
    count = SAMPLE_RATE // RATE
    t = (np.arange(count) + index * count) / SAMPLE_RATE
    swell = 0.05 * np.sin(np.pi * np.clip(t / (FRAMES / RATE), 0, 1)) ** 2
    both = [
        swell * sum(np.sin(2 * np.pi * tone * t) for tone in chord) for chord in ((220.0, 277.2, 329.6), (220.0, 329.6, 440.0))
    ]
    frame = av.AudioFrame.from_ndarray(np.stack(both).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, index * count, Fraction(1, SAMPLE_RATE)
    return frame


def write_photograph() -> None:
    """The clip's first frame as the image that built engines are compared on."""
    with av.open(str(HERE / "portrait.mp4")) as clip:
        frame = next(clip.decode(video=0)).to_ndarray(format="bgr24")
    cv2.imwrite(str(HERE.parent / "streammat" / "models" / "portrait.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1])


def main() -> None:
    """Write every example file."""
    parser = argparse.ArgumentParser(description="Make the example clip, its alpha and a background")
    parser.add_argument("--cut-out", action="store_true", help="cut the portrait out again (needs pymatting)")
    if parser.parse_args().cut_out:
        alpha = cut_out(data.astronaut().astype(np.float32) / 255)
        cv2.imwrite(str(HERE / "astronaut_alpha.png"), alpha, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    cv2.imwrite(str(HERE / "beach.jpg"), draw_beach()[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    write_clip()
    write_photograph()
    for name in ("portrait.mp4", "portrait_alpha.mkv", "astronaut_alpha.png", "beach.jpg"):
        print(f"examples/{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
