"""The Python API: what `import streammat` offers, typed, lazy, and the same as the command line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import av
import cv2
import numpy as np
import pytest
from media import write_clip

import streammat
from streammat import config
from streammat.api import inputs, keywords
from streammat.live.control.commands import COMMANDS, CommandName
from streammat.timecode import Moment

QUICK_ENGINE = {"quality": "fast", "engine": "onnxruntime"}
PORTRAIT = Path(streammat.__file__).parent / "models/portrait.jpg"
NAMES = [
    "CameraLostError", "EngineError", "InputError", "LiveReport", "LiveSession", "Matting", "OutputError", "Report", "StreammatError", "UsageError",
    "VideoFrame", "__version__", "cutout", "events", "matte", "mattes", "process_video",
]  # fmt: skip


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """The portrait at a quarter of its size, uint8 (135, 240, 3)."""
    image = cv2.imread(str(PORTRAIT), cv2.IMREAD_COLOR_RGB)
    return cv2.resize(image, (240, 135), interpolation=cv2.INTER_AREA)


def clip(path: Path, frames: int) -> Path:
    """A small clip of a person."""
    write_clip(path, frames=frames)
    return path


@pytest.fixture(scope="module")
def matting():
    """One engine for all."""
    with streammat.Matting(quality="fast", engine="onnxruntime") as matting:
        yield matting


def test_exported_names() -> None:
    assert sorted(streammat.__all__) == sorted(NAMES)
    assert all(getattr(streammat, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="public names: "):
        _ = streammat.nothing


def test_every_folder_is_installed() -> None:
    repository = Path(__file__).parents[1]
    listed = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [path.parent.relative_to(repository) for top in ("streammat", "engines", "train") for path in (repository / top).rglob("__init__.py")]
    names = {str(folder).replace("/", ".").removeprefix("streammat.") for folder in folders if not {"engines", "train"} & set(folder.parts[1:2])}
    assert {name.removeprefix("streammat.") for name in listed} == names


def test_importing_loads_no_library() -> None:
    heavy = ["numpy", "cv2", "av", "onnxruntime", "openvino", "torch", "click"]
    code = f"import sys, streammat; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def types_of(options: type) -> dict[str, object]:
    """The type of every option by its name, those of groups included."""
    found = get_type_hints(options)
    return {name: kind for group, kind in found.items() for name, kind in (types_of(kind) if is_dataclass(kind) and kind is not Moment else {group: kind}).items()}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (keywords.EngineKeywords, config.MattingOptions), (keywords.VideoKeywords, config.VideoOptions), (keywords.LiveKeywords, config.LiveOptions),
    ],
)  # fmt: skip
def test_keywords_are_the_options(words: type, options: type) -> None:
    """Same names, and same types: a wrong choice is found by type checkers (tests/api_types.py), since choices are literal types."""
    expected = types_of(options)
    if words is keywords.EngineKeywords:
        del expected["stable"]  # a parameter of its own
    if words is keywords.VideoKeywords:
        expected |= {"start": float | str | Moment, "duration": float | str | Moment | None}  # taken in more forms
    if words is not keywords.EngineKeywords:
        expected |= {"background": inputs.BackgroundLike | None, "include": inputs.MaskLike | None, "exclude": inputs.MaskLike | None}
    if words is keywords.LiveKeywords:
        path = str | os.PathLike[str]
        expected |= {"backgrounds": Sequence[inputs.BackgroundLike], "camera": path | int, "outputs": Sequence[path]}
    assert get_type_hints(words) == expected


def test_commands_have_names_that_type_checkers_know() -> None:
    assert get_args(CommandName) == tuple(COMMANDS)


def test_a_matte_is_alpha_at_the_image_s_size(matting, rgb: np.ndarray) -> None:
    alpha = matting(rgb)
    assert alpha.shape == rgb.shape[:2]
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert alpha[:40, :40].mean() < 0.05  # the wall
    assert alpha[70:, 90:140].mean() > 0.9  # her


def test_arrays_paths_and_files_agree(matting, rgb: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "me.png"
    cv2.imwrite(str(path), rgb[:, :, ::-1])
    expected = matting(rgb)
    np.testing.assert_array_equal(matting(path), expected)
    np.testing.assert_array_equal(matting(str(path)), expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(matting(file), expected)
    np.testing.assert_array_equal(matting(io.BytesIO(path.read_bytes())), expected)
    np.testing.assert_array_equal(matting(SimpleNamespace(__array_interface__=rgb.__array_interface__)), expected)  # as Pillow's images have it


def test_deep_images_have_deep_mattes(matting, rgb: np.ndarray) -> None:
    shallow, deep = matting(rgb), matting(rgb.astype(np.uint16) * 257)
    assert np.abs(shallow - deep).mean() < 2 / 255
    assert matting.cutout(rgb.astype(np.uint16) * 257).dtype == np.uint16


def test_a_cutout_keeps_the_subject_s_colour_and_nothing_of_the_room(matting, rgb: np.ndarray) -> None:
    rgba = matting.cutout(rgb)
    assert rgba.shape == (*rgb.shape[:2], 4)
    assert rgba.dtype == np.uint8
    solid = rgba[:, :, 3] == 255
    assert solid.mean() > 0.1
    np.testing.assert_array_equal(rgba[solid][:, :3], rgb[solid])
    assert (rgba[:40, :40, :3] == 0).all()


def test_functions_are_the_class_with_the_quality_of_stills(rgb: np.ndarray) -> None:
    with streammat.Matting(quality="best", engine="onnxruntime") as matting:
        np.testing.assert_array_equal(streammat.matte(rgb, engine="onnxruntime"), matting(rgb))
        np.testing.assert_array_equal(streammat.cutout(rgb, engine="onnxruntime"), matting.cutout(rgb))


def test_a_sequence_remembers_until_it_is_reset(rgb: np.ndarray) -> None:
    noisy = [np.clip(rgb + np.random.default_rng(seed).normal(0, 4, rgb.shape), 0, 255).astype(np.uint8) for seed in range(4)]
    with streammat.Matting(quality="fast", engine="onnxruntime", stable=True) as matting:
        first = [matting(image) for image in noisy]
        matting.reset()
        again = [matting(image) for image in noisy]
        continued = matting(noisy[0])
    np.testing.assert_array_equal(first, again)
    assert np.abs(continued - first[0]).max() > 0  # what came before is in it


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4), np.uint8), "uint8 (4, 4); expected uint8 or uint16 (H, W, 3), RGB"),
        (np.zeros((4, 4, 3)), "float64 (4, 4, 3); expected"),
        (7, "the image is a int; expected an array, a path or an open binary file"),
        (io.StringIO("x"), "a text file object"),
    ],
)
def test_what_is_no_image_is_said(matting, image: object, said: str) -> None:
    with pytest.raises(streammat.UsageError) as refused:
        matting(image)
    assert said in str(refused.value)


def test_files_that_cannot_be_read_are_said(matting, tmp_path: Path) -> None:
    with pytest.raises(streammat.InputError, match="missing.png"):
        matting(tmp_path / "missing.png")
    with pytest.raises(streammat.InputError, match="empty"):
        matting(io.BytesIO(b""))
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(streammat.InputError, match="closed file"):
        matting(closed)


def test_options_that_do_not_exist_are_said() -> None:
    with pytest.raises(TypeError, match="unexpected option 'colour'"):
        streammat.Matting(colour="red")
    with pytest.raises(streammat.UsageError, match="quality is 'good'; expected one of fast, balanced, best"):
        streammat.Matting(quality="good")
    with pytest.raises(streammat.UsageError, match="start is 'soon'"):
        streammat.process_video("in.mp4", "out.mp4", start="soon")


NAN = float("nan")


@pytest.mark.parametrize(("name", "value"), [
    ("feather", NAN), ("feather", -1), ("feather", "x"), ("grow", 1e6), ("clip_black", 5), ("despeckle", 1.5), ("despill", 5), ("threads", -1), ("threads", 10**400), ("threads", True),
    ("model", 5), ("model", ""), ("quality", []), ("engine", None), ("background", 5), ("background", " "), ("crf", 99), ("crf", NAN), ("preset", 5), ("matte", b"m.mkv"), ("fps", float("inf")),
    ("exposure", 1e9), ("warm_up", -1), ("start_number", "1"), ("stable", "x"), ("audio", 1), ("frames", 5), ("subject", "nan,nan"), ("start", NAN), ("start", None), ("start", []),
    ("duration", -1), ("duration", "0x"), ("matte_codec", "prores"),
])
def test_values_that_cannot_be_meant(tmp_path: Path, name: str, value: object) -> None:
    """One error of ours in one line, whatever it is; nothing is made."""
    source = clip(tmp_path / "in.mp4", frames=1)
    with pytest.raises(streammat.StreammatError) as refused:
        streammat.process_video(source, tmp_path / "out.mp4", **{name: value})
    assert name.replace("_", "-") in str(refused.value).replace("_", "-")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(("name", "value"), [
    ("fps", NAN), ("size", "640x480"), ("size", (0, 0)), ("size", (640,)), ("outputs", ()), ("outputs", "null"), ("backgrounds", ()), ("backgrounds", (5,)), ("sound_delay", NAN),
    ("bitrate", -1), ("duration", NAN), ("duration", -1), ("camera", None), ("web_allow", "x"), ("mirror", "x"), ("control", 5),
])
def test_values_of_a_live_session_that_cannot_be_meant(name: str, value: object) -> None:
    with pytest.raises(streammat.UsageError, match=f"^{name} is .*; expected "):
        streammat.LiveSession(**{"camera": "in.mp4", "outputs": ("null",), name: value})


@pytest.mark.parametrize("source", [5, None, b"in.mp4", "a\0b", "", "missing.mp4"])
def test_sources_that_are_none(tmp_path: Path, source: object) -> None:
    for action in (lambda: streammat.process_video(source, tmp_path / "out.mp4"), lambda: list(streammat.mattes(source)), lambda: streammat.matte(source)):
        with pytest.raises(streammat.StreammatError):
            action()
    with pytest.raises(streammat.StreammatError):
        streammat.process_video("in.mp4", source if isinstance(source, str | bytes | int) and source != "missing.mp4" else 5)
    assert list(tmp_path.iterdir()) == []


def test_paths_and_numpy_s_numbers_are_as_good(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    streammat.process_video(source, tmp_path / "out.mp4", matte=tmp_path / "m.mkv", feather=np.float32(1), crf=np.int64(20), **QUICK_ENGINE)
    assert (tmp_path / "m.mkv").exists()


def test_a_closed_matting_says_so(rgb: np.ndarray) -> None:
    matting = streammat.Matting()
    matting.close()
    with pytest.raises(streammat.UsageError, match="closed"):
        matting(rgb)


def test_videos_are_processed_as_on_the_command_line(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=6)
    told: list[int] = []
    report = streammat.process_video(source, tmp_path / "out.mkv", progress=told.append, background="#102030", duration="0:00.16", codec="ffv1", **QUICK_ENGINE)
    assert report.frames_out == 4
    assert (tmp_path / "out.mkv").exists()
    with pytest.raises(streammat.UsageError, match="is there already"):
        streammat.process_video(source, tmp_path / "out.mkv")


def pixels(path: Path) -> np.ndarray:
    """Every frame of a lossless output, uint8 (N, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([image.to_ndarray(format="rgb24") for image in container.decode(video=0)])


def test_backgrounds_are_paths_colours_arrays_and_open_files(tmp_path: Path, rgb: np.ndarray) -> None:
    """Each is drawn as the file of its name is."""
    source = clip(tmp_path / "in.mp4", frames=1)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[:, :, ::-1])
    (tmp_path / "a.png").rename(tmp_path / "green")  # a file by its path, a colour by its name

    def drawn(background: object) -> np.ndarray:
        streammat.process_video(source, tmp_path / "out.mkv", background=background, codec="ffv1", overwrite=True, **QUICK_ENGINE)
        return pixels(tmp_path / "out.mkv")

    with chdir(tmp_path):
        expected = drawn("./green")
        np.testing.assert_array_equal(drawn(rgb), expected)
        np.testing.assert_array_equal(drawn(Path("green")), expected)
        np.testing.assert_array_equal(drawn(io.BytesIO((tmp_path / "green").read_bytes())), expected)
        assert np.abs(drawn("green").astype(int) - expected).mean() > 20
        np.testing.assert_array_equal(drawn((0, np.uint8(177), 64)), drawn("#00b140"))
        assert np.abs(drawn(rgb.astype(np.uint16) * 257).astype(int) - expected).mean() < 1


