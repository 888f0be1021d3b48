"""What one video file becomes, frame by frame and without a network: its tags, values, times and keyframes, what it says, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import first_plane, probe
from running import names
from scenes import blank, frame_of

from streammat.config import EncodeOptions
from streammat.errors import OutputError, UsageError
from streammat.media.frame import Colour, Frame, Matte, layout_of
from streammat.sinks.file import FileSink
from streammat.sources import StreamInfo

HD = Colour(1, 1, 1, 1)
TICK = Fraction(1, 100)


def info(layout: str = "yuv420p", size: tuple[int, int] = (64, 64), colour: Colour = HD, **more: Any) -> StreamInfo:
    found = layout_of(layout)
    assert found is not None
    known: dict[str, Any] = {"rate": Fraction(25), "time_base": TICK, "sample_aspect_ratio": Fraction(1), "rotation": 0, "frames": 0}
    return StreamInfo(size=size, layout=found, colour=colour, **(known | more))


def matte_of(frame: Frame, value: float = 1.0) -> Matte:
    return Matte(np.full(frame.size, round(value * np.iinfo(frame.layout.dtype).max), frame.layout.dtype))


def written(
    path: Path, source: StreamInfo, content: Any = "composite", *, encode: EncodeOptions = EncodeOptions(), times: tuple[int, ...] = (0, 4, 8),  # noqa: B008 - frozen
    durations: tuple[int, ...] = (), frame: Frame | None = None, **options: Any,
) -> FileSink:
    """A file of frames at ``times``, in ticks."""
    sink = FileSink(str(path), source, content, encode, **options)
    for index, at in enumerate(times):
        image = blank(source.layout.name, *source.size, source.colour) if frame is None else frame
        sink.write(replace(image, pts=at, time_base=TICK, index=index, duration=durations[index] if durations else 0), matte_of(image))
    sink.close()
    return sink


def opened(path: Path) -> tuple[dict[str, Any], list[av.VideoFrame]]:
    """What the file says of its video, and its frames."""
    with av.open(str(path)) as given:
        stream = given.streams.video[0]
        context = stream.codec_context
        frames = list(given.decode(stream))
        tags = {
            "primaries": context.color_primaries, "transfer": context.color_trc, "matrix": context.colorspace, "range": context.color_range,
            "format": context.pix_fmt, "tag": context.codec_tag, "codec": context.name,
        }
        return tags, frames


@pytest.mark.parametrize(("name", "codec", "layout", "colour", "size", "expected"), [
    ("o.mp4", None, "yuv420p", HD, (64, 64), (1, 1, 1, 1)), ("o.mp4", None, "yuv420p", Colour(9, 9, 16, 1), (64, 64), (9, 16, 9, 1)), ("o.mp4", None, "yuv420p", Colour(), (64, 64), (2, 2, 5, 1)),
    ("o.mkv", None, "yuv420p", Colour(), (720, 64), (2, 2, 1, 1)), ("o.mp4", None, "yuv420p", Colour(2, 9, 16, 0), (64, 64), (9, 16, 9, 1)), ("o.mp4", None, "yuv420p", Colour(5, 5, 6, 2), (64, 64), (5, 6, 5, 2)),
    ("o.mp4", None, "yuvj420p", Colour(), (64, 64), (2, 2, 5, 2)), ("o.mp4", None, "gbrp", Colour(0, 1, 13, 2), (64, 64), (1, 13, 1, 1)), ("o.mkv", "ffv1", "gbrp16le", Colour(0, 1, 13, 2), (64, 64), (1, 13, 0, 2)),
    ("o.mov", "h264", "gbrp", Colour(2, 1, 13, 0), (64, 64), (1, 13, 1, 1)),
])
def test_colours_are_told(tmp_path: Path, name: str, codec: str | None, layout: str, colour: Colour, size: tuple[int, int], expected: tuple[int, ...]) -> None:
    """As of the input, or as was taken where it says nothing; of RGB as video, the matrix of its values."""
    written(tmp_path / name, info(layout, size, colour), encode=EncodeOptions(codec))
    tags, _ = opened(tmp_path / name)
    assert (tags["primaries"], tags["transfer"], tags["matrix"], tags["range"]) == expected


@pytest.mark.parametrize(("layout", "colour", "expected"), [
    ("gbrp", Colour(0, 1, 13, 2), (150, 102, 141)), ("gbrp16le", Colour(0, 1, 13, 2), (600, 408, 564)), ("yuv420p", HD, (150, 102, 141)), ("yuv422p10le", Colour(1, 1, 1, 2), (600, 408, 564)),
])
def test_values_are_the_frame_s(tmp_path: Path, layout: str, colour: Colour, expected: tuple[int, int, int]) -> None:
    """Of RGB in BT.709's limited range; of video the same numbers in the same range."""
    if layout.startswith("gbrp"):
        y, u, v = (150 - 16) / 219, (102 - 128) / 224, (141 - 128) / 224
        red, blue = y + 1.5748 * v, y + 1.8556 * u
        frame = frame_of(np.full((64, 64, 3), (red * 255, (y - 0.2126 * red - 0.0722 * blue) / 0.7152 * 255, blue * 255)), layout)
    else:
        frame = blank(layout, 64, 64, colour)
        for plane, value in zip(frame.planes, expected, strict=True):
            plane[:] = value
    written(tmp_path / "o.mkv", info(layout, colour=colour), encode=EncodeOptions("h264", crf=0), frame=replace(frame, colour=colour))
    tags, frames = opened(tmp_path / "o.mkv")
    depth = 10 if expected[0] > 255 else 8
    assert tags["format"] == {"gbrp": "yuv420p", "gbrp16le": "yuv420p10le"}.get(layout, layout)
    for index, value in enumerate(expected):
        assert abs(float(first_plane(frames[1], index).mean()) - value) <= (1 if layout.startswith("gbrp") else 0) * (depth - 7), index


