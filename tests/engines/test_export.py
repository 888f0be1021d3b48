"""Export and int8 of a small untrained network: the files keep the contract and agree with torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.auto import installed_backends, open_engine
from engines.export import export_onnx
from engines.gfm import GFM
from engines.models import ModelFiles
from engines.quantize import quantize_onnx


def pictures(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(5)
    for _ in range(count):
        small = rng.integers(0, 256, (1, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
        yield np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[GFM, ModelFiles]:
    torch.manual_seed(3)
    network = GFM("lite")
    with torch.no_grad():  # gives the batch norms statistics worth folding
        for picture in pictures(4, (64, 96)):
            network.train().predict(torch.from_numpy(picture.repeat(2, axis=0)).permute(0, 3, 1, 2).float())
    network.eval()
    folder = tmp_path_factory.mktemp("export")
    files = ModelFiles("lite", folder / "fp32.onnx", folder / "int8.onnx")
    export_onnx(network, files.fp32)
    quantize_onnx(files.fp32, folder / "int8.onnx", pictures(4, (64, 96)))
    return network, files


@pytest.mark.parametrize("backend", installed_backends())
@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_fp32_agrees_with_torch(exported: tuple[GFM, ModelFiles], backend: str, size: tuple[int, int]) -> None:
    network, files = exported
    rgb = next(pictures(1, size))
    with torch.no_grad():
        expected = network.predict(torch.from_numpy(rgb).permute(0, 3, 1, 2).float()).alpha[:, 0].numpy()
    engine = open_engine(files, backend, "fp32", size)
    assert np.abs(engine.infer(rgb) - expected).max() < 1e-3
    engine.close()


@pytest.mark.parametrize("backend", installed_backends())
def test_int8_stays_close(exported: tuple[GFM, ModelFiles], backend: str) -> None:
    rgb = next(pictures(1, (64, 96)))
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


def test_quantising_needs_pictures(exported: tuple[GFM, ModelFiles], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibration"):
        quantize_onnx(exported[1].fp32, tmp_path / "none.onnx", iter(()))
    assert not (tmp_path / "none.onnx").exists()
