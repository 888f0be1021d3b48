"""Which engine a machine gets, and the reason that is recorded: backends, GPUs and processors of every kind, without opening one."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streammat.engines import choice, registry
from streammat.engines.backends import cuda, onnxruntime, openvino
from streammat.engines.backends.nvidia import Gpus
from streammat.engines.base import (
    EngineError,
    EngineUnavailableError,
    Port,
    check_alpha,
    check_contract,
    check_rgb,
    check_size,
    default_threads,
    lack_of_memory,
    memory_error,
)
from streammat.engines.choice import Choice, choose, int8_feature, open_engine
from streammat.engines.model_files import ModelFiles, card_files, file_sha256, read_card
from streammat.engines.registry import Probe, check_device, check_present, installed_backends
from streammat.engines.tensorrt import engine as tensorrt

MODEL = ModelFiles("mine", Path("mine.onnx"), int8=Path("mine.int8.onnx"), weights=Path("mine.safetensors"))
EVERYTHING = ("tensorrt", "torch", "safetensors", "openvino", "onnxruntime")
CPU_ONLY = ("openvino", "onnxruntime")
FIRST = Probe("2", {"cuda:0": "H100", "cuda:1": "L4"})
SECOND_ONLY = Probe("2", {"cuda:1": "L4"}, ("cuda:0: H100 is too old",))
NO_PROVIDER = Probe("1", {"cpu": "CPUExecutionProvider"})
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make this machine another one: what is installed, its GPUs, what backends find, its processor; a TensorRT engine that was built."""

    def become(
        installed: tuple[str, ...] = CPU_ONLY, gpus: tuple[str, ...] = (), probes: Mapping[str, Probe | Exception] = {}, processor: str = "x86_64",
        feature: str | None = "AVX-VNNI", built: object = None,
    ) -> None:
        def probed(name: str) -> Probe:
            found = probes[name]
            if isinstance(found, Exception):
                raise found
            return found

        def find_built(*asked: object) -> object:
            if isinstance(built, Exception):
                raise built
            return built if asked == (MODEL, (64, 96), 4, "cuda:0") else None

        monkeypatch.setattr(registry, "find_spec", lambda name: name if name in installed else None)
        monkeypatch.setattr(choice, "find_gpus", lambda: Gpus(gpus, "13.0" if gpus else "", "" if gpus else "none"))
        monkeypatch.setattr(choice, "probe", probed)
        monkeypatch.setattr(choice, "int8_feature", lambda: feature)
        monkeypatch.setattr(platform, "machine", lambda: processor)
        monkeypatch.setattr(tensorrt, "find_built", find_built)

    return become


def test_processors(machine: Machine) -> None:
    machine()
    assert choose(MODEL, "auto", "auto", "auto") == Choice("openvino", "int8", "cpu", "openvino is installed and the fastest here; the CPU has AVX-VNNI")
    assert choose(MODEL, "auto", "fp32", "cpu").reason == "openvino is installed and the fastest here; fp32 was asked for"
    assert choose(MODEL, "onnxruntime", "auto", "auto") == Choice("onnxruntime", "int8", "cpu", "onnxruntime was asked for; the CPU has AVX-VNNI")
    assert choose(replace(MODEL, int8=None), "openvino", "auto", "cpu") == Choice("openvino", "fp32", "cpu", "openvino was asked for; the model has no int8 file")
    for processor in ("AMD64", "i686", "x86"):
        machine(processor=processor)
        assert choose(MODEL, "auto", "auto", "auto").backend == "openvino"
    machine(feature=None, processor="arm64")
    assert choose(MODEL, "auto", "auto", "auto") == Choice("onnxruntime", "fp32", "cpu", "openvino pays on x86 only; the CPU has no int8 dot products")
    assert choose(MODEL, "auto", "bf16", "auto").backend == "openvino"  # which nothing else computes
    machine(("openvino",), processor="aarch64")
    assert choose(MODEL, "auto", "fp32", "auto").reason == "openvino is installed and the fastest here; fp32 was asked for"
    machine(("onnxruntime",))
    assert choose(MODEL, "auto", "int8", "auto") == Choice("onnxruntime", "int8", "cpu", "openvino is not installed; int8 was asked for")


