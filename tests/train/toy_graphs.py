"""TensorFlow.js graphs small enough to know what they give, in the files and under the names of the real ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def write_graph(file: Path, nodes: Sequence[dict[str, Any]], constants: dict[str, np.ndarray], outputs: dict[str, str]) -> Path:
    """Write a graph; float constants of more than one number are stored as uint8 with a scale and an offset, as the real ones are."""
    entries, data = [], b""
    for name, value in constants.items():
        entry: dict[str, Any] = {"name": name, "shape": list(value.shape), "dtype": value.dtype.name}
        if value.dtype == np.float32 and value.size > 1:
            low, scale = float(value.min()), float(np.ptp(value)) / 255 or 1.0
            entry["quantization"] = {"dtype": "uint8", "min": low, "scale": scale, "original_dtype": "float32"}
            data += np.rint((value - low) / scale).astype(np.uint8).tobytes()
        else:
            data += value.tobytes()
        entries.append(entry)
    graph = {
        "modelTopology": {"node": [*nodes, *(node(name, "Const") for name in constants)]},
        "weightsManifest": [{"paths": [f"{file.stem}.bin"], "weights": entries}],
        "signature": {"outputs": {name: {"name": f"{source}:0"} for name, source in outputs.items()}},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(graph))
    file.with_suffix(".bin").write_bytes(data)
    return file


def write_bright_rvm(folder: Path) -> Path:
    """An ``rvm.json`` that finds what is bright: alpha is 4 times the mean of the channels less 2, within 0..1; its states stay as they are."""
    nodes = [
        node("src", "Placeholder"),
        *(node(f"r{number}i", "Placeholder") for number in range(1, 5)),
        *(node(f"r{number}o", "Identity", [f"r{number}i"]) for number in range(1, 5)),
        node("mean", "Mean", ["src", "axis"], keep_dims={"b": True}),
        node("scaled", "Mul", ["mean", "four"]),
        node("shifted", "Sub", ["scaled", "two"]),
        node("capped", "Minimum", ["shifted", "one"]),
        node("alpha", "Maximum", ["capped", "zero"]),
    ]
    constants = {"axis": np.array([3], np.int32)} | {
        name: np.array(value, np.float32) for name, value in (("four", 4), ("two", 2), ("one", 1), ("zero", 0))
    }
    return write_graph(folder / "rvm.json", nodes, constants, {"pha": "alpha"} | {f"r{number}o": f"r{number}o" for number in range(1, 5)})


def write_colour_detector(folder: Path) -> Path:
    """A ``centernet.json`` whose person is red or white and whose animal is green, each 120 of the 512 pixels wide and high."""
    patches = np.zeros((4, 4, 3, 80), np.float32)
    patches[:, :, 0, 0] = patches[:, :, 1, 16] = 1 / (16 * 255)
    patches[:, :, 0, 16] = -1 / (16 * 255)
    by_four = {"strides": ints(1, 4, 4, 1), "dilations": ints(1, 1, 1, 1), "padding": text("VALID")}
    nodes = [
        node("tower_0/images", "Placeholder"),
        node("tower_0/keypoints", "Conv2D", ["tower_0/images", "patches"], **by_four),
        node("nothing", "Conv2D", ["tower_0/images", "none"], **by_four),
        node("tower_0/wh", "AddV2", ["nothing", "half"]),
    ]
    constants = {"patches": patches, "none": np.zeros((4, 4, 3, 4), np.float32), "half": np.array(60, np.float32)}
    return write_graph(folder / "centernet.json", nodes, constants, {})
