"""Source for video files and URLs, decoded with FFmpeg."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from typing import IO

import av

from streammat.errors import InputError, UsageError, first_line
from streammat.media.containers import images_of, name_of, open_video
from streammat.media.damage import Damage
from streammat.media.frame import Colour, Frame, Packet, layout_of, planes_of
from streammat.media.interlacing import Deinterlacer, Fields, fields_of
from streammat.media.planar import Planar
from streammat.media.tags import later_timecode, tags_of
from streammat.sources import StreamInfo
from streammat.sources.extent import Extent
from streammat.sources.packet_watch import PacketWatch
from streammat.sources.timestamps import TimestampRepair, may_have_seams, steadied
from streammat.sources.tracks import choose_passengers, choose_video
from streammat.timecode import BEGINNING, Moment

_MICROSECONDS = Fraction(1, 1_000_000)  # AV_TIME_BASE: the unit of a container's start and duration
_INTERLEAVED = 10  # seconds that a track's packets may lie behind the frame's


class FileSource:
    """A video file or URL.

    Args:
        path: a file, or a URL that FFmpeg can open (http, https, rtsp, …); or an open binary file that can seek.
        audio: pass on audio packets.
        start: time to start at; times then count from there.
        duration: how much to read; None: all.
        deinterlace: turn fields into whole frames.

    Raises:
        InputError: the file does not exist, is not a video, or the first frame cannot be decoded.
        UsageError: ``start`` is past the end, or names a frame number that does not exist.
    """

    def __init__(
        self, path: str | IO[bytes], *, audio: bool = True, start: Moment = BEGINNING, duration: Moment | None = None, deinterlace: bool = False
    ) -> None:
        self._file = path
        self._path = name_of(path)
        self.notes: list[str] = []
        self._container = open_video(path)
        try:
            notes = self.notes
            self._stream = choose_video(self._container, self._path, notes)
            self._passengers = choose_passengers(self._container, notes, audio=audio)
            # Not a method of ours: the circle would keep a closed file's decoder, and all its frames, until Python looks for
            # circles.
            self._planar = Planar(lambda note: None if note in notes else notes.append(note))
            self._fields: Fields | None = None
            self._wanted_whole = deinterlace
            self._deinterlacer: Deinterlacer | None = None
            self._start = self._at(start)
            self._duration = None if duration is None else duration.at(self._rate)
            self._origin = self._container.start_time * _MICROSECONDS if self._container.start_time else Fraction(0)
            if self._start:
                self._seek(self._zero)
            self._repaired = 0
            self._overlapping = 0
            self._sound_at: dict[int, int] = {}  # dts of each audio track's last packet
            self._seams = TimestampRepair() if may_have_seams(self._container) else None
            self._watch = PacketWatch(
                self._stream, self._rate, self._zero if self._start else None,
                matroska=self._container.format.name.startswith("matroska"), broadcast=self._seams is not None,
            )
            self._skimming = False
            self._last_pts: int | None = None
            self._index = 0
            self._extent = Extent(self._container, self._stream, self._origin, self._rate)
            self._items = self._decode()
            self._pending: list[Frame | Packet] = []
            first = self._peek()
            self.info = self._describe(first)
        except av.FFmpegError as error:
            self._container.close()
            raise InputError(f"{self._path}: cannot be decoded ({first_line(error)}); expected a video that FFmpeg can read") from error
        except BaseException:
            self._container.close()
            raise

    @property
    def damage(self) -> list[Damage]:
        """Frames lost or repaired so far; see ``sources.Recorded``."""
        return self._watch.damage

    def __iter__(self) -> Iterator[Frame | Packet]:
        while self._pending:
            yield self._pending.pop(0)
        yield from self._items
        self._check_whole()

    def passing(self) -> Iterator[Packet]:
        """Yield only the packets of the other tracks, to the end: no more frames are decoded."""
        self._skimming = True
        for item in chain(self._pending, self._items):
            if not isinstance(item, Frame):
                yield item

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._items.close()
        self._container.close()

    def skipped(self, time_base: Fraction) -> int:
        """Shift of times caused by ``start``, in units of ``time_base``."""
        return math.floor(self._zero / time_base) if self._start else 0

    def shift_of(self, start: Moment) -> Fraction:
        """Return the shift of times, in seconds, for another start."""
        base = self.info.time_base
        return math.floor((self._origin + time) / base) * base if (time := self._at(start)) else Fraction(0)

    @property
    def start(self) -> Fraction:
        """Start time in the input, in seconds."""
        return self._start

    # -- opening ------------------------------------------------------------------------------------------------

    @property
    def _rate(self) -> Fraction:
        return self._stream.average_rate or self._stream.guessed_rate or Fraction(25)

    @property
    def _zero(self) -> Fraction:
        """Return the input's time, in seconds, at which the output's clock begins."""
        return self._origin + self._start

    def _at(self, start: Moment) -> Fraction:
        """Return a moment in seconds; for a timecode never after its frame, whose time is rounded to the container's unit."""
        time = start.at(self._rate)
        unit = self._stream.time_base
        return time if start.frame is None or unit is None else time // unit * unit

    def _seek(self, time: Fraction) -> None:
        """Seek to a place from which the frame shown at ``time`` can be decoded. Containers without an index (MPEG-TS) seek to a
        time, not a keyframe: step back until decoding starts early enough.
        """
        for margin in (0, 2, 10, 60):
            target = int(max(self._origin, time - margin) / _MICROSECONDS)
            self._container.seek(target)
            first = next(images_of(self._container, self._stream), None)
            self._container.seek(target)
            if first is not None and first.time is not None and first.time <= time:
                return
        self._container.seek(int(self._origin / _MICROSECONDS))

    def _peek(self) -> Frame:
        for item in self._items:
            self._pending.append(item)
            if isinstance(item, Frame):
                return item
        if self._start and self._extent.packets:
            end = float(self._extent.reached - self._origin)
            raise UsageError(f"{self._path}: --start {float(self._start):g} is past the last frame at {end:.3f} s; times count from the first frame")
        if self._start:
            raise UsageError(f"{self._path}: --start {float(self._start):g} is past the end of the video; give an earlier time")
        raise InputError(f"{self._path}: no frame can be decoded; the file is empty or damaged: give a whole copy")

    def _describe(self, first: Frame) -> StreamInfo:
        stream = self._stream
        rate = self._rate
        seconds: Fraction | None = None
        if stream.duration and stream.time_base:
            seconds = stream.duration * stream.time_base
        elif self._container.duration:
            seconds = self._container.duration * _MICROSECONDS
        frames = stream.frames if not self._start and self._duration is None else 0
        if not frames and seconds is not None:
            left = max(Fraction(0), seconds - self._start)
            frames = math.ceil((left if self._duration is None else min(left, self._duration)) * rate)
        metadata, stream_metadata = tags_of(self._container, stream)
        if self._start:
            for tags in (stream_metadata, metadata):
                self._move_timecode(tags, first)
        return StreamInfo(
            size=first.size,
            layout=first.layout,
            colour=first.colour,
            rate=rate,
            time_base=first.time_base,
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            rotation=first.rotation,
            fields=self._fields,
            frames=frames,
            metadata=metadata,
            stream_metadata=stream_metadata,
            # With a cut the chapters' places no longer hold.
            chapters=() if self._start or self._duration is not None else tuple(self._container.chapters()),
            passengers=self._passengers,
        )

    def _move_timecode(self, tags: dict[str, str], first: Frame) -> None:
        """Move the timecode from the input's first frame to the output's."""
        begin = self._origin if self._stream.start_time is None else self._stream.start_time * first.time_base
        zero = math.floor(self._zero / first.time_base)
        skipped = round(((first.pts + zero) * first.time_base - begin) * self._rate)
        if (lost := later_timecode(tags, skipped, self._rate)) is not None:
            self._note_once(f"--start: the timecode {lost} is left out; it is none at {float(self._rate):.6g} frames per second")

    # -- decoding -----------------------------------------------------------------------------------------------

    def _decode(self) -> Generator[Frame | Packet]:
        """Yield frames, with the other tracks' packets between them."""
        passengers = {stream.index for stream in self._passengers}
        open_ends = {stream.index for stream in (self._stream, *self._passengers) if stream.type != "subtitle"}
        try:
            # All tracks, so that it is known where the file ends.
            packets = self._container.demux()
            for packet in packets if self._seams is None else steadied(packets, self._watch.repaired):
                index = packet.stream.index
                known = index == self._stream.index or index in passengers
                if self._seams is not None and known:
                    self._seams.repair(packet)
                self._extent.reach(packet)
                if not known:
                    continue
                if index in open_ends:
                    self._watch.passes(packet, self._parts)
                if index == self._stream.index and self._skimming:
                    continue
                if index == self._stream.index and index in open_ends:
                    for image in self._decode_packet(packet):
                        frame = self._frame(image)
                        if frame is None:
                            continue
                        if self._is_behind_end(time := frame.pts * frame.time_base):
                            self._watch.finish(time + (self._zero if self._start else 0))
                            open_ends.discard(index)
                            break
                        yield frame
                elif packet.dts is not None:
                    time = self._shift(packet)
                    if index == self._stream.index:
                        if self._is_behind_end(time - _INTERLEAVED):
                            return  # the other tracks have ended, or have no packets
                    elif self._is_behind_end(time):
                        open_ends.discard(index)
                    elif (time >= 0 or not self._start) and self._continues(packet):
                        yield packet
                if not open_ends:
                    return
            if self._stream.index in open_ends:
                self._watch.finish()
                if self._deinterlacer is not None and (whole := self._deinterlacer(None)) is not None:
                    last = self._wrap(whole)
                    if not self._is_behind_end(last.pts * last.time_base):
                        yield last
        except av.FFmpegError as error:
            raise self._broken(first_line(error)) from error

    @property
    def _parts(self) -> int:
        return 0 if self._seams is None else self._seams.count

    def _decode_packet(self, packet: Packet) -> list[av.VideoFrame]:
        self._watch.given(packet, self._parts)
        try:
            return packet.decode()
        except av.FFmpegError:
            # FFmpeg's decoders restart at the next keyframe; the run continues and reports it at its end.
            self._watch.refused(packet)
            return []

    def _frame(self, image: av.VideoFrame) -> Frame | None:
        """Wrap a decoded frame, or the one before it when deinterlacing; None if there is none yet, and before ``start``."""
        self._watch.shows(image, self._index + (0 if self._deinterlacer is None else self._deinterlacer.holds))
        if self._last_pts is None:
            self._learn_fields(image)
        time_base = image.time_base or self._stream.time_base or Fraction(1, 90_000)
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        tick = max(1, round(1 / (rate * time_base)))
        pts = image.pts
        if pts is None:
            # Raw streams and some AVI files carry no times: count frames instead.
            pts = 0 if self._last_pts is None else self._last_pts + tick
        elif self._last_pts is not None and pts <= self._last_pts:
            self._repaired += 1
            pts = self._last_pts + 1
        self._last_pts = pts
        shift = self.skipped(time_base)
        if self._start and pts < shift:
            return None
        pts -= shift
        self._rotation = round(image.rotation / 90) % 4
        image, _ = self._planar(image)
        image.pts, image.time_base = pts, time_base
        whole = image if self._deinterlacer is None else self._deinterlacer(image)
        return None if whole is None else self._wrap(whole)

    def _learn_fields(self, image: av.VideoFrame) -> None:
        """Record whether the first frame is interlaced, and set up its handling."""
        self._fields = fields_of(image, self._stream.codec_context.field_order)
        if self._wanted_whole:
            self._deinterlacer = Deinterlacer(self._fields or "top")
            self.notes.append(
                "the input is not marked as interlaced; --deinterlace takes its top field for the first" if self._fields is None
                else f"the input is interlaced, {self._fields} field first; --deinterlace makes whole frames of it"
            )
            self._fields = None
        elif self._fields is not None:
            self.notes.append(f"the input is interlaced, {self._fields} field first; --deinterlace would make whole frames of it")

    def _wrap(self, image: av.VideoFrame) -> Frame:
        layout = layout_of(image.format.name)
        assert layout is not None
        assert image.pts is not None
        assert image.time_base is not None
        colour = Colour(image.colorspace, image.color_primaries, image.color_trc, image.color_range)
        frame = Frame(
            image=image,
            layout=layout,
            colour=colour,
            pts=image.pts,
            time_base=image.time_base,
            duration=image.duration or 0,
            index=self._index,
            planes=planes_of(image, layout),
            rotation=self._rotation,
        )
        self._index += 1
        return frame

    def _shift(self, packet: Packet) -> Fraction:
        """Move another track's packet to the output's clock and return its time in seconds."""
        assert packet.dts is not None
        if self._start:
            shift = math.floor(self._zero / packet.time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
        return (packet.dts if packet.pts is None else packet.pts) * packet.time_base

    def _continues(self, packet: Packet) -> bool:
        """Return False for sound that lies before sound already passed on: containers refuse that."""
        if packet.stream.type != "audio" or packet.dts is None:
            return True
        last = self._sound_at.get(packet.stream.index)
        if last is not None and (packet.dts < last or (packet.dts == last and self._seams is not None)):
            self._overlapping += 1
            return False
        self._sound_at[packet.stream.index] = packet.dts
        return True

    def _is_behind_end(self, time: Fraction) -> bool:
        if self._duration is None:
            return False
        return time >= self._duration + (Fraction(0) if self._start else self._origin)

    # -- the end ------------------------------------------------------------------------------------------------

    def _check_whole(self) -> None:
        """Compare the packets with the length in the header.

        Raises:
            InputError: the file is truncated or parts of it could not be decoded.
        """
        if self._repaired:
            self._note_once(f"{self._repaired} timestamps ran backwards or stood still and were moved by a tick")
        if self._seams is not None and self._seams.count:
            self._note_once(f"times begin anew {self._seams.count} times, as in recordings that were joined; each part goes on from the one before")
        if self._overlapping:
            self._note_once(f"{self._overlapping} packets of sound lay before the sound they follow and were left out")
        if self._duration is None and (what := self._extent.missing(self._file, frames=not self._start)) is not None:
            raise self._broken(what)
        if self._duration is None and self._extent.cut:
            self._note_once(f"{self._extent.cut} bytes are missing at the file's end, which hold no frame")

    def _broken(self, what: str) -> InputError:
        return InputError(f"{self._path}: truncated or damaged after {self._index} frames: {what}; get a whole copy of the file")

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
