"""Several sizes as one, of passes that say what they were shown."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from streammat.engines.base import EngineError, EngineSpec
from streammat.engines.multiscale import SeveralSizes


class Pass:
    """Gives the red of every second pixel as alpha, and keeps what it was shown."""

    def __init__(self, height: int, width: int) -> None:
        self.spec = EngineSpec("some", "none", "fp32", "cpu", 1, (height, width), "0", "it was asked for")
        self.shown: Any = None
        self.closed = 0

    def infer(self, rgb: Any) -> Any:
        self.shown = rgb
        return rgb[:, ::2, ::2, 0].astype(np.float32) / 255

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def rgb() -> Any:
    """Lines of one pixel, which only a mean over all of them brings to another size, brighter to the right."""
    image = np.zeros((2, 128, 192, 3), np.uint8)
    image[:, ::4, :, 0] = np.linspace(0, 250, 192)[None, None]
    image[1, :, :, 0] //= 2
    return image


def test_each_second_size_sees_the_image_mirrored(rgb: Any) -> None:
    passes = [Pass(128, 192), Pass(64, 96), Pass(32, 64), Pass(32, 32)]
    given = rgb.copy()
    alpha = SeveralSizes(passes).infer(rgb)  # type: ignore[arg-type]
    expected = rgb[:, ::2, ::2, 0].astype(np.float32) / 255
    for index, each in enumerate(passes[1:], 1):
        height, width = each.spec.size
        way = -1 if index in (1, 3) else 1
        small = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in rgb])
        assert np.array_equal(each.shown, small[:, :, ::way]), index
        assert each.shown.dtype == np.uint8
        found = (small[:, :, ::way][:, ::2, ::2, 0].astype(np.float32) / 255)[:, :, ::way]
        expected += np.stack([cv2.resize(np.ascontiguousarray(one), (96, 64), interpolation=cv2.INTER_LINEAR) for one in found])
    np.testing.assert_allclose(alpha, expected / 4, atol=1e-6)
    assert alpha.dtype == np.float32
    assert np.array_equal(rgb, given)


class Glances(Pass):
    """Gives three classes: green, red and the rest."""

    def infer(self, rgb: Any) -> Any:
        foreground = super().infer(rgb)
        transition = rgb[:, ::2, ::2, 1].astype(np.float32) / 255
        return np.stack([1 - foreground - transition, transition, foreground], axis=1)


def test_classes_of_the_small_sizes_and_details_of_the_largest(rgb: Any) -> None:
    rgb[..., 1] = np.linspace(0, 5, 192, dtype=np.uint8)
    focus, glances = Pass(128, 192), [Glances(64, 96), Glances(64, 96)]
    alpha = SeveralSizes([focus, *glances], fused=True).infer(rgb)  # type: ignore[list-item]
    assert focus.shown is rgb
    both = [glance.infer(glance.shown)[..., ::way] for glance, way in zip(glances, (-1, 1), strict=True)]
    classes = (both[0] + both[1]) / 2
    larger = np.stack([[cv2.resize(np.ascontiguousarray(plane), (96, 64)) for plane in planes] for planes in classes])
    np.testing.assert_allclose(alpha, larger[:, 2] + larger[:, 1] * rgb[:, ::2, ::2, 0] / np.float32(255), atol=1e-6)


def test_an_engine_of_several(rgb: Any) -> None:
    passes = [Pass(128, 192), Pass(64, 96), Pass(32, 64)]
    engine = SeveralSizes(passes)  # type: ignore[arg-type]
    assert engine.spec.size == (128, 192)
    assert engine.spec.reason == "it was asked for; the mean with 96x64, 64x32"
    assert engine.infer(rgb).shape == (2, 64, 96)
    with pytest.raises(EngineError, match="expected uint8"):
        engine.infer(rgb[:, :64])
    engine.close()
    engine.close()
    assert [each.closed for each in passes] == [2, 2, 2]
    with pytest.raises(EngineError, match="^the engine is closed"):
        engine.infer(rgb)
