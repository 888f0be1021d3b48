"""What ``streammat video`` writes: containers and codecs, alpha, mattes, foregrounds, backgrounds, reports."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import sys
import termios
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import (
    BT601,
    BT709,
    EXAMPLES,
    FULL_709,
    Audio,
    Tags,
    alpha_of,
    first_plane,
    frames_of,
    greys_of,
    matched,
    open_frames,
    person,
    probe,
    still_of,
    write_audio_only,
    write_clip,
    write_still,
)
from numpy.typing import NDArray
from running import QUICK, call, names, run, spawn, video

from streammat.api.video import process_video

GREEN = np.array((0, 177, 64), np.float32)
SIZE = (192, 108)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person in a room, 192x108, BT.709, six frames, with sound."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    return write_clip(path, size=SIZE, frames=6, tags=BT709, audio=[Audio("aac", "eng")])


@pytest.fixture(scope="module")
def matte(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.float32]]:
    """Its mattes."""
    folder = tmp_path_factory.mktemp("matte")
    video(clip, folder / "out.mkv", "--bg", "green", "--matte", folder / "matte.mkv").ok()
    return greys_of(folder / "matte.mkv")


def background_of(image: NDArray[Any], alpha: NDArray[np.float32]) -> NDArray[Any]:
    """Mean colour of ``image`` well inside the background."""
    inside = cv2.erode((alpha < 0.01).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert inside.sum() > 50, "the matte leaves no background"
    return np.asarray(image[..., :3][inside].mean(0), np.float32)


CODECS = [
    ("out.mp4", None, "h264"), ("out.mp4", "h264", "h264"), ("out.mp4", "hevc", "hevc"), ("out.mp4", "av1", "av1"),
    ("out.mkv", None, "h264"), ("out.mkv", "hevc", "hevc"), ("out.mkv", "vp9", "vp9"), ("out.mkv", "av1", "av1"),
    ("out.mkv", "ffv1", "ffv1"), ("out.mov", None, "h264"), ("out.mov", "hevc", "hevc"), ("out.mov", "prores", "prores"),
    ("out.webm", None, "vp9"), ("out.webm", "vp9", "vp9"), ("out.webm", "av1", "av1"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "codec", "expected"), CODECS)
def test_codec_and_container(clip: Path, tmp_path: Path, target: str, codec: str | None, expected: str) -> None:
    """Extension and ``--codec`` say what is written; the image is right, and so is its colour."""
    options = ["--codec", codec] if codec else []
    report = video(clip, tmp_path / target, "--bg", "#00b140", *options).ok().report
    found = probe(tmp_path / target)
    assert found.codec.replace("libdav1d", "av1") == expected
    assert found.frames == 6
    assert found.tags == BT709
    assert report["outputs"] == [str(tmp_path / target)]
    assert names(tmp_path) == [target]
    # The room's wall, top left, is now green.
    corner = np.stack([image[4:20, 4:20] for image in frames_of(tmp_path / target)]).mean((0, 1, 2))
    assert np.abs(corner - GREEN).max() < 10


@pytest.mark.parametrize(("target", "pix_fmt"), [("out.mov", "yuva444p"), ("out.webm", "yuva420p")])
def test_transparent_by_default_where_the_output_can(
    clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, target: str, pix_fmt: str
) -> None:
    """``.mov`` and ``.webm`` carry the alpha itself, with sound."""
    video(clip, tmp_path / target).ok()
    assert next(open_frames(tmp_path / target)).format.name.startswith(pix_fmt)
    alphas = alpha_of(tmp_path / target)
    assert len(alphas) == 6
    for found, expected in zip(alphas, matte, strict=True):
        assert np.abs(found - expected).mean() < 0.01
        soft = ((found > 0.05) & (found < 0.95)).mean()
        assert soft > 0.001, "alpha is a hard mask"
    assert len(probe(tmp_path / target).audio) == 1


@pytest.mark.parametrize(
    ("target", "codec"), [("out.mkv", None), ("out.mkv", "vp9"), ("out.mov", "prores"), ("out.webm", "vp9"), ("out.mkv", "ffv1")]
)
def test_transparent_when_asked(
    clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, target: str, codec: str | None
) -> None:
    """``--bg transparent`` writes alpha with every codec that has it."""
    video(clip, tmp_path / target, "--bg", "transparent", *(["--codec", codec] if codec else [])).ok()
    for found, expected in zip(alpha_of(tmp_path / target), matte, strict=True):
        assert np.abs(found - expected).mean() < 0.01


def test_lossless_alpha_is_the_matte(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """FFV1 and PNG hold exactly what the matte file holds."""
    video(clip, tmp_path / "out.mkv", "--bg", "transparent", "--codec", "ffv1").ok()
    video(clip, tmp_path / "out.%02d.png").ok()
    for index, (found, expected) in enumerate(zip(alpha_of(tmp_path / "out.mkv"), matte, strict=True), 1):
        assert np.abs(found - expected).max() < 0.003
        still = still_of(tmp_path / f"out.{index:02d}.png")
        assert np.abs(still[:, :, 3] / 255 - expected).max() < 0.003


@pytest.mark.parametrize(("target", "codec"), [("out.mp4", None), ("out.mp4", "hevc"), ("out.mov", "h264"), ("out.webm", "av1")])
def test_transparent_is_refused_where_it_cannot_be(clip: Path, tmp_path: Path, target: str, codec: str | None) -> None:
    """No silent loss of alpha: a usage error that names what can carry it, and no file."""
    video(clip, tmp_path / target, "--bg", "transparent", *(["--codec", codec] if codec else [])).refused(2, "alpha")
    assert names(tmp_path) == []


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_green_by_default_elsewhere(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, target: str) -> None:
    """``.mp4`` and ``.mkv`` get film green."""
    video(clip, tmp_path / target).ok()
    found = background_of(frames_of(tmp_path / target)[2], matte[2])
    assert np.abs(found - GREEN).max() < 6


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_mov_without_alpha_codec_is_green(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, codec: str) -> None:
    """``--codec h264`` cannot be transparent, so the default is green there."""
    video(clip, tmp_path / "out.mov", "--codec", codec).ok()
    assert np.abs(background_of(frames_of(tmp_path / "out.mov")[2], matte[2]) - GREEN).max() < 6


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_sequences(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, suffix: str) -> None:
    """One still per frame, numbered from 1, transparent, nothing else in the folder."""
    report = video(clip, tmp_path / f"out.%05d{suffix}").ok().report
    assert names(tmp_path) == [f"out.{number:05d}{suffix}" for number in range(1, 7)]
    assert report["frames_out"] == 6
    for number in range(1, 7):
        still = still_of(tmp_path / f"out.{number:05d}{suffix}")
        assert still.shape == (108, 192, 4)
        assert np.abs(still[:, :, 3] / 255 - matte[number - 1]).max() < 0.005


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".jpg"])
def test_other_sequences(clip: Path, tmp_path: Path, suffix: str) -> None:
    """TIFF is transparent, too; JPEG gets green."""
    video(clip, tmp_path / f"out.%03d{suffix}", "--duration", "0.08").ok()
    assert names(tmp_path) == [f"out.001{suffix}", f"out.002{suffix}"]
    assert still_of(tmp_path / f"out.001{suffix}").shape == (108, 192, 3 if suffix == ".jpg" else 4)


def test_sequence_on_a_background(clip: Path, tmp_path: Path) -> None:
    """With a background stills are opaque."""
    video(clip, tmp_path / "out.%03d.png", "--bg", "green").ok()
    assert still_of(tmp_path / "out.001.png").shape == (108, 192, 3)


def test_deep_input_gives_deep_stills(tmp_path: Path) -> None:
    """Ten bits in, sixteen bits out in PNG."""
    source = write_clip(tmp_path / "in.mkv", pix_fmt="yuv420p10le", frames=2, tags=BT709, size=SIZE)
    video(source, tmp_path / "out.%03d.png").ok()
    still = still_of(tmp_path / "out.001.png")
    assert still.dtype == np.uint16
    assert still.shape == (108, 192, 4)
    assert np.unique(still[:, :, 0] & 0xFF).size > 64, "low bits are empty"


def test_sequences_count_padding_and_hashes(clip: Path, tmp_path: Path) -> None:
    """``####`` is a counter too."""
    video(clip, tmp_path / "frame_####.png", "--duration", "0.08").ok()
    assert names(tmp_path) == ["frame_0001.png", "frame_0002.png"]