@pytest.mark.parametrize(("name", "value", "said"), [
    ("background", np.zeros((4, 4)), "background is float64 (4, 4); expected uint8 or uint16 (H, W, 3), RGB"),
    ("background", (1, 2, 256), "three whole numbers from 0 to 255"), ("background", (0.5, 0.5, 0.5), "three whole numbers"),
    ("background", io.StringIO("x"), "background is a text file object"), ("background", io.BytesIO(b"x" * 99), "background the file object is no image"),
    ("include", np.zeros((4, 4, 3)), "include is float64 (4, 4, 3); expected (H, W): bool, uint8, uint16, or float from 0 to 1"),
    ("exclude", np.full((4, 4), np.nan), "exclude is float64 (4, 4)"), ("include", 5, "include is 5; expected a path, an array or an open binary file"),
    ("exclude", io.BytesIO(b"x" * 99), "exclude the file object: "), ("warm_up", 2, "warm_up: the input is read a second time for it"),
])  # fmt: skip
def test_arrays_and_files_that_cannot_be_meant(tmp_path: Path, name: str, value: object, said: str) -> None:
    source = clip(tmp_path / "in.mp4", frames=1)
    with source.open("rb") as file, pytest.raises(streammat.StreammatError) as refused:
        streammat.process_video(file, tmp_path / "out.mp4", **{name: value})
    assert said in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_masks_are_arrays_and_open_files(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=1)
    mask = np.zeros((48, 64), np.uint8)
    mask[8:20, 8:30] = 200
    cv2.imwrite(str(tmp_path / "m.png"), mask)

    def matte(**masks: object) -> np.ndarray:
        streammat.process_video(source, None, matte=tmp_path / "out.mkv", overwrite=True, **QUICK_ENGINE, **masks)
        return pixels(tmp_path / "out.mkv")

    expected = matte(include=tmp_path / "m.png")
    assert expected[0].max() >= 199
    for each in (mask, io.BytesIO((tmp_path / "m.png").read_bytes())):
        np.testing.assert_array_equal(matte(include=each), expected)
    for each in (mask.astype(np.float32) / 255, mask.astype(np.uint16) * 257):  # the same values but for their rounding
        np.testing.assert_allclose(matte(include=each).astype(int), expected.astype(int), atol=1)
    assert not matte(exclude=np.ones((48, 64), bool)).any()


