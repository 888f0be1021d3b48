"""What may be shown live, by the shipped network's own mattes: what is refused, what is not, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import EXAMPLES
from numpy.typing import NDArray

from streammat.config import MattingOptions
from streammat.engines.base import Engine, EngineError
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.guarding.guard import PATIENCE, RECENT, Guard
from streammat.matting.network import open_network
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Colour, Frame, layout_of, planes_of
from streammat.models.library import find_model
from streammat.sources.file import FileSource

SIZE = (360, 640)
Image = NDArray[np.uint8]
RATE = 25


@pytest.fixture(scope="module")
def network() -> Iterator[Engine]:
    engine = open_network(find_model("lite"), SIZE, 0, MattingOptions(quality="fast", threads=2))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def portrait() -> Image:
    """The person of the example, before a room, uint8 (360, 640, 3), RGB."""
    source = FileSource(str(EXAMPLES / "portrait.mp4"), audio=False)
    frame = next(item for item in source if isinstance(item, Frame))
    image = frame.image.to_ndarray(format="rgb24")
    source.close()
    return cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def beach() -> Image:
    """A landscape without anybody, uint8 (360, 640, 3), RGB."""
    return cv2.resize(cv2.imread(str(EXAMPLES / "beach.jpg")), SIZE[::-1], interpolation=cv2.INTER_AREA)[..., ::-1]


def frame_of(rgb: Image, index: int) -> Frame:
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(format="yuv420p", dst_colorspace=5)
    layout = layout_of("yuv420p")
    assert layout is not None
    return Frame(image, layout, Colour(6, 6, 6, 1), index, Fraction(1, RATE), 1, index, planes_of(image, layout))


def zoomed(rgb: Image, zoom: float) -> Image:
    """About the face of the example's person."""
    height, width = rgb.shape[0] / zoom, rgb.shape[1] / zoom
    y, x = min(0.36 * rgb.shape[0], rgb.shape[0] - height / 2), 0.5 * rgb.shape[1]
    y = max(y, height / 2)
    box = rgb[round(y - height / 2) : round(y + height / 2), round(x - width / 2) : round(x + width / 2)]
    return cv2.resize(box, SIZE[::-1], interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def noisy(rgb: Image, block: int, seed: int) -> Image:
    """Strong coloured noise in 30 % of the blocks."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-SIZE[0] // block), -(-SIZE[1] // block)
    colours = rng.integers(0, 256, (rows, columns, 3), np.uint8)
    hit = (rng.random((rows, columns, 1)) < 0.3) * np.ones(3, bool)
    big = [np.kron(plane, np.ones((block, block, 1), plane.dtype))[: SIZE[0], : SIZE[1]] for plane in (colours, hit.astype(np.uint8))]
    return np.where(big[1] > 0, big[0], rgb)


def shown(matting: CheckedMatting, images: list[Image]) -> tuple[list[float], list[str]]:
    """Mean alpha of each frame that was shown, and why the others were not."""
    means, refusals = [], []
    for index, rgb in enumerate(images):
        try:
            means.append(float(matting(frame_of(rgb, index)).alpha.mean()) / 255)
        except EngineError as error:
            refusals.append(str(error))
    return means, refusals


@pytest.mark.parametrize("block", [4, 6, 8, 12])
def test_noise_that_the_network_takes_for_a_subject_is_not_shown(network: Engine, beach: Image, block: int) -> None:
    _, refusals = shown(CheckedMatting(network, SteadyFilter()), [noisy(beach, block, seed) for seed in range(8)])
    assert len(refusals) == 8


def test_noise_that_sets_in_is_not_shown(network: Engine, portrait: Image) -> None:
    images = [portrait] * 5 + [noisy(portrait, 4, seed) for seed in range(5)] + [portrait] * 5
    means, refusals = shown(CheckedMatting(network, SteadyFilter()), images)
    assert len(means) + len(refusals) == 15
    assert len(means) >= 10
    assert max(means) < 1.2 * means[0]


@pytest.mark.parametrize("zoom", [1.0, 1.5, 2.0, 2.5, 3.0])
def test_somebody_near_the_camera_is_shown(network: Engine, portrait: Image, zoom: float) -> None:
    """From the first frame on, and though two thirds and more of the frame are subject."""
    means, refusals = shown(CheckedMatting(network, SteadyFilter()), [zoomed(portrait, zoom)] * 3)
    assert refusals == []
    assert min(means) > 0.2


def test_somebody_who_leans_in_and_back_is_shown(network: Engine, portrait: Image) -> None:
    zooms = [1.0] * 5 + list(np.linspace(1, 3, 12)) + [3.0] * 3 + list(np.linspace(3, 1, 12))
    means, refusals = shown(CheckedMatting(network, SteadyFilter()), [zoomed(portrait, zoom) for zoom in zooms])
    assert refusals == []
    assert max(means) > 2 * means[0]


# -- the rules, one by one -----------------------------------------------------------------------------------------------

GREY = np.full((64, 96, 3), 90, np.uint8)


def disc(radius: float) -> NDArray[np.float32]:
    y, x = np.mgrid[0:32, 0:48]
    return (np.hypot(y - 15.5, x - 23.5) < radius).astype(np.float32)


def nobody(rgb: Any) -> Any:
    return np.zeros((1, 32, 48), np.float32)


def whole(rgb: Any) -> Any:
    """A network that finds what is not grey, however small."""
    return (np.abs(rgb[:, ::2, ::2].astype(int) - 128).max(3) > 10).astype(np.float32)


def passes(guard: Guard, alpha: NDArray[np.float32], at: float, look: Callable[[Any], Any] = nobody, rgb: Image = GREY) -> bool:
    try:
        guard(alpha, rgb, Fraction(at).limit_denominator(1000), look)
    except EngineError:
        return False
    return True


def test_what_was_missed_in_a_room_that_stands_still_is_believed_in_time() -> None:
    guard = Guard()
    assert passes(guard, disc(5), 0.0)
    patience = float(PATIENCE)
    assert not passes(guard, disc(20), 0.5, whole)
    assert not passes(guard, disc(20), 0.4 + patience, whole)
    assert not passes(guard, disc(20), 0.5 + patience, nobody)
    assert passes(guard, disc(20), 0.6 + patience, whole)
    assert passes(guard, disc(20), 0.7 + patience)


def test_a_claim_now_and_then_is_never_believed() -> None:
    guard = Guard()
    for index in range(40):
        assert passes(guard, disc(20 if index % 2 else 5), index / 10, whole) == (index % 2 == 0)


def test_what_has_grown_suddenly_is_believed_if_the_second_look_agrees_or_it_stays_so() -> None:
    moved = np.tile(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], (64, 1, 3))
    guard = Guard()
    assert passes(guard, disc(5), 0.0)
    assert not passes(guard, disc(15), 0.1, nobody, moved)
    assert passes(guard, disc(15), 0.2, whole, moved)
    guard = Guard()
    assert passes(guard, disc(5), 0.0)
    assert passes(guard, disc(15), 0.1 + float(RECENT), nobody, moved)


def test_a_network_that_calls_grey_subject_is_not_asked_again() -> None:
    assert not passes(Guard(), np.ones((32, 48), np.float32), 0.0, lambda rgb: np.ones((1, 32, 48), np.float32))
    assert not passes(Guard(), np.ones((32, 48), np.float32), 0.0, lambda rgb: np.full((1, 32, 48), np.nan, np.float32))
    assert passes(Guard(), np.ones((32, 48), np.float32), 0.0, whole)


@pytest.mark.parametrize("value", [0.2, 0.5, 0.8, 0.9, 0.95])
def test_a_veil_over_all_is_refused_from_the_first_frame_on(value: float) -> None:
    veil = np.full((32, 48), value, np.float32)
    assert not passes(Guard(), veil, 0.0, lambda rgb: veil[None])
