"""One contract for each protocol, over every implementation: sources and sinks of files, and backgrounds. Live ones, and engines, have theirs beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from implementations import implementations
from media import write_clip
from scenes import frame_of

from streammat.compositing.backgrounds import (
    Background,
    ColourBackground,
    ImageBackground,
    VideoBackground,
    open_background,
    parse_background,
)
from streammat.compositing.blur import BlurBackground
from streammat.config import EncodeOptions, SequenceOptions
from streammat.film.chosen_frames import ChosenFrames
from streammat.film.sequence_sink import SequenceSink
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import parse_frames, parse_sequence
from streammat.media.frame import Frame, Matte
from streammat.report.collect import ReportSink
from streammat.sinks import Sink
from streammat.sinks.file import FileSink
from streammat.sinks.stills import StillsSink
from streammat.sources import Recorded
from streammat.sources.file import FileSource

SIZE = (128, 256)
"""Height and width: MXF takes no smaller ones."""
STILLS = (".png", ".tif", ".exr", ".dpx")
CONTENTS = ["composite", "transparent", "matte", "foreground"]


def image(index: int, layout: str = "yuv420p") -> Frame:
    rgb = np.full((*SIZE, 3), 40.0 + 10 * index)
    return replace(frame_of(rgb, layout), pts=index, index=index, duration=1)


def matte_of(frame: Frame) -> Matte:
    alpha = np.zeros(frame.size, frame.layout.dtype)
    alpha[:, : frame.size[1] // 2] = 255 if alpha.dtype == np.uint8 else 65535
    return Matte(alpha)


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    return FileSource(str(write_clip(tmp_path / "in.mp4", size=SIZE[::-1], frames=6)))


RECORDED = {"file": FileSource, "some frames of a file": ChosenFrames, "sequence": SequenceSource}
SINKS = {FileSink, StillsSink, SequenceSink, ReportSink}
BACKGROUNDS = {"green": ColourBackground, "blur:30": BlurBackground, "image": ImageBackground, "clip": VideoBackground}


def test_no_implementation_is_left_out() -> None:
    import test_live_protocols as live

    assert implementations(Recorded) == {*RECORDED.values(), *live.SOURCES.values()}
    assert implementations(live.LiveSource) == set(live.SOURCES.values())
    assert implementations(Sink) == SINKS | set(live.SINKS.values())
    assert implementations(live.SoundSource) == set(live.SOUNDS.values())
    assert implementations(Background) == set(BACKGROUNDS.values())


@pytest.fixture(params=RECORDED)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    """Six frames."""
    if request.param == "file":
        return FileSource(str(write_clip(tmp_path / "in.mp4", size=SIZE[::-1], frames=6)))
    if request.param == "some frames of a file":
        clip = FileSource(str(write_clip(tmp_path / "in.mp4", size=SIZE[::-1], frames=9)))
        return ChosenFrames(clip, 1001, parse_frames("1001,1003-1006,1009"), "in.mp4")
    pytest.importorskip("OpenImageIO", reason="needs the extra film")
    from film.plates import linear, write_plate

    for number in range(8, 14):
        write_plate(tmp_path / f"s.{number:04d}.exr", linear(number, *SIZE[::-1]))
    name = parse_sequence(str(tmp_path / "s.####.exr"))
    assert name is not None
    return SequenceSource(name, SequenceOptions())


def test_source(recorded: Recorded) -> None:
    """Frames in order, each once, of one shape, under the numbers that were told before; closing twice is fine."""
    source = recorded
    assert type(source) in RECORDED.values()
    assert source.info.size == SIZE
    assert source.info.frames == 6
    assert not source.damage
    frames = [item for item in source if isinstance(item, Frame)]
    assert [frame.index for frame in frames] == list(range(6))
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == sorted(set(times))
    assert times[0] == 0
    if len(source.info.numbers) > 1:
        assert tuple(frame.number for frame in frames) == source.info.numbers
    for frame in frames:
        assert frame.size == source.info.size
        assert frame.layout == source.info.layout
        for index, plane in enumerate(frame.planes):
            assert plane.shape == frame.layout.plane_shape(index, *SIZE)
            assert plane.dtype == frame.layout.dtype
    source.close()
    source.close()


def sink_for(name: str, content: str, folder: Path, source: FileSource) -> Sink:
    if name.endswith((".exr", ".dpx")):
        pytest.importorskip("OpenImageIO", reason="needs the extra film")
        return SequenceSink(str(folder / name), source.info, content, SequenceOptions(), overwrite=False, alpha="straight")  # type: ignore[arg-type]
    if name.endswith(".html"):
        return ReportSink(str(folder / name), "in.mp4", source.info, overwrite=False)
    if name.endswith(STILLS):
        return StillsSink(str(folder / name), content, overwrite=False, verify=True)  # type: ignore[arg-type]
    return FileSink(str(folder / name), source.info, content, EncodeOptions(), tracks=False)  # type: ignore[arg-type]


CLIPS = ["out.mp4", "out.mov", "out.mkv", "out.webm", "out.mxf"]
REPORT = ["report.csv", "report.html", "report.json"]
NAMES = [*CLIPS, "report.html", "out.%02d.png", "out.%02d.tif", "out.%02d.exr", "out.%02d.dpx"]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_sink_writes_what_it_is_given(name: str, content: str, tmp_path: Path, source: FileSource) -> None:
    """Nothing has the final name before its time; after ``close`` every image is there."""
    if name in ("out.mp4", "out.mxf") and content == "transparent":
        pytest.skip("MP4 and MXF carry no alpha")
    if name == "report.html" and content != "matte":
        pytest.skip("a report takes mattes")
    folder = tmp_path / "out"
    folder.mkdir()
    sink = sink_for(name, content, folder, source)
    assert type(sink) in SINKS
    assert sink.content == content
    for index in range(4):
        frame = image(index)
        before = [plane.copy() for plane in frame.planes]
        sink.write(frame, matte_of(frame))
        assert all(np.array_equal(old, new) for old, new in zip(before, frame.planes, strict=True))
    assert sink.frames == 4
    if not name.endswith(STILLS):
        assert not (folder / name).exists()
    sink.close()
    sink.close()
    left = sorted(path.name for path in folder.iterdir())
    if name.endswith(STILLS):
        assert left == [f"out.{number:02d}{Path(name).suffix}" for number in (1, 2, 3, 4)]
        sink.abort()
        assert len(list(folder.iterdir())) == 4, "each is whole"
        return
    if name == "report.html":
        assert left == REPORT
        return
    assert left == [name]
    with av.open(str(folder / name)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
    source.close()


@pytest.mark.parametrize("name", [*CLIPS, "report.html"])
def test_sink_that_is_aborted_or_empty_leaves_nothing(name: str, tmp_path: Path, source: FileSource) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    sink_for(name, "composite", folder, source).close()
    assert list(folder.iterdir()) == []
    sink = sink_for(name, "composite", folder, source)
    frame = image(0)
    sink.write(frame, matte_of(frame))
    sink.abort()
    sink.close()
    assert list(folder.iterdir()) == []
    source.close()


@pytest.fixture(params=BACKGROUNDS)
def background(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Background]:
    text = {"image": str(tmp_path / "bg.png"), "clip": str(tmp_path / "bg.mp4")}.get(request.param, request.param)
    if request.param == "image":
        cv2.imwrite(text, np.full((50, 80, 3), 99, np.uint8))
    elif request.param == "clip":
        write_clip(Path(text), size=(64, 64), frames=3)
    background = open_background(parse_background(text))
    assert type(background) is BACKGROUNDS[request.param]
    yield background
    background.close()
    background.close()


@pytest.mark.parametrize("rotation", [0, 1])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p10le", "yuv411p", "gbrp", "gray10le"])
def test_background(layout: str, rotation: int, background: Background) -> None:
    """Colour planes of the frame's own shapes, type and depth, also when the size changes; odd sides; the frame and its matte are left as they were."""
    for index, (height, width) in enumerate([(48, 64), (48, 64), (33, 47)]):
        frame = replace(frame_of(np.full((height, width, 3), 40.0 + 10 * index), layout), pts=index, index=index, rotation=rotation)
        matte = matte_of(frame)
        before = [plane.copy() for plane in (*frame.planes, matte.alpha)]
        planes = background.planes(frame, matte)
        assert len(planes) == frame.layout.colour_planes
        for plane, own in zip(planes, frame.planes, strict=False):
            assert plane.shape == own.shape
            assert plane.dtype == own.dtype
            assert int(plane.max()) < 1 << frame.layout.depth
        assert all(np.array_equal(old, new) for old, new in zip(before, (*frame.planes, matte.alpha), strict=True))


def test_background_of_a_frame_that_comes_again(background: Background) -> None:
    """What is behind a frame depends on the frame, its matte and its time, not on what was asked for before."""
    frames = [image(index) for index in (0, 2, 0)]
    first, _, again = ([plane.copy() for plane in background.planes(frame, matte_of(frame))] for frame in frames)
    assert all(np.array_equal(old, new) for old, new in zip(first, again, strict=True))
