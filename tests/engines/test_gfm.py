"""The network: cost, shapes, fusion, weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.base import EngineError
from engines.checkpoint import load_network, save_network
from engines.gfm import GFM, VARIANTS, fuse
from train.complexity import measure_complexity

DATA = Path(os.environ.get("STREAMMAT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
IMAGENET = DATA / "weights" / "mobilenetv2_bn_imagenet_features.npz"


@pytest.fixture(scope="module")
def network() -> GFM:
    torch.manual_seed(0)
    return GFM("lite").eval()


def test_lite_stays_within_its_budget(network: GFM) -> None:
    cost = measure_complexity(network, 288, 512)
    assert cost.parameters <= 4_000_000
    assert cost.macs <= 2_000_000_000


def test_complexity_counts_by_hand() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, padding=1)
    cost = measure_complexity(layer, 4, 6)
    assert cost.parameters == 8 * 3 * 9 + 8
    assert cost.macs == 4 * 6 * 8 * 3 * 9


def test_widths_suit_vector_units() -> None:
    for variant in VARIANTS.values():
        assert all(width % 16 == 0 for width in (*variant.glance.widths, *variant.focus.widths))


@pytest.mark.parametrize("size", [(32, 32), (64, 256), (416, 96), (96, 160)])
def test_shapes(network: GFM, size: tuple[int, int]) -> None:
    with torch.no_grad():
        glance, focus, alpha = network(torch.rand(2, 3, *size) * 255)
    half = (size[0] // network.stride, size[1] // network.stride)
    assert glance.shape == (2, 3, *half)
    assert focus.shape == alpha.shape == (2, 1, *half)
    assert ((alpha >= 0) & (alpha <= 1)).all()


def test_every_weight_learns(network: GFM) -> None:
    trained = GFM("lite").train()
    output = trained(torch.rand(2, 3, 64, 64) * 255)
    (output.alpha.sum() + output.focus.sum() + output.glance.square().sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained.parameters())


def test_sure_classes_fuse_as_in_the_paper() -> None:
    sure = 60.0 * torch.eye(3).view(1, 3, 1, 3)
    focus = torch.tensor([0.3, 0.4, 0.7]).view(1, 1, 1, 3)
    torch.testing.assert_close(fuse(sure, focus).flatten(), torch.tensor([0.0, 0.4, 1.0]))


def test_unknown_network() -> None:
    with pytest.raises(KeyError, match="there are lite"):
        GFM("r9000")


@pytest.mark.skipif(not IMAGENET.exists(), reason="ImageNet weights are not here; set STREAMMAT_DATA")
def test_imagenet_weights_load_whole() -> None:
    torch.manual_seed(0)
    encoder = GFM("lite").encoder
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.load_gluon(IMAGENET)
    same = [key for key, value in encoder.state_dict().items() if torch.equal(value, before[key]) and "num_batches" not in key]
    assert not same
    with np.load(IMAGENET) as arrays:
        np.testing.assert_array_equal(encoder.stem[0].weight.detach().numpy(), arrays["features_conv0_weight"])


def test_wrong_imagenet_weights_are_refused(network: GFM, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", features_conv0_weight=np.zeros((8, 3, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"features_conv0_weight should have shape \(32, 3, 3, 3\)"):
        network.encoder.load_gluon(tmp_path / "wrong.npz")


def test_checkpoint_round_trip(network: GFM, tmp_path: Path) -> None:
    path = tmp_path / "lite.safetensors"
    save_network(network, path)
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(load_network(path)(image).alpha, network(image).alpha, atol=5e-3, rtol=0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineError, match="cannot read weights"):
        load_network(path)
