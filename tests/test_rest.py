"""When the network may rest: nothing that enters is missed, however slowly, dimly or noisily; noise and lamps wake nobody."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from live_parts import Run, ScriptedEngine
from media import write_clip
from numpy.typing import NDArray
from running import QUICK, call
from scenes import frame_of

from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.matting import rest
from streammat.matting.rest import LONGEST, Rest, Seen

SIZE = (160, 288)
FRAME = Fraction(1, 30)


def room(light: float = 1.0) -> NDArray[np.float32]:
    """A wall with a soft gradient and a textured half, 40..180."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    plain = 60 + 60 * x / SIZE[1] + 20 * y / SIZE[0]
    texture = np.random.default_rng(3).normal(0, 20, (SIZE[0] // 4, SIZE[1] // 4)).astype(np.float32)
    plain += cv2.resize(texture, SIZE[::-1]) * (y > SIZE[0] / 2)
    return np.repeat(plain[..., None], 3, 2) * np.float32(light)


def seen(image: NDArray[np.float32], seed: int, noise: float) -> NDArray[np.uint8]:
    """As a camera gives it."""
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(0, noise, image.shape)), 0, 255).astype(np.uint8)


def still(now: NDArray[np.uint8], then: NDArray[np.uint8]) -> bool:
    return rest.still(Seen(now), Seen(then))


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("light", [0.3, 1.0])
def test_noise_wakes_nobody(noise: float, light: float) -> None:
    first = seen(room(light), 0, noise)
    assert all(still(seen(room(light), seed, noise), first) for seed in range(1, 30))


def test_where_noise_hides_everything_nothing_is_still() -> None:
    assert not still(seen(room(), 1, 8.0), seen(room(), 0, 8.0))


def test_a_lamp_that_flickers_wakes_nobody() -> None:
    first = seen(room(), 0, 1.0)
    assert all(still(seen(room(light), seed, 1.0), first) for seed, light in enumerate((0.94, 0.97, 1.02, 1.05), 1))


def test_a_light_on_one_side_wakes() -> None:
    x = np.linspace(0, 1, SIZE[1], dtype=np.float32)[None, :, None]
    assert not still(seen(room() * (1 + 0.05 * x), 1, 1.0), seen(room(), 0, 1.0))


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("contrast", [-60.0, -12.0, 12.0, 60.0])
@pytest.mark.parametrize("speed", [0.1, 0.5, 2.0])
def test_who_enters_slowly_is_seen_before_they_are_in(speed: float, contrast: float, noise: float) -> None:
    """Pixels of the network's input a frame. By the time that a strip of a cell's width has come in, at the least, the network works; and what is
    compared is the frame whose alpha is kept, so that no speed is too slow."""
    first, tall = seen(room(), 0, noise), slice(40, SIZE[0])
    for number in range(1, 1000):
        inside = speed * number
        image = room()
        whole = int(inside)
        image[tall, :whole] += contrast
        image[tall, whole] += contrast * (inside - whole)
        if not still(seen(image, number, noise), first):
            break
        assert inside < 8
    else:
        pytest.fail("never seen")
    if abs(contrast) == 60 and speed <= 2:
        assert inside <= max(1.0, speed)


def test_an_alpha_is_kept_for_a_time_only() -> None:
    rest, alpha = Rest(), np.zeros((80, 144), np.float32)
    assert rest(seen(room(), 0, 0), Fraction(0)) is None
    rest.keep(alpha, seen(room(), 0, 0), Fraction(0))
    kept = [rest(seen(room(), 0, 0), number * FRAME) is alpha for number in range(1, 20)]
    assert kept == [number * FRAME < LONGEST for number in range(1, 20)]
    assert rest.frames == sum(kept)
    assert rest(seen(room(), 0, 0), -FRAME) is None  # time went back
    rest.forget()
    assert rest(seen(room(), 0, 0), FRAME) is None


def test_another_size_is_another_picture() -> None:
    assert not still(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 96, 3), np.uint8))


def test_the_network_rests_while_nothing_moves_and_its_faults_are_not_kept(tmp_path: Path) -> None:
    """In a live matting with its guard: a matte that was refused stands in for no later frame."""
    engine, rest = ScriptedEngine(lambda call: np.full((1, 48, 64), 0.8, np.float32) if call == 0 else None), Rest()
    matting = CheckedMatting(engine, rest=rest)
    image = np.full((96, 128, 3), 0.5)
    mattes = []
    for number in range(30):
        frame = frame_of(image * 255, "yuv420p", pts=number)
        try:
            mattes.append(matting(frame))
        except Exception as error:
            assert number == 0, error
    assert len(mattes) == 29
    assert engine.calls < 6
    assert rest.frames == 30 - engine.calls == matting.rested
    assert all((matte.alpha == mattes[0].alpha).all() for matte in mattes)
    assert len({id(matte) for matte in mattes}) == engine.calls - 1  # no work at all for those that are kept; the first was refused
    moved = image.copy()
    moved[:, :20] = 0.9
    calls = engine.calls
    matting(frame_of(moved * 255, "yuv420p", pts=30))
    assert engine.calls > calls
    matting.close()


def test_a_live_run_that_moves_never_rests(tmp_path: Path) -> None:
    """Every second frame is the same: only after one that was dropped is there nothing new."""
    rest = Rest()
    engine = ScriptedEngine()
    matting = CheckedMatting(engine, rest=rest)
    run = Run(tmp_path, [("frames", 20)], engine, matting=matting)
    assert rest.frames <= run.report.dropped
    assert engine.calls + rest.frames >= run.report.shown["composite"]


def test_the_command_says_for_how_much_of_the_time_it_rested(tmp_path: Path) -> None:
    """An image that stands still, as a camera; and that it can be turned off."""
    still_clip = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=1)
    for words, expected in (((), True), (("--no-rest",), False)):
        done = call("webcam", "--camera", still_clip, "--loop", "--to", "null", "--duration", "2.5", "--json", *QUICK, *words).ok()
        told = [json.loads(line) for line in done.out.splitlines()]
        assert any(event["rested_percent"] > 20 for event in told if event["event"] == "status") is expected
