"""Damaged inputs of ``streammat video``: all that can be decoded is written, and the report says what was not, and where."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, probe, write_clip
from running import QUICK, Run, names, run, video, wait_for

from streammat.audio.source import FileSound
from streammat.sources.playback import PlaybackSchedule

PLAIN = ("--bg", "green", "--no-stable")
FRAMES = 30


def clip(path: Path, **properties: Any) -> Path:
    """A short clip whose packets are large enough to be damaged."""
    settings: dict[str, Any] = {"frames": FRAMES, "size": (128, 96), "content": "pattern", "options": {"g": "10", "bf": "0"}}
    return write_clip(path, **{**settings, **properties})


def packets(path: Path, kind: str = "video") -> list[av.Packet[Any]]:
    """Those of the first track of a kind."""
    with av.open(str(path)) as given:
        return [packet for packet in given.demux(**{kind: 0}) if packet.size]


def spoil(path: Path, begin: int, count: int) -> None:
    """Invert ``count`` bytes from ``begin`` on."""
    data = bytearray(path.read_bytes())
    data[begin : begin + count] = bytes(byte ^ 0xFF for byte in data[begin : begin + count])
    path.write_bytes(data)


def damage_of(run: Run) -> list[tuple[str, int, int | None]]:
    """Track, number of packets or frames, and the first frame of each kind of damage."""
    return [(found["track"], found["count"], found["places"][0]["frame"]) for found in run.ok().report["damage"]]


@pytest.mark.parametrize(("name", "properties"), [
    ("in.mp4", {}), ("in.mkv", {}), ("in.ts", {"options": {"bf": "2"}, "audio": [Audio()]}), ("in.avi", {"codec": "mpeg4"}),
    ("in.webm", {"codec": "libvpx-vp9", "options": {}}), ("vp8.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    ("av1.mp4", {"codec": "libsvtav1", "options": {}}), ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8:open-gop=1:bframes=3"}}),
    ("late.mkv", {"offset": 2, "audio": [Audio("libopus")]}), ("gap.mkv", {"pts": [*range(10), *range(40, 60)]}),
])  # fmt: skip
def test_whole_files_have_no_damage(tmp_path: Path, name: str, properties: dict[str, Any]) -> None:
    """Nothing is made up: neither for packets without an image, nor for real gaps."""
    assert damage_of(video(clip(tmp_path / name, **properties), tmp_path / "out.mp4", *PLAIN, "--strict")) == []


def test_a_frame_that_the_decoder_mends(tmp_path: Path) -> None:
    """It is shown, counted, and its place is told; the exit code is 0, or 1 with ``--strict``, and the output the same."""
    source = clip(tmp_path / "in.mp4")
    packet = packets(source)[13]
    assert packet.pos is not None
    spoil(source, packet.pos + packet.size // 2, 20)
    lenient = video(source, tmp_path / "out.mp4", *PLAIN)
    assert damage_of(lenient) == [("video", 1, 13)]
    assert lenient.report["damage"][0]["places"][0]["from"] == pytest.approx(13 / 25, abs=0.001)
    assert probe(tmp_path / "out.mp4").frames == FRAMES
    strict = video(source, tmp_path / "strict.mp4", *PLAIN, "--strict").refused(1, "in.mp4", "damaged")
    assert probe(tmp_path / "strict.mp4").frames == strict.report["frames_out"] == FRAMES
    assert names(tmp_path) == ["in.mp4", "out.mp4", "strict.mp4"]


def test_a_packet_of_which_no_image_comes(tmp_path: Path) -> None:
    """The others are written; the warning in words says how many are lost and where."""
    source = clip(tmp_path / "in.mp4")
    packet = packets(source)[13]
    assert packet.pos is not None
    spoil(source, packet.pos, packet.size)
    done = video(source, tmp_path / "out.mp4", *PLAIN)
    assert damage_of(done)[0] == ("video", 1, 13)
    assert probe(tmp_path / "out.mp4").frames == FRAMES - 1


@pytest.mark.parametrize("start", [0.0, 0.6])
def test_what_a_reader_of_matroska_skips_is_counted(tmp_path: Path, start: float) -> None:
    """It looks for the next cluster, and all between is lost; what lies before ``--start`` does not matter."""
    source = clip(tmp_path / "in.mkv", container_options={"cluster_time_limit": "200"}, audio=[Audio("flac")])
    packet = packets(source)[11]
    assert packet.pos is not None
    spoil(source, packet.pos, 40)
    done = video(source, tmp_path / "out.mkv", *PLAIN, *(["--start", str(start)] if start else []))
    found = damage_of(done)
    kept = probe(tmp_path / "out.mkv").frames
    if start:
        assert found == []
        assert kept == FRAMES - 15
        return
    assert 0 < FRAMES - kept < 12
    assert ("video", FRAMES - kept, 11) in found
    assert any(track == "audio track 1" for track, _, _ in found)


def test_a_stream_without_its_first_keyframe(tmp_path: Path) -> None:
    """A recording that was switched on midway: what comes before the first keyframe is lost, and that is said."""
    source = clip(tmp_path / "in.ts", options={"g": "10", "bf": "2"}, audio=[Audio()])
    second = packets(source)[3]
    assert second.pos is not None
    data = source.read_bytes()
    source.write_bytes(data[: 3 * 188] + data[second.pos :])
    given = len(packets(source))
    done = video(source, tmp_path / "out.mp4", *PLAIN).ok()
    kept = probe(tmp_path / "out.mp4").frames
    assert kept < given
    assert damage_of(done)[0] == ("video", given - kept, 0)
    assert "before the first keyframe" in done.report["damage"][0]["what"]


@pytest.mark.parametrize(("name", "codec", "targets"), [
    ("in.mp4", "ac3", ["out.mp4", "out.webm"]), ("in.mp4", "aac", ["out.mkv", "out.webm"]), ("in.ts", "aac", ["out.mp4", "out.webm"]),
    ("in.mp4", "libmp3lame", ["out.mp4", "out.webm"]),
])  # fmt: skip
def test_a_damaged_packet_of_sound_costs_only_itself(tmp_path: Path, name: str, codec: str, targets: Sequence[str]) -> None:
    """Copied or transcoded: it is left out and counted, what follows keeps its time, and the image is whole."""
    source = clip(tmp_path / name, size=(64, 64), frames=25, content="empty", audio=[Audio(codec)])
    before = probe(source)
    packet = packets(source, "audio")[12]
    assert packet.pos is not None
    spoil(source, packet.pos, min(100, packet.size))
    for target in targets:
        done = video(source, tmp_path / target, *PLAIN)
        assert [track for track, _, _ in damage_of(done)] == ["audio track 1"], done.report["damage"]
        assert 0.2 < done.report["damage"][0]["places"][0]["from"] - float(before.times[0]) < 0.6
        after = probe(tmp_path / target)
        assert after.frames == 25
        with av.open(str(tmp_path / target)) as written:
            last = [packet for packet in written.demux(audio=0) if packet.size][-1]
        assert last.pts is not None
        assert abs(float(last.pts * last.time_base) - float(after.times[-1])) < 0.1


def tone(path: Path) -> tuple[float, float]:
    """When the tone of the first track begins after the first image, by the file's times and by counting samples; seconds."""
    counted = 0.0
    with av.open(str(path)) as given:
        for frame in given.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.05)
            if loud.size:
                inside = int(loud[0]) / frame.sample_rate
                return float(frame.pts * frame.time_base) + inside - float(probe(path).times[0]), counted + inside
            counted += frame.samples / frame.sample_rate
    raise AssertionError(f"{path} is silent")


