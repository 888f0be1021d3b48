# ruff: noqa: INP001 - scripts are no package
"""Damages real containers by chance and runs ``streammat`` on each: it has to end, say one line at most of an error, and leave no half file.

    python benchmarks/reliability/fuzz.py --minutes 10                # as long as that, from seed 0 on
    python benchmarks/reliability/fuzz.py --seed 4711 --count 1       # one case again
    python benchmarks/reliability/fuzz.py --minutes 10 --keep bad/    # keep what failed

A case depends on its seed alone: the container, the kind of damage and its place. It fails where the process is ended by a signal, does not end
within a minute, prints a traceback or more than one line of an error, ends with a code other than 0 and 1, writes an output of which
fewer frames can be read than it reports, or leaves a file under the output's name although it reported failure before the first frame.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

SECONDS = 60
"""Within which a run has to end; a whole one takes about two."""
CLIPS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".ts": "libx264"}
STILLS = (".png", ".jpg", ".webp", ".tif", ".bmp")
KINDS = ("flip", "cut", "overwrite", "swap", "zero", "insert", "head")


@dataclass(frozen=True)
class Case:
    """One damaged file."""

    seed: int
    suffix: str
    kind: str
    data: bytes


def write_clip(path: Path, codec: str) -> None:
    """Twelve frames of 64x64 with a second of sound."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=12, options={"g": "6"})
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000)
        audio.layout = "mono"
        for number in range(12):
            image = np.full((64, 64, 3), 40 + 10 * number, np.uint8)
            cv2.circle(image, (32, 36), 18, (200, 160, 130), -1)
            out.mux(video.encode(av.VideoFrame.from_ndarray(image + rng.integers(0, 9, image.shape, np.uint8), "rgb24")))
        sound = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 48000)).astype(np.float32), "fltp", "mono")
        sound.sample_rate = 48000
        for chunk in av.AudioResampler("flt" if path.suffix == ".webm" else "fltp", "mono", 48000, 960 if path.suffix == ".webm" else 1024).resample(sound):
            out.mux(audio.encode(chunk))
        for stream in (video, audio):
            out.mux(stream.encode(None))


def sources() -> dict[str, bytes]:
    """A whole file of each kind, by its suffix."""
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in CLIPS.items():
            path = Path(folder) / f"clip{suffix}"
            write_clip(path, codec)
            files[suffix] = path.read_bytes()
    image = np.full((64, 96, 3), 60, np.uint8)
    cv2.circle(image, (48, 36), 22, (130, 160, 200), -1)
    for suffix in STILLS:
        files[suffix] = cv2.imencode(suffix, image)[1].tobytes()
    return files


def damaged(files: dict[str, bytes], seed: int) -> Case:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    suffix = list(files)[int(rng.integers(len(files)))]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    data = bytearray(files[suffix])
    at = int(rng.integers(len(data)))
    length = int(min(len(data) - at, rng.integers(1, 400)))
    if kind == "flip":
        for place in rng.integers(len(data), size=int(rng.integers(1, 30))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        del data[at:]
    elif kind == "overwrite":
        data[at : at + length] = rng.bytes(length)
    elif kind == "zero":
        data[at : at + length] = bytes(length)
    elif kind == "insert":
        data[at:at] = rng.bytes(length)
    elif kind == "swap":
        other = int(rng.integers(len(data) - length + 1))
        data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    else:
        data[int(rng.integers(min(64, len(data))))] = int(rng.integers(256))
    return Case(seed, suffix, kind, bytes(data))


def command(case: Case, folder: Path) -> tuple[list[str], Path]:
    """Write the damaged file into ``folder``; the arguments of the run on it, and its output."""
    source = folder / f"in{case.suffix}"
    source.write_bytes(case.data)
    still = case.suffix in STILLS
    target = folder / ("out.png" if still else "out.mkv")
    return ["image" if still else "video", str(source), str(target), "--engine", "onnxruntime", "--quality", "fast", "--json"], target


def fault(code: int, out: str, err: str, target: Path) -> str | None:
    """Return what is wrong with how a run ended; None: nothing."""
    if "Traceback" in err or "Traceback" in out:
        return "traceback"
    if code not in (0, 1):
        return f"exit code {code}"
    errors = [line for line in err.splitlines() if line and not line.startswith(("note:", "warning:"))]
    if len(errors) > 1:
        return f"{len(errors)} lines on stderr"
    if code == 1 and not errors:
        return "failed without a word"
    if code == 0 and not target.exists():
        return "no output"
    if code == 0 and target.suffix == ".mkv":
        with av.open(str(target)) as made:
            frames = sum(1 for _ in made.decode(video=0))
        told = json.loads(out)["frames_out"]
        if frames != told:
            return f"{told} frames reported, {frames} in the file"
    return None


def tried(case: Case, folder: Path) -> str | None:
    """Run one case in a process of its own; what is wrong, or None."""
    arguments, target = command(case, folder)
    try:
        done = subprocess.run([sys.executable, "-m", "streammat", *arguments], capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"does not end within {SECONDS} s"
    return f"ended by signal {-done.returncode}" if done.returncode < 0 else fault(done.returncode, done.stdout, done.stderr, target)


def main() -> None:
    """Try cases until the time is over; exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    files, end, seed = sources(), time.monotonic() + 60 * options.minutes, options.seed
    tries: Counter[str] = Counter()
    failed: list[str] = []
    while time.monotonic() < end and (options.count is None or seed < options.seed + options.count):
        case = damaged(files, seed)
        with tempfile.TemporaryDirectory() as folder:
            wrong = tried(case, Path(folder))
        tries[case.suffix] += 1
        if wrong:
            failed.append(f"seed {seed} ({case.suffix}, {case.kind}): {wrong}")
            print(failed[-1], flush=True)
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{seed}{case.suffix}").write_bytes(case.data)
        seed += 1
    print(f"{sum(tries.values())} cases ({', '.join(f'{suffix} {count}' for suffix, count in sorted(tries.items()))}), {len(failed)} failed")
    sys.exit(int(bool(failed)))


if __name__ == "__main__":
    main()
