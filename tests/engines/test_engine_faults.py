"""What goes wrong with engines: files, devices, combinations, builds, memory. Each is one line that names the hint."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from running import QUICK, REPOSITORY, call
from safetensors.torch import save_file

from streammat.engines import choice as auto
from streammat.engines.backends import cuda as cuda_engine
from streammat.engines.backends import onnxruntime as onnxruntime_engine
from streammat.engines.backends.cuda import CudaEngine
from streammat.engines.backends.nvidia import Gpus
from streammat.engines.base import EngineError, EngineUnavailableError
from streammat.engines.choice import choose, open_engine
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.checkpoint import save_network
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM
from streammat.engines.registry import installed_backends
from streammat.engines.shipped import shipped

SIZE = (64, 96)
NO_GPU = Gpus((), "", "no NVIDIA driver is installed (libcuda.so.1 is not there); install one, or take --device cpu")
ONE_GPU = Gpus(("Some GPU",), "13.0", "")


def one_line(action: Callable[[], object], *words: str, kind: type[EngineError] = EngineError) -> None:
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


# --------------------------------------------------------------------------------------------------------------------
# Files


def on_torch(weights: Path | None, sha256: dict[str, str] | None = None) -> CudaEngine:
    files = ModelFiles("mine", shipped().fp32, weights=weights, sha256=sha256 or {})
    return CudaEngine(files, precision="fp32", size=SIZE, reason="to test", device="cpu")


def test_weights_that_engines_of_torch_cannot_use(tmp_path: Path) -> None:
    good, path = shipped().weights, tmp_path / "x.safetensors"
    assert good is not None
    content = good.read_bytes()
    for damaged in (content[: len(content) // 2], content[:7], b"", b"no weights" * 99):
        path.write_bytes(damaged)
        one_line(lambda: on_torch(path), "cannot read weights", "x.safetensors")
        one_line(lambda: on_torch(path, dict(shipped().sha256)), "is damaged", "reinstall the package")
    save_file({"layer.weight": torch.zeros(3)}, path)
    one_line(lambda: on_torch(path), "not of a network that this version knows")
    save_file({"layer.weight": torch.zeros(3)}, path, metadata={"network": "lite"})
    one_line(lambda: on_torch(path), "'layer.weight' is not known")
    save_network(GFM("lite"), path)
    path.write_bytes(path.read_bytes().replace(b'"lite"', b'"late"', 1))
    one_line(lambda: on_torch(path), "no network named 'late'")
    one_line(lambda: on_torch(tmp_path / "missing.safetensors"), "cannot read model file")
    one_line(lambda: on_torch(None), "has no weights beside its ONNX file", "import it again")
    one_line(lambda: CudaEngine(shipped(), precision="fp32", size=(90, 160), reason="to test", device="cpu"), "multiples of 32")


@pytest.mark.parametrize("backend", installed_backends())
def test_a_file_cut_off_anywhere(backend: str, tmp_path: Path) -> None:
    content, path = shipped().fp32.read_bytes(), tmp_path / "x.onnx"
    for length in (0, 1, 100, len(content) - 1):
        path.write_bytes(content[:length])
        one_line(lambda: open_engine(ModelFiles("x", path), backend, "fp32", SIZE), "'x'")


@pytest.mark.parametrize("backend", installed_backends())
def test_weights_in_the_place_of_a_model_file(backend: str) -> None:
    weights = shipped().weights
    assert weights is not None
    one_line(lambda: open_engine(ModelFiles("x", weights), backend, "fp32", SIZE), "cannot load model 'x'")


# --------------------------------------------------------------------------------------------------------------------
# Devices and combinations


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "openvino", "--device", "cuda"), ("openvino does not run on cuda", "it runs on cpu")),
        (("--engine", "cuda", "--device", "cpu"), ("cuda does not run on cpu", "it runs on cuda")),
        (("--engine", "onnxruntime", "--precision", "bf16"), ("onnxruntime on cpu has no bf16", "fp32, int8", "bf16 is to be had from", "openvino on cpu")),
        (("--engine", "openvino", "--precision", "fp16"), ("openvino on cpu has no fp16", "tensorrt on cuda")),
        (("--engine", "cuda", "--precision", "int8"), ("has no int8", "int8 is to be had from openvino on cpu")),
        (("--device", "cpu", "--precision", "fp16"), ("no backend computes fp16 on the cpu",)),
        (("--device", "cuda", "--precision", "int8"), ("computes no int8 there",)),
        (("--device", "gpu"), ("unknown device 'gpu'", "cuda:1 for the second")),
        (("--device", "cpu:1"), ("unknown device 'cpu:1'",)),
        (("--device", "cuda:"), ("unknown device 'cuda:'",)),
        (("--engine", "onnxruntime", "--device", "directml"), ("has no dmlexecutionprovider", "onnxruntime-directml", "--device cpu")),
        (("--engine", "onnxruntime", "--device", "cuda"), ("has no cudaexecutionprovider", "onnxruntime-gpu", "--device cpu")),
        (("--device", "tensorrt"), ("has no tensorrtexecutionprovider", "onnxruntime-gpu")),
        (("--device", "cuda"), ("--device cpu",)),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with every backend's Python parts and no GPU."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: NO_GPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    target = tmp_path / "out.png"
    done = call("image", REPOSITORY / "docs" / "result.jpg", target, "--quality", "fast", *arguments)
    done.refused(1, *words)
    assert not target.exists()


def test_torch_without_cuda_says_which_of_the_two_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: NO_GPU)
    one_line(cuda_engine.probe, "is a build without CUDA", "no NVIDIA driver is installed", "--device cpu", kind=EngineUnavailableError)
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: ONE_GPU)
    one_line(cuda_engine.probe, "is a build without CUDA", "pip uninstall torch", "CUDA 13.0 or older", kind=EngineUnavailableError)


def test_torch_with_cuda_and_no_gpu_or_an_old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: NO_GPU)
    one_line(cuda_engine.probe, "no NVIDIA driver is installed", kind=EngineUnavailableError)
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: replace(ONE_GPU, driver="12.1"))
    one_line(cuda_engine.probe, "the driver serves CUDA 12.1", "needs 13.0", "update the driver", kind=EngineUnavailableError)
    monkeypatch.setattr(cuda_engine, "find_gpus", lambda: replace(ONE_GPU, driver="13.0"))
    one_line(cuda_engine.probe, "the driver serves CUDA 13.0", "still cannot start it", "nvidia-smi", kind=EngineUnavailableError)


def with_gpus(monkeypatch: pytest.MonkeyPatch, *gpus: tuple[str, tuple[int, int]]) -> None:
    """A build of torch for CUDA 13 and GPUs of these names and compute capabilities."""
    names = tuple(name for name, _ in gpus)
    for module in (cuda_engine, auto):
        monkeypatch.setattr(module, "find_gpus", lambda: Gpus(names, "13.0", ""))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: gpus[index][0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: gpus[index][1])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_86", "sm_90a", "sm_100", "compute_120"])


def test_gpus_that_torch_was_not_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch finds them, and fails at their first kernel."""
    with_gpus(monkeypatch, ("GTX 1080", (6, 1)))
    one_line(cuda_engine.probe, "GTX 1080 has compute capability 6.1", "built for sm_75, sm_80", "--device cpu", kind=EngineUnavailableError)
    taken = choose(shipped(), "auto", "auto", "auto", SIZE)
    assert taken.device == "cpu"
    assert "GTX 1080 is here but not used" in taken.reason
    new = ("Turing", (7, 5)), ("Ada", (8, 9)), ("Hopper", (9, 0)), ("Blackwell", (12, 0)), ("later", (13, 1))
    with_gpus(monkeypatch, ("GTX 1080", (6, 1)), ("Volta", (7, 2)), ("Thor", (11, 0)), *new)
    found = cuda_engine.probe()
    assert [found.devices[f"cuda:{3 + index}"] for index in range(len(new))] == [name for name, _ in new]
    assert (len(found.devices), len(found.notes)) == (len(new), 3)
    engine = partial(CudaEngine, shipped(), precision="fp16", size=SIZE, reason="to test")
    one_line(lambda: engine(device="cuda:0"), "there is no cuda:0 that can be used", "found are cuda:3", "GTX 1080 has", kind=EngineUnavailableError)
    one_line(lambda: engine(device="cuda:9"), "there is no cuda:9 that can be used", "found are cuda:3", kind=EngineUnavailableError)
    taken = choose(shipped(), "auto", "auto", "auto", SIZE)
    assert (taken.backend, taken.device, taken.precision) == ("cuda", "cuda:3", "fp16")
    assert "Turing is here" in taken.reason


