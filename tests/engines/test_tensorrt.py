"""TensorRT as far as it goes without a GPU: what is exported, what is refused, what a stand-in runs; and on a GPU the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from gpu import cuda_or_reason, skip_or_fail
from torch import nn

from streammat.cli import main
from streammat.engines.backends.cuda import load_weights
from streammat.engines.base import EngineError, EngineUnavailableError
from streammat.engines.export.parity import Parity
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM, NETWORKS
from streammat.engines.registry import probe
from streammat.engines.shipped import shipped
from streammat.engines.tensorrt import build as tensorrt_build
from streammat.engines.tensorrt.build import (
    LARGEST_MEAN,
    PHOTOGRAPHS_MEAN,
    PHOTOGRAPHS_OFF,
    check_parity,
    check_request,
    estimate,
)
from streammat.engines.tensorrt.cache import BuildOptions, EngineCache, EngineKey
from streammat.engines.tensorrt.convert import export_half
from streammat.engines.tensorrt.engine import TensorRtEngine, build_line, weights_digest
from streammat.engines.tensorrt.types import HALF, count_layers
from streammat.errors import InputError
from streammat.models.photographs import photographs

SIZE = (64, 96)
HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "portrait.mp4"


def rehearse(*arguments: str, cache: Path | None = None) -> str:
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | ({"STREAMMAT_CACHE": str(cache)} if cache else {})
    command = [sys.executable, str(HERE / "rehearse_tensorrt.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_running_a_plan(tmp_path: Path) -> None:
    """Found by its key, run with padding and cutting, refused when foreign, damaged or of another kind: `rehearse_tensorrt.run`."""
    rehearse("run", str(tmp_path / "engines"), cache=tmp_path)


def test_building(tmp_path: Path) -> None:
    """Built, compared, stored, found again, repaired, interrupted, refused: `rehearse_tensorrt.build`."""
    rehearse("build", str(tmp_path / "engines"))


@pytest.mark.parametrize(("network", "rosta"), [("lite", "TT"), ("lite", "RIM"), ("r34", "TT")])
def test_what_is_exported_is_half_inside(network: str, rosta: str) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(export_half(GFM(network, rosta), SIZE, 2, "cpu"))).graph
    kinds = {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.output, *graph.value_info)}
    inner = [node for node in graph.node if node.op_type == "Conv" and "/rim/" not in node.name]
    assert len(inner) > 70
    assert {kinds[node.output[0]] for node in inner} == {onnx.TensorProto.FLOAT16}
    assert all(HALF.search(node.name) for node in inner)  # by which the definition is checked before the build
    # TensorRT takes uint8 at its border alone, so the conversion has to come first.
    (first,) = [node for node in graph.node if "rgb" in node.input]
    assert (first.op_type, kinds[first.output[0]]) == ("Cast", onnx.TensorProto.FLOAT)
    (output,) = graph.output
    stride = 2 if network == "lite" else 1
    assert kinds[output.name] == onnx.TensorProto.FLOAT
    assert [side.dim_value for side in output.type.tensor_type.shape.dim] == [2, SIZE[0] // stride, SIZE[1] // stride]


def test_half_precision_holds_what_images_make_of_the_paper_s_encoders() -> None:
    """Their first convolution sees 0..255: the variance behind it is more than a half holds, and has to be folded."""
    torch.manual_seed(3)
    model = GFM("r34", "TT").eval()
    rgb = torch.from_numpy(portrait()[:, -128:, 64:192]).clone()  # CPUs are slow with halves
    with torch.no_grad():
        seen = model.encoder.conv1(rgb.permute(0, 3, 1, 2).float() * 40)  # as large as a trained one may be
        model.encoder.conv1.weight.mul_(40)
        model.encoder.bn1.running_mean.copy_(seen.mean(dim=(0, 2, 3)))
        model.encoder.bn1.running_var.copy_(seen.var(dim=(0, 2, 3)))
    assert float(model.encoder.bn1.running_var.max()) > torch.finfo(torch.float16).max
    exact, half = FoldedMatte(model), FoldedMatte(model, torch.float16)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in half.modules())
    assert np.abs((half(rgb) - exact(rgb)).numpy()).mean() < 2e-3


def test_half_precision_keeps_what_norms_stand_alone() -> None:
    """DenseNet's, before a ReLU: a variance that a half would lose."""
    torch.manual_seed(4)
    model = GFM("d121", "TT").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.fill_(1e-7)
                module.weight.fill_(3e-3)
    exact, half = FoldedMatte(model), FoldedMatte(model, torch.float16)
    left = [module for module in half.modules() if isinstance(module, nn.BatchNorm2d)]
    assert left
    expected = 3e-3 / np.sqrt(1e-7 + 1e-5)
    assert all(np.allclose(norm.weight.float().numpy(), expected, rtol=1e-3) and norm.eps == 0.0 for norm in left)
    rgb = torch.from_numpy(portrait()[:, :64, :96].copy())
    assert torch.isfinite(half(rgb)).all()
    assert np.abs((half(rgb) - exact(rgb)).numpy()).mean() < 2e-2


