"""`streammat webcam` on real devices of the kernel, seen from outside: FFmpeg plays the camera, FFmpeg and v4l2-ctl look at the
result. Made for the machine that `scripts/guest` builds; runs on any Linux with such devices:

    sudo modprobe v4l2loopback devices=2 video_nr=8,9 exclusive_caps=0,1 card_label=feed,streammat
    sudo modprobe vivid n_devs=1 node_types=1
    python -m pytest -m devices tests/devices

What is missing skips its tests, or fails them where STREAMMAT_NEED_DEVICES is 1. Only then are drivers unloaded and cameras
unplugged. Nothing here depends on how quick the machine is: under emulation the network takes seconds for an image.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import pytest
from media import Rgb, frames_of
from running import QUICK, REPOSITORY, Run, run, spawn, wait_for

pytestmark = [pytest.mark.devices, pytest.mark.timeout(1800)]

SIZE = (320, 180)
LIVE = (*QUICK, "--precision", "int8", "--fixed", "--json")
GREEN = (0, 177, 64)
PATIENCE = 300.0
"""Seconds until a test gives up."""
NEEDED = os.environ.get("STREAMMAT_NEED_DEVICES") == "1"


def lack(what: str) -> None:
    """Skip the test for want of ``what``, or fail it."""
    if NEEDED:
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")


def node(label: str) -> str:
    """The device file of the video device with this name."""
    for found in sorted(Path("/sys/class/video4linux").glob("video*")):
        if (found / "name").read_text().strip().startswith(label):
            return f"/dev/{found.name}"
    lack(f"a video device called {label}")
    raise AssertionError


@pytest.fixture
def feed() -> str:
    return node("feed")


@pytest.fixture
def shown() -> str:
    return node("streammat")


@pytest.fixture
def vivid() -> str:
    return node("vivid")


@pytest.fixture(autouse=True)
def tools() -> None:
    for tool in ("ffmpeg", "v4l2-ctl"):
        if shutil.which(tool) is None:
            lack(tool)


@pytest.fixture
def master() -> None:
    """For tests that unload drivers or become another user."""
    if not (NEEDED and os.geteuid() == 0):
        lack("root, and STREAMMAT_NEED_DEVICES=1 to allow it")


def load(feed: str, shown: str) -> None:
    """Load v4l2loopback as it was."""
    numbers = ",".join(path.removeprefix("/dev/video") for path in (feed, shown))
    options = ("devices=2", f"video_nr={numbers}", "exclusive_caps=0,1", "card_label=feed,streammat")
    subprocess.run(["modprobe", "v4l2loopback", *options], check=True)


def abilities(device: str) -> set[str]:
    """What a device says it can do: ``Video Capture``, ``Video Output``."""
    told = subprocess.run(["v4l2-ctl", "-d", device, "-D"], capture_output=True, text=True, check=False, timeout=60).stdout
    return {line.strip() for line in told.partition("Device Caps")[2].splitlines()} & {"Video Capture", "Video Output"}


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example subject in its own room, 5 images a second, as bytes that cost nothing to play."""
    made = tmp_path_factory.mktemp("film") / "film.yuv"
    shape = f"scale={SIZE[0]}:{SIZE[1]},fps=5,format=yuyv422"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", REPOSITORY / "examples" / "portrait.mp4", "-vf", shape, "-f", "rawvideo", made], check=True
    )
    return made


