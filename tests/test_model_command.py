"""``streammat model`` and ``--model``: weights of one's own, imported, kept, run and refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import torch
from media import frames_of, probe, write_clip, write_still
from onnx import TensorProto, helper
from running import QUICK, REPOSITORY, Run, call, names, python, run, spawn, wait_for

from streammat.engines.model_files import read_card
from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.gfm import GFM
from streammat.models.library import find_model, library_folder

SIZE = (128, 96)
pytestmark = pytest.mark.usefixtures("library")


def model(*arguments: str | Path) -> Run:
    return call("model", *arguments)


def matte_with(chosen: str | Path, source: Path, target: Path, *more: str) -> Run:
    return call("image", source, target, *QUICK, "--json", "-y", "--model", chosen, *more)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "my_ft.safetensors"
    save_network(GFM("lite", "FT").eval(), path)
    return path


@pytest.fixture(scope="module")
def kept(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds ``mine``, imported from ``weights``."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMMAT_MODELS", str(folder))
        told = model("import", weights, "--name", "mine").ok().out
    assert "mine: lite FT" in told
    return folder


@pytest.fixture
def mine(kept: Path, library: Path) -> Path:
    return Path(shutil.copytree(kept, library))


@pytest.fixture
def still(tmp_path: Path) -> Path:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64] = 255
    return write_still(tmp_path / "still.png", image)


def brightness_onnx(
    path: Path, *, stride: int = 1, names: tuple[str, str] = ("rgb", "alpha"), dtype: int = TensorProto.UINT8, free: bool = False
) -> Path:
    """A model file whose alpha is the image's mean brightness, at the image's size or, with ``stride``, below."""
    nodes = [
        helper.make_node("Cast", [names[0]], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["grey", "one"], ["channel"]),
        helper.make_node("AveragePool", ["channel"], ["pooled"], kernel_shape=[stride, stride], strides=[stride, stride]),
        helper.make_node("Squeeze", ["pooled", "one"], ["small"]),
        helper.make_node("Div", ["small", "top"], [names[1]]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("top", TensorProto.FLOAT, [], [255.0]),
    ]
    sides = ["n", "a", "b"] if free else ["batch", "height", "width"]
    given = ["n", "c", "d"] if free or stride > 1 else sides
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(names[0], dtype, [*sides, 3])],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, given)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


# --------------------------------------------------------------------------------------------------------------------
# Import, list, show, remove


def test_an_imported_model_is_kept_listed_and_described(mine: Path, weights: Path) -> None:
    assert names(mine) == ["mine"]
    assert names(mine / "mine") == ["mine.fp32.onnx", "mine.json", "mine.safetensors"]
    rows = {row["name"]: row for row in json.loads(model("list", "--json").ok().out)}
    assert list(rows) == ["lite", "mine"]
    assert rows["lite"]["source"] == "shipped"
    size = (mine / "mine" / "mine.fp32.onnx").stat().st_size
    assert rows["mine"] == {
        "name": "mine", "network": "lite", "rosta": "FT", "files": {"fp32": size}, "source": "imported from my_ft.safetensors",
    }
    lines = model("list").ok().out.splitlines()
    assert lines[1].split()[:3] == ["mine", "lite", "FT"]
    card = json.loads(model("show", "mine").ok().out)
    assert card["source"]["file"] == weights.name
    assert card["source"]["bytes"] == weights.stat().st_size
    assert card["output"]["shape"] == ["N", "H/2", "W/2"]
    assert "as that of my_ft.safetensors" in card["licence"]
    assert card["difference_from_torch"]["mean"] < 1e-4
    assert json.loads(model("show", "lite").ok().out)["name"] == "lite"


def test_removing(mine: Path) -> None:
    model("remove", "mine").ok()
    assert names(mine) == []
    model("remove", "mine").refused(2, "no model is named 'mine'", "known: lite")
    model("remove", "lite").refused(2, "comes with the package")
    model("show", "../models").refused(2, "no model is named")


def test_a_name_is_replaced_by_force_only(mine: Path, weights: Path, tmp_path: Path) -> None:
    before = json.loads(model("show", "mine").out)["source"]["sha256"]
    torch.manual_seed(2)
    save_network(GFM("lite").eval(), tmp_path / "other.safetensors")
    model("import", tmp_path / "other.safetensors", "--name", "mine").refused(2, "is there already", "--force")
    assert json.loads(model("show", "mine").out)["source"]["sha256"] == before
    model("import", tmp_path / "other.safetensors", "--name", "mine", "--force").ok()
    assert json.loads(model("show", "mine").out)["rosta"] == "TT"
    assert names(mine) == ["mine"]


def test_what_cannot_be_imported(library: Path, weights: Path, tmp_path: Path) -> None:
    model("import", tmp_path / "no.pth").refused(1, "no such file")
    model("import", tmp_path).refused(2, "expected weights that end in .pth or .safetensors")
    model("import", tmp_path / "x.onnx").refused(2, "needs no import")
    for name in ("lite", "../x", "a/b", ".x", "x.onnx", ""):
        model("import", weights, "--name", name).refused(2, "--name")
    model("import", weights, "--rosta", "TT").refused(1, "are of rosta ft, not tt")
    (tmp_path / "noise.pth").write_bytes(b"no weights" * 99)
    model("import", tmp_path / "noise.pth").refused(1, "cannot read weights")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    model("import", tmp_path / "other.pth").refused(1, "first key is 'conv.weight'")
    assert not library.exists() or names(library) == []


def test_a_folder_that_cannot_be_written(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STREAMMAT_MODELS", str(tmp_path / "file"))
    for command in (("import", weights), ("list",), ("show", "other")):
        model(*command).refused(2, "STREAMMAT_MODELS", "a file; expected a folder")
    monkeypatch.setenv("STREAMMAT_MODELS", str(tmp_path / "file" / "models"))
    model("import", weights).refused(1, "cannot write model folder")
    model("list").refused(1, "cannot be read", "STREAMMAT_MODELS")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_import_leaves_nothing_half(weights: Path, library: Path, number: signal.Signals, code: int) -> None:
    with spawn("model", "import", weights) as process:
        wait_for(lambda: library.exists() and bool(names(library)), 60)
        assert names(library)[0].startswith(".importing-")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    # A signal that arrives within the exporter's native code may be heard only once the model is whole.
    assert all(read_card(library / name / f"{name}.json", "") for name in names(library))


def test_without_the_extra_one_line_says_what_to_install(weights: Path, mine: Path, still: Path, tmp_path: Path) -> None:
    told = python(
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'safetensors')))\n"  # as if they were not installed
        "from streammat.cli import main\n"
        f"sys.argv = ['streammat', 'model', 'import', {str(weights)!r}, '--name', 'x']\n"
        "sys.stderr = sys.stdout\n"
        "try: main()\n"
        "except SystemExit as end: print('CODE', end.code)\n"
        f"sys.argv = ['streammat', 'image', {str(still)!r}, {str(tmp_path / 'o.png')!r}, '--model', 'mine', '--engine', 'onnxruntime']\n"
        "try: main()\n"
        "except SystemExit as end: print('CODE', end.code)\n"
    ).splitlines()
    assert "needs " in told[0]
    assert "pip install 'streammat[train]'" in told[0]
    assert told[1] == "CODE 1"
    assert told[-1] == "CODE 0", told  # what is imported already needs none of it
    assert (tmp_path / "o.png").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_DATA_HOME": "/data"}, "/data/streammat/models"),
        ({"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/streammat/models"),
        ({}, "/home/me/.local/share/streammat/models"),
        ({"STREAMMAT_MODELS": "~/nets"}, "/home/me/nets"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems' places are the library's business")
def test_where_models_lie(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "STREAMMAT_MODELS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert library_folder() == Path(expected)


# --------------------------------------------------------------------------------------------------------------------
# --model


def test_by_name(mine: Path, still: Path, tmp_path: Path) -> None:
    done = matte_with("mine", still, tmp_path / "out.png").ok()
    assert done.report["engine"]["model"] == "mine"
    assert done.report["engine"]["precision"] == "fp32"
    assert "no int8 file" in done.report["engine"]["reason"]
    assert matte_with("lite", still, tmp_path / "out.png").ok().report["engine"]["model"] == "lite"


def test_weights_are_imported_once(library: Path, weights: Path, still: Path, tmp_path: Path) -> None:
    first = matte_with(weights, still, tmp_path / "a.png").ok()
    (name,) = names(library)
    assert name.startswith("my_ft-")
    assert first.err.count("note: importing") == 1
    assert name in first.err
    assert first.report["engine"]["model"] == name
    stamp = (library / name / f"{name}.fp32.onnx").stat().st_mtime_ns
    second = matte_with(weights, still, tmp_path / "b.png").ok()
    assert "importing" not in second.err
    assert names(library) == [name]
    assert (library / name / f"{name}.fp32.onnx").stat().st_mtime_ns == stamp
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    renamed = shutil.copy(weights, tmp_path / "my_bt.safetensors")  # the name is what tells FT from BT in published weights
    assert "importing" in matte_with(renamed, still, tmp_path / "c.png").ok().err
    assert len(names(library)) == 2
    (library / name / f"{name}.json").write_text("{}")
    assert "importing" in matte_with(weights, still, tmp_path / "d.png").ok().err  # a damaged card is no model
    assert find_model(str(weights)).read("fp32")
    assert len(names(library)) == 2


def test_weights_imported_by_name_are_found_by_file(mine: Path, weights: Path, still: Path, tmp_path: Path) -> None:
    done = matte_with(weights, still, tmp_path / "out.png").ok()
    assert done.report["engine"]["model"] == "mine"
    assert names(mine) == ["mine"]


def test_what_cannot_run(mine: Path, still: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"

    def refused(chosen: str | Path, code: int, *words: str, more: tuple[str, ...] = ()) -> None:
        done = matte_with(chosen, still, target, *more)
        done.refused(code, *words)
        assert not target.exists()

    refused("nosuch", 2, "no model is named 'nosuch'", "known: lite, mine")
    refused(tmp_path / "no.onnx", 1, "no such file")
    refused(tmp_path / "no.pth", 1, "no such file")
    (tmp_path / "folder.onnx").mkdir()
    refused(tmp_path / "folder.onnx", 1, "is a folder")
    (tmp_path / "x.bin").touch()
    refused(tmp_path / "x.bin", 2, ".onnx, .pth or .safetensors")
    refused("mine", 1, "has no int8 file", more=("--precision", "int8"))
    (tmp_path / "noise.onnx").write_bytes(b"no model" * 99)
    refused(tmp_path / "noise.onnx", 1, "cannot load model 'noise.onnx'")
    file = mine / "mine" / "mine.fp32.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    refused("mine", 1, "is damaged", "import it again")
    file.unlink()
    refused("mine", 1, "cannot read model file", "import it again")
    (mine / "mine" / "mine.json").write_text("{")
    refused("mine", 1, "cannot read model card", "import it again")
    assert "damaged" in model("list").ok().out
    model("remove", "mine").ok()
    assert names(mine) == []


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_onnx_of_another_kind(engine: str, still: Path, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    for number, kind in enumerate(
        ({"names": ("input", "alpha")}, {"names": ("rgb", "mask")}, {"dtype": TensorProto.FLOAT}, {"stride": 4})
    ):
        path = brightness_onnx(tmp_path / f"{number}.onnx", **kind)  # type: ignore[arg-type]
        done = call("image", still, tmp_path / "out.png", "--engine", engine, "--quality", "fast", "--model", path)
        done.refused(1, f"{number}.onnx", "expected")
        assert "\n" not in done.error


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("size", [(128, 96), (640, 352), (97, 75)])
def test_alpha_of_the_network_s_own_size_lands_where_it_belongs(size: tuple[int, int], engine: str, free: bool, tmp_path: Path) -> None:
    """A model that gives alpha at full size: more pixels than the frame has, or fewer, the edge stays where it was."""
    pytest.importorskip(engine)
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :, : width // 3] = 255
    source = write_still(tmp_path / "in.png", image)
    chosen = brightness_onnx(tmp_path / "bright.onnx", free=free)
    done = call("image", source, tmp_path / "out.png", "--engine", engine, "--quality", "fast", "--json", "--model", chosen).ok()
    assert done.report["engine"]["model"] == "bright.onnx"
    alpha = frames_alpha(tmp_path / "out.png")
    assert alpha.shape == (height, width)
    truth = image[:, :, 0].astype(float)
    edge = 3
    rows, columns = slice(height // 2 - edge, height // 2 + edge), slice(width // 3 - edge, width // 3 + edge)
    sure = np.ones_like(truth, bool)
    sure[rows] = sure[:, columns] = False
    assert np.array_equal(alpha[sure], truth[sure])
    # Half way up the ramp lies the edge itself: the areas are equal to a fraction of the edge's own length.
    assert abs(alpha.sum() - truth.sum()) / 255 < 0.6 * (width // 3 + height // 2)


def frames_alpha(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        (frame,) = list(container.decode(video=0))
        return frame.to_ndarray(format="rgba")[:, :, 3].astype(float)


def test_video_and_bench_with_a_model_of_one_s_own(tmp_path: Path) -> None:
    chosen = brightness_onnx(tmp_path / "bright.onnx")
    clip = write_clip(tmp_path / "in.mp4", size=SIZE, frames=8)
    done = call("video", clip, tmp_path / "out.mp4", "--matte", tmp_path / "matte.mkv", *QUICK, "--json", "--model", chosen).ok()
    assert (done.report["frames_in"], done.report["frames_out"]) == (8, 8)
    assert done.report["engine"]["model"] == "bright.onnx"
    assert probe(tmp_path / "out.mp4").frames == 8
    for image, matte in zip(frames_of(clip), frames_of(tmp_path / "matte.mkv"), strict=True):
        grey, alpha = image.astype(float).mean(axis=2), matte.astype(float).mean(axis=2)
        assert np.corrcoef(grey.ravel(), alpha.ravel())[0, 1] > 0.95
    short = ("bench", clip, "--size", "128x96", "--frames", "2", "--rounds", "1", "--live", "0", *QUICK)
    measured = call(*short, "--model", chosen, "--json").ok().report
    assert measured["options"]["matting"]["model"] == str(chosen)
    assert measured["sizes"][0]["engines"][0]["difference_max"] == 0
    call(*short, "--model", "nosuch").refused(2, "no model is named")


def test_a_file_called_like_a_model_is_not_in_its_way(still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite").touch()
    assert matte_with("lite", still, tmp_path / "out.png").ok().report["engine"]["model"] == "lite"


def test_in_a_process_without_noise(mine: Path, weights: Path, still: Path, tmp_path: Path) -> None:
    """First use on the command line: one note, nothing from the exporter, and none with --quiet."""
    shutil.rmtree(mine)
    done = run("image", still, tmp_path / "out.png", *QUICK, "--model", weights).ok()
    assert [line.split()[0] for line in done.err.splitlines()] == ["note:", "wrote"]
    shutil.rmtree(mine)
    done = call("image", still, tmp_path / "out.png", *QUICK, "-y", "--quiet", "--model", weights).ok()
    assert (done.out, done.err) == ("", "")


def test_the_page_s_words_are_real() -> None:
    text = (REPOSITORY / "docs/models.md").read_text(encoding="utf-8")
    lines = re.findall(r"^streammat (model \w+)([^#\n]*)", text, re.MULTILINE)
    assert len(lines) >= 2
    for command, rest in lines:
        told = call(*command.split(), "--help").ok().out
        assert all(option in told for option in re.findall(r"--[a-z]+", rest)), command
    assert "--rosta" in call("model", "import", "--help").out
    for command in re.findall(r"show NAME|remove NAME", text):
        model(command.split()[0], "--help").ok()


@pytest.fixture(autouse=True)
def _loggers_are_left_as_they_were() -> Iterator[None]:
    import logging

    yield
    assert not logging.getLogger("streammat").handlers
    assert not logging.getLogger("engines").handlers
