"""Audio and subtitle tracks of an output: copied, or transcoded where necessary; and a live run's sound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from streammat.audio.track import RATE, Chunk
from streammat.media.damage import Damage
from streammat.media.frame import Packet
from streammat.sinks.codecs import Container

# By the number of channels: what a file calls its layout can be empty or unknown to the encoder.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# QuickTime knows languages by number; FFmpeg's table of them mixes both kinds of ISO 639-2 codes.
_QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "fre": "fra", "ell": "gre", "isl": "ice", "zho": "chi", "rum": "ron", "cze": "ces"}
# Codecs whose decoders in FFmpeg refuse nothing that is right; AMR's refuses pauses, for one.
_CHECKED = ("aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "vorbis")
_LONGEST = 2**31 - 1
"""Most ticks between two packets of a track in MP4 and MOV; FFmpeg aborts the process if there are more."""
_LONGEST_SILENCE = 10
"""Longest hole of sound in a damaged input, in seconds, that is filled with silence; a longer one stays a gap."""
_TEXT_SUBTITLES = ("subrip", "srt", "text", "webvtt", "mov_text", "ass", "ssa")


class _Damaged(Exception):  # noqa: N818 - it never leaves this file
    """Raised for a packet that cannot be decoded."""


@contextmanager
def _damage(*kinds: type[av.FFmpegError]) -> Iterator[None]:
    """Turn errors of ``kinds`` inside into `_Damaged`, except lack of memory and features that FFmpeg does not have."""
    try:
        yield
    except (av.error.MemoryError, av.error.NotImplementedError, av.error.PatchWelcomeError):
        raise
    except kinds as error:
        raise _Damaged from error


class _Copied:
    """Copies packets; sound that cannot be decoded is left out, because players handle it differently, some with noise."""

    def __init__(self, output: Any, source: Any) -> None:
        self._output = output
        self._source = source if source.codec_context.codec.canonical_name in _CHECKED else None

    def carry(self, packet: Packet) -> Iterator[Packet]:
        if self._source is not None:
            with suppress(av.error.NotImplementedError, av.error.PatchWelcomeError), _damage(av.FFmpegError):
                self._source.codec_context.decode(packet)
        packet.stream = self._output
        yield packet

    def finish(self) -> Iterator[Packet]:
        yield from ()


class _Unpacked:
    """Converts AAC from a transport stream, where each packet has its own header, for MP4, which has one header for all."""

    def __init__(self, output: Any, source: Any) -> None:
        self._output = output
        self._filter = BitStreamFilterContext("aac_adtstoasc", source)

    def carry(self, packet: Packet) -> Iterator[Packet]:
        with _damage(av.FFmpegError):
            unpacked = self._filter.filter(packet)
        for ready in unpacked:
            ready.stream = self._output
            yield ready

    def finish(self) -> Iterator[Packet]:
        yield from ()


class _TranscodedAudio:
    """Decodes, resamples and encodes audio; times are exact to the sample, even for players that only count samples."""

    def __init__(self, output: av.AudioStream, source: av.AudioStream) -> None:
        self._output = output
        self._source = source
        self._shape: tuple[str, str, int] | None = None
        self._converter: av.AudioResampler | None = None
        self._divider: av.AudioResampler | None = None
        self._end: Fraction | None = None
        """When the last decoded frame ends, in seconds."""
        self._begin: Fraction | None = None

    def begin(self, time: Fraction) -> None:
        """Start the sound at ``time``, in seconds: earlier sound is left out, and silence fills a later beginning."""
        self._begin = self._end = time

    def carry(self, packet: Packet) -> Iterator[Packet]:
        context = self._source.codec_context
        try:
            with _damage(av.FFmpegError):  # decoders have errors of their own, such as AC-3's
                decoded = context.decode(packet)
        except _Damaged:
            if context.codec.canonical_name in _CHECKED:
                raise
            return
        for frame in decoded:
            if frame.time_base is None:
                frame.time_base = packet.time_base
            if self._begin is not None and _end_of(frame) <= self._begin:
                continue
            for part in self._filled(frame):
                for ready in self._divide(self._convert(part)):
                    yield from self._output.encode(ready)

    def _filled(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        """Yield ``frame``, after silence if sound before it is missing; a gap longer than ``_LONGEST_SILENCE`` belongs to the
        input, and stays.
        """
        if frame.pts is not None and frame.time_base is not None:
            begin, length = frame.pts * frame.time_base, Fraction(frame.samples, frame.sample_rate)
            # Times in milliseconds, as Matroska has them, are no gaps.
            if self._end is not None and length / 2 < begin - self._end <= _LONGEST_SILENCE:
                yield _silence(frame, self._end, begin - self._end)
            self._end = begin + length
        yield frame

    def finish(self) -> Iterator[Packet]:
        for ready in self._divide([*self._rest(), None]):
            yield from self._output.encode(ready)
        yield from self._output.encode(None)

    def _convert(self, frame: av.AudioFrame) -> list[av.AudioFrame | None]:
        """Convert ``frame`` for the encoder; broadcasts may switch between 5.1 and stereo."""
        converted: list[av.AudioFrame | None] = []
        shape = frame.format.name, frame.layout.name, frame.sample_rate
        if shape != self._shape:
            converted += self._rest()
            context = self._output.codec_context
            self._shape, self._converter = shape, av.AudioResampler(context.format, context.layout, context.sample_rate)
        assert self._converter is not None
        return converted + list(self._converter.resample(frame))

    def _rest(self) -> list[av.AudioFrame | None]:
        return [] if self._converter is None else list(self._converter.resample(None))

    def _divide(self, frames: list[av.AudioFrame | None]) -> Iterator[av.AudioFrame]:
        """Cut frames to the encoder's length; None returns the rest."""
        context = self._output.codec_context
        if self._divider is None:
            self._divider = av.AudioResampler(context.format, context.layout, context.sample_rate, context.frame_size or None)
        for frame in frames:
            yield from self._divider.resample(frame)


