# ruff: noqa: INP001 - scripts are no package
"""Torch on a GPU, side by side in one run: networks, sizes, batches, precisions, and kernels launched one by one, captured, or compiled.

    python benchmarks/speed/gpu.py                                       # lite, r34, d121 at 5/13 of 720p, 1080p and 4K
    python benchmarks/speed/gpu.py --network r34 --frame 1920x1080 --batch 1 --mode graph --json r34.json

Three tables: milliseconds per image of the network with its input on the device already, and what share of the measured
matrix peak that is; how far each precision is from float32; and frames per second of the whole GPU stage, planes in and planes out,
decoding and encoding left out (`streammat bench --device cuda` has the whole). Weights of networks other than lite are random: speed
does not depend on them, differences from float32 say little of trained ones. What cannot run is a row that says why. Ends with 1 where r34
at 1080p, batch 1, was asked for and does not run, or takes more than twice what its arithmetic takes at the matrix peak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from streammat.bench.clip import clip_images, write_clip
from streammat.compositing.backgrounds import open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.engines.backends.cuda import CudaEngine, load_weights
from streammat.engines.base import EngineError
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM
from streammat.engines.shipped import shipped
from streammat.matting.device import DeviceMatting
from streammat.matting.matting import network_sizes
from streammat.media.frame import Frame
from streammat.sources.file import FileSource

ROUNDS = 5
GOAL = 2.0


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="The torch engine on a GPU, side by side.")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--network", nargs="+", default=["lite", "r34", "d121"])
    parser.add_argument("--frame", nargs="+", default=["1280x720", "1920x1080", "3840x2160"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--precision", nargs="+", default=["fp16", "bf16"])
    parser.add_argument("--mode", nargs="+", default=["eager", "graph", "compiled"])
    parser.add_argument("--seconds", type=float, default=0.5, help="Of each of the rounds.")
    parser.add_argument("--peak-side", type=int, default=8192, help="Of the matrices that the peak is measured with.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        peak = _matrix_peak(options.device, options.peak_side)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        sys.exit(f"gpu: {options.device}: cannot be measured: {error}")
    found: dict[str, Any] = {"device": _name(options.device), "torch": torch.__version__, "matrix_tflops": peak / 1e12, "network": [], "precision": [], "stage": []}
    print(f"{found['device']}, torch {torch.__version__}, matrix peak {found['matrix_tflops']:.1f} TFLOP/s (fp16)\n")
    with tempfile.TemporaryDirectory() as folder:
        models = {name: _model(name, Path(folder)) for name in options.network}
        frames = [(int(height), int(width)) for width, height in (text.split("x") for text in options.frame)]
        print("| network | input | batch | precision | mode | ms per image | of matrix peak |\n|---|---|---|---|---|---|---|")
        for (name, model), frame in product(models.items(), frames):
            size = network_sizes(*frame, "best")[0]
            flop = _flop(model, size)
            for batch, precision, mode in product(options.batch, options.precision, options.mode):
                row = {"network": name, "size": size, "batch": batch, "precision": precision, "mode": mode}
                row |= _tried(_network, model, size, batch, precision, mode, options, flop / peak)
                found["network"].append(row)
                figures = row.get("fault") or f"{row['ms']:.3f} ({row['ms_least']:.3f} to {row['ms_most']:.3f}) | {row['of_peak']:.1%}"
                print(f"| {name} | {size[1]}x{size[0]} | {batch} | {precision} | {mode} | {figures} |")
        print("\n| network | precision | largest difference from fp32 | mean |\n|---|---|---|---|")
        for (name, model), precision in product(models.items(), options.precision):
            row = {"network": name, "precision": precision} | _tried(_difference, model, network_sizes(*frames[0], "best")[0], precision, options.device)
            found["precision"].append(row)
            figures = row.get("fault") or f"{row['largest']:.4f} | {row['mean']:.6f}"
            print(f"| {name} | {precision} | {figures} |")
        print("\n| network | frame | batch | frames per second of the stage |\n|---|---|---|---|")
        for (name, model), frame, batch in product(models.items(), frames, options.batch):
            row = {"network": name, "frame": frame, "batch": batch} | _tried(_stage, model, frame, batch, options, Path(folder))
            found["stage"].append(row)
            figures = row.get("fault") or f"{row['fps']:.1f}"
            print(f"| {name} | {frame[1]}x{frame[0]} | {batch} | {figures} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    goal = [row.get("of_peak", 0.0) for row in found["network"] if row["network"] == "r34" and row["size"] == network_sizes(1080, 1920, "best")[0] and row["batch"] == 1]
    if goal:
        reached = f"{1 / max(goal):.2f} times what the matrix peak allows" if max(goal) else "did not run"
        print(f"\nr34 at 1080p, batch 1: {reached}; goal {GOAL}")
    sys.exit(int(bool(goal) and max(goal) < 1 / GOAL))


def _matrix_peak(device: str, side: int) -> float:
    """Additions and multiplications a second in a square matrix product of fp16, the best of some."""
    left, right = (torch.randn(side, side, dtype=torch.float16, device=device) for _ in range(2))
    times = []
    for _ in range(2 * ROUNDS):
        begin = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        times.append(time.perf_counter() - begin)
    return 2.0 * side**3 / min(times)


def _flop(model: ModelFiles, size: tuple[int, int]) -> int:
    """Additions and multiplications of convolutions and matrix products for one image of ``size`` (height, width), from shapes alone."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        FoldedMatte(load_weights(model)).to("meta")(torch.zeros((1, *size, 3), dtype=torch.uint8, device="meta"))
    return counter.get_total_flops()


