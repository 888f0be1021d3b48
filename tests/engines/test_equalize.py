"""Channels brought to one range: the same network in float, a better one in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from streammat.engines.export import quantize
from streammat.engines.export.equalize import equalize
from streammat.engines.export.quantize import quantize_onnx

WILD = np.array([0.02, 0.1, 1.0, 4.0, 20.0, 60.0], np.float32)
"""Ranges of the channels of the maps between."""
PICTURES = [np.random.default_rng(seed).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8) for seed in range(4)]


def network(path: Path, *, between: str = "Add") -> onnx.ModelProto:
    """rgb → first → wide (linear, of wild ranges) → narrow ⊕ wide → out; or with another operator instead of the addition."""
    rng = np.random.default_rng(0)
    weights, nodes = [], [helper.make_node("Cast", ["rgb"], ["float"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]))

    def conv(name: str, source: str, inputs: int, outputs: int, out_by: np.ndarray | None = None, in_by: np.ndarray | None = None) -> None:
        values = rng.normal(0, inputs**-0.5, (outputs, inputs, 1, 1)).astype(np.float32)
        values *= 1.0 if out_by is None else out_by[:, None, None, None]
        values /= 1.0 if in_by is None else in_by[None, :, None, None]
        bias = rng.normal(0, 0.1, outputs).astype(np.float32) * (1.0 if out_by is None else out_by)
        weights.extend([numpy_helper.from_array(values, f"{name}_w"), numpy_helper.from_array(bias.astype(np.float32), f"{name}_b")])
        nodes.append(helper.make_node("Conv", [source, f"{name}_w", f"{name}_b"], [name], name=f"/{name}/Conv"))

    conv("first", "planes", 3, 6)
    nodes.append(helper.make_node("Relu", ["first"], ["active"], name="/first/Relu"))
    conv("wide", "active", 6, 6, out_by=WILD)
    conv("narrow", "wide", 6, 6, out_by=WILD, in_by=WILD)
    if between == "Add":
        nodes.append(helper.make_node("Add", ["wide", "narrow"], ["joined"], name="/joined/Add"))
    else:
        nodes.append(helper.make_node(between, ["narrow"], ["joined"], name="/joined/Other"))
    conv("alpha", "joined", 6, 1, in_by=WILD)
    shape = ["n", "h", "w", 3]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("rgb", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return model


def run(model: onnx.ModelProto | Path, name: str = "alpha") -> list[np.ndarray]:
    watched = onnx.load(model) if isinstance(model, Path) else model
    if name != "alpha":
        watched = onnx.ModelProto.FromString(watched.SerializeToString())
        watched.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run([name], {"rgb": rgb})[0] for rgb in PICTURES]


def spread(model: onnx.ModelProto, name: str) -> float:
    """Widest channel over the narrowest."""
    ranges = np.max([np.abs(values).max(axis=(0, 2, 3)) for values in run(model, name)], axis=0)
    return float(ranges.max() / ranges.min())


def test_the_same_network_of_even_channels(tmp_path: Path) -> None:
    model = network(tmp_path / "small.onnx")
    before = run(model)
    assert spread(model, "joined") > 500
    equalize(model, PICTURES)
    for one, other in zip(before, run(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    # One factor serves all that an addition joins: none of them is even, together they are.
    assert all(spread(model, name) < 20 for name in ("wide", "narrow", "joined"))


@pytest.mark.parametrize("operator", ["Relu", "Sigmoid"])
def test_what_is_not_linear_is_left_alone(operator: str, tmp_path: Path) -> None:
    model = network(tmp_path / "small.onnx", between=operator)
    before = run(model)
    kept = spread(model, "narrow")
    equalize(model, PICTURES)
    for one, other in zip(before, run(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert spread(model, "narrow") == pytest.approx(kept, rel=1e-3)
    assert spread(model, "wide") == pytest.approx(1.0, rel=1e-3)  # only convolutions read it


def test_a_weight_of_two_nodes_is_left_alone(tmp_path: Path) -> None:
    model = network(tmp_path / "small.onnx")
    again = next(node for node in model.graph.node if node.name == "/narrow/Conv")
    again.input[1] = "wide_w"
    before = run(model)
    equalize(model, PICTURES)
    for one, other in zip(before, run(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_int8_gains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.onnx"
    wanted = run(network(path))

    def error(target: Path) -> float:
        quantize_onnx(path, target, PICTURES)
        return float(np.mean([np.abs(one - other).mean() for one, other in zip(wanted, run(target), strict=True)]))

    # Its first block and heads stay float; here everything is to be int8.
    monkeypatch.setattr(quantize, "float_nodes", lambda _graph: [])
    even = error(tmp_path / "even.onnx")
    monkeypatch.setattr(quantize, "equalize", lambda _model, _pictures: None)
    assert even < 0.3 * error(tmp_path / "wild.onnx")