def test_cuda_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, ("Some GPU", (9, 0)))

    def fail(_index: int) -> str:
        raise RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu.\nmore lines")

    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    one_line(cuda_engine.probe, "CUDA does not start: CUDA driver initialization failed", "nvidia-smi", kind=EngineUnavailableError)


# --------------------------------------------------------------------------------------------------------------------
# ONNX Runtime: providers and builds


def with_provider(monkeypatch: pytest.MonkeyPatch, session: Callable[..., Any]) -> None:
    """A build that has CUDA's provider, which no machine without a GPU can start."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def on_cuda() -> object:
    return open_engine(shipped(), "onnxruntime", "fp32", SIZE, device="cuda:0")


def test_a_provider_that_is_left_out_silently(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """What ONNX Runtime does where CUDA's libraries are missing: a real session, on the CPU after all."""
    real, asked = onnxruntime.InferenceSession, []

    def session(content: bytes, options: Any, providers: list[Any], **more: Any) -> Any:
        asked.append((providers, more))
        return real(content, options, providers=["CPUExecutionProvider"])

    def preload() -> None:
        asked.append("CUDA's libraries")
        print("Failed to load libcublasLt.so.13")  # as it does

    with_provider(monkeypatch, session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    one_line(on_cuda, "CUDAExecutionProvider but cannot start it", "cuDNN", "--device cpu", kind=EngineUnavailableError)
    assert capfd.readouterr().out == ""
    first, (providers, more) = asked
    assert first == "CUDA's libraries"
    assert providers[0][0] == "CUDAExecutionProvider"
    assert providers[0][1]["device_id"] == "0"
    assert more == {"enable_fallback": 0}


def test_a_provider_that_fails_to_start(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def session(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version\nat somewhere.cc:1")

    with_provider(monkeypatch, session)
    one_line(on_cuda, "with CUDAExecutionProvider: CUDA failure 35", "check that the driver", "--device cpu", kind=EngineUnavailableError)
    assert capfd.readouterr().out == ""


def test_a_provider_that_fails_in_mid_run(monkeypatch: pytest.MonkeyPatch) -> None:
    real = onnxruntime.InferenceSession

    def session(content: bytes, options: Any, **_: Any) -> Any:
        inner = real(content, options, providers=["CPUExecutionProvider"])

        def fail(*_: Any) -> Any:
            raise onnxruntime.capi.onnxruntime_pybind11_state.EPFail("CUDNN_STATUS_EXECUTION_FAILED\nmore")

        return SimpleNamespace(
            get_inputs=inner.get_inputs, get_outputs=inner.get_outputs, get_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"], run=fail
        )

    with_provider(monkeypatch, session)
    engine: Any = on_cuda()
    assert (engine.spec.device, engine.spec.threads) == ("cuda:0", 0)
    one_line(lambda: engine.infer(np.zeros((1, *SIZE, 3), np.uint8)), "ONNX Runtime failed: CUDNN_STATUS_EXECUTION_FAILED")


def test_builds_over_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_engine, "_is_installed", lambda name: name in ("onnxruntime", "onnxruntime-gpu"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    (note,) = onnxruntime_engine.probe().notes
    assert "onnxruntime and onnxruntime-gpu are installed over each other" in note
    assert "pip uninstall all of them, then pip install the one that is wanted" in note
    one_line(on_cuda, "has no CUDAExecutionProvider", "installed over each other", "pip uninstall all of them", kind=EngineUnavailableError)


def test_what_is_left_of_a_removed_build(tmp_path: Path) -> None:
    """The folder without its modules, as it is when one of two builds is uninstalled: Python imports it without a word."""
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    code = (
        "import sys\n"
        "sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod(lambda name, path=None, target=None: "
        f"__import__('importlib.machinery').machinery.PathFinder.find_spec(name, [{str(tmp_path)!r}]) if name == 'onnxruntime' else None)}}))\n"
        "from streammat.engines.choice import open_engine\n"
        "from streammat.engines.base import EngineUnavailableError\n"
        "from streammat.engines.shipped import shipped\n"
        "try: open_engine(shipped(), 'onnxruntime', 'fp32', (64, 96))\n"
        "except EngineUnavailableError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert "is there in part only" in done.stdout
    assert str(tmp_path) in done.stdout
    assert "pip install --force-reinstall onnxruntime" in done.stdout


# --------------------------------------------------------------------------------------------------------------------
# Memory


TIGHT = """
import json, resource, sys
import numpy as np
from streammat.engines.choice import open_engine
from streammat.engines.base import EngineError
from streammat.engines.shipped import shipped
backend, height, width = sys.argv[1], 2176, 3840
__import__(backend)
rgb = np.zeros((1, height, width, 3), np.uint8)
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
try:
    open_engine(shipped(), backend, "fp32", (height, width), 1).infer(rgb)
    print(json.dumps("it ran"))
except EngineError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of processes")
@pytest.mark.parametrize("backend", installed_backends())
def test_too_little_memory(backend: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", TIGHT, backend], capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    message = json.loads(done.stdout)
    assert "has too little memory for images of 3840x2176" in message
    assert "--quality fast" in message
    assert "\n" not in message


LACKS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore lines"),
    RuntimeError("CUDA error: out of memory\nmore lines"),  # of the driver, where torch's allocator did not come to ask
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation after trying 9 plans."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_too_little_memory_for_a_batch_on_a_device(lack: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is halved, with a warning; where one image is too much, or the weights are, that is said."""
    most = [2]
    whole = FoldedMatte.forward

    def forward(self: FoldedMatte, rgb: torch.Tensor) -> torch.Tensor:
        if len(rgb) > most[0]:
            raise lack
        return whole(self, rgb)

    monkeypatch.setattr(FoldedMatte, "forward", forward)
    with caplog.at_level(logging.WARNING):
        engine = CudaEngine(shipped(), precision="fp32", size=SIZE, reason="to test", device="cpu", batch=8)
    assert engine.batch == 2
    assert [record.args for record in caplog.records] == [("cpu", 8, 4), ("cpu", 4, 2)]
    assert engine.infer(np.zeros((5, *SIZE, 3), np.uint8)).shape[0] == 5
    most[0] = 0
    words = ("cpu has too little memory for", "1 of 96x64 at once", "--quality fast", "--device cpu")
    one_line(lambda: engine.infer(np.zeros((1, *SIZE, 3), np.uint8)), *words)
    one_line(lambda: CudaEngine(shipped(), precision="fp32", size=SIZE, reason="to test", device="cpu", batch=8), *words)

    def no_room(*_: Any, **__: Any) -> Any:
        raise lack

    monkeypatch.setattr(FoldedMatte, "to", no_room)
    one_line(lambda: CudaEngine(shipped(), precision="fp32", size=SIZE, reason="to test", device="cpu"), "cpu has too little memory for the weights of 'lite'")


def test_a_device_that_fails_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any) -> Any:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")

    monkeypatch.setattr(FoldedMatte, "forward", forward)
    one_line(lambda: CudaEngine(shipped(), precision="fp32", size=SIZE, reason="to test", device="cpu", batch=8), "cpu failed: CUDA error: no kernel image is available")


def test_what_a_device_tells_only_when_it_is_waited_for() -> None:
    class Launched:
        def cpu(self) -> Any:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")

    images = np.zeros((1, *SIZE, 3), np.uint8)
    one_line(lambda: cuda_engine.run_on_host(lambda _rgb: cast("Any", Launched()), images, 1, "cpu"), "cpu failed: CUDA error: an illegal memory access")


@pytest.mark.parametrize("backend", installed_backends())
def test_memory_that_ends_in_mid_run(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = open_engine(shipped(), backend, "fp32", SIZE)

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    broken = SimpleNamespace(run=fail, infer=fail)
    if backend == "onnxruntime":
        monkeypatch.setattr(engine, "_session", broken)
    else:
        monkeypatch.setattr(engine, "_requests", SimpleNamespace(get=lambda: broken, put=lambda _: None))
    one_line(lambda: engine.infer(np.zeros((1, *SIZE, 3), np.uint8)), "has too little memory for images of 96x64")


# --------------------------------------------------------------------------------------------------------------------
# Threads


@pytest.mark.parametrize("backend", installed_backends())
def test_engines_side_by_side_do_not_disturb_each_other(backend: str) -> None:
    """Two engines of unlike size, each in a thread of its own, opened, used and closed there."""
    rng = np.random.default_rng(2)
    images = {size: rng.integers(0, 256, (1, *size, 3), dtype=np.uint8) for size in (SIZE, (96, 64))}
    alone, together = {}, {size: [] for size in images}
    for size, rgb in images.items():
        engine = open_engine(shipped(), backend, "fp32", size, threads=1)
        alone[size] = engine.infer(rgb)
        engine.close()

    def work(size: tuple[int, int]) -> None:
        engine = open_engine(shipped(), backend, "fp32", size, threads=1)
        for _ in range(5):
            together[size].append(engine.infer(images[size]))
        engine.close()

    threads = [threading.Thread(target=work, args=(size,)) for size in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for size, results in together.items():
        assert len(results) == 5
        for result in results:
            np.testing.assert_array_equal(result, alone[size])


def test_the_command_line_gives_one_line_for_too_large_a_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, seen by a user."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    done = call("image", REPOSITORY / "docs" / "result.jpg", tmp_path / "out.png", *QUICK)
    done.refused(1, "onnx runtime has too little memory", "bad_alloc", "--quality fast")
    assert not (tmp_path / "out.png").exists()
