"""Sequences of numbered images in and out, through ``streammat video``."""

from __future__ import annotations

import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from film.plates import SIZE, film, linear, oiio, opened, write_plate, write_shot
from media import BT709, Audio, greys_of, open_frames, person, probe, still_of, write_clip
from running import QUICK, names, run, spawn, video, wait_for


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 1001 to 1003, half-float EXR."""
    return write_shot(tmp_path_factory.mktemp("shot") / "plates")


def test_exr_to_exr(shot: Path, tmp_path: Path) -> None:
    """A cut-out multiplied by alpha, a matte in ``A`` alone, straight colour; numbers, timecode, rate carried; in a process of its own."""
    done = run("video", shot / "shot.####.exr", tmp_path / "cut.####.exr", "--engine", "onnxruntime", "--quality", "fast",
        "--matte", tmp_path / "matte.#.exr", "--foreground", tmp_path / "fg.%04d.exr", "--json").ok()
    assert any("Linear Rec.709" in note for note in done.report["notes"])
    assert names(tmp_path) == [f"{kind}.{number}.exr" for kind in ("cut", "fg", "matte") for number in (1001, 1002, 1003)]
    for index, number in enumerate((1001, 1002, 1003)):
        plate = linear(index)
        spec, cut = opened(tmp_path / f"cut.{number}.exr")
        assert spec.channelnames == ("R", "G", "B", "A") and str(spec.format) == "half" and spec.alpha_channel == 3
        assert spec.get_string_attribute("smpte:TimeCode") == f"10:20:30:0{index}"
        assert tuple(spec.getattribute("framesPerSecond")) == (24000, 1001)
        assert spec.get_string_attribute("compression") == "zip"
        alpha = cut[:, :, 3]
        full, empty = alpha == 1, alpha == 0
        assert full.mean() > 0.1 and empty.mean() > 0.1
        assert (cut[:, :, :3][full] == plate[full]).all(), "colours where alpha is 1 are the plate's bits"
        assert not cut[:, :, :3][empty].any(), "premultiplied"
        spec, matte = opened(tmp_path / f"matte.{number}.exr")
        assert spec.channelnames == ("A",) and str(spec.format) == "half"
        assert (matte[:, :, 0] == alpha).all()
        spec, colour = opened(tmp_path / f"fg.{number}.exr")
        assert spec.channelnames == ("R", "G", "B")
        assert (colour[full] == plate[full]).all()
        soft = ~(full | empty)
        expected = colour.astype(np.float32)[soft] * alpha.astype(np.float32)[soft][:, None]
        assert np.abs(cut[:, :, :3][soft] - expected).max() < 0.002


@pytest.mark.parametrize("source", ["", "shot.%04d.exr", "shot.$F4.exr", "shot.1001-1003#.exr", "shot.1001-1003@@@@.exr", "shot.1001,1002-1003#.exr"])
def test_names(shot: Path, tmp_path: Path, source: str) -> None:
    """A folder and every way of writing a counter."""
    report = video(shot / source if source else shot, tmp_path / "m.#.exr", "--bg", "transparent").ok().report
    assert report["frames_out"] == 3
    assert names(tmp_path) == ["m.1001.exr", "m.1002.exr", "m.1003.exr"]


def test_pixel_aspect(tmp_path: Path) -> None:
    """Anamorphic plates and clips stay so, in EXR, DPX and clips."""
    (tmp_path / "plates").mkdir()
    write_plate(tmp_path / "plates/a.0001.exr", linear(0), attributes={"PixelAspectRatio": 2.0})
    video(tmp_path / "plates", tmp_path / "a.####.exr", "--matte", tmp_path / "m.####.dpx").ok()
    video(tmp_path / "plates", tmp_path / "a.mov").ok()
    for name in ("a.0001.exr", "m.0001.dpx"):
        assert opened(tmp_path / name)[0].get_float_attribute("PixelAspectRatio") == 2
    assert probe(tmp_path / "a.mov").sar == 2
    clip = write_clip(tmp_path / "in.mp4", size=SIZE, frames=1, sar=Fraction(4, 3), tags=BT709)
    film(clip, "--matte", tmp_path / "c.####.exr").ok()
    assert abs(opened(tmp_path / "c.0001.exr")[0].get_float_attribute("PixelAspectRatio") - 4 / 3) < 1e-6


def test_float_plates(tmp_path: Path) -> None:
    """Plates of 32 bits come out bit for bit with ``--depth float``, and rounded to half without."""
    (tmp_path / "plates").mkdir()
    pixels = (linear(0).astype(np.float32) * np.float32(1.0001)).astype(np.float32)
    write_plate(tmp_path / "plates/f.0001.exr", pixels, "float")
    video(tmp_path / "plates", tmp_path / "f.####.exr", "--depth", "float").ok()
    video(tmp_path / "plates", tmp_path / "h.####.exr").ok()
    spec, found = opened(tmp_path / "f.0001.exr")
    full = found[:, :, 3] == 1
    assert str(spec.format) == "float" and full.mean() > 0.1 and (found[:, :, :3][full] == pixels[full]).all()
    _, half = opened(tmp_path / "h.0001.exr")
    full = half[:, :, 3] == 1
    assert half.dtype == np.float16 and (half[:, :, :3][full] == pixels[full].astype(np.float16)).all()


def test_rate(shot: Path, tmp_path: Path) -> None:
    """``--fps`` is what outputs say, whatever the plates said; EXR of DPX has its rate; a rate that nobody said is not written."""
    video(shot, tmp_path / "a.####.exr", "--fps", "25", "--frames", "1001").ok()
    assert tuple(opened(tmp_path / "a.1001.exr")[0].getattribute("framesPerSecond")) == (25, 1)
    (tmp_path / "dpx").mkdir()
    (tmp_path / "none").mkdir()
    image = person(0, *SIZE).astype(np.uint16) * 257
    write_plate(tmp_path / "dpx/d.0001.dpx", image, "uint16", attributes={"dpx:FrameRate": 23.976, "dpx:TemporalFrameRate": 23.976}, timecode=(0x10203000, 0))
    video(tmp_path / "dpx", tmp_path / "d.####.exr", "--matte", tmp_path / "m.####.dpx").ok()
    spec = opened(tmp_path / "d.0001.exr")[0]
    assert tuple(spec.getattribute("framesPerSecond")) == (24000, 1001) and spec.get_string_attribute("smpte:TimeCode") == "10:20:30:00"
    spec = opened(tmp_path / "m.0001.dpx")[0]
    assert abs(spec.get_float_attribute("dpx:FrameRate") - 23.976) < 0.001 and spec.get_string_attribute("smpte:TimeCode") == "10:20:30:00"
    write_plate(tmp_path / "none/n.0001.exr", linear(0))
    video(tmp_path / "none", tmp_path / "n.####.exr").ok()
    assert opened(tmp_path / "n.0001.exr")[0].getattribute("framesPerSecond") is None


def test_frames(shot: Path, tmp_path: Path) -> None:
    """Chosen frames keep their numbers; a part equals the whole where no frame looks at others."""
    video(shot, tmp_path / "a.####.exr", "--no-stable").ok()
    video(shot, tmp_path / "b.####.exr", "--no-stable", "--frames", "1001-1003x2").ok()
    assert [name for name in names(tmp_path) if name.startswith("b")] == ["b.1001.exr", "b.1003.exr"]
    assert (opened(tmp_path / "a.1003.exr")[1] == opened(tmp_path / "b.1003.exr")[1]).all()


def test_frames_of_a_clip(tmp_path: Path) -> None:
    """Frames of a clip are counted from 1, or from ``--start-number``; their times begin at 0 and the timecode moves."""
    clip = write_clip(tmp_path / "in.mov", size=SIZE, frames=6, tags=BT709, timecode="01:00:00:00")
    video(clip, tmp_path / "whole.mkv", "--matte", tmp_path / "whole-matte.mkv", "--no-stable").ok()
    video(clip, tmp_path / "part.mov", "--matte", tmp_path / "part-matte.mkv", "--no-stable", "--frames", "3-5", "--codec", "prores").ok()
    found = probe(tmp_path / "part.mov")
    assert found.frames == 3 and found.timecode == "01:00:00:02"
    assert [frame.pts * frame.time_base for frame in open_frames(tmp_path / "part.mov")] == [Fraction(n, 25) for n in range(3)]
    for part, whole in zip(greys_of(tmp_path / "part-matte.mkv"), greys_of(tmp_path / "whole-matte.mkv")[2:5], strict=True):
        assert (part == whole).all()
    video(clip, tmp_path / "s.####.exr", "--start-number", "1001", "--frames", "1002,1004-1005").ok()
    video(clip, tmp_path / "s.####.png", "--start-number", "1001", "--frames", "1002,1004-1005").ok()
    assert [name for name in names(tmp_path) if name.startswith("s.")] == [f"s.{n}.{s}" for n in (1002, 1004, 1005) for s in ("exr", "png")]
    assert opened(tmp_path / "s.1004.exr")[0].get_string_attribute("smpte:TimeCode") == "01:00:00:03"
    video(clip, tmp_path / "t.mkv", "--frames", "5-8").refused(1, "1-6 and not 7-8")


def test_clip_to_exr_is_linear(tmp_path: Path) -> None:
    """Colours of a clip are light in EXR."""
    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=SIZE, frames=1, tags=BT709)
    video(clip, tmp_path / "c.####.exr").ok()
    _, cut = opened(tmp_path / "c.0001.exr")
    full = cut[:, :, 3] == 1
    assert np.abs(cut[:, :, :3][full] ** (1 / 2.4) * 255 - person(0, *SIZE)[full]).mean() < 3


@pytest.mark.parametrize("rotation", [90, 180])
def test_turned_upright(tmp_path: Path, rotation: int) -> None:
    """What is stored turned is upright in numbered files: clips by their matrix, images by their tag."""
    clip = write_clip(tmp_path / "in.mov", size=(64, 96), frames=1, rotation=rotation, tags=BT709)
    video(clip, tmp_path / "c.####.exr").ok()
    video(clip, tmp_path / "c.####.png").ok()
    _, cut = opened(tmp_path / "c.0001.exr")
    expected = still_of(tmp_path / "c.0001.png")[:, :, 3]
    assert (np.rint(cut[:, :, 3].astype(np.float32) * 255) == expected).all()
    (tmp_path / "plates").mkdir()
    stored = np.rot90(person(0, *SIZE), -rotation // 90)
    write_plate(tmp_path / "plates/t.0001.tif", stored, "uint8", attributes={"Orientation": {90: 8, 180: 3}[rotation]})
    video(tmp_path / "plates", tmp_path / "t.####.tif", "--foreground", tmp_path / "f.####.exr").ok()
    spec, turned = opened(tmp_path / "t.0001.tif")
    assert turned.shape == (SIZE[1], SIZE[0], 4) and spec.get_int_attribute("Orientation", 1) == 1
    full = turned[:, :, 3] == 65535
    assert full.mean() > 0.1 and (turned[:, :, :3][full] == person(0, *SIZE)[full].astype(np.uint16) * 257).all()


def test_missing_frames(tmp_path: Path) -> None:
    """They are named; left out or held on demand."""
    shot = write_shot(tmp_path / "plates", (1001, 1003, 1006))
    out = tmp_path / "out"
    out.mkdir()
    video(shot, out / "m.####.exr").refused(1, "3 of 6 frames are missing (1002,1004-1005)", "--missing")
    assert not names(out)
    video(shot, out / "m.####.exr", "--missing", "skip").ok()
    assert names(out) == ["m.1001.exr", "m.1003.exr", "m.1006.exr"]
    report = video(shot, out / "h.####.exr", "--missing", "hold", "--no-stable").ok().report
    assert any("hold" in note for note in report["notes"])
    held = [opened(out / f"h.{number}.exr") for number in (1003, 1004, 1005)]
    assert all((pixels == held[0][1]).all() for _, pixels in held)
    assert [spec.get_string_attribute("smpte:TimeCode") for spec, _ in held] == ["10:20:30:02", "10:20:30:03", "10:20:30:04"]


@pytest.mark.parametrize("rate", [48, 50, 60])
def test_timecode_of_fast_clips(tmp_path: Path, rate: int) -> None:
    """SMPTE's timecode counts pairs of frames above 30 a second, with a bit for the second of them; it is read in the same way."""
    clip = write_clip(tmp_path / "in.mov", size=SIZE, frames=3, rate=rate, tags=BT709, timecode="01:00:00:44")
    (tmp_path / "out").mkdir()
    film(clip, "--matte", tmp_path / "out/m.####.exr").ok()
    specs = [opened(path)[0] for path in sorted((tmp_path / "out").iterdir())]
    second = 1 << (31 if rate == 50 else 15)
    assert [int(spec.getattribute("smpte:TimeCode")[0]) & 0xFFFFFFFF for spec in specs] == [0x01000022, 0x01000022 | second, 0x01000023]
    write_plate(tmp_path / "out/p.0002.exr", linear(0), timecode=tuple(map(int, specs[1].getattribute("smpte:TimeCode"))), rate=(rate, 1))
    video(tmp_path / "out/p.####.exr", tmp_path / "back.mov").ok()
    assert probe(tmp_path / "back.mov").timecode == "01:00:00:45"


