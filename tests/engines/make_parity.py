"""Makes ``data/parity.npz`` and ``data/parity.json``: what the shipped weights give, for every engine to be held to.

    python tests/engines/make_parity.py

Run it when the weights are meant to change, look at what it prints, and commit the two files with the weights. The alpha kept is
torch's in float32; the bounds of each precision are `MARGIN` times what the engines of this machine differ from it by. The images
are a frame of the example clip (NASA's portrait, in the public domain, before a drawn room) and a drawn one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY), str(HERE), str(HERE.parent)]

from test_contract import ON_CPU, SIZE, TORCH_ON_CPU, opener  # noqa: E402

from streammat.engines.base import EngineUnavailableError  # noqa: E402
from streammat.engines.export.parity import draw  # noqa: E402
from streammat.engines.network.checkpoint import load_network  # noqa: E402
from streammat.engines.shipped import card, shipped  # noqa: E402

DATA = HERE / "data"
SCALE = 65535  # alpha is kept in 16 bits
MARGIN = 3.0
FLOORS = {"fp32": (1e-5, 1e-3), "bf16": (1e-3, 0.02), "fp16": (2e-4, 0.01), "int8": (1e-3, 0.02)}
"""Least bounds (mean, largest), so that rounding on another processor is no fault."""


def images() -> np.ndarray:
    """uint8 (2, *SIZE, 3) RGB."""
    with av.open(str(REPOSITORY / "examples" / "portrait.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return np.stack([cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_AREA), draw(*SIZE, np.random.default_rng(7))[0]])


def main() -> None:
    """Write the two files."""
    rgb = images()
    weights = shipped().weights
    assert weights is not None
    with torch.no_grad():
        alpha = load_network(weights).predict(torch.from_numpy(rgb).permute(0, 3, 1, 2).float()).alpha[:, 0].numpy()
    measured: dict[str, list[tuple[float, float]]] = {}
    for backend, precision, device in [*ON_CPU, *TORCH_ON_CPU]:
        try:
            engine = opener(backend, precision, device)
        except EngineUnavailableError as error:
            print(f"{backend} {precision}: left out: {error}")
            continue
        difference = np.abs(engine.infer(rgb) - alpha)
        engine.close()
        measured.setdefault(precision, []).append((float(difference.mean()), float(difference.max())))
        print(f"{backend} {precision}: alpha differs by {difference.mean():.2e} on average, {difference.max():.2e} at most")
    if set(measured) != set(FLOORS):
        raise SystemExit(f"bounds are needed for {', '.join(FLOORS)}, and this machine measures {', '.join(measured)}; install '.[dev]'")
    bounds = {
        precision: [float(f"{max(floor, MARGIN * worst):.2g}") for floor, worst in zip(FLOORS[precision], np.max(each, axis=0), strict=True)]
        for precision, each in measured.items()
    }
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / "parity.npz", rgb=rgb, alpha=np.rint(alpha * SCALE).astype(np.uint16))
    kept = {"model": "lite", "version": card()["version"], "weights_sha256": shipped().sha256["weights"], "bounds": bounds}
    (DATA / "parity.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    for path in (DATA / "parity.npz", DATA / "parity.json"):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
