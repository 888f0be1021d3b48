"""Colours, images, clips and blur, in the frame's own planes; real files, made here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scenes import WEIGHTS, blank, frame_of, matte_of, rgb_at, scene

from streammat.compositing.backgrounds import (
    COLOURS,
    BlurBackground,
    ColourBackground,
    ImageBackground,
    VideoBackground,
    open_background,
    parse_background,
)
from streammat.errors import InputError, UsageError
from streammat.media.frame import Colour, Frame
from streammat.media.images import read_image


def any_matte(frame: Frame):
    return matte_of(np.zeros(frame.size), frame)


def quarters(height=60, width=80, dtype=np.uint8):
    """Red, green over blue, white; BGR for OpenCV."""
    top = np.iinfo(dtype).max
    image = np.zeros((height, width, 3), dtype)
    image[: height // 2, : width // 2, 2] = top
    image[: height // 2, width // 2 :, 1] = top
    image[height // 2 :, : width // 2, 0] = top
    image[height // 2 :, width // 2 :] = top
    return image


def corners(planes, frame, matrix=5):
    """Names of the colours in the corners: top left, top right, bottom left, bottom right."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w", (0, 0, 0): "k"}
    height, width = frame.size
    places = [(y, x) for y in (height // 8, height - 1 - height // 8) for x in (width // 8, width - 1 - width // 8)]
    return "".join(names[tuple(int(v) for v in np.rint(rgb_at(planes, frame, y, x, matrix) / 255))] for y, x in places)


@pytest.mark.parametrize(
    "name",
    [
        "yuv420p",
        "yuvj420p",
        "yuv422p10le",
        "yuv444p12le",
        "yuv444p16le",
        "yuv410p",
        "yuv440p",
        "gbrp",
        "gbrp10le",
        "gray",
        "gray10le",
        "yuva420p",
        "yuva444p10le",
    ],
)
@pytest.mark.parametrize(
    ("colour", "height", "matrix"),
    [
        (Colour(), 480, 5),
        (Colour(), 720, 1),
        (Colour(1, 1, 1, 1), 480, 1),
        (Colour(1, 1, 1, 2), 480, 1),
        (Colour(9, 9, 14, 1), 720, 9),
        (Colour(6, 6, 6, 1), 720, 6),
        (Colour(7, 7, 7, 1), 480, 7),
    ],
)
def test_a_colour_comes_back_as_it_was_asked_for(name, colour, height, matrix):
    frame = blank(name, height, 640, colour)
    planes = ColourBackground((0, 177, 64)).planes(frame, any_matte(frame))
    assert [p.shape for p in planes] == [p.shape for p in frame.planes[: len(planes)]]
    assert all(p.dtype == frame.layout.dtype and p.min() == p.max() for p in planes)
    kr, kb = WEIGHTS[matrix]
    grey = (1 - kr - kb) * 177 + kb * 64
    wanted = [grey] * 3 if len(planes) == 1 else [0, 177, 64]
    error = np.abs(rgb_at(planes, frame, 10, 10, matrix) - wanted).max()
    assert error < (2 if frame.layout.depth == 8 else 0.6)


def test_static_planes_are_made_once_per_geometry():
    background = ColourBackground((1, 2, 3))
    frame = blank("yuv420p", 48, 64)
    first = background.planes(frame, any_matte(frame))
    assert background.planes(blank("yuv420p", 48, 64, pts=5), any_matte(frame)) is first
    assert background.planes(blank("yuv420p", 48, 80), any_matte(frame)) is not first


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_images_of_all_kinds(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), quarters())
    for name in ("yuv420p", "yuv422p10le", "gbrp", "yuv444p16le"):
        frame = blank(name, 120, 160)
        background = open_background(parse_background(str(path)))
        planes = background.planes(frame, any_matte(frame))
        assert corners(planes, frame) == "rgbw"
        assert background.planes(frame, any_matte(frame)) is planes


def test_sixteen_bit_images_keep_their_steps(tmp_path):
    ramp = np.repeat(np.linspace(0, 65535, 1024).astype(np.uint16)[None], 64, 0)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([ramp] * 3))
    frame = blank("yuv420p10le", 64, 1024, Colour(1, 1, 1, 2))
    luma = ImageBackground(read_image(tmp_path / "a.png")).planes(frame, any_matte(frame))[0]
    assert len(np.unique(luma)) > 1000
    assert np.abs(luma[30].astype(float) - np.arange(1024)).max() <= 2