@contextmanager
def playing(film: Path, feed: str) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg as the camera."""
    source = ["-f", "rawvideo", "-pixel_format", "yuyv422", "-video_size", f"{SIZE[0]}x{SIZE[1]}", "-framerate", "5", "-i", film]
    with subprocess.Popen(["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", *source, "-f", "v4l2", feed]) as process:
        wait_for(lambda: "YUYV" in subprocess.run(["v4l2-ctl", "-d", feed, "--list-formats"], capture_output=True, text=True, check=False).stdout, 60)
        try:
            yield process
        finally:
            process.kill()


class Live:
    """A run of ``streammat webcam`` whose events are read from its log."""

    def __init__(self, folder: Path, *arguments: str | Path, **options: Any) -> None:
        self._log = folder / f"log{len(list(folder.glob('log*')))}"
        self.process = spawn("webcam", *LIVE, "--log", self._log, *map(str, arguments), **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        with suppress(ValueError):  # it was read to its end
            self.process.communicate(timeout=60)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> None:
        def seen() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return len(self.events(name)) >= count

        wait_for(seen, PATIENCE)

    def composed(self) -> int:
        status = self.events("status")
        return int(status[-1]["composed"]) if status else 0

    def end(self, number: int = signal.SIGTERM) -> Run:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Run(self.process.returncode, out, err)


def look(device: str, enough: Callable[[list[Rgb]], bool]) -> list[Rgb]:
    """Images that another program gets from a camera, until they are ``enough``."""
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "v4l2", "-i", device, "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    seen: list[Rgb] = []
    limit = time.monotonic() + PATIENCE
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            while not enough(seen):
                assert time.monotonic() < limit, f"{len(seen)} images, and not what is looked for"
                raw = process.stdout.read(SIZE[0] * SIZE[1] * 3)
                assert len(raw) == SIZE[0] * SIZE[1] * 3, f"FFmpeg gives {len(raw)} bytes; its words are above"
                seen.append(np.frombuffer(raw, np.uint8).reshape(SIZE[1], SIZE[0], 3))
        finally:
            process.kill()
    return seen


def watch(device: str) -> list[Rgb]:
    """Images of a camera until there is one with the subject."""
    return look(device, lambda seen: bool(seen) and has_subject(seen[-1]))


def background(image: Rgb) -> np.ndarray[Any, Any]:
    """Where an image is as green as it was asked to be."""
    distance: np.ndarray[Any, Any] = np.abs(image.astype(int) - GREEN).max(2)
    return distance < 40


def is_safe(image: Rgb) -> bool:
    """Whether the corners, where the subject never is, show nothing of the room."""
    return all(bool(background(corner).mean() > 0.99) for corner in (image[:20, :20], image[:20, -20:]))


def has_subject(image: Rgb) -> bool:
    return bool(background(image[::4, ::4]).mean() < 0.95)


def likeness(image: Rgb, film: Path) -> float:
    """Mean difference between the subject in an image and in the film's image that is most like it, 0..255."""
    inside = cv2.erode((~background(image)).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    frames = np.fromfile(film, np.uint8).reshape(-1, SIZE[1], SIZE[0], 2)
    return min(float(np.abs(image.astype(int) - cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_YUYV))[inside].mean()) for frame in frames)


def test_it_lists_what_is_there(feed: str, shown: str) -> None:
    found = json.loads(run("devices", "--json", seconds=PATIENCE).ok().out)
    assert feed in [camera["id"] for camera in found["cameras"]]
    problems = {virtual["id"]: virtual["problem"] for virtual in found["virtual_cameras"]}
    assert problems[shown] is None
    assert "exclusive_caps" in problems[feed]
    if Path("/proc/asound/Loopback").exists():
        assert any("Loopback" in microphone["name"] for microphone in found["microphones"])
    said = run("devices", seconds=PATIENCE).ok()
    assert f"  {shown}  streammat\n" in said.out


def test_modes_of_a_camera(vivid: str) -> None:
    found = json.loads(run("devices", "--json", seconds=PATIENCE).ok().out)
    (modes,) = [camera["modes"] for camera in found["cameras"] if camera["id"] == vivid]
    told = subprocess.run(["v4l2-ctl", "-d", vivid, "--list-formats-ext"], capture_output=True, text=True, check=True).stdout
    assert len(modes) == told.count("Size: Discrete")
    assert any(mode.startswith("640x360 YUYV at ") for mode in modes)


def test_camera_in_virtual_camera_and_recording_out(tmp_path: Path, film: Path, feed: str, shown: str) -> None:
    """The main use, from the device of the camera to the programs that look at the virtual one, and to its end."""
    record = tmp_path / "rec.mkv"
    with playing(film, feed), Live(tmp_path, "--camera", feed, "--to", shown, "--to", record) as live:
        live.wait_for("started")
        wait_for(lambda: abilities(shown) == {"Video Capture"}, PATIENCE)  # what browsers look for
        seen = watch(shown)
        assert all(map(is_safe, seen))
        assert likeness(next(filter(has_subject, seen)), film) < 12
        raw = tmp_path / "raw"
        subprocess.run(["v4l2-ctl", "-d", shown, "--stream-mmap", "--stream-count=3", f"--stream-to={raw}"], check=True, capture_output=True, timeout=PATIENCE)
        assert raw.stat().st_size == 3 * SIZE[0] * SIZE[1] * 3 // 2
        done = live.end()
    assert done.code == 143
    assert done.err == ""
    report = json.loads(done.out.splitlines()[-1])
    assert report["event"] == "ended"
    assert [output["error"] for output in report["outputs"]] == [None, None]
    images = frames_of(record)
    assert len(images) == report["outputs"][1]["written"]
    assert all(map(is_safe, images))
    assert any(map(has_subject, images))
    assert abilities(shown) == {"Video Output"}


