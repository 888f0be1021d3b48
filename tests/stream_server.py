"""A server that live streams are published to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import av
from av.container import InputContainer

LISTEN = {"rtmp": {"listen": "1", "timeout": "1"}, "rtsp": {"rtsp_flags": "listen", "listen_timeout": "1"}}


class StreamServer:
    """Takes publishers one after the other, until it is closed; ``hang_up`` ends a session."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/live/secret"
        self.hang_up = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def receive(self, container: InputContainer) -> Iterator[None]:
        """Keep what one publisher sends, part by part."""
        raise NotImplementedError

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                with av.open(self.url, options=LISTEN[self._scheme], timeout=(10.0, 10.0)) as container:
                    self.hang_up.clear()
                    for _ in self.receive(container):
                        if self.hang_up.is_set() or self._over.is_set():
                            break
            except (av.FFmpegError, OSError):
                continue

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)
