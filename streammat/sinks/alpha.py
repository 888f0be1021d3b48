"""Frames with alpha for OBS and other programs on this machine: raw video in a NUT stream, for every program that connects.

Each connected program has its own stream, which begins with the current frame, and a thread; a slow one gets fewer frames. FFmpeg
reads it as ``tcp://127.0.0.1:PORT`` with the format ``nut``, and so does OBS's Media Source, which blends it by its alpha.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any, Final

import av
from av.video.reformatter import VideoReformatter

from streammat.config import Content
from streammat.errors import OutputError, UsageError, first_line
from streammat.media.frame import Frame, Matte, Packet, layout_of, planes_of
from streammat.media.planes import alpha_plane
from streammat.sources import StreamInfo
from streammat.threads.channel import Channel, Closed

ALPHA_PORT: Final = 8138
"""Default port."""
_MOST: Final = 8
"""Most connected programs."""
_PATIENCE: Final = 5.0
"""Seconds that a program may take to read a frame."""
_FORMAT: Final = "yuva420p"


def is_alpha(text: str) -> bool:
    """Return True for an output that ``--to`` calls ``alpha`` or ``alpha:PORT``."""
    return text.lower().partition(":")[0] == "alpha" and "/" not in text


class AlphaSink:
    """Serves frames with straight alpha, on this machine only.

    Args:
        text: as ``--to`` has it; port 0 takes any that is free.
        info: of the source.

    Raises:
        UsageError: the port is invalid.
        OutputError: listening on it fails.
    """

    def __init__(self, text: str, info: StreamInfo) -> None:
        self.content: Content = "transparent"
        self.notes: list[str] = []
        self.frames = 0
        self._info = info
        digits = text.partition(":")[2] or str(ALPHA_PORT)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535):
            raise UsageError(f"--to {text[:80]}: expected alpha or alpha:PORT, such as alpha:{ALPHA_PORT}")
        self._socket = socket.socket()
        try:
            if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", int(digits)))
            self._socket.listen(_MOST)
        except OSError as error:
            self._socket.close()
            raise OutputError(f"--to {text}: port {digits} cannot be listened on ({first_line(error)}); give another, such as alpha:{ALPHA_PORT + 1}") from error
        self.address = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._layout = layout_of(_FORMAT)
        self._converter = VideoReformatter()
        self._lock = threading.Lock()
        self._clients: list[Channel[av.VideoFrame]] = []
        self._over = False
        threading.Thread(target=self._accept, name="streammat-alpha", daemon=True).start()

    def write(self, frame: Frame, matte: Matte) -> None:
        """Pass a frame to all programs; never waits."""
        self.frames += 1
        with self._lock:
            clients = tuple(self._clients)
        if not clients:
            return
        image = self._with_alpha(frame, matte)
        for client in clients:
            with suppress(Closed):
                client.put(image)

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: the stream has no sound."""

    def close(self) -> None:
        """End every stream; may be called twice."""
        with self._lock:
            self._over = True
            clients = tuple(self._clients)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or accept would wait on
        self._socket.close()
        for client in clients:
            client.end()

    def abort(self) -> None:
        """End every stream."""
        self.close()

    def _with_alpha(self, frame: Frame, matte: Matte) -> av.VideoFrame:
        """Return a new image with the planes of both."""
        assert self._layout is not None
        colour = frame.image if frame.layout.name == "yuv420p" else self._converter.reformat(frame.image, format="yuv420p", threads=1)
        image = av.VideoFrame(colour.width, colour.height, _FORMAT)
        for target, plane in zip(planes_of(image, self._layout), (*planes_of(colour, frame.layout), alpha_plane(matte, 8)), strict=True):
            target[:] = plane
        image.pts, image.time_base = frame.pts, frame.time_base
        return image

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                if self._over or len(self._clients) >= _MOST:
                    client.close()
                    continue
                frames: Channel[av.VideoFrame] = Channel(1, "drop_oldest")
                self._clients.append(frames)
            threading.Thread(target=self._serve, args=(client, frames), name="streammat-alpha-client", daemon=True).start()

    def _serve(self, client: socket.socket, frames: Channel[av.VideoFrame]) -> None:
        client.settimeout(_PATIENCE)
        try:
            with client, suppress(OSError, av.FFmpegError):
                self._send(client, frames)
        finally:
            frames.abandon()
            with self._lock:
                self._clients.remove(frames)

    def _send(self, client: socket.socket, frames: Channel[av.VideoFrame]) -> None:
        with av.open(_Writer(client), "w", format="nut") as container:
            stream: Any = container.add_stream("rawvideo", rate=self._info.rate)
            stream.height, stream.width = self._info.size
            stream.pix_fmt = _FORMAT
            stream.codec_context.time_base = self._info.time_base
            colour = self._info.colour
            stream.codec_context.colorspace, stream.codec_context.color_primaries = colour.matrix, colour.primaries
            stream.codec_context.color_trc, stream.codec_context.color_range = colour.transfer, 1
            begin: int | None = None
            for image in frames:
                begin = image.pts if begin is None else begin
                for packet in stream.encode(image):
                    # Others are sent the same image: its own time stays.
                    packet.pts = packet.dts = packet.pts - begin
                    container.mux_one(packet)
                del image


class _Writer:
    """A file object for PyAV that writes to a socket."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def write(self, data: bytes) -> int:
        self._client.sendall(data)
        return len(data)
