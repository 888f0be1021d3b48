"""What the sink of stills writes: names by number, pixels of every content and depth, and what is not replaced."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from running import names
from scenes import frame_of

from streammat.errors import OutputError, UsageError
from streammat.media.frame import Frame, Matte
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
    assert entries[338] == mark
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
