"""Sink for video files: encodes frames and copies the other tracks; the file is complete or does not exist."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from streammat.audio.track import Chunk
from streammat.config import Content, EncodeOptions
from streammat.errors import OutputError, first_line
from streammat.media.damage import Damage
from streammat.media.frame import (
    Colour,
    Frame,
    Layout,
    Matte,
    Packet,
    codec_threads,
    keyframe_of,
    layout_of,
    planes_of,
    swscale_matrix,
    swscale_range,
)
from streammat.media.images import reformatted
from streammat.media.interlacing import CODES, FieldMarker, Fields
from streammat.media.planes import alpha_plane, limited_luma
from streammat.sinks.codecs import Container, VideoCodec, choose_codec, choose_format, container_of
from streammat.sinks.partial import PartialFile
from streammat.sinks.tracks import SoundTrack, Tracks
from streammat.sources import StreamInfo
from streammat.threads.scheduling import kept_scheduling

# So much of a file that grows is not on the disk yet, beside what the encoder holds.
_READABLE_SECONDS = 0.5
# ISO/IEC 23091-2 code of each RGB matrix: no YUV matrix at all.
_RGB_MATRIX = 0
_UNSPECIFIED = 2
OWN_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "handler_name", "vendor_id", "alpha_mode",
    "bps", "number_of_frames", "number_of_bytes", "_statistics_tags", "_statistics_writing_app",
    "_statistics_writing_date_utc",
}
"""Tags that describe the input file itself; they are not copied."""


class FileSink:
    """One video file.

    The file is written beside its target (``PartialFile``) and renamed when it is complete. MP4 and MOV are written in
    fragments that become an ordinary file at the end, so that even a killed run leaves a playable partial file. A fragment is
    what lies between two keyframes (cut elsewhere, FFmpeg 8 can make the file too short by its last frame), so the second comes
    early.

    Args:
        path: the target; its extension picks the container.
        info: properties of the source; size, times, colour, tags and chapters are kept.
        content: what to write.
        encode: codec and quality.
        tracks: copy the source's audio and subtitles.
        live: a keyframe every two seconds, and each written out within a second of coming, so that a killed
            recording holds nearly all that was shown.
        from_zero: the first frame is shown at 0, whatever its time is.
        channels: of the run's sound, 1 or 2; 0: no sound.

    Raises:
        UsageError: container and codec do not fit, another run is writing the file, or it exists and is not to be replaced.
        OutputError: the file cannot be opened, or the encoder refuses the size.
    """

    def __init__(
        self, path: str, info: StreamInfo, content: Content, encode: EncodeOptions, *, tracks: bool = True, live: bool = False,
        from_zero: bool = False, channels: int = 0,
    ) -> None:
        self.content = content
        self.notes: list[str] = []
        self.frames = 0
        self._path = Path(path)
        self._alpha = content == "transparent"
        self._matte = content == "matte"
        kind = container_of(path)
        codec = choose_codec(path, encode.codec, alpha=self._alpha, matte=self._matte)
        self._format = choose_format(codec, info.layout, info.size, alpha=self._alpha, grey=self._matte)
        layout = layout_of(self._format)
        assert layout is not None
        self._layout: Layout = layout
        self._codec_name = codec.name
        self._limited_range = self._matte or info.layout.rgb or codec.limited
        self._packets = 0
        self._live = live
        # Seconds that are taken from every time; None: those of the first frame, which has not come.
        self._shift: Fraction | None = None if from_zero else Fraction(0)
        self._over = False  # closed, dropped or failed: the container takes nothing more
        self._durations: dict[int, int] = {}
        self._counted = kind.counted
        self._rate = info.rate
        self._begin: Fraction | None = None
        self._early: list[Packet] = []  # of tracks that wait for the first frame's time
        self._second_key: float | None = None  # when it is due; inf: it was, or there is no need
        self._converter = VideoReformatter()
        if not self._matte and (layout.chroma != info.layout.chroma or layout.depth < info.layout.depth):
            self.notes.append(f"{self._path.name}: stored as {self._format} (the input is {info.layout.name})")
        self._note_shape(kind, info)
        self._fields = self._keeps_fields(codec, info)
        self._marker = None if self._fields is None else FieldMarker(self._fields)
        self._container = self._open(kind, overwrite=encode.overwrite)
        try:
            how = codec.encoder_options(encode, alpha=self._alpha) | (codec.field_options or {} if self._fields else {})
            self._stream = self._add_video(codec.encoder, how, info)
            self._tracks = Tracks(self._container, info.passengers if tracks else (), kind, self._path.name)
            self.notes += self._tracks.notes
            self._sound = SoundTrack(self._container, kind.audio, channels) if channels else None
            self._tag(info)
            with kept_scheduling():
                self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            self._drop()
            height, width = info.size
            rate = f" at {float(info.rate):.6g} frames per second, or {kind.muxer.upper()} does" if kind.counted else ""
            raise OutputError(
                f"{path}: the {codec.name} encoder ({codec.encoder}) refuses {width}x{height} {self._format}{rate} ({first_line(error)}); "
                f"try another --codec{', .mov' if rate else ''} or size"
            ) from error
        except BaseException:
            self._drop()
            raise

    @property
    def damage(self) -> list[Damage]:
        """Parts of the source's tracks that were left out; see ``sinks.TrackSink``."""
        return self._tracks.damage

    def write(self, frame: Frame, matte: Matte) -> None:
        """Encode one frame with its own time."""
        if self._counted:
            self._count(frame.pts * frame.time_base)
        image = self._image_for(frame, matte)
        image.pts, image.time_base = frame.pts, frame.time_base
        if self._shift is None:
            self._shift = frame.pts * frame.time_base
        if self._sound is not None:
            self._sound.begin(frame.pts * frame.time_base)
        if self._second_key is None:
            self._second_key = frame.pts * frame.time_base + _READABLE_SECONDS
        elif frame.pts * frame.time_base >= self._second_key:
            self._second_key = math.inf
            image = keyframe_of(image, self._layout)
        if frame.duration:
            image.duration = frame.duration
            self._durations[frame.pts] = frame.duration
        self._encode(image)
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Write a packet of an audio or subtitle track; damaged ones are left out."""
        if self._counted and self._begin is None:
            self._early.append(packet)
            return
        try:
            self._tracks.carry(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._close_after_error(error) from error

    def hear(self, chunk: Chunk) -> None:
        """Add sound of a live run; see ``sinks.SoundSink``."""
        assert self._sound is not None
        try:
            for ready in self._sound.carry(chunk):
                self._mux(ready)
        except (av.FFmpegError, OSError) as error:
            raise self._close_after_error(error) from error

    def close(self) -> None:
        """Finish the file, check that every frame is in it, and give it its name."""
        if self._over:
            return
        if self.frames == 0:
            self.abort()
            return
        try:
            self._complete()
        finally:
            self._partial.release()

    def abort(self) -> None:
        """Discard the file."""
        self._drop()

    def _complete(self) -> None:
        self._encode(None)
        try:
            self._tracks.finish()
            for ready in self._sound.finish() if self._sound is not None else ():
                self._mux(ready)
            self._container.close()
            self._over = True
            _sync(self._partial.path)
        except (av.FFmpegError, OSError) as error:
            raise self._close_after_error(error) from error
        if self._packets != self.frames:
            raise OutputError(
                f"{self._path}: {self.frames} frames were given to the {self._codec_name} encoder and {self._packets} came out; "
                f"the file is kept as {self._partial.path.name}"
            )
        try:
            self._partial.take_name()
        except OSError as error:
            kept = f"the file is complete as {self._partial.path}" if self._partial.here else "nothing was kept"
            raise OutputError(f"{self._path}: cannot take its name ({first_line(error)}); {kept}") from error

    # -- opening ------------------------------------------------------------------------------------------------

    def _open(self, kind: Container, *, overwrite: bool) -> av.container.OutputContainer:
        """Open the partial file with the muxer's options."""
        # AAC begins before zero; by default a muxer would move every track to make room for that.
        options = {"avoid_negative_ts": "disabled"}
        if kind.muxer in ("mp4", "mov"):
            # delay_moov: only a late header can hold the edit list that keeps B-frames' start exact.
            options["movflags"] = "hybrid_fragmented+delay_moov"
        elif kind.muxer in ("matroska", "webm"):
            options["cluster_time_limit"] = str(round(_READABLE_SECONDS * 1000))
        options["flush_packets"] = "1"
        # SVT-AV1 prints its banner to stderr past FFmpeg's log level; 1 leaves errors only.
        os.environ.setdefault("SVT_LOG", "1")
        try:
            self._partial = PartialFile(self._path, overwrite=overwrite)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be created ({first_line(error)}); check that the folder exists and may be written") from error
        return av.open(str(self._partial.path.absolute()), "w", format=kind.muxer, options=options)

    def _add_video(self, encoder: str, options: dict[str, str], info: StreamInfo) -> av.VideoStream:
        # The average of a variable rate can be anything; encoders want a plausible one for their rate control.
        rate = info.rate if Fraction(1, 10) <= info.rate <= 1000 else Fraction(30)
        stream = self._container.add_stream(encoder, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = info.size
        stream.pix_fmt = self._format
        context = stream.codec_context
        context.time_base = info.time_base
        if self._live:
            context.gop_size = max(1, round(2 * rate))
        context.thread_type = "AUTO"
        context.thread_count = codec_threads()
        context.sample_aspect_ratio = info.sample_aspect_ratio
        context.color_range = self._range(info)
        if self._fields is not None:
            context.field_order = CODES[self._fields]
        if self._matte:
            return self._rotated(stream, info)
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        matrix = info.colour.matrix
        if matrix == _UNSPECIFIED and not info.layout.rgb:  # say what was assumed, for the network and the background
            matrix = swscale_matrix(info.colour, info.size[0])
        # RGB made into YUV needs a matrix of its own; BT.709 is what players assume.
        context.colorspace = 1 if matrix in (_RGB_MATRIX, _UNSPECIFIED) and not self._layout.rgb else matrix
        if self._codec_name == "hevc" and self._path.suffix.lower() in (".mp4", ".m4v", ".mov"):
            # QuickTime plays HEVC under this tag only.
            context.codec_tag = "hvc1"
        return self._rotated(stream, info)

    def _note_shape(self, kind: Container, info: StreamInfo) -> None:
        # H.264 and HEVC carry the aspect ratio themselves; for the others PyAV has no way to tell Matroska of it.
        if kind.muxer in ("matroska", "webm") and self._codec_name not in ("h264", "hevc") and info.sample_aspect_ratio != 1:
            self.notes.append(
                f"{self._path.name}: the sample aspect ratio {info.sample_aspect_ratio} is lost in {kind.muxer} with "
                f"{self._codec_name}; .mov, .mp4 and h264 in .mkv keep it"
            )

    def _keeps_fields(self, codec: VideoCodec, info: StreamInfo) -> Fields | None:
        """Return the input's field order, if this output can hold it."""
        if info.fields is None:
            return None
        # Encoders want whole lines of chroma in each field.
        rows = 2 << self._layout.chroma[1]
        fits = info.size[0] % rows == 0
        if codec.field_options is not None and fits:
            self.notes.append(f"{self._path.name}: is interlaced as the input, {info.fields} field first")
            return info.fields
        why = "" if codec.field_options is None else f" of heights that are no multiple of {rows}"
        self.notes.append(f"{self._path.name}: {codec.name} holds no fields{why}; its frames are marked as progressive")
        return None

    def _rotated(self, stream: av.VideoStream, info: StreamInfo) -> av.VideoStream:
        if info.rotation and self._counted:
            self.notes.append(f"{self._path.name}: is stored turned as the input, and {self._path.suffix} cannot say so")
        elif info.rotation:
            stream.set_display_rotation(info.rotation * 90)
        return stream

    def _range(self, info: StreamInfo) -> int:
        if self._layout.rgb or self._format.startswith("gray"):
            return 2
        if self._limited_range:
            return 1
        return 2 if info.layout.name.startswith("yuvj") else info.colour.range or 1

    def _tag(self, info: StreamInfo) -> None:
        self._container.metadata.update({key: value for key, value in info.metadata.items() if key.lower() not in OWN_TAGS})
        kept = {key: value for key, value in info.stream_metadata.items() if key.lower() not in OWN_TAGS}
        self._stream.metadata.update(kept)
        if info.chapters:
            self._container.set_chapters(list(info.chapters))

    def _count(self, time: Fraction) -> None:
        """Start the tracks with the first frame, and refuse a frame whose time is not that of its number."""
        if self._begin is None:
            self._begin = time
            self._tracks.begin(time)
            for packet in self._early:
                self.copy(packet)
            self._early.clear()
        late = time - self._begin - self.frames / self._rate
        if abs(late) * self._rate > Fraction(1, 2):
            kind = self._path.suffix
            raise self._close_after_error(ValueError(f"it comes {float(late):+.3f} s off the steady {float(self._rate):.6g} frames per second that {kind} has; write .mov"))

    # -- encoding -----------------------------------------------------------------------------------------------

    def _image_for(self, frame: Frame, matte: Matte) -> av.VideoFrame:
        """Return the frame in the encoder's pixel format, with alpha if the format has it."""
        if self._matte:
            return self._grey(frame, matte)
        image = frame.image
        stored = self._stream.codec_context.color_range or 1
        if image.format.name.removeprefix("yuvj") != self._format.removeprefix("yuv") or swscale_range(frame) != stored:
            matrix = None if self._layout.rgb else swscale_matrix(Colour(self._stream.codec_context.colorspace), frame.size[0])
            image = reformatted(frame, self._format, self._converter, colour_range=stored, matrix=matrix)
        if self._alpha:
            planes_of(image, self._layout)[-1][:] = alpha_plane(matte, self._layout.depth)
        return image

    def _grey(self, frame: Frame, matte: Matte) -> av.VideoFrame:
        image = av.VideoFrame(frame.image.width, frame.image.height, self._format)
        planes = planes_of(image, self._layout)
        depth = self._layout.depth
        alpha = alpha_plane(matte, depth)
        if self._layout.planes == 1:
            planes[0][:] = alpha
            return image
        planes[0][:] = limited_luma(alpha, depth)
        for plane in planes[1:3]:
            plane[:] = 1 << (depth - 1)
        return image

    def _encode(self, image: av.VideoFrame | None) -> None:
        try:
            marked = image if image is None or self._marker is None else self._marker(image)
            for packet in self._stream.encode(marked):
                if packet.pts is not None:
                    # Some encoders forget how long a frame of a variable rate is shown.
                    packet.duration = self._durations.pop(packet.pts, packet.duration)
                self._mux(packet)
                self._packets += 1
        except (av.FFmpegError, OSError) as error:
            raise self._close_after_error(error) from error

    def _mux(self, packet: Packet) -> None:
        """Write a packet of ours."""
        if self._shift:
            ticks = round(self._shift / packet.time_base)
            packet.pts, packet.dts = (None if time is None else time - ticks for time in (packet.pts, packet.dts))
        self._container.mux_one(packet)

    # -- failing ------------------------------------------------------------------------------------------------

    def _close_after_error(self, error: Exception) -> OutputError:
        """Close the file after an error; returns a text that says where the partial file is."""
        self._over = True
        with suppress(av.FFmpegError, OSError):  # the first error is the one to tell
            self._container.close()
        self._partial.release()
        kept = f"what was done is kept as {self._partial.path}" if self._partial.here else "nothing was kept"
        return OutputError(f"{self._path}: cannot be written after {self.frames} frames ({first_line(error)}); {kept}")

    def _drop(self) -> None:
        self._over = True
        with suppress(av.FFmpegError, OSError):  # it goes away in any case
            self._container.close()
        self._partial.drop()


def _sync(path: Path) -> None:
    """Flush the file to the disk, so that a full disk is noticed before the file is renamed."""
    with path.open("r+b") as file:  # Windows pushes only what may be written
        os.fsync(file.fileno())