def test_names_of_stills_of_a_clip(tmp_path: Path) -> None:
    """PNG of a clip is named as EXR is: every way of writing a counter, a lone ``#`` for four digits, the last counter of several."""
    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=(64, 64), frames=1)
    for suffix in ("png", "exr"):
        (tmp_path / suffix).mkdir()
        for number, counter in enumerate(("#", "###", "@@@@@", "$F4", "%06d", "%d", "take#2.##")):
            video(clip, tmp_path / suffix / f"{number}.{counter}.{suffix}", "--start-number", "17").ok()
    assert [Path(name).stem for name in names(tmp_path / "png")] == [Path(name).stem for name in names(tmp_path / "exr")]
    assert names(tmp_path / "png")[0] == "0.0017.png"


def test_depth_of_a_clip(tmp_path: Path) -> None:
    """TIFF and PNG of clips have the depth that is asked for, too; without one they are as deep as the clip."""
    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=SIZE, frames=1, tags=BT709)
    video(clip, tmp_path / "f.####.tif", "--depth", "float").ok()
    spec, pixels = opened(tmp_path / "f.0001.tif")
    assert str(spec.format) == "float" and spec.nchannels == 4
    full = pixels[:, :, 3] == 1
    assert np.abs(pixels[:, :, :3][full] * 255 - person(0, *SIZE)[full]).mean() < 3
    video(clip, tmp_path / "p.####.png", "--depth", "16").ok()
    assert still_of(tmp_path / "p.0001.png").dtype == np.uint16


