"""Equalizes the ranges of channels before a network is quantized.

An int8 map has one scale for all of its channels, so the widest channel decides how coarse the others become. Between a
convolution without activation and the layers that read it, a channel may be multiplied by any factor that the readers divide
by: in float the network's result is the same. After Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction" (ICCV 2019), Section 4.1, but with the ranges of the maps on images instead of those of the weights, and
through additions, as residual blocks have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float32]
_LEAST = 1e-6
"""Range below which a channel is not scaled up further."""


def equalize(model: onnx.ModelProto, images: Iterable[NDArray[np.uint8]]) -> None:
    """Scale the channels of every linear map that allows it, in place.

    Args:
        model: float network with an input ``rgb``; weights and biases of its convolutions are initializers.
        images: as for `streammat.engines.export.quantize.quantize_onnx`.
    """
    graph = _Graph(model)
    groups = graph.linear_maps()
    ranges = _ranges(model, [name for group in groups for name in group], images)
    for group in groups:
        widest = np.maximum(np.max([ranges[name] for name in group], axis=0), _LEAST)
        factors = np.exp(np.log(widest).mean()) / widest
        for name in group:
            graph.scale_output(name, factors)
            for reader in graph.readers[name]:
                graph.scale_input(reader, factors)


class _Graph:
    """The nodes that write and read each tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = {output.name for output in model.graph.output}
        self.weights = {weight.name: weight for weight in model.graph.initializer}
        self.writer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def linear_maps(self) -> list[list[str]]:
        """Return the groups of maps that must be scaled together: outputs of convolutions, joined by additions.

        Groups with other writers or readers are left out.
        """
        group_of = {node.output[0]: {node.output[0]} for node in self.nodes if node.op_type in {"Conv", "Add"}}
        for node in self.nodes:
            if node.op_type == "Add":
                for one, other in pairwise((*node.input, node.output[0])):
                    joined = group_of.get(one, {one}) | group_of.get(other, {other})
                    group_of.update(dict.fromkeys(joined, joined))
        groups = {id(group): group for group in group_of.values()}
        return [sorted(group) for group in groups.values() if all(map(self._is_linear, group))]

    def _is_linear(self, name: str) -> bool:
        writer = self.writer.get(name)
        if writer is None or name in self.outputs or name not in self.readers:
            return False
        written = writer.op_type == "Add" or (writer.op_type == "Conv" and all(map(self._is_own, writer.input[1:])))
        return written and all(self._takes_factors(reader, name) for reader in self.readers[name])

    def _takes_factors(self, reader: onnx.NodeProto, name: str) -> bool:
        if reader.op_type == "Add":
            return True
        grouped = any(field.name == "group" and field.i != 1 for field in reader.attribute)
        return reader.op_type == "Conv" and not grouped and reader.input[0] == name and self._is_own(reader.input[1])

    def _is_own(self, name: str) -> bool:
        """Return whether a weight is read by one node only."""
        return name in self.weights and len(self.readers[name]) == 1

    def scale_output(self, name: str, factors: Floats) -> None:
        """Multiply a map's channels, where a convolution writes it."""
        writer = self.writer[name]
        if writer.op_type == "Conv":
            self._multiply(writer.input[1], factors[:, None, None, None])
            for bias in writer.input[2:]:
                self._multiply(bias, factors)

    def scale_input(self, reader: onnx.NodeProto, factors: Floats) -> None:
        """Divide a convolution's input weights by the factors."""
        if reader.op_type == "Conv":
            self._multiply(reader.input[1], 1.0 / factors[None, :, None, None])

    def _multiply(self, name: str, by: Floats) -> None:
        values = numpy_helper.to_array(self.weights[name]) * by
        self.weights[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def _ranges(model: onnx.ModelProto, names: list[str], images: Iterable[NDArray[np.uint8]]) -> Mapping[str, Floats]:
    """Return the largest absolute value of each channel of each map, (C,)."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges: dict[str, Floats] = {}
    for rgb in images if names else ():
        for name, values in zip(names, session.run(names, {"rgb": rgb}), strict=True):
            largest = np.abs(values).max(axis=(0, 2, 3))
            ranges[name] = np.maximum(ranges.get(name, largest), largest)
    return ranges