def test_a_camera_that_stops_and_comes_back(tmp_path: Path, film: Path, feed: str, shown: str) -> None:
    with playing(film, feed) as camera, Live(tmp_path, "--camera", feed, "--to", shown) as live:
        wait_for(lambda: live.composed() > 0, PATIENCE)
        camera.kill()
        lost = len(live.events("camera-lost"))
        live.wait_for("camera-lost", lost + 1)
        away = look(shown, lambda seen: len(seen) >= 5)  # the virtual camera lives on
        assert all(map(is_safe, away))
        before = live.composed()
        back = len(live.events("camera-back"))
        with playing(film, feed):
            live.wait_for("camera-back", back + 1)
            wait_for(lambda: live.composed() > before + 1, PATIENCE)
            assert all(map(is_safe, watch(shown)))
        assert live.end(signal.SIGINT).code == 130


def test_a_camera_that_is_unplugged_and_plugged_in(tmp_path: Path, vivid: str, shown: str, master: None) -> None:
    driver = Path("/sys/bus/platform/drivers/vivid")
    with Live(tmp_path, "--camera", vivid, "--size", "320x180", "--to", shown) as live:
        live.wait_for("status", 3)
        try:
            (driver / "unbind").write_text("vivid.0")
            live.wait_for("camera-lost")
            assert not Path(vivid).exists()
            look(shown, lambda seen: len(seen) >= 5)
        finally:
            (driver / "bind").write_text("vivid.0")
        live.wait_for("camera-back")
        captured = live.events("status")[-1]["captured"]
        wait_for(lambda: live.events("status")[-1]["captured"] > captured + 5, PATIENCE)
        done = live.end()
    assert (done.code, done.err) == (143, "")


def test_a_killed_run_leaves_the_virtual_camera_to_the_next(tmp_path: Path, film: Path, feed: str, shown: str) -> None:
    with playing(film, feed):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with Live(tmp_path, "--camera", feed, "--to", shown) as live:
                wait_for(lambda live=live: live.composed() > 0, PATIENCE)  # type: ignore[misc]
                live.end(number)
            wait_for(lambda: abilities(shown) == {"Video Output"}, 10)