def test_alpha_beside_numbered_mattes(tmp_path: Path) -> None:
    """``--alpha premultiplied`` holds for a clip, whatever is written beside it."""
    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=SIZE, frames=1, tags=BT709)
    for name, more in (("a", ()), ("b", ("--matte", tmp_path / "m.####.exr"))):
        video(clip, tmp_path / f"{name}.mov", "--alpha", "premultiplied", *more).ok()
    first, second = (next(open_frames(tmp_path / f"{name}.mov")) for name in "ab")
    assert all(bytes(one) == bytes(other) for one, other in zip(first.planes, second.planes, strict=True))


def test_stills_of_clips_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG, TIFF and WebP of a clip, too, with and without alpha; a file that changes on the disk does not get its name."""
    from streammat.engines import whole_files

    clip = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p10le", size=SIZE, frames=1, tags=BT709)
    for suffix in ("png", "tif", "webp", "jpg"):
        video(clip, tmp_path / f"o.%02d.{suffix}", *(["--bg", "green"] if suffix == "jpg" else []), "--matte", tmp_path / f"m.%02d.{suffix}").ok()
    real = whole_files.os.fsync

    def flipped(descriptor: int) -> None:
        """Change a byte within the pixels of what was written."""
        real(descriptor)
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, size // 2, os.SEEK_SET)
        os.write(descriptor, b"\xa5\x5a\xa5")

    monkeypatch.setattr(whole_files.os, "fsync", flipped)
    for suffix in ("png", "tif"):
        video(clip, tmp_path / f"bad.%02d.{suffix}").refused(1, f"bad.01.{suffix}", "read back")
    assert not list(tmp_path.glob("*bad*"))
    video(clip, tmp_path / "bad.%02d.png", "--no-verify").ok()


def test_data_window(tmp_path: Path) -> None:
    """Overscan is kept where the plate has it, and a small data window is filled up with black."""
    width, height = SIZE
    display = (0, 0, width - 16, height - 8)
    (tmp_path / "plates").mkdir()
    write_plate(tmp_path / "plates/o.1.exr", linear(0), origin=(-8, -4), display=display)
    write_plate(tmp_path / "plates/o.2.exr", linear(1)[10:50, 20:80], origin=(12, 6), display=display)
    video(tmp_path / "plates", tmp_path / "o.#.exr", "--foreground", tmp_path / "f.#.exr").ok()
    spec, first = opened(tmp_path / "f.1.exr")
    assert (spec.x, spec.y, spec.width, spec.height) == (-8, -4, width, height)
    assert (spec.full_x, spec.full_y, spec.full_width, spec.full_height) == display
    full = opened(tmp_path / "o.1.exr")[1][:, :, 3] == 1
    assert (first[full] == linear(0)[full]).all()
    _, second = opened(tmp_path / "f.2.exr")
    assert (second[14:46, 24:76] != 0).any() and not second[:8].any()


def test_what_is_no_number(tmp_path: Path) -> None:
    """NaN and infinity, which renderers leave in places, spread nowhere; where alpha is 0 there is 0."""
    clean, dirty = linear(0), linear(0)
    dirty[2, 2:6] = np.nan
    dirty[3, 2:6] = np.inf
    for name, pixels in (("clean", clean), ("dirty", dirty)):
        (tmp_path / name).mkdir()
        write_plate(tmp_path / name / "n.1.exr", pixels)
        video(tmp_path / name, tmp_path / f"{name}.#.exr", "--exposure", "0").ok()
    first, second = (opened(tmp_path / f"{name}.1.exr")[1] for name in ("clean", "dirty"))
    assert not second[2:4, 2:6].any(), "in the background"
    assert np.isfinite(second).all()
    assert np.abs(first.astype(np.float32) - second.astype(np.float32))[8:].max() < 0.1, "the network sees black and white there"


def test_layers(tmp_path: Path) -> None:
    """``--layer`` takes another layer; one that is not there is named with those that are."""
    (tmp_path / "plates").mkdir()
    both = np.concatenate((np.zeros_like(linear(0)), linear(0)), 2)
    write_plate(tmp_path / "plates/l.1001.exr", both, names=("R", "G", "B", "beauty.R", "beauty.G", "beauty.B"))
    video(tmp_path / "plates", tmp_path / "b.####.exr", "--layer", "beauty").ok()
    _, cut = opened(tmp_path / "b.1001.exr")
    full = cut[:, :, 3] == 1
    assert full.any() and (cut[:, :, :3][full] == linear(0)[full]).all()
    video(tmp_path / "plates", tmp_path / "c.####.exr", "--layer", "depth").refused(2, "no layer depth", "beauty")
    (tmp_path / "grey").mkdir()
    grey = np.concatenate((linear(0), linear(0)[:, :, 1:2]), 2)
    write_plate(tmp_path / "grey/g.1001.exr", grey, names=("R", "G", "B", "lum.V"))
    video(tmp_path / "grey", tmp_path / "g.####.exr", "--layer", "lum").ok()
    assert (opened(tmp_path / "g.1001.exr")[1][:, :, :3][full] == linear(0)[full][:, 1:2]).any()


def test_parts(tmp_path: Path) -> None:
    """A layer may be a part of its own."""
    (tmp_path / "plates").mkdir()
    parts = {"rgba": np.zeros_like(linear(0)), "beauty": linear(0)}
    specs = []
    for name, pixels in parts.items():
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "half")
        spec["oiio:subimagename"] = name
        specs.append(spec)
    path = str(tmp_path / "plates/p.1001.exr")
    file = oiio.ImageOutput.create(path)
    assert file.open(path, specs)
    for spec, pixels in zip(specs, parts.values(), strict=True):
        assert spec is specs[0] or file.open(path, spec, "AppendSubimage")
        assert file.write_image(pixels)
    assert file.close()
    video(tmp_path / "plates", tmp_path / "b.####.exr", "--layer", "beauty").ok()
    _, cut = opened(tmp_path / "b.1001.exr")
    full = cut[:, :, 3] == 1
    assert full.any() and (cut[:, :, :3][full] == linear(0)[full]).all()


def test_killed(tmp_path: Path) -> None:
    """After ``kill -9`` each file that has its name is whole; the same command with other frames goes on."""
    shot = write_shot(tmp_path / "plates", range(1001, 1031))
    out = tmp_path / "out"
    out.mkdir()
    with spawn("video", shot, out / "o.####.exr", *QUICK) as process:
        wait_for(lambda: len(list(out.glob("o.????.exr"))) > 3, 60)
        process.kill()
    done = sorted(out.glob("o.????.exr"))
    assert 3 < len(done) < 30, "it was killed too late"
    for path in done:
        assert opened(path)[1].shape == (SIZE[1], SIZE[0], 4)
    last = int(done[-1].name[2:6])
    video(shot, out / "o.####.exr", "--frames", f"{last + 1}-1030").ok()
    assert len(list(out.glob("o.????.exr"))) == 30


def test_without_the_extra(shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named with the line that installs it."""
    monkeypatch.setitem(sys.modules, "OpenImageIO", None)
    video(shot, tmp_path / "o.####.exr").refused(2, "OpenImageIO", "pip install 'streammat[film]'")


