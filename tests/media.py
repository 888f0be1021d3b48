"""Real media for tests: writes encoded clips of every kind, and reads back what a file says, exactly.

``write_clip`` makes a file; ``probe`` tells all that must survive a run; ``frames_of``, ``greys_of`` and ``alpha_of``
read the images. The person in the images moves all the time, so that ``matched`` can tell which frame of the input
an image shows, even when only the person is left of it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from av.filter import Graph
from av.subtitles.subtitle import SubtitleSet
from numpy.typing import NDArray

from streammat.threads.scheduling import kept_scheduling

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

Rgb = NDArray[np.uint8]
"""(H, W, 3), 0..255."""

FAST: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "16"},
    "libx265": {"preset": "ultrafast", "crf": "16", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12", "crf": "25"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"},
    "mpeg4": {"qscale": "2", "flags": "+qscale", "global_quality": "236"},
    "mpeg2video": {"flags": "+qscale", "global_quality": "236"},
    "mjpeg": {"flags": "+qscale", "global_quality": "354"},
}
"""Options that make each encoder quick and good, by FFmpeg's name."""

ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\nPlayResX: 384\r\nPlayResY: 288\r\n\r\n[V4+ Styles]\r\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    b"StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\r\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\r\n\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


@dataclass(frozen=True)
class Audio:
    """One audio track to write."""

    codec: str = "aac"
    language: str | None = None
    rate: int = 48000
    layout: str = "stereo"
    title: str | None = None
    pitch: float = 440.0
    seconds: float | None = None
    """Length; None: as long as the video."""
    start: float = 0.0
    silent: float = 0.0
    """Seconds of silence before the tone."""


@dataclass(frozen=True)
class Subtitle:
    """One subtitle track to write: a line at each of ``at`` seconds, for ``seconds`` seconds."""

    codec: str = "subrip"
    language: str | None = "eng"
    at: tuple[float, ...] = (0.04, 0.2)
    seconds: float = 0.08


