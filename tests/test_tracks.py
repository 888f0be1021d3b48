"""Sound and subtitles on their way into one file, packet by packet and without a network: copied, transcoded, left out, and a live run's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, Subtitle, probe, write_clip
from scenes import blank
from test_faults import whole

from streammat.audio.track import RATE, Chunk
from streammat.config import EncodeOptions
from streammat.media.frame import Colour, Frame, Packet
from streammat.sinks.file import FileSink
from streammat.sinks.tracks import SoundTrack
from streammat.sources.file import FileSource
from streammat.sources.shaper import live_info

AUDIO = 1
"""Number of the first track after the image."""


def clip(path: Path, *audio: Audio, frames: int = 12, subtitles: tuple[Subtitle, ...] = (), **more: Any) -> Path:
    return write_clip(path, size=(64, 64), frames=frames, content="empty", audio=audio, subtitles=subtitles, **more)


def carried(source: Path, target: Path, change: Callable[[int, Packet], Packet | None] = lambda _, packet: packet) -> FileSink:
    """Every frame of ``source``, and what ``change`` makes of each packet and its number, in ``target``."""
    given = FileSource(str(source))
    sink = FileSink(str(target), given.info, "composite", EncodeOptions())
    number = 0
    for item in given:
        if isinstance(item, Frame):
            sink.write(item, whole(item))
            continue
        changed = change(number, item)
        number += 1
        if changed is not None:
            sink.copy(changed)
    given.close()
    sink.close()
    return sink


def replaced(packet: Packet, data: bytes) -> Packet:
    """``packet`` with other bytes."""
    other: Packet = av.Packet(data)
    other.stream, other.time_base, other.pts, other.dts, other.duration = packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration
    return other


def later(packet: Packet, ticks: int) -> Packet:
    packet.pts = packet.dts = packet.pts + ticks
    return packet


def packets(path: Path, track: int = AUDIO) -> list[tuple[Fraction, bytes]]:
    """Time in seconds and bytes of each packet of a track."""
    with av.open(str(path)) as given:
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in given.demux(given.streams[track]) if packet.size]


def sound(path: Path) -> tuple[np.ndarray, float]:
    """The first channel of the first sound track, as players hear it that count samples, and its first time in seconds."""
    with av.open(str(path)) as given:
        frames = list(given.decode(audio=0))
        resampler = av.AudioResampler("fltp", "mono", RATE)
        return np.concatenate([part.to_ndarray()[0] for frame in [*frames, None] for part in resampler.resample(frame)]), float(frames[0].time or 0.0)


def loud(wave: np.ndarray) -> np.ndarray:
    """Of each hundredth of a second: whether it is heard."""
    return np.array([np.abs(part).max() > 0.05 for part in np.split(wave[: len(wave) // 480 * 480], len(wave) // 480)])


@pytest.mark.parametrize(("codec", "kind", "target"), [
    ("aac", ".mp4", ".mkv"), ("aac", ".ts", ".mp4"), ("aac", ".ts", ".mov"), ("aac", ".ts", ".mkv"), ("libopus", ".mkv", ".webm"), ("libmp3lame", ".mkv", ".mp4"), ("pcm_s16le", ".mov", ".mkv"),
])
def test_copied(tmp_path: Path, codec: str, kind: str, target: str) -> None:
    """The same sound at the same times; its name and its language, and nothing else that the input says of it."""
    source = clip(tmp_path / f"in{kind}", Audio(codec, "deu" if kind != ".mov" else None, title="commentary" if kind != ".ts" else None))
    sink = carried(source, tmp_path / f"out{target}")
    assert (sink.notes, list(sink.damage)) == ([], [])
    before, after = packets(source), packets(tmp_path / f"out{target}")
    offset = before[0][0] - after[0][0]
    assert kind == ".ts" or abs(offset) < 0.002  # also what AAC has before zero, for which nothing else is moved
    if kind == ".ts":
        before = [(time, data[7:]) for time, data in before]  # the header of each, for which the file has one
    assert [data for _, data in after] == [data for _, data in before]
    assert max(abs(old - new - offset) for (old, _), (new, _) in zip(before, after, strict=True)) < 0.002
    (track,) = probe(tmp_path / f"out{target}").audio
    assert track.language == (None if kind == ".mov" else "ger" if target == ".mov" else "deu")


@pytest.mark.parametrize(("track", "target", "encoder", "layout", "rate"), [
    (Audio("aac", "fra", title="two"), ".webm", "libopus", "stereo", 48000), (Audio("aac", rate=22050, layout="mono"), ".webm", "libopus", "mono", 48000),
    (Audio("ac3", layout="5.1"), ".webm", "libopus", "5.1", 48000), (Audio("flac", rate=44100), ".mov", "aac", "stereo", 44100), (Audio("aac", rate=44100), ".mxf", "pcm_s24le", "stereo", 48000),
    (Audio("pcm_s16le", rate=24000), ".webm", "libopus", "stereo", 24000),
])
def test_transcoded(tmp_path: Path, track: Audio, target: str, encoder: str, layout: str, rate: int) -> None:
    """The tone is where it was, as long as it was, in as many channels, and it is told."""
    source = write_clip(tmp_path / "in.mkv", size=(256, 128), frames=25, content="empty", audio=[track])
    sink = carried(source, tmp_path / f"out{target}")
    name = av.Codec(track.codec, "w").canonical_name
    told = [note for note in sink.notes if "track" in note]
    assert told == [f"out{target}: audio track 1 ({name}) becomes {encoder}; the container cannot hold it"]
    with av.open(str(tmp_path / f"out{target}")) as given:
        made = given.streams.audio[0]
        assert (made.codec_context.layout.nb_channels, made.codec_context.sample_rate) == ({"mono": 1, "stereo": 2, "5.1": 6}[layout], 48000 if encoder == "libopus" else rate)
        assert (made.metadata.get("language"), made.metadata.get("title")) == (track.language, track.title)
    wave, begin = sound(tmp_path / f"out{target}")
    heard = np.flatnonzero(np.abs(wave) > 0.05) / RATE + begin
    assert abs(heard[0]) < 0.03
    assert abs(heard[-1] - 1) < 0.03
    middle = wave[RATE // 4 : RATE * 3 // 4]
    assert abs(np.argmax(np.abs(np.fft.rfft(middle))) * 2 - 440) < 4
    assert abs(np.sqrt((middle**2).mean()) / np.sqrt((sound(source)[0][RATE // 4 : RATE * 3 // 4] ** 2).mean()) - 1) < 0.05


@pytest.mark.parametrize(("codec", "target"), [("aac", ".webm"), ("pcm_u8", ".webm"), ("flac", ".mxf")])
def test_a_hole_becomes_silence_of_its_length(tmp_path: Path, codec: str, target: str) -> None:
    """For players that count samples; and what is too short for a packet, as rounded times are, is no hole."""
    source = write_clip(tmp_path / "in.mkv", size=(256, 128), frames=25, content="empty", audio=[Audio(codec)])
    carried(source, tmp_path / f"whole{target}")
    carried(source, tmp_path / f"out{target}", lambda _, packet: None if 0.4 <= packet.pts * packet.time_base < 0.7 else packet)
    full, (wave, _) = sound(tmp_path / f"whole{target}")[0], sound(tmp_path / f"out{target}")
    assert abs(len(wave) - len(full)) < 0.01 * RATE
    assert loud(full)[5:95].all()
    heard = loud(wave)
    assert heard[5:38].all()
    assert not heard[50:67].any()
    assert heard[80:95].all()


@pytest.mark.parametrize(("late", "seconds"), [(9, 10), (11, 1)])
def test_a_hole_that_is_of_the_input_stays(tmp_path: Path, late: int, seconds: int) -> None:
    """Ten seconds are filled; more is left as it is, and the times tell."""
    source = clip(tmp_path / "in.mkv", Audio("flac"), frames=25)
    carried(source, tmp_path / "out.webm", lambda _, packet: later(packet, 1000 * late) if packet.pts * packet.time_base >= 0.5 else packet)
    wave, _ = sound(tmp_path / "out.webm")
    assert abs(len(wave) / RATE - seconds) < 0.05
    assert abs(float(packets(tmp_path / "out.webm")[-1][0]) - 1 - late) < 0.05


@pytest.mark.parametrize("start", [-0.2, 0.0, 0.3])
def test_sound_of_a_container_without_times_begins_with_the_image(tmp_path: Path, start: float) -> None:
    """What is earlier is left out, and silence comes before what is later."""
    source = write_clip(tmp_path / "in.mkv", size=(256, 128), frames=25, content="empty", offset=Fraction(1), audio=[Audio("flac", start=start, seconds=1.0)])
    carried(source, tmp_path / "out.mxf")
    wave, begin = sound(tmp_path / "out.mxf")
    assert begin == 0.0
    heard = np.flatnonzero(np.abs(wave) > 0.05) / RATE
    assert abs(heard[0] - max(0.0, start)) < 0.1 + 0.001  # a packet of FLAC lies over the beginning
    end = min(1.0, 1.0 + start)  # of the image, with which the file ends
    assert abs(heard[-1] - end) < 0.1
    assert loud(wave)[round(100 * max(0.0, start)) + 10 : round(100 * end) - 10].all()


@pytest.mark.parametrize(("codec", "kind", "target"), [("aac", ".mp4", ".mkv"), ("aac", ".ts", ".mp4"), ("ac3", ".mkv", ".webm"), ("libmp3lame", ".mkv", ".mov")])
def test_damaged_packets_are_left_out_and_counted(tmp_path: Path, codec: str, kind: str, target: str) -> None:
    source = clip(tmp_path / f"in{kind}", Audio(codec), frames=25)
    times = [float(time) for time, _ in packets(source)]
    sink = carried(source, tmp_path / f"out{target}", lambda number, packet: replaced(packet, b"\xff" * 100) if number in (6, 12) else packet)
    (found,) = sink.damage
    places = [{"from": round(times[number], 3), "to": round(times[number], 3), "frame": None} for number in (6, 12)]
    if abs(times[12] - times[6]) <= 1:  # so near each other they are one place
        places = [{"from": places[0]["from"], "to": places[1]["to"], "frame": None}]
    assert found.as_dict() == {"track": "audio track 1", "what": "damaged packets are left out", "count": 2, "places": places}
    after = packets(tmp_path / f"out{target}")
    if target != ".webm":
        assert len(after) == len(times) - 2


@pytest.mark.parametrize("target", ["out.mp4", "out.mov"])
def test_what_mp4_cannot_say_is_left_out(tmp_path: Path, target: str) -> None:
    """A hole of more ticks than FFmpeg holds out; the packets after it come again where they belong."""
    source = clip(tmp_path / "in.mkv", Audio("aac"), frames=25)
    sink = carried(source, tmp_path / target, lambda number, packet: later(packet, 50_000_000) if number == 19 else packet)
    assert len(packets(tmp_path / target)) == len(packets(source)) - 1
    (found,) = sink.damage
    assert str(found).startswith("audio track 1: 1 damaged packet is left out, at 13:53:20.")


def test_a_time_that_comes_twice(tmp_path: Path) -> None:
    """A packet that the output refuses is left out as a damaged one, and what comes after it is not."""
    source = clip(tmp_path / "in.mkv", Audio("aac"), frames=25)
    sink = carried(source, tmp_path / "out.mp4", lambda number, packet: later(packet, -300) if number == 19 else packet)
    assert [each.count for each in sink.damage] == [1]
    assert len(packets(tmp_path / "out.mp4")) == len(packets(source)) - 1


def test_a_file_that_begins_late(tmp_path: Path) -> None:
    """Such as a recording of a transport stream that has run for half a day."""
    source = clip(tmp_path / "in.mkv", Audio("aac"), frames=12, offset=40_000)
    sink = carried(source, tmp_path / "out.mp4")
    assert list(sink.damage) == []
    assert len(packets(tmp_path / "out.mp4")) == len(packets(source))
    assert abs(float(packets(tmp_path / "out.mp4")[5][0] - packets(source)[5][0])) < 0.05


@pytest.mark.parametrize(("codec", "kind", "target"), [("subrip", ".mkv", ".mp4"), ("ass", ".mkv", ".mp4"), ("mov_text", ".mp4", ".mkv"), ("ass", ".mkv", ".mov"), ("mov_text", ".mp4", ".mov"), ("subrip", ".mkv", ".mkv")])
def test_lines_of_subtitles(tmp_path: Path, codec: str, kind: str, target: str) -> None:
    """The same words for as long at the same times; and a note where none can be."""
    source = clip(tmp_path / f"in{kind}", subtitles=(Subtitle(codec, "fra"),))
    sink = carried(source, tmp_path / f"out{target}")
    assert sink.notes == []
    (track,) = probe(tmp_path / f"out{target}").subtitles
    assert track.language == "fra"
    lines = [data for _, data in packets(tmp_path / f"out{target}") if data not in (b"", b"\0\0")]
    assert [line[2:] if target != ".mkv" else line for line in lines] == [b"line 0", b"line 1"]
    if target != ".mkv":
        assert [int.from_bytes(line[:2], "big") for line in lines] == [6, 6]
    times = [time for time, data in packets(tmp_path / f"out{target}") if data not in (b"", b"\0\0")]
    assert [round(float(time), 2) for time in times] == [0.04, 0.2]
    assert carried(source, tmp_path / "out.webm").notes == [f"out.webm: subtitle track 1 ({codec}) is left out; the container cannot hold it"]


def test_breaks_and_length_of_a_line(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", subtitles=(Subtitle("ass"),))
    texts = [rb"0,0,Default,,0,0,0,,one, two\Nthree  ", b"1,0,Default,,0,0,0,," + b"x" * 70_000]
    carried(source, tmp_path / "out.mp4", lambda number, packet: replaced(packet, texts[number]))
    found = [data for _, data in packets(tmp_path / "out.mp4") if data != b"\0\0"]
    assert found == [b"\0\x0eone, two\nthree", b"\xff\xff" + b"x" * 65_535]


def live(path: Path, channels: int, *chunks: tuple[int, int], first: Fraction = Fraction(1, 2), hear_early: bool = False) -> FileSink:
    """A live recording of half a second from ``first`` on, with chunks of a loud tone that begin and end at such samples."""
    sink = FileSink(str(path), live_info((64, 64), Fraction(25), Colour(1, 1, 1, 1)), "composite", EncodeOptions(), live=True, from_zero=True, channels=channels)

    def hear() -> None:
        for begin, end in chunks:
            wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(begin, end) / RATE)
            sink.hear(Chunk(begin, np.stack([wave] * channels, 1).astype(np.float32)))

    if hear_early:
        hear()
    for index in range(25):
        image = blank("yuv420p", 64, 64, Colour(1, 1, 1, 1), pts=round((first + Fraction(index, 25)) * 90_000), time_base=Fraction(1, 90_000))
        sink.write(image, whole(image))
    if not hear_early:
        hear()
    sink.close()
    return sink


@pytest.mark.parametrize(("name", "channels"), [("out.mkv", 1), ("out.mp4", 2), ("out.webm", 2)])
def test_a_live_run_s_sound(tmp_path: Path, name: str, channels: int) -> None:
    """It begins with the first image, at zero: earlier sound is left out, and holes, also long ones, become silence."""
    live(tmp_path / name, channels, (0, 12_000), (12_000, 36_000), (40_800, 48_000), (168_000, 177_600))
    wave, begin = sound(tmp_path / name)
    assert abs(begin) < 0.03
    with av.open(str(tmp_path / name)) as given:
        assert given.streams.audio[0].codec_context.layout.nb_channels == channels
    heard = loud(wave)
    shift = round(-begin * 100)
    for start, end, expected in ((0.02, 0.23, True), (0.27, 0.33, False), (0.37, 0.48, True), (0.53, 2.97, False), (3.03, 3.17, True)):
        assert (heard[round(start * 100) + shift : round(end * 100) + shift] == expected).all(), (start, heard)
    assert -0.003 < len(wave) / RATE + begin - 3.2 < 0.05  # to the last sample, and no more than one packet of the codec


def test_sound_before_the_first_image_is_not_waited_for(tmp_path: Path) -> None:
    live(tmp_path / "out.mkv", 1, (0, 48_000), hear_early=True)
    with av.open(str(tmp_path / "out.mkv")) as given:
        assert sum(packet.size for packet in given.demux(given.streams.audio[0])) == 0


def test_every_sample_of_a_live_run(tmp_path: Path) -> None:
    """Without loss: from the first sample after the beginning on, each in its place, and zeros where there was nothing."""
    wave = np.random.default_rng(4).integers(-9000, 9000, (120_000, 2)) / 32768
    with av.open(str(tmp_path / "out.wav"), "w") as container:
        track = SoundTrack(container, "pcm_s16le", 2)
        assert list(track.carry(Chunk(0, wave[:960].astype(np.float32)))) == []  # nothing has begun
        track.begin(Fraction(1001, 1_000_000))
        track.begin(Fraction(9))
        made = [packet for at in (0, 960, 1920, 2400, 100_000) for packet in track.carry(Chunk(at, wave[at : at + 960].astype(np.float32)))]
        for packet in [*made, *track.finish()]:
            container.mux(packet)
    with av.open(str(tmp_path / "out.wav")) as given:
        assert given.streams.audio[0].codec_context.layout.nb_channels == 2
        found = np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in given.decode(audio=0)])
    expected = wave[:100_960] * 32768
    expected[3360:100_000] = 0
    assert np.array_equal(found, np.rint(expected[49:]))
