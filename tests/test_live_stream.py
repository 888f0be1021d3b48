"""Live streams into real servers, FFmpeg's own, which go away and come back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from media import Audio, frames_of, write_clip
from running import QUICK, REPOSITORY, spawn, wait_for
from stream_server import LISTEN, StreamServer
from test_live_outputs import steered

from streammat.sinks.stream import KEYFRAME_SECONDS


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the example subject, with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(192, 108), frames=25, audio=[Audio()])


class Server(StreamServer):
    """Counts what publishers send."""

    def __init__(self, scheme: str) -> None:
        self.keyframes: list[float] = []
        self.frames = 0
        self.sound: list[int] = []
        """Samples of each session's track."""
        self.sessions = 0
        super().__init__(scheme)

    def receive(self, container: InputContainer) -> Iterator[None]:
        self.sessions += 1
        self.sound.append(0)
        for packet in container.demux():
            if packet.stream.type == "audio":
                self.sound[-1] += sum(frame.samples for frame in packet.decode())
            elif packet.pts is not None and packet.size:
                self.frames += 1
                if packet.is_keyframe:
                    self.keyframes.append(float(packet.pts * packet.time_base))
            yield


@pytest.fixture(params=["rtmp", "rtsp"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with closing(Server(request.param)) as made:
        yield made


def test_a_stream_goes_on_after_its_server_went_away(tmp_path: Path, clip: Path, server: Server) -> None:
    log = tmp_path / "log"
    with spawn(
        "webcam", "--camera", clip, "--loop", *QUICK, "--json", "--to", server.url, "--to", "null", "--log", log, "--bitrate", "500",
        "--microphone", "file",
    ) as process:
        wait_for(lambda: server.frames > 20 and server.sound[0] > 24_000, 40)
        server.hang_up.set()
        wait_for(lambda: server.sessions == 2 and server.frames > 60 and server.sound[1] > 24_000, 40)
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


def test_a_stream_is_started_and_ended_while_the_run_goes_on(clip: Path, server: Server) -> None:
    """Its key stands nowhere; nobody at an address costs nothing but an event."""
    with steered(clip, "--to", "null", "--bitrate", "500") as run:
        assert "no address is known" in run.ask("stream", True)["error"]
        assert "expected rtmp" in run.ask("stream", "file:///etc/passwd")["error"]
        assert "has no SRT" in run.ask("stream", "srt://127.0.0.1:9")["error"]
        run.ask("stream", server.url)
        wait_for(lambda: server.frames > 20, 40)
        assert run.ask("status")["streaming"] is True
        run.ask("stream", False)
        wait_for(lambda: len(run.told("output-ended")) == 1, 30)
        assert run.ask("status")["stream"] == "://".join((server.url.partition("://")[0], f"127.0.0.1:{server.port}/live/…"))
        seen = server.frames
        run.ask("stream", True)  # the same again
        wait_for(lambda: server.frames > seen + 20, 40)
        run.ask("stream")
        wait_for(lambda: len(run.told("output-ended")) == 2, 30)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # nobody listens
            run.ask("stream", f"rtmp://127.0.0.1:{taken.getsockname()[1]}/live/secret")
            wait_for(lambda: len(run.told("output-failed")) == 1, 30)
        assert run.ask("status")["streaming"] is False
    assert run.process.returncode == 143
    assert "secret" not in json.dumps(run.events)


# --------------------------------------------------------------------------------------------------------------------
# Servers that say nothing


def children(process: subprocess.Popen[str]) -> list[int]:
    """Of a process, also those that have left it behind."""
    import psutil

    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def gone(pids: list[int]) -> bool:
    import psutil

    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(40)
        yield listening


def test_a_server_that_says_nothing_is_given_up(clip: Path, deaf: socket.socket) -> None:
    """After a while of its own accord, and in a moment after a signal; killed, it leaves nothing behind that waits for ever."""
    main = "import streammat.sinks.relay; streammat.sinks.relay.PATIENCE = 3; from streammat.cli import main; main()"
    runs, left = [], []
    for scheme in ("rtsp", "rtmp", "rtmp"):
        url = f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}/live/secret"
        command = [sys.executable, "-c", main, "webcam", "--camera", str(clip), "--loop", *QUICK, "--to", url]
        runs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}))
        left.append(deaf.accept()[0])
        if len(runs) == 2:
            begin = time.monotonic()
            runs[1].send_signal(signal.SIGTERM)
            assert runs[1].communicate(timeout=10)[1] == ""
            assert runs[1].returncode == 143
            assert time.monotonic() - begin < 3
    given_up, _, killed = runs
    orphans = children(killed)
    assert len(orphans) == 1
    killed.kill()
    killed.communicate()
    _, err = given_up.communicate(timeout=30)
    assert given_up.returncode == 1
    assert err.count("\n") == 1
    assert "said nothing for 3 s" in err
    assert "secret" not in err
    wait_for(lambda: gone(orphans))
    for connection in left:
        connection.close()


