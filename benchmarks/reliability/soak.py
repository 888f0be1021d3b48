# ruff: noqa: INP001 - scripts are no package
"""Half an hour of `streammat webcam` at 720p30 from a file camera, into a null output and a recording with sound.

    python benchmarks/reliability/soak.py                      # 30 minutes; --minutes 2 for a look
    python benchmarks/reliability/soak.py --page               # with the control page open in two clients, all of whose images are looked at
    python benchmarks/reliability/soak.py --page --turns 3 --minutes 1   # latency without and with the page, in turn
    python benchmarks/reliability/soak.py --size 640x360 --rate 15 --clip talk.mp4 -- --engine onnxruntime

The clip becomes a camera of ten seconds, over and over, whose image brightens for one frame as a beep sounds. Afterwards the recording
is read back: where images brighten and where beeps begin tells how sound and image drift apart. Memory is looked at every five
seconds. Ends with 1 where a bound is broken: memory 5 % above that of the second minute, sound and image 20 ms off, p99 latency 100 ms, a frame of the room.

With ``--page`` one client is the page in Chromium, where Playwright and one are at hand, and the others take events and images as the page does.
They run at a lower priority, like a phone whose processor is its own; ``--same-priority`` lets them compete, like a browser on a machine that is busy.
The background is blue then, and both upper corners, which the example's person does not reach, have to be so in every image that a client gets
and in every frame of the recording.

Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

SOUND_RATE, SECONDS = 48_000, 10
FLASH_SECONDS = 5
"""When a frame is bright."""
BLUE = (0, 0, 255)
CORNER = 0.08
"""Of the sides of a frame."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MEMORY_GROWTH, APART_MS, LATENCY_MS = 0.05, 20.0, 100.0


def main() -> None:
    """Run, and tell."""
    parser = argparse.ArgumentParser(description="Half an hour of live video: memory, latency, drops, sound against image.")
    parser.add_argument("--clip", type=Path, default=EXAMPLES / "portrait.mp4")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--page", action="store_true", help="with the control page, open in two clients")
    parser.add_argument("--same-priority", action="store_true", help="clients compete with the run for the processor")
    parser.add_argument("--turns", type=int, default=0, help="compare latency without and with the page in so many turns, each of --minutes")
    parser.add_argument("--json", type=Path, help="Also write the figures here.")
    parser.add_argument("more", nargs="*", help="Options of streammat webcam, after --.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streammat-soak-") as folder:
        camera, recording = Path(folder) / "camera.mkv", Path(folder) / "recording.mkv"
        width, height = map(int, options.size.split("x"))
        write_camera(options.clip, camera, (width, height), options.rate)
        if options.turns:
            compare(camera, options)
            return
        clients = Clients(lower=not options.same_priority) if options.page else None
        ended, memory = run(camera, ["null", str(recording)], options.minutes, options.more, clients, blue=options.page)
        apart, rooms = sound_against_image(recording, look=options.page)
    figures = summary(ended, memory, apart)
    if clients is not None:
        figures |= {"clients": clients.report(), "recorded_frames_of_the_room": rooms}
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    broken = [
        text
        for text, bad in (
            (f"memory grew by {figures['memory_growth']:.1%}", not figures["memory_growth"] <= MEMORY_GROWTH),
            (f"sound and image are up to {figures['apart_ms']} ms apart", not (apart and figures["apart_spread_ms"] <= APART_MS)),
            ("the room was shown", bool(rooms) or (clients is not None and clients.rooms)),
            ("a client saw next to nothing", clients is not None and min(clients.seen.values(), default=0) < ended["captured"] / 100),
            (f"latency p99 is {figures['latency_p99_ms']} ms", not figures["latency_p99_ms"] <= LATENCY_MS),
        )
        if bad
    ]
    print("\n".join(broken) or "all bounds hold", file=sys.stderr)
    sys.exit(int(bool(broken)))


def compare(camera: Path, options: argparse.Namespace) -> None:
    """Latency at a null output, p50 and p99, of runs without and with the page, which take turns."""
    found: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for turn in range(2 * options.turns):
        name = ("without", "with")[turn % 2]
        clients = Clients(lower=not options.same_priority) if name == "with" else None
        # One background in both: an image takes longer than a colour, and would hide a part of what the page costs.
        ended, _ = run(camera, ["null"], options.minutes, options.more, clients, blue=True)
        latency = ended["outputs"][0]["latency"]
        found[name].append((latency["p50_ms"], latency["p99_ms"]))
        print(
            f"{name} the page: p50 {latency['p50_ms']}, p99 {latency['p99_ms']} ms, {ended['fps']} fps, {ended['dropped']} dropped, "
            f"CPU {ended['cpu_ms']:.1f} ms per frame, load {os.getloadavg()[0]:.1f}", flush=True,
        )
    p50, p99 = (float(np.median([b[part] / a[part] for a, b in zip(found["without"], found["with"], strict=True)])) for part in (0, 1))
    print(f"with over without, median of the turns: p50 {p50:.2f}, p99 {p99:.2f}")


