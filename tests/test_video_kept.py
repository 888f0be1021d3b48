"""What ``streammat video`` keeps: sound, subtitles, chapters, metadata, shape, and the part that was asked for."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from media import (
    BT709,
    Audio,
    Subtitle,
    alpha_of,
    frames_of,
    greys_of,
    matched,
    person,
    probe,
    still_of,
    write_clip,
)
from running import video

from streammat.audio.source import FileSound
from streammat.media.frame import Frame
from streammat.sources.file import FileSource
from streammat.sources.playback import PlaybackSource
from streammat.sources.shaper import Clock
from streammat.timecode import parse_moment

SOUNDS = {
    "aac": (".mp4", "aac"), "mp3": (".mp4", "libmp3lame"), "ac3": (".mp4", "ac3"), "opus": (".mkv", "libopus"),
    "flac": (".mkv", "flac"), "pcm": (".mov", "pcm_s16le"), "pcm24": (".mov", "pcm_s24le"), "vorbis": (".mkv", "vorbis"),
    "mp2": (".ts", "mp2"),
    "ts-aac": (".ts", "aac"), "flv-aac": (".flv", "aac"), "avi-mp3": (".avi", "libmp3lame"), "avi-pcm": (".avi", "pcm_s16le"),
}  # fmt: skip
"""Name: container of the input, encoder."""
HOLDS = {
    ".mp4": {"aac", "ts-aac", "flv-aac", "mp3", "ac3", "opus", "flac", "mp2", "avi-mp3"},
    ".mov": {"aac", "ts-aac", "flv-aac", "mp3", "ac3", "pcm", "pcm24", "mp2", "avi-mp3", "avi-pcm"},
    ".mkv": set(SOUNDS),
    ".webm": {"opus", "vorbis"},
}
"""What each output can hold as it is."""


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_audio_is_copied_where_the_container_can_hold_it(tmp_path: Path, sound: str, target: str) -> None:
    """Bit for bit the same packets; else one that plays, and a note that says so."""
    suffix, codec = SOUNDS[sound]
    source = write_clip(
        tmp_path / f"in{suffix}", audio=[Audio(codec, "eng" if suffix not in {".avi", ".flv"} else None)], frames=10
    )
    before = probe(source)
    report = video(source, tmp_path / f"out{target}", "--bg", "green").ok().report
    after = probe(tmp_path / f"out{target}")
    assert len(after.audio) == 1
    old, new = before.audio[0], after.audio[0]
    assert new.language == old.language
    assert abs(new.seconds - old.seconds) < Fraction(8, 100)
    assert old.start is not None
    assert new.start is not None
    assert abs((new.start - after.times[0]) - (old.start - before.times[0])) < Fraction(3, 100)
    if sound in HOLDS[target]:
        assert new.codec.removesuffix("float") == old.codec.removesuffix("float") or {old.codec, new.codec} == {"mp2", "mp3float"}
        assert new.sha256 == old.sha256
        assert new.packets == old.packets
        assert not any("audio" in note for note in report["notes"])
    elif new.sha256 != old.sha256:
        assert any("audio" in note for note in report["notes"]), report["notes"]


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
def test_every_audio_track_is_kept(tmp_path: Path, target: str) -> None:
    """Three tracks with languages stay three tracks in the same order."""
    tracks = [Audio("aac", "eng", pitch=300), Audio("ac3", "fra", pitch=400), Audio("aac", "ger", layout="mono", rate=44100)]
    source = write_clip(tmp_path / "in.mkv", audio=tracks)
    before = probe(source)
    video(source, tmp_path / f"out{target}", "--bg", "green").ok()
    after = probe(tmp_path / f"out{target}")
    assert [(t.codec, t.language, t.sha256) for t in after.audio] == [(t.codec, t.language, t.sha256) for t in before.audio]


@pytest.mark.parametrize(("target", "exact"), [(".mkv", True), (".mp4", False)])
def test_which_tracks_play_by_themselves_is_kept(tmp_path: Path, target: str, exact: bool) -> None:
    """The second language first, a commentary, forced subtitles. MP4 has subtitles switched on or off, too."""
    plain = write_clip(tmp_path / "plain.mkv", audio=[Audio("aac", "eng"), Audio("aac", "fra")], subtitles=[Subtitle()])
    marks = {1: Disposition.comment, 2: Disposition.default, 3: Disposition.forced}
    with av.open(str(plain)) as given, av.open(str(tmp_path / "in.mkv"), "w") as made:
        tracks = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for index, mark in marks.items():
            tracks[index].disposition = mark
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                made.mux(packet)
    video(tmp_path / "in.mkv", tmp_path / f"out{target}", "--bg", "green").ok()
    with av.open(str(tmp_path / f"out{target}")) as after:
        found = {stream.index: stream.disposition for stream in after.streams if stream.index in marks}
    assert found == marks if exact else all(found[index] & mark for index, mark in marks.items())
    assert not found[1] & Disposition.default


def test_duration_ends_where_it_says(tmp_path: Path) -> None:
    """Not at the end of the file, though a track has ended long before: what is broken far behind does not matter."""
    source = write_clip(tmp_path / "in.mkv", codec="ffv1", size=(64, 64), frames=200, content="pattern", audio=[Audio("flac", seconds=0.2)])
    data = bytearray(source.read_bytes())
    data[len(data) * 9 // 10 :] = b"\x55" * (len(data) - len(data) * 9 // 10)
    source.write_bytes(data)
    video(source, tmp_path / "all.mkv", "--bg", "green").refused(1, "in.mkv")
    video(source, tmp_path / "out.mkv", "--bg", "green", "--duration", "0.4").ok()
    assert probe(tmp_path / "out.mkv").frames == 10


@pytest.mark.parametrize("track", [
    Audio("aac", layout="5.1"), Audio("aac", layout="mono", rate=44100), Audio("aac", rate=22050), Audio("flac", rate=96000),
], ids=["5.1", "mono", "22k", "96k"])  # fmt: skip
def test_transcoded_audio_keeps_its_channels_and_its_length(tmp_path: Path, track: Audio) -> None:
    """Opus knows five rates only; channels and times stay."""
    source = write_clip(tmp_path / "in.mkv", audio=[track], frames=25)
    video(source, tmp_path / "out.webm", "--bg", "green").ok()
    with av.open(str(tmp_path / "out.webm")) as clip:
        sound = clip.streams.audio[0]
        assert sound.codec_context.layout.nb_channels == {"5.1": 6, "mono": 1, "stereo": 2}[track.layout]
        frames = [frame.to_ndarray()[0] for frame in clip.decode(sound)]
    wave = np.concatenate(frames)
    assert abs(len(wave) / 48000 - 1) < 0.05
    # The tone is the one that went in: 440 Hz, at its level.
    loud = wave[9600:38400]
    peak = np.argmax(np.abs(np.fft.rfft(loud))) * 48000 / len(loud)
    assert abs(peak - 440) < 4
    assert abs(np.sqrt((loud**2).mean()) - 0.2 / np.sqrt(2)) < 0.03


def test_audio_longer_than_the_image(tmp_path: Path) -> None:
    """Sound that goes on after the last frame is not cut."""
    source = write_clip(tmp_path / "in.mp4", audio=[Audio(seconds=2.0)], frames=6)
    video(source, tmp_path / "out.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "out.mp4").audio[0].sha256 == probe(source).audio[0].sha256


def test_audio_shorter_than_the_image(tmp_path: Path) -> None:
    """Images after the end of the sound are not cut."""
    source = write_clip(tmp_path / "in.mp4", audio=[Audio(seconds=0.1)], frames=12)
    video(source, tmp_path / "out.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "out.mp4").frames == 12
    assert probe(tmp_path / "out.mp4").audio[0].sha256 == probe(source).audio[0].sha256


def test_no_audio(tmp_path: Path) -> None:
    """``--no-audio`` leaves the sound out, and a file without sound needs no option."""
    source = write_clip(tmp_path / "in.mp4", audio=[Audio(), Audio()])
    video(source, tmp_path / "out.mp4", "--bg", "green", "--no-audio").ok()
    assert probe(tmp_path / "out.mp4").audio == ()
    silent = write_clip(tmp_path / "silent.mp4")
    video(silent, tmp_path / "silent_out.mp4", "--bg", "green").ok()
    assert probe(tmp_path / "silent_out.mp4").audio == ()


def test_beside_files_carry_no_sound(tmp_path: Path) -> None:
    """The matte is an image only."""
    source = write_clip(tmp_path / "in.mp4", audio=[Audio()])
    video(source, tmp_path / "out.mp4", "--bg", "green", "--matte", tmp_path / "matte.mp4").ok()
    assert len(probe(tmp_path / "out.mp4").audio) == 1
    assert probe(tmp_path / "matte.mp4").audio == ()


@pytest.mark.parametrize(("kind", "codec"), [(".mkv", "subrip"), (".mkv", "ass"), (".mp4", "mov_text"), (".webm", "webvtt")])
@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov", ".webm"])
def test_subtitles_are_kept_where_the_container_can(tmp_path: Path, kind: str, codec: str, target: str) -> None:
    """Same lines at the same times, or a note."""
    source = write_clip(
        tmp_path / f"in{kind}", codec="libvpx-vp9" if kind == ".webm" else "libx264", subtitles=[Subtitle(codec), Subtitle(codec, "fra")],
        frames=12,
    )  # fmt: skip
    before = probe(source)
    assert len(before.subtitles) == 2
    report = video(source, tmp_path / f"out{target}", "--bg", "green").ok().report
    after = probe(tmp_path / f"out{target}")
    if target == ".webm" and codec != "webvtt":
        assert len(after.subtitles) == 2 or any("subtitle" in note for note in report["notes"])
        if not after.subtitles:
            return
    elif target == ".mkv":
        assert [t.texts for t in after.subtitles] == [t.texts for t in before.subtitles] or codec in {"mov_text", "webvtt"}
    assert [t.language for t in after.subtitles] == ["eng", "fra"]
    for track in after.subtitles:
        joined = b" ".join(track.texts)
        assert b"line 0" in joined
        assert b"line 1" in joined
        assert b"Default" not in joined or codec == "ass"


UNNAMED = {
    # Blu-ray's subtitles: one display set without an object, its composition (0x16) and its end (0x80).
    "hdmv_pgs_subtitle": (".mkv", b"\x16\0\x0b" + bytes([0, 64, 0, 64, 0x10, 0, 1, 0x80, 0, 0, 0]) + b"\x80\0\0"),
    # DVD's: the size of the whole, where its commands begin, and one command, the end.
    "dvdsub": (".mkv", bytes([0, 10, 0, 4, 0, 0, 0, 4, 0xFF, 0])),
    # A telephone's sound: 20 ms in which nothing was sent.
    "amr_nb": (".3gp", b"\x7c"),
}
"""Codecs whose decoder in FFmpeg has another name than they: container, one packet."""


@pytest.mark.parametrize(("codec", "target", "kept"), [
    ("hdmv_pgs_subtitle", ".mkv", True), ("dvdsub", ".mkv", True), ("dvdsub", ".mp4", True), ("hdmv_pgs_subtitle", ".mp4", False),
    ("amr_nb", ".mov", True),
])  # fmt: skip
def test_a_codec_whose_decoder_has_another_name_is_copied(tmp_path: Path, codec: str, target: str, kept: bool) -> None:
    """Byte for byte where the output's container takes it."""
    suffix, payload = UNNAMED[codec]
    source = tmp_path / f"in{suffix}"
    plain = write_clip(tmp_path / "plain.mkv", frames=6, size=(64, 64))
    with av.open(str(plain)) as given, av.open(str(source), "w") as made:
        image = made.add_stream_from_template(given.streams.video[0])
        # FFmpeg encodes DVD's only; that makes the track's header.
        other = made.add_stream(codec) if codec == "dvdsub" else made.add_mux_stream(codec, 8000 if codec == "amr_nb" else None)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = image
                made.mux(packet)
        piece = av.Packet(payload)
        piece.stream, piece.time_base, piece.pts, piece.dts, piece.duration = other, Fraction(1, 1000), 40, 40, 20
        made.mux(piece)
    before = probe(source)
    (old,) = before.audio + before.subtitles
    notes = video(source, tmp_path / f"out{target}", "--bg", "green").ok().report["notes"]
    after = probe(tmp_path / f"out{target}")
    if kept:
        (new,) = after.audio + after.subtitles
        assert (new.codec, new.sha256) == (old.codec, old.sha256)
        assert not notes
    else:
        assert any("left out" in note for note in notes)


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("kind", [".mkv", ".mp4", ".mov"])
def test_chapters_are_kept(tmp_path: Path, kind: str, target: str) -> None:
    """Names and places of chapters, and no stray tracks from them."""
    chapters = [(0.0, 0.12, "First"), (0.12, 0.4, "Second")]
    source = write_clip(tmp_path / f"in{kind}", chapters=chapters, frames=10, audio=[Audio()])
    before = probe(source)
    video(source, tmp_path / f"out{target}", "--bg", "green").ok()
    after = probe(tmp_path / f"out{target}")
    assert [title for *_, title in after.chapters] == ["First", "Second"]
    for old, new in zip(before.chapters, after.chapters, strict=True):
        assert abs(old[0] - new[0]) < Fraction(2, 1000)
        assert abs(old[1] - new[1]) < Fraction(2, 1000)
    assert after.subtitles == ()
    # QuickTime files show their own chapter track as one more stream; there must be one at most.
    assert after.streams.count("subtitle") <= 1


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov", ".webm"])
def test_metadata_is_kept(tmp_path: Path, target: str) -> None:
    """Tags of the file go on to the output."""
    tags = {"title": "A title", "artist": "Somebody", "comment": "ünïcode — ok", "date": "2024-05-06"}
    source = write_clip(tmp_path / "in.mp4", metadata=tags)
    video(source, tmp_path / f"out{target}", "--bg", "green").ok()
    after = probe(tmp_path / f"out{target}").metadata
    for key, value in probe(source).metadata.items():
        assert after.get(key) == value, key


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_tags_that_are_not_utf8(tmp_path: Path, suffix: str) -> None:
    """Old AVI files and some telephones write Latin-1: the file is an input, a background and a camera like any other."""
    source = write_clip(tmp_path / f"in{suffix}", frames=4, size=(64, 64), metadata={"title": "Caf@"}, audio=[Audio()], options={"bf": "0"})
    stored = source.read_bytes()
    assert b"Caf@" in stored
    source.write_bytes(stored.replace(b"Caf@", b"Caf\xe9"))
    video(source, tmp_path / "out.mp4", "--bg", source).ok()
    assert probe(tmp_path / "out.mp4").metadata["title"] == "Café"
    with closing(PlaybackSource(str(source), Clock())) as camera:
        assert camera.info.size == (64, 64)
    FileSound(str(source), camera.passes).close()


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv"])
def test_timecode_is_kept(tmp_path: Path, kind: str, target: str) -> None:
    """Film tools find a clip's place by its timecode."""
    source = write_clip(tmp_path / f"in{kind}", timecode="10:20:30:12", frames=4)
    assert probe(source).timecode == "10:20:30:12"
    video(source, tmp_path / f"out{target}", "--bg", "green").ok()
    assert probe(tmp_path / f"out{target}").timecode == "10:20:30:12"


