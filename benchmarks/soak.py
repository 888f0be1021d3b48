# ruff: noqa: INP001 - scripts are no package
"""Half an hour of `streammat webcam` at 720p30 from a file camera, into a null output and a recording with sound.

    python benchmarks/soak.py                      # 30 minutes; --minutes 2 for a look
    python benchmarks/soak.py --clip talk.mp4 -- --engine onnxruntime

The clip becomes a camera of ten seconds, over and over, whose image brightens for one frame as a beep sounds. Afterwards the recording
is read back: where images brighten and where beeps begin tells how sound and image drift apart. Memory is looked at every five
seconds. Ends with 1 where a bound is broken: memory 5 % above that of the second minute, sound and image 20 ms off, p99 latency 100 ms.

Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

RATE, SOUND_RATE, SECONDS = 30, 48_000, 10
FLASH = 5 * RATE
"""The frame that is bright."""
SIZE = (1280, 720)
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MEMORY_GROWTH, APART_MS, LATENCY_MS = 0.05, 20.0, 100.0


def main() -> None:
    """Run, and tell."""
    parser = argparse.ArgumentParser(description="Half an hour of live video: memory, latency, drops, sound against image.")
    parser.add_argument("--clip", type=Path, default=EXAMPLES / "portrait.mp4")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="Also write the figures here.")
    parser.add_argument("more", nargs="*", help="Options of streammat webcam, after --.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streammat-soak-") as folder:
        camera, recording = Path(folder) / "camera.mkv", Path(folder) / "recording.mkv"
        write_camera(options.clip, camera)
        ended, memory = run(camera, recording, options.minutes, options.more)
        apart = sound_against_image(recording)
    figures = summary(ended, memory, apart)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    broken = [
        text
        for text, bad in (
            (f"memory grew by {figures['memory_growth']:.1%}", not figures["memory_growth"] <= MEMORY_GROWTH),
            (f"sound and image are up to {figures['apart_ms']} ms apart", not (apart and figures["apart_spread_ms"] <= APART_MS)),
            (f"latency p99 is {figures['latency_p99_ms']} ms", not figures["latency_p99_ms"] <= LATENCY_MS),
        )
        if bad
    ]
    print("\n".join(broken) or "all bounds hold", file=sys.stderr)
    sys.exit(int(bool(broken)))


def write_camera(clip: Path, path: Path) -> None:
    """Ten seconds of ``clip`` at 720p30, with one bright frame and a beep beside it."""
    with av.open(str(clip)) as source:
        images = islice(source.decode(video=0), SECONDS * RATE)
        frames = [image.reformat(*SIZE, "yuv420p", interpolation="AREA").to_ndarray() for image in images]
    turn = [*frames, *frames[-2:0:-1]]  # to and fro, so that it has no cuts
    time_line = np.arange(SECONDS * SOUND_RATE) / SOUND_RATE
    begin = FLASH / RATE
    beep = 0.5 * np.sin(2 * np.pi * 1000 * time_line) * ((time_line >= begin) & (time_line < begin + 0.05))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "18"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        for index in range(SECONDS * RATE):
            picture = turn[index % len(turn)].copy()
            if index == FLASH:
                luma = picture[: SIZE[1]]
                luma[:] = np.minimum(235, luma.astype(np.uint16) + 70)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
            part = beep[index * SOUND_RATE // RATE : (index + 1) * SOUND_RATE // RATE]
            sound = av.AudioFrame.from_ndarray((part * 32767).astype(np.int16)[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = SOUND_RATE, index * SOUND_RATE // RATE, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def run(camera: Path, recording: Path, minutes: float, more: list[str]) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """The run's last event, and (seconds, MB) of memory."""
    command = [
        sys.executable, "-m", "streammat", "webcam", "--camera", str(camera), "--loop", "--microphone", "file", "--to", "null",
        "--to", str(recording), "--bg", str(EXAMPLES / "beach.jpg"), "--duration", str(60 * minutes), "--json", *more,
    ]  # fmt: skip
    memory: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        begin, watched = time.monotonic(), psutil.Process(process.pid)

        def watch() -> None:
            while process.poll() is None:
                try:
                    memory.append((time.monotonic() - begin, watched.memory_info().rss / 1e6))
                except psutil.NoSuchProcess:
                    return
                time.sleep(5)

        threading.Thread(target=watch, daemon=True).start()
        assert process.stdout is not None
        last: dict[str, Any] = {}
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] in ("level", "fault", "ended"):
                print(event["event"], event.get("message", ""), file=sys.stderr)
            if event["event"] == "ended":
                last = event
        _, errors = process.communicate()
        if process.returncode or not last:
            sys.exit(f"streammat webcam ended with {process.returncode}: {errors.strip()}")
    return last, memory


def sound_against_image(recording: Path) -> list[float]:
    """For each bright frame: milliseconds by which the beep beside it comes later."""
    flashes, beeps = [], []
    with av.open(str(recording)) as container:
        lumas: list[float] = []
        times: list[float] = []
        loud, quiet_since = False, 0.0
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
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
    return [float(1000 * (beep - flash)) for beep, flash in nearest if abs(beep - flash) < 1.0]


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
