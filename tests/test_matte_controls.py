"""Matte controls: each function exactly, and what they make of videos, images and live runs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import BT709, greys_of, person, still_of, write_clip, write_still
from numpy.typing import NDArray
from running import QUICK, call, run, video
from scenes import blank

from streammat.compositing.matte_controls import ControlledMatting, controlled, despilled, despilled_light
from streammat.config import MatteControls
from streammat.media.frame import Colour, Frame, Matte, layout_of, planes_of

OFF = MatteControls()


def matte_of(shape: tuple[int, int] = (40, 50), dtype: Any = np.uint8) -> Matte:
    """A soft disc with a speck beside it and a pinhole within."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    top = np.iinfo(dtype).max
    alpha = np.clip((12 - np.hypot(y - 20, x - 25)) / 4, 0, 1) * top
    alpha[3:5, 4:6] = top
    alpha[20, 25] = top // 3
    return Matte(np.rint(alpha).astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_off_is_free(dtype: Any) -> None:
    """Without controls the matte is the same object."""
    matte = matte_of(dtype=dtype)
    assert controlled(matte, OFF) is matte


def test_a_matte_that_comes_again_is_adjusted_once() -> None:
    """While the network rests; other controls, and another matte, count at once."""
    mattes = [matte_of(), matte_of((40, 60))]
    given = iter((*mattes[:1] * 3, *mattes[1:] * 2))
    matting = ControlledMatting(lambda _: next(given), MatteControls(grow=1))
    frame = blank("yuv420p", 40, 50, Colour())
    first, again = matting(frame), matting(frame)
    assert first is again
    matting.controls = MatteControls(grow=-1)
    less, other, same = (matting(frame) for _ in range(3))
    assert less.alpha.mean() < mattes[0].alpha.mean() < first.alpha.mean()
    assert other.alpha.shape == (40, 60)
    assert other is same


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_clip(dtype: Any) -> None:
    """``(a - black) / (white - black)``, cut."""
    matte = matte_of(dtype=dtype)
    top = np.iinfo(dtype).max
    expected = np.rint(np.clip((matte.alpha / top - 0.1) / (0.8 - 0.1), 0, 1) * top)
    assert (controlled(matte, MatteControls(clip_black=0.1, clip_white=0.8)).alpha == expected).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("radius", [1, 3, -2])
def test_grow(dtype: Any, radius: int) -> None:
    """The largest, or smallest, value within a disc."""
    alpha = matte_of(dtype=dtype).alpha
    reach = abs(radius)
    choose, outside = (max, 0) if radius > 0 else (min, np.iinfo(dtype).max)
    padded = np.pad(alpha, reach, constant_values=outside)
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1) if dy * dy + dx * dx <= reach * reach]
    found = controlled(Matte(alpha), MatteControls(grow=radius)).alpha
    for y in range(0, alpha.shape[0], 3):
        for x in range(alpha.shape[1]):
            assert found[y, x] == choose(padded[y + reach + dy, x + reach + dx] for dy, dx in offsets)


