"""A connection to a streaming server in a separate process: FFmpeg may block for ever while opening and writing, and blocks all
of Python meanwhile.

The process reads one line of JSON from stdin (see `Relay`), then packets, each after a `_HEAD`; the end of stdin ends the stream.
It answers with the line ``open`` when the server accepts the stream, and with ``error …`` if it refuses or disconnects. It ends
itself if a step takes too long.
"""

from __future__ import annotations

import base64
import faulthandler
import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av

from streammat.errors import first_line
from streammat.media.frame import Packet
from streammat.threads.patient_stream import PatientWriter

PATIENCE: Final = 10
"""Seconds that a server may take to answer, or to accept a packet."""
_GOODBYE = 2.0
_WAITING = 65_536  # bytes on the way to the process; a frame that comes then waits, and the outlet leaves out those after it
_HEAD: Final = struct.Struct("<BBqqqI")
"""Header of a packet: stream, keyframe flag, ``pts``, ``dts``, duration, length in bytes."""


class Relay:
    """The process of a connection, and the pipe to it.

    Args:
        url: address of the server.
        form: FFmpeg's name of the container format.
        options: options of that format.
        header: an MP4 without packets that describes the streams.
        contexts: the streams' open encoders.
    """

    def __init__(self, url: str, form: str, options: dict[str, str], header: bytes, contexts: Sequence[Any]) -> None:
        self._failure: str | None = None
        self._open = threading.Event()
        self._changed = threading.Condition()
        self._hurried: float | None = None
        # Detached from the terminal, whose Ctrl-C would end it before queued packets are sent.
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streammat.sinks.relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, **apart
        )
        assert self._process.stdin is not None
        self._writer = PatientWriter(self._process.stdin, None, "streammat-to-relay")
        self._thread = threading.Thread(target=self._listen, name="streammat-from-relay", daemon=True)
        self._thread.start()
        job = {
            "url": url, "format": form, "options": options, "patience": PATIENCE, "header": base64.b64encode(header).decode(),
            "streams": [[base64.b64encode(context.extradata or b"").decode(), str(context.time_base)] for context in contexts],
        }
        self._writer.write(json.dumps(job).encode() + b"\n")

    @property
    def open(self) -> bool:
        """Return whether the server has accepted the stream.

        Raises:
            ConnectionError: it refused, or has disconnected.
        """
        if self._failure is not None:
            raise ConnectionError(self._failure)
        return self._open.is_set()

    def wait(self) -> None:
        """Wait until the server accepts the stream.

        Raises:
            ConnectionError: it refused.
        """
        with self._changed:
            while not self.open:
                self._changed.wait(0.2)

    def send(self, index: int, packet: Packet) -> None:
        """Send a packet of stream ``index``, after those before it.

        Raises:
            ConnectionError: the server has disconnected, or accepts nothing any more.
        """
        while not self._writer.drain(0.1, _WAITING) and self.open:
            if self._hurried is not None and time.monotonic() > self._hurried:
                raise ConnectionError("it accepts nothing any more")
        assert self.open
        content = bytes(packet)
        # Absent times do not happen: our encoders give them all.
        head = _HEAD.pack(index, packet.is_keyframe, packet.pts or 0, packet.dts or 0, packet.duration or 0, len(content))
        self._writer.write(head + content)

    def hurry(self) -> None:
        """Wait only briefly for the server from now on; from any thread."""
        self._hurried = time.monotonic() + _GOODBYE

    def close(self) -> None:
        """Send what is queued, close the stream and end the process; takes only a moment, whatever the server does."""
        sent = self._writer.drain(_GOODBYE)
        self._writer.end()
        self._end(_GOODBYE if sent else 0.0)

    def kill(self) -> None:
        """End the process at once."""
        self._writer.end()
        self._end(0.0)

    def _end(self, seconds: float) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        if seconds:
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        process.kill()
        process.wait()
        self._thread.join()
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said = line.decode("utf-8", "replace").strip()
            if said == "open":
                self._open.set()
                with self._changed:
                    self._changed.notify_all()
        silent = f"it took nothing for {PATIENCE} s" if self._open.is_set() else f"it took the connection and said nothing for {PATIENCE} s"
        self._failure = said.removeprefix("error ") if said.startswith("error ") else silent
        with self._changed:
            self._changed.notify_all()


def main() -> None:
    """Run the process."""
    packets = sys.stdin.buffer
    try:
        _work(json.loads(packets.readline()), packets)
    except (av.FFmpegError, OSError, ValueError) as error:
        sys.stdout.write(f"error {first_line(error)}\n")
        sys.stdout.flush()
        os._exit(1)  # closing the container might not end


def _work(job: dict[str, Any], packets: BinaryIO) -> None:
    with av.open(io.BytesIO(base64.b64decode(job["header"])), format="mp4") as header, _limited(patience := job["patience"]):
        container = av.open(job["url"], "w", format=job["format"], options=job["options"])
        streams = []
        for template, (extradata, _) in zip(header.streams, job["streams"], strict=True):
            stream = container.add_stream_from_template(template)
            # MP4 has its own form of it, and our packets are as they came from the encoder.
            stream.codec_context.extradata = base64.b64decode(extradata)
            streams.append(stream)
        container.start_encoding()
    time_bases = [Fraction(base) for _, base in job["streams"]]
    sys.stdout.write("open\n")
    sys.stdout.flush()
    while len(head := packets.read(_HEAD.size)) == _HEAD.size:
        index, key, pts, dts, duration, size = _HEAD.unpack(head)
        packet: Packet = av.Packet(packets.read(size))
        packet.pts, packet.dts, packet.duration, packet.time_base = pts, dts, duration, time_bases[index]
        packet.is_keyframe, packet.stream = bool(key), streams[index]
        with _limited(patience):
            container.mux_one(packet)
    with _limited(patience):
        container.close()


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer than ``seconds``; the watching thread does not need Python."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
