"""``streammat model export``: files that other programs run, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from running import QUICK, REPOSITORY, Run, call, names, python, run, spawn, wait_for

from streammat.engines.export.parity import draw
from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.engines.shipped import card
from streammat.matting.matting import network_sizes

torch.set_num_threads(2)
pytestmark = pytest.mark.usefixtures("library")


def export(*arguments: str | Path) -> Run:
    return call("model", "export", *arguments)


def image(height: int, width: int) -> np.ndarray:
    return draw(height, width, np.random.default_rng(3))


def outputs(path: Path, given: np.ndarray) -> dict[str, np.ndarray]:
    """As any user of ONNX Runtime gets them."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = [node.name for node in session.get_outputs()]
    return dict(zip(found, session.run(None, {session.get_inputs()[0].name: given}), strict=True))


def said(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def free(folder: Path) -> Path:
    path = folder / "free.onnx"
    done = export("lite", path, "--batch", "free", "--json").ok().report
    assert done["output"] == str(path)
    assert done["bytes"] == path.stat().st_size
    assert done["difference_from_torch"]["alpha"]["mean"] < 1e-5
    assert done["metadata"] == said(path)
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """Everything that can be asked for: a size derived from the frame's, two images, floats, half precision."""
    path = folder / "whole.onnx"
    told = export(
        "lite", path, "--frame", "640x360", "--quality", "fast", "--batch", "2", "--normalised-input", "--precision", "fp16"
    ).ok()
    assert re.search(r"wrote .*whole.onnx, \d.\d MB: alpha differs .* at most, .* on average", told.err)
    return path


def test_free_size_in_other_runtimes(free: Path) -> None:
    onnx.checker.check_model(str(free), full_check=True)
    graph = onnx.load(free)
    assert graph.opset_import[0].version == 17
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(free)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count, height, width in ((1, 96, 160), (3, 192, 64)):
        rgb = np.repeat(image(height, width), count, axis=0)
        alpha = outputs(free, rgb)["alpha"]
        assert alpha.shape == (count, height // 2, width // 2)
        assert alpha.max() > 0.9
        np.testing.assert_allclose(compiled(rgb)[0], alpha, atol=1e-3)


def test_the_metadata_says_what_a_user_has_to_know(free: Path, whole: Path) -> None:
    told, described = said(free), card()
    assert told["model"] == "lite"
    assert told["version"] == described["version"]
    assert told["licence"] == described["licence"]
    assert told["weights_sha256"] == described["files"]["weights"]["sha256"]
    assert told["created_by"].startswith("streammat")
    assert (told["input_colour"], told["input_layout"], told["input_range"]) == ("RGB", "NHWC", "0..255")
    assert "uint8 (N, H, W, 3)" in told["input"]
    assert "(N, H/2, W/2)" in told["output_alpha"]
    assert "5/13" in told["input_size_rule"]
    more = said(whole)
    assert (more["input_layout"], more["input_range"], more["precision"]) == ("NCHW", "0..1", "fp16")
    assert "float32 (2, 3, 160, 288)" in more["input"]
    assert "float32 (2, 1, 80, 144)" in more["output_alpha"]


def test_everything_at_once_agrees_with_the_plain_file(free: Path, whole: Path) -> None:
    graph = onnx.load(whole)
    assert whole.stat().st_size < 0.6 * free.stat().st_size
    weights = [numpy_helper.to_array(one) for one in graph.graph.initializer if len(one.dims) == 4 and one.dims[0] > 1]  # not the mean colour
    assert weights
    assert all(one.dtype == np.float16 for one in weights)
    assert network_sizes(360, 640, "fast") == ((160, 288),)
    rgb = np.concatenate([image(160, 288), image(160, 288)[:, :, ::-1]])
    found = outputs(whole, np.ascontiguousarray(rgb.transpose(0, 3, 1, 2), np.float32) / 255)
    assert {name: one.shape for name, one in found.items()} == {"alpha": (2, 1, 80, 144)}
    assert found["alpha"].dtype == np.float32
    plain = outputs(free, rgb)["alpha"]
    assert plain.std() > 0.2
    assert np.abs(found["alpha"][:, 0] - plain).mean() < 2e-3


def test_int8_is_the_shipped_file_with_a_size(folder: Path, free: Path) -> None:
    path = folder / "int8.onnx"
    export("lite", path, "--precision", "int8", "--size", "160x96").ok()
    graph = onnx.load(path).graph
    assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim] == [1, 96, 160, 3]
    assert [side.dim_value for side in graph.output[0].type.tensor_type.shape.dim] == [1, 48, 80]
    assert any(node.op_type == "QuantizeLinear" for node in graph.node)
    assert said(path)["precision"] == "int8"
    assert path.stat().st_size < 4e6
    assert np.abs(outputs(path, image(96, 160))["alpha"] - outputs(free, image(96, 160))["alpha"]).mean() < 0.03
    still = folder / "still.png"
    cv2.imwrite(str(still), image(96, 160)[0])
    call("image", still, folder / "out.png", "-y", *QUICK, "--model", path).refused(
        1, "takes 1 of 160x96 at once and nothing else", "is asked for 1 of", "without --size"
    )


def test_the_program_runs_itself_on_what_it_exported(free: Path, folder: Path) -> None:
    still = folder / "still.png"
    cv2.imwrite(str(still), image(192, 256)[0, :, :, ::-1])
    for model in (free, "lite"):
        call("image", still, folder / f"{Path(model).stem}.png", "-y", *QUICK, "--precision", "fp32", "--model", model).ok()
    mine, shipped = (cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED)[:, :, 3] for name in ("free", "lite"))
    assert mine.max() == 255
    assert np.abs(mine.astype(int) - shipped).max() <= 1


