"""Every engine against kept alphas of the shipped weights: neither weights nor kernels change unseen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_contract import ON_CPU, ON_GPU, SIZE, TORCH_ON_CPU, opener

from streammat.engines.choice import int8_feature
from streammat.engines.shipped import shipped

DATA = Path(__file__).parent / "data"
KEPT = json.loads((DATA / "parity.json").read_text(encoding="utf-8"))
HINT = "if that is meant, run: python tests/engines/make_parity.py"


@pytest.fixture(scope="module")
def kept() -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, H, W, 3), and their alpha, float32 (N, H/2, W/2), 0..1."""
    with np.load(DATA / "parity.npz") as arrays:
        return arrays["rgb"], arrays["alpha"].astype(np.float32) / 65535


def hold(found: np.ndarray, alpha: np.ndarray, precision: str, what: str) -> None:
    mean, largest = KEPT["bounds"][precision]
    difference = np.abs(found - alpha)
    assert found.shape == alpha.shape
    assert difference.mean() <= mean, f"{what}: alpha differs by {difference.mean():.2e} on average from what is kept, more than {mean}; {HINT}"
    assert difference.max() <= largest, f"{what}: alpha differs by {difference.max():.2e} at most from what is kept, more than {largest}; {HINT}"


def test_the_fixture_is_of_the_shipped_weights() -> None:
    assert KEPT["weights_sha256"] == shipped().sha256["weights"], f"the kept alphas are of other weights than those shipped; {HINT}"


def test_the_fixture_can_tell(kept: tuple[np.ndarray, np.ndarray]) -> None:
    """It is small, of mattes with soft edges, and a matte that is one pixel off or of another image does not pass."""
    rgb, alpha = kept
    assert rgb.shape == (len(alpha), *SIZE, 3)
    assert sum(path.stat().st_size for path in DATA.glob("parity.*")) < 100_000
    for one in alpha:
        assert one.min() < 0.01
        assert one.max() > 0.99
        assert 0.005 < ((one > 0.1) & (one < 0.9)).mean() < 0.3
    for wrong in (np.roll(alpha, 1, axis=2), np.roll(alpha, 1, axis=0), np.zeros_like(alpha), np.full_like(alpha, np.nan)):
        for precision in KEPT["bounds"]:
            with pytest.raises(AssertionError, match=r"python tests/engines/make_parity.py"):
                hold(wrong, alpha, precision, "a wrong matte")


@pytest.mark.parametrize("kind", [*ON_CPU, *TORCH_ON_CPU, *ON_GPU], ids="-".join)
def test_engines_give_what_is_kept(kind: tuple[str, str, str], kept: tuple[np.ndarray, np.ndarray]) -> None:
    if kind[1] == "int8" and int8_feature() is None:
        pytest.skip("this CPU has no int8 dot products, and what it has instead saturates")
    rgb, alpha = kept
    engine = opener(*kind)
    try:
        # Some of TensorRT's kernels sum halves in halves.
        hold(engine.infer(rgb), alpha, "bf16" if kind[0] == "tensorrt" else kind[1], "-".join(kind))
    finally:
        engine.close()