@pytest.mark.parametrize(("suffix", "rate", "begin", "start", "expected"), [
    (".mp4", Fraction(25), "10:20:30:12", "0.52", "10:20:31:00"), (".mkv", Fraction(25), "23:59:59:20", "0.3", "00:00:00:03"),
    (".mov", Fraction(30000, 1001), "00:00:59;20", "0.5", "00:01:00;07"), (".mov", Fraction(30000, 1001), "00:09:59;20", "00:00:00:15", "00:10:00;05"),
])  # fmt: skip
def test_start_moves_the_timecode(tmp_path: Path, suffix: str, rate: Fraction, begin: str, start: str, expected: str) -> None:
    """To that of the first frame which is kept; drop-frame timecodes skip two numbers each minute but every tenth."""
    source = write_clip(tmp_path / f"in{suffix}", timecode=begin, frames=20, rate=rate, size=(64, 64), options={"bf": "2", "g": "5"})
    video(source, tmp_path / f"out{suffix}", "--bg", "green", "--start", start).ok()
    assert probe(tmp_path / f"out{suffix}").timecode == expected


@pytest.mark.parametrize(("text", "rate", "day"), [
    ("00:00:00:00", Fraction(25), 2_160_000), ("00:00:00;00", Fraction(30000, 1001), 2_589_408), ("00:00:00;00", Fraction(60000, 1001), 5_178_816),
])  # fmt: skip
def test_timecodes_count_frames(text: str, rate: Fraction, day: int) -> None:
    """Each names the frame that it was counted to, and a day later they begin anew."""
    begin = parse_moment(text)
    for frame in range(0, 80_000, 7):
        assert begin.later(frame, rate).at(rate) * rate == frame
    assert begin.later(day - 1, rate).later(1, rate) == begin