def test_the_example_needs_nothing_of_ours(free: Path, tmp_path: Path) -> None:
    """Word for word, in a process that cannot import this project, on a frame whose alpha is known."""
    for name, target in (("portrait.mp4", "in.png"), ("portrait_alpha.mkv", "truth.png")):
        with av.open(str(REPOSITORY / "examples" / name)) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
        cv2.imwrite(str(tmp_path / target), frame)
    shutil.copy(REPOSITORY / "examples" / "run_onnx.py", tmp_path)
    text = (tmp_path / "run_onnx.py").read_text()
    assert not re.search(r"^\s*(import|from) (streammat|engines|av|torch)\b", text, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-I", "run_onnx.py", str(free), "in.png", "out.png"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(tmp_path / "truth.png"), cv2.IMREAD_GRAYSCALE) > 127
    assert result.shape == (540, 960, 4)
    found = result[:, :, 3] > 127
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_weights_of_one_s_own(library: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    save_network(GFM("lite", "RIM").eval(), tmp_path / "mine.safetensors")
    target = tmp_path / "mine.onnx"
    export(tmp_path / "mine.safetensors", target, "--size", "96x64").ok()
    (name,) = names(library)  # imported, as by --model
    told = said(target)
    assert told["model"] == name
    assert told["source"] == "mine.safetensors"
    assert "as that of mine.safetensors" in told["licence"]
    assert "RoSTa RIM" in told["network"]
    assert outputs(target, image(64, 96))["alpha"].shape == (1, 32, 48)
    export(name, tmp_path / "x.onnx", "--precision", "int8").refused(1, "has no int8 file", "dozens of images", "--precision fp16")
    shutil.move(library / name / f"{name}.safetensors", tmp_path / "kept")
    export(name, tmp_path / "x.onnx").refused(1, "cannot read model file", "import it again")
    (library / name / f"{name}.safetensors").write_bytes((tmp_path / "kept").read_bytes()[:-5])
    export(name, tmp_path / "x.onnx").refused(1, "is damaged", "import it again")
    described = json.loads((library / name / f"{name}.json").read_text())
    del described["files"]["weights"]
    (library / name / f"{name}.json").write_text(json.dumps(described))
    export(name, tmp_path / "x.onnx").refused(1, "has no weights beside its onnx file", "import it again")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("lite", "x.bin"), 2, ("ends in .onnx",)),
        (("lite", "x.onnx", "--size", "100x96"), 2, ("--size 100x96", "multiples of 32", "--frame")),
        (("lite", "x.onnx", "--size", "0x96"), 2, ("--size 0x96", "1920x1080")),
        (("lite", "x.onnx", "--size", "big"), 2, ("--size big", "1920x1080")),
        (("lite", "x.onnx", "--size", "96x96", "--frame", "640x360"), 2, ("expected one of them",)),
        (("lite", "x.onnx", "--batch", "0"), 2, ("--batch 0",)),
        (("lite", "x.onnx", "--batch", "-1"), 2, ("--batch -1",)),
        (("lite", "x.onnx", "--batch", "many"), 2, ("--batch many", "free")),
        (("lite", "x.pt2"), 2, ("ends in .onnx",)),
        (("lite", "x.onnx", "--precision", "int8", "--normalised-input"), 2, ("takes uint8",)),
        (("nosuch", "x.onnx"), 2, ("no model is named 'nosuch'", "known: lite")),
        (("y.onnx", "x.onnx"), 2, ("is an ONNX file already",)),
        (("no.pth", "x.onnx"), 1, ("no such file",)),
        (("lite", "none/x.onnx"), 1, ("there is no folder none",)),
        (("lite", "."), 2, ("ends in",)),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], code: int, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export(*arguments).refused(code, *words)
    assert names(tmp_path) == []


def test_nothing_is_replaced_unasked_and_nothing_appears_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streammat.engines.export import interchange

    target = tmp_path / "x.onnx"
    target.write_text("mine")
    export("lite", target).refused(2, "is there already", "-y")
    monkeypatch.setitem(interchange.BOUNDS, "fp32", (0.0, 0.0))  # type: ignore[index]
    export("lite", target, "-y").refused(1, "disagrees with its weights and is not kept", "alpha differs by", "at most 0e+00")
    assert target.read_text() == "mine"
    assert names(tmp_path) == ["x.onnx"]
    monkeypatch.undo()
    monkeypatch.setenv("STREAMMAT_MODELS", str(tmp_path / "models"))
    assert export("lite", target, "-y", "--quiet").ok().err == ""
    assert target.stat().st_size > 1e6
    assert names(tmp_path) == ["x.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes, signals")
def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands in for it: writing breaks off in the middle."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    done = run("model", "export", "lite", tmp_path / "x.onnx", "--size", "96x64", seconds=200, preexec_fn=limit)
    done.refused(1, "cannot write", "x.onnx")
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with spawn("model", "export", "lite", tmp_path / "x.onnx") as process:
        wait_for(lambda: bool(names(tmp_path)), 90)
        (name,) = names(tmp_path)
        assert name.endswith(".partial.onnx")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert names(tmp_path) in ([], ["x.onnx"])  # heard late, by native code, when the file was whole


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    told = python(
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'safetensors')))\n"  # as if they were not installed
        "from streammat.cli import main\n"
        f"sys.argv = ['streammat', 'model', 'export', 'lite', {str(tmp_path / 'x.onnx')!r}]\n"
        "sys.stderr = sys.stdout\n"
        "try: main()\n"
        "except SystemExit as end: print('CODE', end.code)\n"
    ).splitlines()
    assert "exporting models needs " in told[0]
    assert "pip install 'streammat[train]'" in told[0]
    assert told[1:] == ["CODE 1"]