def portrait() -> np.ndarray:
    """A frame of the example, as the network sees it: uint8 (1, 288, 512, 3)."""
    import av

    with av.open(str(EXAMPLE)) as clip:
        frame = next(clip.decode(video=0))
    return frame.reformat(512, 288, format="rgb24").to_ndarray()[None]


def test_lite_stays_far_from_the_end_of_halves() -> None:
    largest = 0.0

    def watch(_module: nn.Module, _given: object, made: object) -> None:
        nonlocal largest
        if isinstance(made, torch.Tensor):
            largest = max(largest, float(made.abs().max()))

    exact = FoldedMatte(load_weights(shipped()))
    half = FoldedMatte(load_weights(shipped()), torch.float16)
    for module in exact.modules():
        module.register_forward_hook(watch)
    rgb = torch.from_numpy(portrait())
    found, expected = half(rgb), exact(rgb)
    assert float(expected.max()) > 0.99  # there is someone in it
    assert largest < 65504 / 100
    difference = (found - expected).abs()
    assert float(difference.mean()) < 1e-3
    assert float(difference.max()) < 0.03


def test_folding_moves_nothing() -> None:
    torch.manual_seed(5)
    for network in ("r34", "d121"):
        model = GFM(network, "TT").eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 2)
        rgb = torch.from_numpy(portrait()[:, :64, :96].copy())
        expected = model.predict(rgb.permute(0, 3, 1, 2).float()).alpha[:, 0].detach()
        assert float((FoldedMatte(model)(rgb) - expected).abs().mean()) < 1e-5


def described(*layers: tuple[str, str, str]) -> str:
    return json.dumps({"Layers": [
        {"Name": name, "LayerType": "kgen", "Inputs": [{"Format/Datatype": given}], "Outputs": [{"Format/Datatype": made}]} for name, given, made in layers
    ]})


def test_layers_are_counted_by_what_they_compute_in() -> None:
    convolution, rim = "[CONVOLUTION]-[x]-[/model/encoder/stem/stem.0/0/Conv]", "[CONVOLUTION]-[x]-[/model/rim/rim.0/Conv]"
    good = (("cast", "UInt8", "Float"), (convolution, "Row major linear FP16 format", "Half"), (rim, "Float", "Row major linear FP32"), ("x", "Int32", "Bool"))
    layers = count_layers(described(*good), "lite")
    assert (layers.half, layers.single, layers.other) == (1, 2, 1)
    # A convolution that takes the border's float in, as TensorRT may fuse the cast, is half all the same.
    assert count_layers(described((convolution, "Float", "Half")), "lite").half == 1
    with pytest.raises(EngineError, match=r"1 convolutions of the engine of 'lite' compute in float"):
        count_layers(described(*good, (convolution, "Float", "Float")), "lite")
    # Layers that only bring a map into another form bear the names of those that they serve.
    form = {"Name": f"Reformatting CopyNode for Input Tensor 0 to {convolution}", "LayerType": "Reformat", "Inputs": [{"Datatype": "Float"}], "Outputs": []}
    inner = {"Name": convolution, "LayerType": "kgen", "Inputs": [{"Format": "Row major linear", "Datatype": "Half"}], "Outputs": [{"DataType": "Half"}]}
    layers = count_layers(json.dumps({"Layers": [form, inner]}), "lite")
    assert (layers.half, layers.single, layers.other) == (1, 1, 0)
    with pytest.raises(EngineError, match="no layer .* computes in half"):
        count_layers(described(("cast", "UInt8", "Float")), "lite")
    with pytest.raises(EngineError, match="names the layers of 'lite' only"):
        count_layers(json.dumps({"Layers": [convolution]}), "lite")
    for wrong in ("", "{}", "[]"):
        with pytest.raises(EngineError, match="cannot be read"):
            count_layers(wrong, "lite")


