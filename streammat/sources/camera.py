"""Cameras, through OpenCV: V4L2 on Linux, DirectShow and Media Foundation on Windows, AVFoundation on macOS.

The camera is asked for motion JPEG, because uncompressed video of 720p does not fit through USB 2 at 30 frames per
second. On Linux OpenCV returns the camera's own bytes, and FFmpeg converts them to 4:2:0, without full-size RGB in between.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.devices import v4l2
from streammat.errors import CameraLostError, InputError
from streammat.media.frame import Frame
from streammat.sources import StreamInfo
from streammat.sources.shaper import Clock, Shaper, live_info

DEFAULT_SIZE = (720, 1280)
"""Default (height, width) to ask for."""
_PATIENCE = 2.0
"""Seconds without a frame after which a camera counts as lost."""

_RAW = {
    "YUYV": "yuyv422", "YUY2": "yuyv422", "UYVY": "uyvy422", "NV12": "nv12", "YU12": "yuv420p", "I420": "yuv420p",
    "RGB3": "rgb24", "BGR3": "bgr24",
}
"""FFmpeg's names of the cameras' formats that OpenCV returns unconverted."""


class Capture(Protocol):
    """Protocol of the parts of ``cv2.VideoCapture`` that are used."""

    def isOpened(self) -> bool: ...  # noqa: D102, N802
    def set(self, prop: int, value: float, /) -> bool: ...  # noqa: D102
    def get(self, prop: int, /) -> float: ...  # noqa: D102
    def grab(self) -> bool: ...  # noqa: D102
    def retrieve(self) -> tuple[bool, Any]: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


Opener = Callable[[int | str, int], Capture]
"""A function from (number or device, OpenCV's backend number) to an open capture."""


class CameraSource:
    """A camera.

    Args:
        camera: its number, or its device file on Linux.
        clock: the run's.
        size: (height, width) that the camera must deliver; None: ask for 1280x720 and accept any.
        fps: frames per second to ask for.
        shape: (height, width) of the frames, whatever the camera delivers; None: the camera's.
        opener: ``cv2.VideoCapture``, except in tests.

    Raises:
        InputError: it is missing, busy, not permitted, not a camera, or does not have the mode; the message says which.
    """

    def __init__(
        self, camera: int | str, clock: Clock, *, size: tuple[int, int] | None = None, fps: float = 30.0,
        shape: tuple[int, int] | None = None, opener: Opener | None = None,
    ) -> None:
        self.name = f"/dev/video{camera}" if isinstance(camera, int) and platform.system() == "Linux" else str(camera)
        self.notes: list[str] = []
        self._clock = clock
        self._stopping = threading.Event()
        self._shaper = Shaper(shape)
        self._decoder: Any = None
        self._converted = platform.system() != "Linux"  # OpenCV gives BGR
        with _silent():
            if opener is None:
                self._check()
            self._capture = self._open(camera, opener or _opencv)
            try:
                self._ask(size, fps)
                first = self._first()
            except BaseException:
                self._capture.release()
                raise
        got = (first.height, first.width)
        if size is not None and got != size:
            self._capture.release()
            raise InputError(f"camera {self.name}: has no {size[1]}x{size[0]}; give --size one that it has: {self._sizes(got)}")
        given = self._capture.get(cv2.CAP_PROP_FPS)
        rate = Fraction(given if 1 <= given <= 240 else fps).limit_denominator(1001)
        if size is None and got != DEFAULT_SIZE:
            self.notes.append(f"camera {self.name}: gives {got[1]}x{got[0]}, not 1280x720")
        if abs(float(rate) - fps) > 0.5:
            self.notes.append(f"camera {self.name}: gives {float(rate):g} frames per second, not {fps:g}")
        shaped = self._shaper(first, clock.ticks())
        self.info: StreamInfo = live_info(shaped.size, rate, shaped.colour)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they come.

        Raises:
            CameraLostError: the camera delivers no more frames.
        """
        with _silent():
            last = time.monotonic()
            while not self._stopping.is_set():
                # The moment is taken before the frame is decoded.
                if self._capture.grab():
                    moment = time.monotonic()
                    image = self._retrieve()
                    if image is not None:
                        last = moment
                        yield self._shaper(image, self._clock.ticks(moment))
                        continue
                if time.monotonic() - last > _PATIENCE or not self._capture.isOpened():
                    raise CameraLostError(f"camera {self.name}: delivers no more images; check that it is plugged in")
                self._stopping.wait(0.02)

    def stop(self) -> None:
        """End the iteration at the next frame; from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Release the camera; may be called twice."""
        with _silent():  # of a camera that is gone
            self._capture.release()

    # -- opening ------------------------------------------------------------------------------------------------

    def _open(self, camera: int | str, opener: Opener) -> Capture:
        for backend in _backends():
            capture = opener(camera, backend)
            if capture.isOpened():
                return capture
            capture.release()
        raise InputError(self._refusal())

    def _check(self) -> None:
        """Report known problems before opening: OpenCV would only say that it failed."""
        if not self.name.startswith("/dev/"):
            return
        if not os.path.exists(self.name):
            others = ", ".join(f"{device.path} ({device.name})" for device in v4l2.devices() if device.captures)
            found = f"found: {others}" if others else "there is no camera at all; plug one in"
            raise InputError(f"camera {self.name}: no such device; {found}")
        if not os.access(self.name, os.R_OK | os.W_OK):
            raise InputError(f"camera {self.name}: permission denied; run: sudo usermod -aG video $USER, then log in again")
        device = v4l2.query(self.name)
        if device is not None and not device.captures:
            hint = self._hint() if device.loopback else "streammat devices lists those that do"
            raise InputError(f"camera {self.name}: gives no images ({device.name}); {hint}")

    def _refusal(self) -> str:
        if platform.system() == "Darwin":
            return f"camera {self.name}: cannot be opened; allow the terminal to use it in System Settings, Privacy, Camera"
        return f"camera {self.name}: cannot be opened; {self._hint()}"

    def _hint(self) -> str:
        """Return the hint for a device that delivers nothing."""
        device = v4l2.query(self.name) if self.name.startswith("/dev/") else None
        if device is not None and device.loopback and not device.modes:
            return "it is a virtual camera that no program sends images into, start that first"
        held = v4l2.holders(self.name) if device is not None else []
        who = f"held by {', '.join(held)}" if held else "another program may hold it"
        return f"{who}, close that and try again"

    def _ask(self, size: tuple[int, int] | None, fps: float) -> None:
        height, width = size or DEFAULT_SIZE
        # The format first: sizes and rates depend on it.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_FPS, fps)
        if not self._converted:
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def _first(self) -> av.VideoFrame:
        limit = time.monotonic() + 5 * _PATIENCE
        while True:
            grabbed = self._capture.grab()
            image = self._retrieve() if grabbed else None
            if image is not None:
                return image
            if time.monotonic() > limit or not grabbed:
                raise InputError(f"camera {self.name}: opens but gives no image; {self._hint()}")

    def _sizes(self, got: tuple[int, int]) -> str:
        device = v4l2.query(self.name) if self.name.startswith("/dev/") else None
        sizes = [mode.size for mode in device.modes] if device else []
        return ", ".join(dict.fromkeys(f"{width}x{height}" for height, width in sizes or [got]))

    # -- frames -----------------------------------------------------------------------------------------------

    def _retrieve(self) -> av.VideoFrame | None:
        """Return the grabbed frame; None if it is damaged."""
        done, raw = self._capture.retrieve()
        if not done or raw is None:
            return None
        return self._decoded(np.asarray(raw))

    def _decoded(self, raw: NDArray[Any]) -> av.VideoFrame | None:
        flat = raw.reshape(-1)
        if flat[:2].tobytes() == b"\xff\xd8" and raw.ndim < 3:
            return self._jpeg(flat)
        if self._converted:
            name: str | None = "bgr24"
        else:
            fourcc = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
            name = _RAW.get(fourcc, "bgr24" if raw.ndim == 3 and raw.shape[2] == 3 else None)
        if name is not None and raw.dtype == np.uint8 and _fits(raw, name):
            return _image(raw, name)
        if not self._converted:
            # A rare format: OpenCV converts it from the next frame on.
            self._converted = self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)
            if self._converted:
                return None
        raise InputError(f"camera {self.name}: delivers images of an unknown format, {raw.dtype} {raw.shape}; expected MJPG or YUYV")

    def _jpeg(self, data: NDArray[np.uint8]) -> av.VideoFrame | None:
        if self._decoder is None:
            self._decoder = av.CodecContext.create("mjpeg", "r")
            self._decoder.thread_count = 1  # frame threads would hold frames back
        try:
            images = self._decoder.decode(av.Packet(data.tobytes()))
        except av.FFmpegError:
            return None  # cameras send a torn frame now and then; the next one is whole
        return images[0] if images else None


def resolve(text: str) -> int | str:
    """Return the camera that ``text`` names: a number, a device file, or a part of a camera's name.

    Raises:
        InputError: no camera has that name.
    """
    if re.fullmatch("[0-9]{1,4}", text):
        return int(text)
    if text.startswith("/dev/"):
        return text
    cameras = [device for device in v4l2.devices() if device.captures]
    for device in cameras:
        if text.lower() in device.name.lower():
            return device.path
    known = ", ".join(f"{device.name} ({device.path})" for device in cameras) or "no camera at all"
    raise InputError(f"camera {text!r}: neither a file nor a camera's name; found: {known}")


def _opencv(camera: int | str, backend: int) -> Capture:
    return cv2.VideoCapture(camera, backend)


def _fits(raw: NDArray[Any], name: str) -> bool:
    """Return whether an array has the shape that ``av.VideoFrame.from_ndarray`` expects for a format."""
    channels = {"bgr24": 3, "rgb24": 3, "yuyv422": 2, "uyvy422": 2}.get(name)
    if channels is not None:
        return raw.ndim == 3 and raw.shape[2] == channels
    return raw.ndim == 2 and raw.shape[0] % 3 == 0 and raw.shape[1] % 2 == 0


def _image(raw: NDArray[Any], name: str) -> av.VideoFrame:
    """Return an uncompressed frame as an image; YUV cameras use the BT.601 matrix at every size, in limited range."""
    if name == "uyvy422":  # PyAV takes the other order only
        raw, name = raw[..., ::-1], "yuyv422"
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(raw), name)
    if not image.format.is_rgb:
        image.colorspace, image.color_range = 5, 1
    return image


def _backends() -> tuple[int, ...]:
    if platform.system() == "Linux":
        return (cv2.CAP_V4L2,)
    if platform.system() == "Windows":
        return (cv2.CAP_DSHOW, cv2.CAP_MSMF)  # DirectShow opens in a moment, Media Foundation in seconds
    return (cv2.CAP_AVFOUNDATION,) if platform.system() == "Darwin" else (cv2.CAP_ANY,)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV from printing its own messages."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