INTERLACED: dict[str, Any] = {
    "codec": "mpeg2video", "frames": 6, "content": "pattern", "size": (96, 64), "options": {"flags": "+ildct+ilme+qscale"},
}  # fmt: skip
MARKS = {"tff": 2, "bff": 3}
"""FFmpeg's AVFieldOrder."""


@pytest.mark.parametrize("fields", MARKS)
@pytest.mark.parametrize(("target", "codec", "kept"), [
    ("out.mkv", "h264", True), ("out.mov", "prores", True), ("out.mkv", "ffv1", True), ("out.mkv", "hevc", False), ("out.webm", "vp9", False),
])  # fmt: skip
def test_interlaced_video_stays_so_where_the_codec_can(tmp_path: Path, fields: Any, target: str, codec: str, kept: bool) -> None:
    """With its field order, in the matte too; and it is said either way."""
    source = write_clip(tmp_path / "in.ts", fields=fields, **INTERLACED)
    matte = tmp_path / f"matte{Path(target).suffix}"
    report = video(source, tmp_path / target, "--bg", "green", "--codec", codec, "--matte", matte).ok().report
    word = {"tff": "top", "bff": "bottom"}[fields]
    assert any(f"is interlaced, {word} field first" in note for note in report["notes"])
    assert any(target in note and ("marked as progressive" in note) != kept and "field" in note for note in report["notes"])
    for path in (tmp_path / target, matte) if kept else (tmp_path / target,):
        with av.open(str(path)) as written:
            frames = list(written.decode(video=0))
            assert written.streams.video[0].codec_context.field_order == (MARKS[fields] if kept else 0) or not kept
        assert len(frames) == 6
        assert {frame.interlaced_frame for frame in frames} == {kept}


