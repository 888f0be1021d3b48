"""The CPU's backends: what they ask of their libraries, what they say of a machine, and their words when something fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from streammat.engines.backends import onnxruntime as on_onnxruntime
from streammat.engines.backends import openvino as on_openvino
from streammat.engines.base import Engine, EngineError, EngineUnavailableError, default_threads
from streammat.engines.choice import open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.registry import BACKENDS, Probe, installed_backends

SIZE = (32, 64)
RGB = np.arange(2 * 32 * 64 * 3, dtype=np.uint64).astype(np.uint8).reshape(2, 32, 64, 3)
EXPECTED = RGB[:, :, :, 0] / 255.0
BOTH = pytest.mark.parametrize("backend", installed_backends())


def small(path: Path, *, name: str = "alpha", sides: Sequence[object] = ("batch", "height", "width")) -> ModelFiles:
    """A network whose alpha is red."""
    nodes = [
        helper.make_node("Cast", ["rgb"], ["float"], to=TensorProto.FLOAT), helper.make_node("Gather", ["float", "first"], ["red"], axis=3),
        helper.make_node("Div", ["red", "white"], [name]),
    ]
    constants = [helper.make_tensor("first", TensorProto.INT64, [], [0]), helper.make_tensor("white", TensorProto.FLOAT, [], [255.0])]
    given = helper.make_tensor_value_info("rgb", TensorProto.UINT8, [*sides, 3])
    alpha = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(sides))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [given], [alpha], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return ModelFiles("mine", path)


@pytest.fixture
def model(tmp_path: Path) -> ModelFiles:
    return small(tmp_path / "m.onnx")


def made(backend: str, model: ModelFiles, precision: str = "fp32", **options: Any) -> Engine:
    kind = {"onnxruntime": on_onnxruntime.OnnxRuntimeEngine, "openvino": on_openvino.OpenVinoEngine}[backend]
    engine: Engine = kind(model, precision=precision, size=SIZE, reason="to test", **options)
    return engine


def put_in(engine: Any, library: object) -> None:
    """Exchange what the engine calls in its library."""
    if engine.spec.backend == "onnxruntime":
        engine._session = library
    else:
        engine._requests = SimpleNamespace(get=lambda: library, put=lambda _: None)


def message(action: Callable[[], object], kind: type[EngineError] = EngineError) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value) is kind
    return str(caught.value)


@BOTH
def test_what_it_computes_and_says_of_itself(backend: str, model: ModelFiles) -> None:
    engine = made(backend, model, threads=2)
    for count in (1, 2):
        found = engine.infer(RGB[:count])
        assert (found.shape, found.dtype) == ((count, *SIZE), np.float32)
        np.testing.assert_allclose(found, EXPECTED[:count], atol=1e-6)
    first = engine.infer(RGB[:1])
    kept = first.copy()
    engine.infer(RGB[1:])
    assert np.array_equal(first, kept)
    spec = engine.spec
    assert (spec.model, spec.backend, spec.precision, spec.device, spec.threads, spec.size, spec.reason) == ("mine", backend, "fp32", "cpu", 2, SIZE, "to test")
    assert spec.version[0].isdigit()
    assert "-" not in spec.version
    engine.close()
    engine.close()
    assert message(lambda: engine.infer(RGB)) == "the engine is closed; open another one"
    assert made(backend, model).spec.threads == default_threads()
    free = made(backend, small(model.fp32, sides=("n", "h", "w")))
    np.testing.assert_allclose(free.infer(RGB), EXPECTED, atol=1e-6)


@BOTH
def test_what_it_refuses(backend: str, model: ModelFiles, tmp_path: Path) -> None:
    assert message(lambda: open_engine(model, backend, "fp32", (32, 33))).endswith("expected two positive multiples of 32")
    with pytest.raises(EngineError, match="multiples of 32"):
        made(backend, model).__class__(model, precision="fp32", size=(0, 32), reason="")  # type: ignore[call-arg]
    engine = made(backend, model)
    assert "expected uint8 (N, 32, 64, 3)" in message(lambda: engine.infer(RGB[:, :, :32]))
    other = small(tmp_path / "other.onnx", name="mask")
    assert message(lambda: made(backend, other)).startswith("model 'mine' is of another kind: rgb uint8 (")
    assert message(lambda: made(backend, small(tmp_path / "fixed.onnx", sides=(2, 32, 64)))).startswith("model 'mine' takes 2 of 64x32 at once")
    (tmp_path / "noise.onnx").write_bytes(b"no model" * 9)
    told = message(lambda: made(backend, ModelFiles("mine", tmp_path / "noise.onnx")))
    library = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[backend]
    assert told.startswith(f"{library} cannot load model 'mine' (fp32): ")
    assert told.endswith("; take another --engine or --precision")
    assert ": None;" not in told
    assert message(lambda: made(backend, model, "int8")) == "model 'mine' has no int8 file; take --precision fp32 or auto"
    failing = SimpleNamespace(run=lambda *_: 1 / 0, infer=lambda *_, **__: 1 / 0)
    put_in(engine, failing)
    assert message(lambda: engine.infer(RGB)) == f"{library} failed: division by zero; take another --engine"

    def lacking(*_: object, **__: object) -> None:
        raise MemoryError

    put_in(engine, SimpleNamespace(run=lacking, infer=lacking))
    assert message(lambda: engine.infer(RGB)) == f"{library} has too little memory for images of 64x32 (MemoryError); close other programs, or take --quality fast"


@BOTH
def test_a_library_that_cannot_be_loaded(backend: str, model: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, backend, None)
    library, cure = {"onnxruntime": ("ONNX Runtime", "pip install onnxruntime"), "openvino": ("OpenVINO", "pip install 'streammat[openvino]'")}[backend]
    told = f"{library} cannot be loaded (import of {backend} halted; None in sys.modules); install it: {cure}"
    assert message(lambda: made(backend, model), EngineUnavailableError) == told
    assert message({"onnxruntime": on_onnxruntime, "openvino": on_openvino}[backend].probe, EngineUnavailableError) == told
    assert cure == BACKENDS[backend].hint


@BOTH
def test_a_lack_of_memory_while_it_opens(backend: str, model: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("std::bad_alloc")

    library = pytest.importorskip(backend)
    monkeypatch.setattr(library, {"onnxruntime": "InferenceSession", "openvino": "Core"}[backend], fail)
    said = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[backend]
    assert message(lambda: made(backend, model)) == f"{said} has too little memory for images of 64x32 (bad_alloc); close other programs, or take --quality fast"


# --------------------------------------------------------------------------------------------------------------------
# ONNX Runtime


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Options of every session that is opened; each is a real one on the CPU that says it has what it was asked for."""
    real, asked = onnxruntime.InferenceSession, []

    def session(content: bytes, options: Any, **more: Any) -> Any:
        asked.append((options, more))
        inner = real(content, options, providers=["CPUExecutionProvider"])
        names = [provider if isinstance(provider, str) else provider[0] for provider in more["providers"]]
        return SimpleNamespace(get_inputs=inner.get_inputs, get_outputs=inner.get_outputs, get_providers=lambda: names, run=inner.run)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


