"""Every installed engine against the protocol, on the shipped model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engines.auto import PRECISIONS, installed_backends, open_engine
from engines.base import Engine, EngineError
from streammat.models import shipped

SIZE = (96, 160)


@pytest.fixture(scope="module", params=[(b, p) for b in installed_backends() for p in PRECISIONS], ids="-".join)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    backend, precision = request.param
    opened = open_engine(shipped(), backend, precision, SIZE, threads=2)
    assert (opened.spec.backend, opened.spec.precision) == (backend, precision)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


def test_spec_says_what_runs(engine: Engine) -> None:
    spec = engine.spec
    assert (spec.model, spec.device, spec.threads, spec.size) == ("lite", "cpu", 2, SIZE)
    assert spec.version[0].isdigit()
    assert "asked for" in spec.reason


def test_output_is_half_size_alpha(engine: Engine, rgb: np.ndarray) -> None:
    alpha = engine.infer(rgb)
    assert alpha.dtype == np.float32
    assert alpha.shape == (3, SIZE[0] // 2, SIZE[1] // 2)
    assert float(alpha.min()) >= 0.0
    assert float(alpha.max()) <= 1.0 + 1e-6


def test_batch_is_its_pictures(engine: Engine, rgb: np.ndarray) -> None:
    single = np.concatenate([engine.infer(rgb[i : i + 1]) for i in range(len(rgb))])
    np.testing.assert_allclose(engine.infer(rgb), single, atol=1e-5)


def test_result_outlives_the_next_call(engine: Engine, rgb: np.ndarray) -> None:
    first = engine.infer(rgb[:1])
    kept = first.copy()
    engine.infer(rgb[1:2])
    np.testing.assert_array_equal(first, kept)


def test_input_is_left_alone(engine: Engine, rgb: np.ndarray) -> None:
    given = rgb[:1].copy()
    engine.infer(given)
    np.testing.assert_array_equal(given, rgb[:1])


def test_refuses_what_does_not_fit(engine: Engine, rgb: np.ndarray) -> None:
    for wrong in (rgb.astype(np.float32), rgb[0], rgb[:, :64], rgb[:0], rgb[:, :, ::-1]):
        with pytest.raises(EngineError, match="expected uint8"):
            engine.infer(wrong)


@pytest.mark.parametrize("backend", installed_backends())
def test_closing(backend: str, rgb: np.ndarray) -> None:
    opened = open_engine(shipped(), backend, "fp32", SIZE)
    opened.close()
    opened.close()
    with pytest.raises(EngineError, match="closed"):
        opened.infer(rgb[:1])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_backends_agree(precision: str, rgb: np.ndarray) -> None:
    results = []
    for backend in installed_backends():
        opened = open_engine(shipped(), backend, precision, SIZE)
        results.append(opened.infer(rgb))
        opened.close()
    for other in results[1:]:
        assert np.abs(other - results[0]).mean() < (1e-4 if precision == "fp32" else 0.02)
