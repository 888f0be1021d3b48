"""Trimap-based methods from real files: a network whose result is known is written as ONNX and as TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streammat.train.errors import DataError
from streammat.train.evaluation.predictors.trimap_methods import open_trimap_method

HEIGHT, WIDTH = 21, 45


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    rgb = np.full((HEIGHT, WIDTH, 3), (10, 40, 200), np.uint8)
    rgb[:, 22:] = (220, 180, 20)
    trimap = np.full((HEIGHT, WIDTH), 128, np.uint8)
    trimap[:, :12], trimap[:, 34:] = 0, 255
    return rgb, trimap


def write_onnx(path: Path, inputs: dict[str, list], nodes: list) -> Path:
    """A graph that ends in ``alpha``."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    result = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "method", values, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def mean_of(image: str) -> list:
    """Alpha is the mean of the channels."""
    return [helper.make_node("ReduceMean", [image], ["alpha"], axes=[1], keepdims=1)]


def test_closed_form_follows_the_colours(scene) -> None:
    rgb, trimap = scene
    alpha = open_trimap_method("closed-form")(rgb, trimap)
    assert alpha.dtype == np.float32
    assert alpha[:, :22].max() < 0.05
    assert alpha[:, 22:].min() > 0.95


def test_closed_form_of_trimaps_that_say_little(scene) -> None:
    rgb, trimap = scene
    method = open_trimap_method("closed-form")
    certain = np.where(trimap == 128, 0, trimap).astype(np.uint8)
    np.testing.assert_array_equal(method(rgb, certain), certain / np.float32(255))
    for known, value in ((0, 0.0), (255, 1.0), (128, 0.5)):
        sparse = np.full_like(trimap, 128)
        sparse[0] = known
        np.testing.assert_array_equal(method(rgb, sparse), np.full(trimap.shape, value, np.float32))


def expected_mean(rgb: np.ndarray, trimap: np.ndarray, with_trimap: bool) -> np.ndarray:
    values = np.array([0.0, 0.5, 1.0])[np.searchsorted([0, 128, 255], trimap)]
    planes = np.concatenate([rgb / 255.0, values[:, :, None]], axis=2) if with_trimap else rgb / 255.0
    return np.where(trimap == 128, planes.mean(axis=2), values)


def test_onnx_with_four_channels(scene, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "four.onnx", {"x": [1, 4, "h", "w"]}, mean_of("x"))
    np.testing.assert_allclose(open_trimap_method(path)(*scene), expected_mean(*scene, True), atol=1e-6)


@pytest.mark.parametrize("order", ["named", "reversed", "free"])
def test_onnx_with_two_inputs(scene, tmp_path: Path, order: str) -> None:
    shapes = {"image": [1, 3, "h", "w"], "trimap": [1, 1, "h", "w"]}
    if order == "reversed":
        shapes = dict(reversed(shapes.items()))
    if order == "free":
        shapes = {name: ["n", f"c_{name}", "h", "w"] for name in shapes}
    path = write_onnx(
        tmp_path / "two.onnx",
        shapes,
        [
            helper.make_node("Concat", ["image", "trimap"], ["x"], axis=1),
            helper.make_node("ReduceMean", ["x"], ["alpha"], axes=[1], keepdims=0),
        ],
    )
    np.testing.assert_allclose(open_trimap_method(path)(*scene), expected_mean(*scene, True), atol=1e-6)


@pytest.mark.parametrize("inputs", [1, 2])
def test_torchscript(scene, tmp_path: Path, inputs: int) -> None:
    path = write_torchscript(tmp_path / "method.pt", inputs)
    np.testing.assert_allclose(open_trimap_method(path)(*scene), expected_mean(*scene, True), atol=1e-6)


def write_torchscript(path: Path, inputs: int) -> Path:
    import torch

    class One(torch.nn.Module):
        def forward(self, x: torch.Tensor):
            return x.mean(dim=1, keepdim=True), x

    class Two(torch.nn.Module):
        def forward(self, image: torch.Tensor, trimap: torch.Tensor):
            return torch.cat([image, trimap], dim=1).mean(dim=1)

    class Three(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor):
            return a + b + c

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against writing new TorchScript
        torch.jit.script((One(), Two(), Three())[inputs - 1]).save(str(path))
    return path


def test_files_that_are_no_matters(tmp_path: Path) -> None:
    broken = {kind: tmp_path / f"broken{kind}" for kind in (".onnx", ".pt")}
    for path in broken.values():
        path.write_bytes(b"not a network")
    cases = {
        "alphanet": "expected closed-form, or a file .onnx",
        tmp_path / "none.onnx": "does not exist",
        broken[".onnx"]: "not an ONNX file",
        broken[".pt"]: "not a TorchScript file",
        write_onnx(tmp_path / "rgb.onnx", {"x": [1, 3, "h", "w"]}, mean_of("x")): r"inputs x \[1, 3, 'h', 'w'\]; expected",
        write_torchscript(tmp_path / "three.pt", 3): "takes 3 inputs",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as raised:
            open_trimap_method(name)
        assert "\n" not in str(raised.value)


def test_networks_that_do_not_keep_the_convention(scene, tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / "whole.onnx", {"x": [1, 4, "h", "w"]}, [helper.make_node("Identity", ["x"], ["alpha"])])
    with pytest.raises(DataError, match=r"returned shape \(1, 4, 32, 64\); expected alpha \(1, 1, 32, 64\)"):
        open_trimap_method(whole)(*scene)
    nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("ReduceMean", ["l"], ["alpha"], axes=[1])]
    with pytest.raises(DataError, match="NaN"):
        open_trimap_method(write_onnx(tmp_path / "log.onnx", {"x": [1, 4, "h", "w"]}, nodes))(*scene)
    fixed = write_onnx(tmp_path / "fixed.onnx", {"x": [1, 4, 512, 512]}, mean_of("x"))
    with pytest.raises(DataError, match="failed on an image of 45 x 21"):
        open_trimap_method(fixed)(*scene)


def test_image_and_trimap_must_fit(scene) -> None:
    rgb, trimap = scene
    method = open_trimap_method("closed-form")
    with pytest.raises(ValueError, match=r"trimap \(20, 45\)"):
        method(rgb, trimap[1:])
    with pytest.raises(ValueError, match=r"values \[127\]"):
        method(rgb, np.full_like(trimap, 127))
