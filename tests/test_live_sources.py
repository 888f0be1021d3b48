"""Cameras, with OpenCV's capture object faked and everything behind it real; files and what they become."""

from __future__ import annotations

import http.server
import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import Tags, write_clip

import streammat.sources.camera
from streammat.config import LiveOptions
from streammat.errors import CameraLostError, InputError, UsageError
from streammat.live.open_source import open_live_source
from streammat.media.frame import Frame
from streammat.sources.camera import CameraSource
from streammat.sources.playback import PlaybackSource, StreamSource
from streammat.sources.shaper import TIME_BASE, Clock, Shaper

SIZE = (480, 640)
RED = (200, 40, 40)


class FakeCapture:
    """As ``cv2.VideoCapture``: flat red images of one kind and size, ``count`` of them."""

    def __init__(self, kind: str, size: tuple[int, int] = SIZE, count: float = 5, fps: float = 30.0, opens: bool = True) -> None:
        self.kind, self.size, self.count, self.fps, self.opens = kind, size, count, fps, opens
        self.asked: dict[int, float] = {}
        self.order: list[int] = []
        self.released = False
        self.torn = 0
        self.format = {"nv12": "NV12", "nv21": "NV21", "i420": "YU12", "bgr": "BGR3", "rgb": "RGB3", "uyvy": "UYVY"}.get(kind, "YUYV")

    def isOpened(self) -> bool:  # noqa: N802
        return self.opens

    def set(self, prop: int, value: float) -> bool:
        self.asked[prop] = value
        self.order.append(prop)
        if prop == cv2.CAP_PROP_CONVERT_RGB and value == 1:
            self.kind = "bgr"
        return True

    def get(self, prop: int) -> float:
        fourcc = {"mjpg": "MJPG", "odd": "GREY"}.get(self.kind, self.format)
        return {
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[0], cv2.CAP_PROP_FRAME_WIDTH: self.size[1], cv2.CAP_PROP_FPS: self.fps,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*fourcc)),
        }[prop]

    def grab(self) -> bool:
        self.count -= 1
        return self.count >= 0

    def retrieve(self) -> tuple[bool, Any]:
        height, width = self.size
        bgr = np.full((height, width, 3), RED[::-1], np.uint8)
        if self.kind == "mjpg":
            if self.torn:
                self.torn -= 1
                return True, np.frombuffer(b"\xff\xd8\xff\xe0torn", np.uint8)[None]
            return True, cv2.imencode(".jpg", bgr)[1].reshape(1, -1)
        i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
        if self.kind == "i420":
            return True, i420
        if self.kind in ("nv12", "nv21"):
            chroma = i420[height:].reshape(2, -1).T.reshape(height // 2, width)
            if self.kind == "nv21":
                chroma = chroma.reshape(-1, 2)[:, ::-1].reshape(chroma.shape)
            return True, np.vstack([i420[:height], chroma])
        if self.kind in ("yuyv", "uyvy"):
            packed = np.empty((height, width, 2), np.uint8)
            packed[..., 0], packed[:, ::2, 1], packed[:, 1::2, 1] = i420[0, 0], i420[height, 0], i420[-1, -1]
            return True, packed if self.kind == "yuyv" else packed[..., ::-1]
        if self.kind == "rgb":
            return True, bgr[..., ::-1]
        if self.kind == "odd":
            return True, np.zeros((height, width), np.uint8)
        return True, bgr

    def release(self) -> None:
        self.released = True


def camera(capture: FakeCapture, **options: Any) -> CameraSource:
    return CameraSource(0, Clock(), opener=lambda number, backend: capture, **options)


def shown_rgb(frame: Frame) -> tuple[int, ...]:
    """The colour that a player would show: the frame's own tags decide."""
    rgb = frame.image.reformat(format="rgb24", src_colorspace=frame.colour.matrix, src_color_range=1).to_ndarray()
    return tuple(int(value) for value in np.median(rgb, (0, 1)))


@pytest.mark.parametrize("kind", ["mjpg", "yuyv", "uyvy", "i420", "nv12", "nv21", "bgr", "rgb", "odd"])
def test_every_kind_of_image_becomes_the_same_frame(kind: str) -> None:
    """Size, layout, range and colour are right, whatever the camera sends."""
    source = camera(FakeCapture(kind, count=4))
    assert source.info.size == SIZE
    frame = next(iter(source))
    source.close()
    assert frame.layout.name == "yuv420p"
    assert frame.colour.range == 1
    assert frame.time_base == TIME_BASE
    assert max(abs(seen - meant) for seen, meant in zip(shown_rgb(frame), RED, strict=True)) <= 6


def test_what_a_camera_is_asked_for() -> None:
    capture = FakeCapture("mjpg")
    camera(capture, size=SIZE, fps=25).close()
    assert capture.asked[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert (capture.asked[cv2.CAP_PROP_FRAME_HEIGHT], capture.asked[cv2.CAP_PROP_FRAME_WIDTH]) == SIZE
    assert capture.asked[cv2.CAP_PROP_FPS] == 25
    assert capture.order[0] == cv2.CAP_PROP_FOURCC  # sizes depend on it
    assert capture.released


def test_what_it_gives_instead_is_told() -> None:
    source = camera(FakeCapture("mjpg", fps=15.0))
    assert source.info.rate == 15
    assert any("640x480" in note for note in source.notes)
    assert any("15" in note and "30" in note for note in source.notes)


def test_a_size_that_is_insisted_on_must_be_there() -> None:
    capture = FakeCapture("mjpg")
    with pytest.raises(InputError, match="1280x720.*640x480"):
        camera(capture, size=(720, 1280))
    assert capture.released


def test_frames_keep_their_shape_when_a_camera_comes_back_with_another() -> None:
    source = camera(FakeCapture("mjpg", size=(240, 320)), shape=SIZE)
    assert next(iter(source)).size == SIZE
    source.close()


def test_a_torn_image_is_left_out() -> None:
    capture = FakeCapture("mjpg", count=6)
    source = camera(capture)
    capture.torn = 2
    frames = itertools.islice(source, 2)
    assert [frame.index for frame in frames] == [1, 2]
    source.close()


def test_a_camera_that_is_unplugged_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streammat.sources.camera, "_PATIENCE", 0.1)
    source = camera(FakeCapture("mjpg", count=4))
    frames = iter(source)
    assert len([next(frames) for _ in range(3)]) == 3
    with pytest.raises(CameraLostError, match="plugged in"):
        next(frames)
    source.close()


def test_a_camera_that_is_busy() -> None:
    capture = FakeCapture("mjpg", opens=False)
    with pytest.raises(InputError, match="another program"):
        camera(capture)
    assert capture.released
    silent = FakeCapture("mjpg", count=0)
    with pytest.raises(InputError, match="no image.*close that"):
        camera(silent)
    assert silent.released


def test_stop_ends_the_iteration() -> None:
    source = camera(FakeCapture("mjpg", count=10**6))
    frames = iter(source)
    next(frames)
    source.stop()
    assert len(list(frames)) <= 1
    source.close()


# --------------------------------------------------------------------------------------------------------------------
# Files


def played(path: Path, **options: Any) -> list[Frame]:
    source = PlaybackSource(str(path), Clock(), **options)
    frames = list(source)
    source.close()
    return frames


def test_a_file_plays_at_its_own_times(tmp_path: Path) -> None:
    """Never before its time, and each frame says when that was."""
    times = [0, 2, 3, 9, 10]
    clip = write_clip(tmp_path / "in.mp4", size=(64, 64), time_base=Fraction(1, 50), pts=times, rate=25)
    clock = Clock()
    source = PlaybackSource(str(clip), clock)
    ages, stamps = [], []
    for frame in source:
        ages.append(clock.age(frame.pts))
        stamps.append(frame.pts)
    source.close()
    assert min(ages) > -0.002
    assert [round((stamp - stamps[0]) * TIME_BASE * 50) for stamp in stamps] == times


def test_a_loop_goes_on_where_the_last_image_ends(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", size=(64, 64), frames=4, rate=25)
    source = PlaybackSource(str(clip), Clock(), loop=True)
    stamps = [frame.pts for frame in itertools.islice(source, 10)]
    source.stop()
    source.close()
    steps = {round((later - earlier) * TIME_BASE * 1000) for earlier, later in itertools.pairwise(stamps)}
    assert steps == {40}


def test_stop_wakes_a_file_that_waits_for_its_next_image(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", size=(64, 64), time_base=Fraction(1, 10), pts=[0, 600], rate=25)
    source = PlaybackSource(str(clip), Clock())
    frames = iter(source)
    next(frames)
    source.stop()
    begin = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - begin < 30
    source.close()


@pytest.mark.parametrize(("written", "expected"), [
    ({"size": (65, 99), "pix_fmt": "yuv444p"}, (98, 64)),
    ({"size": (64, 96), "rotation": 90}, (64, 96)),
    ({"size": (64, 96), "sar": Fraction(2)}, (96, 128)),
    ({"size": (64, 96), "pix_fmt": "yuv420p10le"}, (96, 64)),
])
def test_files_become_upright_even_and_square(tmp_path: Path, written: dict[str, Any], expected: tuple[int, int]) -> None:
    frames = played(write_clip(tmp_path / "in.mp4", frames=2, **written))
    assert len(frames) == 2
    assert all(frame.size == expected and frame.layout.name == "yuv420p" for frame in frames)


def test_turning_keeps_the_image(tmp_path: Path) -> None:
    upright = played(write_clip(tmp_path / "a.mp4", size=(96, 64), frames=1, content="pattern"))[0]
    stored = played(write_clip(tmp_path / "b.mp4", size=(64, 96), frames=1, content="pattern", rotation=90))[0]
    assert upright.size == stored.size
    for one, other in zip(upright.planes, stored.planes, strict=True):
        assert np.mean(np.abs(one.astype(int) - other)) < 6


def test_full_range_becomes_limited(tmp_path: Path) -> None:
    limited = played(write_clip(tmp_path / "a.mp4", frames=1, tags=Tags(range=1)))[0]
    full = played(write_clip(tmp_path / "b.mp4", frames=1, pix_fmt="yuvj420p", tags=Tags(range=2)))[0]
    assert full.colour.range == limited.colour.range == 1
    assert int(full.planes[0].max()) <= 240
    assert np.mean(np.abs(limited.planes[0].astype(int) - full.planes[0])) < 4


def test_a_image_that_fits_is_not_copied(tmp_path: Path) -> None:
    frame = played(write_clip(tmp_path / "in.mp4", frames=1, tags=Tags(range=1)))[0]
    assert Shaper()(frame.image, 0).image is frame.image


def test_what_a_camera_can_be(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", size=(128, 96), frames=2)
    source = open_live_source(LiveOptions(camera=str(clip), size=(192, 256)), Clock())
    assert source.info.size == (192, 256)
    source.close()
    with pytest.raises(InputError, match="neither a file nor a camera's name"):
        open_live_source(LiveOptions(camera="Some Webcam"), Clock())
    with pytest.raises(UsageError, match="even"):
        open_live_source(LiveOptions(camera=str(clip), size=(97, 128)), Clock())


# --------------------------------------------------------------------------------------------------------------------
# URLs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves files of ``tmp_path``; what is asked for as /live/NAME has no length and cannot be wound, as a live stream."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self) -> None:  # noqa: N802
            if not self.path.startswith("/live/"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write((tmp_path / Path(self.path).name).read_bytes())

        def log_message(self, *arguments: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def test_a_live_stream_gives_frames_as_they_arrive_and_is_lost_at_its_end(tmp_path: Path, server: str) -> None:
    write_clip(tmp_path / "in.ts", size=(64, 96), frames=10, container_format="mpegts")
    clock = Clock()
    source = open_live_source(LiveOptions(camera=f"{server}/live/in.ts"), clock)
    assert isinstance(source, StreamSource)
    frames = []
    with pytest.raises(CameraLostError, match="ended|broke off"):
        for frame in source:
            assert frame.size == (96, 64)
            assert clock.age(frame.pts) < 30
            frames.append(frame)
    assert len(frames) == 10
    source.close()
    source.close()


def test_a_file_on_a_server_plays_as_a_file_does(tmp_path: Path, server: str) -> None:
    write_clip(tmp_path / "in.mp4", size=(64, 96), frames=4, container_options={"movflags": "faststart"})
    source = open_live_source(LiveOptions(camera=f"{server}/in.mp4"), Clock())
    assert isinstance(source, PlaybackSource)
    stamps = [frame.pts for frame in source]
    source.close()
    assert [round((stamp - stamps[0]) * TIME_BASE * 1000) for stamp in stamps] == [0, 40, 80, 120]


def test_what_is_no_stream(tmp_path: Path, server: str) -> None:
    (tmp_path / "in.txt").write_text("hello")
    for url in (f"{server}/missing.mp4", f"{server}/in.txt", f"{server}/live/in.txt"):
        with pytest.raises(InputError, match="cannot be opened"):
            open_live_source(LiveOptions(camera=url), Clock())