@dataclass(frozen=True)
class Tags:
    """Colour tags, FFmpeg's integer codes (ISO/IEC 23091-2)."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


BT709 = Tags(1, 1, 1, 1)
BT601 = Tags(6, 6, 6, 1)
BT2020_PQ = Tags(9, 16, 9, 1)
BT2020_HLG = Tags(9, 18, 9, 1)
FULL_709 = Tags(1, 1, 1, 2)


# --------------------------------------------------------------------------------------------------------------------
# Images


@cache
def example_frames(count: int = 31, step: int = 4) -> tuple[Rgb, ...]:
    """Every fourth frame of the example clip, (540, 960, 3) RGB."""
    with av.open(str(EXAMPLES / "portrait.mp4")) as clip:
        kept = []
        for index, frame in enumerate(clip.decode(video=0)):
            if index % step == 0:
                kept.append(frame.to_ndarray(format="rgb24"))
            if len(kept) == count:
                break
    return tuple(kept)


def person(index: int, width: int, height: int) -> Rgb:
    """Frame ``index`` of the example subject, cut to ``width`` by ``height``."""
    frames = example_frames()
    # There and back again, so that neighbours resemble each other.
    phase = index % (2 * len(frames) - 2)
    source = frames[min(phase, 2 * len(frames) - 2 - phase)]
    rows, columns = source.shape[:2]
    if width * rows >= height * columns:
        part = source[: max(1, round(height * columns / width))]
    else:
        wide = max(1, round(width * rows / height))
        left = min(max(0, 470 - wide // 2), columns - wide)
        part = source[:, left : left + wide]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def pattern(index: int, width: int, height: int) -> Rgb:
    """Moving colour ramps with a blob: cheap, and different in every frame."""
    y, x = np.mgrid[0:height, 0:width]
    red = (x * 255 / max(1, width - 1) + 8 * index) % 256
    green = y * 255 / max(1, height - 1)
    blue = 128 + 100 * np.sin((x + y + 6 * index) / 17)
    picture = np.stack([red, green, blue], 2)
    centre = (width * (0.5 + 0.2 * np.sin(index / 3)), height * 0.6)
    blob = ((x - centre[0]) / (0.2 * width)) ** 2 + ((y - centre[1]) / (0.35 * height)) ** 2 < 1
    picture[blob] = (224, 172, 140)
    return np.clip(picture, 0, 255).astype(np.uint8)


def upright_to_stored(picture: Rgb, rotation: int) -> Rgb:
    """The image as a camera stores it when its file says: turn me ``rotation`` degrees counter-clockwise."""
    return np.ascontiguousarray(np.rot90(picture, -rotation // 90))


# --------------------------------------------------------------------------------------------------------------------
# Writing


def write_clip(  # noqa: PLR0913 - each is one property of a media file
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (128, 96),
    frames: int = 8,
    rate: Fraction | int = 25,
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    offset: Fraction | int = 0,
    audio: Sequence[Audio] = (),
    subtitles: Sequence[Subtitle] = (),
    rotation: int = 0,
    sar: Fraction | None = None,
    tags: Tags = Tags(),  # noqa: B008 - frozen
    chapters: Sequence[tuple[float, float, str]] = (),
    metadata: dict[str, str] | None = None,
    timecode: str | None = None,
    content: Literal["person", "pattern", "empty"] = "person",
    fields: Literal["tff", "bff"] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Write a clip of ``frames`` images of ``size`` (width, height as stored) and return ``path``.

    ``pts`` are the frames' times in units of ``time_base`` (default: 0, 1, 2 … in units of 1/``rate``); ``offset``
    seconds are added to every time. ``rotation`` is the counter-clockwise turn that shows the stored image upright.
    With ``fields`` each frame is woven of two moments, the later one half a frame on.
    """
    path = Path(path)
    rate = Fraction(rate)
    base = time_base or 1 / rate
    times = list(pts) if pts is not None else [round(i / rate / base) for i in range(frames)]
    times = [t + round(Fraction(offset) / base) for t in times]
    length = float((times[-1] - times[0]) * base + 1 / rate) if times else 0.0
    with av.open(str(path), "w", format=container_format, container_options=container_options or {}) as out:
        out.metadata.update(metadata or {})
        video = out.add_stream(codec, rate, options={**FAST.get(codec, {}), **(options or {})})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        context = video.codec_context
        context.time_base = base
        context.thread_count = 1
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.colorspace, context.color_range = tags.matrix, tags.range
        if sar:
            context.sample_aspect_ratio = sar
        if rotation:
            video.set_display_rotation(rotation)
        if timecode:
            video.metadata["timecode"] = timecode
        sounds = [(_add_audio(out, track), track) for track in audio]
        texts = [(_add_subtitle(out, track), track) for track in subtitles]
        if chapters:
            milli = Fraction(1, 1000)
            out.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": milli,
                        "metadata": {"title": title},
                    }
                    for number, (start, end, title) in enumerate(chapters, 1)
                ]
            )
        if fields:
            context.field_order = {"tff": 2, "bff": 3}[fields]
        with kept_scheduling():
            out.start_encoding()
        packets: list[av.Packet] = []
        marks: Graph | None = None
        for index, time in enumerate(times):
            image = _image(index, size, rotation, pix_fmt, tags, content)
            image.pts, image.time_base = time, base
            if fields:
                later = _image(index + 3, size, rotation, pix_fmt, tags, content)
                for plane, other in zip(image.planes, later.planes, strict=True):
                    lines = [np.frombuffer(each, np.uint8).reshape(-1, each.line_size) for each in (plane, other)]
                    lines[0][fields == "tff" :: 2] = lines[1][fields == "tff" :: 2]
                if marks is None:
                    marks = Graph()
                    marks.link_nodes(marks.add_buffer(width=image.width, height=image.height, format=image.format, time_base=base),
                                     marks.add("setfield", f"mode={fields}"), marks.add("buffersink")).configure()
                marks.push(image)
                image = marks.pull()
            packets += video.encode(image)
        packets += video.encode(None)
        for stream, track in sounds:
            seconds = length if track.seconds is None else track.seconds
            packets += _sound(stream, track, seconds, float(offset) + track.start)
        for stream, text in texts:
            packets += _lines(stream, text, float(offset))
        packets.sort(key=lambda p: (p.dts if p.dts is not None else p.pts or 0) * p.time_base)
        for packet in packets:
            out.mux(packet)
    return path


