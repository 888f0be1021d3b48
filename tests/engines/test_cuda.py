"""The torch engine on a GPU: graphs, modes, memory, and a second engine that is opened meanwhile. Nothing here runs without one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from gpu import cuda_or_reason, skip_or_fail

from streammat.engines.backends.cuda import CudaEngine, Mode, load_weights
from streammat.engines.base import EngineError
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.shipped import shipped
from streammat.models.photographs import photographs

pytestmark = pytest.mark.gpu
SIZE = (192, 352)
MOST = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.3}


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    if reason := cuda_or_reason():
        skip_or_fail(reason)


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """The photograph, moved aside a little from image to image: uint8 (4, H, W, 3)."""
    (image,) = photographs((), SIZE)
    return np.concatenate([np.roll(image, 24 * index, axis=2) for index in range(4)])


def opened(precision: str = "fp16", size: tuple[int, int] = SIZE, batch: int = 4, mode: Mode = "graph") -> CudaEngine:
    return CudaEngine(shipped(), precision=precision, size=size, reason="a test", device="cuda:0", batch=batch, mode=mode)


@pytest.mark.parametrize("precision", MOST)
def test_graphs_of_every_size_in_any_order(precision: str, rgb: np.ndarray) -> None:
    """They share their memory; what one gave must outlive the next."""
    graph, eager = opened(precision), opened(precision, mode="eager")
    expected = {count: eager.infer(rgb[:count]) for count in (1, 2, 3, 4)}
    found = [(count, graph.matte(torch.from_numpy(rgb[:count]).cuda())) for count in (4, 1, 3, 2, 4, 2, 1, 3)]
    for count, alpha in found:
        assert np.abs(alpha.cpu().numpy() - expected[count]).max() <= MOST[precision]
    for engine in (graph, eager):
        engine.close()


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_float32_is_no_tf32(mode: Mode, rgb: np.ndarray) -> None:
    with torch.no_grad():
        expected = FoldedMatte(load_weights(shipped()))(torch.from_numpy(rgb)).numpy()
    engine = opened("fp32", mode=mode)
    assert np.abs(engine.infer(rgb) - expected).mean() <= 4e-6  # TF32 is off by 1.5e-5, as halves are
    engine.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled(rgb: np.ndarray) -> None:
    compiled, graph = opened(mode="compiled"), opened()
    for count in (4, 1):
        assert np.abs(compiled.infer(rgb[:count]) - graph.infer(rgb[:count])).max() <= MOST["fp16"]
    for engine in (compiled, graph):
        engine.close()


@pytest.fixture
def limit() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def allow(mebibytes: int) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + mebibytes * 2**20) / total))


def test_too_little_memory(limit: None, caplog: pytest.LogCaptureFixture) -> None:
    size = (736, 1280)
    allow(1024)
    with caplog.at_level(logging.WARNING):
        engine = opened(size=size, batch=64)
    assert 1 <= engine.batch < 64
    assert "holds no batch of 64" in caplog.text
    assert engine.infer(np.zeros((engine.batch + 1, *size, 3), np.uint8)).shape == (engine.batch + 1, 368, 640)
    engine.close()
    allow(24)
    with pytest.raises(EngineError, match="^cuda:0 has too little memory .*GiB are free.*--quality fast, or --device cpu$"):
        opened(size=size)


def test_an_engine_is_opened_while_another_works(rgb: np.ndarray) -> None:
    """As live video does when it changes its quality: a graph is captured in one thread, others are replayed in a second."""
    first = opened(batch=1)
    expected = first.infer(rgb[:1])
    done, results = threading.Event(), []

    def work() -> None:
        while not done.is_set():
            results.append(first.infer(rgb[:1]))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for size in ((64, 96), (160, 288), (96, 64)) * 3:
            other = opened(size=size, batch=2)
            other.infer(np.zeros((3, *size, 3), np.uint8))
            other.close()
    finally:
        done.set()
        thread.join(60)
    assert len(results) > 5
    for result in results:
        np.testing.assert_array_equal(result, expected)
    first.close()
