"""What opening an engine refuses, and what it chooses by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streammat.engines import choice as auto
from streammat.engines import registry as backends
from streammat.engines.backends.nvidia import Gpus
from streammat.engines.base import EngineError, EngineUnavailableError, default_threads
from streammat.engines.choice import Choice, choose, open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import BACKENDS, installed_backends
from streammat.engines.shipped import card, shipped

SIZE = (64, 96)


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_backend_names_the_cure(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(shipped(), backend, size=SIZE)
    with pytest.raises(EngineUnavailableError, match="no inference backend"):
        open_engine(shipped(), size=SIZE)


def test_auto_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "installed_backends", lambda _device: ["onnxruntime"])
    monkeypatch.setattr(auto, "int8_feature", lambda: None)
    monkeypatch.setattr(auto, "find_gpus", lambda: Gpus((), "", "none"))
    opened = open_engine(shipped(), size=SIZE)
    assert (opened.spec.backend, opened.spec.precision) == ("onnxruntime", "fp32")
    assert "openvino is not installed" in opened.spec.reason
    assert "no int8" in opened.spec.reason
    opened.close()


def test_auto_takes_int8_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "int8_feature", lambda: "AVX-512 VNNI")
    opened = open_engine(shipped(), "onnxruntime", size=SIZE)
    assert opened.spec.precision == "int8"
    assert "VNNI" in opened.spec.reason
    opened.close()
    without = open_engine(replace(shipped(), int8=None), "onnxruntime", size=SIZE)
    assert without.spec.precision == "fp32"
    without.close()


NEW_ENGINE = """
import numpy as np
from streammat.engines.base import EngineSpec
from streammat.engines.registry import Backend, Probe

ENTRY = Backend(
    name="new", needs=("new_engine",), hint="", precisions={"cpu": ("fp32", "int8"), "cuda": ("fp16",)}, home="new_engine", engine="NewEngine"
)

def probe():
    return Probe("7", {"cpu": "the processor", "cuda:0": "H100"})

class NewEngine:
    def __init__(self, model, *, precision, size, reason, device, threads, batch, cache):
        self.spec = EngineSpec(model.name, "new", precision, device, threads, size, "7", reason)

    def infer(self, rgb):
        return rgb[..., 1].astype(np.float32) / 255

    def close(self):
        pass
"""


def test_a_new_engine_is_an_entry_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``auto`` takes it in its place, on the processor and on a GPU; it is listed, and it mattes: no other code names it."""
    (tmp_path / "new_engine.py").write_text(NEW_ENGINE)
    monkeypatch.syspath_prepend(tmp_path)
    table = {"new": import_module("new_engine").ENTRY, **BACKENDS}
    for home in (backends, auto):
        monkeypatch.setattr(home, "BACKENDS", table)
    with closing(open_engine(shipped(), size=SIZE)) as opened:
        assert opened.spec.backend == "new"
        assert opened.spec.reason.startswith("new is installed and the fastest here; ")
    monkeypatch.setattr(auto, "find_gpus", lambda: Gpus(("H100",), "13.0", ""))
    assert choose(shipped(), "auto", "auto", "auto") == Choice("new", "fp16", "cuda:0", "H100 is here and new is the fastest that can use it; fp16 is what it does best")
    assert choose(shipped(), "auto", "auto", "cpu").backend == "new"
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import new_engine; from streammat.engines import registry; registry.BACKENDS['new'] = new_engine.ENTRY; "
    listed = subprocess.run([sys.executable, "-c", f"{start}from streammat.cli import main; main(['engines', '--json'])"], capture_output=True, text=True, check=True).stdout
    assert next(row for row in json.loads(listed)["engines"] if row["name"] == "new")["runs"]
    program = "[registry.BACKENDS.pop(name) for name in ('openvino', 'onnxruntime')]; import numpy as np, streammat; m = streammat.Matting(device='cpu'); "
    matted = f"{start}{program}print(m(np.zeros((64, 48, 3), np.uint8)).max(), m(np.full((64, 48, 3), 255, np.uint8)).min(), m.spec.backend)"
    assert subprocess.run([sys.executable, "-c", matted], capture_output=True, text=True, check=True).stdout.split() == ["0.0", "1.0", "new"]