def test_deep_full_range_video_stays_in_its_range(tmp_path: Path) -> None:
    """Where the codec has no depth like it, it is converted, and both ends keep their place."""
    for value, expected in ((0, 0), (1023, 255)):
        frame = blank("yuv420p10le", 64, 64, Colour(1, 1, 1, 2))
        frame.planes[0][:] = value
        sink = written(tmp_path / "o.webm", info("yuv420p10le", colour=Colour(1, 1, 1, 2)), frame=frame, encode=EncodeOptions(crf=0, overwrite=True))
        assert sink.notes == ["o.webm: stored as yuv420p (the input is yuv420p10le)"]
        tags, frames = opened(tmp_path / "o.webm")
        assert tags["range"] == 2
        assert abs(float(first_plane(frames[0], 0).mean()) - expected) <= 1


@pytest.mark.parametrize("size", [(720, 64), (64, 720)])
def test_a_conversion_leaves_the_matrix(tmp_path: Path, size: tuple[int, int]) -> None:
    """Of untagged video, too: by the lines of the image, one is taken for what is read and what is written."""
    frame = blank("yuv444p", *size, Colour())
    for plane, value in zip(frame.planes, (120, 60, 200), strict=True):
        plane[:] = value
    written(tmp_path / "o.mp4", info("yuv444p", size, Colour()), frame=frame, encode=EncodeOptions("av1", crf=1))
    tags, frames = opened(tmp_path / "o.mp4")
    assert tags["matrix"] == (1 if size[0] == 720 else 5)
    assert [round(float(first_plane(frames[0], index).mean())) for index in range(3)] == [120, 60, 200]


@pytest.mark.parametrize("content", ["composite", "transparent"])
@pytest.mark.parametrize("layout", ["yuvj420p", "yuv422p10le", "yuv444p10le"])
def test_prores_is_limited_by_its_definition(tmp_path: Path, layout: str, content: str) -> None:
    """Decoders take no other range: white and black of full-range video are 940 and 64 of 10 bits."""
    colour = Colour(1, 1, 1, 2)
    for name in ("o.mov", "o.mkv"):
        for value, expected in ((0.0, 64), (1.0, 940)):
            frame = blank(layout, 64, 64, colour)
            frame.planes[0][:] = round(value * ((1 << frame.layout.depth) - 1))
            written(tmp_path / name, info(layout, colour=colour), content, frame=frame, encode=EncodeOptions("prores", overwrite=True))
            tags, frames = opened(tmp_path / name)
            assert tags["range"] == 1
            # Three at most: swscale takes 255 of 8 bits for 1020 of 10.
            assert abs(float(first_plane(frames[0], 0).mean()) / (4 if "12" in tags["format"] else 1) - expected) <= 3
            assert abs(float(first_plane(frames[0], 1).mean()) / (4 if "12" in tags["format"] else 1) - 512) <= 2


RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


@pytest.mark.parametrize(("name", "codec", "deep", "range_", "slack"), [
    ("o.mp4", "h264", False, 1, 0), ("o.mkv", "ffv1", False, 2, 0), ("o.mkv", "ffv1", True, 2, 0), ("o.mov", "prores", True, 1, 6), ("o.mov", "prores", False, 1, 6),
])
def test_mattes(tmp_path: Path, name: str, codec: str, deep: bool, range_: int, slack: int) -> None:
    """Grey in the whole range, or limited as video is: 16 to 235 of 8 bits, 64 to 940 of 10, and no colour."""
    layout = "yuv420p10le" if deep else "yuv420p"
    sink = FileSink(str(tmp_path / name), info(layout), "matte", EncodeOptions(codec, crf=0 if codec == "h264" else None))
    alpha = Matte(RAMP.astype(np.uint16) * 257 if deep else RAMP)
    sink.write(replace(blank(layout, 64, 64, HD), time_base=TICK), alpha)
    sink.close()
    assert sink.notes == []
    tags, (frame,) = opened(tmp_path / name)
    assert tags["range"] in (range_, 0)  # H.264 without colour tags, and FFV1's grey, say nothing, which means just that
    luma = first_plane(frame, 0).astype(float)
    if range_ == 2:
        expected = alpha.alpha.astype(float)
    else:
        depth = 10 if codec == "prores" else 8
        expected = np.rint(16 * 2 ** (depth - 8) + RAMP / 255 * 219 * 2 ** (depth - 8))
        for index in (1, 2):
            assert np.abs(first_plane(frame, index).astype(float) - 2 ** (depth - 1)).max() <= slack
    assert np.abs(luma - expected).max() <= slack


def test_alpha_lies_beside_the_colours(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "o.mkv"), info("yuv444p"), "transparent", EncodeOptions())
    frame = blank("yuv444p", 64, 64, HD)
    frame.planes[0][:] = 77
    sink.write(replace(frame, time_base=TICK), Matte(RAMP))
    sink.close()
    _, (found,) = opened(tmp_path / "o.mkv")
    assert found.format.name == "yuva444p"
    assert np.array_equal(first_plane(found, 3), RAMP)
    assert (first_plane(found, 0) == 77).all()


def test_what_is_told_of_the_shape(tmp_path: Path) -> None:
    """Rotation and aspect ratio stay where the file can hold them, and a note says where it cannot."""
    shape = {"sample_aspect_ratio": Fraction(4, 3), "rotation": 1}
    for name, codec, notes in (
        ("o.mp4", None, []), ("o.mkv", None, []), ("o.mkv", "hevc", []), ("o.mov", "prores", ["o.mov: stored as yuv422p10le (the input is yuv420p)"]),
        ("o.webm", None, ["o.webm: the sample aspect ratio 4/3 is lost in webm with vp9; .mov, .mp4 and h264 in .mkv keep it"]),
        ("o.mkv", "vp9", ["o.mkv: the sample aspect ratio 4/3 is lost in matroska with vp9; .mov, .mp4 and h264 in .mkv keep it"]),
    ):
        sink = written(tmp_path / name, info(**shape), encode=EncodeOptions(codec, overwrite=True))
        assert sink.notes == notes
        found = probe(tmp_path / name)
        assert found.rotation == 90
        assert found.sar == Fraction(4, 3) or "vp9" in "".join(sink.notes)
    assert written(tmp_path / "square.webm", info()).notes == []
    mxf = written(tmp_path / "o.mxf", info("yuv422p10le", (128, 256), rotation=1))
    assert mxf.notes == ["o.mxf: is stored turned as the input, and .mxf cannot say so"]


