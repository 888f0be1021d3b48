"""Live streams into real servers, FFmpeg's own, which go away and come back."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from conftest import QUICK, spawn, wait_for
from media import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the example subject."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(192, 108), frames=25)


LISTEN = {"rtmp": {"listen": "1", "timeout": "1"}, "rtsp": {"rtsp_flags": "listen", "listen_timeout": "1"}}


class Server:
    """Takes one publisher after the other and counts what they send."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}/live/secret"
        self.keyframes: list[float] = []
        self.frames = 0
        self.sessions = 0
        self.hang_up = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                with av.open(self.url, options=LISTEN[self._scheme], timeout=(10.0, 10.0)) as container:
                    self.sessions += 1
                    self.hang_up.clear()
                    for packet in container.demux(video=0):
                        if packet.pts is not None and packet.size:
                            self.frames += 1
                            if packet.is_keyframe:
                                self.keyframes.append(float(packet.pts * packet.time_base))
                        if self.hang_up.is_set() or self._over.is_set():
                            break
            except (av.FFmpegError, OSError):
                continue

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)


@pytest.fixture(params=["rtmp", "rtsp"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    yield made
    made.close()


def test_a_stream_goes_on_after_its_server_went_away(tmp_path: Path, clip: Path, server: Server) -> None:
    log = tmp_path / "log"
    with spawn(
        "webcam", "--camera", clip, "--loop", *QUICK, "--json", "--to", server.url, "--to", "null", "--log", log, "--bitrate", "500"
    ) as process:
        wait_for(lambda: server.frames > 20, 40)
        server.hang_up.set()
        wait_for(lambda: server.sessions == 2 and server.frames > 60, 40)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    told = [event["event"] for event in [json.loads(line) for line in out.splitlines()]]
    assert told.index("stream-lost") < told.index("stream-back")
    assert "secret" not in out + log.read_text()
    stream, null = [json.loads(line) for line in out.splitlines()][-1]["outputs"]
    assert stream["error"] is None
    assert null["written"] > stream["written"] > 40
    assert any("left out while the server was away" in note for note in stream["notes"])
