"""Colour spaces: what the network sees, light that is blended, and bits that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from film.plates import SIZE, film, linear, ocio, opened, write_plate
from media import BT709, greys_of, person, write_clip
from numpy.typing import NDArray
from running import video

from streammat.film.colour import open_space
from streammat.film.header import Header

LOGC3 = "ARRI LogC3 (EI800)"


def converted(pixels: NDArray[Any], source: str, target: str) -> NDArray[np.float32]:
    """Pixels in another space of the built-in config."""
    config = ocio.Config.CreateFromFile("ocio://studio-config-latest")
    found = np.array(pixels, np.float32)
    config.getProcessor(source, target).getDefaultCPUProcessor().applyRGB(found)
    return found


def shot(folder: Path, pixels: NDArray[Any], **how: Any) -> Path:
    """One frame, 1001, as EXR."""
    folder.mkdir()
    write_plate(folder / "s.1001.exr", pixels.astype(np.float16), **how)
    return folder


def matte_of(source: Path, folder: Path, *options: str) -> NDArray[np.float32]:
    """Its matte, 0..1."""
    target = folder / f"{source.name}-matte.####.exr"
    film(source, "--matte", target, *options).ok()
    return opened(Path(str(target).replace("####", "1001")))[1][:, :, 0].astype(np.float32)


def test_the_network_sees_the_same_scene(tmp_path: Path) -> None:
    """Light, ACEScg and logarithmic spaces of one scene, bright and five stops dark, give nearly the same matte as its video."""
    light = linear(0).astype(np.float32)
    plain = matte_of(shot(tmp_path / "light", light), tmp_path)
    assert (plain == 1).mean() > 0.1 and (plain == 0).mean() > 0.1
    dark = matte_of(shot(tmp_path / "dark", light / 32), tmp_path)
    aces = matte_of(shot(tmp_path / "aces", converted(light, "lin_rec709", "ACEScg")), tmp_path, "--color-space", "acescg")
    logs = [
        matte_of(shot(tmp_path / name, converted(light, "lin_rec709", space)), tmp_path, "--color-space", name)
        for name, space in (("logc3", LOGC3), ("logc4", "ARRI LogC4"), ("slog3", "S-Log3 S-Gamut3.Cine"), ("acescct", "ACEScct"))
    ]
    for found in (dark, aces, *logs):
        assert np.abs(found - plain).mean() < 0.01
    fixed = matte_of(shot(tmp_path / "fixed", light / 32), tmp_path, "--exposure", "-8")
    assert np.abs(fixed - plain).mean() > 0.02, "in the dark the network sees nobody"


def test_space_from_metadata(tmp_path: Path) -> None:
    """``auto`` believes what the file says, and the output says it, too."""
    light = converted(linear(0), "lin_rec709", "ACEScg")
    source = shot(tmp_path / "aces", light, attributes={"colorInteropID": "lin_ap1_scene"})
    report = video(source, tmp_path / "o.####.exr").ok().report
    assert any("ACEScg" in note for note in report["notes"])
    assert opened(tmp_path / "o.1001.exr")[0].get_string_attribute("colorInteropID") == "lin_ap1_scene"
    video(source, tmp_path / "n.####.exr", "--color-space", "lin_rec709").ok()
    assert opened(tmp_path / "n.1001.exr")[0].get_string_attribute("colorInteropID") == "lin_rec709_scene", "as it is asked for"
    primaries = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    source = shot(tmp_path / "primaries", light, primaries=primaries)
    report = video(source, tmp_path / "p.####.exr").ok().report
    assert any("ACEScg" in note for note in report["notes"])
    assert np.allclose(opened(tmp_path / "p.1001.exr")[0].getattribute("chromaticities"), primaries)


@pytest.mark.parametrize("space", ["acescg", "logc3", "logc4", "slog3", "acescct"])
def test_halves_are_shown_as_floats(space: str) -> None:
    """Half-float plates take another way to the network, which shows the same, also of what is no number."""
    pixels = np.random.default_rng(0).uniform(-0.1, 1.2, (32, 48, 3)).astype(np.float16)
    pixels[0, :3, 0] = np.nan, np.inf, -np.inf
    before, window = pixels.tobytes(), (0, 0, 48, 32)
    found = open_space(space, None, Header(window, window), pixels, exposure=-1.0)
    halves, floats = found.shown(pixels).astype(int), found.shown(pixels.astype(np.float32)).astype(int)
    assert np.abs(halves - floats)[1:].max() < 65535 / 500
    assert pixels.tobytes() == before, "plates are left as they are"


@pytest.mark.parametrize("space", ["linear", "logc3"])
def test_composite_is_of_light(tmp_path: Path, space: str) -> None:
    """Over a colour: the plate's bits where alpha is 1, the colour where it is 0, the mean of light between."""
    pixels = linear(0) if space == "linear" else converted(linear(0), "lin_rec709", LOGC3).astype(np.float16)
    source = shot(tmp_path / "plates", pixels)
    out = [tmp_path / f"{kind}.####.exr" for kind in ("over", "matte", "front")]
    video(source, out[0], "--bg", "#4080c0", "--matte", out[1], "--foreground", out[2], "--color-space", space, "--exposure", "0").ok()
    over, matte, front = (opened(Path(str(path).replace("####", "1001")))[1].astype(np.float32) for path in out)
    full, empty = matte[:, :, 0] == 1, matte[:, :, 0] == 0
    assert (over[full] == pixels[full]).all()
    wanted = (((np.array((0x40, 0x80, 0xC0)) / 255 + 0.055) / 1.055) ** 2.4).astype(np.float32)
    light, fore = (over, front) if space == "linear" else (converted(each, LOGC3, "lin_rec709") for each in (over, front))
    # The shoulder begins at 0.6, so that these are as bright as they look.
    assert np.abs(light[empty] - wanted).max() < 0.01
    soft = ~(full | empty)
    assert np.abs(light[soft] - (fore * matte + wanted * (1 - matte))[soft]).max() < 0.02