def test_gpus(machine: Machine) -> None:
    machine(EVERYTHING, ("H100", "L4"), {"cuda": FIRST, "tensorrt": FIRST})
    best = "cuda is the fastest that can use it; fp16 is what it does best"
    assert choose(MODEL, "auto", "auto", "auto") == Choice("cuda", "fp16", "cuda:0", f"H100 is here and {best}")
    assert choose(MODEL, "auto", "auto", "cuda") == Choice("cuda", "fp16", "cuda:0", f"cuda:0 was asked for and {best}")
    assert choose(MODEL, "auto", "bf16", "cuda:1") == Choice("cuda", "bf16", "cuda:1", "cuda:1 was asked for and cuda is the fastest that can use it; bf16 was asked for")
    assert choose(MODEL, "cuda", "auto", "auto") == Choice("cuda", "fp16", "cuda:0", "cuda was asked for; fp16 is what it does best")
    assert choose(MODEL, "auto", "auto", "cpu").device == "cpu"
    for device in ("directml", "directml:1", "coreml", "tensorrt:2"):
        assert choose(MODEL, "auto", "auto", device) == Choice("onnxruntime", "fp32", device, f"{device} was asked for; fp32 is what it does best")
    machine(EVERYTHING, ("H100", "L4"), {"cuda": SECOND_ONLY})
    assert choose(MODEL, "auto", "auto", "auto") == Choice("cuda", "fp16", "cuda:1", f"L4 is here and {best}")
    machine(EVERYTHING, ("H100",), {"cuda": EngineUnavailableError("no torch"), "onnxruntime": Probe("1", {"cpu": "", "cuda": ""})})
    assert choose(MODEL, "auto", "auto", "auto") == Choice("onnxruntime", "fp32", "cuda:0", "H100 is here and onnxruntime is the fastest that can use it; fp32 is what it does best")


def test_a_gpu_that_nothing_can_use(machine: Machine) -> None:
    machine(EVERYTHING, ("H100",), {"cuda": EngineUnavailableError("torch is too old"), "onnxruntime": NO_PROVIDER})
    against = "torch is too old; the installed onnxruntime has no CUDA provider; pip install onnxruntime-gpu"
    assert choose(MODEL, "auto", "auto", "auto").reason == f"openvino is installed and the fastest here; H100 is here but not used: {against}; the CPU has AVX-VNNI"
    with pytest.raises(EngineUnavailableError, match=f"^{against}$"):
        choose(MODEL, "auto", "auto", "cuda")
    with pytest.raises(EngineUnavailableError, match="^model 'mine' has no weights for cuda .import it again.; the installed onnxruntime has no CUDA provider"):
        choose(replace(MODEL, weights=None), "auto", "fp32", "cuda")
    with pytest.raises(EngineUnavailableError, match="^cuda computes no int8 there; onnxruntime computes no int8 there$"):
        choose(MODEL, "auto", "int8", "cuda:0")


