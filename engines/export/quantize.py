"""Static int8 of an exported network: one QDQ file (uint8 activations, int8 weights per channel) for every backend."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from streammat.engines.export.equalize import equalize
from streammat.engines.whole_files import whole_file

QUANTIZED = ("Conv", "Add", "Relu", "Clip")
"""Operators that run in int8; resizing, pooling, sigmoid and softmax stay float."""


def float_nodes(graph: onnx.ModelProto) -> list[str]:
    """Return the names of nodes that lose too much precision in int8: first convolution and block, pooled context, heads.

    Args:
        graph: a graph written by `streammat.engines.export.onnx.export_onnx`.
    """
    names = [node.name for node in graph.graph.node]
    first = next(node.name for node in graph.graph.node if node.op_type == "Conv")
    # The pooled branches are 1x1 to 5x5 maps: int8 saves nothing there. The first block's depthwise channels differ so
    # much in range that one scale for all of them cost 0.6 % IoU on cats.
    marks = re.compile(r"/encoder/blocks\.0/|/branches\.|/pooling/Add|/(glance|focus)/(TT|FT|BT)/")
    return [first, *(name for name in names if marks.search(name))]


def quantize_onnx(source: Path, target: Path, images: Iterable[NDArray[np.uint8]]) -> None:
    """Write the int8 file.

    Args:
        source: float ONNX file with full-precision weights.
        target: replaced atomically.
        images: calibration batches, uint8 (N, H, W, 3) RGB, H and W multiples of 32; a few dozen, similar to the network's later
            inputs.

    Raises:
        ValueError: there are no images.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
            self.batches = batches

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"rgb": batch}

    batches = list(images)
    if not batches:
        raise ValueError("no calibration images")
    model = onnx.load(source)
    equalize(model, batches)
    with tempfile.TemporaryDirectory() as folder:
        level, raw = Path(folder) / "equalized.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, level)
        quantize_static(
            level,
            raw,
            Reader(iter(batches)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=float_nodes(model),
            # The whole range: clipping the largest activations made solid foreground translucent.
            calibrate_method=CalibrationMethod.MinMax,
        )
        graph = onnx.load(raw)
    with whole_file(target) as partial:
        onnx.save(graph, partial)