def _end_of(frame: av.AudioFrame) -> Fraction:
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)


def _silence(like: av.AudioFrame, begin: Fraction, seconds: Fraction) -> av.AudioFrame:
    """Return a frame of silence from ``begin`` on, otherwise like ``like``."""
    assert like.time_base is not None
    silent = av.AudioFrame(like.format, like.layout, round(seconds * like.sample_rate))
    silent.pts, silent.time_base, silent.sample_rate = round(begin / like.time_base), like.time_base, like.sample_rate
    for plane in silent.planes:
        plane.update((b"\x80" if like.format.name.startswith("u8") else b"\0") * plane.buffer_size)
    return silent


class _RewrittenText:
    """Converts text subtitles to the container's format: UTF-8; in MP4 (3GPP timed text) preceded by its length in two bytes."""

    def __init__(self, output: Any, codec: str, target: str) -> None:
        self._output = output
        self._codec = codec
        self._target = target

    def carry(self, packet: Packet) -> Iterator[Packet]:
        text = bytes(packet)
        if self._codec in ("ass", "ssa"):
            # Matroska stores eight fields before an ASS line's text.
            text = text.split(b",", 8)[-1].replace(b"\\N", b"\n")
        elif self._codec == "mov_text":
            text = text[2 : 2 + int.from_bytes(text[:2], "big")]
        text = text.strip()[:65_535]
        if not text:
            return  # MP4 fills the time between two lines with empty ones
        ready: Packet = av.Packet(len(text).to_bytes(2, "big") + text if self._target == "mov_text" else text)
        ready.pts, ready.dts, ready.duration = packet.pts, packet.dts, packet.duration
        ready.time_base = packet.time_base
        ready.stream = self._output
        yield ready

    def finish(self) -> Iterator[Packet]:
        yield from ()


