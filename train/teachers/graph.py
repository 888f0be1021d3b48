"""Runs TensorFlow.js graphs as torch modules, with the operators of RobustVideoMatting, CenterNet and MediaPipe's selfie network.

A graph is a ``.json`` file of nodes and the ``.bin`` files of its weights. Everything that does not depend on the image (shapes,
branches) is evaluated in Python, so that the module can be traced and exported to ONNX for inputs of one size.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from streammat.train.errors import DataError

_DEAD = object()
"""Value of the branch of a condition that is not executed."""
_Value = Any
"""Tensor (N, H, W, C) or of lower rank, NumPy array if it is constant, or `_DEAD`."""


class GraphNetwork(nn.Module):
    """A TensorFlow.js graph.

    Args:
        file: the graph's ``.json``; its weights are beside it.
        outputs: names of the nodes to return, in this order; names of signature outputs are possible, too.

    Raises:
        DataError: the file is missing or not a graph.
    """

    def __init__(self, file: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        try:
            graph = json.loads(file.read_text(encoding="utf-8"))
            weights = _read_weights(file, graph["weightsManifest"])
            nodes = graph["modelTopology"]["node"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} is no TensorFlow.js graph ({error}); expected one such as rvm.json, with its .bin beside it") from error
        named = graph.get("signature", {}).get("outputs", {})
        self.outputs = [named[name]["name"].split(":")[0] if name in named else name for name in outputs]
        self.nodes = {node["name"]: node for node in nodes}
        self.order = self._needed()
        self.fixed: dict[str, np.ndarray] = {}
        for name in self.order:
            if self.nodes[name]["op"] == "Const":
                value = weights[name]
                if value.ndim and value.dtype == np.float32:
                    self.register_buffer(_buffer(name), torch.from_numpy(value), persistent=False)
                else:
                    self.fixed[name] = value

    def _needed(self) -> list[str]:
        """Return the nodes that the outputs depend on, in topological order."""
        order: dict[str, None] = {}
        stack = [(name, False) for name in self.outputs]
        while stack:
            name, ready = stack.pop()
            if ready:
                order[name] = None
            elif name not in order:
                stack.append((name, True))
                stack += [(_source(entry)[0], False) for entry in self.nodes[name].get("input", [])]
        return list(order)

    def forward(self, feeds: Mapping[str, _Value]) -> list[Tensor]:
        """Run the graph.

        Args:
            feeds: value of each placeholder: float tensors (N, H, W, C), or NumPy arrays for constants.

        Returns:
            The outputs, float tensors in TensorFlow's layout: (N, H, W, C).
        """
        values: dict[str, _Value] = {}
        for name in self.order:
            node = self.nodes[name]
            if node["op"] == "Placeholder":
                values[name] = feeds[name]
            elif node["op"] == "Const":
                values[name] = self.fixed[name] if name in self.fixed else getattr(self, _buffer(name))
            else:
                inputs = [_pick(values, entry) for entry in node.get("input", []) if not entry.startswith("^")]
                dead = any(value is _DEAD for value in inputs)
                values[name] = _DEAD if dead and node["op"] != "Merge" else _run(node, inputs)
        return [values[name] for name in self.outputs]


def to_onnx(module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], outputs: Sequence[str]) -> io.BytesIO:
    """Export a module around a graph to ONNX for inputs of these sizes.

    Args:
        module: the module.
        inputs: example inputs.
        names: names of the inputs.
        outputs: names of the outputs.
    """
    out = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module.eval(),
            inputs,
            out,  # type: ignore[arg-type]  # any file object, says the documentation
            input_names=list(names),
            output_names=list(outputs),
            opset_version=17,
            dynamo=False,
        )
    out.seek(0)
    return out


def _read_weights(file: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = {}
    for group in manifest:
        data = b"".join((file.parent / path).read_bytes() for path in group["paths"])
        at = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", {})
            kind = np.dtype(stored.get("dtype", entry["dtype"]))
            count = int(np.prod(entry["shape"], dtype=np.int64))
            values = np.frombuffer(data, kind, count, at).reshape(entry["shape"])
            at += count * kind.itemsize
            if "scale" in stored:
                values = values.astype(np.float32) * np.float32(stored["scale"]) + np.float32(stored["min"])
            weights[entry["name"]] = values.astype(np.float32) if entry["dtype"] == "float32" else values.copy()
    return weights


def _buffer(name: str) -> str:
    return "w_" + name.replace(".", "_")


def _source(entry: str) -> tuple[str, int]:
    name, _, index = entry.lstrip("^").partition(":")
    return name, int(index or 0)


def _pick(values: Mapping[str, _Value], entry: str) -> _Value:
    name, index = _source(entry)
    value = values[name]
    return value[index] if isinstance(value, list) else value


def _run(node: Mapping[str, Any], inputs: list[_Value]) -> _Value:
    op = node["op"].removeprefix("_")
    if op not in _OPERATORS:
        raise DataError(f"operator {node['op']} of the graph is not known here; use a graph that the documents name")
    return _OPERATORS[op](node.get("attr", {}), *inputs)


def _ints(attributes: Mapping[str, Any], name: str) -> list[int]:
    return [int(value) for value in attributes[name]["list"].get("i", [])]


def _text(attributes: Mapping[str, Any], name: str) -> str:
    return base64.b64decode(attributes[name]["s"]).decode()


def _known(value: _Value) -> bool:
    return not isinstance(value, Tensor)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _same_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> list[int]:
    """Return left, right, top, bottom of TensorFlow's SAME padding for (N, H, W, C)."""
    padding = []
    for size, side, step in zip((x.shape[2], x.shape[1]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // step) - 1) * step + side - size, 0)
        padding += [total // 2, total - total // 2]
    return padding


def _convolution(attributes: Mapping[str, Any], x: Tensor, weight: Tensor, *rest: Tensor, depthwise: bool) -> Tensor:
    stride, dilation = _ints(attributes, "strides")[1:3], _ints(attributes, "dilations")[1:3]
    image = _channels_first(x)
    if _text(attributes, "padding") == "SAME":
        kernel = [(side - 1) * step + 1 for side, step in zip(weight.shape[:2], dilation, strict=True)]
        image = F.pad(image, _same_padding(x, kernel, stride))
    kernels = weight.permute(2, 3, 0, 1).reshape(-1, 1, *weight.shape[:2]) if depthwise else weight.permute(3, 2, 0, 1)
    fused = [base64.b64decode(name).decode() for name in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
    bias = rest[0] if "BiasAdd" in fused else None
    out = F.conv2d(image, kernels, bias, stride, 0, dilation, groups=x.shape[3] if depthwise else 1)
    for name, activation in (("Relu", F.relu), ("Relu6", F.relu6)):
        if name in fused:
            out = activation(out)
    return _channels_last(out)


def _transposed(attributes: Mapping[str, Any], shape: np.ndarray, weight: Tensor, x: Tensor) -> Tensor:
    stride = _ints(attributes, "strides")[1:3]
    out = F.conv_transpose2d(_channels_first(x), weight.permute(3, 2, 0, 1), stride=stride)
    return _channels_last(out)[:, : int(shape[1]), : int(shape[2])]


def _pool(attributes: Mapping[str, Any], x: Tensor, *, largest: bool) -> Tensor:
    kernel, stride = _ints(attributes, "ksize")[1:3], _ints(attributes, "strides")[1:3]
    image = _channels_first(x)
    padding = _same_padding(x, kernel, stride) if _text(attributes, "padding") == "SAME" else [0, 0, 0, 0]
    if largest:
        return _channels_last(F.max_pool2d(F.pad(image, padding, value=float("-inf")) if any(padding) else image, kernel, stride))
    if any(padding):
        total = F.avg_pool2d(F.pad(image, padding), kernel, stride, divisor_override=1)
        count = F.avg_pool2d(F.pad(torch.ones_like(image[:1, :1]), padding), kernel, stride, divisor_override=1)
        return _channels_last(total / count)
    return _channels_last(F.avg_pool2d(image, kernel, stride))


def _resize(attributes: Mapping[str, Any], x: Tensor, size: np.ndarray) -> Tensor:
    aligned = bool(attributes.get("align_corners", {}).get("b", False))
    out = F.interpolate(_channels_first(x), size=[int(side) for side in size], mode="bilinear", align_corners=aligned)
    return _channels_last(out)


def _strided(attributes: Mapping[str, Any], x: _Value, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> _Value:
    def bit(name: str, axis: int) -> bool:
        return bool(int(attributes.get(name, {}).get("i", 0)) >> axis & 1)

    index: list[Any] = []
    for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if bit("shrink_axis_mask", axis):
            index.append(int(first))
        elif bit("new_axis_mask", axis):
            index.append(None)
        else:
            index.append(slice(None if bit("begin_mask", axis) else int(first), None if bit("end_mask", axis) else int(last), int(step)))
    return x[tuple(index)]


def _space_to_batch(_: Mapping[str, Any], x: Tensor, block: np.ndarray, paddings: np.ndarray) -> Tensor:
    (top, bottom), (left, right) = np.asarray(paddings).tolist()
    rows, columns = (int(side) for side in block)
    x = F.pad(x, (0, 0, left, right, top, bottom))
    n, height, width, channels = x.shape
    x = x.reshape(n, height // rows, rows, width // columns, columns, channels).permute(2, 4, 0, 1, 3, 5)
    return x.reshape(n * rows * columns, height // rows, width // columns, channels)


def _batch_to_space(_: Mapping[str, Any], x: Tensor, block: np.ndarray, crops: np.ndarray) -> Tensor:
    (top, bottom), (left, right) = np.asarray(crops).tolist()
    rows, columns = (int(side) for side in block)
    n, height, width, channels = x.shape
    x = x.reshape(rows, columns, n // (rows * columns), height, width, channels).permute(2, 3, 0, 4, 1, 5)
    x = x.reshape(n // (rows * columns), height * rows, width * columns, channels)
    return x[:, top : height * rows - bottom, left : width * columns - right]


def _pad(_: Mapping[str, Any], x: Tensor, paddings: np.ndarray) -> Tensor:
    return F.pad(x, [int(side) for pair in np.asarray(paddings)[::-1] for side in pair])


def _binary(function: Any) -> Any:
    def run(_: Mapping[str, Any], one: _Value, other: _Value) -> _Value:
        if _known(one) and _known(other):
            return np.asarray(function(one, other))
        one, other = (float(value) if _known(value) and np.ndim(value) == 0 else value for value in (one, other))
        one, other = (torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in (one, other))
        return function(one, other)

    return run


def _extreme(name: str) -> Any:
    def run(_: Mapping[str, Any], one: _Value, other: _Value) -> _Value:
        if _known(one) and _known(other):
            return getattr(np, name)(one, other)
        bound = float(other)
        return one.clamp(max=bound) if name == "minimum" else one.clamp(min=bound)

    return run


def _reduce_mean(attributes: Mapping[str, Any], x: Tensor, axes: np.ndarray) -> Tensor:
    keep = bool(attributes.get("keep_dims", {}).get("b", False))
    return x.mean(dim=[int(axis) for axis in np.atleast_1d(axes)], keepdim=keep)


def _split(attributes: Mapping[str, Any], axis: np.ndarray, x: Tensor) -> list[Tensor]:
    return list(torch.chunk(x, int(attributes["num_split"]["i"]), dim=int(axis)))


def _split_sizes(_: Mapping[str, Any], x: Tensor, sizes: np.ndarray, axis: np.ndarray) -> list[Tensor]:
    return list(torch.split(x, [int(size) for size in sizes], dim=int(axis)))


def _concatenate(_: Mapping[str, Any], *inputs: _Value) -> _Value:
    *parts, axis = inputs
    if all(_known(part) for part in parts):
        return np.concatenate([np.atleast_1d(part) for part in parts], axis=int(axis))
    return torch.cat(parts, dim=int(axis))


def _slice(_: Mapping[str, Any], x: Tensor, begin: np.ndarray, size: np.ndarray) -> Tensor:
    return x[tuple(slice(int(at), None if int(n) < 0 else int(at) + int(n)) for at, n in zip(begin, size, strict=True))]


def _cast(attributes: Mapping[str, Any], x: _Value) -> _Value:
    kind = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_BOOL": np.bool_}[attributes["DstT"]["type"]]
    return np.asarray(x).astype(kind) if _known(x) else x.float()


def _switch(_: Mapping[str, Any], x: _Value, predicate: _Value) -> list[_Value]:
    return [_DEAD, x] if bool(predicate) else [x, _DEAD]


def _merge(_: Mapping[str, Any], *branches: _Value) -> _Value:
    return next((branch for branch in branches if branch is not _DEAD), _DEAD)


def _squeeze(_: Mapping[str, Any], x: _Value) -> _Value:
    return np.squeeze(x) if _known(x) else x.squeeze()


def _pack(attributes: Mapping[str, Any], *inputs: _Value) -> np.ndarray:
    return np.stack([np.asarray(value) for value in inputs], axis=int(attributes.get("axis", {}).get("i", 0)))


def _broadcast(_: Mapping[str, Any], x: _Value, shape: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.asarray(x, np.float32)) if _known(x) else x
    return tensor.expand(*(int(side) for side in shape))


_OPERATORS: Mapping[str, Any] = {
    "Add": _binary(lambda a, b: a + b),
    "AddV2": _binary(lambda a, b: a + b),
    "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b),
    "RealDiv": _binary(lambda a, b: a / b),
    "FloorMod": _binary(lambda a, b: a % b),
    "Equal": _binary(lambda a, b: a == b),
    "AddN": lambda _, *parts: sum(parts[1:], parts[0]),
    "Minimum": _extreme("minimum"),
    "Maximum": _extreme("maximum"),
    "Square": lambda _, x: x * x,
    "Relu": lambda _, x: F.relu(x),
    "Relu6": lambda _, x: F.relu6(x),
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Tanh": lambda _, x: torch.tanh(x),
    "Identity": lambda _, x: x,
    "NoOp": lambda _: None,
    "Conv2D": lambda attributes, *inputs: _convolution(attributes, *inputs, depthwise=False),
    "FusedConv2D": lambda attributes, *inputs: _convolution(attributes, *inputs, depthwise=False),
    "DepthwiseConv2dNative": lambda attributes, *inputs: _convolution(attributes, *inputs, depthwise=True),
    "FusedDepthwiseConv2dNative": lambda attributes, *inputs: _convolution(attributes, *inputs, depthwise=True),
    "Conv2DBackpropInput": _transposed,
    "AvgPool": lambda attributes, x: _pool(attributes, x, largest=False),
    "MaxPool": lambda attributes, x: _pool(attributes, x, largest=True),
    "ResizeBilinear": _resize,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "Pad": _pad,
    "Mean": _reduce_mean,
    "Split": _split,
    "SplitV": _split_sizes,
    "ConcatV2": _concatenate,
    "Slice": _slice,
    "StridedSlice": _strided,
    "Shape": lambda _, x, *_control: np.array(x.shape, np.int32),
    "Cast": _cast,
    "Switch": _switch,
    "Merge": _merge,
    "Squeeze": _squeeze,
    "Pack": _pack,
    "BroadcastTo": _broadcast,
}
