"""A virtual camera, through pyvirtualcam: v4l2loopback on Linux, OBS on macOS and Windows, Unity Capture on Windows.

Pictures go out as I420, the planes of a live frame one after the other: no conversion. pyvirtualcam is loaded here only.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from streammat import v4l2
from streammat.errors import OutputError
from streammat.frame import Frame, Matte, Packet
from streammat.sinks import Content
from streammat.sources import StreamInfo

OpenCamera = Callable[..., Any]
"""As ``pyvirtualcam.Camera``."""


class VirtualCameraSink:
    """Shows live frames as a camera that other programs can open.

    Args:
        device: such as ``/dev/video9``; None takes the first that is free.
        info: of the source; pictures are yuv420p with even sides.
        opener: pyvirtualcam's, unless a test brings its own.

    Raises:
        OutputError: there is no virtual camera, it is in use, or may not be opened; the message says what to do.
    """

    def __init__(self, device: str | None, info: StreamInfo, opener: OpenCamera | None = None) -> None:
        self.content: Content = "composite"
        self.notes: list[str] = []
        self.frames = 0
        height, width = info.size
        self._buffer = np.empty(height * width * 3 // 2, np.uint8)
        name = device or "the virtual camera"
        if opener is None:
            opener = _pyvirtualcam(device)
        try:
            self._camera = opener(width, height, float(info.rate), device=device)
        except Exception as error:  # pyvirtualcam raises RuntimeError, and whatever its native parts make of the system
            raise OutputError(f"{name}: {_cure(str(error), device)}") from error
        self.device = str(self._camera.device)
        self.notes.append(f"virtual camera: {self.device}")

    def write(self, frame: Frame, matte: Matte) -> None:
        """Show one picture, now."""
        del matte
        start = 0
        for plane in frame.planes:
            end = start + plane.size
            self._buffer[start:end].reshape(plane.shape)[:] = plane
            start = end
        try:
            self._camera.send(self._buffer)
        except Exception as error:
            raise OutputError(f"{self.device}: takes no more pictures ({_first_line(str(error))}); was the driver unloaded?") from error
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Cameras have no sound."""

    def close(self) -> None:
        """Give the device back; twice is fine."""
        self._camera.close()

    def abort(self) -> None:
        """As ``close``."""
        self.close()


def _pyvirtualcam(device: str | None) -> OpenCamera:
    """``pyvirtualcam.Camera`` for I420, after a look at what it could only fail with."""
    if platform.system() == "Linux":
        loopbacks = [found.path for found in v4l2.devices() if found.loopback]
        if device is not None and not os.path.exists(device):
            known = f"virtual cameras here: {', '.join(loopbacks)}" if loopbacks else f"make it: {v4l2.MODPROBE}"
            raise OutputError(f"{device}: no such device; {known}")
        if device is not None and not os.access(device, os.R_OK | os.W_OK):
            raise OutputError(f"{device}: may not be opened; run: sudo usermod -aG video $USER, then log in again")
    try:
        import pyvirtualcam
    except ImportError as error:
        raise OutputError(f"virtual camera: pyvirtualcam cannot be loaded ({error}); run: pip install pyvirtualcam") from error

    def opened(width: int, height: int, fps: float, *, device: str | None) -> Any:
        return pyvirtualcam.Camera(width, height, fps, fmt=pyvirtualcam.PixelFormat.I420, device=device)

    return opened


def _cure(message: str, device: str | None) -> str:
    """What to do about pyvirtualcam's error."""
    line = _first_line(message)
    if "permission" in message:
        return f"may not be opened ({line}); run: sudo usermod -aG video $USER, then log in again"
    if platform.system() == "Linux":
        if "No v4l2 loopback device" in message or "does not exist" in message:
            return f"there is none, because v4l2loopback is not loaded; run: {v4l2.MODPROBE}"
        if "not a video output" in message or "not a V4L2" in message:
            return f"is no virtual camera ({line}); run: {v4l2.MODPROBE}"
        held = v4l2.holders(device) if device else []
        who = f"held by {', '.join(held)}" if held else "another program may hold it"
        return f"cannot be opened ({line}); {who}, close that and try again"
    return f"cannot be opened ({line}); install OBS Studio, start its virtual camera once, then stop it and try again"


def _first_line(text: str) -> str:
    return text.splitlines()[0].strip() if text.strip() else "no reason given"