@pytest.mark.parametrize(("name", "codec"), [("in.mp4", "aac"), ("in.mp4", "ac3"), ("in.mp4", "libmp3lame"), ("in.ts", "aac")])
def test_sound_after_damage_is_not_early(tmp_path: Path, name: str, codec: str) -> None:
    """What follows six lost packets is heard within one packet of its time, copied or transcoded; transcoded, for players that count samples as well."""
    source = clip(tmp_path / name, size=(64, 64), frames=25, content="empty", audio=[Audio(codec, silent=0.7)])
    given, counted = tone(source)
    lost = packets(source, "audio")[10:16]
    for packet in lost:
        assert packet.pos is not None
        spoil(source, packet.pos, packet.size)
    for target in ("out.mp4", "out.mkv", "out.mov", "out.webm"):
        done = video(source, tmp_path / target, *PLAIN)
        assert {track for track, _, _ in damage_of(done)} == {"audio track 1"}
        at, after = tone(tmp_path / target)
        assert abs(at - given) <= 1024 / 48000, target
        if any("becomes" in note for note in done.report["notes"]):
            assert abs(after - counted) <= 1024 / 48000, target


@pytest.mark.parametrize(("name", "properties"), [
    ("in.mkv", {}), ("in.webm", {"codec": "libvpx-vp9", "options": {}}), ("in.avi", {"codec": "mpeg4", "audio": [Audio("libmp3lame")]}),
])  # fmt: skip
def test_a_file_that_lacks_a_hundredth(tmp_path: Path, name: str, properties: dict[str, Any]) -> None:
    """However little is cut off: with a frame gone it is not whole; without the index alone it is, and that is said."""
    source = clip(tmp_path / name, size=(64, 64), frames=200, **properties)
    data = source.read_bytes()
    last = packets(source)[-2]
    assert last.pos is not None
    source.write_bytes(data[: last.pos + 2])
    done = video(source, tmp_path / "out.mp4", *PLAIN).refused(1, name, "truncated", "bytes are missing")
    assert probe(tmp_path / "out.mp4").frames in {198, 199}
    source.write_bytes(data[:-3])
    if name == "in.avi":
        done = video(source, tmp_path / "index.mp4", *PLAIN).ok()
        assert any("3 bytes are missing" in note for note in done.report["notes"])
        assert probe(tmp_path / "index.mp4").frames == 200