@pytest.mark.parametrize(
    ("name", "kind", "bits"), [("s.{:04d}.dpx", "uint16", 10), ("s.{:04d}.tif", "uint16", None), ("s.{:04d}.tif", "float", None),
                               ("s.{:04d}.png", "uint8", None), ("s.{:04d}.jpg", "uint8", None)]
)
def test_other_formats(tmp_path: Path, name: str, kind: str, bits: int | None) -> None:
    """DPX, TIFF, PNG and JPEG in; DPX, TIFF and PNG out with the same colours where alpha is 1."""
    folder = tmp_path / "plates"
    folder.mkdir()
    image = person(0, *SIZE)
    pixels = image.astype(np.float32) / 255 if kind == "float" else image.astype(np.uint16) * 257 if kind == "uint16" else image
    write_plate(folder / name.format(7), pixels, kind, bits=bits)
    space = ["--color-space", "srgb"]
    video(folder, tmp_path / "o.####.tif", "--foreground", tmp_path / "f.####.dpx", "--matte", tmp_path / "m.####.png", *space).ok()
    spec, cut = opened(tmp_path / "o.0007.tif")
    assert str(spec.format) == "uint16" and spec.nchannels == 4
    assert spec.get_int_attribute("oiio:UnassociatedAlpha") == 1
    alpha = still_of(tmp_path / "m.0007.png")
    assert alpha.dtype == np.uint16 and (alpha == cut[:, :, 3]).all()
    full = alpha == 65535
    assert full.mean() > 0.1
    difference = np.abs(cut[:, :, :3][full].astype(int) - image[full].astype(int) * 257)
    assert difference.mean() < 4 * 257 if name.endswith("jpg") else difference.max() <= (64 if bits == 10 else 0)
    spec, colour = opened(tmp_path / "f.0007.dpx")
    assert spec.get_int_attribute("oiio:BitsPerSample") == 10
    assert np.abs(colour[full].astype(int) - cut[:, :, :3][full]).max() <= 65535 / 1023