def _model(name: str, folder: Path) -> ModelFiles:
    if name == "lite":
        return shipped()
    torch.manual_seed(0)
    weights = folder / f"{name}.safetensors"
    save_network(GFM(name), weights)
    return ModelFiles(name, folder / f"{name}.onnx", weights=weights)


def _tried(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return measure(*arguments)
    except EngineError as error:
        return {"fault": str(error)}


def _opened(model: ModelFiles, precision: str, size: tuple[int, int], device: str, batch: int, mode: Any) -> CudaEngine:
    engine = CudaEngine(model, precision=precision, size=size, reason="it is measured", device=device, batch=batch, mode=mode)
    if engine.batch != batch:
        engine.close()
        raise EngineError("too little memory")
    return engine


def _network(model: ModelFiles, size: tuple[int, int], batch: int, precision: str, mode: Any, options: Any, floor: float) -> dict[str, Any]:
    engine = _opened(model, precision, size, options.device, batch, mode)
    rgb = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, device=options.device)
    rounds = []
    for _ in range(ROUNDS):
        calls, begin = 0, time.perf_counter()
        while calls < 3 or time.perf_counter() - begin < options.seconds:
            for _ in range(10 if engine.spec.device.startswith("cuda") else 1):  # launches run ahead; a wait after each would count the launching
                engine.matte(rgb)
                calls += 1
            _wait(options.device)
        rounds.append((time.perf_counter() - begin) / calls / batch * 1000)
    engine.close()
    ms = statistics.median(rounds)
    return {"ms": ms, "ms_least": min(rounds), "ms_most": max(rounds), "of_peak": floor * 1000 / ms}


def _difference(model: ModelFiles, size: tuple[int, int], precision: str, device: str) -> dict[str, Any]:
    """Largest and mean, of alpha, on a drawn scene."""
    height, width = size
    image = next(clip_images(None, (height, width))).to_ndarray(format="rgb24")[None]
    alphas = []
    for kind in ("fp32", precision):
        engine = _opened(model, kind, size, device, 1, "graph")
        alphas.append(engine.infer(np.ascontiguousarray(image)))
        engine.close()
    difference = np.abs(alphas[0] - alphas[1])
    return {"largest": float(difference.max()), "mean": float(difference.mean())}


def _stage(model: ModelFiles, frame: tuple[int, int], batch: int, options: Any, folder: Path) -> dict[str, Any]:
    """Planes in to planes out, frames under way as in a file's run."""
    clip = folder / f"{frame[0]}.mp4"
    if not clip.exists():
        write_clip(clip, clip_images(None, frame), frame, 16)
    source = FileSource(str(clip), audio=False)
    kept = [item for item in source if isinstance(item, Frame)]
    source.close()
    engine = _opened(model, options.precision[0], network_sizes(*frame, "best")[0], options.device, batch, "graph")
    matting = DeviceMatting(engine, None, batch)
    background = open_background(parse_background("green"), "cover", source.info.sample_aspect_ratio)
    compositor = Compositor(["composite"], background, decontaminate=True, alpha="straight")
    rates = []
    for _ in range(ROUNDS):
        under_way: deque[Any] = deque()
        done, begin = 0, time.perf_counter()
        while done < len(kept) or time.perf_counter() - begin < options.seconds:
            shown = kept[done % len(kept)]
            under_way.append((shown, matting(shown)))
            if len(under_way) > matting.ahead:
                compositor(*under_way.popleft())
            done += 1
        while under_way:
            compositor(*under_way.popleft())
        rates.append(done / (time.perf_counter() - begin))
    engine.close()
    background.close()
    return {"fps": statistics.median(rates)}


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(torch.device(device))


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else device


if __name__ == "__main__":
    main()