def test_devices_that_others_hold(tmp_path: Path, film: Path, feed: str, shown: str, vivid: str) -> None:
    with playing(film, feed), Live(tmp_path, "--camera", feed, "--to", shown) as live:
        wait_for(lambda: abilities(shown) == {"Video Capture"}, PATIENCE)
        run("webcam", *LIVE, "--camera", feed, "--to", shown, seconds=PATIENCE).refused(1, shown, "in use", "close that")
        run("webcam", *LIVE, "--camera", feed, "--to", feed, seconds=PATIENCE).refused(1, feed, "the camera itself")
        live.end()
    with subprocess.Popen(["v4l2-ctl", "-d", vivid, "--stream-mmap"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        time.sleep(3)
        run("webcam", *LIVE, "--camera", vivid, "--to", "null", seconds=PATIENCE).refused(1, vivid, "held by v4l2-ctl", "close that")
        other.kill()


def test_what_is_no_camera_and_no_virtual_camera(feed: str, shown: str, vivid: str) -> None:
    clip = REPOSITORY / "examples" / "portrait.mp4"
    for arguments, words in (
        (("--camera", feed, "--to", "null"), (feed, "no program sends images")),
        (("--camera", shown, "--to", "null"), (shown, "no program sends images")),
        (("--camera", clip, "--to", vivid), (vivid, "is no virtual camera", shown)),
        (("--camera", vivid, "--size", "322x180", "--to", "null"), (vivid, "has no 322x180", "640x360")),
        (("--camera", clip, "--to", "/dev/video97"), ("no such device", shown)),
    ):
        run("webcam", *LIVE, *arguments, seconds=PATIENCE).refused(1, *words)


def test_without_permission(feed: str, shown: str, master: None) -> None:
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "seconds": PATIENCE}
    clip = REPOSITORY / "examples" / "portrait.mp4"
    run("webcam", *LIVE, "--camera", feed, "--to", "null", **nobody).refused(1, feed, "permission denied", "usermod -aG video")
    for target in (shown, "camera"):
        run("webcam", *LIVE, "--camera", clip, "--to", target, **nobody).refused(1, "permission denied", "usermod -aG video")
    said = run("devices", **nobody).ok()
    assert "usermod -aG video" in said.err
    assert "modprobe" not in said.err


def test_without_the_driver(feed: str, shown: str, master: None) -> None:
    clip = REPOSITORY / "examples" / "portrait.mp4"
    subprocess.run(["modprobe", "-r", "v4l2loopback"], check=True)
    try:
        for target in ("camera", shown):
            done = run("webcam", *LIVE, "--camera", clip, "--to", target, seconds=PATIENCE)
            done.refused(1, "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streammat")
        assert "modprobe v4l2loopback" in run("devices", seconds=PATIENCE).ok().err
    finally:
        load(feed, shown)


def test_the_line_that_is_told_makes_a_virtual_camera(tmp_path: Path, feed: str, shown: str, master: None) -> None:
    """The modprobe line of the message, then ``--to camera``."""
    subprocess.run(["modprobe", "-r", "v4l2loopback"], check=True)
    try:
        told = run("webcam", *LIVE, "--camera", REPOSITORY / "examples" / "portrait.mp4", "--to", "camera", seconds=PATIENCE).error
        subprocess.run(told.partition("run: sudo ")[2].split(), check=True)
        made = node("streammat")
        with Live(tmp_path, "--camera", REPOSITORY / "examples" / "portrait.mp4", "--loop", "--to", "camera") as live:
            wait_for(lambda: abilities(made) == {"Video Capture"}, PATIENCE)
            assert live.end().code == 143
    finally:
        subprocess.run(["modprobe", "-r", "v4l2loopback"], check=True)
        load(feed, shown)


def test_a_microphone(tmp_path: Path) -> None:
    """A tone that another program plays into the loopback sound card is in the recording."""
    card = Path("/proc/asound/Loopback")
    if not card.exists():
        lack("the sound card of snd-aloop")
    number = os.readlink(card).removeprefix("card")
    record = tmp_path / "rec.mkv"
    clip = REPOSITORY / "examples" / "portrait.mp4"
    tone = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "sine=440:r=48000", "-ac", "2", "-f", "alsa", f"hw:{number},1"]
    with subprocess.Popen(tone) as player:
        try:
            arguments = ("--camera", clip, "--loop", "--size", "320x180", "--to", record, "--microphone", f"hw:{number},0")
            with Live(tmp_path, *arguments) as live:
                wait_for(lambda: live.composed() > 5, PATIENCE)
                done = live.end()
        finally:
            player.kill()
    assert (done.code, done.err) == (143, "")
    report = json.loads(done.out.splitlines()[-1])
    assert [output["error"] for output in report["outputs"]] == [None]
    assert abs(pitch(record) - 440) < 5


def pitch(file: Path) -> float:
    """The strongest frequency of a file's sound, in hertz."""
    raw = subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", file, "-vn", "-ac", "1", "-ar", "8000", "-f", "f32le", "-"], capture_output=True, check=True,
    ).stdout
    wave = np.frombuffer(raw, np.float32)
    assert len(wave) > 8000, f"{file}: {len(wave) / 8000} seconds of sound"
    return float(np.abs(np.fft.rfft(wave)).argmax() * 8000 / len(wave))


def test_the_doctor(shown: str, vivid: str) -> None:
    done = run("doctor", *QUICK, "--precision", "int8", "--json", seconds=PATIENCE)
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert vivid in found["cameras"]["message"]
    assert found["virtual camera"]["state"] == "ok"
    assert shown in found["virtual camera"]["message"]
    # Whether the trial keeps up depends on the machine; the exit code must tell in any case.
    assert done.code == int(any(finding["state"] == "failed" for finding in found.values()))
    assert done.err == ""
