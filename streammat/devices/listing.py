"""Lists devices: cameras with their modes, virtual cameras, microphones and sound outputs."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import cv2

from streammat.devices import portaudio, v4l2
from streammat.devices.portaudio import SoundDevice
from streammat.errors import StreammatError

_PROBED = 6
"""Camera numbers to try on systems that have no camera names."""


@dataclass(frozen=True)
class Camera:
    """A camera that ``--camera`` takes."""

    id: str
    """Value for ``--camera``: a device file or a number."""
    name: str
    modes: tuple[str, ...]
    """Modes such as ``1280x720 MJPG at 30/15 fps``; empty if the system does not list them."""


@dataclass(frozen=True)
class VirtualCamera:
    """A virtual camera that ``--to`` takes."""

    id: str
    name: str
    problem: str | None
    """What keeps programs from seeing it, and what to do."""


@dataclass(frozen=True)
class Devices:
    """All devices found."""

    cameras: tuple[Camera, ...]
    virtual_cameras: tuple[VirtualCamera, ...]
    microphones: tuple[SoundDevice, ...]
    monitors: tuple[SoundDevice, ...]
    """Sound outputs for ``--monitor``."""
    problems: tuple[str, ...]
    """What could not be listed, each with what to do."""


def find() -> Devices:
    """List all devices; opens no camera on Linux, and each for a moment elsewhere."""
    problems: list[str] = []
    microphones, monitors = _sound(problems)
    if platform.system() != "Linux":
        return Devices(_probed(), _obs(), microphones, monitors, tuple(problems))
    known = v4l2.devices()
    readable = {device.path for device in known}
    closed = [str(path) for path in v4l2.paths() if str(path) not in readable]
    if closed:
        problems.append(f"{', '.join(closed)}: permission denied; run: sudo usermod -aG video $USER, then log in again")
    cameras = tuple(Camera(device.path, device.name, tuple(map(str, device.modes))) for device in known if device.captures)
    virtual = tuple(VirtualCamera(device.path, device.name, loopback_problem(device)) for device in known if device.loopback)
    if not virtual and not (closed and v4l2.loaded()):
        problems.append(f"no virtual camera: v4l2loopback is not loaded; run: {v4l2.MODPROBE}")
    return Devices(cameras, virtual, microphones, monitors, tuple(problems))


def loopback_problem(device: v4l2.Device) -> str | None:
    """Return what is wrong with the way v4l2loopback was loaded, and what to do; None if nothing is."""
    if device.captures and device.outputs:  # with exclusive_caps it is one of the two
        return f"browsers do not see it without exclusive_caps; run: sudo modprobe -r v4l2loopback; {v4l2.MODPROBE}"
    return None


def _sound(problems: list[str]) -> tuple[tuple[SoundDevice, ...], tuple[SoundDevice, ...]]:
    try:
        return portaudio.devices("input"), portaudio.devices("output")
    except StreammatError as error:
        problems.append(str(error))
        return (), ()


def _probed() -> tuple[Camera, ...]:
    """Return cameras by number, because OpenCV has no names."""
    cameras = []
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        for number in range(_PROBED):
            capture = cv2.VideoCapture(number)
            if capture.isOpened():
                width, height = (round(capture.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
                cameras.append(Camera(str(number), f"camera {number}", (f"{width}x{height}",)))
            capture.release()
    finally:
        logging.setLogLevel(before)
    return tuple(cameras)


def _obs() -> tuple[VirtualCamera, ...]:
    """Return what pyvirtualcam can open on Windows and macOS; only opening shows whether the driver is installed."""
    names = {"Windows": ("OBS Virtual Camera", "Unity Video Capture"), "Darwin": ("OBS Virtual Camera",)}
    return tuple(VirtualCamera(f"camera:{name}", f"{name}, if it is installed", None) for name in names.get(platform.system(), ()))
