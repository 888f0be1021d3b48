"""Weights on disk: round trips, published state dicts, encoders from ImageNet, and every file that does not fit."""

from __future__ import annotations

import json
import logging
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streammat.engines.base import EngineError
from streammat.engines.network.checkpoint import load_checkpoint, load_imagenet, load_network, save_network
from streammat.engines.network.gfm import GFM, Ablation

torch.set_num_threads(1)  # tiny tensors gain nothing from more, and on busy machines threads wait for each other

FACTS = Path(os.environ.get("STREAMMAT_GFM", Path(__file__).resolve().parents[3] / "shared" / "gfm"))
KEYS = FACTS / "published_checkpoint_keys.json"
needs_facts = pytest.mark.skipif(not KEYS.exists(), reason="the published checkpoints' keys are not here; set STREAMMAT_GFM")
VARIANTS = ["r34_TT", "r34_FT", "r34_BT", "r34_RIM", "r34_2b_TT", "d121_TT", "d121_RIM", "r101_TT"]


def tensor(key: str, shape: list[int]) -> torch.Tensor:
    """The parity fixture's recipe: numbers that follow from the key."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    draw = np.random.Generator(np.random.Philox(zlib.crc32(key.encode()))).standard_normal(shape, dtype="float32")
    if len(shape) == 4:
        draw *= np.float32(np.sqrt(0.6 / (shape[1] * shape[2] * shape[3])))
    elif len(shape) == 2:
        draw *= np.float32(np.sqrt(1 / shape[1]))
    elif key.endswith("running_var"):
        draw = 1 + np.float32(0.2) * np.abs(draw)
    elif key.endswith(("running_mean", "bias")):
        draw *= np.float32(0.1)
    else:
        draw = 1 + np.float32(0.1) * draw
    return torch.from_numpy(draw)


def published(variant: str) -> dict[str, torch.Tensor]:
    """A state dict as the authors publish it, aliases and unused head included."""
    state: dict[str, torch.Tensor] = {}
    for key, shape in json.loads(KEYS.read_text())[variant].items():
        state[key] = state[shape["same_tensor_as"]] if isinstance(shape, dict) else tensor(key, shape)
    return state


def picture() -> torch.Tensor:
    draw = np.random.Generator(np.random.Philox(7))
    coarse = draw.uniform(0, 255, (6, 8, 3)).astype("f4")
    image = cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC) + draw.normal(0, 8, (96, 128, 3)).astype("f4")
    return torch.from_numpy(np.rint(np.clip(image, 0, 255))).permute(2, 0, 1)[None].float()


@needs_facts
@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.slow) if v == "r101_TT" else v for v in VARIANTS])
def test_published_checkpoints_load_and_run(variant: str, tmp_path: Path) -> None:
    path = tmp_path / f"gfm_{variant.lower()}.pth"
    torch.save(published(variant), path)
    model = load_checkpoint(path)
    assert f"{model.network}_{model.rosta}" == variant
    assert not model.training
    with torch.no_grad():
        output = model(picture())
    assert output.glance.shape == (1, 2 if model.rosta in ("FT", "BT") else 3, 96, 128)
    assert output.focus.shape == output.alpha.shape == (1, 1, 96, 128)
    assert output.alpha.std() > 1e-3  # the weights arrived: a matte of one grey would say nothing
    with np.load(FACTS / "parity_r34_TT_d121_TT.npz") as truth:
        for name in ("glance", "focus", "alpha"):
            if f"{variant}.{name}" in truth:
                difference = getattr(output, name)[0].numpy().squeeze() - truth[f"{variant}.{name}"]
                assert np.abs(difference).max() < 1e-3, name
    if variant in ("r34_TT", "d121_TT"):
        assert f"{variant}.alpha" in np.load(FACTS / "parity_r34_TT_d121_TT.npz")


@pytest.fixture(scope="module")
def r34(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not KEYS.exists():
        pytest.skip("the published checkpoints' keys are not here; set STREAMMAT_GFM")
    path = tmp_path_factory.mktemp("published") / "model.pth"
    torch.save(published("r34_FT"), path)
    return path


def test_ft_and_bt_are_told_apart_by_name_or_option(r34: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    named = tmp_path / "gfm_r34_bt.pth"
    named.hardlink_to(r34)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(named).rosta == "BT"
        assert load_checkpoint(str(r34), rosta="BT").rosta == "BT"
        assert not caplog.records
        assert load_checkpoint(r34).rosta == "FT"
    assert "fit FT and BT alike" in caplog.text
    with pytest.raises(EngineError, match="not TT"):
        load_checkpoint(r34, rosta="TT")


def test_what_does_not_fit_is_named(r34: Path, tmp_path: Path) -> None:
    state = torch.load(r34, weights_only=True)

    def refused(change: dict[str, torch.Tensor | None], message: str) -> None:
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        torch.save(changed, tmp_path / "wrong_ft.pth")
        with pytest.raises(EngineError, match=message):
            load_checkpoint(tmp_path / "wrong_ft.pth")

    refused({"decoder2_g.3.weight": torch.zeros(1, 2, 3, 3)}, r"'decoder2_g.3.weight' has shape \(1, 2, 3, 3\); expected \(128, 128")
    refused({"bridge_block.4.bias": None}, "'bridge_block.4.bias' is missing")
    refused({"decoder9_g.0.weight": torch.zeros(1)}, "'decoder9_g.0.weight' is not known")
    refused({"decoder0_g.6.weight": torch.zeros(5, 64, 3, 3)}, "of 2 or 3 classes")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(EngineError, match="No such file"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(EngineError, match="cannot read weights"):
        load_checkpoint(path)
    path.write_bytes(b"not weights at all" * 100)
    with pytest.raises(EngineError, match="cannot read weights"):
        load_checkpoint(path)
    torch.save({"a": 1}, path)
    with pytest.raises(EngineError, match="expected a state dict"):
        load_checkpoint(path)
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(EngineError, match="first key is 'conv.weight'"):
        load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(EngineError, match="cannot read weights"):
        load_checkpoint(path)


def test_no_code_runs_from_a_file(tmp_path: Path) -> None:
    torch.save(GFM("lite"), tmp_path / "model.pth")  # a whole pickled module
    with pytest.raises(EngineError, match="cannot read weights"):
        load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(("rosta", "ablation"), [("TT", None), ("RIM", Ablation(bridge=False)), ("BT", Ablation(single_decoder=True))])
def test_round_trip(tmp_path: Path, rosta: str, ablation: Ablation | None) -> None:
    torch.manual_seed(0)
    network, path = GFM("lite", rosta, ablation).eval(), tmp_path / "lite.safetensors"
    save_network(network, path)
    image = torch.rand(1, 3, 64, 64) * 255
    again = load_checkpoint(path)
    assert (again.network, again.rosta, again.ablation) == (network.network, network.rosta, network.ablation)
    with torch.no_grad():
        torch.testing.assert_close(again(image).alpha, network(image).alpha, atol=0, rtol=0)
    save_network(network, path, half=True)
    with torch.no_grad():
        torch.testing.assert_close(load_network(path)(image).alpha, network(image).alpha, atol=5e-3, rtol=0)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineError, match="cannot read weights"):
        load_network(path)


def test_half_precision_that_would_lose_values_is_refused(tmp_path: Path) -> None:
    network = GFM("lite")
    with torch.no_grad():
        network.encoder.stem[1].running_var.fill_(1e6)
    with pytest.raises(EngineError, match=r"encoder.stem.1.running_var does not fit half"):
        save_network(network, tmp_path / "x.safetensors", half=True)


@pytest.mark.parametrize("name", ["r34", "r34_2b", "d121"])
def test_imagenet_weights_in_torchvisions_layout(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    donor = {"r34": "r34", "r34_2b": "r34", "d121": "d121"}[name]
    state = {k: v for k, v in GFM(donor).encoder.state_dict().items() if not k.startswith("reduce.")}
    head = "classifier" if name == "d121" else "fc"
    state |= {f"{head}.weight": torch.zeros(1000, 8), f"{head}.bias": torch.zeros(1000)}
    if name == "d121":  # the spelling of torchvision's released file
        state = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in state.items()}
        state["features.norm5.weight"] = torch.zeros(1024)
    torch.save(state, tmp_path / "imagenet.pth")
    model = GFM(name)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    load_imagenet(model, tmp_path / "imagenet.pth")
    after = model.encoder.state_dict()
    kept = {k.split(".")[0] for k in after if k.endswith("weight") and after[k].ndim == 4 and torch.equal(after[k], before[k])}
    assert kept == {"r34": set(), "r34_2b": {"stem", "layer5", "layer6"}, "d121": {"reduce"}}[name]
    torch.save({k: v for k, v in state.items() if "layer2.0.conv1" not in k and "denselayer2.norm.1" not in k}, tmp_path / "x.pth")
    with pytest.raises(EngineError, match="is missing"):
        load_imagenet(model, tmp_path / "x.pth")


def test_imagenet_weights_of_another_encoder(tmp_path: Path) -> None:
    torch.save(GFM("lite").encoder.state_dict(), tmp_path / "x.pth")
    with pytest.raises(EngineError, match=r"'stem.0.weight' is not known"):
        load_imagenet(GFM("r34"), tmp_path / "x.pth")
    with pytest.raises(EngineError, match="cannot use ImageNet weights"):
        load_imagenet(GFM("lite"), tmp_path / "x.pth")