def test_a_still_for_a_video_needs_a_pattern(clip: Path, tmp_path: Path) -> None:
    """``out.png`` alone would be overwritten for each frame."""
    video(clip, tmp_path / "out.png").refused(2, "%05d")
    assert names(tmp_path) == []


def test_a_percent_sign_alone_is_no_pattern(clip: Path, tmp_path: Path) -> None:
    """Nor is a counter in the folder's name: every frame would be written over the one before."""
    (tmp_path / "take #%02d").mkdir()
    for target in ("out%.png", "take #%02d/out.png"):
        video(clip, tmp_path / target, "-y").refused(2, "%05d")
    assert names(tmp_path) == ["take #%02d"]
    video(clip, tmp_path / "take #%02d/out.%02d.png", "--duration", "0.08").ok()
    assert names(tmp_path / "take #%02d") == ["out.01.png", "out.02.png"]


def test_stills_of_a_longer_run_before_are_told_of(clip: Path, tmp_path: Path) -> None:
    """They stay, and a compositor would take them for the end of this one."""
    whole = video(clip, tmp_path / "out.%02d.png").ok().report
    assert whole["notes"] == []
    short = video(clip, tmp_path / "out.%02d.png", "-y", "--duration", "0.08").ok().report
    assert short["frames_out"] == 2
    assert any("out.03.png" in note for note in short["notes"])


