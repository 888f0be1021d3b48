"""Every installed engine against the protocol, on the shipped model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from gpu import cuda_or_reason, skip_or_fail

from streammat.engines.backends.cuda import CudaEngine
from streammat.engines.backends.openvino import probe as probe_openvino
from streammat.engines.base import Engine, EngineError, EngineUnavailableError, Part, TensorEngine
from streammat.engines.choice import open_engine
from streammat.engines.multiscale import SeveralSizes
from streammat.engines.registry import BACKENDS, installed_backends
from streammat.engines.shipped import shipped

SIZE = (96, 160)

Opener = Callable[[], Engine]

ON_CPU = [(backend, precision, "cpu") for backend in installed_backends() for precision in BACKENDS[backend].precisions["cpu"]]
SEVERAL = [("onnxruntime", precision, "two-sizes") for precision in ("fp32", "int8")]
# The arithmetic of the torch engine, without graphs, where there is no GPU.
TORCH_ON_CPU = [("cuda", precision, "torch-cpu") for precision in BACKENDS["cuda"].precisions["cuda"]]
ON_GPU = [
    pytest.param((backend, precision, "cuda:0"), marks=pytest.mark.gpu)
    for backend in ("tensorrt", "cuda", "onnxruntime") for precision in BACKENDS[backend].precisions["cuda"]
]


def opener(backend: str, precision: str, device: str) -> Engine:
    if device == "torch-cpu":
        return CudaEngine(shipped(), precision=precision, size=SIZE, reason="it was asked for", device="cpu", batch=2)
    if device == "two-sizes":
        engines = [open_engine(shipped(), backend, precision, SIZE, threads=2, part="focus"), open_engine(shipped(), backend, precision, (64, 128), threads=2, part="glance")]
        return SeveralSizes(engines, fused=True)
    if device == "cuda:0" and (reason := cuda_or_reason()):
        skip_or_fail(reason)
    if backend == "tensorrt":
        build_once()
    if precision == "bf16" and backend == "openvino" and probe_openvino().notes:
        with pytest.raises(EngineUnavailableError, match="no bfloat16"):
            open_engine(shipped(), backend, precision, SIZE)
        pytest.skip("this CPU has no bfloat16")
    try:
        return open_engine(shipped(), backend, precision, SIZE, threads=2, device=device, batch=2)
    except EngineUnavailableError as error:
        if device != "cuda:0":
            raise
        skip_or_fail(str(error))


@cache
def build_once() -> None:
    """An engine of TensorRT, in the user's cache, which is where it is looked for."""
    from streammat.engines.tensorrt.build import build_engine

    try:
        build_engine(shipped(), SIZE, 2)
    except EngineUnavailableError as error:
        skip_or_fail(str(error))


@pytest.mark.parametrize("backend", installed_backends())
def test_calls_in_parallel_give_what_they_give_one_after_the_other(backend: str) -> None:
    images = np.random.default_rng(3).integers(0, 256, (6, 1, *SIZE, 3), np.uint8)
    for asked, threads, expected in ((2, 2, 2), (4, 2, 2), (2, 1, 1)):
        opened = open_engine(shipped(), backend, size=SIZE, threads=threads, device="cpu", parallel=asked)
        assert (opened.spec.parallel, opened.spec.threads) == (expected, threads)
        one_by_one = [opened.infer(image) for image in images]
        with ThreadPoolExecutor(expected) as workers:
            together = list(workers.map(opened.infer, images))
        np.testing.assert_array_equal(np.stack(together), np.stack(one_by_one))
        opened.close()
        with pytest.raises(EngineError, match="closed"):
            opened.infer(images[0])


@pytest.fixture(scope="module", params=[*ON_CPU, *SEVERAL, *TORCH_ON_CPU, *ON_GPU], ids="-".join)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    backend, precision, device = request.param
    opened = opener(backend, precision, device)
    assert (opened.spec.backend, opened.spec.precision) == (backend, precision)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(rgb: np.ndarray) -> np.ndarray:
    opened = open_engine(shipped(), "onnxruntime", "fp32", SIZE)
    alpha = opened.infer(rgb)
    opened.close()
    return alpha


def test_spec_says_what_runs(engine: Engine) -> None:
    spec = engine.spec
    assert (spec.model, spec.size) == ("lite", SIZE)
    assert spec.threads == (2 if spec.device == "cpu" and spec.backend != "cuda" else 0)
    assert spec.version[0].isdigit()
    assert "asked for" in spec.reason


def test_all_are_near_fp32(engine: Engine, rgb: np.ndarray, reference: np.ndarray) -> None:
    """Noise is the hardest image there is; photographs differ by less."""
    if isinstance(engine, SeveralSizes):
        pytest.skip("it means to differ")
    difference = np.abs(engine.infer(rgb) - reference)
    precision = "bf16" if engine.spec.backend == "tensorrt" else engine.spec.precision  # some of its kernels sum halves in halves
    mean, most = {"fp32": (1e-3, 0.02), "fp16": (1e-3, 0.03), "bf16": (0.01, 0.3), "int8": (0.02, 1.0)}[precision]
    assert difference.mean() <= mean
    assert difference.max() <= most


def test_the_same_twice(engine: Engine, rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(engine.infer(rgb), engine.infer(rgb))


def test_runs_in_another_thread(engine: Engine, rgb: np.ndarray) -> None:
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(engine.infer(rgb)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], engine.infer(rgb))


