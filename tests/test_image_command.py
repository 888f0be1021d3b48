"""``streammat image``: stills in, stills out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from media import Rgb, example_frames, huge_png, still_of, write_still
from numpy.typing import NDArray
from PIL import Image, ImageCms
from running import QUICK, Run, call, names, run

ORIENTATIONS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: np.transpose(p, (1, 0, 2)),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.transpose(p[::-1, ::-1], (1, 0, 2)),
    8: lambda p: np.rot90(p, -1),
}
"""EXIF orientation: how a camera stores an upright image under it."""


def image(*arguments: str | Path) -> Run:
    """``streammat image`` in this process, quickly, with a report."""
    return call("image", *arguments, *QUICK, "--json")


@pytest.fixture(scope="module")
def portrait() -> Rgb:
    """A person in a room, (216, 384, 3)."""
    return np.asarray(cv2.resize(example_frames()[3], (384, 216), interpolation=cv2.INTER_AREA), np.uint8)


def check(still: NDArray[np.generic], portrait: Rgb, slack: float = 2.0) -> None:
    """``still`` is RGBA: nothing at the wall, solid and of the portrait's own colour inside the person."""
    top = 255 if still.dtype == np.uint8 else 65535
    colour, alpha = still[:, :, :3].astype(np.float64) * 255 / top, still[:, :, 3].astype(np.float64) / top
    assert colour.shape == portrait.shape
    assert alpha[4:30, 160:180].mean() < 0.1 or alpha[2:20, 300:].mean() < 0.05
    inside = cv2.erode((alpha > 0.995).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert inside.sum() > 1000
    assert np.abs(colour[inside] - portrait[inside]).mean() < slack


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.webp", "in.tiff", "in.bmp"])
def test_inputs(tmp_path: Path, portrait: Rgb, name: str) -> None:
    """Every usual kind of still goes in."""
    source = write_still(tmp_path / name, portrait)
    report = image(source, tmp_path / "out.png").ok().report
    assert report["outputs"] == [str(tmp_path / "out.png")]
    check(still_of(tmp_path / "out.png"), portrait, 4.0)


@pytest.mark.parametrize("name", ["out.png", "out.webp", "out.tiff", "out.tif"])
def test_outputs_with_alpha(tmp_path: Path, portrait: Rgb, name: str) -> None:
    """PNG, WebP and TIFF are transparent and lossless."""
    image(write_still(tmp_path / "in.png", portrait), tmp_path / name).ok()
    check(still_of(tmp_path / name), portrait, 0.6)
    assert names(tmp_path) == sorted(["in.png", name])


def test_jpeg_output_is_green(tmp_path: Path, portrait: Rgb) -> None:
    """JPEG has no alpha: green by default, and transparent is refused."""
    source = write_still(tmp_path / "in.png", portrait)
    image(source, tmp_path / "out.jpg").ok()
    still = still_of(tmp_path / "out.jpg")
    assert still.shape == portrait.shape
    assert np.abs(still[4:20, 300:].reshape(-1, 3).mean(0) - (0, 177, 64)).max() < 8
    image(source, tmp_path / "t.jpg", "--bg", "transparent").refused(2, "alpha")
    assert not (tmp_path / "t.jpg").exists()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(tmp_path: Path, portrait: Rgb, orientation: int) -> None:
    """The output is upright whatever way the camera was held."""
    stored = np.ascontiguousarray(ORIENTATIONS[orientation](portrait))
    source = write_still(tmp_path / "in.jpg", stored, orientation=orientation)
    image(source, tmp_path / "out.png").ok()
    check(still_of(tmp_path / "out.png"), portrait, 4.0)


@pytest.mark.parametrize("name", ["out.png", "out.tiff"])
@pytest.mark.parametrize("kind", ["in.png", "in.tiff"])
def test_sixteen_bits(tmp_path: Path, portrait: Rgb, name: str, kind: str) -> None:
    """Sixteen bits stay sixteen bits, colour and alpha."""
    rng = np.random.default_rng(1)
    deep = (portrait.astype(np.uint16) * 257) ^ rng.integers(0, 64, portrait.shape, np.uint16)
    image(write_still(tmp_path / kind, deep), tmp_path / name).ok()
    still = still_of(tmp_path / name)
    assert still.dtype == np.uint16
    inside = still[:, :, 3] == 65535
    assert inside.sum() > 1000
    assert np.array_equal(still[:, :, :3][inside], deep[inside])
    assert np.unique(still[:, :, 3]).size > 300, "alpha has eight bits only"
    check(still, portrait, 1.0)


@pytest.mark.parametrize("mode", ["grey", "grey16", "rgba", "palette"])
def test_other_pixels(tmp_path: Path, portrait: Rgb, mode: str) -> None:
    """Grey, 16-bit grey, images with alpha of their own."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    stored = {
        "grey": grey,
        "grey16": grey.astype(np.uint16) * 257,
        "rgba": np.dstack((portrait[:, :, ::-1], np.full(grey.shape, 128, np.uint8))),
        "palette": portrait // 64 * 64,
    }[mode]
    image(write_still(tmp_path / "in.png", np.asarray(stored)), tmp_path / "out.png").ok()
    still = still_of(tmp_path / "out.png")
    assert still.shape == (216, 384, 4)
    assert still.dtype == (np.uint16 if mode == "grey16" else np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (97, 75), (75, 131), (33, 200)])
def test_sizes(tmp_path: Path, portrait: Rgb, size: tuple[int, int]) -> None:
    """Odd, small and narrow images keep their size."""
    source = write_still(tmp_path / "in.png", np.asarray(cv2.resize(portrait, size), np.uint8))
    image(source, tmp_path / "out.png").ok()
    assert still_of(tmp_path / "out.png").shape == (size[1], size[0], 4)


def test_standard_input_and_output(tmp_path: Path, portrait: Rgb) -> None:
    """``-`` is standard input, or a PNG on standard output: the same image as with files."""
    source = write_still(tmp_path / "me.png", portrait)
    image(source, tmp_path / "out.png").ok()
    image(source, tmp_path / "blur.png", "--bg", "blur").ok()
    for options, same in (([], "out.png"), (["--bg", "blur"], "blur.png")):  # transparent, as in the help, and on a background
        command = [sys.executable, "-m", "streammat", "image", "-", "-", *QUICK, *options]
        done = subprocess.run(command, input=source.read_bytes(), capture_output=True, timeout=60, check=True)
        shown = cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(shown, cv2.imread(str(tmp_path / same), cv2.IMREAD_UNCHANGED))
    call("image", "-", source, tmp_path / "cut", *QUICK).refused(2, "standard input and output take one image")
    call("image", source, "-", "--json", *QUICK).refused(2, "both use standard output")


def test_a_folder_into_a_folder(tmp_path: Path, portrait: Rgb) -> None:
    """Each image of a folder; what is none is passed over."""
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.png"):
        write_still(tmp_path / "in" / name, portrait)
    (tmp_path / "in/notes.txt").write_text("none")
    image(tmp_path / "in", tmp_path / "out").ok()
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    (tmp_path / "empty").mkdir()
    image(tmp_path / "empty", tmp_path / "out").refused(1, "holds no images")


def test_several_into_a_folder(tmp_path: Path, portrait: Rgb) -> None:
    """OUT is a folder, made if need be, that gets ``<stem>.png`` for each."""
    sources = [
        write_still(tmp_path / "a.png", portrait),
        write_still(tmp_path / "b.jpg", np.ascontiguousarray(portrait[:, 60:330])),
        write_still(tmp_path / "c.webp", np.ascontiguousarray(portrait[:200])),
    ]
    report = image(*sources, tmp_path / "cut").ok().report
    assert names(tmp_path / "cut") == ["a.png", "b.png", "c.png"]
    assert report["outputs"] == [str(tmp_path / "cut" / name) for name in ("a.png", "b.png", "c.png")]
    assert still_of(tmp_path / "cut/b.png").shape == (216, 270, 4)
    image(*sources, tmp_path / "cut").refused(2, "-y")
    image(*sources, tmp_path / "cut", "-y").ok()


def test_one_into_a_folder(tmp_path: Path, portrait: Rgb) -> None:
    """An existing folder, or a name that ends in a slash, is a folder for one image, too."""
    source = write_still(tmp_path / "a.jpg", portrait)
    (tmp_path / "there").mkdir()
    image(source, tmp_path / "there").ok()
    image(source, f"{tmp_path}/new/").ok()
    assert names(tmp_path / "there") == names(tmp_path / "new") == ["a.png"]


def test_several_into_one_file_are_refused(tmp_path: Path, portrait: Rgb) -> None:
    """Two images do not fit into one file."""
    sources = [write_still(tmp_path / "a.png", portrait), write_still(tmp_path / "b.png", portrait)]
    image(*sources, tmp_path / "out.png").refused(2, "folder")
    assert names(tmp_path) == ["a.png", "b.png"]


def test_same_names_are_refused(tmp_path: Path, portrait: Rgb) -> None:
    """a/x.jpg and b/x.png would both become x.png."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    sources = [write_still(tmp_path / "a/x.jpg", portrait), write_still(tmp_path / "b/x.png", portrait)]
    image(*sources, tmp_path / "cut").refused(2, "x.png")


def test_names_that_look_like_patterns(tmp_path: Path, portrait: Rgb) -> None:
    """An image keeps its name, and a folder its own, whatever they hold."""
    folder = tmp_path / "shots #%02d"
    folder.mkdir()
    sources = [write_still(tmp_path / name, portrait) for name in ("take#1.png", "take#2.png", "50%d.png")]
    report = image(*sources, folder).ok().report
    assert names(folder) == ["50%d.png", "take#1.png", "take#2.png"]
    assert sorted(report["outputs"]) == [str(folder / name) for name in names(folder)]
    image(sources[0], folder / "##.png").ok()
    assert (folder / "##.png").exists()


def test_backgrounds(tmp_path: Path, portrait: Rgb) -> None:
    """Colour, image and blur, as for video."""
    source = write_still(tmp_path / "in.png", portrait)
    wall = write_still(tmp_path / "bg.png", np.full((50, 80, 3), (10, 200, 250), np.uint8))
    image(source, tmp_path / "colour.png", "--bg", "#0ac8fa").ok()
    image(source, tmp_path / "picture.png", "--bg", wall).ok()
    image(source, tmp_path / "blur.png", "--bg", "blur").ok()
    colour, picture, blur = (still_of(tmp_path / f"{name}.png") for name in ("colour", "picture", "blur"))
    assert colour.shape == picture.shape == blur.shape == portrait.shape
    assert np.abs(colour[4:20, 300:].reshape(-1, 3).mean(0) - (10, 200, 250)).max() < 3
    assert np.abs(colour.astype(int) - picture).mean() < 1
    assert (
        np.abs(cv2.Laplacian(blur[4:60, 280:], cv2.CV_32F)).mean()
        < np.abs(cv2.Laplacian(portrait[4:60, 280:], cv2.CV_32F)).mean()
    )


def test_premultiplied(tmp_path: Path, portrait: Rgb) -> None:
    """Colour times alpha, exactly, since stills have full chroma."""
    source = write_still(tmp_path / "in.png", portrait)
    image(source, tmp_path / "s.png").ok()
    image(source, tmp_path / "p.png", "--alpha", "premultiplied").ok()
    straight, multiplied = still_of(tmp_path / "s.png").astype(float), still_of(tmp_path / "p.png").astype(float)
    assert np.abs(multiplied[:, :, :3] - straight[:, :, :3] * straight[:, :, 3:] / 255).max() <= 1.01


def tiff_tag(path: Path, tag: int) -> int | None:
    """The first value of a short tag of a TIFF file's first image, or None where the tag is missing."""
    data = path.read_bytes()
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)
    for entry in range(int.from_bytes(data[at : at + 2], order)):
        field = data[at + 2 + 12 * entry : at + 14 + 12 * entry]
        if int.from_bytes(field[:2], order) == tag:
            return int.from_bytes(field[8:10], order)
    return None