def test_straight_and_premultiplied(clip: Path, tmp_path: Path) -> None:
    """Premultiplied colour is straight colour times alpha."""
    video(clip, tmp_path / "s.%02d.png").ok()
    video(clip, tmp_path / "p.%02d.png", "--alpha", "premultiplied").ok()
    for number in (1, 4):
        straight = still_of(tmp_path / f"s.{number:02d}.png").astype(np.float32)
        multiplied = still_of(tmp_path / f"p.{number:02d}.png").astype(np.float32)
        assert np.array_equal(straight[:, :, 3], multiplied[:, :, 3])
        expected = straight[:, :, :3] * straight[:, :, 3:] / 255
        # Chroma of the video is half size, so soft edges are not exact.
        assert np.abs(multiplied[:, :, :3] - expected).mean() < 1.5
        clear = cv2.erode((straight[:, :, 3] == 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert multiplied[:, :, :3][clear].max(initial=0) <= 3


@pytest.mark.parametrize(("target", "slack"), [("out.mov", 4.0), ("out.webm", 8.0)])
def test_premultiplied_video(clip: Path, tmp_path: Path, target: str, slack: float) -> None:
    """In video, too, where there is no foreground there is black."""
    video(clip, tmp_path / target, "--alpha", "premultiplied").ok()
    for image, alpha in zip(frames_of(tmp_path / target), alpha_of(tmp_path / target), strict=True):
        clear = cv2.erode((alpha < 0.002).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert image[clear].mean() < slack


@pytest.mark.parametrize("name", ["matte.mkv", "matte.mp4", "matte.mov", "matte.webm"])
def test_matte_files(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, name: str) -> None:
    """The alpha as grey, at the frame's size and times, in any container."""
    report = video(clip, tmp_path / "out.mp4", "--bg", "blur", "--matte", tmp_path / name).ok().report
    assert sorted(report["outputs"]) == sorted(map(str, (tmp_path / "out.mp4", tmp_path / name)))
    assert probe(tmp_path / name).times == probe(clip).times
    for found, expected in zip(greys_of(tmp_path / name), matte, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).mean() < 0.012
    for frame in open_frames(tmp_path / name):
        if len(frame.planes) > 1:
            middle = 1 << (frame.format.components[1].bits - 1)
            assert np.abs(first_plane(frame, 1).astype(int) - middle).max() <= 4 * middle // 128
        break


def test_matte_and_foreground_sequences(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """Stills beside a video."""
    video(clip, tmp_path / "out.mp4", "--matte", tmp_path / "m.%03d.png", "--foreground", tmp_path / "f.%03d.png").ok()
    assert len(names(tmp_path)) == 13
    grey = still_of(tmp_path / "m.003.png")
    assert grey.ndim == 2
    assert np.abs(grey / 255 - matte[2]).max() < 0.003
    assert still_of(tmp_path / "f.003.png").shape == (108, 192, 3)


def test_composite_is_foreground_over_background(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """out = alpha * foreground + (1 - alpha) * background, with the files that were written."""
    video(clip, tmp_path / "out.%02d.png", "--bg", "200,40,90", "--foreground", tmp_path / "f.%02d.png").ok()
    for index, alpha in enumerate(matte, 1):
        front = still_of(tmp_path / f"f.{index:02d}.png").astype(np.float32)
        done = still_of(tmp_path / f"out.{index:02d}.png").astype(np.float32)
        expected = front * alpha[..., None] + np.array((200, 40, 90), np.float32) * (1 - alpha[..., None])
        assert np.abs(done - expected).mean() < 2.0
        assert np.percentile(np.abs(done - expected), 99) < 20


def test_subject_is_untouched(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """Deep inside the subject the output is the input."""
    video(clip, tmp_path / "out.%02d.png", "--bg", "green").ok()
    for index, (given, alpha) in enumerate(zip(frames_of(clip), matte, strict=True), 1):
        inside = cv2.erode((alpha > 0.995).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert inside.sum() > 200, "the matte has no solid inside"
        done = still_of(tmp_path / f"out.{index:02d}.png").astype(np.float32)
        assert np.abs(done[inside] - given[inside]).mean() < 2.0


COLOURS = {
    "green": (0, 177, 64), "#00b140": (0, 177, 64), "#FF8000": (255, 128, 0), "12,200,255": (12, 200, 255), "black": (0, 0, 0),
    "white": (255, 255, 255), "red": (255, 0, 0), "blue": (0, 71, 187), "#fff": (255, 255, 255),
}  # fmt: skip


@pytest.mark.parametrize("colour", COLOURS)
def test_colours(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, colour: str) -> None:
    """Names, hex and r,g,b."""
    video(clip, tmp_path / "out.%02d.png", "--bg", colour, "--duration", "0.04").ok()
    found = background_of(still_of(tmp_path / "out.01.png"), matte[0])
    assert np.abs(found - COLOURS[colour]).max() < 4


@pytest.mark.parametrize("tags", [BT601, BT709, FULL_709, Tags(), Tags(9, 14, 9, 1)], ids=["601", "709", "full", "none", "2020"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_background_colour_follows_the_video_s_own_matrix(tmp_path: Path, tags: Tags, pix_fmt: str) -> None:
    """The same colour comes out whatever matrix, range, depth and subsampling the video has."""
    source = write_clip(tmp_path / "in.mkv", pix_fmt=pix_fmt, tags=tags, frames=2, size=SIZE)
    video(source, tmp_path / "out.mkv", "--bg", "#c83264", "--crf", "4").ok()
    found = frames_of(tmp_path / "out.mkv")[0][4:20, 4:20].mean((0, 1))
    assert np.abs(found - (200, 50, 100)).max() < 7


@pytest.mark.parametrize("bad", ["nosuch.png", "#12345", "300,0,0", "blur:x", "blur:-1", "chartreuse-ish", "1,2"])
def test_unknown_backgrounds_are_refused(clip: Path, tmp_path: Path, bad: str) -> None:
    """One line that names what was given, and no file."""
    done = video(clip, tmp_path / "out.mp4", "--bg", bad)
    assert done.code in {1, 2}
    done.refused(done.code, bad)
    assert names(tmp_path) == []


def halves(width: int, height: int) -> NDArray[np.uint8]:
    """An image: left half red, right half blue, with a white bar along its bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (220, 30, 30)
    image[:, width // 2 :] = (30, 30, 220)
    image[-height // 10 :] = 255
    return image


def test_image_background_fits(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """``cover`` fills and crops, ``contain`` shows all with bars, ``stretch`` distorts."""
    image = write_still(tmp_path / "bg.png", halves(100, 100))
    corners = {}
    for fit in ("cover", "contain", "stretch"):
        video(clip, tmp_path / f"{fit}.%02d.png", "--bg", image, "--fit", fit, "--duration", "0.04").ok()
        still = still_of(tmp_path / f"{fit}.01.png").astype(int)
        corners[fit] = (still[10, 6], still[10, 45], still[10, -7])
    red, blue = np.array((220, 30, 30)), np.array((30, 30, 220))
    assert np.abs(corners["cover"][0] - red).max() < 12
    assert np.abs(corners["cover"][2] - blue).max() < 12
    assert np.abs(corners["stretch"][0] - red).max() < 12
    assert corners["contain"][0].max() < 40, "bars are black"
    assert corners["contain"][2].max() < 40
    # 192x108 holds a square of 108 in its middle: from column 42 on it is red.
    assert np.abs(corners["contain"][1] - red).max() < 20


@pytest.mark.parametrize("name", ["bg.jpg", "bg.png", "bg.webp", "bg.tiff"])
def test_image_background_of_every_kind(clip: Path, tmp_path: Path, name: str) -> None:
    """JPEG, PNG, WebP and TIFF."""
    image = write_still(tmp_path / name, halves(192, 108))
    video(clip, tmp_path / "out.%02d.png", "--bg", image, "--duration", "0.04").ok()
    assert np.abs(still_of(tmp_path / "out.01.png")[8, 8].astype(int) - (220, 30, 30)).max() < 14


def test_image_background_is_turned_by_its_exif(clip: Path, tmp_path: Path) -> None:
    """A phone's photograph is shown upright."""
    stored = np.ascontiguousarray(np.rot90(halves(192, 108), 1))  # orientation 6: turn clockwise to show
    image = write_still(tmp_path / "bg.jpg", stored, orientation=6)
    video(clip, tmp_path / "out.%02d.png", "--bg", image, "--duration", "0.04").ok()
    still = still_of(tmp_path / "out.01.png").astype(int)
    assert np.abs(still[8, 8] - (220, 30, 30)).max() < 20
    assert np.abs(still[8, -8] - (30, 30, 220)).max() < 20


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_image_background_is_upright_in_a_rotated_video(tmp_path: Path, rotation: int) -> None:
    """The viewer sees the background upright: it is drawn turned into the stored image."""
    size = (108, 192) if rotation % 180 else (192, 108)
    source = write_clip(tmp_path / "in.mp4", size=size, rotation=rotation, frames=2, tags=BT709)
    image = write_still(tmp_path / "bg.png", halves(192, 108))
    video(source, tmp_path / "out.mp4", "--bg", image).ok()
    shown = np.rot90(frames_of(tmp_path / "out.mp4")[0], rotation // 90).astype(int)
    assert shown.shape[:2] == (108, 192)
    assert np.abs(shown[8, 8] - (220, 30, 30)).max() < 25
    assert np.abs(shown[8, -8] - (30, 30, 220)).max() < 25


def test_blur(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """Blur keeps the room's mean colour and takes its detail; more is more."""
    given = frames_of(clip)[0].astype(np.float32)
    room = cv2.erode((matte[0] < 0.01).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    detail = []
    for what in ("blur:5", "blur", "blur:100"):
        name = what.replace(":", "")
        video(clip, tmp_path / f"{name}.%02d.png", "--bg", what, "--duration", "0.04").ok()
        still = still_of(tmp_path / f"{name}.01.png").astype(np.float32)
        detail.append(np.abs(cv2.Laplacian(still.mean(2), cv2.CV_32F))[room].mean())
        assert np.abs(still[room].mean(0) - given[room].mean(0)).max() < 16
    sharp = np.abs(cv2.Laplacian(given.mean(2), cv2.CV_32F))[room].mean()
    assert detail[1] < 0.6 * sharp
    assert detail[0] >= detail[1] >= detail[2]


def test_video_background_loops_at_its_own_rate(tmp_path: Path) -> None:
    """A background of 12.5 fps and 3 frames behind a video of 25 fps: each is shown twice, over and over."""
    shades = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]

    with av.open(str(tmp_path / "bg.mp4"), "w") as out:
        stream = out.add_stream("libx264", Fraction(25, 2), options={"crf": "4", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        for shade in shades:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((108, 192, 3), shade, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    source = write_clip(tmp_path / "in.mp4", size=SIZE, frames=14)
    video(source, tmp_path / "out.%02d.png", "--bg", tmp_path / "bg.mp4").ok()
    shown = []
    for number in range(1, 15):
        corner = still_of(tmp_path / f"out.{number:02d}.png")[4:16, 4:16].reshape(-1, 3).mean(0)
        shown.append(int(np.argmin([np.abs(corner - shade).sum() for shade in shades])))
    assert shown == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 0, 0]


def test_video_background_brings_no_sound(clip: Path, tmp_path: Path) -> None:
    """The background is an image only; its own size, rate and sound stay outside."""
    wall = write_clip(
        tmp_path / "bg.mkv", size=(96, 96), frames=3, rate=10, audio=[Audio("libopus", "deu"), Audio("libopus", "fra")]
    )
    video(clip, tmp_path / "out.mp4", "--bg", wall).ok()
    after = probe(tmp_path / "out.mp4")
    assert [track.language for track in after.audio] == ["eng"]
    assert after.times == probe(clip).times
    assert after.size == SIZE


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_utf8(clip: Path, tmp_path: Path) -> None:
    """Files from old disks: videos go in and out, images go in; a background is refused in one line, for OpenCV would crash."""
    old = os.fsdecode(b"gr\xfcn")
    source = tmp_path / f"{old}.mp4"
    source.write_bytes(clip.read_bytes())
    run("video", source, tmp_path / f"{old} out.mp4", *QUICK).ok()
    wall = tmp_path / f"{old}.png"
    wall.write_bytes(write_still(tmp_path / "wall.png", np.full((64, 64, 3), 90, np.uint8)).read_bytes())
    run("image", wall, tmp_path / f"{old} out.png", *QUICK).ok()
    run("video", source, tmp_path / "out.mp4", "--bg", wall, *QUICK).refused(1, "utf-8")
    assert f"{old} out.mp4" in names(tmp_path)
    assert f"{old} out.png" in names(tmp_path)


def test_backgrounds_that_are_none(clip: Path, tmp_path: Path) -> None:
    """A sound, a text, a folder, an empty file in the background's place: one line, and no file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.mp4").touch()
    sound = write_audio_only(tmp_path / "sound.m4a")
    before = names(tmp_path)
    for wall in (tmp_path / "folder", tmp_path / "text.txt", tmp_path / "text.png", tmp_path / "empty.mp4", sound):
        done = video(clip, tmp_path / "out.mp4", "--bg", wall)
        done.refused(done.code or 1, wall.name)
        assert names(tmp_path) == before


def test_decontamination_changes_soft_edges_only(clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path) -> None:
    """The foreground's colour is estimated where alpha is soft, and left alone where it is one."""
    video(clip, tmp_path / "a.%02d.png", "--duration", "0.04").ok()
    video(clip, tmp_path / "b.%02d.png", "--no-decontaminate", "--duration", "0.04").ok()
    cleaned, raw = (still_of(tmp_path / f"{name}.01.png").astype(np.float32)[:, :, :3] for name in "ab")
    solid = cv2.erode((matte[0] > 0.995).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    soft = (matte[0] > 0.05) & (matte[0] < 0.9)
    assert np.abs(cleaned - raw)[solid].mean() < 1.0
    assert np.abs(cleaned - raw)[soft].mean() > 0.5
    assert np.abs(raw - frames_of(clip)[0])[matte[0] > 0.05].mean() < 3.0


def test_crf_and_preset_reach_the_encoder(tmp_path: Path) -> None:
    """A lower quality is a smaller file."""
    source = write_clip(tmp_path / "in.mp4", size=SIZE, frames=10)
    video(source, tmp_path / "fine.mp4", "--bg", "blur", "--crf", "10", "--preset", "ultrafast").ok()
    video(source, tmp_path / "coarse.mp4", "--bg", "blur", "--crf", "45", "--preset", "medium").ok()
    assert (tmp_path / "coarse.mp4").stat().st_size < 0.6 * (tmp_path / "fine.mp4").stat().st_size


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_engines_and_precisions(
    clip: Path, matte: list[NDArray[np.float32]], tmp_path: Path, engine: str, precision: str
) -> None:
    """Each engine and precision gives much the same matte, and the report says which one ran and why."""
    if engine == "openvino":
        pytest.importorskip("openvino")
    options = ("--engine", engine, "--precision", precision, "--quality", "fast", "--threads", "2")
    done = call("video", clip, tmp_path / "out.mp4", *options, "--json", "--matte", tmp_path / "m.mkv").ok()
    spec = done.report["engine"]
    assert spec["precision"] == precision
    assert spec["reason"]
    assert spec["model"]
    if engine != "auto":
        assert spec["backend"] == engine
    for found, expected in zip(greys_of(tmp_path / "m.mkv"), matte, strict=True):
        assert np.abs(found - expected).mean() < 0.03


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_qualities(clip: Path, tmp_path: Path, quality: str) -> None:
    """Every network size works."""
    options = ("--engine", "onnxruntime", "--quality", quality, "--threads", "2", "--json")
    report = call("video", clip, tmp_path / "out.mp4", *options).ok().report
    assert report["frames_out"] == 6


def test_json_report(clip: Path, tmp_path: Path) -> None:
    """One object on stdout, and nothing else there."""
    done = run("video", clip, tmp_path / "out.mp4", *QUICK, "--json").ok()
    report = json.loads(done.out)
    assert report["frames_in"] == report["frames_out"] == 6
    assert report["fps"] > 0
    assert report["seconds"] > 0
    assert set(report["stages"]) == {"read", "matte", "refine", "composite", "write"}
    for stage in report["stages"].values():
        assert 0 <= stage["p50_ms"] <= stage["p99_ms"]
    assert report["stages"]["refine"]["p50_ms"] > 0.1  # where it is done, and not by the thread of the network
    assert report["slowest"] in report["stages"]
    assert report["outputs"] == [str(tmp_path / "out.mp4")]
    assert isinstance(report["notes"], list)
    assert {"model", "backend", "precision", "reason"} <= set(report["engine"])


def test_json_report_of_a_failure(tmp_path: Path) -> None:
    """Still one object on stdout, with the error in it, and the line on stderr."""
    done = run("video", tmp_path / "missing.mp4", tmp_path / "out.mp4", *QUICK, "--json").refused(1, "missing.mp4")
    assert done.report["error"]


def test_words_at_the_end(clip: Path, tmp_path: Path) -> None:
    """A person reads frames in and out, fps, the slowest stage, the engine and why."""
    done = run("video", clip, tmp_path / "out.mp4", *QUICK).ok()
    said = done.err + done.out
    assert "6 frames in" in said
    assert "fps" in said
    assert "slowest" in said
    assert "onnxruntime" in said
    assert "out.mp4" in said


def test_quiet(clip: Path, tmp_path: Path) -> None:
    """Nothing is said when nothing went wrong, not even by the encoders."""
    for start, name, codec in ((call, "h264.mp4", "h264"), (call, "hevc.mp4", "hevc"), (run, "av1.mp4", "av1"), (call, "out.webm", "vp9")):
        done = start("video", clip, tmp_path / name, *QUICK, "--quiet", "--codec", codec).ok()
        assert (done.out, done.err) == ("", ""), codec


def test_a_bar_on_a_terminal(clip: Path, tmp_path: Path) -> None:
    """On a terminal there is a bar with a rate, and the last words are on lines of their own."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with spawn("video", clip, tmp_path / "out.mp4", *QUICK, terminal=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(master)
    assert process.returncode == 0, shown
    text = shown.decode()
    assert "frame" in text
    assert "%" in text
    assert re.search(r"[\r\n]6 frames in", text), text


def test_overwriting_is_asked_for(clip: Path, tmp_path: Path) -> None:
    """What is there stays, byte for byte, unless ``-y`` is given."""
    for option in ("target", "--matte", "--foreground"):
        there = tmp_path / f"{option.strip('-')}.mp4"
        there.write_bytes(b"precious")
        target = there if option == "target" else tmp_path / "new.mp4"
        beside = [] if option == "target" else [option, there]
        video(clip, target, *beside).refused(2, "-y", there.name)
        assert there.read_bytes() == b"precious"
        video(clip, target, "-y", *beside).ok()
        assert probe(there).frames == 6
        (tmp_path / "new.mp4").unlink(missing_ok=True)


def test_the_time_to_look_is_when_the_file_is_opened(clip: Path, tmp_path: Path) -> None:
    """What another run finished while the network was being loaded is not replaced."""
    from streammat.config import EncodeOptions
    from streammat.errors import UsageError
    from streammat.sinks.file import FileSink
    from streammat.sources.file import FileSource

    (tmp_path / "out.mp4").write_bytes(b"of another run")
    with closing(FileSource(str(clip))) as source:
        with pytest.raises(UsageError, match="is there already"):
            FileSink(str(tmp_path / "out.mp4"), source.info, "composite", EncodeOptions())
        assert names(tmp_path) == ["out.mp4"]
        FileSink(str(tmp_path / "out.mp4"), source.info, "composite", EncodeOptions(overwrite=True)).abort()
    assert (tmp_path / "out.mp4").read_bytes() == b"of another run"


def test_two_outputs_of_one_name_are_refused(clip: Path, tmp_path: Path) -> None:
    """The matte must not be written over the output."""
    video(clip, tmp_path / "out.mp4", "--matte", tmp_path / "out.mp4").refused(2)
    assert names(tmp_path) == []


@pytest.mark.parametrize("target", ["out", "out.xyz", "out.txt"])
def test_unknown_extensions_are_refused(clip: Path, tmp_path: Path, target: str) -> None:
    """The error lists what is known."""
    video(clip, tmp_path / target).refused(2, ".mp4", ".webm")


@pytest.mark.parametrize(
    ("target", "codec"), [("out.mp4", "nosuch"), ("out.webm", "h264"), ("out.mp4", "prores"), ("out.mp4", "ffv1")]
)
def test_codecs_that_do_not_fit_are_refused(clip: Path, tmp_path: Path, target: str, codec: str) -> None:
    """Before any work is done."""
    video(clip, tmp_path / target, "--codec", codec).refused(2, codec)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--crf", "99"], ["--crf", "x"], ["--fit", "x"], ["--alpha", "x"], ["--engine", "x"], ["--precision", "int4"], ["--quality", "x"],
        ["--threads", "-1"], ["--start", "-1"], ["--duration", "0"], ["--nosuch"],
    ],
)  # fmt: skip
def test_bad_options_are_usage_errors(clip: Path, tmp_path: Path, arguments: list[str]) -> None:
    """Exit code 2, and no file."""
    done = call("video", clip, tmp_path / "out.mp4", *arguments)
    assert done.code == 2
    assert names(tmp_path) == []


def test_bad_presets_are_refused(clip: Path, tmp_path: Path) -> None:
    """A preset that the encoder does not know is one line, not a traceback."""
    done = video(clip, tmp_path / "out.mp4", "--preset", "warp9")
    assert done.code in {1, 2}
    done.refused(done.code)
    assert names(tmp_path) == []


def test_relative_paths_and_strange_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, umlauts, percent signs, a leading dash, commas and colons in names."""
    monkeypatch.chdir(tmp_path)
    for name in ("my clip.mp4", "grün.mp4", "100%.mp4", "a,b;c.mp4", "-dash.mp4", "10:20:30.mp4"):
        source = write_clip(tmp_path / "in.mp4", frames=2, size=(64, 64)).rename(tmp_path / name)
        done = (run if name == "grün.mp4" else call)("video", *QUICK, "--quiet", "--", name, f"9:{name}")
        assert done.code == 0, (name, done.err)
        assert probe(tmp_path / f"9:{name}").frames == 2
        source.unlink()


def test_images_are_told_apart(tmp_path: Path) -> None:
    """The kit itself: frames are recognised after a lossy encode."""
    source = write_clip(tmp_path / "in.mp4", frames=20)
    assert matched(frames_of(source), [person(index, 128, 96) for index in range(20)]) == list(range(20))


MAD_BOUND = 0.015
"""Mean absolute difference between the shipped network's alpha and the truth, ``balanced``."""


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_matte_of_the_example(tmp_path: Path, precision: str) -> None:
    """The example's person is found: alpha against the exact one, over a second and a bit of the clip."""
    done = call(
        "video", EXAMPLES / "portrait.mp4", tmp_path / "out.mp4", "--engine", "onnxruntime", "--threads", "2", "--precision", precision,
        "--matte", tmp_path / "m.mkv", "--json", "--duration", "1.2",
    ).ok()  # fmt: skip
    assert done.report["frames_out"] == 30
    truth = greys_of(EXAMPLES / "portrait_alpha.mkv")[:30]
    found = greys_of(tmp_path / "m.mkv")
    mad = float(np.mean([np.abs(a - b).mean() for a, b in zip(found, truth, strict=True)]))
    iou = float(
        np.mean([((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum() for a, b in zip(found, truth, strict=True)])
    )
    print(f"example, {precision}: MAD {mad:.4f}, IoU {iou:.4f}")
    assert mad < MAD_BOUND
    assert iou > 0.96
    # A matte belongs to its own frame: it fits no other frame's truth better.
    lags = {lag: np.mean([np.abs(found[i] - truth[i + lag]).mean() for i in range(4, 26)]) for lag in range(-4, 5)}
    assert min(lags, key=lags.__getitem__) == 0


def test_foreground_and_matte_have_codecs_of_their_own(clip: Path, tmp_path: Path) -> None:
    beside = ("--foreground", tmp_path / "f.mov", "--matte", tmp_path / "m.mkv", "--matte-codec", "h264")
    video(clip, tmp_path / "out.mov", "--codec", "hevc", "--bg", "green", "--crf", "30", *beside).ok()
    assert {path.name: probe(path).codec for path in tmp_path.iterdir()} == {"out.mov": "hevc", "f.mov": "hevc", "m.mkv": "h264"}


def test_mattes_in_video_range_reach_white_and_black(clip: Path, tmp_path: Path) -> None:
    video(clip, tmp_path / "out.mp4", "--matte", tmp_path / "m.mp4", "--matte-codec", "h264", "--crf", "1").ok()
    luma = first_plane(next(open_frames(tmp_path / "m.mp4")), 0)
    assert abs(int(np.percentile(luma, 1)) - 16) <= 1
    assert abs(int(np.percentile(luma, 99)) - 235) <= 1


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_how_long_each_frame_is_shown_is_kept(tmp_path: Path, codec: str) -> None:
    """A variable rate: the last frame's own duration is in no other frame's time."""
    write_clip(tmp_path / "in.mkv", frames=5, time_base=Fraction(1, 1000), pts=(0, 40, 200, 230, 400))
    shown = {}
    for name in ("in.mkv", "out.mkv"):
        if name != "in.mkv":
            video(tmp_path / "in.mkv", tmp_path / name, "--codec", codec).ok()
        with av.open(str(tmp_path / name)) as found:
            stream = found.streams.video[0]
            packets = [(packet.pts * packet.time_base, packet.duration * packet.time_base) for packet in found.demux(stream) if packet.size]
        shown[name] = sorted((round(float(at), 3), round(float(long), 3)) for at, long in packets)
    assert shown["out.mkv"] == shown["in.mkv"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root's threads can become real-time ones")
def test_no_thread_becomes_a_real_time_one(tmp_path: Path) -> None:
    """SVT-AV1 takes the highest real-time priority for itself and for who opens it, and keeps a core from the system that way."""
    source = write_clip(tmp_path / "in.mp4", frames=3)
    policies: set[int] = set()

    def look(_done: int) -> None:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                policies.add(os.sched_getscheduler(int(thread)))

    process_video(source, tmp_path / "out.mkv", codec="av1", background="green", quality="fast", progress=look)
    look(3)
    assert policies == {os.SCHED_OTHER}
