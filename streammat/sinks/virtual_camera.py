"""Sink for a virtual camera, through pyvirtualcam: v4l2loopback on Linux, OBS on macOS and Windows, Unity Capture on Windows.

Frames go out as I420, the planes of a live frame one after the other: no conversion. Only this module imports pyvirtualcam.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from streammat.config import Content
from streammat.devices import v4l2
from streammat.errors import OutputError, first_line
from streammat.media.frame import Frame, Matte, Packet
from streammat.sources import StreamInfo

OpenCamera = Callable[..., Any]
"""A callable like ``pyvirtualcam.Camera``."""
_FORBIDDEN = "permission denied; run: sudo usermod -aG video $USER, then log in again"


class VirtualCameraSink:
    """Shows live frames as a camera that other programs can open.

    Args:
        device: such as ``/dev/video9``; None: a free one, preferably one called streammat.
        info: properties of the source; frames are yuv420p with even sides.
        camera: the source's name: the virtual camera must be another.
        opener: pyvirtualcam's, except in tests.

    Raises:
        OutputError: there is no virtual camera, it is in use, or it may not be opened; the message says what to do.
    """

    def __init__(self, device: str | None, info: StreamInfo, camera: str | None = None, opener: OpenCamera | None = None) -> None:
        self.content: Content = "composite"
        self.notes: list[str] = []
        self.frames = 0
        height, width = info.size
        self._buffer = np.empty(height * width * 3 // 2, np.uint8)
        self._held: int | None = None
        self._holds = opener is None and platform.system() == "Linux"
        if self._holds:
            device = _choose(device, camera)
        opener = opener or _pyvirtualcam()
        try:
            self._camera = opener(width, height, float(info.rate), device=device)
        except Exception as error:  # pyvirtualcam raises RuntimeError, and whatever its native parts make of the system
            raise OutputError(f"{device or 'the virtual camera'}: {_hint(first_line(error), device)}") from error
        self.device = str(self._camera.device)
        self.notes.append(f"virtual camera: {self.device}")

    def write(self, frame: Frame, matte: Matte) -> None:
        """Show one frame, now."""
        del matte
        start = 0
        for plane in frame.planes:
            end = start + plane.size
            self._buffer[start:end].reshape(plane.shape)[:] = plane
            start = end
        try:
            self._camera.send(self._buffer)
        except Exception as error:
            raise OutputError(f"{self.device}: accepts no more images ({first_line(error)}); check that the driver is loaded") from error
        self.frames += 1
        if self.frames == 1 and self._holds:
            # Not before the first frame: who holds a device earlier might be taken for its only writer.
            self._held = v4l2.hold(self.device)

    def copy(self, packet: Packet) -> None:
        """Ignore the packet: cameras have no sound."""

    def close(self) -> None:
        """Release the device; may be called twice."""
        self._camera.close()
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def abort(self) -> None:
        """Release the device."""
        self.close()


def _choose(device: str | None, camera: str | None) -> str:
    """Return the device file to open, after checks with better messages than pyvirtualcam's.

    Raises:
        OutputError: there is none that can be opened.
    """
    loopbacks = [found for found in v4l2.devices() if found.loopback]
    if device is None:
        free = [found for found in loopbacks if found.path != camera and not found.in_use]
        if free:
            device = min(free, key=lambda found: (found.name != "streammat", found.captures)).path
        elif loopbacks:
            raise OutputError(f"the virtual camera: none is free; {'; '.join(_used(found.path, camera) for found in loopbacks)}")
        elif v4l2.loaded():
            raise OutputError(f"the virtual camera: {_FORBIDDEN}")
        else:
            raise OutputError(f"the virtual camera: there is none, because v4l2loopback is not loaded; run: {v4l2.MODPROBE}")
    elsewhere = f"virtual cameras here: {', '.join(found.path for found in loopbacks)}" if loopbacks else f"make one: {v4l2.MODPROBE}"
    if not os.path.exists(device):
        raise OutputError(f"{device}: no such device; {elsewhere}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise OutputError(f"{device}: {_FORBIDDEN}")
    found = next((found for found in loopbacks if found.path == device), None)
    if found is None:
        raise OutputError(f"{device}: is no virtual camera; {elsewhere}")
    if found.in_use or device == camera:
        raise OutputError(_used(device, camera))
    if found.unusable and (held := v4l2.hold(device)) is not None:
        os.close(held)
    return device


def _used(device: str, camera: str | None) -> str:
    if device == camera:
        return f"{device}: is the camera itself; give --to another, or make one: {v4l2.MODPROBE}"
    return f"{device}: in use, {_holders(device)}"


def _holders(device: str | None) -> str:
    held = v4l2.holders(device) if device else []
    who = f"held by {', '.join(held)}" if held else "another program may hold it"
    return f"{who}, close that and try again"


def _pyvirtualcam() -> OpenCamera:
    """Open ``pyvirtualcam.Camera`` for I420."""
    try:
        import pyvirtualcam
    except ImportError as error:
        raise OutputError(f"pyvirtualcam cannot be loaded ({error}); run: pip install pyvirtualcam") from error

    def opened(width: int, height: int, fps: float, *, device: str | None) -> Any:
        return pyvirtualcam.Camera(width, height, fps, fmt=pyvirtualcam.PixelFormat.I420, device=device)

    return opened


def _hint(line: str, device: str | None) -> str:
    """Return the hint for an error of pyvirtualcam."""
    if platform.system() == "Linux":
        return f"cannot be opened ({line}); {_holders(device)}"
    return f"cannot be opened ({line}); install OBS Studio, start its virtual camera once, then stop it and try again"