def test_options_of_a_session(model: ModelFiles, sessions: list[tuple[Any, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """No more threads than asked for, none that spins, and no warnings."""
    made("onnxruntime", model, threads=3)
    ((options, more),) = sessions
    monkeypatch.undo()
    assert (options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level) == (3, 1, 3)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    # One image of this size is what the graph is planned for.
    assert onnxruntime.InferenceSession(model.read("fp32"), options, providers=["CPUExecutionProvider"]).get_inputs()[0].shape == [1, *SIZE, 3]
    assert more == {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}


@pytest.mark.parametrize(("device", "provider", "options"), [
    ("cuda:1", "CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}), ("tensorrt", "TensorrtExecutionProvider", {"device_id": "0"}),
    ("directml:2", "DmlExecutionProvider", {"device_id": "2"}), ("coreml", "CoreMLExecutionProvider", {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"}),
])
def test_devices(
    device: str, provider: str, options: dict[str, str], model: ModelFiles, sessions: list[tuple[Any, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[None] = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: loaded.append(None))
    engine = made("onnxruntime", model, device=device, threads=2)
    ((_, more),) = sessions
    assert more["providers"] == [(provider, options), "CPUExecutionProvider"]
    assert len(loaded) == (device.partition(":")[0] in ("cuda", "tensorrt"))
    assert (engine.spec.device, engine.spec.threads) == (device, 0)
    kind = device.partition(":")[0]
    assert on_onnxruntime.probe() == Probe(onnxruntime.__version__, {"cpu": "CPUExecutionProvider", kind: provider})


@pytest.mark.parametrize(("device", "provider", "package"), [
    ("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"), ("tensorrt:1", "TensorrtExecutionProvider", "onnxruntime-gpu"), ("directml", "DmlExecutionProvider", "onnxruntime-directml"),
    ("coreml", "CoreMLExecutionProvider", "onnxruntime on macOS"),
])
def test_devices_that_a_build_has_not(device: str, provider: str, package: str, model: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    told = message(lambda: made("onnxruntime", model, device=device), EngineUnavailableError)
    assert told == f"the installed ONNX Runtime {onnxruntime.__version__} has no {provider}; pip uninstall onnxruntime, then pip install {package}, or take --device cpu"


def test_any_file_can_be_run_once(model: ModelFiles, tmp_path: Path) -> None:
    found = on_onnxruntime.run_file(model.read("fp32"), {"rgb": RGB}, 1)
    assert list(found) == ["alpha"]
    np.testing.assert_allclose(found["alpha"], EXPECTED, atol=1e-6)
    told = message(lambda: on_onnxruntime.run_file(b"no model", {}, 1))
    assert told.startswith("ONNX Runtime cannot run the file: ")
    assert told.endswith("; export it again")


# --------------------------------------------------------------------------------------------------------------------
# OpenVINO


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Device and options of everything that is compiled, on a processor with bfloat16."""
    openvino = pytest.importorskip("openvino")
    asked: list[tuple[str, dict[str, Any]]] = []

    class Core(openvino.Core):  # type: ignore[misc, name-defined]
        def get_property(self, device: str, name: str) -> Any:
            assert device == "CPU"
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "BF16"], "FULL_DEVICE_NAME": " A processor  "}[name]

        def compile_model(self, network: Any, device: str, config: dict[str, Any]) -> Any:
            asked.append((device, dict(config)))
            return super().compile_model(network, device, config)

    monkeypatch.setattr(openvino, "Core", Core)
    return asked


def test_options_of_a_compiled_model(model: ModelFiles, compiled: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    """One image at a time on threads that are not pinned, in full precision unless less is asked for; a cache where one is given."""
    usual = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": 3, "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": "f32"}
    made("openvino", model, threads=3)
    assert made("openvino", model, "bf16", threads=3).spec.precision == "bf16"
    made("openvino", ModelFiles("mine", tmp_path / "none", int8=model.fp32), "int8", threads=3, cache=tmp_path / "cache")
    assert compiled == [("CPU", usual), ("CPU", usual | {"INFERENCE_PRECISION_HINT": "bf16"}), ("CPU", usual | {"CACHE_DIR": str(tmp_path / "cache")})]
    assert any((tmp_path / "cache").iterdir())


def test_processors_with_and_without_bfloat16(model: ModelFiles, compiled: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    version = openvino.__version__.partition("-")[0]
    assert on_openvino.probe() == Probe(version, {"cpu": "A processor"})
    monkeypatch.setattr(openvino.Core, "get_property", lambda _, device, name: ["FP32"] if name == "OPTIMIZATION_CAPABILITIES" else "Old one")
    assert on_openvino.probe() == Probe(version, {"cpu": "Old one"}, ("no bf16: this CPU has none",))
    told = message(lambda: made("openvino", model, "bf16"), EngineUnavailableError)
    assert told == "this CPU has no bfloat16 (AVX-512 BF16, AMX or Arm's); take --precision fp32 or int8"
    assert compiled == []
    made("openvino", model)


def test_the_last_line_of_openvino_s_words(model: ModelFiles, compiled: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones name places in its source."""
    import openvino

    for error, said in ((RuntimeError("Exception from src/x.cpp:1:\n  it is so  \n\n"), "it is so"), (ValueError(""), "ValueError")):
        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(openvino.Core, "read_model", fail)
        assert message(lambda: made("openvino", model)) == f"OpenVINO cannot load model 'mine' (fp32): {said}; take another --engine or --precision"  # noqa: B023
