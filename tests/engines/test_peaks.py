"""What a device can do at best, on the one that is always there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gpu import cuda_or_reason, skip_or_fail

from streammat.engines.base import EngineError
from streammat.engines.gpu.peaks import device_memory, flop_per_picture, measure
from streammat.engines.shipped import shipped
from streammat.train.evaluation.complexity import network_complexity


def test_the_processor_s_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streammat.engines.gpu.peaks._SECONDS", 0.05)
    peaks = measure("cpu", side=64, megabytes=1)
    assert min(peaks.matrix_flops, peaks.upload_bytes, peaks.download_bytes) > 0
    assert device_memory("cpu") == 0


def test_a_device_that_is_not_there() -> None:
    device = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(EngineError, match=device) as caught:
        measure(device, side=64, megabytes=1)
    assert "\n" not in str(caught.value)


def test_arithmetic_is_twice_the_multiplications() -> None:
    """Counted by another program, on the network as it is trained."""
    known = network_complexity("lite", "TT", 256, 384)
    assert flop_per_picture(shipped(), (256, 384)) == pytest.approx(2 * known.macs, rel=0.02)
    with pytest.raises(EngineError, match="multiples of 32"):
        flop_per_picture(shipped(), (250, 384))
    with pytest.raises(EngineError, match="has no weights"):
        flop_per_picture(replace(shipped(), weights=None), (256, 384))


@pytest.mark.gpu
def test_a_gpu_s_peaks() -> None:
    if reason := cuda_or_reason():
        skip_or_fail(reason)
    peaks = measure("cuda:0")
    assert peaks.matrix_flops > 1e12
    assert min(peaks.upload_bytes, peaks.download_bytes) > 1e9
    assert device_memory("cuda:0") > 0
