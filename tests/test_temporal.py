"""Stable mattes: flicker goes where nothing moves, nothing trails where something does, and cuts leave no ghost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media import EXAMPLES, frames_of, greys_of
from numpy.typing import NDArray
from running import call, video
from scenes import frame_of

from streammat.engines.base import EngineSpec
from streammat.matting.matting import HostMatting
from streammat.matting.temporal import MEMORY, TemporalFilter

Floats = NDArray[np.float32]
SHAPE = (72, 128)
RATE = 30


def room(seed: int = 0) -> Floats:
    """A textured image, (144, 256, 3), 0..255, at twice the matte's size."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.uniform(60, 200, (18, 32, 3)).astype(np.float32), (256, 144), interpolation=cv2.INTER_CUBIC)


def disc(x: float, y: float = 36.0, radius: float = 16.0) -> Floats:
    """A soft disc about column ``x`` of the matte."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.clip((radius - np.hypot(rows - y, columns - x)) / 3 + 0.5, 0, 1).astype(np.float32)


def shot(alpha: Floats, seed: int = 0, *, noise: float = 2.0, light: float = 1.0, behind: Floats | None = None) -> NDArray[np.uint8]:
    """A dark subject of ``alpha`` in front of a room, with noise."""
    wide = cv2.resize(alpha, (256, 144))[..., None]
    behind = room() if behind is None else behind
    image = (wide * np.array((40, 30, 50)) + (1 - wide) * behind) * light
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(0, noise, image.shape)), 0, 255).astype(np.uint8)


def flickering(alpha: Floats, rng: np.random.Generator, strength: float = 0.2) -> Floats:
    """``alpha`` with errors of its own in the soft part and around it."""
    near = cv2.GaussianBlur(alpha * (1 - alpha), (0, 0), 2.0) * 8
    coarse = cv2.resize(rng.normal(0, strength, (18, 32)).astype(np.float32), SHAPE[::-1])
    return np.clip(alpha + near * coarse, 0, 1).astype(np.float32)


def change(frames: list[Floats]) -> float:
    """RMS change from frame to frame."""
    return float(np.sqrt(np.square(np.diff(np.stack(frames), axis=0)).mean()))


def at(index: int, rate: int = RATE) -> Fraction:
    return Fraction(index, rate)


# -- still ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("light", [lambda _: 1.0, lambda i: 1.0 - 0.3 * np.sin(i / 8)], ids=["steady light", "changing light"])
def test_flicker_on_a_still_subject_goes(light) -> None:
    stable, rng, truth = TemporalFilter(), np.random.default_rng(1), disc(64)
    off = [flickering(truth, rng) for _ in range(40)]
    on = [stable(alpha, shot(truth, i, light=light(i)), at(i)) for i, alpha in enumerate(off)]
    assert change(on[10:]) < 0.2 * change(off[10:])
    assert np.abs(on[-1] - truth).mean() < 0.5 * np.abs(off[-1] - truth).mean()


def test_where_all_frames_agree_the_value_is_exact() -> None:
    stable, rng = TemporalFilter(), np.random.default_rng(2)
    columns = np.repeat(np.array([0, 1, 0.3, 0.77], np.float32), 32)
    agreed = np.tile(columns, (SHAPE[0], 1))
    for index in range(50):
        alpha = agreed.copy()
        alpha[36:] = rng.random((36, 128), np.float32)
        assert (stable(alpha, shot(disc(64 + index / 5), index), at(index))[:36] == agreed[:36]).all()


def test_what_one_frame_alone_has_is_dropped() -> None:
    stable, truth = TemporalFilter(), disc(64)
    for index in range(6):
        stable(truth, shot(truth, index), at(index))
    hole = truth * (disc(70, radius=6) < 0.5)
    assert (stable(hole, shot(truth, 6), at(6)) == truth).all()
    assert np.abs(stable(truth, shot(truth, 7), at(7)) - truth).max() < 1e-6


# -- moving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.1, 0.5, 2.0, 6.0])
def test_a_moving_subject_does_not_trail(speed: float) -> None:
    stable, shifts, error = TemporalFilter(), [], []
    for index in range(30):
        truth = disc(24 + speed * index * min(1.0, 12 / speed / 30 + 0.4))
        got = stable(truth, shot(truth, index), at(index))
        slope = np.gradient(truth)[1]
        shifts.append(-((got - truth) * slope).sum() / (slope * slope).sum())  # cells, to first order
        error.append(np.abs(got - truth).max())
    assert max(map(abs, shifts)) < 0.15
    assert max(error) < 0.25 or speed < 1
    assert np.mean(error) < 0.1


def test_the_same_without_the_filter_for_motion_would_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test above can fail."""
    monkeypatch.setattr("streammat.matting.temporal.QUIET", 1e6)
    monkeypatch.setattr("streammat.matting.temporal.MOVING", 2e6)
    monkeypatch.setattr("streammat.matting.temporal.DOUBT", 1e6)
    monkeypatch.setattr("streammat.matting.temporal.BELIEF", 2e6)
    stable = TemporalFilter()
    error = [np.abs(stable(disc(24 + 2 * i), shot(disc(24 + 2 * i), i), at(i)) - disc(24 + 2 * i)).max() for i in range(30)]
    assert np.mean(error) > 0.5