def _image(index: int, size: tuple[int, int], rotation: int, pix_fmt: str, tags: Tags, content: str) -> av.VideoFrame:
    width, height = size
    upright = (height, width) if rotation % 180 else (width, height)
    if content == "empty":
        picture = np.full((upright[1], upright[0], 3), (90, 110, 120), np.uint8)
    else:
        picture = (person if content == "person" else pattern)(index, *upright)
    rgb = av.VideoFrame.from_ndarray(upright_to_stored(picture, rotation), format="rgb24")
    spaces = {1: "ITU709", 9: 9}
    image = rgb.reformat(
        format=pix_fmt,
        src_colorspace=spaces.get(tags.matrix, "ITU601"),
        dst_colorspace=spaces.get(tags.matrix, "ITU601"),
        src_color_range=2,
        dst_color_range=2 if tags.range == 2 or pix_fmt.startswith("yuvj") else 1,
    )
    image.color_primaries, image.color_trc = tags.primaries, tags.transfer
    image.colorspace, image.color_range = tags.matrix, tags.range
    return image


def _add_audio(out: Any, track: Audio) -> av.AudioStream:
    experimental = {"strict": "-2"} if track.codec == "vorbis" else {}
    stream = out.add_stream(track.codec, track.rate, layout=track.layout, options=experimental)
    assert isinstance(stream, av.AudioStream)
    if track.language:
        stream.metadata["language"] = track.language
    if track.title:
        stream.metadata["title"] = track.title
    return stream


def _sound(stream: av.AudioStream, track: Audio, seconds: float, start: float) -> Iterator[av.Packet]:
    context = stream.codec_context
    resampler = av.AudioResampler(context.format.name, track.layout, track.rate, context.frame_size or 1024)
    total = round(seconds * track.rate)
    t = np.arange(total) / track.rate
    wave = (0.2 * np.sin(2 * np.pi * track.pitch * t) * (t >= track.silent)).astype(np.float32)
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[track.layout]
    frame = av.AudioFrame.from_ndarray(np.stack([wave] * channels), format="fltp", layout=track.layout)
    frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
    frame.pts = round(start * track.rate)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        yield from stream.encode(part)
    yield from stream.encode(None)


def _add_subtitle(out: Any, track: Subtitle) -> Any:
    stream = out.add_stream(track.codec)
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.codec_context.time_base = Fraction(1, 1000)
    if track.language:
        stream.metadata["language"] = track.language
    return stream


def _lines(stream: Any, track: Subtitle, offset: float) -> Iterator[av.Packet]:
    for number, at in enumerate(track.at):
        text = b"0,0,Default,,0,0,0,,line %d" % number
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(text, 0, round(track.seconds * 1000), 0))
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round((at + offset) * 1000)
        packet.duration = round(track.seconds * 1000)
        yield packet


def write_audio_only(path: Path, codec: str = "aac", seconds: float = 0.5) -> Path:
    """A file with one audio track and no image."""
    with av.open(str(path), "w") as out:
        track = Audio(codec)
        stream = _add_audio(out, track)
        for packet in _sound(stream, track, seconds, 0.0):
            out.mux(packet)
    return path


def write_still(path: Path, picture: NDArray[Any], *, orientation: int | None = None) -> Path:
    """A still, (H, W, 3) RGB or (H, W) grey of 8 or 16 bits, with an EXIF orientation for ``.jpg``."""
    bgr = picture[:, :, ::-1] if picture.ndim == 3 and picture.shape[2] == 3 else picture
    ok, coded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr))
    assert ok, path
    stored = coded.tobytes()
    if orientation is not None:
        assert path.suffix in {".jpg", ".jpeg"}
        # A TIFF header, one directory with one entry: tag 0x0112, one SHORT.
        tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation, 0, 0]) + b"\0\0\0\0"
        body = b"Exif\0\0" + tiff
        stored = stored[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + stored[2:]
    path.write_bytes(stored)
    return path


def huge_png(path: Path) -> Path:
    """A PNG of 32000x32000 in 70 bytes: its header, and data that are cut."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32000, 32000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    return path


# --------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Track:
    """An audio or subtitle track as it lies in a file."""

    codec: str
    language: str | None
    packets: int
    seconds: Fraction
    """Sum of the packets' durations."""
    start: Fraction | None
    """Time of the first packet."""
    sha256: str
    """Of all packets' bytes one after another."""
    texts: tuple[bytes, ...] = ()
    """Payloads of a subtitle track, empty ones left out."""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """Everything about a file that a run must keep."""

    container: str
    codec: str
    times: tuple[Fraction, ...]
    """Exact time of every decoded frame, seconds."""
    time_base: Fraction
    size: tuple[int, int]
    """(width, height) as stored."""
    sar: Fraction | None
    pix_fmt: str
    tags: Tags
    rotation: int
    """Counter-clockwise degrees, 0, 90, 180, 270."""
    rate: Fraction | None
    audio: tuple[Track, ...]
    subtitles: tuple[Track, ...]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    metadata: dict[str, str]
    """Keys in lower case, without those that a muxer writes by itself."""
    video_metadata: dict[str, str]
    timecode: str | None
    duration: Fraction | None
    streams: tuple[str, ...]
    """Type of every stream."""

    @property
    def frames(self) -> int:
        """How many frames decode."""
        return len(self.times)

    @property
    def intervals(self) -> tuple[Fraction, ...]:
        """Time from each frame to the next."""
        return tuple(after - before for before, after in pairwise(self.times))


MUXER_KEYS = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "vendor_id", "creation_time", "duration",
    "alpha_mode", "timecode",
}  # fmt: skip


