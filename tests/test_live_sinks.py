"""Live outputs whose devices are not there: the outermost object is faked, what is sent to it is checked."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scenes import blank

from streammat.devices import v4l2
from streammat.errors import OutputError, UsageError
from streammat.live.outputs.opening import check_output, is_file
from streammat.media.frame import Colour, Frame, Matte
from streammat.sinks.null import NullSink
from streammat.sinks.preview import PreviewSink
from streammat.sinks.stream import public
from streammat.sinks.virtual_camera import VirtualCameraSink, _choose, _pyvirtualcam
from streammat.sources.shaper import live_info

SIZE = (96, 128)
INFO = live_info(SIZE, Fraction(30), Colour(5, 2, 2, 1))
MATTE = Matte(np.full(SIZE, 255, np.uint8))


def picture(pts: int = 0) -> Frame:
    """Different values in every plane, and noise in the first."""
    frame = blank("yuv420p", *SIZE, Colour(5, 2, 2, 1), pts=pts)
    frame.planes[0][:] = np.random.default_rng(0).integers(16, 236, SIZE, np.uint8)
    frame.planes[1][:], frame.planes[2][:] = 90, 200
    return frame


class FakeCamera:
    """As ``pyvirtualcam.Camera``."""

    def __init__(self, width: int, height: int, fps: float, *, device: str | None) -> None:
        self.asked = (width, height, fps, device)
        self.device = device or "/dev/video9"
        self.sent: list[np.ndarray[Any, Any]] = []
        self.closed = 0
        self.broken = False

    def send(self, frame: np.ndarray[Any, Any]) -> None:
        if self.broken:
            raise OSError("No such device")
        self.sent.append(frame.copy())

    def close(self) -> None:
        self.closed += 1


def test_the_virtual_camera_gets_the_planes_as_i420() -> None:
    made: list[FakeCamera] = []

    def opener(*arguments: Any, **options: Any) -> FakeCamera:
        made.append(FakeCamera(*arguments, **options))
        return made[0]

    sink = VirtualCameraSink("/dev/video8", INFO, opener=opener)
    frame = picture()
    sink.write(frame, MATTE)
    (camera,) = made
    assert camera.asked == (128, 96, 30.0, "/dev/video8")
    assert camera.sent[0].size == 128 * 96 * 3 // 2
    bgr = cv2.cvtColor(camera.sent[0].reshape(-1, 128), cv2.COLOR_YUV2BGR_I420)
    expected = frame.image.reformat(format="bgr24", src_colorspace=5, src_color_range=1).to_ndarray()
    assert np.mean(np.abs(bgr.astype(int) - expected)) < 2
    assert sink.frames == 1
    camera.broken = True
    with pytest.raises(OutputError, match="accepts no more images"):
        sink.write(frame, MATTE)
    sink.close()
    assert camera.closed == 1


linux = pytest.mark.skipif(not v4l2.sys.platform.startswith("linux"), reason="the hints of Linux")


@linux
def test_what_pyvirtualcam_says_becomes_a_cure() -> None:
    def opener(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("'v4l2loopback' backend: Virtual camera device /dev/video9 could not be configured: Device or resource busy\nmore")

    with pytest.raises(OutputError) as caught:
        VirtualCameraSink("/dev/video9", INFO, opener=opener)
    assert "resource busy); another program may hold it, close that" in str(caught.value)
    assert "\n" not in str(caught.value)


class Nodes:
    """Virtual cameras by name, in a folder instead of /dev; ``held`` remembers those that were claimed as a writer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.held: list[str] = []
        self.known: list[v4l2.Device] = []
        monkeypatch.setattr(v4l2, "devices", lambda: self.known)
        monkeypatch.setattr(v4l2, "loaded", lambda: bool(self.known))
        monkeypatch.setattr(v4l2, "hold", self._hold)

    def add(self, name: str, *, captures: bool, outputs: bool, card: str = "OBS", driver: str = v4l2.LOOPBACK_DRIVER) -> str:
        path = self.folder / name
        path.touch()
        self.known.append(v4l2.Device(str(path), card, driver, captures, outputs, ()))
        return str(path)

    def _hold(self, path: str) -> int:
        self.held.append(path)
        return os.open(path, os.O_RDONLY)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(tmp_path, monkeypatch)


@linux
def test_a_virtual_camera_is_chosen(nodes: Nodes) -> None:
    plain = nodes.add("video7", captures=True, outputs=True)
    nodes.add("video8", captures=True, outputs=False, card="streammat")  # fed by another program
    assert _choose(None, None) == plain
    free = nodes.add("video9", captures=False, outputs=True)
    assert _choose(None, None) == free
    ours = nodes.add("video10", captures=False, outputs=True, card="streammat")
    assert _choose(None, None) == ours
    assert _choose(None, ours) == free  # it is the camera
    assert _choose(plain, None) == plain
    assert nodes.held == []


@linux
def test_a_virtual_camera_that_its_last_writer_broke_is_mended(nodes: Nodes) -> None:
    stuck = nodes.add("video9", captures=False, outputs=False)
    assert _choose(None, None) == stuck
    assert _choose(stuck, None) == stuck
    assert nodes.held == [stuck, stuck]