def test_a_change_without_a_cause_in_the_image_is_believed_once_it_lasts() -> None:
    stable, image = TemporalFilter(), shot(disc(40))
    for index in range(20):
        stable(disc(40), image, at(index))
    got = [stable(disc(90), image, at(index)) for index in range(20, 30)]
    assert np.abs(got[0] - disc(40)).max() < 1e-6  # may be one frame's fault
    assert np.abs(got[1] - disc(90)).mean() < 0.02
    assert np.abs(got[4] - disc(90)).max() < 0.3


@pytest.mark.parametrize("rate", [10, 24, 60, 120])
def test_the_average_reaches_back_as_far_at_any_frame_rate(rate: int) -> None:
    stable, image = TemporalFilter(), shot(disc(64))
    low, high = np.full(SHAPE, 0.4, np.float32), np.full(SHAPE, 0.5, np.float32)  # too small a change to be believed at once
    for index in range(2 * rate):
        stable(low, image, at(index, rate))
    passed = 0
    while stable(high, image, at(2 * rate + passed, rate)).mean() < 0.45:
        passed += 1
    half = MEMORY * np.log(2)
    assert half - 2 / rate < passed / rate < half + 2 / rate


# -- starting anew --------------------------------------------------------------------------------------------------


def after(shown: list[tuple[Floats, NDArray[np.uint8], Fraction]], last: tuple[Floats, NDArray[np.uint8], Fraction]) -> Floats:
    stable = TemporalFilter()
    for frame in shown:
        stable(*frame)
    return stable(*last)


STILL = [(disc(40), shot(disc(40), i), at(i)) for i in range(10)]


def test_after_a_cut_nothing_of_the_old_matte_is_left() -> None:
    other = shot(disc(95), behind=room(7))
    assert (after(STILL, (disc(95), other, at(10))) == disc(95)).all()


def test_a_jump_in_the_same_room_leaves_no_ghost() -> None:
    got = after(STILL, (disc(95), shot(disc(95), 10), at(10)))
    assert got[disc(40) > 0.5].max() < 0.02
    assert np.abs(got - disc(95)).max() < 0.1


@pytest.mark.parametrize("time", [at(3), at(9), at(-5), at(9) + Fraction(3, 5)], ids=["back", "again", "before", "gap"])
def test_another_place_in_time_starts_anew(time: Fraction) -> None:
    alpha = np.full(SHAPE, 0.9, np.float32)
    assert (after(STILL, (alpha, shot(disc(40), 10), time)) == alpha).all()
    for near in (at(10), at(9) + Fraction(2, 5)):
        assert not (after(STILL, (alpha, shot(disc(40), 10), near)) == alpha).any()


