"""What is plugged in and whether it will do: the kernel's answers faked at the ioctl, the rest real."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from running import call

from streammat import doctor
from streammat.devices import v4l2

pytestmark = pytest.mark.skipif(not v4l2.sys.platform.startswith("linux"), reason="Video4Linux is of Linux")


class Kernel:
    """Answers ioctls as a driver does: two formats, of MJPG three sizes, of YUYV a range."""

    def __init__(self, driver: bytes = b"uvcvideo", card: bytes = b"Integrated Camera", capabilities: int = 1) -> None:
        self.driver, self.card, self.capabilities = driver, card, capabilities
        self.mjpg, self.yuyv = (int.from_bytes(code, "little") for code in (b"MJPG", b"YUYV"))

    def __call__(self, descriptor: int, request: int, buffer: bytearray) -> int:
        answer = {
            v4l2.QUERYCAP: self.capability, v4l2.ENUM_FMT: self.format, v4l2.ENUM_FRAMESIZES: self.size, v4l2.ENUM_FRAMEINTERVALS: self.interval,
        }[request]
        if not answer(buffer):
            raise OSError(22, "Invalid argument")
        return 0

    def capability(self, buffer: bytearray) -> bool:
        struct.pack_into("=16s32s32s3I", buffer, 0, self.driver, self.card, b"usb-0", 0x060800, 0x84A00001, self.capabilities)
        return True

    def format(self, buffer: bytearray) -> bool:
        (index,) = struct.unpack_from("=I", buffer)
        if index > 1:
            return False
        struct.pack_into("=I", buffer, 44, (self.mjpg, self.yuyv)[index])
        return True

    def size(self, buffer: bytearray) -> bool:
        index, pixels = struct.unpack_from("=2I", buffer)
        if pixels == self.yuyv:
            struct.pack_into("=7I", buffer, 8, 3, 160, 1920, 16, 120, 1080, 8)  # stepwise
            return index == 0
        if index > 2:
            return False
        struct.pack_into("=3I", buffer, 8, 1, *((1280, 720), (640, 480), (320, 240))[index])
        return True

    def interval(self, buffer: bytearray) -> bool:
        index, _, width, _ = struct.unpack_from("=4I", buffer)
        if index > (1 if width == 1280 else 0):
            return False
        struct.pack_into("=3I", buffer, 16, 1, 1, (15, 30)[index])
        return True


def test_the_kernels_numbers() -> None:
    """As linux/videodev2.h defines them for every 64-bit machine."""
    assert v4l2.QUERYCAP == 0x80685600
    assert v4l2.ENUM_FMT == 0xC0405602
    assert v4l2.ENUM_FRAMESIZES == 0xC02C564A
    assert v4l2.ENUM_FRAMEINTERVALS == 0xC034564B


def test_a_camera_with_its_modes(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    found = v4l2.query(str(node), Kernel())
    assert found is not None
    assert (found.name, found.driver, found.captures, found.outputs, found.loopback) == ("Integrated Camera", "uvcvideo", True, False, False)
    assert [str(mode) for mode in found.modes] == ["1280x720 MJPG at 30/15 fps", "640x480 MJPG at 15 fps", "320x240 MJPG at 15 fps", "1920x1080 YUYV at 15 fps"]


def test_a_virtual_camera_and_what_is_none(tmp_path: Path) -> None:
    node = tmp_path / "video9"
    node.touch()
    found = v4l2.query(str(node), Kernel(b"v4l2 loopback", b"streammat", 2))
    assert found is not None
    assert found.loopback
    assert found.outputs
    assert not found.captures
    assert v4l2.query(str(node)) is None  # the real kernel: an ordinary file is no device
    assert v4l2.query(str(tmp_path / "missing")) is None


def test_formats_of_the_other_byte_order(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    kernel = Kernel()
    kernel.yuyv = int.from_bytes(b"Y16 ", "little") | 1 << 31
    found = v4l2.query(str(node), kernel)
    assert found is not None
    assert [mode.fourcc for mode in found.modes] == ["MJPG", "MJPG", "MJPG", "Y16-BE"]


def test_a_virtual_camera_is_held_as_a_writer(tmp_path: Path) -> None:
    node = tmp_path / "video9"
    node.touch()
    asked = []

    def ioctl(descriptor: int, request: int, buffer: bytearray) -> int:
        asked.append((descriptor, request, bytes(buffer)))
        raise OSError(22, "Invalid argument")  # as later versions of v4l2loopback answer

    held = v4l2.hold(str(node), ioctl)
    assert held is not None
    os.close(held)
    assert asked == [(held, 0x40045612, b"\2\0\0\0")]  # VIDIOC_STREAMON of V4L2_BUF_TYPE_VIDEO_OUTPUT
    assert v4l2.hold(str(tmp_path / "missing"), ioctl) is None


def test_devices_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("video10", "video9", "video0", "videos", "snd"):
        (tmp_path / name).touch()
    assert [path.name for path in v4l2.paths(tmp_path)] == ["video0", "video9", "video10"]


def test_who_holds_a_device(tmp_path: Path) -> None:
    import subprocess
    import sys

    held = tmp_path / "video0"
    held.touch()
    with subprocess.Popen(
        [sys.executable, "-c", f"f = open({str(held)!r}); print('open', flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert v4l2.holders(str(held)) == [f"{Path(f'/proc/{process.pid}/comm').read_text().strip()} ({process.pid})"]
        process.communicate("\n")
    assert v4l2.holders(str(held)) == []


def test_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [
        v4l2.Device("/dev/video0", "Integrated Camera", "uvcvideo", True, False, (v4l2.Mode("MJPG", (720, 1280), (30.0,)),)),
        v4l2.Device("/dev/video9", "streammat", "v4l2 loopback", False, True, ()),
    ]
    known.append(v4l2.Device("/dev/video8", "open to all", "v4l2 loopback", True, True, ()))
    monkeypatch.setattr(v4l2, "devices", lambda: known)
    found = json.loads(call("devices", "--json").ok().out)
    assert found["cameras"] == [
        {"id": "/dev/video0", "name": "Integrated Camera", "modes": ["1280x720 MJPG at 30 fps"]},
        {"id": "/dev/video8", "name": "open to all", "modes": []},
    ]
    assert found["virtual_cameras"][0]["problem"] is None
    assert "exclusive_caps" in found["virtual_cameras"][1]["problem"]  # with them a device is a camera or the other end of one, not both
    shown = call("devices").ok().out
    assert "/dev/video0  Integrated Camera" in shown
    assert "1280x720 MJPG at 30 fps" in shown


def test_the_doctor_says_what_is_and_what_to_do() -> None:
    done = call("doctor", "--engine", "onnxruntime", "--quality", "fast", "--json").ok()
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert list(found) == ["weights", "cpu", "engine", "cameras", "virtual camera", "browsers", "microphones", "trial"]
    assert found["weights"]["state"] == "ok"
    assert "onnxruntime" in found["engine"]["message"]
    assert found["trial"]["state"] in ("ok", "warning")
    assert "fps shown" in found["trial"]["message"]


def test_the_doctor_finds_damaged_weights_and_says_so_with_its_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dataclasses import replace

    from streammat.engines import shipped as models
    from streammat.models import library

    damaged = tmp_path / "lite.int8.onnx"
    damaged.write_bytes(b"not a network")
    shipped = models.shipped()
    for home in (models, library):
        monkeypatch.setattr(home, "shipped", lambda name="lite": replace(shipped, int8=damaged))
    monkeypatch.setattr(doctor, "TRIAL_SECONDS", 0.5)
    done = call("doctor", "--precision", "int8", "--json")
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert done.code == 1
    assert "lite.int8.onnx" in found["weights"]["message"]
    assert [found[name]["state"] for name in ("weights", "engine", "trial")] == ["failed"] * 3
