"""The methods that the paper compares with: forward, gradients, losses, weights of our own and published ones, training, scoring, export."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from synthetic import make_am2k, make_image, make_plain, write

from streammat.engines.base import EngineError
from streammat.engines.network.checkpoint import load_network, save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.data.crops import CropDataset
from streammat.train.data.layouts import FolderImages, open_layout
from streammat.train.data.samples import Key
from streammat.train.errors import RunError
from streammat.train.evaluation.predictors.strategies import WHOLE, predict_method
from streammat.train.losses import adversarial_loss, gradient_loss, ssim_loss
from streammat.train.methods import METHODS
from streammat.train.methods.base import Method, Targets
from streammat.train.methods.layers import max_pool, max_unpool
from streammat.train.methods.published import KEY_MAPPINGS
from streammat.train.methods.weights import continue_from, load_weights, save_weights, start_encoder
from streammat.train.recipes.presets import METHODS as PRESET_METHODS
from streammat.train.recipes.presets import find_preset

SLOW = ("shm", "lf", "hatt", "shmc")
"""Networks of half a second and more for a step of the smallest images."""
WITH_TRIMAP = [name for name, method in METHODS.items() if method.NEEDS_TRIMAP]
EACH = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in METHODS]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def batch_of(method: type[Method], count: int = 2, side: int = 32) -> tuple[torch.Tensor, torch.Tensor | None, Targets]:
    """Images, trimaps where the method needs them, and what is compared with."""
    torch.manual_seed(1)
    image, classes = torch.rand(count, 3, side, side) * 255.0, torch.randint(0, 3, (count, side, side))
    alpha = torch.rand(count, 1, side, side)
    targets = Targets(alpha, torch.rand(count, 1, side, side), dict.fromkeys(method.HEADS, classes), image)
    return image, classes[:, None] / 2.0 if method.NEEDS_TRIMAP else None, targets


def test_they_are_what_presets_name() -> None:
    assert list(METHODS) == list(PRESET_METHODS)
    for name in METHODS:
        preset = find_preset(f"am2k-comp-rssn-{name}")
        assert (preset.config.network, preset.epochs) == (name, 100)
        assert preset.config.pixels_per_batch == PRESET_METHODS[name] * 320 * 320
    with pytest.raises(RunError, match="preset am2k-ori-shm has network shm and no RoSTa; choose another preset"):
        find_preset("am2k-ori-shm", "lf")
    with pytest.raises(RunError, match="method dim has no RoSTa; leave --rosta out"):
        find_preset("folder", "dim", "TT")


@pytest.mark.parametrize("name", [*SLOW, "dim"])
def test_shapes(name: str) -> None:
    method = METHODS[name]
    with torch.device("meta"):
        model = method().eval()
        image, trimap = torch.empty(1, 3, 96, 64), torch.empty(1, 1, 96, 64) if method.NEEDS_TRIMAP else None
        assert model(image, trimap).alpha.shape == (1, 1, 96, 64)
        assert method.TITLE.split(",")[1]
        for wrong, given, message in (
            (torch.empty(1, 3, 90, 64), trimap, "H and W multiples of 32"),
            (image, None if method.NEEDS_TRIMAP else torch.empty(1, 1, 96, 64), "trimap"),
            (image, torch.empty(1, 1, 32, 32) if method.NEEDS_TRIMAP else image, "trimap"),
        ):
            with pytest.raises(ValueError, match=message):
                model.predict(wrong, given)


@pytest.mark.parametrize("name", EACH)
def test_forward_gradients_and_weights(name: str, tmp_path: Path) -> None:
    method = METHODS[name]
    torch.manual_seed(0)
    model = method()
    image, trimap, targets = batch_of(method)
    terms = model.losses(model.predict(image, trimap), targets)
    assert tuple(terms) == method.TERMS
    torch.stack(list(terms.values())).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    model.eval()
    alpha = model(image, trimap).alpha
    assert float(alpha.detach().min()) >= 0.0
    assert float(alpha.detach().max()) <= 1.0
    if trimap is not None:  # certain pixels have their trimap's value
        assert torch.equal(alpha[trimap != 0.5], trimap[trimap != 0.5])
    path = tmp_path / f"{name}.safetensors"
    save_weights(model, path)
    again = load_weights(path)
    assert torch.equal(again(image, trimap).alpha, alpha)
    with pytest.raises(EngineError, match=f'they are of method "{name}", which `python -m train export` turns into an .onnx'):
        load_network(path)


# Layers and losses.


def test_pooling_is_torchs_also_among_equals() -> None:
    torch.manual_seed(0)
    x = torch.relu(torch.randn(2, 3, 8, 12).round())  # many equal values
    pooled, places = max_pool(x)
    expected, indices = torch.nn.functional.max_pool2d(x, 2, 2, return_indices=True)
    assert torch.equal(pooled, expected)
    y = torch.randn_like(pooled)
    assert torch.equal(max_unpool(y, places), torch.nn.functional.max_unpool2d(y, indices, 2, 2))


def test_losses_of_other_methods() -> None:
    torch.manual_seed(0)
    alpha = torch.rand(2, 1, 24, 24)
    assert float(ssim_loss(alpha, alpha)) == pytest.approx(0.0, abs=1e-5)
    assert float(ssim_loss(1 - alpha, alpha)) > 1.0  # negative structure
    shifted = alpha * 0.5 + 0.3
    steps = torch.ones_like(alpha)
    assert float(gradient_loss(alpha + 0.2, alpha, steps)) == pytest.approx(0.0, abs=1e-6)
    across, down = (0.5 * (alpha.diff(dim=d)).abs().sum() for d in (3, 2))
    assert float(gradient_loss(shifted, alpha, steps)) == pytest.approx(float((across + down) / alpha.numel()), rel=1e-4)
    for loss in (ssim_loss, lambda p, t: gradient_loss(p, t, torch.ones_like(t))):
        small = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda p, loss=loss: loss(p, torch.full_like(p, 0.3)), small)


def test_network_and_critic_pull_against_each_other() -> None:
    torch.manual_seed(0)

    class Judge(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, _image: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
            return self.weight * alpha

    judge, image = Judge(), torch.zeros(1, 3, 4, 4)
    predicted = torch.full((1, 1, 4, 4), 0.4, requires_grad=True)
    loss = adversarial_loss(judge, image, predicted, torch.ones(1, 1, 4, 4))
    loss.backward()
    # d/dx softplus(w x): the critic's own gradient descends its error, the network's climbs it.
    slope = torch.sigmoid(torch.tensor(0.4))
    assert float(predicted.grad.sum()) == pytest.approx(-0.5 * float(slope), rel=1e-5)
    assert float(judge.weight.grad) == pytest.approx(0.5 * (0.4 * float(slope) - float(torch.sigmoid(torch.tensor(-1.0)))), rel=1e-5)


# Published weights.

PUBLISHED = {
    "dim": (42, "9a07f77a1d308843f02965e8cbef1b0d37b54edc6a28f5fbce5bd0f7b92f5544"),
    "indexnet": (461, "9e5e429422f34b26c298bf433320f869d604f5f7ece58fa6ac996a4b872ff48d"),
    "gca": (506, "537ee81ff985ed09f72d8b51cd848f7b6edf28c32c888b03d0a4aaadf2da8c69"),
}
"""Number and digest of the lines ``key (shape)``, sorted, of the state dicts that the published programs write (DIM: its first stage)."""


@pytest.mark.parametrize("layout", KEY_MAPPINGS, ids=lambda layout: layout.method.NAME)
def test_published_layouts_load(layout, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = layout.method()
    name = layout.method.NAME
    tensors = {layout.theirs(key): value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    if name == "dim":
        tensors = {key: value for key, value in tensors.items() if not key.startswith("refine")}
    lines = sorted(f"{key} {tuple(value.shape)}" for key, value in tensors.items())
    assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()) == PUBLISHED[name]
    path = tmp_path / "best_model.pth"
    torch.save({"epoch": torch.tensor(3), "state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path)
    loaded = load_weights(path)
    assert isinstance(loaded, layout.method)
    for key, value in model.state_dict().items():
        if not key.startswith("refinement.convs."):  # not of the first stage; its head adds nothing until it is trained
            assert torch.equal(loaded.state_dict()[key], value), key
    first = next(iter(tensors))
    torch.save({key: value for key, value in tensors.items() if key != first}, path)
    with pytest.raises(EngineError, match="do not fit: key .* is missing"):
        load_weights(path)
    with pytest.raises(EngineError, match="which has no RoSTa"):
        torch.save(tensors, path)
        load_weights(path, "TT")


def test_imagenet_weights_of_an_encoder_with_a_trimap(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = METHODS["dim"]()
    state = {key: torch.randn_like(value) for key, value in model.encoder.state_dict().items()}
    state["features.0.weight"] = state["features.0.weight"][:, :3].clone()
    torch.save(state | {"classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg16.pth")
    start_encoder(model, tmp_path / "vgg16.pth")
    assert torch.equal(model.encoder.features["28"].weight, state["features.28.weight"])
    assert torch.equal(model.encoder.features["0"].weight[:, :3], state["features.0.weight"])
    assert not model.encoder.features["0"].weight[:, 3:].any()


# Training and scoring.


def test_trimaps_are_dilated_at_random(tmp_path: Path) -> None:
    data = make_am2k(tmp_path / "data")
    entries = FolderImages(open_layout(data, "train"))
    samples, plain = CropDataset(entries, ("trimap",), 1, 3), CropDataset(entries, ("TT",), 1, 3)
    unknown = []
    for index in range(6):
        key = Key(index, 64, 64)
        sample = samples[key]
        np.testing.assert_array_equal(sample.rgb, plain[key].rgb)  # the same crop as without
        assert set(np.unique(sample.classes["trimap"])) <= {0, 1, 2}
        np.testing.assert_array_equal(samples[key].classes["trimap"], sample.classes["trimap"])
        soft = (sample.alpha > 8) & (sample.alpha < 247)
        assert (sample.classes["trimap"][soft] == 1).mean() > 0.95
        unknown.append(float((sample.classes["trimap"] == 1).mean() / max(1e-6, (plain[key].classes["TT"] == 1).mean())))
    assert max(unknown) > 1.2 * min(unknown)


def test_train_score_and_export_by_the_commands(tmp_path: Path) -> None:
    data, out = make_plain(tmp_path / "data", 8), tmp_path / "run"
    options = ("--threads", 1, "--batch", 8, "--crop", 32, "--workers", 0, "--rate", "3e-3", "--seed", 1, "--precision", "fp32")
    result = run("train", "--preset", "folder", "--network", "indexnet", "--data", data, "--out", out, "--steps", 16, "--log-every", 4, "--samples-every", 16, *options)
    assert result.exit_code == 0, result.output
    with (out / "curve.csv").open() as file:
        losses = [float(row["total"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]
    assert (out / "samples/step_000016.png").exists()
    weights = out / "indexnet.safetensors"
    am2k = make_am2k(tmp_path / "am2k", 2)
    scored = run("evaluate", weights, "--data", am2k, "--row", "am2k-ori-indexnet", "--out", tmp_path / "scores")
    assert scored.exit_code == 0, scored.output
    assert "| IndexNet, AM-2k, ORI, Table 2 | 7.40 |" in scored.output
    assert "| ours - paper |" in scored.output
    with (tmp_path / "scores/pictures.csv").open() as file:
        for row in csv.DictReader(file):  # errors are those of the transition area
            assert float(row["SAD-FG"]) == float(row["SAD-BG"]) == 0.0
            assert float(row["SAD"]) == pytest.approx(float(row["SAD-TRAN"]), rel=1e-4)
    exported = run("export", weights, "--out", tmp_path / "onnx")
    assert exported.exit_code == 0, exported.output
    # GFM's trimap for the exported file, and for the weights themselves.
    torch.manual_seed(0)
    save_network(GFM("lite", "TT"), tmp_path / "gfm.safetensors")
    rows = []
    for method in (tmp_path / "onnx/indexnet.onnx", weights):
        done = run("evaluate", tmp_path / "gfm.safetensors", "--data", am2k, "--trimap-from-glance", "--matter", method, "--limit", 1)
        assert done.exit_code == 0, done.output
        rows.append(next(line for line in done.output.splitlines() if line.startswith("| ours")))
    assert len(rows) == 2


@pytest.mark.slow  # files of 100 to 430 MB; IndexNet's, of 24, is written above
@pytest.mark.parametrize("name", [name for name in METHODS if name != "indexnet"])
def test_exported_files_agree_and_run(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / f"{name}.safetensors"
    save_weights(METHODS[name]().eval(), weights)
    result = run("export", weights, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "alpha differs from torch by" in result.output
    if METHODS[name].NEEDS_TRIMAP:
        return
    from streammat.cli import main as streammat

    write(tmp_path / "in.png", make_image(1)["image"])
    done = CliRunner().invoke(streammat, ["image", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--model", str(tmp_path / f"{name}.onnx")])
    assert done.exit_code == 0, done.output
    assert cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED).shape == (120, 100, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_eight_images_are_learnt(name: str, tmp_path: Path) -> None:
    data, out = make_plain(tmp_path / "data", 8), tmp_path / "run"
    steps = {"lf": 20, "hatt": 20, "dim": 80}.get(name, 40)  # two take long for a step; one has no norms and learns slowly
    options = ("--threads", 1, "--steps", steps, "--batch", 8, "--crop", 32, "--workers", 0, "--rate", "3e-4", "--log-every", 5, "--seed", 1, "--precision", "fp32")
    result = run("train", "--preset", "folder", "--network", name, "--data", data, "--out", out, *options)
    assert result.exit_code == 0, result.output
    with (out / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    last = "ssim" if name == "hatt" else METHODS[name].TERMS[0] if name in WITH_TRIMAP else "total"
    assert np.mean([float(row[last]) for row in rows[-2:]]) < 0.8 * float(rows[0][last])


# What cannot be meant.


def test_bad_trimaps_and_weights_are_one_line(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, gfm = tmp_path / "indexnet.safetensors", tmp_path / "gfm.safetensors"
    save_weights(METHODS["indexnet"]().eval(), weights)
    save_network(GFM("lite", "TT"), gfm)
    am2k = make_am2k(tmp_path / "am2k", 2)
    trimap = am2k / "validation/trimap/m_00000001.png"
    kept = trimap.read_bytes()

    def refused(*arguments: object) -> str:
        result = run(*arguments)
        assert result.exit_code != 0
        return result.output.strip().splitlines()[-1]

    write(trimap, np.full((120, 100), 77, np.uint8))
    assert "m_00000001.png has values [77]; expected 0, 128 and 255 alone" in refused("evaluate", weights, "--data", am2k)
    write(trimap, np.zeros((50, 100), np.uint8))
    assert "trimap/m_00000001.png is 100x50 pixels but" in refused("evaluate", weights, "--data", am2k)
    trimap.unlink()
    assert "trimap" in refused("evaluate", weights, "--data", am2k)
    trimap.write_bytes(kept)
    plain = make_plain(tmp_path / "plain", 2)
    line = refused("evaluate", weights, "--data", plain)
    assert "000.jpg has no trimap (2 of 2 lack one), and the method needs one" in line
    assert "--made-trimaps" in line
    made = run("evaluate", weights, "--data", plain, "--made-trimaps", "--limit", 1)
    assert made.exit_code == 0, made.output
    assert "method indexnet has one pass; expected --strategy single or one ratio, not hybrid 1/3, 1/2" in refused(
        "evaluate", weights, "--data", am2k, "--strategy", "hybrid"
    )
    assert "gfm.safetensors are of lite, which takes no trimap" in refused(
        "evaluate", gfm, "--data", am2k, "--trimap-from-glance", "--matter", gfm
    )
    assert "--ensemble and --trimap-from-glance are for networks of GFM" in refused("evaluate", weights, "--data", am2k, "--ensemble", gfm)
    assert "indexnet.safetensors is of method indexnet; an ensemble is made of networks of GFM" in refused(
        "evaluate", gfm, "--data", am2k, "--ensemble", weights
    )
    started = ("train", "--preset", "folder", "--data", plain, "--out", tmp_path / "out", "--steps", 1)
    assert "gfm.safetensors holds lite TT" in refused(*started, "--network", "indexnet", "--start", gfm)
    with pytest.raises(RunError, match="gfm.safetensors holds lite TT .*; this run trains method indexnet"):
        continue_from(METHODS["indexnet"](), gfm)
    with pytest.raises(RunError, match="indexnet.safetensors holds method indexnet; this run trains lite TT"):
        continue_from(GFM("lite", "TT"), weights)
    model = METHODS["indexnet"]().eval()
    with pytest.raises(ValueError, match="expected one height and width"):
        predict_method(model, np.zeros((32, 32, 3), np.uint8), WHOLE.glance_ratio, np.zeros((32, 30), np.uint8))
    with pytest.raises(ValueError, match="needs a trimap beside the image"):
        predict_method(model, np.zeros((32, 32, 3), np.uint8), WHOLE.glance_ratio)