def test_other_sizes_start_anew() -> None:
    stable = TemporalFilter()
    for frame in STILL:
        stable(*frame)
    for shape, guide in (((36, 64), (72, 128)), ((36, 64), (144, 256)), ((1, 1), (2, 2)), ((3, 50), (6, 100)), ((72, 128), (72, 128))):
        rng = np.random.default_rng(3)
        for index in range(11, 14):
            alpha, image = rng.random(shape, np.float32), rng.integers(0, 256, (*guide, 3)).astype(np.uint8)
            got = stable(alpha, image, at(index))
            assert got.shape == shape
            assert got.dtype == np.float32
            assert got.min() >= 0
            assert got.max() <= 1
            if index == 11:
                assert (got == alpha).all()


@pytest.mark.parametrize("value", [0, 255])
def test_images_that_show_nothing(value: int) -> None:
    stable, rng = TemporalFilter(), np.random.default_rng(4)
    image = np.full((144, 256, 3), value, np.uint8)
    got = [stable(flickering(disc(64), rng), image, at(i)) for i in range(20)]
    assert all(np.isfinite(alpha).all() for alpha in got)
    assert change(got[10:]) < 0.02


def test_inputs_stay_as_they_are_and_results_are_the_callers() -> None:
    stable, rng, kept = TemporalFilter(), np.random.default_rng(5), []
    for index in range(5):
        alpha, image = flickering(disc(64), rng), shot(disc(64), index)
        copies = alpha.copy(), image.copy()
        result = stable(alpha, image, at(index))
        assert (alpha == copies[0]).all()
        assert (image == copies[1]).all()
        assert not np.shares_memory(result, alpha)
        kept.append((result, result.copy()))
    assert all((result == copy).all() for result, copy in kept)


# -- in the pipeline ------------------------------------------------------------------------------------------------


class Unsure:
    """An engine that sees a subject on the upright image's left and wavers about it."""

    def __init__(self) -> None:
        self.spec = EngineSpec("unsure", "test", "fp32", "cpu", 1, (64, 96), "0", "it was asked for")
        self._count = 0

    def infer(self, rgb: NDArray[np.uint8]) -> Floats:
        self._count += 1
        alpha = np.zeros((1, 32, 48), np.float32)
        alpha[:, :, :16] = 1.0
        alpha[:, :, 16:24] = 0.4 if self._count % 2 else 0.6
        return alpha

    def close(self) -> None:
        pass


@pytest.mark.parametrize("rotation", [0, 1, 2, 3])
def test_matting_filters_turned_frames_too(rotation: int) -> None:
    upright = np.full((128, 192, 3), 90.0)
    frames = [frame_of(np.rot90(upright, -rotation), "yuv420p", rotation=rotation, pts=i) for i in range(20)]
    plain, stable = HostMatting(Unsure()), HostMatting(Unsure(), TemporalFilter())
    off, on = ([np.rot90(matting.infer(frame), rotation) for frame in frames] for matting in (plain, stable))
    assert (off[-1][:, :16] == on[-1][:, :16]).all()
    assert (off[-1][:, 24:] == on[-1][:, 24:]).all()
    assert change(on[10:]) < 0.1 * change(off[10:])


# -- through the command --------------------------------------------------------------------------------------------

WIDE, TALL = 256, 144
STAND, WALK, AFTER = 16, 10, 6
"""Frames of each part: she stands, she moves quickly, and another shot in which she stands elsewhere."""
STEP = 7
"""Pixels per frame."""