def test_dnxhr(tmp_path: Path) -> None:
    """For editing: 10 bits in MOV with times, timecode and sound; smaller sizes than its encoder takes are refused in one line."""
    clip = write_clip(tmp_path / "in.mov", size=(256, 144), frames=4, tags=BT709, audio=[Audio()], timecode="01:00:00:00", rate=Fraction(24000, 1001))
    video(clip, tmp_path / "o.mov", "--codec", "dnxhr", "--bg", "green").ok()
    found, before = probe(tmp_path / "o.mov"), probe(clip)
    assert (found.codec, found.pix_fmt) == ("dnxhd", "yuv422p10le")
    assert (found.times, found.timecode, found.tags, found.audio) == (before.times, before.timecode, before.tags, before.audio)
    small = write_clip(tmp_path / "small.mov", size=SIZE, frames=1)
    video(small, tmp_path / "p.mov", "--codec", "dnxhr", "--bg", "green").refused(1, "dnxhr", "96x64")


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 50])
def test_mxf(tmp_path: Path, rate: Fraction | int) -> None:
    """DNxHR in MXF, in and out: frames, rate, timecode, colour, and sound that begins where it did, though MXF only counts samples."""
    clip = write_clip(
        tmp_path / "in.mov", size=(256, 144), frames=12, rate=rate, tags=BT709, timecode="01:00:00:05",
        audio=[Audio(), Audio(rate=44100, layout="mono", silent=0.1), Audio(codec="pcm_s16le", start=0.1)],
    )
    video(clip, tmp_path / "o.mxf", "--bg", "green", "--matte", tmp_path / "m.mxf").ok()
    found, before = probe(tmp_path / "o.mxf"), probe(clip)
    assert (found.container, found.codec, found.pix_fmt, found.rate) == ("mxf", "dnxhd", "yuv422p10le", rate)
    assert (found.times, found.timecode, found.tags) == (before.times, before.timecode, before.tags)
    assert [track.codec for track in found.audio] == ["pcm_s24le"] * 3
    assert probe(tmp_path / "m.mxf").frames == 12
    for track, silent in enumerate((0.0, 0.1, 0.1)):
        assert abs(first_sound(tmp_path / "o.mxf", track) - silent) < 0.03
    video(tmp_path / "o.mxf", tmp_path / "back.mov", "--bg", "blue").ok()
    back = probe(tmp_path / "back.mov")
    assert [round(float(time), 3) for time in back.times] == [round(float(time), 3) for time in before.times]
    assert back.timecode == before.timecode and len(back.audio) == 3


