"""Video4Linux: lists the cameras and virtual cameras of a Linux machine, with their modes.

Asks the kernel directly (linux/videodev2.h), because OpenCV has neither names nor modes. On other systems the lists are empty.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Ioctl = Callable[[int, int, bytearray], object]
"""A function like ``fcntl.ioctl``: file descriptor, request, a buffer that is changed in place."""

LOOPBACK_DRIVER: Final = "v4l2 loopback"
MODPROBE: Final = "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streammat"
"""Command that creates the virtual camera; browsers see it only with exclusive_caps."""

_READ, _WRITE = 2, 1
_CAPTURE, _OUTPUT = 0x1, 0x2  # V4L2_CAP_VIDEO_CAPTURE, V4L2_CAP_VIDEO_OUTPUT
_HAS_DEVICE_CAPS = 0x80000000
_BUFFER_CAPTURE, _BUFFER_OUTPUT = 1, 2  # V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT
_BIG_ENDIAN = 1 << 31  # of a pixel format
_DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE, V4L2_FRMIVAL_TYPE_DISCRETE
_CAPABILITY = struct.Struct("=16s32s32s3I12x")
_FORMAT = struct.Struct("=3I32sI16x")
_SIZE = struct.Struct("=9I8x")
_INTERVAL = struct.Struct("=11I8x")


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP: Final = _request(_READ, 0, _CAPABILITY.size)
ENUM_FMT: Final = _request(_READ | _WRITE, 2, _FORMAT.size)
ENUM_FRAMESIZES: Final = _request(_READ | _WRITE, 74, _SIZE.size)
ENUM_FRAMEINTERVALS: Final = _request(_READ | _WRITE, 75, _INTERVAL.size)
STREAMON: Final = _request(_WRITE, 18, 4)


@dataclass(frozen=True)
class Mode:
    """One pixel format and size of a camera, with its rates."""

    fourcc: str
    """Pixel format, such as ``MJPG`` or ``YUYV``."""
    size: tuple[int, int]
    """(height, width); for a range, its largest."""
    rates: tuple[float, ...]
    """Frames per second, fastest first; empty if the driver does not list them."""

    def __str__(self) -> str:
        rates = f" at {'/'.join(f'{rate:g}' for rate in self.rates)} fps" if self.rates else ""
        return f"{self.size[1]}x{self.size[0]} {self.fourcc}{rates}"


@dataclass(frozen=True)
class Device:
    """One video device."""

    path: str
    """Such as ``/dev/video0``."""
    name: str
    driver: str
    captures: bool
    """True for a camera: it delivers images."""
    outputs: bool
    """True for the input side of a virtual camera: it takes images."""
    modes: tuple[Mode, ...]

    @property
    def loopback(self) -> bool:
        """True for a virtual camera of v4l2loopback."""
        return self.driver == LOOPBACK_DRIVER

    @property
    def in_use(self) -> bool:
        """True for a virtual camera with exclusive_caps that a program is writing to."""
        return self.loopback and self.captures and not self.outputs

    @property
    def unusable(self) -> bool:
        """True for a virtual camera with exclusive_caps that its last writer left unusable: see ``hold``."""
        return self.loopback and not self.captures and not self.outputs


def devices() -> list[Device]:
    """Return the video devices that may be opened, by number."""
    if not sys.platform.startswith("linux"):
        return []
    found = [query(str(path)) for path in paths()]
    return [device for device in found if device is not None]


def paths(folder: Path = Path("/dev")) -> list[Path]:
    """Return the device files of video devices, by number."""
    with suppress(OSError):
        entries = [path for path in folder.iterdir() if path.name.startswith("video") and path.name[5:].isdigit()]
        return sorted(entries, key=lambda path: int(path.name[5:]))
    return []


def query(path: str, ioctl: Ioctl | None = None) -> Device | None:
    """Return the device at ``path``; None if it cannot be opened or is no video device.

    Args:
        path: of the device file.
        ioctl: the kernel's, unless a test brings its own.
    """
    descriptor, ioctl = _opened(path, ioctl)
    if descriptor is None:
        return None
    try:
        buffer = bytearray(_CAPABILITY.size)
        ioctl(descriptor, QUERYCAP, buffer)
        driver, card, _bus, _version, capabilities, device_capabilities = _CAPABILITY.unpack(buffer)
        can = device_capabilities if capabilities & _HAS_DEVICE_CAPS else capabilities
        modes = tuple(_modes(descriptor, ioctl)) if can & _CAPTURE else ()
        return Device(path, _text(card), _text(driver), bool(can & _CAPTURE), bool(can & _OUTPUT), modes)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _opened(path: str, ioctl: Ioctl | None) -> tuple[int | None, Ioctl]:
    """Open a device file; None if it cannot be. The second value is the function for its calls, by default the kernel's."""
    if ioctl is None:
        import fcntl

        ioctl = fcntl.ioctl
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK), ioctl
    except OSError:
        return None, ioctl