def test_grow_by_a_fraction() -> None:
    """A fraction lies between both whole radii."""
    matte = matte_of(dtype=np.uint16)
    two, three = (controlled(matte, MatteControls(grow=radius)).alpha.astype(float) for radius in (2, 3))
    assert (controlled(matte, MatteControls(grow=2.25)).alpha == np.rint(two + 0.25 * (three - two))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_feather(dtype: Any) -> None:
    """A Gaussian of that standard deviation; the amount of alpha stays."""
    alpha = np.zeros((61, 61), dtype)
    alpha[30, :] = np.iinfo(dtype).max
    row = controlled(Matte(alpha), MatteControls(feather=3)).alpha[:, 30] / np.iinfo(dtype).max
    expected = np.exp(-0.5 * ((np.arange(61) - 30) / 3) ** 2) / (3 * np.sqrt(2 * np.pi))
    assert np.abs(row - expected).max() < 0.004


def test_despeckle() -> None:
    """Small spots vanish, small holes are filled, all else stays."""
    matte = matte_of()
    found = controlled(matte, MatteControls(despeckle=5)).alpha
    expected = matte.alpha.copy()
    expected[3:5, 4:6] = 0
    expected[20, 25] = 255
    assert (found == expected).all()
    assert (controlled(matte, MatteControls(despeckle=4)).alpha[3:5, 4:6] == 255).all(), "four pixels are not fewer than four"


def frame_of(picture: NDArray[np.uint8], pix_fmt: str) -> Frame:
    """A frame of an RGB picture, full range."""
    image = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt, dst_colorspace="ITU709", dst_color_range=2)
    layout = layout_of(pix_fmt)
    assert layout is not None
    return Frame(image, layout, Colour(1, 1, 1, 2), 0, Fraction(1, 25), 0, 0, planes_of(image, layout))


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "gbrp", "gbrp16le", "yuv444p10le"])
def test_despill(pix_fmt: str) -> None:
    """Green spill goes, luma stays, and hues away from green are the same bits."""
    colours = {"spilt": (120, 170, 120), "skin": (224, 172, 140), "blue": (40, 60, 200), "grey": (90, 90, 90)}
    picture = np.zeros((16, 64, 3), np.uint8)
    for number, colour in enumerate(colours.values()):
        picture[:, 16 * number : 16 * number + 16] = colour
    frame = frame_of(picture, pix_fmt)
    matte = Matte(np.full((16, 64), 255, np.uint8))
    found = despilled(frame.planes, frame, matte, replace(OFF, despill="green"))
    for plane, before in zip(found, frame.planes, strict=True):
        assert (plane[:, 16:48] == before[:, 16:48]).all()
        assert np.abs(plane[:, 48:].astype(int) - before[:, 48:]).max() <= 1, "swscale's grey is a code value off"
    scale = ((1 << frame.layout.depth) - 1) / 255
    if frame.layout.rgb:
        green, blue, red = (float(plane[0, 0]) / scale for plane in found)
        assert abs(0.2126 * red + 0.7152 * green + 0.0722 * blue - (0.2126 * 120 + 0.7152 * 170 + 0.0722 * 120)) < 1
        # What is left towards green is as much as lies across: d.u = |d.v|.
        assert green - max(red, blue) < 20
    else:
        assert found[0] is frame.planes[0]
    half = despilled(frame.planes, frame, matte, replace(OFF, despill="green:50"))
    for whole, part, before in zip(found, half, frame.planes, strict=True):
        assert abs(float(part[0, 0]) - (float(whole[0, 0]) + float(before[0, 0])) / 2) <= 1


def test_despill_of_light() -> None:
    """The same in the floating point of plates: green spill goes, luma stays, the other hues are the same bits, at any exposure."""
    colours = np.array([(0.2, 0.5, 0.2), (0.7, 0.4, 0.25), (0.02, 0.05, 0.6), (0.1, 0.1, 0.1), (3.0, 8.0, 3.0)], np.float32)
    light = np.repeat(colours[:, None], 8, 1)
    matte = Matte(np.full(light.shape[:2], 65535, np.uint16))
    found = despilled_light(light, matte, replace(OFF, despill="green"))
    assert (found[1:4] == light[1:4]).all()
    luma = np.array([0.2126, 0.7152, 0.0722], np.float32)
    assert np.abs(found @ luma - light @ luma).max() < 1e-5

    def chroma(pixels: NDArray[Any]) -> NDArray[Any]:
        """Cb and Cr of BT.709."""
        return np.array([(pixels[2] - pixels @ luma) / (2 * (1 - 0.0722)), (pixels[0] - pixels @ luma) / (2 * (1 - 0.2126))])

    towards = chroma(np.array([0x00, 0xB1, 0x40], np.float32))  # what green means here
    towards /= np.hypot(*towards)
    for row in (0, 4):  # as much is left towards green as lies across it
        along, before = chroma(found[row, 0]) @ towards, chroma(light[row, 0]) @ towards
        across = abs(chroma(light[row, 0]) @ np.array([-towards[1], towards[0]]))
        assert before > across + 0.01
        assert abs(along - across) < 1e-5
    half = despilled_light(light, matte, replace(OFF, despill="green:50"))
    assert np.allclose(half, (light + found) / 2, atol=1e-6)
    assert despilled_light(light, matte, OFF) is light
    alpha = matte.alpha.copy()
    alpha[0] = 0
    own = despilled_light(light, Matte(alpha), replace(OFF, despill="auto"))[4]
    assert np.allclose(own, (light @ luma)[4][:, None], atol=1e-4), "of the background's own hue only grey is left"


