# ruff: noqa: INP001 - scripts are no package
"""``streammat batch`` where it is ended again and again, on a cluster that loses nodes, and beside ``streammat video``.

    python benchmarks/reliability/batch.py kills                # 3,000 drawn frames; ended by kill -9 ten times at random; the bytes of an unbroken run
    python benchmarks/reliability/batch.py nodes CLIP           # three Ray nodes on this machine; one is killed midway, then the driver, which is started again
    python benchmarks/reliability/batch.py speed CLIP           # frames per second, CPU and memory of video, and of batch with 1 and 2 workers

Without CLIP a drawn one is used, with sound. Times are wall times and user + system CPU times of all processes together.
``nodes`` needs Ray (``pip install 'streammat[ray]'``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

RATE = 10
"""Of drawn clips, in frames per second: what is looked at before a shard counts in seconds."""
COMMON = ("--quality", "fast", "--engine", "onnxruntime")


def drawn_clip(path: Path, frames: int, height: int = 96, width: int = 128) -> Path:
    """Somebody (an ellipse with a head) who walks to and fro before stripes, and a tone."""
    y, x = np.mgrid[0:height, 0:width]
    stripes = np.stack([90 + 40 * np.sin(x / 9), 110 + 30 * np.sin(y / 7), 120 + 0 * x], 2)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", RATE, options={"preset": "ultrafast", "g": "50"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = out.add_stream("aac", 48_000, layout="mono")
        for index in range(frames):
            across = width * (0.5 + 0.3 * np.sin(index / 17))
            body = ((x - across) / (0.16 * width)) ** 2 + ((y - height) / (0.55 * height)) ** 2 < 1
            head = np.hypot(x - across, y - 0.33 * height) < 0.14 * height
            image = np.where((body | head)[:, :, None], np.where(head[:, :, None], (205, 160, 130), (60, 50, 110)), stripes)
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        each = 48_000 // RATE
        for index in range(frames):
            tone = 0.1 * np.sin(2 * np.pi * 220 * (np.arange(each) + index * each) / 48_000)
            audio = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
            audio.sample_rate, audio.pts = 48_000, index * each
            out.mux(sound.encode(audio))
        out.mux(sound.encode(None))
    return path


@dataclass
class Run:
    """One command, to its end or until it was killed."""

    code: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """CPU seconds (user and system) of the process and of its ended children."""
    events: list[dict[str, Any]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes (RSS) of its processes together, twice a second."""

    def states(self, state: str) -> list[dict[str, Any]]:
        """Events of shards with this state."""
        return [event for event in self.events if event.get("state") == state]


@contextmanager
def started(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], Run]]:
    """Run ``streammat`` with ``arguments`` until the end of the block; then ``Run`` is whole."""
    run, begin, before = Run(), time.monotonic(), os.times()
    command = [sys.executable, "-m", "streammat", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command line
        yield process, run
        out, told = process.communicate()
    for line in out.splitlines():
        with suppress(ValueError):
            run.events.append(json.loads(line))
    after = os.times()
    run.code, run.seconds = process.returncode, time.monotonic() - begin
    run.cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if run.code > 0:
        raise SystemExit(told)


def whole(*arguments: str | Path) -> Run:
    """Run ``streammat`` to its end, and look at its memory."""
    with started(*arguments) as (process, run):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):
                run.memory.append(sum(each.memory_info().rss for each in (watched, *watched.children(recursive=True))))
            time.sleep(0.5)
    return run


def outputs(folder: Path) -> dict[str, bytes]:
    """Bytes of each output by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and ".streammat-batch" not in path.parts}


def alphas(path: Path) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Alpha of each frame of a clip that has it, 0..1."""
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            plane = frame.reformat(format="yuva444p10le").planes[3]
            yield np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)[: frame.height, : frame.width].astype(np.float32) / 1023


def kills(folder: Path, clip: Path | None, frames: int, shard: int, times: int, seed: int) -> None:
    """End a batch again and again."""
    clip = clip or drawn_clip(folder / "drawn.mov", frames)
    command = ("batch", clip, *COMMON, "--threads", "1", "--workers", "1", "--shard-frames", str(shard), "--json")
    unbroken = whole(*command[:2], folder / "whole", *command[2:])
    chance, killed, lost = random.Random(seed), [], 0  # noqa: S311 - no secret
    for _ in range(times):
        wait = chance.uniform(0.3, max(1.0, 2 * unbroken.seconds / (times + 1)))
        with started(*command[:2], folder / "killed", *command[2:]) as (process, run):
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait)
            process.send_signal(signal.SIGKILL)
        killed.append(round(wait, 1))
        lost += run.code != -signal.SIGKILL
    last = whole(*command[:2], folder / "killed", *command[2:])
    (kept,) = [event for event in last.events if event["event"] in ("planned", "kept")]
    same = outputs(folder / "killed") == outputs(folder / "whole")
    left = list((folder / "killed/.streammat-batch/parts").rglob("*.*"))
    made = sum(1 for name in outputs(folder / "killed") if name.endswith(".mov") for _ in alphas(folder / "killed" / name))
    print(f"killed after {killed} s{f', {lost} of them too late' if lost else ''}; {kept.get('done', kept['frames'])} of {kept['frames']} frames were done then")
    print(f"{made} frames; the bytes of an unbroken run: {same}; files left behind: {len(left)}; unbroken {unbroken.seconds:.0f} s, {unbroken.cpu:.0f} s CPU")
    sys.exit(not same)