@pytest.mark.slow
def test_a_server_that_comes_back_silent_or_stops_reading_holds_up_its_stream_only(tmp_path: Path, clip: Path) -> None:
    """What is recorded beside it goes on, and SIGTERM ends the run in seconds."""
    made = Server("rtmp")
    code = f"import av\nfor packet in av.open({made.url!r}, options={LISTEN['rtmp'] | {'timeout': '20'}}).demux(): print(end='.', flush=True)"
    made.close()
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as reading:
        assert reading.stdout is not None
        time.sleep(1)  # the first connection must succeed
        with spawn("webcam", "--camera", clip, "--loop", *QUICK, "--quiet", "--to", made.url, "--to", "null", "--bitrate", "50000", "--log", log) as process:
            reading.stdout.read(20)
            reading.send_signal(signal.SIGSTOP)

            def written() -> int:
                found = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "status"]
                return found[-1]["composed"] if found else 0

            before = written()
            time.sleep(3)  # every buffer on the way is full
            wait_for(lambda: written() > before + 20, 30)
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert time.monotonic() - begin < 8
            assert process.returncode == 143
        reading.kill()
    with spawn("webcam", "--camera", clip, "--loop", *QUICK, "--quiet", "--to", (server := Server("rtmp")).url, "--to", "null", "--log", tmp_path / "log2") as process:
        wait_for(lambda: server.frames > 5, 40)
        server.hang_up.set()
        server.close()
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            silent.bind(("127.0.0.1", server.port))
            silent.listen()
            silent.settimeout(40)
            connection, _ = silent.accept()
            before = (tmp_path / "log2").read_text().count('"status"')
            wait_for(lambda: (tmp_path / "log2").read_text().count('"status"') > before + 2, 20)
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert time.monotonic() - begin < 8
            connection.close()
    assert process.returncode == 143
    ended = json.loads((tmp_path / "log2").read_text().splitlines()[-1])
    assert ended["event"] == "ended"
    assert ended["outputs"][1]["error"] is None


# --------------------------------------------------------------------------------------------------------------------
# Servers that are programs of their own, and what they recorded

MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
NGINX = """
load_module {module};
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
rtmp {{
  server {{
    listen 127.0.0.1:{port};
    application live {{ live on; record all; record_path {folder}; record_unique on; }}
  }}
}}
"""


class Program:
    """A server's process that can be stopped and started again."""

    def __init__(self, kind: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"rtmp://127.0.0.1:{port}/live/secret"
        self._kind = kind
        self._folder = folder
        self._starts = 0
        (folder / "conf").write_text(NGINX.format(module=MODULE, folder=folder, port=port))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._starts += 1
        if self._kind == "nginx":
            command: list[str | Path] = ["nginx", "-p", self._folder, "-e", self._folder / "error.log", "-c", self._folder / "conf"]
        else:
            command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-listen", "1", "-i", self.url, "-c", "copy", self._folder / f"{self._starts}.flv"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        assert self._process is not None
        # FFmpeg finishes its file; nginx drops whoever is connected.
        self._process.send_signal(signal.SIGINT if self._kind == "ffmpeg" else signal.SIGTERM)
        self._process.wait(30)

    @property
    def recordings(self) -> list[Path]:
        return sorted(self._folder.glob("*.flv"), key=lambda path: path.stat().st_mtime)

    def got(self, number: int) -> int:
        """Bytes of the recording with this number, from 1."""
        return self.recordings[number - 1].stat().st_size if len(self.recordings) >= number else 0


@pytest.fixture(params=["nginx", "ffmpeg"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    if shutil.which(request.param) is None or (request.param == "nginx" and not MODULE.exists()):
        pytest.skip(f"missing: {request.param} that takes RTMP (on Debian: apt install {'libnginx-mod-rtmp' if request.param == 'nginx' else 'ffmpeg'})")
    folder = tmp_path / "server"
    folder.mkdir()
    made = Program(request.param, folder)
    yield made
    made.stop()


@pytest.mark.slow
def test_what_a_server_records_before_and_after_it_was_down(tmp_path: Path, clip: Path, program: Program) -> None:
    log = tmp_path / "log"

    def told(name: str) -> bool:
        return log.exists() and f'"{name}"' in log.read_text()

    time.sleep(1)  # the first connection must succeed
    with spawn("webcam", "--camera", clip, "--loop", *QUICK, "--fixed", "--quiet", "--to", program.url, "--log", log, "--bitrate", "500") as process:
        wait_for(lambda: program.got(1) > 250_000, 60)
        program.stop()
        wait_for(lambda: told("stream-lost"), 40)
        program.start()
        wait_for(lambda: told("stream-back"), 60)
        wait_for(lambda: program.got(2) > 250_000, 60)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "")
    program.stop()
    assert len(program.recordings) == 2
    for recording in program.recordings:
        with av.open(str(recording)) as container:
            (stream,) = container.streams
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 192, 108)
            times, keys = [], []
            for packet in container.demux(stream):
                if packet.size:
                    times.append(float(packet.pts * packet.time_base))
                    if packet.is_keyframe:
                        keys.append(times[-1])
        assert times == sorted(times)
        assert keys[0] == times[0]  # whoever joins sees something at once
        assert len(keys) >= 2
        # By the clock, whatever was dropped: no image but the next keyframe is so long after one.
        for earlier, later in pairwise(keys):
            assert max(at for at in times if at < later) - earlier < KEYFRAME_SECONDS
        frames = frames_of(recording)
        assert len(frames) == len(times)
        assert all((np.abs(frame[:, :8].astype(int) - (0, 177, 64)).max(2) < 40).mean() > 0.98 for frame in frames)