def test_transparent_images_lie_over_black(tmp_path):
    image = np.dstack([np.full((60, 80, 3), 200, np.uint8), np.full((60, 80), 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "a.png"), image)
    frame = blank("gbrp", 60, 80)
    planes = ImageBackground(read_image(tmp_path / "a.png")).planes(frame, any_matte(frame))
    assert all(np.abs(p.astype(int) - 100).max() <= 1 for p in planes)


def test_exif_rotation(tmp_path):
    ok, data = cv2.imencode(".jpg", quarters())
    assert ok
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn clockwise to show
    raw = data.tobytes()
    (tmp_path / "a.jpg").write_bytes(raw[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + raw[2:])
    frame = blank("yuv420p", 160, 120)
    assert corners(ImageBackground(read_image(tmp_path / "a.jpg")).planes(frame, any_matte(frame)), frame) == "brwg"


def test_fit(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), quarters(60, 60))
    wide = blank("yuv420p", 100, 200)
    for fit, left in (("cover", "r"), ("stretch", "r"), ("contain", "k")):
        planes = ImageBackground(read_image(tmp_path / "a.png"), fit).planes(wide, any_matte(wide))
        assert corners(planes, wide)[0] == left
    planes = ImageBackground(read_image(tmp_path / "a.png"), "contain").planes(wide, any_matte(wide))
    seen = np.flatnonzero(planes[0][75] != planes[0][75, 0])
    assert (seen.min(), seen.max()) == (50, 149)
    cv2.imwrite(
        str(tmp_path / "b.png"), np.hstack([np.zeros((60, 60, 3), np.uint8), quarters(60, 60), np.zeros((60, 60, 3), np.uint8)])
    )
    square = blank("yuv420p", 100, 100)
    assert corners(ImageBackground(read_image(tmp_path / "b.png")).planes(square, any_matte(square)), square) == "rgbw"


@pytest.mark.parametrize("size", [(101, 67), (67, 101), (2, 2), (33, 500)])
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp"])
def test_every_shape_fits(tmp_path, size, fit, name):
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    for rotation in range(4):
        frame = blank(name, *size, rotation=rotation)
        planes = ImageBackground(read_image(tmp_path / "a.png"), fit).planes(frame, any_matte(frame))
        assert [(p.shape, p.dtype) for p in planes] == [(p.shape, p.dtype) for p in frame.planes]


def test_a_ribbon_is_not_blown_up(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 8000, 3), 128, np.uint8))
    for rotation in (0, 1):
        frame = blank("yuv420p", 480, 640, rotation=rotation)
        planes = ImageBackground(read_image(tmp_path / "a.png")).planes(frame, any_matte(frame))
        assert np.abs(rgb_at(planes, frame, 9, 9, 5) - 128).max() < 3


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "gbrp10le"])
@pytest.mark.parametrize("rotation", [1, 2, 3])
def test_backgrounds_stand_upright_in_turned_frames(tmp_path, name, rotation):
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    frame = blank(name, 120, 160, rotation=rotation)
    planes = ImageBackground(read_image(tmp_path / "a.png"), "stretch").planes(frame, any_matte(frame))
    stored = np.array(list(corners(planes, frame))).reshape(2, 2)
    assert "".join(np.rot90(stored, rotation).ravel()) == "rgbw"


def test_sample_aspect_ratio(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), quarters(100, 100))
    frame = blank("yuv420p", 100, 100)
    planes = ImageBackground(read_image(tmp_path / "a.png"), "contain", Fraction(2)).planes(frame, any_matte(frame))
    seen = np.flatnonzero(planes[0][75] != planes[0][75, 0])
    assert seen.max() - seen.min() + 1 == 50  # samples twice as wide: a square is half as many of them
    turned = blank("yuv420p", 100, 100, rotation=1)
    planes = ImageBackground(read_image(tmp_path / "a.png"), "contain", Fraction(2)).planes(turned, any_matte(turned))
    seen = np.flatnonzero(planes[0][30] != planes[0][30, 0])
    assert seen.max() - seen.min() + 1 == 50