def first_sound(path: Path, track: int) -> float:
    """When sound is first heard in a file of counted samples, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        blocks = [frame.to_ndarray().astype(np.float64).reshape(-1, stream.channels) for frame in container.decode(stream)]
        samples = np.concatenate(blocks)
        return int(np.argmax(np.abs(samples).max(1) > 0.02 * 2**31)) / stream.rate


def test_mxf_is_steady(tmp_path: Path) -> None:
    """What MXF cannot hold is refused: rates that it does not know, frames at other times, alpha."""
    slow = write_clip(tmp_path / "slow.mov", size=(256, 144), frames=2, rate=15)
    video(slow, tmp_path / "o.mxf", "--bg", "green").refused(1, "at 15 frames per second", ".mov")
    jumps = write_clip(tmp_path / "jumps.mov", size=(256, 144), frames=5, rate=25, time_base=Fraction(1, 1000), pts=[0, 40, 120, 130, 160])
    video(jumps, tmp_path / "o.mxf", "--bg", "green").refused(1, "off the steady", ".mov")
    video(slow, tmp_path / "o.mxf", "--bg", "transparent").refused(2, ".mxf", "alpha")
    assert names(tmp_path) == ["jumps.mov", "o.partial.mxf", "slow.mov"], "what was done is kept, as of every clip that breaks off"


def test_sequence_to_clip(shot: Path, tmp_path: Path) -> None:
    """A clip of a sequence has its rate and timecode, and looks as a display shows light."""
    video(shot, tmp_path / "out.mov", "--exposure", "0", "--frames", "1002-1003").ok()
    found = probe(tmp_path / "out.mov")
    assert found.frames == 2 and found.rate == Fraction(24000, 1001) and found.timecode == "10:20:30:01"


@pytest.mark.parametrize("compression", ["piz", "dwaa", "none"])
def test_compression(shot: Path, tmp_path: Path, compression: str) -> None:
    """Of EXR."""
    video(shot, tmp_path / "c.####.exr", "--compression", compression, "--frames", "1001").ok()
    assert opened(tmp_path / "c.1001.exr")[0].get_string_attribute("compression").startswith(compression)


@pytest.mark.parametrize(("name", "depth", "kind", "bits"), [("d.#.tif", "float", "float", 32), ("d.#.png", "8", "uint8", 0), ("d.#.dpx", "12", "uint16", 12), ("d.#.dpx", "auto", "uint16", 16)])
def test_depth(shot: Path, tmp_path: Path, name: str, depth: str, kind: str, bits: int) -> None:
    """Each format in the depths that it holds."""
    video(shot, tmp_path / name, "--depth", depth, "--frames", "1001").ok()
    spec, _ = opened(tmp_path / name.replace("#", "1001"))
    assert (str(spec.format), spec.get_int_attribute("oiio:BitsPerSample")) == (kind, bits)


def test_jpeg_of_deep_frames(shot: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """JPEG has 8 bits, and OpenCV has nothing to say about it."""
    video(shot, tmp_path / "j.####.jpg", "--bg", "green", "--frames", "1001").ok()
    assert still_of(tmp_path / "j.1001.jpg").dtype == np.uint8
    assert "WARN" not in capfd.readouterr().err


def test_refused(shot: Path, tmp_path: Path) -> None:
    """Each wrong request is one line, and nothing is written."""
    out = tmp_path / "o.####.exr"
    video(shot, tmp_path / "o.exr").refused(2, "becomes many files", "o.####.exr")
    video(shot, out, "--frames", "1-").refused(2, "--frames 1-", "1001-1100")
    video(shot, out, "--frames", "1-5").refused(1, "5 of 5 frames are missing", "those there are 1001-1003")
    video(shot / "other.####.exr", out).refused(1, "no such files")
    video(shot, out, "--color-space", "fancy").refused(2, "--color-space fancy", "logc3")
    video(shot, out, "--depth", "10").refused(2, "--depth 10", "half")
    video(shot, tmp_path / "o.####.tif", "--depth", "half").refused(2, "--depth half", ".tif", "float")
    video(shot, tmp_path / "o.####.dpx", "--depth", "10").refused(2, "--depth 10", ".dpx files with alpha", "16, 12")
    video(shot, out, "--start", "1").refused(2, "--frames")
    before = [path.read_bytes() for path in sorted(shot.iterdir())]
    video(shot, shot / "shot.%04d.exr", "-y").refused(2, "shot.1001.exr", "source and target")
    assert [path.read_bytes() for path in sorted(shot.iterdir())] == before
    video(shot, out, "--matte", tmp_path / "o.%04d.exr", "-y").refused(2, "two outputs", "o.1001.exr")
    assert not names(tmp_path)
    (tmp_path / "o.1002.exr").write_bytes(b"mine")
    video(shot, out).refused(2, "o.1002.exr", "is there already")
    assert names(tmp_path) == ["o.1002.exr"]


def test_damaged_frame(tmp_path: Path) -> None:
    """A frame that is cut ends the run with its name; those before it are there, whole."""
    shot = write_shot(tmp_path / "plates")
    cut = shot / "shot.1002.exr"
    cut.write_bytes(cut.read_bytes()[:-2000])
    error = video(shot, tmp_path / "o.####.exr").refused(1, "shot.1002.exr", "damaged").error
    assert "1 frames done" in error
    assert [name for name in names(tmp_path) if name.startswith("o")] == ["o.1001.exr"]


def test_strange_headers(tmp_path: Path) -> None:
    """Text that is not UTF-8 is taken for Latin-1; a size that cannot be is one line."""
    folder = tmp_path / "plates"
    folder.mkdir()
    path = write_plate(folder / "s.0001.exr", linear(0), attributes={"owner": "abcd", "comments": "kept"})
    path.write_bytes(path.read_bytes().replace(b"abcd", b"ab\xff\xfe"))
    video(folder, tmp_path / "o.####.exr").ok()
    spec, _ = opened(tmp_path / "o.0001.exr")
    assert (spec.get_string_attribute("ImageDescription"), spec.get_string_attribute("Copyright")) == ("kept", "abÿþ")
    window = struct.pack("<4i", 0, 0, SIZE[0] - 1, SIZE[1] - 1)
    path.write_bytes(path.read_bytes().replace(b"displayWindow\0box2i\0\x10\0\0\0" + window, b"displayWindow\0box2i\0\x10\0\0\0" + struct.pack("<4i", 0, 0, 39999, 39999)))
    video(folder, tmp_path / "p.####.exr").refused(1, "s.0001.exr", "40000x40000")


def test_written_frames_are_read_back(shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that changes a bit between writing and reading is found, unless nobody looks."""
    from streammat.film import images

    real = images._verify

    def flipped(path: Path, written: Path, *rest: object, **more: object) -> None:
        data = bytearray(written.read_bytes())
        data[len(data) // 2] ^= 0x10
        written.write_bytes(data)
        real(path, written, *rest, **more)

    monkeypatch.setattr(images, "_verify", flipped)
    video(shot, tmp_path / "o.####.exr", "--compression", "none").refused(1, "o.1001.exr", "read back")
    assert not names(tmp_path)
    video(shot, tmp_path / "o.####.exr", "--compression", "none", "--no-verify").ok()
