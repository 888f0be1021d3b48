"""Masks, one subject of several, and a matte alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from film.plates import SIZE, film, linear, opened, write_plate
from media import BT709, greys_of, huge_png, open_frames, person, probe, still_of, write_clip, write_still
from running import QUICK, call, names, run

from streammat.film.subject import SubjectMatting, parse_subject
from streammat.media.frame import Colour, Frame, Matte, layout_of, planes_of


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person, three frames."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mov", size=(192, 108), frames=3, tags=BT709, timecode="01:00:00:00")


def test_matte_alone(clip: Path, tmp_path: Path) -> None:
    """Without OUT there is a matte and nothing else; its codec is ``--codec``."""
    report = film(clip, "--matte", tmp_path / "m.mov", "--codec", "prores").ok().report
    assert report["outputs"] == [str(tmp_path / "m.mov")]
    found = probe(tmp_path / "m.mov")
    assert found.codec == "prores" and found.frames == 3 and found.timecode == "01:00:00:00"
    film(clip).refused(2, "out is missing", "--matte")
    assert names(tmp_path) == ["m.mov"]


def test_masks(clip: Path, tmp_path: Path) -> None:
    """``max(a, include)``, then ``min(a, 1 - exclude)``; a mask of another size is scaled, a sequence goes by numbers."""
    include, exclude = np.zeros((108, 192), np.uint8), np.zeros((54, 96), np.uint8)
    include[:40, :60] = 255
    exclude[40:, :] = 255
    write_still(tmp_path / "in.png", include)
    for number in (1, 2, 3):
        write_still(tmp_path / f"ex.{number:04d}.png", exclude if number == 2 else np.zeros_like(exclude))
    film(clip, "--matte", tmp_path / "plain.mkv").ok()
    film(clip, "--matte", tmp_path / "masked.mkv", "--include", tmp_path / "in.png", "--exclude", tmp_path / "ex.####.png").ok()
    large = cv2.resize(exclude, (192, 108), interpolation=cv2.INTER_LINEAR)
    for index, (plain, found) in enumerate(zip(greys_of(tmp_path / "plain.mkv"), greys_of(tmp_path / "masked.mkv"), strict=True)):
        expected = np.maximum(np.rint(plain * 255), include)
        if index == 1:
            expected = np.minimum(expected, 255 - large)
        assert np.abs(np.rint(found * 255) - expected).max() <= 1
    (tmp_path / "ex.0003.png").unlink()
    film(clip, "--matte", tmp_path / "m.mkv", "--exclude", tmp_path / "ex.####.png").refused(1, "--exclude", "has no frame 3")


def test_masks_of_film_tools(tmp_path: Path) -> None:
    """A mask's pixels lie where its data window says: those that compositors write are cut to what is in them; a lone EXR is one image for all frames."""
    width, height = SIZE
    (tmp_path / "plates").mkdir()
    display = (0, 0, width - 16, height - 8)
    write_plate(tmp_path / "plates/o.1001.exr", linear(0), origin=(-8, -4), display=display)
    for name, names_, scale in (("mask", ("A",), 1), ("mask_v2", ("R", "G", "B"), 1), ("double", ("A",), 2)):
        part = np.ones((20 * scale, 30 * scale, len(names_)), np.float16)
        where = (display[2] * scale, display[3] * scale)
        write_plate(tmp_path / f"{name}.exr", part, names=names_, origin=(10 * scale, 6 * scale), display=(0, 0, *where))
    film(tmp_path / "plates", "--matte", tmp_path / "plain.#.exr").ok()
    plain = opened(tmp_path / "plain.1001.exr")[1][:, :, 0]
    inside = np.zeros(plain.shape, bool)
    inside[4 + 6 : 4 + 26, 8 + 10 : 8 + 40] = True
    for name in ("mask", "mask_v2"):
        film(tmp_path / "plates", "--matte", tmp_path / f"{name}-m.#.exr", "--exclude", tmp_path / f"{name}.exr").ok()
        found = opened(tmp_path / f"{name}-m.1001.exr")[1][:, :, 0]
        assert not found[inside].any() and plain[inside].any()
        assert (found[~inside] == plain[~inside]).all()
    film(tmp_path / "plates", "--matte", tmp_path / "double-m.#.exr", "--include", tmp_path / "double.exr").ok()
    found = opened(tmp_path / "double-m.1001.exr")[1][:, :, 0]
    assert (found[11:29, 19:47] == 1).all()
    far = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    assert (found[far] == plain[far]).all()


def test_image(tmp_path: Path) -> None:
    """``image`` has the same masks and subjects; its mask is one image, and each image has its own subject."""
    write_still(tmp_path / "in.png", person(0, 192, 108)[:, :, ::-1])
    mask = np.zeros((54, 96), np.uint8)
    mask[:, :40] = 255
    write_still(tmp_path / "mask.png", mask)
    quick = (*QUICK, "-y")
    call("image", tmp_path / "in.png", tmp_path / "plain.png", *quick).ok()
    call("image", tmp_path / "in.png", tmp_path / "masked.png", "--exclude", tmp_path / "mask.png", *quick).ok()
    plain, masked = (still_of(tmp_path / f"{name}.png")[:, :, 3] for name in ("plain", "masked"))
    wanted = np.minimum(plain, 255 - cv2.resize(mask, (192, 108), interpolation=cv2.INTER_LINEAR))
    assert plain[:, :60].any() and np.abs(masked.astype(int) - wanted).max() <= 1
    call("image", tmp_path / "in.png", tmp_path / "one.png", "--subject", "largest", *quick).ok()
    assert 0.8 * plain.sum() < still_of(tmp_path / "one.png")[:, :, 3].sum() <= plain.sum()
    call("image", tmp_path / "in.png", tmp_path / "o.png", "--subject", "500,10", *quick).refused(1, "outside", "192x108")
    call("image", tmp_path / "in.png", tmp_path / "o.png", "--include", tmp_path / "m.####.png", *quick).refused(2, "is a sequence", "one image")