def test_h264_of_a_height_that_holds_no_fields(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", fields="tff", **{**INTERLACED, "codec": "ffv1", "size": (96, 66), "options": {}})
    notes = video(source, tmp_path / "out.mp4", "--bg", "green").ok().report["notes"]
    assert any("marked as progressive" in note for note in notes)
    assert probe(tmp_path / "out.mp4").size == (96, 66)


@pytest.mark.parametrize("fields", MARKS)
def test_deinterlace(tmp_path: Path, fields: Any) -> None:
    """As many frames at the same times, without the comb that two moments make, and progressive."""
    source = write_clip(tmp_path / "in.ts", fields=fields, audio=[Audio()], **INTERLACED)

    def comb(**options: bool) -> float:
        """How much more neighbouring lines differ than every second one does."""
        with closing(FileSource(str(source), **options)) as opened:
            lumas = [item.planes[0].astype(np.float32) for item in opened if isinstance(item, Frame)]
        assert len(lumas) == 6
        return float(np.mean([np.abs(np.diff(luma, axis=0)).mean() - np.abs(luma[2:] - luma[:-2]).mean() for luma in lumas]))

    assert comb(deinterlace=True) < 0 < comb()
    report = video(source, tmp_path / "out.mp4", "--bg", "green", "--deinterlace").ok().report
    assert any("--deinterlace" in note for note in report["notes"])
    assert report["frames_out"] == 6
    assert [round(time * 1000) for time in probe(tmp_path / "out.mp4").times] == [round(time * 1000) for time in probe(source).times]
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert not any(frame.interlaced_frame for frame in written.decode(video=0))
    video(source, tmp_path / "part.mp4", "--bg", "green", "--deinterlace", "--start", "0.08", "--duration", "0.12").ok()
    assert probe(tmp_path / "part.mp4").frames == 3


def test_measurements_of_the_camera_are_left_out_with_a_note(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "drone.ts", frames=4)
    with av.open(str(source)) as plain, av.open(str(tmp_path / "klv.ts"), "w") as out:
        picture = out.add_stream_from_template(plain.streams.video[0])
        data = out.add_data_stream("klv")
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                out.mux(packet)
        note = av.Packet(b"position")
        note.stream, note.pts, note.dts, note.time_base = data, 90000, 90000, Fraction(1, 90000)
        out.mux(note)
    notes = video(tmp_path / "klv.ts", tmp_path / "out.mp4").ok().report["notes"]
    assert notes == ["track 1 (data) is left out"]


@pytest.mark.parametrize(("target", "codec"), [
    (".mkv", "h264"), (".mkv", "hevc"), (".mkv", "vp9"), (".mkv", "av1"), (".mp4", "h264"), (".mp4", "av1"), (".mov", "h264"),
    (".mov", "prores"), (".webm", "vp9"),
])  # fmt: skip
@pytest.mark.parametrize("sar", [Fraction(4, 3), Fraction(8, 9)])
def test_sample_aspect_ratio_is_kept(tmp_path: Path, target: str, codec: str, sar: Fraction) -> None:
    """Anamorphic images stay anamorphic; where that cannot be, it is said."""
    source = write_clip(tmp_path / "in.mkv", sar=sar, frames=3)
    assert probe(source).sar == sar
    report = video(source, tmp_path / f"out{target}", "--bg", "green", "--codec", codec).ok().report
    if codec in {"vp9", "av1"} and target != ".mp4" and any("aspect" in note for note in report["notes"]):
        return
    assert probe(tmp_path / f"out{target}").sar == sar


@pytest.mark.parametrize("target", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_kept(tmp_path: Path, target: str, rotation: int) -> None:
    """Images stay as they are stored, and the tag that turns them stays too."""
    source = write_clip(tmp_path / "in.mp4", size=(160, 96), rotation=rotation, frames=4)
    before = probe(source)
    assert before.rotation == rotation
    front = tmp_path / f"front{target}"
    video(source, tmp_path / f"out{target}", "--bg", "green", "--foreground", front, "--no-decontaminate").ok()
    for path in (tmp_path / f"out{target}", front):
        after = probe(path)
        assert (after.rotation, after.size) == (rotation, (160, 96))
    assert matched(frames_of(front), frames_of(source)) == [0, 1, 2, 3]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_stills_of_a_rotated_video_are_upright(tmp_path: Path, rotation: int) -> None:
    """A still has no tag, so it is turned itself."""
    source = write_clip(tmp_path / "in.mp4", size=(160, 96), rotation=rotation, frames=2)
    video(source, tmp_path / "out.%03d.png", "--bg", "green", "--foreground", tmp_path / "f.%03d.png", "--no-decontaminate").ok()
    for index in (0, 1):
        still = still_of(tmp_path / f"f.{index + 1:03d}.png")
        assert still.shape[:2] == ((160, 96) if rotation % 180 else (96, 160))
        shown = still.max(2) > 40
        assert np.abs(still[shown].astype(float) - person(index, still.shape[1], still.shape[0])[shown]).mean() < 8


def test_a_rotated_person_is_found_as_well_as_an_upright_one(tmp_path: Path) -> None:
    """The network sees the image upright: the matte of a turned file is the turned matte."""
    upright = write_clip(tmp_path / "up.mp4", size=(160, 128), frames=3, content="person")
    turned = write_clip(tmp_path / "turned.mp4", size=(128, 160), frames=3, content="person", rotation=90)
    mattes = []
    for source in (upright, turned):
        target = tmp_path / f"{source.stem}.matte.mkv"
        video(source, tmp_path / f"{source.stem}.out.mkv", "--bg", "green", "--matte", target).ok()
        mattes.append(greys_of(target))
    for straight, other in zip(*mattes, strict=True):
        assert np.abs(np.rot90(other) - straight).mean() < 0.02


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize(("start", "duration", "expected"), [
    (0.2, None, range(5, 20)), (0.0, 0.2, range(5)), (0.2, 0.2, range(5, 10)), (0.21, 0.2, range(6, 11)), (0.0, 99.0, range(20)),
])  # fmt: skip
def test_start_and_duration(tmp_path: Path, target: str, start: float, duration: float | None, expected: range) -> None:
    """Exactly the frames asked for, with the sound that belongs to them."""
    source = write_clip(
        tmp_path / "in.mp4", frames=20, audio=[Audio("aac")], options={"preset": "veryfast", "bf": "2", "g": "8"}, tags=BT709
    )
    front = tmp_path / f"front{Path(target).suffix}"
    options = ["--start", str(start)] + ([] if duration is None else ["--duration", str(duration)])
    report = video(source, tmp_path / target, "--bg", "green", "--foreground", front, "--no-decontaminate", *options).ok().report
    after = probe(tmp_path / target)
    assert report["frames_out"] == after.frames == len(expected)
    assert matched(frames_of(front), frames_of(source)) == list(expected)
    assert all(abs(step - Fraction(1, 25)) <= Fraction(1, 1000) for step in after.intervals)
    assert len(after.audio) == 1
    first = Fraction(expected[0], 25) - Fraction(str(start))
    assert abs(after.times[0] - first) < Fraction(2, 1000) or abs(after.times[0]) < Fraction(2, 1000)
    assert abs(after.audio[0].seconds - Fraction(len(expected), 25)) < Fraction(9, 100)
    assert after.audio[0].start is not None
    assert abs(after.audio[0].start - after.times[0]) < Fraction(8, 100)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi", "in.webm"])
def test_start_works_in_every_container(tmp_path: Path, name: str) -> None:
    """Seeking lands on a keyframe or nowhere; the frames that come out are those asked for."""
    source = write_clip(
        tmp_path / name, codec="libvpx-vp9" if name.endswith("webm") else "libx264", frames=20,
        options={} if name.endswith("webm") else {"g": "6", "bf": "0"},
    )  # fmt: skip
    front = tmp_path / "front.mkv"
    video(
        source,
        tmp_path / "out.mkv",
        "--bg",
        "green",
        "--foreground",
        front,
        "--no-decontaminate",
        "--start",
        "0.4",
        "--duration",
        "0.2",
    ).ok()
    # FFmpeg's times of an AVI begin a frame late.
    expected = range(9, 14) if name == "in.avi" else range(10, 15)
    assert matched(frames_of(front), frames_of(source)) == list(expected)


def test_start_behind_the_end_is_refused(tmp_path: Path) -> None:
    """Nothing is left to do: a usage error, and no file."""
    source = write_clip(tmp_path / "in.mp4", frames=5)
    video(source, tmp_path / "out.mp4", "--start", "60").refused(2, "start")
    assert not (tmp_path / "out.mp4").exists()


def test_alpha_of_the_input_does_not_hurt(tmp_path: Path) -> None:
    """An input with alpha of its own is matted like any other."""
    source = write_clip(tmp_path / "in.mov", codec="prores_ks", pix_fmt="yuva444p10le", frames=3)
    video(source, tmp_path / "out.mov").ok()
    assert len(alpha_of(tmp_path / "out.mov")) == 3