def clip(path: Path, count: int = 10, rate: int = 25, size=(96, 128), codec="libx264", name="yuv420p", level=20) -> Path:
    """Image n is grey of n * level."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, name
        stream.options = {"qp": "0"} if codec == "libx264" else {}
        for index in range(count):
            image = av.VideoFrame.from_ndarray(np.full((*size, 3), index * level, np.uint8), "rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def shown(background, pts, time_base=Fraction(1, 30), name="yuv420p"):
    frame = blank(name, 96, 128, pts=pts, time_base=time_base)
    return round(rgb_at(background.planes(frame, any_matte(frame)), frame, 40, 40, 5)[0] / 20)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_clip_keeps_its_own_rate_and_loops(tmp_path, suffix):
    background = open_background(parse_background(str(clip(tmp_path / f"a.{suffix}"))))
    got = [shown(background, 1000 + n) for n in range(40)]
    assert got == [n * 25 // 30 % 10 for n in range(40)]
    background.close()
    background.close()


def test_a_clip_follows_jumps_in_time(tmp_path):
    background = VideoBackground(clip(tmp_path / "a.mkv"))
    times = [0, 3, 11, 12, 500, 501, 4, 100000, 7]
    assert [shown(background, n) for n in times] == [n * 25 // 30 % 10 for n in times]
    background.close()


def test_a_clip_is_converted_only_when_its_image_changes(tmp_path):
    background = VideoBackground(clip(tmp_path / "a.mp4"))
    frames = [blank("yuv420p", 96, 128, pts=n, time_base=Fraction(1, 100)) for n in range(9)]
    made = {id(background.planes(f, any_matte(f))): None for f in frames[:4]}
    assert len(made) == 1
    background.close()


@pytest.mark.parametrize("name", ["yuv420p10le", "gbrp", "yuv444p"])
def test_clips_in_other_layouts_and_turned(tmp_path, name):
    background = VideoBackground(clip(tmp_path / "a.mp4"))
    assert [shown(background, n, Fraction(1, 25), name) for n in range(10)] == list(range(10))
    background.close()
    image = quarters(96, 128)
    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv444p10le"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image[..., ::-1]), "rgb24")))
        container.mux(stream.encode())
    for rotation in range(4):
        background = VideoBackground(tmp_path / "b.mkv", "stretch")
        frame = blank(name, 120, 160, rotation=rotation)
        stored = np.array(list(corners(background.planes(frame, any_matte(frame)), frame))).reshape(2, 2)
        assert "".join(np.rot90(stored, rotation).ravel()) == "rgbw"
        background.close()


def test_a_still_in_one_image_clips(tmp_path):
    background = VideoBackground(clip(tmp_path / "a.mp4", count=1, level=0))
    assert {shown(background, n) for n in range(5)} == {0}
    background.close()


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(180, 320), (181, 323)])
def test_blur_shows_the_room_without_the_subject(name, size):
    _, room, alpha, picture = scene(*size)
    frame, empty = frame_of(picture, name), frame_of(room, name)
    kept = frame.planes[0].copy()
    planes = BlurBackground(0.5).planes(frame, matte_of(alpha, frame))
    assert [(p.shape, p.dtype) for p in planes] == [(p.shape, p.dtype) for p in frame.planes]
    assert (frame.planes[0] == kept).all()
    rim = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    contrast = abs(frame.planes[0][alpha == 1].mean() - empty.planes[0].mean())
    assert np.abs(planes[0].astype(float) - cv2.blur(empty.planes[0], (15, 15)))[rim].mean() < 0.25 * contrast
    assert np.abs(planes[0].astype(float) - empty.planes[0])[~rim].mean() < 0.15 * contrast


def test_blur_grows_with_strength_and_takes_any_matte():
    rng = np.random.default_rng(0)
    frame = frame_of(rng.uniform(0, 255, (180, 320, 3)), "yuv420p")
    spread = [BlurBackground(s).planes(frame, any_matte(frame))[0].std() for s in (0.0, 0.5, 1.0)]
    assert frame.planes[0].std() > spread[0] > spread[1] > spread[2]
    full = matte_of(np.ones(frame.size), frame)
    assert abs(BlurBackground().planes(frame, full)[0].mean() - frame.planes[0].mean()) < 5
    for size in ((1, 1), (3, 5), (16, 200)):
        tiny = frame_of(np.full((*size, 3), 90.0), "yuv420p")
        planes = BlurBackground().planes(tiny, any_matte(tiny))
        assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(planes, tiny.planes, strict=True))


def test_parsing(tmp_path):
    assert parse_background("transparent").kind == "transparent"
    assert parse_background(" Blur ").strength == 0.5
    assert parse_background("blur:100").strength == 1
    assert parse_background("green").colour == (0, 177, 64) == parse_background("#00b140").colour
    assert parse_background("#0F8").colour == (0, 255, 136)
    assert parse_background("0, 177,64").colour == (0, 177, 64)
    assert all(parse_background(name).colour == value for name, value in COLOURS.items())
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    (tmp_path / "a.png").rename(tmp_path / "picture.mp4")
    assert parse_background(str(tmp_path / "picture.mp4")).kind == "image"
    clip(tmp_path / "a.mkv").rename(tmp_path / "clip.jpg")
    assert parse_background(str(tmp_path / "clip.jpg")).kind == "video"
    with pytest.raises(ValueError, match="transparent"):
        open_background(parse_background("transparent"))


@pytest.mark.parametrize(
    "text", ["", "gren", "#12", "#ggg", "256,0,0", "1,2", "blur:", "blur:x", "blur:-1", "blur:101", "blur:nan", "1,2,3,4"]
)
def test_what_means_nothing_is_a_usage_error(text):
    with pytest.raises(UsageError) as error:
        parse_background(text)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_input_errors(tmp_path):
    for text in (str(tmp_path / "none.png"), "none.mp4", "none/picture", str(tmp_path)):
        with pytest.raises(InputError):
            parse_background(text)
    cv2.imwrite(str(tmp_path / "whole.png"), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    broken = {
        "empty.png": b"",
        "text.png": b"no image at all, just words",
        "cut.png": (tmp_path / "whole.png").read_bytes()[:60],
        "cut.mp4": clip(tmp_path / "whole.mp4").read_bytes()[:300],
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as error:
            open_background(parse_background(str(tmp_path / name)))
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_a_damaged_clip_says_so(tmp_path):
    data = bytearray(clip(tmp_path / "a.mkv", count=40, level=5).read_bytes())
    for name, payload in (("gone.mkv", data[:0]), ("noise.mkv", data[:700] + bytes(len(data) - 700))):
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(InputError):
            open_background(parse_background(str(tmp_path / name)))
