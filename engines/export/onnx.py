"""Exports weights to one ONNX file: batch norms folded, input scaling inside, free batch, height and width.

The contract of the file is that of `streammat.engines.base.Engine`: input ``rgb`` uint8 (N, H, W, 3), output ``alpha`` float32
(N, H/s, W/s) in 0..1, where s is the network's stride: 2 for ``lite``, 1 for the paper's networks.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streammat.engines.backends.onnxruntime import OnnxRuntimeEngine
from streammat.engines.base import EngineError, default_threads
from streammat.engines.export.parity import NOTICEABLE, Parity, compare, draw
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM
from streammat.engines.whole_files import whole_file

OPSET = 17
"""ONNX opset: old enough for every ONNX Runtime and OpenVINO that the package accepts."""
LARGEST = 2**31 - 2**24
"""Most bytes of weights in one ONNX file: protobuf is limited to 2 GiB, part of which the graph needs. The largest network,
r101 of RIM, has 1.99e9."""


def export_onnx(model: GFM, path: Path) -> None:
    """Write the ONNX file.

    Args:
        model: the network.
        path: target; replaced atomically.

    Raises:
        EngineError: the weights are too large for one file.
        OSError: the file cannot be written.
    """
    check_weights(model)
    height, width = ("height", "width") if model.stride == 1 else ("half_height", "half_width")
    axes = {"rgb": {0: "batch", 1: "height", 2: "width"}, "alpha": {0: "batch", 1: height, 2: width}}
    with whole_file(path) as partial:
        write_onnx(FoldedMatte(model).eval(), torch.zeros(1, 64, 96, 3, dtype=torch.uint8), partial, axes)


def check_weights(model: GFM) -> None:
    """Refuse weights that are too large for one ONNX file; raises EngineError."""
    size = sum(value.numel() * 4 for value in model.parameters())
    if size > LARGEST:
        raise EngineError(f"the network has {size / 2**30:.2f} GiB of weights; one ONNX file holds at most {LARGEST / 2**30:.2f} GiB")


def write_onnx(
    module: nn.Module, example: Tensor, path: Path, axes: Mapping[str, Mapping[int, str]], metadata: Mapping[str, str] | None = None
) -> None:
    """Trace a module into a checked ONNX file.

    Args:
        module: a module with one input.
        example: input for the trace.
        path: target.
        axes: the input's name, then the outputs', in order, each with the names of its free axes.
        metadata: the file's ``metadata_props``.

    Raises:
        OSError: the file cannot be written.
    """
    given, *made = axes
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=[given],
            output_names=made,
            opset_version=OPSET,
            dynamo=False,  # keeps Resize by constant scales; the other exporter computes sizes from shapes
            dynamic_axes={name: dict(free) for name, free in axes.items() if free},
        )
    del module  # the largest network has 2 GB, and the graph is about to be held as well
    graph = onnx.load(path)
    graph.producer_name, graph.producer_version, graph.doc_string = "streammat", "", ""
    for node in graph.graph.node:
        node.doc_string = ""
    if metadata:
        onnx.helper.set_model_props(graph, dict(metadata))
    onnx.save(graph, path)
    del graph
    onnx.checker.check_model(str(path), full_check=True)  # by name: as a message it would be copied


LARGEST_MEAN = 1e-3
LARGEST_OFF = 5e-3


def measure_parity(model: GFM, files: ModelFiles, images: Iterable[NDArray[np.uint8]] | None = None) -> Parity:
    """Compare the float file, run by ONNX Runtime, with torch.

    The paper's fusion takes the most likely class: where two are equal, rounding decides, and a single pixel may differ by up to
    1. So the mean and the share of differing pixels are bounded, not the largest difference.

    Args:
        model: the network that ``files`` was exported from.
        files: the export.
        images: uint8 (N, H, W, 3) RGB, H and W multiples of 32; None: `drawn_images`.

    Returns:
        The differences.

    Raises:
        EngineError: they are beyond `LARGEST_MEAN` or `LARGEST_OFF`, or the file does not run.
    """
    pairs = []
    model = model.eval()
    for rgb in drawn_images() if images is None else images:
        with torch.no_grad():
            expected = model.predict(torch.from_numpy(rgb).permute(0, 3, 1, 2).float()).alpha[:, 0].clamp(0.0, 1.0).numpy()
        engine = OnnxRuntimeEngine(files, precision="fp32", size=(rgb.shape[1], rgb.shape[2]), threads=default_threads(), reason="to compare")
        pairs.append((engine.infer(rgb), expected))
        engine.close()
    parity = compare(pairs)
    if not (parity.mean <= LARGEST_MEAN and parity.off <= LARGEST_OFF):  # so that NaN is refused, too
        raise EngineError(
            f"the exported {files.name!r} disagrees with its weights: alpha differs by {parity.mean:.1e} on average and by more "
            f"than {NOTICEABLE} in {parity.off:.2%} of the pixels; at most {LARGEST_MEAN:.0e} and {LARGEST_OFF:.1%} are allowed"
        )
    return parity


def drawn_images() -> Iterable[NDArray[np.uint8]]:
    """Yield two drawn images, uint8 (1, H, W, 3), of different shapes.

    The sizes differ from the traced one, so that size-dependent parts are tested.
    """
    rng = np.random.default_rng(11)
    for height, width in ((128, 96), (96, 224)):
        yield draw(height, width, rng)