def test_parity_is_bounded() -> None:
    check_parity("lite", Parity(1.0, 1e-3, 0.01))
    for wrong in (Parity(1.0, 6e-3, 0.0), Parity(1.0, 0.0, 0.11), Parity(float("nan"), float("nan"), 0.0)):
        with pytest.raises(EngineError, match="disagrees with torch in float32"):
            check_parity("lite", wrong)
    check_parity("lite", Parity(1.0, 1e-3, 0.01), PHOTOGRAPHS_MEAN, PHOTOGRAPHS_OFF)
    for wrong in (Parity(1.0, 3e-3, 0.0), Parity(1.0, 0.0, 0.03)):
        with pytest.raises(EngineError, match="disagrees with torch in float32"):
            check_parity("lite", wrong, PHOTOGRAPHS_MEAN, PHOTOGRAPHS_OFF)


def test_photographs_to_compare_on(tmp_path: Path) -> None:
    """One is always there, with somebody in it; others are the user's."""
    given = photographs((str(HERE.parents[1] / "docs" / "result.jpg"),), (192, 352))
    assert [(image.dtype, image.shape) for image in given] == [(np.uint8, (1, 192, 352, 3))] * 2
    with torch.no_grad():
        alpha = FoldedMatte(load_weights(shipped()))(torch.from_numpy(given[0]))
    assert 0.1 < float(alpha.mean()) < 0.6
    assert float(alpha.max()) > 0.99
    (tmp_path / "x.jpg").write_bytes(b"no image")
    for name, words in (("gone.jpg", "cannot be read"), ("x.jpg", "is not an image that can be decoded")):
        with pytest.raises(InputError, match=words):
            photographs((str(tmp_path / name),), SIZE)


def test_requests_that_cannot_be_meant() -> None:
    for size, batch, options, words in (
        ((90, 160), 1, BuildOptions(), "multiples of 32"),
        (SIZE, 0, BuildOptions(), "batch is 0"),
        (SIZE, 1, BuildOptions(optimization_level=6), "optimization level is 6; expected 0 to 5"),
        (SIZE, 1, BuildOptions(workspace=-1), "workspace is -1"),
    ):
        with pytest.raises(EngineError, match=words):
            check_request(size, batch, options)


def test_the_estimate_is_what_was_measured(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    key = EngineKey("a" * 64, "fp16", SIZE, 1, "GPU", "9.0", "1", "1")
    assert "not known before" in estimate(cache, "GPU")
    cache.store("lite", key, b"x", {"seconds": 61.4})
    assert "took 61 s on this GPU" in estimate(cache, "GPU")
    cache.store("lite", replace(key, batch=2), b"x", {"seconds": 200.0})
    assert "took 61 to 200 s on this GPU" in estimate(cache, "GPU")
    assert "not known before" in estimate(cache, "another")


def test_models_without_weights(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no weights"):
        weights_digest(replace(shipped(), weights=None, sha256={}))
    gone = ModelFiles("gone", tmp_path / "x.onnx", weights=tmp_path / "x.safetensors")
    with pytest.raises(EngineError, match="cannot read model file"):
        weights_digest(gone)
    assert weights_digest(shipped()) == shipped().sha256["weights"]


def test_the_line_that_builds() -> None:
    assert build_line(shipped(), (288, 512), 1) == "streammat engine build --model lite --network-size 512x288"
    assert build_line(replace(shipped(), name="my net"), (288, 512), 4).endswith("--model 'my net' --network-size 512x288 --batch 4")


def without_tensorrt() -> str:
    try:
        probe("tensorrt")
    except EngineUnavailableError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not without_tensorrt(), reason="TensorRT runs here")
def test_where_it_cannot_run_it_says_why(tmp_path: Path) -> None:
    for arguments in (
        ["engine", "build", "--size", "1920x1080"],
        ["video", str(EXAMPLE), str(tmp_path / "out.mp4"), "--engine", "tensorrt"],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
        assert without_tensorrt().split(";")[0] in done.stderr
        assert "pip install" in done.stderr or "--device cpu" in done.stderr or "driver" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "--size is missing; give the size", 2),
        (["--size", "1920"], "expected WIDTHxHEIGHT", 2),
        (["--size", "1920x1080", "--device", "cpu"], "built for NVIDIA GPUs", 2),
        (["--size", "1920x1080", "--device", "tpu"], "unknown device", 1),
        (["--network-size", "500x288"], "multiples of 32", 2),
        (["--size", "1920x1080", "--model", "nobody"], "no model is named", 2),
        (["--size", "1920x1080", "--picture", "none.jpg", "--optimization-level", "9"], "9: expected a whole number, from 0 to 5", 2),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, code: int) -> None:
    done = CliRunner().invoke(main, ["engine", "build", *arguments])
    assert done.exit_code == code
    assert words in done.stderr