class Clients:
    """Two clients of the control page, and how much of the room they were shown."""

    def __init__(self, *, lower: bool) -> None:
        self._lower = lower
        self.seen: dict[str, int] = {}
        """Images by client."""
        self.rooms = 0
        """Images that show it."""
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def open(self, link: str) -> None:
        """Enter by the link."""
        parts = urlsplit(link)
        cookie = self._enter(link)
        self._headers = {"Cookie": cookie, "Origin": f"http://{parts.netloc}"}
        self._host = parts.netloc
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        if browser and find_spec("playwright"):
            self._start("page in Chromium", lambda: self._browse(browser))
        else:
            self._start("client 1", lambda: self._look("client 1"))
        self._start("client 2", lambda: self._look("client 2"))

    def close(self) -> None:
        """Leave."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def report(self) -> dict[str, Any]:
        """Return the counts for the report."""
        return {"images": self.seen, "of_the_room": self.rooms}

    def _start(self, name: str, work: Callable[[], None]) -> None:
        self.seen[name] = 0

        def body() -> None:
            if self._lower and sys.platform == "linux":  # of this thread, and of a browser that it starts
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
            work()

        self._threads.append(threading.Thread(target=body, daemon=True))
        self._threads[-1].start()

    def _enter(self, link: str) -> str:
        with urllib.request.urlopen(link) as answer:  # noqa: S310 - of this machine
            return str(answer.headers["set-cookie"]).partition(";")[0]

    def _another(self) -> str:
        request = urllib.request.Request(f"http://{self._host}/link", b"", self._headers)
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return str(json.load(answer)["link"])

    def _look(self, name: str) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        def opened(path: str) -> Any:
            return connect(f"ws://{self._host}{path}", additional_headers={"Cookie": self._headers["Cookie"]}, origin=self._headers["Origin"])

        def hear(control: Any) -> None:
            with suppress(ConnectionClosed):
                for _ in control:
                    pass

        with opened("/control") as control, opened("/preview") as preview, suppress(ConnectionClosed):
            threading.Thread(target=hear, args=(control,), daemon=True).start()
            while not self._over.is_set():
                preview.send("640")
                message = preview.recv()
                self.seen[name] += 1
                image = cv2.imdecode(np.frombuffer(message[1:], np.uint8), cv2.IMREAD_COLOR)
                self.rooms += message[0] != 0 or not is_blue(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def _browse(self, browser: str) -> None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            page = opened.new_page(viewport={"width": 360, "height": 800})
            page.goto(self._another())
            page.wait_for_url(f"http://{self._host}/")
            while not self._over.wait(0.5):
                with suppress(Exception):  # the run is at its end
                    count, corner = page.evaluate(
                        """() => { const image = document.getElementById('image');
                        return [Number(image.dataset.images ?? 0), [...image.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3)] }"""
                    )
                    self.rooms += bool(count) and not is_blue(np.array([[corner]], np.uint8))
                    self.seen["page in Chromium"] = count
            opened.close()


def is_blue(rgb: NDArray[np.uint8]) -> bool:
    """Return whether both upper corners of an image are the background."""
    rows, columns = (max(1, round(CORNER * side)) for side in rgb.shape[:2])
    corners = (rgb[:rows, :columns], rgb[:rows, -columns:])
    return all(np.abs(corner.reshape(-1, 3).mean(0) - BLUE).max() < 20 for corner in corners)


def write_camera(clip: Path, path: Path, size: tuple[int, int], rate: int) -> None:
    """Ten seconds of ``clip`` at ``size``, (width, height), with one bright frame and a beep beside it."""
    with av.open(str(clip)) as source:
        images = islice(source.decode(video=0), SECONDS * rate)
        frames = [image.reformat(*size, "yuv420p", interpolation="AREA").to_ndarray() for image in images]
    turn = [*frames, *frames[-2:0:-1]]  # to and fro, so that it has no cuts
    time_line = np.arange(SECONDS * SOUND_RATE) / SOUND_RATE
    begin, flash = FLASH_SECONDS, FLASH_SECONDS * rate
    beep = 0.5 * np.sin(2 * np.pi * 1000 * time_line) * ((time_line >= begin) & (time_line < begin + 0.05))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        for index in range(SECONDS * rate):
            picture = turn[index % len(turn)].copy()
            if index == flash:
                luma = picture[: size[1]]
                luma[:] = np.minimum(235, luma.astype(np.uint16) + 70)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(video.encode(frame))
            part = beep[index * SOUND_RATE // rate : (index + 1) * SOUND_RATE // rate]
            sound = av.AudioFrame.from_ndarray((part * 32767).astype(np.int16)[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SOUND_RATE, index * SOUND_RATE // rate, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def run(camera: Path, outputs: list[str], minutes: float, more: list[str], clients: Clients | None, *, blue: bool) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """The run's last event, and (seconds, MB) of memory; ``blue``: the background that clients look for, and not an image."""
    command = [
        sys.executable, "-m", "streammat", "webcam", "--camera", str(camera), "--loop", *(word for output in outputs for word in ("--to", output)),
        *(("--microphone", "file") if len(outputs) > 1 else ()), "--duration", str(60 * minutes), "--json", *more,
        "--bg", "#{:02x}{:02x}{:02x}".format(*BLUE) if blue else str(EXAMPLES / "beach.jpg"), *(() if clients is None else ("--web", "127.0.0.1:0")),
    ]  # fmt: skip
    memory: list[tuple[float, float]] = []
    used: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        begin, watched = time.monotonic(), psutil.Process(process.pid)

        def watch() -> None:
            while process.poll() is None:
                try:
                    memory.append((time.monotonic() - begin, watched.memory_info().rss / 1e6))
                    used[:] = [sum(watched.cpu_times()[:2])]
                except psutil.NoSuchProcess:
                    return
                time.sleep(5)

        threading.Thread(target=watch, daemon=True).start()
        assert process.stdout is not None
        last: dict[str, Any] = {}
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "page" and clients is not None:
                threading.Timer(3.0, clients.open, (event["link"],)).start()  # once it runs
            if event["event"] in ("level", "fault", "ended"):
                print(event["event"], event.get("message", ""), file=sys.stderr)
            if event["event"] == "ended":
                last = event
        _, errors = process.communicate()
        if clients is not None:
            clients.close()
        if process.returncode or not last:
            sys.exit(f"streammat webcam ended with {process.returncode}: {errors.strip()}")
    last["cpu_ms"] = 1000 * used[0] / max(1, sum(last["shown"].values()))  # start-up included, the same in all
    return last, memory


