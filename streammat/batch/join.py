"""Joins video files that were encoded in pieces, without encoding again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from streammat.errors import OutputError, first_line
from streammat.media.frame import Packet
from streammat.sinks.codecs import container_of
from streammat.sinks.file import OWN_TAGS
from streammat.sinks.partial import PartialFile
from streammat.sinks.tracks import Tracks
from streammat.sources.file import FileSource
from streammat.timecode import Moment

JOINED: Final = ("prores", "dnxhr", "h264", "hevc")
"""Codecs whose pieces can be joined: each frame is independent, or each piece begins with a keyframe, and the headers of all
pieces are the same. AV1 is not among them, because its headers are not compared: it is encoded in one piece.
"""
CONTAINERS: Final = (".mov", ".mp4", ".m4v")
"""Containers with exact times; the milliseconds of Matroska and WebM would be rounded twice."""


def join(parts: Sequence[Path], starts: Sequence[Moment], source: str, target: Path, *, tracks: bool, audio: bool) -> int:
    """Join the pieces of one output into one file.

    Args:
        parts: files that ``streammat video`` wrote of ``source`` from each of ``starts`` on, in order.
        starts: start time of each piece; the first is the beginning.
        source: the input; the file gets its times, tags and chapters.
        target: the file to write; an existing one is replaced.
        tracks: also copy the source's other tracks.
        audio: sound is among these.

    Returns:
        The number of frames in the file.

    Raises:
        OutputError: the file cannot be written, or the pieces do not match.
    """
    reader = FileSource(source, audio=audio)
    try:
        shifts = [reader.shift_of(start) for start in starts]
        partial = PartialFile(target, overwrite=True)
        try:
            frames = _write(partial.path, target, parts, shifts, reader, tracks=tracks)
            partial.take_name()
        except BaseException:
            partial.drop()
            raise
        partial.release()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise OutputError(f"{target}: its {len(parts)} pieces cannot be joined ({first_line(error)}); check space and permissions") from error
    finally:
        reader.close()
    return frames


def _write(path: Path, target: Path, parts: Sequence[Path], shifts: Sequence[Fraction], reader: FileSource, *, tracks: bool) -> int:
    info, kind = reader.info, container_of(str(target))
    options = {"avoid_negative_ts": "disabled", "movflags": "hybrid_fragmented+delay_moov"}
    frames = 0
    with av.open(str(path.absolute()), "w", format=kind.muxer, options=options) as output:
        with av.open(str(parts[0])) as first:
            template = first.streams.video[0]
            header = template.codec_context.extradata
            stream = output.add_stream_from_template(template)
            stream.time_base = template.time_base
            stream.codec_context.framerate = info.rate  # without it a timecode's track has one of its own
            stream.codec_context.codec_tag = template.codec_context.codec_tag
            if info.rotation:
                stream.set_display_rotation(info.rotation * 90)
        others = Tracks(output, info.passengers if tracks else (), kind, target.name)
        output.metadata.update({key: value for key, value in info.metadata.items() if key.lower() not in OWN_TAGS})
        stream.metadata.update({key: value for key, value in info.stream_metadata.items() if key.lower() not in OWN_TAGS})
        if info.chapters:
            output.set_chapters(list(info.chapters))
        output.start_encoding()
        images = _images(parts, shifts, stream, header)
        passing = ((packet, False) for packet in reader.passing()) if tracks else iter(())
        for packet, is_image in heapq.merge(images, passing, key=_time):
            if is_image:
                output.mux_one(packet)
                frames += 1
            else:
                others.carry(packet)
        others.finish()
    return frames


def _images(parts: Sequence[Path], shifts: Sequence[Fraction], stream: Any, header: bytes | None) -> Iterator[tuple[Packet, bool]]:
    for path, shift in zip(parts, shifts, strict=True):
        with av.open(str(path)) as part:
            (video,) = part.streams.video
            if video.codec_context.extradata != header:
                raise ValueError(f"{path.name} has another header than the first piece")
            for packet in part.demux(video):
                if packet.dts is None or packet.pts is None:
                    continue  # the end of the file
                ticks = math.floor(shift / packet.time_base)
                packet.pts += ticks
                packet.dts += ticks
                packet.stream = stream
                yield packet, True


def _time(item: tuple[Packet, bool]) -> Fraction:
    packet, _ = item
    return Fraction(packet.dts or 0) * packet.time_base