@pytest.mark.parametrize(("alpha", "stated"), [("straight", 2), ("premultiplied", 1)])
@pytest.mark.parametrize("deep", [False, True])
def test_tiff_states_its_alpha(tmp_path: Path, portrait: Rgb, alpha: str, stated: int, deep: bool) -> None:
    """ExtraSamples tells film tools that the fourth channel is alpha, and which kind: mislabelled alpha makes halos."""
    source = write_still(tmp_path / "in.png", portrait.astype(np.uint16) * 257 if deep else portrait)
    image(source, tmp_path / "out.tiff", "--alpha", alpha).ok()
    assert tiff_tag(tmp_path / "out.tiff", 338) == stated


def test_faults(tmp_path: Path, portrait: Rgb) -> None:
    """Missing, folder, empty, text, cut short, no place to write: one line each."""
    source = write_still(tmp_path / "in.png", portrait)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image\n" * 50)
    (tmp_path / "cut.png").write_bytes(source.read_bytes()[:2000])
    for name in ("missing.png", "folder", "empty.png", "text.png"):
        image(tmp_path / name, tmp_path / "out.png").refused(1, name)
        assert not (tmp_path / "out.png").exists()
    short = image(tmp_path / "cut.png", tmp_path / "out.png", "-y")
    assert short.code in {0, 1}
    image(source, tmp_path / "no/such/out.png").refused(1, "out.png")
    image(source, source, "-y").refused(2, "source")
    image(source, tmp_path / "out.xyz").refused(2, ".png")
    assert call("image", source).code == 2


