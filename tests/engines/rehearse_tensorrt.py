"""Run in a process of its own by `test_tensorrt.py`: our TensorRT code with a stand-in for ``tensorrt``, on a machine without a GPU.

``rehearse_tensorrt.py run FOLDER``: what runs engines, on a small network written by hand.
``rehearse_tensorrt.py build FOLDER``: all of `streammat engine build` for the shipped model, and the engine run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "stand_in"))

import numpy as np
import torch
from onnx import TensorProto, helper

DEVICE = "cpu"


def pretend() -> None:
    """What these modules ask of torch.cuda, answered for the CPU."""

    class Stream:
        cuda_stream = 0

        def __init__(self, *_args: Any) -> None: ...
        def wait_stream(self, _other: Any) -> None: ...
        def synchronize(self) -> None: ...

    class CUDAGraph:
        """What TensorRT is asked to do within `graph` is kept, and done by `replay`."""

        def __init__(self) -> None:
            self.calls: list[Any] = []

        def replay(self) -> None:
            for call in self.calls:
                call()

    @contextlib.contextmanager
    def graph(into: CUDAGraph, **_options: Any) -> Any:
        import tensorrt as trt

        trt.IExecutionContext.captured = into.calls
        try:
            yield
        finally:
            trt.IExecutionContext.captured = None

    cuda: Any = torch.cuda
    cuda.device = cuda.stream = lambda _given: contextlib.nullcontext()
    cuda.Stream, cuda.graph, cuda.CUDAGraph = Stream, graph, CUDAGraph
    cuda.current_stream = lambda _device=None: Stream()
    cuda.synchronize = cuda.empty_cache = lambda *_args: None
    cuda.mem_get_info = lambda *_args: (2**30, 2**30)
    cuda.current_device = lambda: 0
    cuda.get_device_capability = lambda *_args: (9, 0)
    torch.Tensor.record_stream = lambda _self, _stream: None  # type: ignore[method-assign, assignment]
    from streammat.engines import registry as backends
    from streammat.engines.backends import cuda as cuda_engine
    from streammat.engines.backends.nvidia import Gpus
    from streammat.engines.tensorrt import engine as tensorrt_engine

    def probe() -> backends.Probe:
        return backends.Probe(torch.__version__, {DEVICE: "Stand-in"})

    cuda_engine.probe = probe
    tensorrt_engine.find_gpus = lambda: Gpus(("Stand-in",), "13.0", "", ("9.0",))
    tensorrt_engine.driver_version = lambda: "580.1"
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s", stream=sys.stderr)


def by_hand(batch: int, size: tuple[int, int], *, output: int = TensorProto.FLOAT) -> bytes:
    """A plan whose alpha is the mean of the colours over 255, at half size."""
    import tensorrt as trt

    nodes = [
        helper.make_node("Cast", ["rgb"], ["given"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["given"], ["mean"], axes=[3], keepdims=0),
        helper.make_node("Slice", ["mean", "start", "end", "axes", "steps"], ["part"]),
        helper.make_node("Div", ["part", "most"], ["alpha"]),
        helper.make_node("Cast", ["alpha"], ["output0"], to=output),
    ]
    numbers = {"start": [0, 0], "end": [*size], "axes": [1, 2], "steps": [2, 2]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [2], values) for name, values in numbers.items()]
    constants.append(helper.make_tensor("most", TensorProto.FLOAT, [], [255.0]))
    given = helper.make_tensor_value_info("rgb", TensorProto.UINT8, (batch, *size, 3))
    made = helper.make_tensor_value_info("output0", output, (batch, size[0] // 2, size[1] // 2))
    graph = helper.make_graph(nodes, "by hand", [given], [made], constants)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    builder = trt.Builder(trt.ILogger())
    network = builder.create_network()
    assert trt.OnnxParser(network, builder.logger).parse(content)
    return bytes(builder.build_serialized_network(network, builder.create_builder_config()))


def refused(call: Any, *words: str) -> None:
    from streammat.engines.base import EngineError

    try:
        call()
    except EngineError as error:
        assert all(word in str(error) for word in words), f"{error} lacks one of {words}"
        assert "\n" not in str(error)
    else:
        raise AssertionError(f"not refused: {words}")


def run(folder: Path) -> None:
    import tensorrt as trt

    from streammat.engines import choice as auto
    from streammat.engines.choice import open_engine
    from streammat.engines.shipped import shipped
    from streammat.engines.tensorrt import build as tensorrt_build
    from streammat.engines.tensorrt import engine as tensorrt_engine
    from streammat.engines.tensorrt.cache import EngineCache
    from streammat.engines.tensorrt.engine import DeviceEngine, TensorRtEngine, find_built, key_here

    size, batch = (64, 96), 2
    cache, model = EngineCache(folder), shipped()

    def opened() -> TensorRtEngine:
        return TensorRtEngine(model, precision="fp16", size=size, reason="it was asked for", device=DEVICE, batch=batch, built=cache)

    assert find_built(model, size, batch, DEVICE, cache) is None
    refused(opened, "none has been built", "streammat engine build --model lite --network-size 96x64 --batch 2")
    key = key_here(model, size, batch, DEVICE)
    plan = by_hand(batch, size)
    entry = cache.store("lite", key, plan, {})
    found = find_built(model, size, batch, DEVICE, cache)
    assert found is not None
    assert found.name == entry.name
    assert find_built(model, size, 1, DEVICE, cache) is None

    engine = opened()
    assert (engine.spec.backend, engine.spec.precision, engine.spec.version) == ("tensorrt", "fp16", trt.__version__)
    rgb = np.random.default_rng(0).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    expected = rgb.mean(axis=3)[:, ::2, ::2] / 255
    alpha = engine.infer(rgb)  # two whole batches and a half one
    assert alpha.dtype == np.float32
    assert np.abs(alpha - expected).max() < 2e-3
    np.testing.assert_array_equal(engine.infer(rgb[4:]), alpha[4:])
    rgb.setflags(write=False)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(engine.infer(rgb)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], alpha)
    kept = engine.matte(torch.from_numpy(rgb[:1].copy()))
    engine.infer(rgb[1:2])
    np.testing.assert_array_equal(kept.numpy(), alpha[:1])
    refused(lambda: engine.infer(rgb[:, :32]), "expected uint8")
    engine.close()
    engine.close()
    refused(lambda: engine.infer(rgb), "closed")
    refused(lambda: engine.matte(torch.from_numpy(rgb.copy())), "closed")

    # What auto takes, and what it does with an engine that is of another machine.
    auto.find_gpus = tensorrt_engine.find_gpus
    environment_folder = tensorrt_engine.EngineCache().folder
    assert environment_folder == folder, environment_folder
    assert auto._find_built(model, "auto", DEVICE, size, batch) == "tensorrt"
    assert not auto._find_built(model, "fp32", DEVICE, size, batch)
    refused(lambda: open_engine(model, "tensorrt", "fp32", size), "tensorrt on cuda:0 has no fp32")
    tensorrt_engine.driver_version = lambda: "590.2"
    refused(opened, "driver 580.1, here 590.2", "streammat engine build")
    assert not auto._find_built(model, "auto", DEVICE, size, batch)
    tensorrt_engine.driver_version = lambda: "580.1"

    # Plans that must not run.
    refused(lambda: DeviceEngine(b"no plan", "lite", size, batch, DEVICE), "refuses the engine", "magic tag")
    refused(lambda: DeviceEngine(by_hand(1, size), "lite", size, batch, DEVICE), "of another kind", "expected uint8 (2, 64, 96, 3)")
    refused(lambda: DeviceEngine(by_hand(batch, size, output=TensorProto.FLOAT16), "lite", size, batch, DEVICE), "of another kind")
    original = trt.ICudaEngine.create_execution_context
    trt.ICudaEngine.create_execution_context = lambda _self: None
    refused(opened, "too little memory", "1.0 GiB are free")
    trt.ICudaEngine.create_execution_context = original

    @contextlib.contextmanager
    def forbidden(*_args: Any, **_options: Any) -> Any:
        yield
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture\nmore lines")

    cuda: Any = torch.cuda
    allowed, cuda.graph = cuda.graph, forbidden
    refused(opened, "cpu failed: CUDA error: operation failed due to a previous error during capture")
    cuda.graph = allowed
    entry.plan.write_bytes(plan[:-1])
    refused(opened, "damaged", f"expected {len(plan)}", "streammat engine remove")
    entry.plan.write_bytes(plan[:-1] + b"?")
    refused(opened, "damaged", "sha256")
    entry.plan.unlink()
    refused(opened, "cannot read engine")

    # Building without onnx.
    tensorrt_build.find_spec = lambda _name: None
    refused(lambda: tensorrt_build.build_engine(model, size, cache=cache, device=DEVICE), "onnx", "pip install")
    del environment_folder


def build(folder: Path) -> None:
    import tensorrt as trt

    from streammat.engines.shipped import shipped
    from streammat.engines.tensorrt import build as tensorrt_build
    from streammat.engines.tensorrt.cache import BuildOptions, EngineCache
    from streammat.engines.tensorrt.engine import TensorRtEngine
    from streammat.models.photographs import photographs

    size = (64, 96)
    cache, model = EngineCache(folder), shipped()
    phases: list[tuple[str, float]] = []
    options = BuildOptions(workspace=2**28, optimization_level=4, hardware_compatible=True)
    (image,) = photographs((), size)
    # Half precision is slow on a CPU, and every build below is of the same network.
    exported, export = [], tensorrt_build.export_half
    tensorrt_build.export_half = lambda *given: exported[0] if exported else exported.append(export(*given)) or exported[0]

    def built(**more: Any) -> tuple[Any, bool]:
        return tensorrt_build.build_engine(
            model, size, device=DEVICE, options=options, images=[image], cache=cache, progress=lambda phase, done: phases.append((phase, done)), **more
        )

    # A build that fails leaves nothing, and says why.
    trt.Builder.fault = "[optimizer.cpp] Error Code 10: Could not find any implementation for node"
    refused(built, "TensorRT cannot build 'lite'", "Could not find any implementation")
    trt.Builder.fault = "[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)"
    refused(built, "too little memory for building 'lite'", "smaller --batch, --quality or --workspace")
    trt.Builder.fault = ""
    assert not [path for path in folder.iterdir() if path.suffix in (".plan", ".json")]

    entry, fresh = built()
    assert fresh
    config = trt.Builder.configs[-1]
    assert (config.limits, config.builder_optimization_level) == ({"WORKSPACE": 2**28}, 4)
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert {phase for phase, _ in phases} == {"Building Engine"}
    assert phases[-1][1] == 1.0
    assert cache.timings(entry.key).read_bytes() == b"timed "
    assert entry.details["parity"]["mean"] < 2e-3, entry.details
    assert entry.details["layers"]["half"] > 100
    again, fresh = built()
    assert not fresh
    assert again == entry
    # A damaged one is built again, with the kernels' timings of before.
    entry.plan.write_bytes(b"")
    repaired, fresh = built()
    assert fresh
    assert cache.timings(entry.key).read_bytes() == b"timed timed "
    engine = TensorRtEngine(model, precision="fp16", size=size, reason="it was asked for", device=DEVICE, batch=1, built=cache)
    alpha = engine.infer(image)
    assert alpha.shape == (1, 32, 48)
    engine.close()

    # Ctrl-C, and a parity that is out of bounds.
    def interrupt(*_args: Any) -> None:
        raise KeyboardInterrupt

    joined = threading.Thread.join

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        joined(self, timeout)
        if self.name == "streammat-build-engine" and timeout is not None:
            raise KeyboardInterrupt

    threading.Thread.join = join  # type: ignore[method-assign]
    try:
        built(force=True)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the interruption was lost")
    threading.Thread.join = joined  # type: ignore[method-assign]
    assert not [thread for thread in threading.enumerate() if thread.name == "streammat-build-engine"]
    tensorrt_build.LARGEST_MEAN = 0.0
    refused(lambda: built(force=True), "disagrees with torch", "not kept")
    assert cache.read(repaired)
    print(json.dumps(dict(entry.details)))


if __name__ == "__main__":
    pretend()
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]))
    else:
        build(Path(sys.argv[2]))