@pytest.mark.parametrize(("kind", "mark"), [("audio", 0xC0), ("video", 0xE0)])
@pytest.mark.parametrize(("place", "bit"), [(9, 0x02), (9, 0x08), (10, 0x08), (11, 0x02), (11, 0x20)])
def test_one_wrong_bit_in_a_time_moves_nothing_else(tmp_path: Path, kind: str, mark: int, place: int, bit: int) -> None:
    """It is no gap of hours and no recording that begins anew: the packet has the time at which it is due."""
    source = clip(tmp_path / "in.ts", size=(64, 64), content="empty", audio=[Audio()])
    before = probe(source)
    packet = packets(source, kind)[15]
    assert packet.pos is not None
    data = bytearray(source.read_bytes())
    header = data.index(bytes([0, 0, 1, mark]), packet.pos)
    data[header + place] ^= bit  # of the 33 bits of its presentation time
    source.write_bytes(data)
    done = video(source, tmp_path / "out.mp4", *PLAIN)
    assert [track.split()[0] for track, _, _ in damage_of(done)] == [kind]
    after = probe(tmp_path / "out.mp4")
    assert after.frames == FRAMES
    assert max(abs(float(new - old)) for new, old in zip(after.times, before.times, strict=True)) < 0.01
    assert abs(after.audio[0].seconds - before.audio[0].seconds) < 0.1


def test_sound_that_is_half_a_day_off(tmp_path: Path) -> None:
    """MP4 cannot say that, and FFmpeg would end the process: it is left out there, and the image is whole."""
    source = clip(tmp_path / "in.ts", size=(64, 64), frames=75, content="empty", audio=[Audio()])
    data = bytearray(source.read_bytes())
    header = packets(source, "audio")[15].pos or 0
    for _ in range(2):
        header = data.index(b"\0\0\1\xc0", header + 1)
        data[header + 9] ^= 0x08  # 13 hours
    source.write_bytes(data)
    done = run("video", source, tmp_path / "out.mp4", *QUICK, *PLAIN, "--json")
    assert {track for track, _, _ in damage_of(done)} == {"audio track 1"}
    assert probe(tmp_path / "out.mp4").frames == 75


def test_damage_beside_the_frames_that_are_wanted(tmp_path: Path) -> None:
    """At the keyframe that ``--start`` goes to, in a background, in the sound of a file that plays as the camera: what is whole is used."""
    source = clip(tmp_path / "in.mp4", audio=[Audio("ac3")])
    wall = tmp_path / "wall.mp4"
    wall.write_bytes(source.read_bytes())
    for path, at in ((source, 10), (wall, 5)):
        packet = packets(path)[at]
        assert packet.pos is not None
        spoil(path, packet.pos, packet.size)
    sound = packets(source, "audio")[3]
    assert sound.pos is not None
    spoil(source, sound.pos, 100)
    done = video(source, tmp_path / "out.mp4", "--bg", wall, "--no-stable", "--start", "0.6", "--duration", "0.4")
    # Without their keyframe at 10 the decoder gives no image of those up to 18.
    assert damage_of(done) == [("video", 4, 0)]
    assert probe(tmp_path / "out.mp4").frames == 6
    passes, heard = PlaybackSchedule(), []
    passes.add(time.monotonic(), 0.0)
    with closing(FileSound(str(source), passes)) as playing:
        playing.start(heard.append)
        wait_for(lambda: len(heard) > 8)