def loaded() -> bool:
    """Return whether v4l2loopback is loaded, even if its devices may not be opened."""
    return os.path.isdir("/sys/module/v4l2loopback")


def holders(path: str) -> list[str]:
    """Return this user's programs that have ``path`` open, as ``name (pid)``; other users' are not visible."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        with suppress(OSError):
            if any(os.readlink(link) == path for link in (folder / "fd").iterdir()):
                found.append(f"{(folder / 'comm').read_text().strip()} ({folder.name})")
    return found


def hold(path: str, ioctl: Ioctl | None = None) -> int | None:
    """Register as a writer of the virtual camera at ``path`` until the returned descriptor is closed.

    With exclusive_caps, v4l2loopback 0.12 accepts a new writer only after the last one, which must have called STREAMON, has
    closed the device. pyvirtualcam does not call it; after it nobody could write to the device until the module is reloaded.
    Later versions refuse the call and do not need it.

    Args:
        path: of the device file.
        ioctl: the kernel's, unless a test brings its own.

    Returns:
        The descriptor; None if the device cannot be opened.
    """
    descriptor, ioctl = _opened(path, ioctl)
    if descriptor is None:
        return None
    with suppress(OSError):  # 0.12 counts us also where it answers with an error
        ioctl(descriptor, STREAMON, bytearray(struct.pack("=i", _BUFFER_OUTPUT)))
    return descriptor


def _modes(descriptor: int, ioctl: Ioctl) -> Iterator[Mode]:
    for (_, _, _, _, pixels) in _enumerate(descriptor, ioctl, ENUM_FMT, _FORMAT, lambda index: (index, _BUFFER_CAPTURE, 0, b"", 0)):
        fourcc = struct.pack("=I", pixels & ~_BIG_ENDIAN).decode("ascii", "replace").strip() + ("-BE" if pixels & _BIG_ENDIAN else "")

        def size_query(index: int, pixels: int = pixels) -> tuple[int, ...]:
            return (index, pixels, *[0] * 7)

        for (_, _, kind, *values) in _enumerate(descriptor, ioctl, ENUM_FRAMESIZES, _SIZE, size_query):
            # Discrete: width, height. A range: least, most and step of width, then of height.
            width, height = (values[0], values[1]) if kind == _DISCRETE else (values[1], values[4])
            yield Mode(fourcc, (height, width), _rates(descriptor, ioctl, pixels, width, height))
            if kind != _DISCRETE:
                break


def _rates(descriptor: int, ioctl: Ioctl, pixels: int, width: int, height: int) -> tuple[float, ...]:
    rates = []
    wanted = _enumerate(descriptor, ioctl, ENUM_FRAMEINTERVALS, _INTERVAL, lambda index: (index, pixels, width, height, *[0] * 7))
    for (_, _, _, _, kind, numerator, denominator, *_) in wanted:
        # Of a range, the shortest interval comes first.
        if numerator:
            rates.append(denominator / numerator)
        if kind != _DISCRETE:
            break
    return tuple(sorted(rates, reverse=True))


def _enumerate(
    descriptor: int, ioctl: Ioctl, request: int, form: struct.Struct, question: Callable[[int], tuple[object, ...]]
) -> Iterator[tuple[int, ...]]:
    """Yield the driver's entries 0, 1, 2 … until it has no more."""
    for index in range(256):
        buffer = bytearray(form.pack(*question(index)))
        try:
            ioctl(descriptor, request, buffer)
        except OSError:
            return
        yield form.unpack(buffer)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