def test_output_is_half_size_alpha(engine: Engine, rgb: np.ndarray) -> None:
    alpha = engine.infer(rgb)
    assert alpha.dtype == np.float32
    assert alpha.shape == (3, SIZE[0] // 2, SIZE[1] // 2)
    assert float(alpha.min()) >= 0.0
    assert float(alpha.max()) <= 1.0 + 1e-6


def test_batch_is_its_images(engine: Engine, rgb: np.ndarray) -> None:
    single = np.concatenate([engine.infer(rgb[i : i + 1]) for i in range(len(rgb))])
    # Kernels differ by the size of the batch; on a GPU in float32, too.
    most = 0.05 if engine.spec.precision in ("bf16", "fp16") else 1e-5 if engine.spec.device == "cpu" else 1e-3
    np.testing.assert_allclose(engine.infer(rgb), single, atol=most)


def test_result_outlives_the_next_call(engine: Engine, rgb: np.ndarray) -> None:
    first = engine.infer(rgb[:1])
    kept = first.copy()
    engine.infer(rgb[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", [*TORCH_ON_CPU, *[kind for kind in ON_GPU if kind.values[0][0] == "cuda"]], ids="-".join)
def test_tensors_give_what_arrays_give(kind: tuple[str, str, str], rgb: np.ndarray) -> None:
    opened = opener(*kind)
    assert isinstance(opened, TensorEngine)
    assert opened.batch == 2
    given = torch.from_numpy(rgb[:2].copy())
    alpha = opened.matte(given)
    assert alpha.dtype == torch.float32
    np.testing.assert_array_equal(alpha.cpu().numpy(), opened.infer(rgb[:2]))
    np.testing.assert_array_equal(given.numpy(), rgb[:2])
    opened.close()
    with pytest.raises(EngineError, match="closed"):
        opened.matte(given)


def test_input_is_left_alone(engine: Engine, rgb: np.ndarray) -> None:
    given = rgb[:1].copy()
    engine.infer(given)
    np.testing.assert_array_equal(given, rgb[:1])


def test_refuses_what_does_not_fit(engine: Engine, rgb: np.ndarray) -> None:
    for wrong in (rgb.astype(np.float32), rgb[0], rgb[:, :64], rgb[:0], rgb[:, :, ::-1]):
        with pytest.raises(EngineError, match="expected uint8"):
            engine.infer(wrong)


@pytest.mark.parametrize("kind", [*ON_CPU, *SEVERAL, *TORCH_ON_CPU, *ON_GPU], ids="-".join)
def test_closing(kind: tuple[str, str, str], rgb: np.ndarray) -> None:
    opened = opener(*kind)
    opened.close()
    opened.close()
    with pytest.raises(EngineError, match="closed"):
        opened.infer(rgb[:1])


def test_int8_is_the_same_file_everywhere(rgb: np.ndarray) -> None:
    results = []
    for backend in installed_backends():
        opened = open_engine(shipped(), backend, "int8", SIZE)
        results.append(opened.infer(rgb))
        opened.close()
    for other in results[1:]:
        assert np.abs(other - results[0]).mean() < 0.02


@pytest.mark.parametrize(("backend", "precision", "device"), [*[one for one in ON_CPU if one[1] != "bf16"], ("cuda", "fp32", "torch-cpu")])
def test_parts_make_alpha(backend: str, precision: str, device: str, rgb: np.ndarray) -> None:
    """Glance and focus, each by an engine of its own, are fused to the alpha of the third."""

    def found(part: Part) -> np.ndarray:
        if device == "torch-cpu":
            opened: Engine = CudaEngine(shipped(), precision=precision, size=SIZE, reason="a test", device="cpu", batch=2, part=part)
        else:
            opened = open_engine(shipped(), backend, precision, SIZE, threads=2, part=part)
        planes = opened.infer(rgb)
        opened.close()
        return planes

    glance, focus, alpha = found("glance"), found("focus"), found("alpha")
    assert (glance.shape, focus.shape) == ((3, 3, *alpha.shape[1:]), alpha.shape)
    np.testing.assert_allclose(glance.sum(axis=1), 1, atol=1e-4)
    # int8 files round alpha to 255 levels.
    np.testing.assert_allclose(glance[:, 2] + glance[:, 1] * focus, alpha, atol=6e-3 if precision == "int8" else 1e-5)


def test_parts_that_no_card_names() -> None:
    for model, said in ((replace(shipped(), parts={}), "does not say where its focus is; take --quality balanced"),
                        (replace(shipped(), parts={"focus": "/Nothing"}), "has no tensor /Nothing")):  # fmt: skip
        with pytest.raises(EngineError, match=said):
            open_engine(model, "onnxruntime", "fp32", SIZE, part="focus")


def test_several_sizes_are_fused() -> None:
    """An image that is the same everywhere, so that neither scaling nor mirroring counts."""
    sizes = (SIZE, (64, 128), (64, 96))
    planes = []
    for index, size in enumerate(sizes):
        single = open_engine(shipped(), "onnxruntime", "fp32", size, part="glance" if index else "focus")
        planes.append(single.infer(np.full((2, *size, 3), 120, np.uint8)))
        single.close()
    planes[1] = planes[1][..., ::-1]
    focus, *glances = planes
    classes = sum(np.stack([[cv2.resize(np.ascontiguousarray(p), (SIZE[1] // 2, SIZE[0] // 2)) for p in three] for three in glance]) for glance in glances) / 2
    engines = [open_engine(shipped(), "onnxruntime", "fp32", size, part="glance" if index else "focus") for index, size in enumerate(sizes)]
    several = SeveralSizes(engines, fused=True)
    np.testing.assert_allclose(several.infer(np.full((2, *SIZE, 3), 120, np.uint8)), classes[:, 2] + classes[:, 1] * focus, atol=1e-5)
    several.close()
