"""``streammat video`` on every kind of input: the frames that went in come out, at their times."""

from __future__ import annotations

import gc
import json
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import BT601, BT709, BT2020_HLG, BT2020_PQ, FULL_709, Audio, Tags, frames_of, matched, probe, write_clip
from running import names, video

from streammat.media.frame import Frame
from streammat.sources.file import FileSource

INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "h264-mp4": (".mp4", {}),
    "h264-bframes": (".mp4", {"options": {"preset": "veryfast", "bf": "3"}, "frames": 12}),
    "h264-10bit": (".mp4", {"pix_fmt": "yuv420p10le"}),
    "h264-422": (".mp4", {"pix_fmt": "yuv422p"}),
    "h264-422-10bit": (".mkv", {"pix_fmt": "yuv422p10le"}),
    "h264-444": (".mp4", {"pix_fmt": "yuv444p"}),
    "h264-full-range": (".mp4", {"tags": FULL_709}),
    "h264-ts": (".ts", {}),
    "h264-avi": (".avi", {"options": {"bf": "0"}}),
    "h264-flv": (".flv", {}),
    "hevc-mkv": (".mkv", {"codec": "libx265"}),
    "hevc-10bit": (".mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "tags": BT2020_PQ}),
    "hevc-422-10bit": (".mov", {"codec": "libx265", "pix_fmt": "yuv422p10le"}),
    "hevc-444-12bit": (".mkv", {"codec": "libx265", "pix_fmt": "yuv444p12le"}),
    "hevc-rgb": (".mp4", {"codec": "libx265", "pix_fmt": "gbrp", "tags": Tags(1, 13, 0, 2)}),
    "vp9-webm": (".webm", {"codec": "libvpx-vp9"}),
    "vp9-odd": (".webm", {"codec": "libvpx-vp9", "size": (97, 75)}),
    "vp8-webm": (".webm", {"codec": "libvpx"}),
    "av1-mp4": (".mp4", {"codec": "libsvtav1"}),
    "av1-10bit": (".mkv", {"codec": "libsvtav1", "pix_fmt": "yuv420p10le"}),
    "mpeg4-avi": (".avi", {"codec": "mpeg4"}),
    "mpeg2-ts": (".ts", {"codec": "mpeg2video"}),
    "mjpeg-mov": (".mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "mjpeg-avi-422": (".avi", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
    "prores-422": (".mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "tags": BT709}),
    "prores-4444": (".mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "tags": BT709}),
    "ffv1-odd": (".mkv", {"codec": "ffv1", "size": (97, 75)}),
    "ffv1-422-odd": (".mkv", {"codec": "ffv1", "pix_fmt": "yuv422p", "size": (99, 76)}),
    "ffv1-grey": (".mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
    "ffv1-16bit": (".mkv", {"codec": "ffv1", "pix_fmt": "yuv420p16le"}),
    "ffv1-411": (".mkv", {"codec": "ffv1", "pix_fmt": "yuv411p", "size": (128, 96)}),
    "dnxhr": (".mov", {"codec": "dnxhd", "pix_fmt": "yuv422p", "size": (256, 144), "options": {"profile": "dnxhr_sq"}}),
    "rgb-qtrle": (".mov", {"codec": "qtrle", "pix_fmt": "rgb24"}),
    "utvideo-gbrp": (".avi", {"codec": "utvideo", "pix_fmt": "gbrp"}),
    "gif": (".gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "raw-h264": (".h264", {"options": {"bf": "0"}}),
    "y4m": (".y4m", {"codec": "wrapped_avframe"}),
    "mp4-fragmented": (".mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "mkv-no-duration": (".mkv", {"container_options": {"live": "1"}}),
    "portrait": (".mp4", {"size": (96, 160)}),
    "smallest": (".mp4", {"size": (64, 64)}),
    "odd-444": (".mkv", {"pix_fmt": "yuv444p", "size": (127, 95)}),
    "wide": (".mp4", {"size": (320, 64)}),
    "one-frame": (".mp4", {"frames": 1}),
    "ntsc": (".mp4", {"rate": Fraction(30000, 1001)}),
    "late-start": (".mkv", {"offset": 2, "audio": [Audio("libopus")]}),
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_frame_comes_out_at_its_time(tmp_path: Path, name: str) -> None:
    """Count, order, times, size and colour survive, whatever the codec, container, depth and subsampling."""
    suffix, properties = INPUTS[name]
    source = write_clip(tmp_path / f"in{suffix}", **properties)
    before = probe(source)
    front = tmp_path / "front.mkv"
    report = video(source, tmp_path / "out.mkv", "--foreground", front, "--no-decontaminate", "--bg", "#203040").ok().report

    after, colour = probe(tmp_path / "out.mkv"), probe(front)
    assert report["frames_in"] == report["frames_out"] == before.frames == after.frames == colour.frames
    assert after.size == colour.size == before.size
    milliseconds = [round(time * 1000) for time in before.times]
    if name not in {"mpeg4-avi", "h264-avi", "raw-h264"}:  # these carry no times of their own
        for found in (after, colour):
            shown = [round(time * 1000) for time in found.times]
            assert np.abs(np.subtract(shown, milliseconds)).max() <= 1
    # What is left of the room is black; all else is the input's own image: a wrong matrix or range would show.
    given, kept = frames_of(source), frames_of(front)
    assert matched(kept, given) == list(range(before.frames))
    for old, new in zip(given, kept, strict=True):
        person = cv2.erode((new.max(2) > 40).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert np.abs(new[person].mean(0) - old[person].mean(0)).max() < 4.0
        assert np.abs(new[person].astype(np.float32) - old[person]).mean() < (20.0 if name == "gif" else 8.0)


@pytest.mark.parametrize("target", [
    "out.mp4", "out.mp4 --codec hevc", "out.mp4 --codec av1", "out.mov", "out.mov --codec prores", "out.mov --bg transparent", "out.mkv",
    "out.mkv --codec ffv1", "out.mkv --bg transparent", "out.webm", "out.webm --bg transparent", "out.webm --codec av1",
])  # fmt: skip
@pytest.mark.parametrize(("size", "pix_fmt"), [((99, 75), "yuv420p"), ((64, 95), "yuv420p"), ((131, 64), "yuv422p10le")])
def test_odd_sizes_are_kept(tmp_path: Path, target: str, size: tuple[int, int], pix_fmt: str) -> None:
    """An image of odd size is neither cut nor padded, in any container and codec."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt=pix_fmt, size=size, frames=3)
    name, *options = target.split()
    video(source, tmp_path / name, *(options if "--bg" in options else [*options, "--bg", "blur"])).ok()
    assert probe(tmp_path / name).size == size
    assert probe(tmp_path / name).frames == 3


def test_a_folder_of_clips_into_a_folder(tmp_path: Path) -> None:
    """Each clip under its own name; one that is broken is told of, and the others are done."""
    (tmp_path / "in").mkdir()
    for name in ("b.mkv", "a.mp4"):
        write_clip(tmp_path / "in" / name, frames=3)
    (tmp_path / "in/broken.mp4").write_bytes(b"no video" * 100)
    done = video(tmp_path / "in", tmp_path / "out")
    assert done.code == 1
    assert "broken.mp4" in done.error
    assert names(tmp_path / "out") == ["a.mp4", "b.mkv"]
    reports = [json.loads(line) for line in done.out.splitlines()]
    assert [report.get("frames_out", report.get("source")) for report in reports] == [3, 3, str(tmp_path / "in/broken.mp4")]
    video(tmp_path / "in", tmp_path / "out.mp4", "--matte", tmp_path / "m.mkv").refused(2, "one file for 3 clips")


def test_half_a_dozen_pixels_of_height_are_refused_or_done(tmp_path: Path) -> None:
    """Sizes far below the promised 64 pixels end in a file or in one line, never in a traceback."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", size=(16, 6), frames=2)
    done = video(source, tmp_path / "out.mp4", "--bg", "green")
    if done.code == 0:
        assert probe(tmp_path / "out.mp4").size == (16, 6)
    else:
        done.refused(1)


VARIABLE = [0, 3003, 6006, 12012, 12500, 30000, 90000, 90001, 180003]


@pytest.mark.parametrize("target", ["out.mp4", "out.mov"])
def test_variable_frame_rate_is_exact(tmp_path: Path, target: str) -> None:
    """Every timestamp of a variable-rate file comes out to the tick, and the last frame keeps its length."""
    source = write_clip(
        tmp_path / "in.mp4", time_base=Fraction(1, 90000), pts=VARIABLE, options={"preset": "veryfast", "bf": "2"}
    )
    before = probe(source)
    video(source, tmp_path / target, "--bg", "green").ok()
    after = probe(tmp_path / target)
    assert before.times == tuple(Fraction(t, 90000) for t in VARIABLE)
    assert after.times == before.times
    assert after.time_base == before.time_base


def test_variable_frame_rate_in_matroska(tmp_path: Path) -> None:
    """Matroska counts milliseconds: a Matroska input is exact, and stays exact in MP4."""
    pts = [0, 33, 66, 133, 140, 300, 1000, 1001]
    source = write_clip(tmp_path / "in.mkv", time_base=Fraction(1, 1000), pts=pts)
    for target in ("out.mkv", "out.mp4", "out.webm"):
        video(source, tmp_path / target, "--bg", "green").ok()
        assert probe(tmp_path / target).times == tuple(Fraction(t, 1000) for t in pts), target


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(15), Fraction(60000, 1001), Fraction(120)]
)
def test_rates_are_exact(tmp_path: Path, rate: Fraction) -> None:
    """29.97 is not 30: rate and times are rationals all the way."""
    source = write_clip(tmp_path / "in.mp4", rate=rate, frames=6)
    before = probe(source)
    video(source, tmp_path / "out.mp4", "--bg", "green").ok()
    after = probe(tmp_path / "out.mp4")
    assert after.times == before.times == tuple(i / rate for i in range(6))
    assert after.rate == before.rate == rate


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("offset", [Fraction(2, 5), Fraction(2)])
def test_late_start_keeps_sound_and_image_together(tmp_path: Path, target: str, offset: Fraction) -> None:
    """A clip whose times start late keeps the distance between image and sound."""
    source = write_clip(tmp_path / "in.mkv", offset=offset, audio=[Audio("aac", start=0.08)])
    before = probe(source)
    video(source, tmp_path / target, "--bg", "green").ok()
    after = probe(tmp_path / target)
    assert after.intervals == before.intervals
    assert before.audio[0].start is not None
    assert after.audio[0].start is not None
    distance = before.times[0] - before.audio[0].start
    assert abs((after.times[0] - after.audio[0].start) - distance) < Fraction(2, 1000)


@pytest.mark.parametrize("tags", [BT601, BT709, FULL_709, BT2020_PQ, BT2020_HLG], ids=["601", "709", "full", "pq", "hlg"])
@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
def test_colour_tags_are_kept(tmp_path: Path, tags: Tags, target: str) -> None:
    """Primaries, transfer, matrix and range are those of the input."""
    deep = tags.transfer in {16, 18}
    source = write_clip(
        tmp_path / "in.mkv",
        codec="libx265" if deep else "libx264",
        pix_fmt="yuv420p10le" if deep else "yuv420p",
        tags=tags,
        frames=3,
    )
    assert probe(source).tags == tags
    video(source, tmp_path / target, "--bg", "#102030").ok()
    assert probe(tmp_path / target).tags == tags


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize(("target", "codec"), [("out.mp4", "hevc"), ("out.mp4", "h264"), ("out.mkv", "av1"), ("out.webm", "vp9")])
def test_ten_bits_stay_ten_bits(tmp_path: Path, pix_fmt: str, target: str, codec: str) -> None:
    """Ten bits in, ten bits out, and the subsampling where the codec has it."""
    source = write_clip(tmp_path / "in.mkv", codec="libx265", pix_fmt=pix_fmt, frames=3)
    report = video(source, tmp_path / target, "--bg", "green", "--codec", codec).ok().report
    # SVT-AV1 has 4:2:0 only, and this libvpx has 8 bits only.
    expected = {"av1": "yuv420p10le", "vp9": pix_fmt.removesuffix("10le")}.get(codec, pix_fmt)
    assert probe(tmp_path / target).pix_fmt == expected
    if codec == "vp9":
        assert any("yuv" in note for note in report["notes"]), "a loss of depth is said"


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
def test_eight_bits_keep_their_subsampling(tmp_path: Path, pix_fmt: str) -> None:
    """H.264 in, H.264 out: the same pixel format."""
    source = write_clip(tmp_path / "in.mp4", pix_fmt=pix_fmt, frames=3)
    video(source, tmp_path / "out.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "out.mp4").pix_fmt == pix_fmt


def test_timestamps_that_stand_still(tmp_path: Path) -> None:
    """Frames with the same time are all kept, a tick apart, and it is said."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", time_base=Fraction(1, 1000), pts=[0, 40, 40, 80, 120])
    report = video(source, tmp_path / "out.mp4", "--bg", "green").ok().report
    after = probe(tmp_path / "out.mp4")
    assert after.frames == report["frames_out"] == 5
    assert all(step > 0 for step in after.intervals)
    assert any("timestamp" in note for note in report["notes"])


def test_size_that_changes_midway(tmp_path: Path) -> None:
    """Two transport streams one after the other: every frame is kept, at the first one's size, and it is said."""
    first = write_clip(tmp_path / "a.ts", frames=6, options={"bf": "0"})
    second = write_clip(tmp_path / "b.ts", frames=6, size=(64, 80), offset=Fraction(6, 25), options={"bf": "0"})
    source = tmp_path / "in.ts"
    source.write_bytes(first.read_bytes() + second.read_bytes())
    expected = probe(source).frames
    assert expected > 8
    report = video(source, tmp_path / "out.mp4", "--bg", "green").ok().report
    after = probe(tmp_path / "out.mp4")
    assert after.frames == report["frames_out"] == expected
    assert after.size == (128, 96)
    assert any("size" in note for note in report["notes"])


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_joined_recordings_go_on(tmp_path: Path, target: str) -> None:
    """Three transport streams one after the other, whose times begin anew: they are played one after the other, in step."""
    part = write_clip(tmp_path / "part.ts", frames=25, content="pattern", audio=[Audio()], options={"bf": "2"})
    source = tmp_path / "in.ts"
    source.write_bytes(part.read_bytes() * 3)
    report = video(source, tmp_path / target, "--bg", "green").ok().report
    after = probe(tmp_path / target)
    assert after.frames == report["frames_out"] == 75
    assert all(Fraction(3, 100) < step < Fraction(1, 10) for step in after.intervals)
    assert abs(after.times[-1] - after.times[0] - Fraction(74, 25)) < Fraction(1, 10)
    assert abs(after.audio[0].seconds - 3) < Fraction(1, 5)
    assert any("anew 2 times" in note for note in report["notes"])


def test_two_video_tracks(tmp_path: Path) -> None:
    """The first one is used, and it is said."""
    single = write_clip(tmp_path / "a.mp4", frames=4)
    other = write_clip(tmp_path / "b.mp4", frames=4, size=(64, 64))
    with av.open(str(single)) as one, av.open(str(other)) as two, av.open(str(tmp_path / "in.mkv"), "w") as out:
        tracks = [(clip, out.add_stream_from_template(clip.streams.video[0])) for clip in (one, two)]
        for clip, track in tracks:
            for packet in clip.demux(video=0):
                if packet.dts is not None:
                    packet.stream = track
                    out.mux(packet)
    report = video(tmp_path / "in.mkv", tmp_path / "out.mp4", "--bg", "green").ok().report
    assert probe(tmp_path / "out.mp4").size == (128, 96)
    assert any("track" in note for note in report["notes"])


@pytest.mark.slow
def test_4k(tmp_path: Path) -> None:
    """Ultra HD works and keeps its size."""
    source = write_clip(tmp_path / "in.mp4", size=(3840, 2160), frames=4)
    video(source, tmp_path / "out.mp4", "--bg", "blur").ok()
    assert probe(tmp_path / "out.mp4").size == (3840, 2160)
    assert probe(tmp_path / "out.mp4").frames == 4


def test_a_closed_source_is_gone_at_once(tmp_path: Path) -> None:
    """Without Python looking for circles: a file that plays as a camera is opened again and again, and each time there were some more frames in memory."""
    source = write_clip(tmp_path / "in.mp4", frames=4)
    gc.collect()
    gc.disable()
    try:
        opened = FileSource(str(source), audio=True)
        assert sum(isinstance(item, Frame) for item in opened) == 4
        opened.close()
        gone = weakref.ref(opened)
        del opened
        assert gone() is None
    finally:
        gc.enable()