def test_videos_are_open_files_too(tmp_path: Path) -> None:
    """Read from the beginning wherever they stand, and not closed."""
    source = clip(tmp_path / "in.mp4", frames=5)
    streammat.process_video(source, tmp_path / "a.mkv", codec="ffv1", **QUICK_ENGINE)
    for name, file in (("b", source.open("rb")), ("c", io.BytesIO(source.read_bytes()))):
        with file:
            file.seek(100)
            report = streammat.process_video(file, tmp_path / f"{name}.mkv", codec="ffv1", **QUICK_ENGINE)
            assert report.frames_in == 5
            assert len(list(streammat.mattes(file, start=0.08, **QUICK_ENGINE))) == 3
            assert not file.closed
        np.testing.assert_array_equal(pixels(tmp_path / f"{name}.mkv"), pixels(tmp_path / "a.mkv"))
    with source.open("rb") as file, pytest.raises(streammat.UsageError, match="is both source and target"):
        streammat.process_video(file, source, overwrite=True)
    cut = io.BytesIO((tmp_path / "a.mkv").read_bytes()[:-2000])
    with pytest.raises(streammat.InputError, match="the file object: truncated or damaged after . frames.*bytes are missing at its end"):
        list(streammat.mattes(cut, **QUICK_ENGINE))