def test_display_referred_is_blended_as_it_is(tmp_path: Path) -> None:
    """PNG of 16 bits stays the same bits where alpha is 1, and is matted as the clip that shows the same."""
    folder = tmp_path / "plates"
    folder.mkdir()
    pixels = person(0, *SIZE).astype(np.uint16) * 257
    write_plate(folder / "p.0001.png", pixels, "uint16")
    video(folder, tmp_path / "o.####.png", "--matte", tmp_path / "m.mkv", "--bg", "#ff0000").ok()
    _, over = opened(tmp_path / "o.0001.png")
    (matte,) = greys_of(tmp_path / "m.mkv")
    assert over.dtype == np.uint16
    assert (over[matte == 1] == pixels[matte == 1]).all()
    assert (over[matte == 0] == (65535, 0, 0)).all()


def test_own_config(tmp_path: Path) -> None:
    """A studio's config names its own spaces."""
    config = ocio.Config.CreateFromFile("ocio://studio-config-latest")
    aces = config.getColorSpace("ACEScg").getTransform(ocio.COLORSPACE_DIR_TO_REFERENCE)
    config.addColorSpace(ocio.ColorSpace(name="Studio Plate", encoding="scene-linear", toReference=aces))
    path = tmp_path / "config.ocio"
    path.write_text(config.serialize())
    source = shot(tmp_path / "plates", linear(0))
    report = video(source, tmp_path / "o.####.exr", "--ocio", path, "--color-space", "Studio Plate").ok().report
    assert any("Studio Plate" in note for note in report["notes"])
    bad = tmp_path / "bad.ocio"
    bad.write_text("nonsense")
    video(source, tmp_path / "p.####.exr", "--ocio", bad, "--color-space", "Studio Plate").refused(1, "--ocio", "bad.ocio")


def test_clip_in_a_space_of_its_own(tmp_path: Path) -> None:
    """The network sees a logarithmic clip as its scene, and the output has the clip's own values."""
    dim = np.power(person(0, 192, 108).astype(np.float32) / 255, 2.4) / 16
    log = np.rint(np.clip(converted(dim, "lin_rec709", LOGC3), 0, 1) * 65535).astype(np.uint16)
    clip = tmp_path / "log.mkv"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("ffv1", 24)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "gbrp16le"
        later = np.rint(np.clip(converted(dim * 8, "lin_rec709", LOGC3), 0, 1) * 65535).astype(np.uint16)
        for each in (log, later):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb48le").reformat(format="gbrp16le")))
        out.mux(stream.encode(None))
    mattes = []
    for name, options in (("plain", []), ("seen", ["--color-space", "logc3"])):
        target = tmp_path / f"{name}.mkv"
        video(clip, target, "--bg", "green", "--codec", "ffv1", "--matte", tmp_path / f"{name}-matte.mkv", *options).ok()
        mattes.append(greys_of(tmp_path / f"{name}-matte.mkv")[0])
    scene = write_clip(tmp_path / "scene.mkv", codec="ffv1", pix_fmt="yuv444p", size=(192, 108), frames=1, tags=BT709)
    film(scene, "--matte", tmp_path / "scene-matte.mkv").ok()
    wanted = greys_of(tmp_path / "scene-matte.mkv")[0]
    plain, seen = (np.abs(matte - wanted).mean() for matte in mattes)
    assert seen < 0.02 and seen < plain
    with av.open(str(tmp_path / "seen.mkv")) as container:
        shown, _ = (image.to_ndarray(format="rgb48le") for image in container.decode(video=0))
    assert (shown[mattes[1] == 1] == log[mattes[1] == 1]).all()
    video(clip, tmp_path / "log.####.exr", "--color-space", "logc3", "--frames", "1").ok()
    space = ocio.Config.CreateFromFile("ocio://studio-config-latest").getColorSpace(LOGC3)
    assert opened(tmp_path / "log.0001.exr")[0].get_string_attribute("colorInteropID") == space.getInteropID() != ""
    # The exposure is the clip's, whichever frames are worked on.
    for name, options in (("whole", []), ("part", ["--frames", "2"])):
        film(clip, "--matte", tmp_path / f"{name}.mkv", "--no-stable", "--color-space", "logc3", *options).ok()
    assert (greys_of(tmp_path / "whole.mkv")[1] == greys_of(tmp_path / "part.mkv")[0]).all()


def test_log_dpx_is_not_guessed(tmp_path: Path) -> None:
    """A DPX that says it is logarithmic does not say how."""
    folder = tmp_path / "plates"
    folder.mkdir()
    write_plate(folder / "d.0001.dpx", person(0, *SIZE).astype(np.uint16) * 257, "uint16", bits=10, attributes={"dpx:Transfer": "Logarithmic"})
    video(folder, tmp_path / "o.####.exr").refused(2, "logarithmic", "--color-space")
