"""Export of untrained networks, int8 of the small one: the files keep the contract and agree with torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from streammat.engines.base import EngineError
from streammat.engines.choice import installed_backends, open_engine
from streammat.engines.export import onnx as export
from streammat.engines.export.import_weights import import_checkpoint
from streammat.engines.export.onnx import export_onnx, measure_parity
from streammat.engines.export.quantize import float_nodes, quantize_onnx
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM, NETWORKS
from streammat.engines.network.rostas import ROSTAS

torch.set_num_threads(1)  # tiny tensors gain nothing from more, and on busy machines threads wait for each other

def images(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(5)
    for _ in range(count):
        small = rng.integers(0, 256, (1, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
        yield np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2))


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).float()


def untrained(name: str, rosta: str = "TT") -> GFM:
    """A network whose batch norms have statistics worth folding, and whose matte is not of one grey."""
    torch.manual_seed(3)
    network = GFM(name, rosta)
    with torch.no_grad():
        for image in images(4 if name == "lite" else 1, (64, 96)):
            network.train().predict(tensor(image.repeat(2, axis=0)))
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[GFM, ModelFiles]:
    network = untrained("lite")
    folder = tmp_path_factory.mktemp("export")
    files = ModelFiles("lite", folder / "fp32.onnx", folder / "int8.onnx")
    export_onnx(network, files.fp32)
    quantize_onnx(files.fp32, folder / "int8.onnx", images(4, (64, 96)))
    return network, files


@pytest.mark.parametrize("backend", installed_backends())
@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_fp32_agrees_with_torch(exported: tuple[GFM, ModelFiles], backend: str, size: tuple[int, int]) -> None:
    network, files = exported
    rgb = next(images(1, size))
    with torch.no_grad():
        expected = network.predict(torch.from_numpy(rgb).permute(0, 3, 1, 2).float()).alpha[:, 0].numpy()
    engine = open_engine(files, backend, "fp32", size)
    assert np.abs(engine.infer(rgb) - expected).max() < 1e-3
    engine.close()


@pytest.mark.parametrize("backend", installed_backends())
def test_int8_stays_close(exported: tuple[GFM, ModelFiles], backend: str) -> None:
    rgb = next(images(1, (64, 96)))
    alphas = []
    for precision in ("fp32", "int8"):
        engine = open_engine(exported[1], backend, precision, (64, 96))
        alphas.append(engine.infer(rgb))
        engine.close()
    assert np.abs(alphas[0] - alphas[1]).mean() < 0.03


def test_files_are_small(exported: tuple[GFM, ModelFiles]) -> None:
    files = exported[1]
    assert files.int8 is not None
    assert files.fp32.stat().st_size < 12e6
    assert files.int8.stat().st_size < 4e6


def test_quantising_needs_images(exported: tuple[GFM, ModelFiles], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibration"):
        quantize_onnx(exported[1].fp32, tmp_path / "none.onnx", iter(()))
    assert not (tmp_path / "none.onnx").exists()


def test_what_stays_float(exported: tuple[GFM, ModelFiles]) -> None:
    """The list goes by names of nodes: a module that is renamed must not drop out of it unseen."""
    graph = onnx.load(exported[1].fp32)
    kept = set(float_nodes(graph))
    first = next(node.name for node in graph.graph.node if node.op_type == "Conv")
    users = {name: [n for n in graph.graph.node if name in n.input] for node in graph.graph.node for name in node.output}

    def ends(node: onnx.NodeProto) -> bool:
        """No convolution follows: a head."""
        return all(user.op_type != "Conv" and ends(user) for name in node.output for user in users[name])

    heads = {node.name for node in graph.graph.node if node.op_type == "Conv" and ends(node)}
    assert len(heads) == 2
    assert {first, *heads} <= kept
    assert sum("/pooling/Add" in name for name in kept) == sum("/branches." in name for name in kept) == 3
    assert sum("/encoder/blocks.0/" in name and name.endswith("Conv") for name in kept) == 3


@pytest.fixture(scope="module")
def r34(tmp_path_factory: pytest.TempPathFactory) -> tuple[GFM, ModelFiles]:
    network = untrained("r34")
    files = ModelFiles("r34", tmp_path_factory.mktemp("r34") / "r34.fp32.onnx")
    export_onnx(network, files.fp32)
    return network, files


@pytest.mark.parametrize("backend", installed_backends())
@pytest.mark.parametrize("size", [(64, 96), (128, 32), (32, 224)])
def test_the_papers_network_gives_alpha_at_full_size(r34: tuple[GFM, ModelFiles], backend: str, size: tuple[int, int]) -> None:
    network, files = r34
    rgb = np.concatenate(list(images(2, size)))
    with torch.no_grad():
        expected = network(tensor(rgb)).alpha[:, 0].numpy()
    assert expected.std() > 1e-3
    engine = open_engine(files, backend, "fp32", size)
    alpha = engine.infer(rgb)
    engine.close()
    assert alpha.shape == (2, *size)
    assert alpha.dtype == np.float32
    assert np.abs(alpha - expected).mean() < 1e-4
    assert (np.abs(alpha - expected) > 1e-3).mean() < 1e-3  # where two classes are level, rounding decides


def test_every_norm_that_follows_a_convolution_is_folded(r34: tuple[GFM, ModelFiles], exported: tuple[GFM, ModelFiles]) -> None:
    for files in (r34[1], exported[1]):
        assert not [node.name for node in onnx.load(files.fp32).graph.node if node.op_type == "BatchNormalization"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rosta"), [("d121", "RIM"), ("r34_2b", "TT"), ("r34", "FT"), ("r34", "BT")])
def test_other_networks(name: str, rosta: str, tmp_path: Path) -> None:
    network = untrained(name, rosta)
    files = ModelFiles(name, tmp_path / "x.onnx")
    export_onnx(network, files.fp32)
    assert measure_parity(network, files, images(2, (96, 160))).mean < 1e-4
    graph = onnx.load(files.fp32).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    assert not [node.name for node in graph.node if node.op_type == "BatchNormalization" and made_by[node.input[0]] == "Conv"]


def test_rim_stays_within_0_and_1(tmp_path: Path) -> None:
    network = untrained("lite", "RIM")
    assert network.rim is not None
    rgb = next(images(1, (64, 96)))
    with torch.no_grad():
        # The integration is a plain convolution: nothing holds it.
        network.rim[2].bias.zero_()
        network.rim[2].weight.div_(network.predict(tensor(rgb)).alpha.std())
        network.rim[2].bias.fill_(0.5 - network.predict(tensor(rgb)).alpha.mean())
        raw = network.predict(tensor(rgb)).alpha
        assert raw.min() < 0
        assert raw.max() > 1
    files = ModelFiles("rim", tmp_path / "rim.onnx")
    export_onnx(network, files.fp32)
    engine = open_engine(files, "onnxruntime", "fp32", (64, 96))
    alpha = engine.infer(rgb)
    engine.close()
    np.testing.assert_allclose(alpha, raw[:, 0].clamp(0, 1).numpy(), atol=1e-3)
    assert (float(alpha.min()), float(alpha.max())) == (0.0, 1.0)


def test_exporting_leaves_the_network_alone() -> None:
    network = GFM("lite").eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deviation = network.std.clone()
    FoldedMatte(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(network.std, deviation)


def test_parity_tells_a_file_of_other_weights(exported: tuple[GFM, ModelFiles]) -> None:
    network, files = exported
    assert measure_parity(network, files).mean < 1e-5
    torch.manual_seed(9)
    broken = GFM("lite").eval()
    with pytest.raises(EngineError, match="'lite' disagrees with its weights"):
        measure_parity(broken, files)
    torch.nn.init.constant_(broken.encoder.stem[0].weight, float("nan"))
    with pytest.raises(EngineError, match="alpha differs by nan"):
        measure_parity(broken, files)


@pytest.mark.parametrize("rosta", ROSTAS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_fits_one_file(name: str, rosta: str) -> None:
    with torch.device("meta"):
        size = sum(4 * value.numel() for value in GFM(name, rosta).parameters())
    assert size < export.LARGEST


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LARGEST", 10**6)
    with pytest.raises(EngineError, match="0.01 GiB of weights; one ONNX file holds at most 0.00 GiB"):
        export_onnx(GFM("lite"), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_network(GFM("lite").eval(), tmp_path / "x.safetensors")
    models = tmp_path / "models"
    monkeypatch.setattr(export, "LARGEST_MEAN", -1.0)
    with pytest.raises(EngineError, match="disagrees with its weights"):
        import_checkpoint(tmp_path / "x.safetensors", "x", models)
    assert list(models.iterdir()) == []
    monkeypatch.undo()
    files = import_checkpoint(tmp_path / "x.safetensors", "x", models, created_by="test 1")
    assert json.loads((models / "x" / "x.json").read_text())["created_by"] == "test 1"
    assert files.read("fp32")
    with pytest.raises(EngineError, match="is there already"):
        import_checkpoint(tmp_path / "x.safetensors", "x", models)
    with pytest.raises(EngineError, match="is damaged.*import it again"):
        replace(files, sha256={"fp32": "0" * 64}).read("fp32")
    assert [path.name for path in models.iterdir()] == ["x"]
