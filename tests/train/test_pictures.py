"""Reading images and mattes: every depth and form that can be meant, and one clear error for the rest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from synthetic import make_image, write

from streammat.train.data.images import read_alpha, read_rgb
from streammat.train.errors import DataError

PARTS = make_image(0)
ALPHA = PARTS["alpha"]


def test_colours_keep_their_order(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_rgb(write(tmp_path / "a.png", PARTS["image"])), PARTS["image"])
    near = read_rgb(write(tmp_path / "a.jpg", PARTS["image"]))
    assert near.dtype == np.uint8
    assert near.flags.c_contiguous
    assert np.abs(near.astype(int) - PARTS["image"]).mean() < 4


def test_rgb_of_grey_deep_and_transparent_images(tmp_path: Path) -> None:
    grey = read_rgb(write(tmp_path / "grey.png", ALPHA))
    np.testing.assert_array_equal(grey, np.repeat(ALPHA[:, :, None], 3, axis=2))
    deep = read_rgb(write(tmp_path / "deep.png", PARTS["image"].astype(np.uint16) * 257))
    np.testing.assert_array_equal(deep, PARTS["image"])
    Image.fromarray(np.dstack([PARTS["image"], ALPHA])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "rgba.png"), PARTS["image"])


def test_mattes_of_8_and_16_bits(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_alpha(write(tmp_path / "8.png", ALPHA)), ALPHA)
    deep = ALPHA.astype(np.uint16) * 257
    deep[0, :4] = (128, 129, 65406, 65407)  # half of a step of 257 is 128.5
    read = read_alpha(write(tmp_path / "16.png", deep))
    np.testing.assert_array_equal(read[1:], ALPHA[1:])
    assert read[0, :4].tolist() == [0, 1, 254, 255]


def test_mattes_with_three_equal_channels_or_a_grey_palette(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_alpha(write(tmp_path / "rgb.png", np.dstack([ALPHA] * 3))), ALPHA)
    Image.fromarray(ALPHA).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_alpha(tmp_path / "palette.png"), ALPHA)
    Image.fromarray(ALPHA).convert("1", dither=Image.Dither.NONE).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_alpha(tmp_path / "bit.png"), np.where(ALPHA > 127, 255, 0))
    opaque = np.dstack([ALPHA, ALPHA, ALPHA, np.full_like(ALPHA, 255)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_alpha(tmp_path / "opaque.png"), ALPHA)


def test_mattes_that_are_none(tmp_path: Path) -> None:
    image = Image.fromarray(ALPHA).convert("P")
    image.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    image.save(tmp_path / "palette.png")
    for path in (tmp_path / "palette.png", write(tmp_path / "colour.png", PARTS["image"])):
        with pytest.raises(DataError, match=rf"{path.name} is a coloured image; expected grey"):
            read_alpha(path)
    Image.fromarray(np.dstack([np.full_like(ALPHA, 255)] * 3 + [ALPHA])).save(tmp_path / "cut.png")
    with pytest.raises(DataError, match=r"cut.png is a cut-out with transparent pixels"):
        read_alpha(tmp_path / "cut.png")
    cv2.imwrite(str(tmp_path / "float.tiff"), ALPHA.astype(np.float32))
    with pytest.raises(DataError, match=r"float.tiff has samples of float32"):
        read_alpha(tmp_path / "float.tiff")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.97])
def test_cut_off_images(tmp_path: Path, suffix: str, keep: float) -> None:
    path = write(tmp_path / f"a.{suffix}", PARTS["image"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=rf"a.{suffix} is cut off after \d+ bytes; download or make it again"):
        read_rgb(path)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100}])
def test_every_kind_of_jpeg_has_its_end_found(tmp_path: Path, options: dict[str, int]) -> None:
    thumbnail = write(tmp_path / "small.jpg", ALPHA[:16, :16]).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00" + thumbnail, **options)
    content = (tmp_path / "a.jpg").read_bytes()
    whole = read_rgb(tmp_path / "a.jpg")
    (tmp_path / "longer.jpg").write_bytes(content + b"\x00" * 7 + b"more from the camera")
    np.testing.assert_array_equal(read_rgb(tmp_path / "longer.jpg"), whole)
    # The thumbnail has an end of its own, which must not pass for that of the image.
    (tmp_path / "shorter.jpg").write_bytes(content[:-40])
    with pytest.raises(DataError, match="is cut off"):
        read_rgb(tmp_path / "shorter.jpg")


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none.png: No such file or directory"):
        read_rgb(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty.png is empty \(0 bytes\)"):
        read_alpha(tmp_path / "empty.png")
    (tmp_path / "page.jpg").write_bytes(b"<html>404</html>" * 9)
    with pytest.raises(DataError, match=r"page.jpg cannot be decoded \(144 bytes\); expected JPEG or PNG"):
        read_rgb(tmp_path / "page.jpg")


def test_corrupt_png(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.png", PARTS["image"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.png cannot be decoded"):
        read_rgb(path)
    capfd.readouterr()  # libpng says so as well
