"""The network: cost, shapes, fusion, weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from streammat.engines.network.decoders import adaptive_pool
from streammat.engines.network.gfm import GFM, NETWORKS, Ablation, fuse
from streammat.engines.network.rostas import CLASSES, ROSTAS
from streammat.train.measures.complexity import measure_complexity

torch.set_num_threads(1)  # tiny tensors gain nothing from more, and on busy machines threads wait for each other

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


def test_widths_suit_vector_units() -> None:
    lite = NETWORKS["lite"]
    assert all(width % 16 == 0 for width in (*lite.glance.widths, *lite.focus.widths))


@pytest.mark.parametrize("rosta", ROSTAS)
@pytest.mark.parametrize("name", ["lite", "r34", "d121"])
def test_outputs_of_every_rosta(name: str, rosta: str) -> None:
    torch.manual_seed(1)
    model = GFM(name, rosta).eval()
    image = torch.rand(1, 3, 32, 64) * 255
    with torch.no_grad():
        output = model(image)
        prediction = model.predict(image)
    assert output.glance.shape == (1, CLASSES[model.heads[0]], 32, 64)
    assert output.focus.shape == output.alpha.shape == (1, 1, 32, 64)
    assert all(((part >= 0) & (part <= 1)).all() for part in output)
    assert tuple(prediction.heads) == (("TT", "FT", "BT") if rosta == "RIM" else (rosta,))
    assert prediction.alpha.shape == (1, 1, 32 // model.stride, 64 // model.stride)


@pytest.mark.parametrize("size", [(32, 32), (64, 256), (416, 96), (96, 160)])
def test_shapes(network: GFM, size: tuple[int, int]) -> None:
    with torch.no_grad():
        glance, focus, alpha = network(torch.rand(2, 3, *size) * 255)
    assert glance.shape == (2, 3, *size)
    assert focus.shape == alpha.shape == (2, 1, *size)
    assert ((alpha >= 0) & (alpha <= 1)).all()


@pytest.mark.parametrize("shape", [(1, 3, 33, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_wrong_shapes_are_named(network: GFM, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\), H and W multiples of 32"):
        network(torch.zeros(shape))


@pytest.mark.parametrize("rosta", ["TT", "RIM"])
@pytest.mark.parametrize(
    "ablation",
    [None, Ablation(single_decoder=True), Ablation(ppm="none"), Ablation(ppm="one"), Ablation(bridge=False)],
)
def test_every_weight_learns(ablation: Ablation | None, rosta: str) -> None:
    torch.manual_seed(2)
    name = "lite" if ablation is None or ablation.ppm != "one" else "r34"
    trained = GFM(name, rosta, ablation).train()
    prediction = trained.predict(torch.rand(2, 3, 64, 64) * 255)
    loss = prediction.alpha.sum()
    for head in prediction.heads.values():
        loss = loss + head.alpha.sum() + head.focus.sum() + head.glance.square().sum()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained.parameters())


def test_ablations_take_away_what_they_say() -> None:
    count = {
        name: sum(p.numel() for p in GFM("r34", "TT", ablation).parameters())
        for name, ablation in {
            "whole": Ablation(),
            "one": Ablation(ppm="one"),
            "none": Ablation(ppm="none"),
            "bridge": Ablation(bridge=False),
            "single": Ablation(single_decoder=True),
        }.items()
    }
    # Pooling: three 1x1 of 512 and their merge; bridge: three 3x3 of 512 with bias and norm.
    assert count["one"] - count["none"] == 3 * 512 * 512 + (2048 * 512 + 512) + 512 * 512 * 9
    assert count["whole"] - count["bridge"] == 3 * (512 * 512 * 9 + 512 * 3) + 512 * 512 * 9
    assert count["whole"] > count["one"] > count["none"]
    assert count["single"] < count["whole"]


def test_lite_has_no_side_branches_to_take_away() -> None:
    with pytest.raises(ValueError, match="pools for its coarsest level alone already"):
        GFM("lite", "TT", Ablation(ppm="one"))


def test_gradient_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(3)
    image = torch.rand(2, 3, 32, 32) * 255
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(4)
        model = GFM("lite", "TT").train()
        model.checkpointing = checkpointing
        model.predict(image).alpha.sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("bins", [1, 3, 5])
def test_adaptive_pool_is_torchs(bins: int) -> None:
    x = torch.rand(2, 3, 13, 7)
    torch.testing.assert_close(adaptive_pool(x, bins), F.adaptive_avg_pool2d(x, bins))


# What each class says where the glance is sure of it, for focus 0.3, 0.4, 0.7.
FUSED = {
    "TT": [[0.0, 0.0, 0.0], [0.3, 0.4, 0.7], [1.0, 1.0, 1.0]],
    "FT": [[0.3, 0.4, 0.7], [1.0, 1.0, 1.0]],
    "BT": [[0.0, 0.0, 0.0], [0.7, 0.6, 0.3]],
}


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("rosta", list(FUSED))
def test_sure_classes_fuse_as_in_the_paper(rosta: str, soft: bool) -> None:
    focus = torch.tensor([0.3, 0.4, 0.7]).view(1, 1, 1, 3)
    for index, expected in enumerate(FUSED[rosta]):
        glance = torch.zeros(1, CLASSES[rosta], 1, 3)
        glance[:, index] = 1.0
        torch.testing.assert_close(fuse(glance, focus, rosta, soft=soft).flatten(), torch.tensor(expected))


@pytest.mark.parametrize("rosta", ["FT", "BT"])
def test_two_classes_fuse_by_the_papers_formula(rosta: str) -> None:
    torch.manual_seed(5)
    glance, focus = torch.rand(2, 2, 5, 6), torch.rand(2, 1, 5, 6)
    kind = glance.argmax(1, keepdim=True).float()
    expected = (kind + focus).clamp(max=1) if rosta == "FT" else (kind - focus).clamp(min=0)
    torch.testing.assert_close(fuse(glance, focus, rosta), expected)


def test_unsure_classes_fuse_to_the_expectation() -> None:
    glance, focus = torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1), torch.tensor([[[[0.4]]]])
    assert fuse(glance, focus, "TT", soft=True).item() == pytest.approx(0.5)
    assert fuse(glance, focus, "TT").item() == pytest.approx(0.4)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="expected one of lite, r34"):
        GFM("r9000")
    with pytest.raises(ValueError, match="expected one of TT, FT, BT, RIM"):
        GFM("lite", "XT")


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