def test_live(tmp_path: Path) -> None:
    """A live run, too: of what a mask holds only the background is shown."""
    clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=8, tags=BT709)
    mask = np.zeros((108, 192), np.uint8)
    mask[:, 60:140] = 255
    write_still(tmp_path / "mask.png", mask)
    shown = []
    for name, options in (("a.mkv", []), ("b.mkv", ["--exclude", tmp_path / "mask.png", "--subject", "largest"])):
        run("webcam", "--camera", clip, "--to", tmp_path / name, "--bg", "#00ff00", "--fixed", *QUICK, *options).ok()
        *_, last = (frame.to_ndarray(format="rgb24") for frame in open_frames(tmp_path / name))
        shown.append(((last[:, 64:136, 1] > 200) & (last[:, 64:136, 0] < 80)).mean())
    assert shown[0] < 0.9 and shown[1] == 1
    run("webcam", "--camera", clip, "--to", "null", "--subject", "500,10", *QUICK).refused(2, "outside", "192x108")
    run("webcam", "--camera", clip, "--to", "null", "--include", tmp_path / "m.####.png", *QUICK).refused(2, "is a sequence", "one image")


def frame_of(index: int, rotation: int = 0) -> Frame:
    layout = layout_of("gray")
    assert layout is not None
    image = av.VideoFrame(80, 40, "gray")
    return Frame(image, layout, Colour(), index, Fraction(1, 25), 1, index, planes_of(image, layout), rotation)


def people(*boxes: tuple[int, int, int, int]) -> Matte:
    """Soft-edged boxes (x0, y0, x1, y1)."""
    alpha = np.zeros((40, 80), np.uint8)
    for x0, y0, x1, y1 in boxes:
        alpha[y0:y1, x0:x1] = 255
    return Matte(cv2.blur(alpha, (3, 3)))


def test_one_subject_is_followed() -> None:
    """The largest of the first frame stays the subject where another becomes larger; soft edges go with the nearest."""
    scenes = [people((5, 5, 25, 35), (50, 10, 60, 30)), people((10, 5, 20, 35), (40, 5, 75, 35)), people((12, 5, 22, 35))]
    given = iter(scenes)
    matting = SubjectMatting(lambda _: next(given), parse_subject("largest"))
    found = [matting(frame_of(index)) for index in range(3)]
    for matte, scene, end in zip(found, scenes, (37, 30, 80), strict=True):
        assert (matte.alpha[:, :end] == scene.alpha[:, :end]).all()
        assert not matte.alpha[:, end + 1 :].any()


@pytest.mark.parametrize(("rotation", "point"), [(0, "52,20"), (2, "27,19")])
def test_subject_at_a_point(rotation: int, point: str) -> None:
    """The nearest to a point of the upright image."""
    scene = people((5, 5, 25, 35), (50, 10, 60, 30))
    matte = SubjectMatting(lambda _: scene, parse_subject(point))(frame_of(0, rotation))
    assert not matte.alpha[:, :35].any()
    assert (matte.alpha[:, 45:] == scene.alpha[:, 45:]).all()


def test_refused(clip: Path, tmp_path: Path) -> None:
    """Wrong requests are one line."""
    film(clip, "--matte", tmp_path / "m.mkv", "--subject", "tall").refused(2, "--subject tall", "640,360")
    film(clip, "--matte", tmp_path / "m.mkv", "--subject", "500,10").refused(2, "outside", "192x108")
    film(clip, "--matte", tmp_path / "m.mkv", "--include", tmp_path / "none.png").refused(1, "none.png", "no such file")


def test_subject_of_a_video(clip: Path, tmp_path: Path) -> None:
    """With one person the matte is the same but for spots."""
    film(clip, "--matte", tmp_path / "a.mkv").ok()
    film(clip, "--matte", tmp_path / "b.mkv", "--subject", "largest").ok()
    for plain, found in zip(greys_of(tmp_path / "a.mkv"), greys_of(tmp_path / "b.mkv"), strict=True):
        assert (found <= plain).all() and found.sum() > 0.8 * plain.sum()
    assert len(list(open_frames(tmp_path / "b.mkv"))) == 3


def test_sizes_are_looked_at_before_anything_is_decoded(clip: Path, tmp_path: Path) -> None:
    """A PNG and an EXR that say that they have a billion pixels."""
    oiio = pytest.importorskip("OpenImageIO")
    film(clip, "--matte", tmp_path / "m.mkv", "--include", huge_png(tmp_path / "huge.png")).refused(1, "huge.png", "32000x32000", "16384x16384")
    spec = oiio.ImageSpec(64, 64, 1, "half")
    made = oiio.ImageOutput.create("huge.0001.exr")
    made.open(str(tmp_path / "huge.0001.exr"), spec)
    made.write_image(np.zeros((64, 64, 1), np.float16))
    made.close()
    data = (tmp_path / "huge.0001.exr").read_bytes()
    place = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4 + 8
    (tmp_path / "huge.0001.exr").write_bytes(data[:place] + (31999).to_bytes(4, "little") * 2 + data[place + 8 :])
    film(clip, "--matte", tmp_path / "m.mkv", "--exclude", tmp_path / "huge.0001.exr").refused(1, "huge.0001.exr")