@pytest.mark.parametrize("backend", installed_backends())
def test_unusable_files(backend: str, tmp_path: Path) -> None:
    good = shipped().fp32.read_bytes()
    truncated, noise = tmp_path / "truncated.onnx", tmp_path / "noise.onnx"
    truncated.write_bytes(good[: len(good) // 2])
    noise.write_bytes(b"not a model" * 100)
    for path in (truncated, noise):
        with pytest.raises(EngineError, match="cannot load model") as caught:
            open_engine(ModelFiles("lite", path), backend, "fp32", SIZE)
        assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="cannot read model file"):
        open_engine(ModelFiles("lite", tmp_path / "missing.onnx"), backend, "fp32", SIZE)
    with pytest.raises(EngineError, match="damaged"):
        open_engine(ModelFiles("lite", truncated, sha256=shipped().sha256), backend, "fp32", SIZE)


@pytest.mark.parametrize("backend", installed_backends())
@pytest.mark.parametrize("stride", [2, 4])
def test_alpha_of_a_size_that_only_running_tells(backend: str, stride: int, tmp_path: Path) -> None:
    """A file that leaves its output's shape free is found out by its first image, at the latest."""
    path = tmp_path / "free.onnx"
    sliced = helper.make_node("Slice", ["grey", "zero", "sides", "axes", "steps"], ["alpha"])
    nodes = [
        helper.make_node("Cast", ["rgb"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float"], ["grey"], axes=[3], keepdims=0),
        sliced,
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [2], values)
        for name, values in (("zero", [0, 0]), ("sides", [9999, 9999]), ("axes", [1, 2]), ("steps", [stride, stride]))
    ]
    given = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["n", "h", "w", 3])
    alpha = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, ["n", "x", "y"])
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "free", [given], [alpha], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ),
        path,
    )

    def first() -> tuple[int, ...]:
        opened = open_engine(ModelFiles("free", path), backend, "fp32", SIZE)
        try:
            return opened.infer(np.zeros((2, *SIZE, 3), np.uint8)).shape
        finally:
            opened.close()

    if stride == 2:
        assert first() == (2, SIZE[0] // 2, SIZE[1] // 2)
        return
    with pytest.raises(EngineError, match="model 'free'.* expected"):
        first()


@pytest.mark.parametrize("size", [(90, 160), (0, 96), (-32, 96)])
def test_bad_size(size: tuple[int, int]) -> None:
    with pytest.raises(EngineError, match="multiples of 32"):
        open_engine(shipped(), "onnxruntime", "fp32", size)


def test_unknown_names() -> None:
    with pytest.raises(EngineError, match="unknown backend 'tpu'"):
        open_engine(shipped(), "tpu")
    with pytest.raises(EngineError, match="unknown precision 'int4'"):
        open_engine(shipped(), precision="int4")
    with pytest.raises(EngineError, match="threads is -1"):
        open_engine(shipped(), threads=-1)
    with pytest.raises(EngineError, match="no shipped model is named 'none'"):
        shipped("none")
    with pytest.raises(EngineError, match="has no int8 file"):
        open_engine(replace(shipped(), int8=None), "onnxruntime", "int8", SIZE)


def test_a_gpu_without_a_number_is_the_first() -> None:
    assert choose(shipped(), "cuda", "auto", "cuda").device == "cuda:0"
    assert choose(shipped(), "cuda", "auto", "cuda:1").device == "cuda:1"


def test_threads() -> None:
    assert 1 <= default_threads() <= 8


def test_cpu_path_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np; import streammat.engines.choice; from streammat.engines.shipped import shipped;"
        "assert 'onnxruntime' not in sys.modules and 'openvino' not in sys.modules;"
        "e = streammat.engines.choice.open_engine(shipped(), 'onnxruntime', 'fp32', (64, 96));"
        "e.infer(np.zeros((1, 64, 96, 3), np.uint8)); e.close(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_is_told_to_anybody(tmp_path: Path) -> None:
    """ONNX Runtime's wheels would leave a number for the user, and what is to be sent, in the cache."""
    code = (
        "import numpy as np; import streammat.engines.choice; from streammat.engines.shipped import shipped;"
        "streammat.engines.choice.open_engine(shipped(), 'onnxruntime', 'fp32', (64, 96)).infer(np.zeros((1, 64, 96, 3), np.uint8))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment | home)
    assert list(tmp_path.iterdir()) == []


def test_card_describes_the_files() -> None:
    described = card()
    assert described["name"] == "lite"
    assert "non-commercial" in described["licence"]
    files = shipped()
    for precision in ("fp32", "int8"):
        assert files.read(precision)  # verifies the digest
        assert set(described["metrics"][precision]["people_portraits"]) == {"pictures", "iou", "mad", "mse", "sad"}
