"""Audio and subtitle tracks on their way from the source to an output: copied, or transcoded where they must be; a live run's sound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from streammat.audio import RATE, Chunk
from streammat.frame import Packet
from streammat.sinks.codecs import Container

# By the number of channels: what a file calls its layout can be empty or unknown to the encoder.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# QuickTime knows languages by number; FFmpeg's table of them mixes both kinds of ISO 639-2 codes.
_QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "fre": "fra", "ell": "gre", "isl": "ice", "zho": "chi", "rum": "ron", "cze": "ces"}
_TEXT_SUBTITLES = ("subrip", "srt", "text", "webvtt", "mov_text", "ass", "ssa")


class _Copied:
    """Packets pass as they are."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def carry(self, packet: Packet) -> Iterator[Packet]:
        packet.stream = self._output
        yield packet

    def finish(self) -> Iterator[Packet]:
        yield from ()


class _Unpacked:
    """AAC out of a transport stream, where each packet brings its own header, as MP4 wants it: one header for all."""

    def __init__(self, output: Any, source: Any) -> None:
        self._output = output
        self._filter = BitStreamFilterContext("aac_adtstoasc", source)

    def carry(self, packet: Packet) -> Iterator[Packet]:
        for ready in self._filter.filter(packet):
            ready.stream = self._output
            yield ready

    def finish(self) -> Iterator[Packet]:
        yield from ()


class _TranscodedAudio:
    """Decoded, resampled to what the encoder takes, and encoded; times are kept by the sample."""

    def __init__(self, output: av.AudioStream, source: av.AudioStream) -> None:
        self._output = output
        self._source = source
        self._resampler: av.AudioResampler | None = None

    def carry(self, packet: Packet) -> Iterator[Packet]:
        try:
            decoded = self._source.codec_context.decode(packet)
        except av.InvalidDataError:
            return  # a damaged audio packet is silence, not the end of the video
        for frame in decoded:
            if frame.time_base is None:
                frame.time_base = packet.time_base
            for ready in self._resample(frame):
                yield from self._output.encode(ready)

    def finish(self) -> Iterator[Packet]:
        for ready in self._resample(None):
            yield from self._output.encode(ready)
        yield from self._output.encode(None)

    def _resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        context = self._output.codec_context
        if self._resampler is None:
            self._resampler = av.AudioResampler(context.format, context.layout, context.sample_rate, context.frame_size or None)
        return list(self._resampler.resample(frame))


class _RewrittenText:
    """Text subtitles in the container's own kind: UTF-8, in MP4 (3GPP timed text) after its length in two bytes."""

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
    """Every passing track of one output."""

    def __init__(
        self, container: av.container.OutputContainer, streams: Sequence[Any], kind: Container, name: str
    ) -> None:
        self.notes: list[str] = []
        self._tracks: dict[int, _Copied | _Unpacked | _TranscodedAudio | _RewrittenText] = {}
        supported = container.supported_codecs
        for stream in streams:
            # FFmpeg lists what decodes or encodes a codec, which may have another name: dca for DTS, pgssub for PGS.
            decoder = stream.codec_context.name
            codec = av.Codec(decoder, "r").canonical_name
            if not supported.isdisjoint((codec, decoder)) and codec not in kind.transcodes:
                output = container.add_stream_from_template(stream)
                unpack = codec == "aac" and not stream.codec_context.extradata and kind.muxer in ("mp4", "mov")
                self._tracks[stream.index] = _Unpacked(output, stream) if unpack else _Copied(output)
            elif stream.type == "audio":
                output = container.add_stream(kind.audio, rate=_rate_for(kind.audio, stream.rate))
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

    def carry(self, packet: Packet) -> Iterator[Packet]:
        """Packets ready to be muxed for one that came from the source; none where its track is left out."""
        track = self._tracks.get(packet.stream.index)
        if track is not None:
            yield from track.carry(packet)

    def finish(self) -> Iterator[Packet]:
        """What encoders still hold."""
        for track in self._tracks.values():
            yield from track.finish()


class SoundTrack:
    """A live run's sound in one output: it begins with the first picture and has no holes.

    Args:
        container: not yet begun.
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
        """The first picture is shown at ``time``, in seconds on the run's clock; only the first call counts."""
        if self._next is None:
            self._next = math.ceil(time * RATE)

    def carry(self, chunk: Chunk) -> Iterator[Packet]:
        """Packets ready to be muxed; what lies before the begin is left out, what is missing is silence."""
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
        """What the encoder still holds."""
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
    """Opus knows five rates only."""
    return rate if encoder != "libopus" or rate in (8000, 12000, 16000, 24000, 48000) else 48000
