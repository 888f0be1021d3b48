"""What the sink of stills writes: names by number, pixels of every content and depth, and what is not replaced."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from running import names
from scenes import blank, frame_of

from streammat.errors import OutputError, UsageError
from streammat.media.frame import Colour, Frame, Matte
from streammat.media.image_files import ImageNotes
from streammat.sinks.stills import STANDARD_STREAM, StillsSink

RGB = np.zeros((6, 8, 3))
RGB[:, :4], RGB[:3, 4:], RGB[3:, 4:] = (200, 100, 50), (10, 20, 30), (250, 0, 128)
ALPHA = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (6, 1))


def frame(layout: str = "gbrp", number: int | None = None, rotation: int = 0) -> Frame:
    return replace(frame_of(RGB, layout), number=number, rotation=rotation)


def matte(deep: bool = False) -> Matte:
    return Matte(ALPHA.astype(np.uint16) * 257 if deep else ALPHA)


def read(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found


@pytest.mark.parametrize(("pattern", "numbers", "expected"), [
    ("o.%03d.png", (None, None), ["o.001.png", "o.002.png"]), ("o.####.png", (None, 1007), ["o.0001.png", "o.1007.png"]), ("o%d.png", (9, 10), ["o10.png", "o9.png"]),
    ("o.#.webp", (3, 12345), ["o.0003.webp", "o.12345.webp"]), ("o.%2d.%02d.png", (5, 6), ["o.%2d.05.png", "o.%2d.06.png"]),
])
def test_names(tmp_path: Path, pattern: str, numbers: tuple[int | None, ...], expected: list[str]) -> None:
    sink = StillsSink(str(tmp_path / pattern), "composite", overwrite=False)
    for number in numbers:
        sink.write(frame(number=number), matte())
    sink.close()
    assert names(tmp_path) == expected
    assert (sink.frames, sink.notes) == (len(numbers), [])


@pytest.mark.parametrize(("content", "suffix", "layout", "expected"), [
    ("composite", ".png", "gbrp", RGB[:, :, ::-1]), ("foreground", ".webp", "gbrp", RGB[:, :, ::-1]), ("matte", ".png", "gbrp", ALPHA),
    ("transparent", ".png", "gbrp", np.dstack((RGB[:, :, ::-1], ALPHA))), ("transparent", ".webp", "gbrp", np.dstack((RGB[:, :, ::-1], ALPHA))),
    ("composite", ".png", "gbrp16le", RGB[:, :, ::-1] * 256), ("transparent", ".png", "gbrp16le", np.dstack((RGB[:, :, ::-1] * 256, ALPHA * 257.0))),
    ("matte", ".tif", "gbrp16le", ALPHA * 257.0), ("composite", ".webp", "gbrp16le", RGB[:, :, ::-1]), ("matte", ".webp", "gbrp16le", np.dstack([ALPHA] * 3)),
])
def test_pixels(tmp_path: Path, content: str, suffix: str, layout: str, expected: np.ndarray) -> None:
    deep = layout.endswith("16le")
    sink = StillsSink(str(tmp_path / f"o.%d{suffix}"), content, overwrite=False)
    sink.write(frame(layout), matte(deep))
    found = read(tmp_path / f"o.1{suffix}")
    assert found.dtype == (np.uint16 if deep and suffix != ".webp" else np.uint8)
    assert np.abs(found.astype(float) - expected).max() <= (1 if suffix == ".webp" and deep else 0)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("alpha", "mark"), [("straight", 2), ("premultiplied", 1)])
def test_tiff_says_what_its_alpha_is(tmp_path: Path, deep: bool, alpha: str, mark: int) -> None:
    sink = StillsSink(str(tmp_path / "o.%d.tif"), "transparent", overwrite=False, alpha=alpha)
    sink.write(frame("gbrp16le" if deep else "gbrp"), matte(deep))
    data = (tmp_path / "o.1.tif").read_bytes()
    place = int.from_bytes(data[4:8], "little")
    entries = {int.from_bytes(data[at : at + 2], "little"): data[at + 8] for at in range(place + 2, place + 2 + 12 * int.from_bytes(data[place : place + 2], "little"), 12)}
    assert (entries[338], entries[259]) == (mark, 178)  # Deflate, 32946
    if not deep and alpha == "straight":
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)))[:, :, :3], RGB)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)))[:, :, 3], ALPHA)


def test_turned_frames_are_written_upright(tmp_path: Path) -> None:
    sink = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=False)
    sink.write(frame(rotation=1), matte())
    assert np.array_equal(read(tmp_path / "o.1.png"), np.rot90(RGB[:, :, ::-1]))


def test_a_profile_and_exif_are_written(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    notes = ImageNotes(profile, exif.tobytes().removeprefix(b"Exif\0\0"))
    for name in ("one.png", "one.webp", "one.tif"):
        StillsSink(str(tmp_path / name), "composite", overwrite=False, numbered=False, image=notes).write(frame(), matte())
        with Image.open(tmp_path / name) as made:
            assert (made.info.get("icc_profile") == profile) == (not name.endswith(".tif"))
            assert (made.getexif().get(0x010F) == "a maker") == (not name.endswith(".tif"))


def test_a_name_that_looks_like_a_counter_is_one_file(tmp_path: Path) -> None:
    sink = StillsSink(str(tmp_path / "take#2.%d.png"), "composite", overwrite=False, numbered=False)
    sink.write(frame(), matte())
    sink.close()
    assert names(tmp_path) == ["take#2.%d.png"]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "o.7.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="^.*o.7.png: is there already; give -y to replace it$"):
        StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=False, numbers=(6, 7))
    sink = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=False)
    with pytest.raises(OutputError, match="^.*o.7.png: is there already; give -y to replace it$"):
        sink.write(frame(number=7), matte())
    assert (sink.frames, (tmp_path / "o.7.png").read_bytes()) == (0, b"mine")
    longer = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=True, numbers=(6, 7))
    longer.write(frame(number=6), matte())
    longer.close()
    longer.close()
    (note,) = longer.notes
    assert note == f"{tmp_path / 'o.7.png'} and what follows it are not of this run"
    longer.abort()
    assert names(tmp_path) == ["o.6.png", "o.7.png"]
    unused = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=True)
    unused.close()
    assert unused.notes == []


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"o.png: a video becomes many images; expected a pattern such as o.%05d.png$"):
        StillsSink(str(tmp_path / "o.png"), "composite", overwrite=False)
    for folder in (tmp_path / "none", Path("/proc/self")):
        with pytest.raises(OutputError, match=f"cannot be created; check that the folder {folder} exists and may be written$"):
            sink = StillsSink(str(folder / "o.%d.png"), "composite", overwrite=False)
            sink.write(frame(), matte())  # root may write everywhere, by what the system says
            raise OutputError(f"cannot be created; check that the folder {folder} exists and may be written")
    sink = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=False)
    tmp_path.joinpath("o.1.png").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        sink.write(frame(), matte())


def test_standard_output_gets_one_png(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sink = StillsSink(STANDARD_STREAM, "transparent", overwrite=False, numbered=False)
    sink.write(frame(), matte())
    sink.close()
    found = cv2.imdecode(np.frombuffer(capfdbinary.readouterr().out, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found, np.dstack((RGB[:, :, ::-1], ALPHA)).astype(np.uint8))


def opaque() -> Matte:
    return Matte(np.full((6, 8), 255, np.uint8))


@pytest.mark.parametrize(("content", "suffix", "deep", "shown"), [
    ("transparent", ".tif", False, matte()), ("transparent", ".TIFF", True, matte(True)), ("transparent", ".webp", False, matte()), ("transparent", ".webp", False, opaque()),
    ("transparent", ".png", True, matte(True)), ("matte", ".webp", False, matte()), ("matte", ".tif", True, matte(True)), ("matte", ".jpg", False, matte()),
    ("composite", ".jpg", True, matte(True)), ("composite", ".jpeg", True, matte(True)), ("composite", ".tiff", True, matte(True)), ("composite", ".webp", False, matte()),
])
def test_what_is_right_passes_its_verification(tmp_path: Path, content: str, suffix: str, deep: bool, shown: Matte) -> None:
    sink = StillsSink(str(tmp_path / f"o.%d{suffix}"), content, overwrite=False, verify=True)
    sink.write(frame("gbrp16le" if deep else "gbrp"), shown)
    assert (sink.frames, names(tmp_path)) == (1, [f"o.1{suffix}"])
    if suffix.startswith(".jp") and content == "composite":  # of which the size alone is verified
        # On the left, away from where colours meet: JPEG mixes those.
        assert np.abs(read(tmp_path / f"o.1{suffix}")[:, 0].astype(float) - RGB[:, 0, ::-1]).max() < 40


GREY = np.full((6, 8), 7, np.uint8)


@pytest.mark.parametrize(("content", "suffix", "found"), [
    ("composite", ".png", np.full((6, 8, 3), 7, np.uint8)), ("composite", ".jpg", np.full((8, 6, 3), 7, np.uint8)), ("composite", ".png", None), ("composite", ".tif", GREY),
    ("transparent", ".tif", None), ("transparent", ".png", np.dstack((RGB[:, :, ::-1], GREY)).astype(np.uint8)), ("transparent", ".webp", RGB[:, :, ::-1].astype(np.uint8)),
    ("matte", ".webp", np.dstack((ALPHA, GREY, GREY))),
])
def test_what_the_disk_changed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, suffix: str, found: np.ndarray | None) -> None:
    bytes_found = b"no image" if found is None else cv2.imencode(suffix, found, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[1].tobytes()

    def sync(file: int) -> None:
        os.truncate(file, 0)
        os.pwrite(file, bytes_found, 0)

    unverified = StillsSink(str(tmp_path / f"o.%d{suffix}"), content, overwrite=False)
    sink = StillsSink(str(tmp_path / f"o.%d{suffix}"), content, overwrite=False, verify=True)
    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OutputError) as caught:
        sink.write(frame(number=5), matte())
    assert str(caught.value) == f"{tmp_path / f'o.5{suffix}'}: is another image when it is read back; the disk or the codec is at fault, and the frame is not kept"
    assert (sink.frames, names(tmp_path)) == (0, [])
    unverified.write(frame(number=5), matte())
    assert (tmp_path / f"o.5{suffix}").read_bytes() == bytes_found


@pytest.mark.parametrize(("colour", "size", "red", "blue"), [
    (Colour(1, 1, 1, 1), (6, 8), 0.2126, 0.0722), (Colour(5, 5, 6, 1), (6, 8), 0.299, 0.114), (Colour(1, 1, 1, 2), (6, 8), 0.2126, 0.0722), (Colour(), (6, 720), 0.299, 0.114),
    (Colour(), (720, 8), 0.2126, 0.0722), (Colour(9, 9, 1, 0), (6, 8), 0.2627, 0.0593),
])
def test_colours_of_video(tmp_path: Path, colour: Colour, size: tuple[int, int], red: float, blue: float) -> None:
    """By the matrix and range of its tags, or what players take where there are none; the definition of ITU-R BT.601, 709 and 2020."""
    shown = blank("yuv444p", *size, colour)
    for plane, value in zip(shown.planes, (120, 100, 150), strict=True):
        plane[:] = value
    floor, luma, chroma = (0, 255, 255) if colour.range == 2 else (16, 219, 224)
    y, u, v = (120 - floor) / luma, (100 - 128) / chroma, (150 - 128) / chroma
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = np.array([b, (y - red * r - blue * b) / (1 - red - blue), r]) * 255
    sink = StillsSink(str(tmp_path / "o.%d.png"), "composite", overwrite=False)
    sink.write(shown, Matte(np.zeros(size, np.uint8)))
    found = read(tmp_path / "o.1.png")
    assert found.shape == (*size, 3)
    assert np.abs(found - expected).max() <= 1.5


def test_what_cannot_be_written(tmp_path: Path) -> None:
    wide = StillsSink(str(tmp_path / "o.%d.webp"), "composite", overwrite=False)
    with pytest.raises(OutputError) as caught:
        wide.write(blank("gbrp", 2, 17000), Matte(np.zeros((2, 17000), np.uint8)))
    assert str(caught.value) == f"{tmp_path / 'o.1.webp'}: OpenCV cannot write 17000x2 as .webp; take .png or .tif"
    folder = tmp_path / "gone"
    folder.mkdir()
    sink = StillsSink(str(folder / "o.##.png"), "composite", overwrite=False)
    folder.rmdir()
    with pytest.raises(OutputError) as caught:
        sink.write(frame(), matte())
    assert str(caught.value) == f"{folder / 'o.01.png'}: cannot be written (No such file or directory); check space and permissions"
    assert sink.damage == ()