def nodes(folder: Path, clip: Path | None, frames: int, shard: int) -> None:
    """A batch on three nodes; one is killed midway, then the driver, which is started again."""
    import ray.cluster_utils

    clip = clip or drawn_clip(folder / "drawn.mov", frames)
    options = (*COMMON, "--shard-frames", str(shard), "--matte", "{out}/{shot}.{frame:04d}.png", "--json")
    one = whole("batch", clip, folder / "one", *options, "--workers", "1", "--threads", "1")
    with_video = whole("video", clip, folder / "video.mov", *COMMON, "--threads", "1", "--json")
    cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        others = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        command = ("batch", clip, folder / "three", *options, "--ray", cluster.address)
        begin, done, removed = time.monotonic(), 0, ""
        with started(*command) as (process, first):
            assert process.stdout is not None
            for line in process.stdout:
                first.events.append(json.loads(line))
                done = len(first.states("done"))
                if not removed and done and len({event["worker"] for event in first.states("started")}) == len(others) + 1:
                    cluster.remove_node(others.pop(), allow_graceful=False)
                    removed = f"a node was killed after {done} shards"
                if removed and first.states("lost") and done >= 2:
                    break
            process.send_signal(signal.SIGKILL)
        with started(*command) as (process, second):
            process.wait()
        seconds = time.monotonic() - begin
    finally:
        cluster.shutdown()
    (kept,) = [event for event in second.events if event["event"] == "planned"]
    made, reference = outputs(folder / "three"), outputs(folder / "one")
    movie = folder / "three" / f"{clip.stem}.mov"
    compared = [(float(np.abs(ours - theirs).max()), float(ours.mean())) for ours, theirs in zip(alphas(movie), alphas(folder / "video.mov"), strict=True)]
    worst = [most for most, _ in compared]
    seams = [at for index in range(kept["shards"]) for at in range(index * shard, min(index * shard + 5, len(worst))) if index]
    workers = sorted({event["worker"] for event in (*first.events, *second.events) if event.get("state") == "done"})
    networks = [event["networks"] for event in second.states("done")]
    print(f"{kept['frames']} frames in {kept['shards']} shards by {', '.join(workers)}")
    print(f"{removed}; {len(first.states('lost'))} shards were lost and begun again; the driver was killed with {len(first.states('done'))} shards done, {kept['done']} frames remembered")
    print(f"frames {len(worst)}, mattes {sum(name.endswith('.png') for name in made)}; the bytes of one process with the same shards: {made == reference}")
    print(f"mean alpha {np.mean([mean for _, mean in compared]):.3f}; largest difference of alpha to one unbroken video: {255 * max(worst):.2f}/255, in the five frames after seams {255 * max((seams and [worst[at] for at in seams]) or [0.0]):.2f}/255")
    print(f"networks that each worker had opened at the end of each shard of the second run: {networks}")
    print(f"wall {seconds:.0f} s on three nodes with both kills, {one.seconds:.0f} s ({one.cpu:.0f} s CPU) with one process, {with_video.seconds:.0f} s ({with_video.cpu:.0f} s CPU) of video")
    sys.exit(made != reference or len(worst) != kept["frames"] or max((seams and [worst[at] for at in seams]) or [0.0]) > 1 / 255)


def speed(folder: Path, clip: Path | None, frames: int, shard: int) -> None:
    """Batch beside video."""
    clip = clip or drawn_clip(folder / "drawn.mov", frames)
    runs = {
        "video": ("video", clip, folder / "out.mov", "--threads", "1", "--json"),
        "batch, 1 worker": ("batch", clip, folder / "one", "--workers", "1", "--threads", "1", "--shard-frames", str(shard), "--json"),
        "batch, 2 workers": ("batch", clip, folder / "two", "--workers", "2", "--threads", "1", "--shard-frames", str(shard), "--json"),
    }
    print("| | frames/s | CPU ms/frame | peak MB | MB in the second quarter | MB in the last quarter |\n|---|---|---|---|---|---|")
    for name, command in runs.items():
        run = whole(*command, *COMMON)
        last = run.events[-1]
        made = int(last.get("frames_out") or last["frames"])
        quarter = max(1, len(run.memory) // 4)
        flat = [float(np.median(part)) / 1e6 for part in (run.memory[quarter : 2 * quarter], run.memory[-quarter:])]
        print(f"| {name} | {made / run.seconds:.1f} | {1000 * run.cpu / made:.1f} | {max(run.memory) / 1e6:.0f} | {flat[0]:.0f} | {flat[1]:.0f} |", flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end (1 minute)")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "nodes", "speed"))
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=3000, help="of a drawn clip")
    parser.add_argument("--shard-frames", type=int, default=250)
    parser.add_argument("--times", type=int, default=10, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "kills":
            kills(folder, given.clip, given.frames, given.shard_frames, given.times, given.seed)
        elif given.what == "nodes":
            nodes(folder, given.clip, given.frames, given.shard_frames)
        else:
            speed(folder, given.clip, given.frames, given.shard_frames)


if __name__ == "__main__":
    main()