@linux
def test_why_there_is_no_virtual_camera(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    def why(device: str | None, camera: str | None = None) -> str:
        with pytest.raises(OutputError) as caught:
            _choose(device, camera)
        return str(caught.value)

    missing = str(nodes.folder / "video1")
    assert v4l2.MODPROBE in why(None)
    assert v4l2.MODPROBE in why(missing)
    with monkeypatch.context() as patch:
        patch.setattr(v4l2, "loaded", lambda: True)  # and not one of its devices may be opened
        assert "usermod -aG video" in why(None)
    camera = nodes.add("video0", captures=True, outputs=False, driver="uvcvideo")
    assert "is no virtual camera" in why(camera)
    fed = nodes.add("video8", captures=True, outputs=False)
    assert f"{fed}: in use, another program may hold it, close that" in why(fed)
    assert f"none is free; {fed}: in use" in why(None)
    assert fed in why(missing)
    ours = nodes.add("video9", captures=True, outputs=True)
    assert "is the camera itself" in why(ours, ours)
    assert "is the camera itself" in why(None, ours)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "usermod -aG video" in why(ours)


@linux
def test_a_virtual_camera_is_held_from_the_first_image_to_the_end(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nodes.add("video9", captures=False, outputs=True)
    monkeypatch.setattr("streammat.sinks.virtual_camera._pyvirtualcam", lambda: FakeCamera)
    sink = VirtualCameraSink(path, INFO)
    assert nodes.held == []
    for _ in range(2):
        sink.write(picture(), MATTE)
    assert nodes.held == [path]
    assert any(os.path.samefile(link, path) for link in Path("/proc/self/fd").iterdir() if link.exists())
    sink.close()
    assert not any(os.path.samefile(link, path) for link in Path("/proc/self/fd").iterdir() if link.exists())
    sink.close()


def test_the_real_pyvirtualcam_is_called_as_it_wants_to_be() -> None:
    """Its own backend is replaced by one that notes what it is given."""
    import pyvirtualcam
    from pyvirtualcam import camera as library
    from pyvirtualcam.util import decode_fourcc

    given: dict[str, Any] = {}

    class Backend:
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def device(self) -> str:
            return "noted"

        def send(self, frame: Any) -> None:
            given["sent"] = frame.copy()

        def close(self) -> None:
            given["closed"] = True

    before = dict(library.BACKENDS)
    library.BACKENDS.clear()
    pyvirtualcam.register_backend("noting", Backend)
    try:
        sink = VirtualCameraSink(None, INFO, opener=_pyvirtualcam())
        sink.write(picture(), MATTE)
        sink.close()
    finally:
        library.BACKENDS.clear()
        library.BACKENDS.update(before)
    assert decode_fourcc(given["fourcc"]) == "I420"
    assert (given["width"], given["height"], given["fps"]) == (128, 96, 30.0)
    assert given["sent"][: 96 * 128].reshape(96, 128).tobytes() == picture().planes[0].tobytes()
    assert given["closed"]


class FakeWindows:
    """As OpenCV's window functions."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.visible = 1.0
        self.pressed = [-1, ord("n"), -1]

    def namedWindow(self, title: str, flags: int) -> None: ...  # noqa: N802

    def getWindowProperty(self, title: str, what: int) -> float:  # noqa: N802
        return self.visible

    def imshow(self, title: str, picture: Any) -> None:
        self.shown.append(picture)

    def waitKey(self, milliseconds: int) -> int:  # noqa: N802
        return self.pressed.pop(0)

    def destroyAllWindows(self) -> None:  # noqa: N802
        self.visible = 0.0


def test_the_preview_draws_takes_keys_and_ends_when_it_is_closed() -> None:
    windows, keys = FakeWindows(), []
    sink = PreviewSink(keys.append, windows)
    for pts in range(3):
        sink.write(picture(pts), MATTE)
    assert keys == ["n"]
    assert windows.shown[0].shape == (96, 128, 3)
    windows.visible = 0.0
    with pytest.raises(OutputError, match="was closed"):
        sink.write(picture(3), MATTE)
    sink.close()
    sink.close()


def test_null_checks_what_it_gets() -> None:
    sink = NullSink(INFO)
    for pts in (0, 3000, 9000):
        sink.write(picture(pts), MATTE)
    with pytest.raises(OutputError, match="expected it to grow"):
        sink.write(picture(9000), MATTE)
    with pytest.raises(OutputError, match="yuv444p"):
        sink.write(blank("yuv444p", *SIZE, pts=10000), MATTE)
    sink.close()
    assert sink.frames == 3
    assert "3 images" in sink.notes[0]
    assert "67 ms" in sink.notes[0]


def test_what_is_a_file() -> None:
    assert [is_file(text) for text in ("rec.mkv", "camera", "camera:OBS Virtual Camera", "/dev/video9", "preview", "null", "rtmp://a/b")] == [
        True, False, False, False, False, False, False,
    ]
    for text in ("rec", "rec.avi", "rec.%03d.png"):
        with pytest.raises(UsageError, match=text):
            check_output(text)


def test_keys_of_streams_are_not_shown() -> None:
    assert public("rtmp://live.example.com/app/abcd-1234") == "rtmp://live.example.com/app/…"
    assert public("rtsp://host/stream") == "rtsp://host/stream"
    assert public("rtsp://me:word@host/stream") == "rtsp://host/stream"
    assert public("rtmp://me:word@host:1935/app/key@1?x=2") == "rtmp://host:1935/app/…"
    assert public("rtmp://host/key") == "rtmp://host/…"
