"""The steps after training: averages, export, int8, parity, scores and the card, each a function of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streammat.engines.choice import open_engine
from streammat.engines.export.onnx import export_onnx
from streammat.engines.export.quantize import quantize_onnx
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.checkpoint import load_network, save_network
from streammat.engines.network.gfm import GFM
from streammat.engines.registry import BACKENDS, installed_backends
from streammat.train.config import DataConfig
from streammat.train.data.samples import Key
from streammat.train.errors import RunError
from streammat.train.lite.dataset import MattingDataset
from streammat.train.measures.complexity import measure_complexity
from streammat.train.measures.validation import Pair, Predict, Scores, evaluate, validation_sets

CALIBRATION_SIZES = ((288, 512), (448, 320), (288, 384), (256, 256))
CALIBRATION_IMAGES = 64
BEST_AREAS = (512 * 896, 320 * 576)
"""Input pixels of `--quality best`: the focus sees the first, the glance the second."""
PARTS: Mapping[str, str] = {"glance": "/Div_output_0", "focus": "/Sigmoid_output_0"}
"""Names of the tensors in the exported files (`streammat.engines.model_files.ModelFiles.parts`)."""
_CALIBRATION_SEED = 99


def average(weights: Sequence[Path], out: Path) -> None:
    """Write the mean of several weights, such as the stages of one run (Wortsman et al. 2022).

    Args:
        weights: files of `streammat.engines.network.checkpoint.save_network`, all of one network.
        out: file of the mean; replaced atomically.

    Raises:
        RunError: they are of different networks, or ``out`` cannot be written.
    """
    first, *others = [load_network(path) for path in weights]
    kind = (first.network, first.rosta, first.ablation)
    for path, network in zip(weights[1:], others, strict=True):
        if (network.network, network.rosta, network.ablation) != kind:
            raise RunError(
                f"{path} holds {network.network} {network.rosta}, {weights[0]} holds {first.network} {first.rosta}; "
                "only weights of the same network can be averaged"
            )
    total = first.state_dict()
    for network in others:
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                total[key] += value
    for value in total.values():
        if value.is_floating_point():
            value.div_(len(weights))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_network(first, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}; give another --out") from error


def model_files(folder: Path, name: str) -> ModelFiles:
    """Return the pair of ONNX files as `export_lite` names them, without digests."""
    return ModelFiles(name, folder / f"{name}.fp32.onnx", folder / f"{name}.int8.onnx")


def export_lite(network: GFM, folder: Path, data: Path, cache: Path) -> ModelFiles:
    """Write ``<name>.safetensors``, ``<name>.fp32.onnx`` and ``<name>.int8.onnx``.

    Args:
        network: trained.
        folder: folder for the files.
        data: folder with backgrounds, for calibration.
        cache: folder of mattes, for calibration.

    Returns:
        The pair of ONNX files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{network.network}.safetensors"
    save_network(network, weights, half=True)
    # What is shipped is what the half-precision weights give, so that weights and ONNX agree.
    network = load_network(weights)
    files = model_files(folder, network.network)
    assert files.int8 is not None
    export_onnx(network, files.fp32)
    quantize_onnx(files.fp32, files.int8, calibration_images(data, cache))
    return files


def calibration_images(data: Path, cache: Path) -> Iterator[NDArray[np.uint8]]:
    """Make training images with another seed, uint8 (1, H, W, 3): people at all sizes, animals, empty rooms."""
    dataset = MattingDataset(data, cache, DataConfig(), _CALIBRATION_SEED)
    for index in range(CALIBRATION_IMAGES):
        yield dataset[Key(index, *CALIBRATION_SIZES[index % len(CALIBRATION_SIZES)])].rgb[None]


def engine_opener(files: ModelFiles, backend: str, precision: str) -> Callable[[tuple[int, int]], Predict]:
    """Return a function for `streammat.train.measures.validation.evaluate` that opens an engine for an input size."""
    return lambda size: open_engine(files, backend, precision, size).infer


def parity(network: GFM, files: ModelFiles, images: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Measure the largest absolute difference of alpha between torch and each installed backend at fp32.

    Args:
        network: the network that ``files`` were made from.
        files: exported files.
        images: uint8 (1, H, W, 3).

    Returns:
        Difference by backend, 0..1.
    """
    network = network.eval()
    worst = dict.fromkeys(installed_backends(), 0.0)
    for rgb in images:
        with torch.no_grad():
            expected = network.predict(torch.from_numpy(rgb).permute(0, 3, 1, 2).float()).alpha[:, 0].numpy()
        for backend in worst:
            engine = open_engine(files, backend, "fp32", (rgb.shape[1], rgb.shape[2]))
            worst[backend] = max(worst[backend], float(np.abs(engine.infer(rgb) - expected).max()))
            engine.close()
    return worst


def score(files: ModelFiles, data: Path, backend: str = "onnxruntime") -> dict[str, dict[str, Scores]]:
    """Return the scores by precision and validation set."""
    sets: dict[str, list[Pair]] = validation_sets(data)
    return {
        precision: {name: evaluate(engine_opener(files, backend, precision), pairs) for name, pairs in sets.items()}
        for precision in BACKENDS[backend].precisions["cpu"]
    }


def write_card(files: ModelFiles, folder: Path, version: str, steps: int, scores: dict[str, dict[str, Scores]]) -> dict[str, Any]:
    """Write ``<name>.json``, the model's card for programs.

    Args:
        files: the exported pair.
        folder: their folder; the card is written there.
        version: version of the weights.
        steps: number of optimiser steps of their training.
        scores: as measured by `score`.

    Returns:
        The card.
    """
    assert files.int8 is not None
    paths = {"fp32": files.fp32, "int8": files.int8, "weights": folder / f"{files.name}.safetensors"}
    cost = measure_complexity(load_network(paths["weights"]), 288, 512)
    card: dict[str, Any] = {
        "name": files.name,
        "version": version,
        "files": {
            kind: {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for kind, path in paths.items()
        },
        "input": {"name": "rgb", "dtype": "uint8", "shape": ["N", "H", "W", 3], "colour": "RGB", "multiple_of": 32},
        "output": {"name": "alpha", "dtype": "float32", "shape": ["N", "H/2", "W/2"], "range": [0, 1]},
        "best_areas": BEST_AREAS,
        "parts": PARTS,
        "licence": "research / non-commercial (training photographs are research-only)",
        "parameters": cost.parameters,
        "macs_288x512": cost.macs,
        "training_steps": steps,
        "metrics": {
            precision: {name: {key: round(value, 5) for key, value in asdict(result).items()} for name, result in by_set.items()}
            for precision, by_set in scores.items()
        },
    }
    (folder / f"{files.name}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