def story() -> list[NDArray[np.uint8]]:
    """A person who stands, walks, and after a cut stands elsewhere; dim and noisy, so that mattes flicker."""
    person = cv2.resize(frames_of(EXAMPLES / "portrait.mp4")[0], (WIDE, TALL), interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(greys_of(EXAMPLES / "portrait_alpha.mkv")[0], (WIDE, TALL), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(6)
    walls = [
        cv2.resize(rng.uniform(low, low + 90, (6, 10, 3)).astype(np.float32), (WIDE, TALL), interpolation=cv2.INTER_CUBIC)
        for low in (130, 60)
    ]
    shots = []
    for index in range(STAND + WALK + AFTER):
        cut = index >= STAND + WALK
        shift = 55 if cut else -60 + STEP * max(0, index - STAND + 1)
        move = np.array([[1, 0, shift], [0, 1, 0]], np.float64)
        mask = cv2.warpAffine(alpha, move, (WIDE, TALL))[..., None]
        image = 0.6 * (mask * cv2.warpAffine(person, move, (WIDE, TALL)) + (1 - mask) * walls[int(cut)])
        shots.append(np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8))
    return shots


@pytest.fixture(scope="module")
def mattes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Floats]]:
    """The story's mattes without and with the option."""
    folder = tmp_path_factory.mktemp("story")
    with av.open(str(folder / "in.mkv"), "w") as out:
        stream = out.add_stream("libx264", 25, options={"crf": "12", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDE, TALL, "yuv420p"
        for image in story():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    found = {}
    for option in ("--no-stable", "--stable"):
        matte = folder / f"{option}.mkv"
        video(folder / "in.mkv", folder / f"out{option}.mp4", "--bg", "green", "--matte", matte, option).ok()
        found[option] = greys_of(matte)
        assert len(found[option]) == STAND + WALK + AFTER
    return found


def test_the_still_person_flickers_less(mattes) -> None:
    off, on = mattes["--no-stable"][4:STAND], mattes["--stable"][4:STAND]
    assert change(off) > 0.005, "the clip does not flicker"
    assert change(on) < 0.85 * change(off)
    # The image's grain comes into the matte again where alpha is brought to the frame's size; a little blur takes it out.
    smooth_off, smooth_on = ([cv2.GaussianBlur(matte, (0, 0), 2.0) for matte in part] for part in (off, on))
    assert change(smooth_on) < 0.5 * change(smooth_off)


def test_the_walking_person_is_where_she_was_without(mattes) -> None:
    for index in range(STAND + 2, STAND + WALK):
        off, on = mattes["--no-stable"][index], mattes["--stable"][index]
        slope = np.gradient(cv2.GaussianBlur(off, (0, 0), 2.0))[1]
        behind = ((on - off) * slope).sum() / (slope * slope).sum()
        assert abs(behind) < 0.1 * STEP


def test_the_cut_shows_no_ghost(mattes) -> None:
    for index in range(STAND + WALK, STAND + WALK + 2):
        # Nobody there in any frame since the cut: what is shown nevertheless comes of those before it.
        since = np.max(mattes["--no-stable"][STAND + WALK : index + 1], axis=0)
        gone = (mattes["--no-stable"][STAND + WALK - 1] > 0.5) & (since < 0.02)
        assert gone.sum() > 100
        assert mattes["--stable"][index][gone].max() < 0.06
    first = STAND + WALK
    assert np.abs(mattes["--stable"][first] - mattes["--no-stable"][first]).max() < 0.02


def test_files_are_steadied_unless_asked_not_to(tmp_path: Path) -> None:
    assert "--stable / --no-stable" in " ".join(call("video", "--help").ok().out.split())
    image = frames_of(EXAMPLES / "portrait.mp4")[:4]
    with av.open(str(tmp_path / "in.mkv"), "w") as out:
        stream = out.add_stream("ffv1", 25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        for shown in image:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(shown, (128, 72)), format="rgb24")))
        out.mux(stream.encode(None))
    for name, options in (("default", ()), ("on", ("--stable",)), ("off", ("--no-stable",))):
        video(tmp_path / "in.mkv", tmp_path / f"{name}.mp4", "--bg", "green", "--matte", tmp_path / f"{name}.mkv", *options).ok()
    default, on, off = (np.stack(greys_of(tmp_path / f"{name}.mkv")) for name in ("default", "on", "off"))
    assert (default == on).all()
    assert (default[0] == off[0]).all()
    assert (default != off).any()