def test_one_bad_image_does_not_stop_the_others(tmp_path: Path, portrait: Rgb) -> None:
    """The good ones are done, the bad one is named, and the exit code says that something failed."""
    sources = [write_still(tmp_path / "a.png", portrait), tmp_path / "bad.png", write_still(tmp_path / "c.png", portrait)]
    sources[1].write_text("no image")
    done = image(*sources, tmp_path / "cut")
    done.refused(1, "bad.png")
    assert names(tmp_path / "cut") == ["a.png", "c.png"]
    assert done.report["error"]
    assert len(done.report["outputs"]) == 2


def test_quiet_in_a_process(tmp_path: Path, portrait: Rgb) -> None:
    """``--quiet`` says nothing."""
    source = write_still(tmp_path / "in.png", portrait)
    done = run("image", source, tmp_path / "out.png", *QUICK, "--quiet").ok()
    assert (done.out, done.err) == ("", "")


def noted(path: Path, portrait: Rgb) -> bytes:
    """Write the portrait stored on its side, with a colour profile, a thumbnail and camera's notes; returns the profile."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = 6, "A maker", "Somebody"
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0x927C: b"an image of the room"})
    exif.get_ifd(0x8825)[1] = "N"
    profile: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(np.ascontiguousarray(np.rot90(portrait))).save(path, exif=exif, icc_profile=profile)
    return profile


@pytest.mark.parametrize("name", ["out.png", "out.webp", "white.jpg"])
def test_profile_and_notes_go_on(tmp_path: Path, portrait: Rgb, name: str) -> None:
    profile = noted(tmp_path / "in.jpg", portrait)
    background = ("--bg", "white") if name.startswith("white") else ()
    image(tmp_path / "in.jpg", tmp_path / name, *background).ok()
    with Image.open(tmp_path / name) as made:
        assert made.size == portrait.shape[1::-1]
        assert made.info["icc_profile"] == profile
        exif = made.getexif()
        assert {tag: exif[tag] for tag in exif if tag != 0x8769} == {0x010F: "A maker", 0x8298: "Somebody"}  # turned, so no orientation
        assert dict(exif.get_ifd(0x8769)) == {0x9003: "2026:01:02 03:04:05"}


def test_transparent_webp_holds_exactly_what_png_does(tmp_path: Path, portrait: Rgb) -> None:
    write_still(tmp_path / "in.png", portrait)
    for name in ("out.png", "out.webp"):
        image(tmp_path / "in.png", tmp_path / name).ok()
    webp, png = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("out.webp", "out.png"))
    assert np.array_equal(webp, png)
    assert (webp[webp[..., 3] == 0] == 0).all(axis=1).any()  # far from the subject nothing is left of the room


def test_sizes_are_looked_at_before_anything_is_decoded(tmp_path: Path, portrait: Rgb) -> None:
    wanted = "has 32000x32000 pixels; expected at most 16384x16384 of them: make it smaller first"
    image(huge_png(tmp_path / "huge.png"), tmp_path / "out.png").refused(1, wanted)
    write_still(tmp_path / "in.png", portrait)
    image(tmp_path / "in.png", tmp_path / "out.jpg", "--bg", tmp_path / "huge.png").refused(1, wanted)


def test_an_image_that_moves_is_named(tmp_path: Path, portrait: Rgb) -> None:
    frames = [Image.fromarray(np.ascontiguousarray(portrait[:64, :64] // part)) for part in (1, 2, 3)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:])
    image(tmp_path / "in.webp", tmp_path / "out.png").refused(1, "is animated (3 images in one file); expected one image")