@pytest.mark.parametrize(("name", "codec", "size", "note"), [
    ("o.mp4", "h264", (64, 64), "o.mp4: is interlaced as the input, top field first"), ("o.mp4", "h264", (66, 64), "o.mp4: h264 holds no fields of heights that are no multiple of 4; its frames are marked as progressive"),
    ("o.webm", "vp9", (64, 64), "o.webm: vp9 holds no fields; its frames are marked as progressive"), ("o.mkv", "ffv1", (64, 64), "o.mkv: is interlaced as the input, top field first"),
])
def test_fields(tmp_path: Path, name: str, codec: str, size: tuple[int, int], note: str) -> None:
    assert written(tmp_path / name, info(size=size, fields="top"), encode=EncodeOptions(codec)).notes == [note]
    _, frames = opened(tmp_path / name)
    assert [frame.interlaced_frame for frame in frames] == ["is interlaced" in note] * 3


@pytest.mark.parametrize(("name", "codec", "tag"), [("o.mp4", "hevc", "hvc1"), ("o.mov", "hevc", "hvc1"), ("o.m4v", "hevc", "hvc1"), ("o.mp4", "h264", "avc1")])
def test_names_by_which_players_know_a_codec(tmp_path: Path, name: str, codec: str, tag: str) -> None:
    written(tmp_path / name, info(), encode=EncodeOptions(codec))
    tags, frames = opened(tmp_path / name)
    assert (tags["tag"], len(frames)) == (tag, 3)


def test_what_the_input_says_of_itself_stays_there(tmp_path: Path) -> None:
    """Its muxer and its sizes; what people wrote is kept."""
    ours = {"title": "a film", "ENCODER": "Lavf", "DURATION": "9", "comment": "yes"}
    stream = {"language": "fra", "BPS": "9", "handler_name": "mine", "NUMBER_OF_FRAMES": "99"}
    chapters = ({"id": 1, "start": 0, "end": 80, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}},)
    written(tmp_path / "o.mkv", info(metadata=ours, stream_metadata=stream, chapters=chapters))
    with av.open(str(tmp_path / "o.mkv")) as given:
        kept = {key.lower(): value for key, value in given.metadata.items()}
        assert (kept["title"], kept["comment"]) == ("a film", "yes")
        assert kept["encoder"] != "Lavf"
        assert kept.get("duration") != "9"
        video = {key.lower(): value for key, value in given.streams.video[0].metadata.items()}
        assert video["language"] == "fra"
        assert not {"bps", "number_of_frames", "handler_name"} & set(video)
        assert [chapter["metadata"]["title"] for chapter in given.chapters()] == ["one"]


def test_times_and_how_long_each_frame_is_shown(tmp_path: Path) -> None:
    times, durations = (100, 104, 120, 123), (4, 16, 3, 17)
    for name, from_zero in (("o.mkv", False), ("zero.mkv", True), ("zero.mp4", True)):
        written(tmp_path / name, info(), times=times, durations=durations, from_zero=from_zero)
        with av.open(str(tmp_path / name)) as given:
            shown = sorted((packet.pts * packet.time_base, packet.duration * packet.time_base) for packet in given.demux(video=0) if packet.size)
        begin = 100 if from_zero else 0
        assert [round(float(at), 3) for at, _ in shown] == [(at - begin) / 100 for at in times]
        if name.endswith(".mkv"):  # MP4 stores from packet to packet how long it is, in the order of decoding
            assert [round(float(long), 3) for _, long in shown] == [long / 100 for long in durations]


@pytest.mark.parametrize(("live", "expected"), [(False, [0.0, 0.52]), (True, [0.0, 0.52, 2.52, 4.52])])
def test_keyframes(tmp_path: Path, live: bool, expected: list[float]) -> None:
    """The second after half a second, so that a killed run leaves what can be played; of a live one, each two seconds more."""
    written(tmp_path / "o.mkv", info(), times=tuple(range(0, 600, 4)), live=live)
    with av.open(str(tmp_path / "o.mkv")) as given:
        assert [round(float(packet.pts * packet.time_base), 2) for packet in given.demux(video=0) if packet.is_keyframe and packet.size] == expected


def test_odd_rates(tmp_path: Path) -> None:
    """An average that no encoder takes is not given to it."""
    for rate in (Fraction(1, 1000), Fraction(90_000), Fraction(1, 10), Fraction(1000)):
        written(tmp_path / "o.mp4", info(rate=rate), encode=EncodeOptions(overwrite=True))
        assert probe(tmp_path / "o.mp4").frames == 3