def test_listing_and_removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMMAT_CACHE", str(tmp_path))
    assert CliRunner().invoke(main, ["engine", "list"]).stdout == ""
    key = EngineKey("a" * 64, "fp16", (288, 512), 1, "NVIDIA H100", "9.0", "580", "11.0.0")
    entry = EngineCache().store("lite", key, b"x" * 2_000_000, {"parity": {"largest": 0.01, "mean": 0.001, "off": 0.0}})
    line = CliRunner().invoke(main, ["engine", "list"]).stdout
    assert line.startswith(entry.name)
    assert "512x288, batch 1, fp16, 2.0 MB, NVIDIA H100, less than a minute old, alpha differs from float32 by 1.0e-02" in line
    (row,) = json.loads(CliRunner().invoke(main, ["engine", "list", "--json"]).stdout)
    assert row["key"]["size"] == [288, 512]
    (told,) = [row for row in json.loads(CliRunner().invoke(main, ["engines", "--json"]).stdout)["engines"] if row["name"] == "tensorrt"]
    assert [one["name"] for one in told["cached"]] == [entry.name]
    assert entry.name in CliRunner().invoke(main, ["engines"]).stdout
    done = CliRunner().invoke(main, ["engine", "remove", "x"])
    assert (done.exit_code, entry.name in done.stderr) == (1, True)
    assert CliRunner().invoke(main, ["engine", "remove", entry.name]).exit_code == 0
    assert EngineCache().entries() == []


@pytest.fixture(scope="module")
def on_gpu() -> Iterator[None]:
    if reason := cuda_or_reason() or without_tensorrt():
        skip_or_fail(reason)
    yield


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 4])
def test_on_a_gpu(batch: int, on_gpu: None, tmp_path: Path) -> None:
    """Built, found, run beside torch; a second build finds it; an engine of another driver is not run."""
    cache, size = EngineCache(tmp_path), (288, 512)
    entry, fresh = tensorrt_build.build_engine(shipped(), size, batch, images=[portrait()], cache=cache)
    assert fresh
    assert entry.details["layers"]["half"] > entry.details["layers"]["single"]
    assert tensorrt_build.build_engine(shipped(), size, batch, cache=cache) == (entry, False)
    engine = TensorRtEngine(shipped(), precision="fp16", size=size, reason="it was asked for", device="cuda:0", batch=batch, built=cache)
    rgb = np.concatenate([portrait()] * 5)
    rgb[1:] = np.random.default_rng(0).permutation(rgb[1:], axis=1)
    expected = FoldedMatte(load_weights(shipped()))(torch.from_numpy(rgb)).numpy()
    alpha = engine.infer(rgb)
    assert np.abs(alpha - expected).mean() < LARGEST_MEAN
    np.testing.assert_array_equal(engine.infer(rgb), alpha)
    on_device = engine.matte(torch.from_numpy(rgb[:1]).cuda())
    assert on_device.is_cuda
    np.testing.assert_array_equal(on_device.cpu().numpy(), alpha[:1])
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(rgb)
    entry.plan.write_bytes(entry.plan.read_bytes()[:-100])
    with pytest.raises(EngineError, match="damaged"):
        TensorRtEngine(shipped(), precision="fp16", size=size, reason="it was asked for", device="cuda:0", batch=batch, built=cache)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "lite"])
def test_every_network_on_a_gpu(network: str, on_gpu: None, tmp_path: Path) -> None:
    from streammat.engines.network.checkpoint import save_network

    torch.manual_seed(0)
    save_network(GFM(network, "RIM"), tmp_path / "x.safetensors")
    files = ModelFiles(network, tmp_path / "x.onnx", weights=tmp_path / "x.safetensors")
    layers = tensorrt_build.build_plan(files, (256, 448), options=BuildOptions(optimization_level=1)).layers
    assert layers.half > layers.single  # how many there are is TensorRT's business: it joins them
