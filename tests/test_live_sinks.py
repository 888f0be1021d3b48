"""Live outputs whose devices are not there: the outermost object is faked, what is sent to it is checked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from scenes import blank

from streammat import v4l2
from streammat.errors import OutputError, UsageError
from streammat.frame import Colour, Frame, Matte
from streammat.sinks.null import NullSink
from streammat.sinks.outputs import check_output, is_file
from streammat.sinks.preview import PreviewSink
from streammat.sinks.stream import public
from streammat.sinks.virtual_camera import VirtualCameraSink
from streammat.sources.capture import live_info

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

    sink = VirtualCameraSink("/dev/video8", INFO, opener)
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
    with pytest.raises(OutputError, match="takes no more pictures"):
        sink.write(frame, MATTE)
    sink.close()
    assert camera.closed == 1


@pytest.mark.parametrize(("message", "device", "word"), [
    ("'v4l2loopback' backend: No v4l2 loopback device found at /dev/video[0-99].", None, v4l2.MODPROBE),
    ("'v4l2loopback' backend: Device /dev/video9 does not exist.", "/dev/video9", v4l2.MODPROBE),
    ("'v4l2loopback' backend: Could not open device due to missing permissions.", "/dev/video9", "usermod -aG video"),
    ("'v4l2loopback' backend: Device /dev/video0 is not a video output device.", "/dev/video0", "no virtual camera"),
    ("'v4l2loopback' backend: Virtual camera device /dev/video9 is busy", "/dev/video9", "close that"),
])
@pytest.mark.skipif(not v4l2.sys.platform.startswith("linux"), reason="the cures of Linux")
def test_what_pyvirtualcam_says_becomes_a_cure(message: str, device: str | None, word: str) -> None:
    def opener(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError(message)

    with pytest.raises(OutputError) as caught:
        VirtualCameraSink(device, INFO, opener)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_pyvirtualcam_is_called_as_it_wants_to_be() -> None:
    """Its own backend is replaced by one that notes what it is given."""
    import pyvirtualcam
    from pyvirtualcam import camera as library
    from pyvirtualcam.util import decode_fourcc

    from streammat.sinks.virtual_camera import _pyvirtualcam

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
        sink = VirtualCameraSink(None, INFO, _pyvirtualcam(None))
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
    assert "3 pictures" in sink.notes[0]
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