def probe(path: Path | str) -> Clip:
    """Read all of ``path``: every packet of every track, and every frame."""
    with av.open(str(path)) as clip:
        video = clip.streams.video[0]
        video.thread_type = "AUTO"
        chapter_ids = {s.index for s in clip.streams if s.type == "subtitle" and _is_chapter_track(s)}
        sums = {s.index: _Sum() for s in clip.streams if s.type in {"audio", "subtitle"} and s.index not in chapter_ids}
        times: list[Fraction] = []
        first: av.VideoFrame | None = None
        for packet in clip.demux():
            if packet.stream.type == "video" and packet.stream.index == video.index:
                for frame in packet.decode():
                    first = first or frame
                    rate = video.guessed_rate or Fraction(25)
                    times.append(len(times) / rate if frame.pts is None else frame.pts * frame.time_base)
            elif packet.stream.index in sums and packet.size:
                sums[packet.stream.index].add(packet)
        context = video.codec_context
        keys = {k.lower(): v for k, v in clip.metadata.items()}
        code = [s.metadata.get("timecode") or s.metadata.get("TIMECODE") for s in clip.streams] + [keys.get("timecode")]
        return Clip(
            container=clip.format.name,
            codec=context.name,
            times=tuple(times),
            time_base=video.time_base or Fraction(0),
            size=(context.width, context.height),
            sar=video.sample_aspect_ratio,
            pix_fmt=context.pix_fmt or "",
            tags=Tags(int(context.color_primaries), int(context.color_trc), int(context.colorspace), int(context.color_range)),
            rotation=round(first.rotation) % 360 if first else 0,
            rate=video.average_rate,
            audio=tuple(sums[s.index].track(s) for s in clip.streams.audio),
            subtitles=tuple(sums[s.index].track(s) for s in clip.streams.subtitles if s.index in sums),
            chapters=tuple(
                (c["start"] * (c["time_base"] or 1), c["end"] * (c["time_base"] or 1), c["metadata"].get("title", ""))
                for c in clip.chapters()
            ),
            metadata={k: v for k, v in keys.items() if k not in MUXER_KEYS},
            video_metadata=dict(video.metadata),
            timecode=next((t for t in code if t), None),
            duration=Fraction(clip.duration, 1_000_000) if clip.duration else None,
            streams=tuple(s.type for s in clip.streams),
        )


def _is_chapter_track(stream: Any) -> bool:
    """QuickTime keeps chapters as a text track, which FFmpeg shows as one more stream."""
    return bool(stream.codec_context is None or stream.codec_context.name in {"bin_data", "text"})


class _Sum:
    def __init__(self) -> None:
        self.packets, self.seconds, self.start = 0, Fraction(0), None
        self.hash = hashlib.sha256()
        self.texts: list[bytes] = []

    def add(self, packet: Any) -> None:
        payload = bytes(packet)
        if packet.stream.codec_context.name == "aac" and payload[0] == 0xFF and payload[1] & 0xF0 == 0xF0:
            payload = payload[7 if payload[1] & 1 else 9 :]  # the ADTS header of transport streams is packaging
        self.packets += 1
        self.seconds += (packet.duration or 0) * packet.time_base
        if self.start is None and packet.pts is not None:
            self.start = packet.pts * packet.time_base
        self.hash.update(payload)
        if packet.stream.type == "subtitle" and payload.strip(b"\0"):
            self.texts.append(payload)

    def track(self, stream: Any) -> Track:
        return Track(
            stream.codec_context.name,
            stream.language if stream.language != "und" else None,
            self.packets,
            self.seconds,
            self.start,
            self.hash.hexdigest(),
            tuple(self.texts),
            {k.lower(): v for k, v in stream.metadata.items() if k.lower() not in MUXER_KEYS},
        )