def test_frames_that_a_steady_container_cannot_hold(tmp_path: Path) -> None:
    """MXF has no times: a frame that is more than half a frame off ends the run, and what was done is kept."""
    steady = info("yuv422p10le", (128, 256))
    written(tmp_path / "o.mxf", steady, times=(3, 8, 10, 16))
    assert probe(tmp_path / "o.mxf").times == tuple(Fraction(number, 25) for number in range(4))
    with pytest.raises(OutputError) as caught:
        written(tmp_path / "late.mxf", steady, times=(3, 7, 14))
    assert str(caught.value) == (
        f"{tmp_path / 'late.mxf'}: cannot be written after 2 frames (it comes +0.030 s off the steady 25 frames per second that .mxf has; write .mov); "
        f"what was done is kept as {tmp_path / 'late.partial.mxf'}"
    )
    assert names(tmp_path) == ["late.partial.mxf", "o.mxf"]


@pytest.mark.parametrize(("name", "codec", "size", "rate", "message"), [
    ("o.mxf", "dnxhr", (64, 64), Fraction(25), "the dnxhr encoder (dnxhd) refuses 64x64 yuv422p10le at 25 frames per second, or MXF does (REASON); try another --codec, .mov or size"),
    ("o.mov", "dnxhr", (64, 62), Fraction(25), "the dnxhr encoder (dnxhd) refuses 62x64 yuv422p10le (REASON); try another --codec or size"),
])
def test_what_an_encoder_refuses(tmp_path: Path, name: str, codec: str, size: tuple[int, int], rate: Fraction, message: str) -> None:
    with pytest.raises(OutputError) as caught:
        FileSink(str(tmp_path / name), info(size=size, rate=rate), "composite", EncodeOptions(codec))
    begin, end = f"{tmp_path / name}: {message}".split("REASON")
    assert str(caught.value).startswith(begin)
    assert str(caught.value).endswith(end)
    assert len(str(caught.value)) > len(begin + end) + 5
    assert names(tmp_path) == []


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        FileSink(str(tmp_path / "none" / "o.mp4"), info(), "composite", EncodeOptions())
    assert str(caught.value) == f"{tmp_path / 'none' / 'o.mp4'}: cannot be created (No such file or directory); check that the folder exists and may be written"
    (tmp_path / "o.mp4").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already; give -y to replace it$"):
        FileSink(str(tmp_path / "o.mp4"), info(), "composite", EncodeOptions())
    written(tmp_path / "o.mp4", info(), encode=EncodeOptions(overwrite=True))
    assert probe(tmp_path / "o.mp4").frames == 3
    with pytest.raises(UsageError):
        FileSink(str(tmp_path / "new.mp4"), info(), "transparent", EncodeOptions("h264"))
    assert names(tmp_path) == ["o.mp4"]


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Said once, with what was done; and the file takes nothing more and ends quietly."""
    resource = pytest.importorskip("resource", reason="limits of processes")
    sink = FileSink(str(tmp_path / "o.mkv"), info(size=(256, 256)), "composite", EncodeOptions("ffv1"))
    rng = np.random.default_rng(1)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most[1]))
    try:
        with pytest.raises(OutputError) as caught:
            for index in range(100):
                frame = blank("yuv420p", 256, 256, HD, pts=index, time_base=TICK)
                for plane in frame.planes:
                    plane[:] = rng.integers(0, 256, plane.shape)
                sink.write(frame, matte_of(frame))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert 1 <= sink.frames <= 5
    assert str(caught.value) == f"{tmp_path / 'o.mkv'}: cannot be written after {sink.frames} frames (File too large); what was done is kept as {tmp_path / 'o.partial.mkv'}"
    sink.close()
    assert names(tmp_path) == ["o.partial.mkv"]


def test_nothing_is_left_of_nothing(tmp_path: Path) -> None:
    """Without a frame, and when it is given up; the names are free again."""
    for name in ("o.mp4", "o.webm"):
        written(tmp_path / name, info(), times=())
        sink = FileSink(str(tmp_path / name), info(), "composite", EncodeOptions())
        assert names(tmp_path) != []
        sink.write(blank("yuv420p", 64, 64, HD, time_base=TICK), Matte(RAMP))
        sink.abort()
        sink.close()
        sink.abort()
        assert names(tmp_path) == []