def test_tensorrt_is_taken_where_it_was_built(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine(EVERYTHING, ("H100",), {"cuda": FIRST, "tensorrt": FIRST}, built="a plan")
    expected = Choice("tensorrt", "fp16", "cuda:0", "tensorrt has an engine for this model, size and GPU; fp16 is what it does best")
    assert choose(MODEL, "auto", "auto", "auto", (64, 96), 4) == expected
    assert choose(MODEL, "auto", "fp16", "cuda", (64, 96), 4).backend == "tensorrt"
    for model, precision, size, batch in ((MODEL, "fp32", (64, 96), 4), (MODEL, "auto", (64, 64), 4), (MODEL, "auto", (64, 96), 1)):
        assert choose(model, "auto", precision, "auto", size, batch).backend == "cuda"
    machine(EVERYTHING, ("H100", "L4"), {"cuda": SECOND_ONLY, "tensorrt": SECOND_ONLY}, built="a plan")
    assert choose(MODEL, "auto", "auto", "auto", (64, 96), 4).backend == "cuda"
    machine(("torch", "safetensors", "onnxruntime"), ("H100",), {"cuda": FIRST, "tensorrt": FIRST}, built="a plan")
    assert choose(MODEL, "auto", "auto", "auto", (64, 96), 4).backend == "cuda"
    machine(EVERYTHING, ("H100",), {"cuda": FIRST, "tensorrt": FIRST, "onnxruntime": FIRST}, built=EngineError("the cache is damaged"))
    assert choose(MODEL, "auto", "auto", "auto", (64, 96), 4).backend == "cuda"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == ["tensorrt is passed over: the cache is damaged"]
    assert choose(replace(MODEL, weights=None), "auto", "auto", "auto", (64, 96), 4).backend == "onnxruntime"
    assert len(caplog.records) == 1


def test_an_engine_is_opened_as_it_was_chosen(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what was asked for, or the defaults; one for TensorRT is looked for under the same size and batch."""
    opened: list[tuple[object, dict[str, object]]] = []
    looked: list[tuple[object, ...]] = []
    machine(EVERYTHING, ("H100", "L4"), {"cuda": FIRST, "tensorrt": FIRST})
    monkeypatch.setattr(tensorrt, "find_built", lambda *asked: looked.append(asked))
    for module, name in ((onnxruntime, "OnnxRuntimeEngine"), (openvino, "OpenVinoEngine"), (cuda, "CudaEngine")):
        monkeypatch.setattr(module, name, lambda model, name=name, **options: opened.append((model, options)) or name)
    monkeypatch.setattr(choice, "default_threads", lambda: 5)
    assert open_engine(MODEL) == "CudaEngine"
    assert looked == [(MODEL, (288, 512), 1, "cuda:0")]
    choose(MODEL, "auto", "auto", "auto")
    assert looked.pop() == (MODEL, (288, 512), 1, "cuda:0")
    open_engine(MODEL, size=(64, 96), batch=4)
    assert opened.pop()[1]["batch"] == 4
    assert looked.pop() == (MODEL, (64, 96), 4, "cuda:0")
    assert open_engine(MODEL, "auto", "bf16", (64, 96), 3, tmp_path, device="cuda:1", batch=4) == "CudaEngine"
    assert open_engine(MODEL, "openvino", "int8", (64, 96), 1, batch=1) == "OpenVinoEngine"
    assert open_engine(MODEL, "onnxruntime", size=(64, 96), device="coreml") == "OnnxRuntimeEngine"
    reasons = [str(options.pop("reason")).partition(";")[0] for _, options in opened]
    assert reasons == [
        "H100 is here and cuda is the fastest that can use it", "cuda:1 was asked for and cuda is the fastest that can use it", "openvino was asked for", "onnxruntime was asked for",
    ]
    assert [model for model, _ in opened] == [MODEL] * 4
    names = ("precision", "size", "device", "threads", "batch", "cache")
    assert [tuple(options[name] for name in names) for _, options in opened] == [
        ("fp16", (288, 512), "cuda:0", 5, 1, None), ("bf16", (64, 96), "cuda:1", 3, 4, tmp_path), ("int8", (64, 96), "cpu", 1, 1, None), ("fp32", (64, 96), "coreml", 5, 1, None),
    ]


@pytest.mark.parametrize(("arguments", "message"), [
    (("tpu", "auto", "auto"), "unknown backend 'tpu'; expected auto, tensorrt, cuda, openvino, onnxruntime"),
    (("auto", "int4", "auto"), "unknown precision 'int4'; expected auto, fp32, bf16, fp16, int8"),
    (("auto", "auto", "gpu"), "unknown device 'gpu'; expected auto, cpu, cuda, tensorrt, directml, coreml, and cuda:1 for the second GPU"),
    (("openvino", "auto", "cuda"), "openvino does not run on cuda:0; it runs on cpu"),
    (("openvino", "fp16", "auto"), "openvino on cpu has no fp16; it supports fp32, bf16, int8; fp16 is to be had from tensorrt on cuda, cuda on cuda"),
    (("auto", "fp16", "cpu"), "no backend computes fp16 on the CPU"),
])
def test_what_cannot_be_chosen(machine: Machine, arguments: tuple[str, str, str], message: str) -> None:
    machine()
    with pytest.raises(EngineError) as caught:
        choose(MODEL, *arguments)
    assert str(caught.value) == message


def test_nothing_installed(machine: Machine) -> None:
    machine(())
    needed = "pip install 'streammat[openvino]' or pip install onnxruntime"
    for arguments, message in (
        (("auto", "auto", "auto"), f"no inference backend is installed; pip install 'streammat[tensorrt]' or pip install 'streammat[cuda]' or {needed}"),
        (("auto", "int8", "cpu"), f"no inference backend for int8 on the CPU is installed; {needed}"),
        (("openvino", "auto", "auto"), "openvino is not installed; pip install 'streammat[openvino]'"),
    ):
        with pytest.raises(EngineUnavailableError) as caught:
            choose(MODEL, *arguments)
        assert str(caught.value) == message
    assert installed_backends() == []


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12", "tensorrt:1", "directml:1", "coreml"])
def test_names_of_devices(device: str) -> None:
    check_device(device)


@pytest.mark.parametrize("device", ["", "gpu", "cpu:0", "coreml:0", "cuda:", "cuda:x", "cuda:²", "cuda:-1", ":1", "cuda:٣"])
def test_what_names_no_device(device: str) -> None:
    with pytest.raises(EngineError, match="^unknown device "):
        check_device(device)


def test_what_backends_find(machine: Machine) -> None:
    machine(("torch", "onnxruntime"))
    for name, message in (
        ("tpu", "unknown backend 'tpu'; expected auto, tensorrt, cuda, openvino, onnxruntime"), ("openvino", "openvino is not installed; pip install 'streammat[openvino]'"),
        ("cuda", "safetensors, which cuda needs, is not installed; pip install 'streammat[cuda]'"), ("tensorrt", "tensorrt is not installed; pip install 'streammat[tensorrt]'"),
    ):
        with pytest.raises(EngineError) as caught:
            registry.probe(name)
        assert str(caught.value) == message
    assert registry.probe("onnxruntime").devices["cpu"] == "CPUExecutionProvider"
    assert (installed_backends(), installed_backends("cuda:1"), installed_backends("coreml")) == (["onnxruntime"], ["onnxruntime"], ["onnxruntime"])
    check_present("cuda:1", SECOND_ONLY)
    for device, message in (
        ("cuda:0", "there is no cuda:0 that can be used; found are cuda:1; cuda:0: H100 is too old"), ("cuda:2", "there is no cuda:2 that can be used; found are cuda:0, cuda:1"),
    ):
        with pytest.raises(EngineUnavailableError) as caught:
            check_present(device, SECOND_ONLY if device == "cuda:0" else FIRST)
        assert str(caught.value) == message


@pytest.mark.parametrize(("processor", "system", "flags", "known", "expected"), [
    ("x86_64", "Linux", "sse4_2 avx512_vnni", (), "AVX-512 VNNI"), ("AMD64", "Windows", None, (23,), "AVX-512 VNNI"), ("i686", "Linux", "avx_vnni", (), "AVX-VNNI"),
    ("x86", "Windows", None, (101,), None), ("x86_64", "Linux", "avx2 avx_vnni_int8", (), None), ("arm64", "Darwin", None, (), "Arm dot products"),
    ("aarch64", "Linux", None, (101,), "Arm dot products"), ("ARM64", "Windows", None, (23,), None), ("riscv64", "Darwin", "avx_vnni", (23, 101), None),
])
def test_what_pays_int8(monkeypatch: pytest.MonkeyPatch, processor: str, system: str, flags: str | None, known: tuple[int, ...], expected: str | None) -> None:
    def read(path: Path, encoding: str, errors: str) -> str:
        if flags is None or str(path) != "/proc/cpuinfo":
            raise FileNotFoundError(path)
        return f"model name: Überprozessor\nflags\t\t: fpu {flags}\n".encode().decode(encoding, errors)

    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(cv2, "checkHardwareSupport", lambda feature: feature in known)
    monkeypatch.setattr(Path, "read_text", read)
    assert int8_feature() == expected


def test_numbers_that_no_engine_takes() -> None:
    for arguments, message in (({"threads": -1}, "threads is -1; expected 0 (automatic) or more"), ({"batch": 0}, "batch is 0; expected 1 or more"), ({"parallel": 0}, "parallel is 0; expected 1 or more")):
        with pytest.raises(EngineError) as caught:
            open_engine(MODEL, **arguments)
        assert str(caught.value) == message
    for size in ((0, 32), (32, -32), (33, 32), (32, 48), (32,), (32, 32, 32)):
        with pytest.raises(EngineError) as caught:
            check_size(size)  # type: ignore[arg-type]
        assert str(caught.value) == f"network input (height, width) is {size}; expected two positive multiples of 32"
    check_size((32, 64))


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (4, 4), (5, 4), (8, 4), (12, 6), (15, 7), (16, 8), (64, 8)])
def test_threads_by_cores(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)) if process == 0 else set(), raising=False)
    assert default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert default_threads() == threads
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


def test_images_that_an_engine_refuses() -> None:
    good = np.zeros((2, 32, 64, 3), np.uint8)
    for batch in (good, good[:1]):
        check_rgb(batch, (32, 64))
    expected = "expected uint8 (N, 32, 64, 3), C-contiguous"
    for bad in (good.astype(np.float32), good[0], good[:0], good[:, :, :, :2], good[:, :16], good[:, :, :32], np.zeros((1, 64, 32, 3), np.uint8)):
        with pytest.raises(EngineError) as caught:
            check_rgb(bad, (32, 64))
        assert str(caught.value) == f"engine input is {bad.dtype} {bad.shape}; {expected}"
    with pytest.raises(EngineError) as caught:
        check_rgb(np.zeros((2, 32, 64, 6), np.uint8)[:, :, :, ::2], (32, 64))
    assert str(caught.value) == f"engine input is not contiguous; {expected}; numpy.ascontiguousarray makes it so"
    for shape in ((1, 32, 64), (1, 16, 32)):
        check_alpha("mine", shape, (32, 64))
    for shape in ((1, 32, 32), (1, 8, 16), (2, 32, 64), (32, 64)):
        with pytest.raises(EngineError) as caught:
            check_alpha("mine", shape, (32, 64))
        assert str(caught.value) == f"model 'mine' gave alpha {shape} for an image of (32, 64); expected that size or half of it"


RGB, ALPHA = Port("rgb", "uint8", (None, None, None, 3)), Port("alpha", "float32", (None, None, None))


@pytest.mark.parametrize(("inputs", "outputs"), [
    ([RGB], [ALPHA]), ([Port("rgb", "uint8", (1, 32, 64, 3))], [Port("alpha", "float32", (1, 16, 32))]), ([Port("rgb", "uint8", (None, 32, None, None))], [Port("alpha", "float32", (1, 32, 64))]),
])
def test_model_files_of_the_kind(inputs: list[Port], outputs: list[Port]) -> None:
    check_contract("mine", inputs, outputs, (32, 64))


@pytest.mark.parametrize(("inputs", "outputs", "found"), [
    ([], [], "nothing to nothing"), ([RGB, RGB], [ALPHA], "rgb uint8 (?, ?, ?, 3), rgb uint8 (?, ?, ?, 3) to alpha float32 (?, ?, ?)"),
    ([RGB], [ALPHA, ALPHA], "rgb uint8 (?, ?, ?, 3) to alpha float32 (?, ?, ?), alpha float32 (?, ?, ?)"),
    ([Port("image", "uint8", (2, None, None, 3))], [ALPHA], "image uint8 (2, ?, ?, 3) to alpha float32 (?, ?, ?)"),
    ([Port("rgb", "float32", (2, 32, 64, 3))], [ALPHA], "rgb float32 (2, 32, 64, 3) to alpha float32 (?, ?, ?)"),
    ([Port("rgb", "uint8", (1, 32, 64))], [ALPHA], "rgb uint8 (1, 32, 64) to alpha float32 (?, ?, ?)"),
    ([Port("rgb", "uint8", (1, 32, 64, 4))], [ALPHA], "rgb uint8 (1, 32, 64, 4) to alpha float32 (?, ?, ?)"),
    ([RGB], [Port("alpha", "float32", (1, 8, 16))], "rgb uint8 (?, ?, ?, 3) to alpha float32 (1, 8, 16)"),
    ([RGB], [Port("alpha", "float16", (1, 32, 64))], "rgb uint8 (?, ?, ?, 3) to alpha float16 (1, 32, 64)"),
    ([RGB], [Port("matte", "float32", (1, 32, 64))], "rgb uint8 (?, ?, ?, 3) to matte float32 (1, 32, 64)"),
])
def test_model_files_of_another_kind(inputs: list[Port], outputs: list[Port], found: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_contract("mine", inputs, outputs, (32, 64))
    assert str(caught.value) == (
        f"model 'mine' is of another kind: {found}; expected rgb uint8 (N, H, W, 3) to alpha float32 (N, H, W) or (N, H/2, W/2), as `streammat model import` makes it of weights"
    )


@pytest.mark.parametrize(("shape", "found"), [((2, None, None, 3), "2 of 64x32"), ((None, 64, None, 3), "1 of 64x64"), ((1, 32, 96, 3), "1 of 96x32")])
def test_model_files_of_another_size(shape: tuple[int | None, ...], found: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_contract("mine", [Port("rgb", "uint8", shape)], [ALPHA], (32, 64))
    assert str(caught.value) == (
        f"model 'mine' takes {found} at once and nothing else, and is asked for 1 of 64x32; export it without --size and --batch, or for just that"
    )


def test_a_lack_of_memory_in_any_words() -> None:
    lacking = RuntimeError("that failed")
    lacking.__cause__ = MemoryError()
    inner = RuntimeError("that failed, too")
    inner.__context__ = RuntimeError("CUDNN_STATUS_ALLOC_FAILED here")
    for error, words in (
        (MemoryError(), "MemoryError"), (RuntimeError("std::bad_alloc"), "bad_alloc"), (lacking, "MemoryError"), (inner, "CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("Could not allocate 7 bytes"), "Could not allocate 7 bytes"), (RuntimeError("it is wrong"), None), (None, None),
    ):
        assert lack_of_memory(error) == words
    told = memory_error("OpenVINO", (32, 64), MemoryError())
    assert str(told) == "OpenVINO has too little memory for images of 64x32 (MemoryError); close other programs, or take --quality fast"
    assert memory_error("OpenVINO", (32, 64), ValueError("no")) is None


CARD = '{"name": "mine", "files": {"fp32": {"file": "a.onnx", "sha256": "1"}, "weights": {"file": "b.safetensors", "sha256": "2"}, "more": 3}, "best_areas": [9, "4"]}'


def test_cards(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(FileNotFoundError):
        read_card(path, "import it again")
    path.write_text(CARD.replace("mine", "größe"), encoding="utf-8")
    files = card_files(path, read_card(path, "import it again"), "import it again")
    sha256 = {"fp32": "1", "weights": "2"}
    assert files == ModelFiles("größe", tmp_path / "a.onnx", None, tmp_path / "b.safetensors", sha256, "import it again", (9, 4))
    path.write_text('{"name": "mine", "files": {"fp32": {"file": "a", "sha256": "1"}, "int8": {"file": "b", "sha256": "2"}}}')
    small = card_files(path, read_card(path, ""), "")
    assert (small.int8, small.weights, small.areas) == (tmp_path / "b", None, ())
    for text, message in (
        ("{", f"cannot read model card {path}: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); import it again"),
        ('{"name": "mine"}', f"model card {path} is incomplete ('files'); import it again"), ('{"files": {}}', f"model card {path} is incomplete ('fp32'); import it again"),
        ("[]", f"model card {path} is incomplete (list indices must be integers or slices, not str); import it again"),
    ):
        path.write_text(text)
        with pytest.raises(EngineError) as caught:
            read_card(path, "import it again")
        assert str(caught.value) == message
    path.write_bytes(b'{"name": "\xff"}')
    with pytest.raises(EngineError, match="^cannot read model card .*; import it again$"):
        read_card(path, "import it again")


def test_files_are_what_the_card_says(tmp_path: Path) -> None:
    paths = {kind: tmp_path / kind for kind in ("fp32", "int8", "weights")}
    for kind, path in paths.items():
        path.write_text(kind)
    digests = {kind: file_sha256(path) for kind, path in paths.items()}
    files = ModelFiles("mine", paths["fp32"], paths["int8"], paths["weights"], digests, "import it again")
    assert [files.read(kind) for kind in paths] == [b"fp32", b"int8", b"weights"]
    assert replace(files, sha256={}).read("fp32") == b"fp32"
    paths["int8"].write_text("other")
    paths["weights"].unlink()
    for asked, kind, message in (
        (files, "int8", f"model file {paths['int8']} is damaged: its sha256 is not {digests['int8']}; import it again"),
        (files, "weights", f"cannot read model file {paths['weights']}: No such file or directory; import it again"),
        (replace(files, int8=None), "int8", "model 'mine' has no int8 file; take --precision fp32 or auto"),
        (replace(files, weights=None), "weights", (
            "model 'mine' has no weights beside its ONNX file, which exports and engines cuda and tensorrt need; "
            "import it again with `streammat model import`, or run it with --engine onnxruntime"
        )),
    ):
        with pytest.raises(EngineError) as caught:
            asked.read(kind)
        assert str(caught.value) == message
    assert ModelFiles("mine", tmp_path / "none").hint == "reinstall the package"
