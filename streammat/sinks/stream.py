"""Sink for a live stream to a server: H.264 and AAC over RTMP or RTSP; reconnects with growing pauses."""

from __future__ import annotations

import io
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av

from streammat.audio.track import Chunk
from streammat.config import Content
from streammat.errors import OutputError, UsageError, first_line
from streammat.events import Emit, StreamBack, StreamLost
from streammat.media.frame import Frame, Matte, Packet, codec_threads, keyframe_of
from streammat.sinks.relay import Relay
from streammat.sinks.tracks import SoundTrack
from streammat.sources import StreamInfo

KEYFRAME_SECONDS: Final = 2
"""Seconds between keyframes, as streaming services ask for: a new viewer waits no longer."""
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_FORMATS: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp"}


@dataclass
class _Connection:
    relay: Relay
    stream: Any
    sound: SoundTrack | None
    start: int | None = None
    """``pts`` of its first frame: each connection begins at 0."""
    key: int | None = None
    """``pts`` of its last keyframe."""


class StreamSink:
    """Sends frames to a streaming server.

    Frames without a connection are left out. Only the first connection must succeed, so that a wrong address is reported at once.

    Args:
        url: rtmp, rtmps or rtsp.
        info: properties of the source.
        bitrate: kbit/s.
        emit: called with ``stream-lost`` and ``stream-back``.
        channels: of the run's sound, 1 or 2; 0: no sound.

    Raises:
        UsageError: the URL is of another kind.
        OutputError: the first connection fails.
    """

    def __init__(self, url: str, info: StreamInfo, bitrate: int, emit: Emit, *, channels: int = 0) -> None:
        self.content: Content = "composite"
        self.notes: list[str] = []
        self.frames = 0
        self.skipped = 0
        """Number of frames left out for lack of a connection."""
        self._url = url
        self._format = _format_of(url)
        self._info = info
        self._bitrate = bitrate
        self._emit = emit
        self._channels = channels
        self._tries = 0
        self._hurried = False
        self._again = 0.0
        self._connection: _Connection | None = self._connect()
        try:
            self._connection.relay.wait()
        except BaseException as error:
            self._connection.relay.kill()
            if not isinstance(error, OSError):
                raise
            raise OutputError(
                f"{public(url)}: cannot be reached ({first_line(error)}); check the address, and that the server runs"
            ) from error

    def write(self, frame: Frame, matte: Matte) -> None:
        """Send one frame, or leave it out while there is no connection."""
        del matte
        connection = self._ready(frame.pts)
        if connection is None:
            self.skipped += 1
            return
        try:
            if connection.sound is not None:
                connection.sound.begin(frame.pts * frame.time_base)
            for packet in connection.stream.encode(self._keyed(connection, frame)):
                self._send(connection, packet)
        except (av.FFmpegError, OSError) as error:
            self._lost(error)
            self.skipped += 1
            return
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: live sources have none."""

    def hear(self, chunk: Chunk) -> None:
        """Send sound; see ``sinks.SoundSink``."""
        connection = self._connection
        if connection is None or connection.sound is None or connection.start is None:
            return
        try:
            for packet in connection.sound.carry(chunk):
                self._send(connection, packet)
        except (av.FFmpegError, OSError) as error:
            self._lost(error)

    def hurry(self) -> None:
        """Wait only briefly for the server from now on, because the run ends; from any thread."""
        self._hurried = True
        connection = self._connection
        if connection is not None:
            connection.relay.hurry()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.hurry()
        connection, self._connection = self._connection, None
        self._again = math.inf
        if connection is not None:
            with suppress(av.FFmpegError, OSError):  # what is not sent by now is of no use any more
                if connection.start is not None:
                    for packet in connection.stream.encode(None):
                        self._send(connection, packet)
                    for packet in connection.sound.finish() if connection.sound is not None else ():
                        self._send(connection, packet)
            connection.relay.close()
        if self.skipped and not self.notes:
            self.notes.append(f"{public(self._url)}: {self.skipped} images were left out while the server was away")

    def abort(self) -> None:
        """Close the connection."""
        self.close()

    # -- the connection -----------------------------------------------------------------------------------------

    def _connect(self) -> _Connection:
        """Begin to connect: open encoders and start a process that connects to the server."""
        header = io.BytesIO()
        # MP4 only carries the streams' parameters to that process.
        container = av.open(header, "w", format="mp4", options={"movflags": "empty_moov+frag_keyframe"})
        rate = self._info.rate
        stream: Any = container.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "tune": "zerolatency", "nal-hrd": "cbr"}
        )
        stream.height, stream.width = self._info.size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._info.time_base
        # Sliced threads, as zerolatency has them: whole frames in flight would each wait for the next.
        context.thread_count = min(4, codec_threads())
        context.bit_rate = self._bitrate * 1000
        context.options.update({"maxrate": f"{self._bitrate}k", "bufsize": f"{2 * self._bitrate}k"})
        context.gop_size = max(1, round(KEYFRAME_SECONDS * rate))  # at most: see _keyed
        colour = self._info.colour
        context.colorspace, context.color_primaries, context.color_trc = colour.matrix, colour.primaries, colour.transfer
        context.color_range = 1
        sound = SoundTrack(container, "aac", self._channels) if self._channels else None
        container.start_encoding()
        options = {"flvflags": "no_duration_filesize"} if self._format == "flv" else {"rtsp_transport": "tcp"}
        relay = Relay(self._url, self._format, options, header.getvalue(), [one.codec_context for one in container.streams])
        if self._hurried:
            relay.hurry()
        return _Connection(relay, stream, sound)

    def _ready(self, pts: int) -> _Connection | None:
        """Return the connection if it is open; starts the next attempt when it is due, without waiting."""
        if self._connection is None:
            if time.monotonic() < self._again:
                return None
            self._connection = self._connect()
        connection = self._connection
        if connection.start is None:
            try:
                if not connection.relay.open:
                    return None
            except OSError:
                self._connection = None
                connection.relay.kill()
                self._back_off()
                return None
            connection.start = pts
            if self._tries:
                self._tries = 0
                self._emit(StreamBack(public(self._url)))
        return connection

    def _keyed(self, connection: _Connection, frame: Frame) -> av.VideoFrame:
        """Return the frame, marked as a keyframe when one is due: the encoder counts frames, and some are dropped."""
        tick = 1 / (2 * self._info.rate)
        if connection.key is not None and (frame.pts - connection.key) * self._info.time_base + tick < KEYFRAME_SECONDS:
            return frame.image
        connection.key = frame.pts
        return keyframe_of(frame.image, frame.layout)

    def _send(self, connection: _Connection, packet: Any) -> None:
        shift = Fraction(connection.start or 0) * self._info.time_base
        for name in ("pts", "dts"):
            value = getattr(packet, name)
            if value is not None:
                setattr(packet, name, value - round(shift / packet.time_base))
        connection.relay.send(packet.stream_index, packet)

    def _lost(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.relay.kill()
        pause = self._back_off()
        self._emit(StreamLost(public(self._url), f"{first_line(error)}; trying again in {pause:g} s"))

    def _back_off(self) -> float:
        pause = _PAUSES[min(self._tries, len(_PAUSES) - 1)]
        self._tries += 1
        self._again = time.monotonic() + pause
        return pause


def is_stream(text: str) -> bool:
    """Return True for an output that is a server's address."""
    return "://" in text


def check_stream(url: str) -> None:
    """Refuse what is no address that streams go to.

    Raises:
        UsageError: it is another kind of address, or none.
    """
    _format_of(url)


def _format_of(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme == "srt":
        raise UsageError(
            f"--to {public(url)}: the FFmpeg that PyAV brings has no SRT; expected rtmp:// or rtsp:// to a server that hands it on as SRT, such as MediaMTX"
        )
    if scheme not in _FORMATS:
        raise UsageError(f"--to {public(url)}: cannot stream to {scheme}://; expected {', '.join(f'{name}://' for name in _FORMATS)}")
    return _FORMATS[scheme]


def public(url: str) -> str:
    """Return the address without what may be secret: a name and password, and the last part, which is the key with most services."""
    scheme, _, rest = url.partition("://")
    server, slash, path = rest.partition("/")
    host = server.rpartition("@")[2]
    folders, _, key = path.rpartition("/")
    # A single part is a stream's name with RTSP; with RTMP some services have a key there.
    if not key or (not folders and scheme.lower().startswith("rtsp") and "?" not in key):
        return f"{scheme}://{host}{slash}{path}"
    return f"{scheme}://{host}/{folders}{'/' if folders else ''}…"
