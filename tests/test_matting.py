"""Frame to matte: the network's size, and that orientation and place are kept."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scenes import blank, frame_of

from streammat.engines.base import EngineError, EngineSpec
from streammat.matting.matting import HostMatting, network_sizes
from streammat.media.frame import Colour, Frame


@pytest.mark.parametrize(
    ("frame", "quality", "expected"),
    [
        ((1080, 1920), "best", (416, 736)),  # 5/13 is 415.4 x 738.5
        ((720, 1280), "balanced", (288, 480)),
        ((1080, 1920), "balanced", (288, 512)),
        ((2160, 3840), "balanced", (288, 512)),
        ((1920, 1080), "balanced", (512, 288)),
        ((2160, 3840), "best", (832, 1472)),
        ((480, 640), "balanced", (320, 416)),  # as many pixels as 720p
        ((64, 64), "balanced", (256, 256)),
        ((1080, 1920), "fast", (192, 352)),
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
    assert network_sizes(480, 640, "best", areas) == ((448, 576), (320, 448))
    assert network_sizes(240, 320, "best", areas) == ((448, 576), (320, 448))
    assert network_sizes(120, 160, "best", areas) == ((256, 352),)  # enlarging more adds nothing
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


class Slow(Bright):
    """Takes the longer the earlier a frame is, on two frames at a time; alpha is brightness. It fails on white."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.spec = replace(self.spec, parallel=2)
        self.running = self.most = 0

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.1 if rgb.max() % 2 else 0.02)
        self.running -= 1
        if rgb.min() == 255:
            raise EngineError("it failed")
        return super().infer(rgb)


def grey(value: int, number: int) -> Frame:
    return frame_of(np.full((64, 96, 3), float(value)), "gbrp", pts=number)


def test_frames_in_parallel_are_filtered_in_their_order() -> None:
    engine = Slow(network_sizes(64, 96, "balanced")[0])
    seen: list[tuple[int, int]] = []

    def note(alpha: np.ndarray, rgb: np.ndarray, at: Fraction) -> np.ndarray:
        seen.append((round(255 * float(alpha.mean())), int(rgb[0, 0, 0])))
        return alpha

    matting = HostMatting(engine, note, later=True)
    values = [101, 50, 151, 20]
    mattes = [matting(grey(value, number)) for number, value in enumerate(values)]
    mattes[2].refine()  # whoever asks first: the earlier ones are filtered before
    assert seen == [(value, value) for value in values[:3]]
    alone = HostMatting(Bright(engine.spec.size))
    for number, value in enumerate(values):
        np.testing.assert_array_equal(mattes[number].alpha, alone(grey(value, number)).alpha)
    assert len(seen) == 4
    assert engine.most == 2


def test_a_frame_in_parallel_that_fails_says_so_where_it_is_asked_for() -> None:
    matting = HostMatting(Slow(network_sizes(64, 96, "balanced")[0]), later=True)
    first, failing, last = matting(grey(100, 0)), matting(grey(255, 1)), matting(grey(50, 2))
    assert last.alpha.any()
    for _ in range(2):
        with pytest.raises(EngineError, match="it failed"):
            failing.refine()
    assert first.alpha.any()


def test_it_is_idle_once_no_frame_is_in_the_network() -> None:
    matting = HostMatting(Slow(network_sizes(64, 96, "balanced")[0]), later=True)
    assert matting.idle(0.0)
    matting(grey(101, 0))
    matting(grey(103, 1))
    assert not matting.idle(0.0)
    assert matting.idle(10.0)
    assert not any(thread.name == "streammat-network" for thread in threading.enumerate())
    assert HostMatting(Slow((64, 96))).idle(0.0)


def test_a_matte_says_how_long_the_network_worked_on_it() -> None:
    matting = HostMatting(Slow(network_sizes(64, 96, "balanced")[0]), later=True)
    slow, quick = matting(grey(101, 0)), matting(grey(50, 1))
    assert slow.underway
    assert 0.02 <= quick.settle() < slow.settle() <= 5.0
    assert slow.settle() >= 0.1
    at_once = HostMatting(Slow((64, 96)))(grey(50, 0))
    assert not at_once.underway
    assert at_once.settle() == 0.0