def test_despill_of_the_backgrounds_own_colour() -> None:
    """``auto`` finds the colour where alpha is 0; a grey background spills nothing."""
    picture = np.full((32, 64, 3), (120, 170, 120), np.uint8)
    picture[:, 32:] = (20, 200, 40)
    matte = Matte(np.repeat(np.array([[255] * 32 + [0] * 32], np.uint8), 32, 0))
    frame = frame_of(picture, "yuv444p")
    found = despilled(frame.planes, frame, matte, replace(OFF, despill="auto"))
    assert (found[1][:, :32] != frame.planes[1][:, :32]).all()
    picture[:, 32:] = 128
    grey = frame_of(picture, "yuv444p")
    assert despilled(grey.planes, grey, matte, replace(OFF, despill="auto"))[1] is grey.planes[1]


def test_video(tmp_path: Path) -> None:
    """The matte that is written is the controlled one, frame by frame."""
    clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=3, tags=BT709)
    for name, options in (("plain", []), ("controlled", ["--clip-black", "0.1", "--clip-white", "0.9", "--grow=-2", "--feather", "1.5", "--despeckle", "9"])):
        video(clip, tmp_path / f"{name}.mkv", "--matte", tmp_path / f"{name}-matte.mkv", "--despill", "auto:80", *options).ok()
    wanted = MatteControls(0.1, 0.9, -2, 1.5, 9)
    for plain, found in zip(greys_of(tmp_path / "plain-matte.mkv"), greys_of(tmp_path / "controlled-matte.mkv"), strict=True):
        expected = controlled(Matte(np.rint(plain * 255).astype(np.uint8)), wanted).alpha
        assert (np.rint(found * 255) == expected).all()
        assert (expected != np.rint(plain * 255)).any()


def test_image(tmp_path: Path) -> None:
    """Stills have them, too."""
    source = write_still(tmp_path / "in.png", person(3, 192, 108))
    for name, options in (("a.png", []), ("b.png", ["--grow", "3"])):
        call("image", source, tmp_path / name, *QUICK, *options, "--no-decontaminate").ok()
    plain, found = still_of(tmp_path / "a.png"), still_of(tmp_path / "b.png")
    y, x = np.mgrid[-3:4, -3:4]
    assert (found[:, :, 3] == cv2.dilate(plain[:, :, 3], (x * x + y * y <= 9).astype(np.uint8))).all()


def test_live(tmp_path: Path) -> None:
    """A live run takes them, and a shrunken subject leaves more of the background."""
    clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=12, tags=BT709)
    greens = []
    for name, options in (("a.mkv", []), ("b.mkv", ["--grow=-8"])):
        run("webcam", "--camera", clip, "--to", tmp_path / name, "--bg", "#00ff00", "--fixed", *QUICK, *options).ok()
        with av.open(str(tmp_path / name)) as container:
            *_, last = (image.to_ndarray(format="rgb24") for image in container.decode(video=0))
        greens.append(((last[:, :, 1] > 200) & (last[:, :, 0] < 80)).mean())
    assert greens[1] > greens[0] + 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--clip-black", "0.6", "--clip-white", "0.5"], ["clip-black 0.6", "black < white"]),
        (["--grow", "40"], ["--grow", "-32 to 32"]),
        (["--despill", "grey"], ["--despill grey", "not grey"]),
        (["--despill", "green:101"], ["--despill green:101"]),
    ],
)
def test_refused(tmp_path: Path, options: list[str], words: list[str]) -> None:
    """What means nothing is one line, and nothing is written."""
    clip = write_clip(tmp_path / "in.mp4", size=(64, 64), frames=1)
    video(clip, tmp_path / "out.mp4", *options).refused(2, *words)
    assert not (tmp_path / "out.mp4").exists()