def sound_against_image(recording: Path, *, look: bool) -> tuple[list[float], int]:
    """Return for each bright frame the milliseconds by which the beep beside it comes later; and frames whose corners are not blue, if they are looked at."""
    flashes, beeps, rooms = [], [], 0
    with av.open(str(recording)) as container:
        lumas: list[float] = []
        times: list[float] = []
        loud, quiet_since = False, 0.0
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                rooms += look and not is_blue(frame.to_ndarray(format="rgb24"))
                plane = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)
                # The middle, where the subject is: what is behind it does not brighten.
                lumas.append(float(plane[frame.height // 3 :, frame.width * 2 // 5 : frame.width * 3 // 5].mean()))
                times.append(float(frame.time))
                if len(lumas) >= 3 and lumas[-2] > max(lumas[-3], lumas[-1]) + 15:
                    flashes.append(times[-2])
                del lumas[:-3], times[:-3]
            else:
                samples = np.abs(frame.to_ndarray().astype(np.float32).ravel() / (32768 if frame.format.is_packed and "16" in frame.format.name else 1))
                for index in np.flatnonzero(samples > 0.1):
                    at = float(frame.time) + index / frame.sample_rate
                    if not loud or at - quiet_since > 1.0:
                        beeps.append(at)
                    loud, quiet_since = True, at
    # A bright frame may have been dropped; what brightens far from any beep is something else.
    nearest = [(min(beeps, key=lambda beep, flash=flash: abs(beep - flash)), flash) for flash in flashes] if beeps else []
    return [float(1000 * (beep - flash)) for beep, flash in nearest if abs(beep - flash) < 1.0], rooms


def summary(ended: dict[str, Any], memory: list[tuple[float, float]], apart: list[float]) -> dict[str, Any]:
    """The figures."""
    seconds = memory[-1][0]
    early = [value for at, value in memory if min(60.0, seconds / 4) <= at <= max(120.0, seconds / 2)]
    late = [value for at, value in memory if at >= seconds - max(60.0, seconds / 4)]
    null = next(output for output in ended["outputs"] if output["name"] == "null")
    return {
        "minutes": round(ended["seconds"] / 60, 2),
        "engine": {key: ended["engine"][key] for key in ("backend", "version", "precision", "size", "threads")},
        "fps": ended["fps"],
        "captured": ended["captured"],
        "dropped": ended["dropped"],
        "faults": ended["faults"],
        "latency_p50_ms": null["latency"]["p50_ms"],
        "latency_p99_ms": null["latency"]["p99_ms"],
        "within_33_ms": null["latency"]["within_33_ms"],
        "recording_dropped": [output["dropped"] for output in ended["outputs"]],
        "memory_mb": [round(float(np.median(early)), 1), round(float(np.median(late)), 1)],
        "memory_growth": round(float(np.median(late) / np.median(early) - 1), 4),
        "beeps": len(apart),
        "apart_ms": [round(min(apart), 1), round(max(apart), 1)] if apart else [],
        "apart_spread_ms": round(max(map(abs, apart)), 1) if apart else None,
        "drift_ms": round(float(np.mean(apart[-6:]) - np.mean(apart[:6])), 2) if apart else None,
    }


if __name__ == "__main__":
    main()