def open_frames(path: Path | str) -> Iterator[av.VideoFrame]:
    """Every frame of a file, with the alpha that VP8 and VP9 in Matroska carry."""
    with av.open(str(path)) as clip:
        video = clip.streams.video[0]
        name = video.codec_context.name
        if name in {"vp9", "vp8", "libvpx-vp9", "libvpx"}:
            decoder = av.CodecContext.create("libvpx-vp9" if "9" in name else "libvpx", "r")
            for packet in clip.demux(video):
                if packet.size:
                    yield from decoder.decode(packet)  # type: ignore[misc]
            yield from decoder.decode(None)  # type: ignore[misc]
        else:
            yield from clip.decode(video)


def frames_of(path: Path | str) -> list[Rgb]:
    """Every frame as stored, RGB of 8 bits, by the colour tags that the file bears (untagged: BT.601)."""
    images = []
    for frame in open_frames(path):
        spaces = {1: "ITU709", 9: 9}
        rgb = frame.reformat(
            format="rgb24", src_colorspace=spaces.get(int(frame.colorspace), "ITU601"), dst_colorspace="ITU601", dst_color_range=2
        )
        images.append(np.asarray(rgb.to_ndarray(), np.uint8))
    return images


def greys_of(path: Path | str) -> list[NDArray[np.float32]]:
    """Every frame's luma as alpha, 0..1, for matte files: full or limited range by its tag."""
    found = []
    for frame in open_frames(path):
        depth = frame.format.components[0].bits
        plane = first_plane(frame, 0)
        full = int(frame.color_range) == 2 or frame.format.name.startswith(("yuvj", "gbr", "rgb", "pal")) or (
            frame.format.name.startswith("gray") and int(frame.color_range) != 1
        )  # fmt: skip
        black, white = (0, (1 << depth) - 1) if full else (16 << (depth - 8), 235 << (depth - 8))
        found.append(np.clip((plane.astype(np.float32) - black) / (white - black), 0, 1))
    return found


def first_plane(frame: av.VideoFrame, index: int) -> NDArray[Any]:
    """Plane ``index`` of a planar frame, (h, w)."""
    component = frame.format.components[min(index, len(frame.format.components) - 1)]
    plane = frame.planes[index]
    dtype = np.uint8 if component.bits == 8 else np.uint16
    step = plane.line_size // np.dtype(dtype).itemsize
    return np.frombuffer(plane, dtype).reshape(-1, step)[: plane.height, : plane.width].copy()


def alpha_of(path: Path | str) -> list[NDArray[np.float32]]:
    """Every frame's alpha, (H, W), 0..1; fails where the file has none."""
    found = []
    for frame in open_frames(path):
        name = frame.format.name
        assert "a" in name.removeprefix("gray").removeprefix("grayf") and not name.startswith("gray"), f"{name} has no alpha"
        if name in {"rgba", "argb", "bgra", "abgr"}:
            plane = frame.reformat(format="rgba").to_ndarray()[:, :, 3]
            found.append(plane.astype(np.float32) / 255)
        elif name.startswith("rgba64"):
            deep = frame.to_ndarray()[:, :, 3]
            found.append(deep.astype(np.float32) / 65535)
        else:
            top = (1 << frame.format.components[3].bits) - 1
            found.append(first_plane(frame, 3).astype(np.float32) / top)
    return found


def matched(shown: Sequence[Rgb], given: Sequence[Rgb]) -> list[int]:
    """Which of ``given`` each of ``shown`` shows, by all that is not black in it."""
    indices = []
    for picture in shown:
        lit = picture.max(2) > 40
        assert lit.sum() >= 30, "nothing but black"
        seen = picture[lit].astype(np.float32)
        indices.append(int(np.argmin([np.abs(seen - other[lit]).mean() for other in given])))
    return indices


def still_of(path: Path) -> NDArray[Any]:
    """A still as stored: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, 8 or 16 bits."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None, path
    if picture.ndim == 3 and picture.shape[2] == 4:
        return np.asarray(picture[:, :, [2, 1, 0, 3]])
    return np.asarray(picture[:, :, ::-1]) if picture.ndim == 3 else np.asarray(picture)