class Unreadable(io.BytesIO):
    """Reads so much and then fails, as a disk that is pulled out does."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 5000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize(("file", "said"), [
    (io.BytesIO(), "the file object: is empty"), (io.BytesIO(b"x" * 999), "the file object: is not a video that FFmpeg can read"),
    (io.StringIO("x"), "video is a text file object"), (Unreadable((PORTRAIT.parents[2] / "examples/portrait.mp4").read_bytes()), "Input/output error"),
])  # fmt: skip
def test_open_files_that_are_no_videos(file: object, said: str) -> None:
    with pytest.raises(streammat.StreammatError) as refused:
        list(streammat.mattes(file, **QUICK_ENGINE))
    assert said in str(refused.value)


def test_a_live_session_takes_arrays_and_colours(tmp_path: Path, rgb: np.ndarray) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    options = {"camera": source, "loop": True, "outputs": ("null",), "duration": 20, **QUICK_ENGINE}
    with streammat.LiveSession(backgrounds=(rgb, (255, 0, 0)), **options) as session:
        assert session.command("status")["backgrounds"] == ("image 1", "255,0,0")
        assert session.command("background", 255 - rgb)["background"] == "image 2"
        assert session.command("background", "image 1")["background"] == "image 1"
        assert session.command("background", (0, 0, 255))["background"] == "0,0,255"
        with pytest.raises(streammat.UsageError, match="background is float64"):
            session.command("background", np.zeros((4, 4)))
        assert "image" not in session.command("settings")["toml"]
    with streammat.LiveSession(background="red", **options) as session:
        assert session.command("status")["background"] == "red"
    with pytest.raises(streammat.UsageError, match="both given"):
        streammat.LiveSession(background="red", backgrounds=("blue",), **options)


def test_mattes_of_a_video_come_with_their_frames(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    found = list(streammat.mattes(source, stable=False, **QUICK_ENGINE))
    assert [frame.index for frame, _ in found] == list(range(5))
    assert all(alpha.shape == frame.rgb.shape[:2] and alpha.dtype == np.float32 for frame, alpha in found)
    assert [frame.time for frame, _ in found] == sorted({frame.time for frame, _ in found})


def test_a_live_session_starts_tells_obeys_and_stops(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    session = streammat.LiveSession(camera=str(source), loop=True, outputs=("null",), backgrounds=("red", "blue"), duration=20, **QUICK_ENGINE)
    session.start()
    events = session.events()
    assert next(event for event in events if isinstance(event, streammat.events.Status)).captured > 0
    assert session.command("next")["background"] == "blue"
    with pytest.raises(streammat.UsageError, match="confirm"):
        session.command("pass-through", True)
    with pytest.raises(streammat.UsageError, match="JSON"):
        session.command("blur", {1})
    report = session.stop()
    assert report.captured > 0
    assert all(isinstance(event, streammat.events.Event) for event in events)  # ends, now that the run has ended
    with pytest.raises(streammat.UsageError, match="started before"):
        session.start()