class Tracks:
    """All copied or transcoded tracks of one output."""

    def __init__(
        self, container: av.container.OutputContainer, streams: Sequence[Any], kind: Container, name: str
    ) -> None:
        self.notes: list[str] = []
        self._container = container
        self._fragments = kind.muxer in ("mp4", "mov")
        self._times: dict[int, Fraction] = {}  # of each track's last packet, in seconds
        self._left_out: dict[int, Damage] = {}
        self._tracks: dict[int, _Copied | _Unpacked | _TranscodedAudio | _RewrittenText] = {}
        supported = container.supported_codecs
        for stream in streams:
            # FFmpeg lists what decodes or encodes a codec, which may have another name: dca for DTS, pgssub for PGS.
            decoder = stream.codec_context.name
            codec = av.Codec(decoder, "r").canonical_name
            if not kind.counted and not supported.isdisjoint((codec, decoder)) and codec not in kind.transcodes:
                output = container.add_stream_from_template(stream)
                unpack = codec == "aac" and not stream.codec_context.extradata and kind.muxer in ("mp4", "mov")
                self._tracks[stream.index] = _Unpacked(output, stream) if unpack else _Copied(output, stream)
            elif stream.type == "audio":
                output = container.add_stream(kind.audio, rate=RATE if kind.counted else _rate_for(kind.audio, stream.rate))
                assert isinstance(output, av.AudioStream)
                output.codec_context.layout = _LAYOUTS.get(stream.layout.nb_channels, "stereo")
                self._tracks[stream.index] = _TranscodedAudio(output, stream)
                self.notes.append(f"{name}: audio track {stream.index} ({codec}) becomes {output.codec_context.name}; the container cannot hold it")
            elif codec in _TEXT_SUBTITLES and kind.text is not None:
                output = container.add_mux_stream(kind.text)
                self._tracks[stream.index] = _RewrittenText(output, codec, kind.text)
            else:
                self.notes.append(f"{name}: subtitle track {stream.index} ({codec}) is left out; the container cannot hold it")
                continue
            tags = {key: value for key, value in stream.metadata.items() if key.lower() in ("language", "title")}
            if kind.muxer == "mov" and "language" in tags:
                tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
            output.metadata.update(tags)
            output.disposition = stream.disposition  # which track plays by itself, which subtitles are forced

    @property
    def damage(self) -> list[Damage]:
        """Packets that were left out because they could not be decoded."""
        return [each for each in self._left_out.values() if each]

    def begin(self, time: Fraction) -> None:
        """Start the transcoded tracks at ``time``, in seconds, for containers without timestamps; call it before the first packet."""
        for track in self._tracks.values():
            if isinstance(track, _TranscodedAudio):
                track.begin(time)

    def carry(self, packet: Packet) -> None:
        """Write a packet from the source, copied or transcoded; packets of left-out tracks and damaged ones are skipped.

        Raises:
            av.FFmpegError, OSError: the output cannot be written.
        """
        index, kind = packet.stream.index, packet.stream.type
        track = self._tracks.get(index)
        if track is None:
            return
        at = packet.dts if packet.pts is None else packet.pts
        seconds = (at or 0) * packet.time_base
        try:
            for ready in track.carry(packet):
                self._check_gap(ready)
                with _damage(av.error.InvalidDataError, av.error.ArgumentError):
                    self._container.mux_one(ready)
        except _Damaged:
            new = Damage(f"{kind} track {index}", "damaged packet is left out", "damaged packets are left out")
            self._left_out.setdefault(index, new).add(seconds)

    def _check_gap(self, ready: Packet) -> None:
        if self._fragments and ready.dts is not None:
            time, track = ready.dts * ready.time_base, ready.stream.index
            if time - self._times.get(track, time) > _LONGEST * (ready.stream.time_base or 1):
                raise _Damaged
            self._times[track] = time

    def finish(self) -> None:
        """Write what the encoders still hold; raises what ``carry`` raises."""
        for track in self._tracks.values():
            for ready in track.finish():
                self._container.mux_one(ready)


class SoundTrack:
    """A live run's sound in one output: it begins with the first frame and has no holes.

    Args:
        container: an output container without packets yet.
        encoder: FFmpeg's name, such as ``aac`` or ``libopus``.
        channels: 1 or 2.
    """

    def __init__(self, container: av.container.OutputContainer, encoder: str, channels: int) -> None:
        output = container.add_stream(encoder, rate=RATE)
        assert isinstance(output, av.AudioStream)
        self._output = output
        self._layout = _LAYOUTS[channels]
        context = output.codec_context
        context.layout = self._layout
        context.bit_rate = 64_000 * channels + 32_000
        context.time_base = Fraction(1, RATE)
        self._resampler: av.AudioResampler | None = None
        self._next: int | None = None

    def begin(self, time: Fraction) -> None:
        """Set the time of the first frame, in seconds on the run's clock; only the first call counts."""
        if self._next is None:
            self._next = math.ceil(time * RATE)

    def carry(self, chunk: Chunk) -> Iterator[Packet]:
        """Yield packets ready to be muxed; sound before the beginning is left out, missing sound becomes silence."""
        if self._next is None or chunk.start + len(chunk.samples) <= self._next:
            return
        samples = chunk.samples[max(0, self._next - chunk.start) :]
        missing = max(0, chunk.start - self._next)
        while missing:  # an output that stood still for long has lost some
            part = min(missing, RATE)
            yield from self._encode(np.zeros((part, chunk.samples.shape[1]), np.float32))
            missing -= part
        yield from self._encode(samples)

    def finish(self) -> Iterator[Packet]:
        """Flush the encoder."""
        if self._resampler is not None:
            for ready in self._resampler.resample(None):
                yield from self._output.encode(ready)
            yield from self._output.encode(None)

    def _encode(self, samples: Any) -> Iterator[Packet]:
        assert self._next is not None
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "flt", self._layout)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), self._next
        self._next += len(samples)
        if self._resampler is None:
            context = self._output.codec_context
            self._resampler = av.AudioResampler(context.format, context.layout, RATE, context.frame_size or None)
        for ready in self._resampler.resample(frame):
            yield from self._output.encode(ready)


def _rate_for(encoder: str, rate: int) -> int:
    """Return the encoder's sample rate for ``rate``: Opus has only five rates."""
    return rate if encoder != "libopus" or rate in (8000, 12000, 16000, 24000, 48000) else 48000
