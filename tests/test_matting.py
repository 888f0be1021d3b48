"""Frame to matte: the network's size, and that orientation and place are kept."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from scenes import blank, frame_of

from streammat.engines.base import EngineSpec
from streammat.matting.matting import HostMatting, network_sizes
from streammat.media.frame import Colour


@pytest.mark.parametrize(
    ("frame", "quality", "expected"),
    [
        ((1080, 1920), "best", (384, 736)),  # 5/13 is 415.4 x 738.5, floored as the paper does
        ((720, 1280), "balanced", (256, 480)),
        ((1080, 1920), "balanced", (288, 512)),
        ((2160, 3840), "balanced", (288, 512)),
        ((1920, 1080), "balanced", (512, 288)),
        ((2160, 3840), "best", (800, 1472)),
        ((480, 640), "balanced", (288, 384)),  # as many pixels as 720p
        ((64, 64), "balanced", (256, 256)),
        ((1080, 1920), "fast", (192, 320)),
    ],
)
def test_network_size(frame: tuple[int, int], quality: str, expected: tuple[int, int]) -> None:
    found = network_sizes(*frame, quality)[0]
    assert found[0] % 32 == found[1] % 32 == 0
    assert found == expected


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_network_size_of_any_shape(quality: str) -> None:
    for height, width in ((64, 4096), (4096, 64), (97, 75), (65, 1920), (16, 6)):
        found = network_sizes(height, width, quality)[0]
        assert all(side >= 32 and side % 32 == 0 for side in found)


def test_the_best_of_a_model_that_knows_its_sizes() -> None:
    areas = (262144, 147456)
    assert network_sizes(1080, 1920, "best", areas) == ((384, 672), (288, 512))
    assert network_sizes(480, 640, "best", areas) == ((416, 576), (320, 416))
    assert network_sizes(240, 320, "best", areas) == ((416, 576), (320, 416))
    assert network_sizes(120, 160, "best", areas) == ((256, 320),)  # enlarging more adds nothing
    for quality in ("fast", "balanced"):
        assert network_sizes(1080, 1920, quality, areas) == network_sizes(1080, 1920, quality)


class Bright:
    """An engine whose alpha is the image's own brightness: what it sees can be read off the matte."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.spec = EngineSpec("bright", "test", "fp32", "cpu", 1, size, "0", "it was asked for")
        self.seen: np.ndarray | None = None

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        assert rgb.dtype == np.uint8
        assert rgb.shape == (1, *self.spec.size, 3)
        self.seen = rgb[0]
        return np.ascontiguousarray(rgb[:, ::2, ::2, 1].astype(np.float32) / 255)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("rotation", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p10le", "gbrp"])
def test_the_network_sees_an_upright_image_and_the_matte_lies_as_the_frame(rotation: int, layout: str) -> None:
    upright = np.zeros((240, 400, 3))
    upright[:120, :200] = 250.0  # bright where the upright image's upper left is
    stored = np.rot90(upright, -rotation)
    frame = frame_of(stored, layout, rotation=rotation)
    engine = Bright(network_sizes(240, 400, "balanced")[0])
    matte = HostMatting(engine)(frame)
    assert engine.seen is not None
    height, width = engine.spec.size
    assert engine.seen[: height // 2 - 8, : width // 2 - 8].min() > 235
    assert engine.seen[height // 2 + 8 :].max() < 12
    alpha = matte.alpha / np.iinfo(matte.alpha.dtype).max
    assert alpha.shape == stored.shape[:2]
    assert np.abs(alpha - stored[..., 1] / 250.0).mean() < 0.03


@pytest.mark.parametrize(("tagged", "white"), [(None, 235), (1, 235), (2, 255)], ids=["untagged", "limited", "full"])
def test_the_network_sees_white_as_white_whatever_the_range(tagged: int | None, white: int) -> None:
    frame = blank("yuv420p", 240, 400, Colour(1, 1, 1, tagged or 0))
    frame.planes[0][:] = white
    frame.image.color_range = tagged or 0
    engine = Bright(network_sizes(240, 400, "balanced")[0])
    HostMatting(engine).infer(frame)
    assert engine.seen is not None
    assert engine.seen.min() >= 253


def test_a_matte_made_later_is_the_same_and_lets_its_frame_go() -> None:
    frame = frame_of(np.random.default_rng(0).uniform(0, 255, (240, 400, 3)), "yuv420p")
    engine = Bright(network_sizes(240, 400, "balanced")[0])
    at_once, later = HostMatting(engine)(frame), HostMatting(engine, later=True)
    asked, refined = later(frame), later(frame)
    refined.refine()
    held = weakref.ref(frame.planes[0])
    del frame
    for matte in (asked, refined):
        assert (matte.alpha == at_once.alpha).all()
        assert matte.alpha is matte.alpha
    assert held() is None
