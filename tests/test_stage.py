"""The GPU stage against the host's way: the same frames, the same alpha, every layout; on torch's CPU device, and on a GPU where one is."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from gpu import cuda_or_reason, skip_or_fail
from live_parts import Run as LiveRun
from live_parts import ScriptedEngine, subject
from media import BT709, FULL_709, Audio, frames_of, greys_of, person, probe, write_clip
from scenes import LAYOUTS, frame_of, scene
from test_live_privacy import FAULTS, assert_room_unseen

import streammat.jobs.video
import streammat.matting.network
from streammat.compositing.backgrounds import Background, open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.config import CompositeOptions, EncodeOptions, MattingOptions, VideoOptions
from streammat.engines.backends.cuda import CudaEngine
from streammat.engines.base import EngineError, EngineSpec, Part, TensorEngine
from streammat.engines.multiscale import several_sizes
from streammat.engines.shipped import shipped
from streammat.jobs.video import VideoJob
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.matting.device import DeviceMatting, matting_for
from streammat.matting.matting import HostMatting, network_sizes
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Colour, Frame
from streammat.media.planes import resize_alpha


def network_size(height: int, width: int, quality: str) -> tuple[int, int]:
    return network_sizes(height, width, quality)[0]


class Given:
    """A torch engine whose alpha is drawn: ``alpha`` (h, w), or what ``alpha`` makes of the images (N, H, W, 3) that it is shown."""

    def __init__(self, size: tuple[int, int], alpha: np.ndarray | Callable[[torch.Tensor], torch.Tensor], batch: int = 4, device: str = "cpu") -> None:
        self.spec = EngineSpec("given", "test", "fp32", device, 1, size, "0", "a test")
        self.batch = batch
        self.seen: list[np.ndarray] = []
        self._alpha = alpha

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        return self.matte(torch.from_numpy(rgb.copy())).numpy()

    def matte(self, rgb: torch.Tensor) -> torch.Tensor:
        assert rgb.dtype == torch.uint8
        assert rgb.shape[1:] == (*self.spec.size, 3)
        if rgb.device.type == "cpu":  # on a GPU this would wait for all that is to run at once
            self.seen.append(rgb.numpy().copy())
        if isinstance(self._alpha, np.ndarray):
            return torch.from_numpy(self._alpha).to(rgb.device).expand(len(rgb), -1, -1).clone()
        return self._alpha(rgb)

    def close(self) -> None:
        pass


def dark(rgb: torch.Tensor) -> torch.Tensor:
    """The drawn subject is darker than its room."""
    grey = rgb[:, ::2, ::2].float().mean(-1)
    return ((130 - grey) / 60).clamp(0, 1)


def drawn(size: tuple[int, int], name: str, *, rotation: int = 0, full: bool = False, seed: int = 0, device: str = "cpu") -> tuple[Frame, Given]:
    """A frame, ``size`` as stored, and an engine that knows its alpha."""
    height, width = size if rotation % 2 == 0 else size[::-1]
    _, _, alpha, picture = scene(height, width, seed=seed)
    frame = frame_of(np.rot90(picture, -rotation), name, rotation=rotation)
    if full:
        frame.colour = Colour(1, 1, 1, 2)
    network = network_size(height, width, "balanced")
    small = cv2.resize(alpha, (network[1] // 2, network[0] // 2), interpolation=cv2.INTER_AREA).astype(np.float32)
    return frame, Given(network, small, device=device)


def apart(one: np.ndarray, other: np.ndarray, top: int) -> np.ndarray:
    """Absolute differences in 255ths of full scale."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return np.abs(one.astype(np.float64) - other) * (255 / top)


def assert_same_matte(host: np.ndarray, staged: np.ndarray, most: float = 2.0) -> None:
    assert apart(host, staged, np.iinfo(host.dtype).max).max() <= most


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Background]:
    folder = tmp_path_factory.mktemp("backgrounds")
    picture = np.random.default_rng(1).integers(0, 256, (9, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "picture.png"), cv2.resize(picture, (320, 180), interpolation=cv2.INTER_CUBIC))
    write_clip(folder / "clip.mkv", size=(160, 90), frames=8, tags=BT709, content="pattern")

    def opened(text: str) -> Background:
        return open_background(parse_background(str(folder / text) if "." in text else text))

    return opened


CASES = [
    *[(name, (240, 428), 0, False) for name in LAYOUTS],
    *[(name, (181, 323), 0, False) for name in ("yuv420p", "yuv422p", "yuv420p10le", "yuv411p", "gbrp", "gray")],
    *[(name, (240, 428), turns, False) for name in ("yuv420p", "yuv422p12le") for turns in (1, 2, 3)],
    *[(name, (181, 323), 0, True) for name in ("yuv420p", "yuv420p10le", "yuv444p")],
    ("yuv420p", (97, 75), 0, False), ("yuv420p", (720, 1280), 0, False), ("yuv420p10le", (544, 963), 3, False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size", "rotation", "full"), CASES)
def test_all_that_is_drawn_is_what_the_host_draws(name, size, rotation, full, backgrounds) -> None:
    assert_drawn_alike(*drawn(size, name, rotation=rotation, full=full), backgrounds)


def assert_drawn_alike(frame: Frame, engine: Given, backgrounds: Callable[[str], Background]) -> None:
    """With the same alpha: matte and composite within 2/255, colours of cut-outs, too, as far as they are seen."""
    host, staged = HostMatting(engine)(frame), DeviceMatting(engine)(frame)
    assert 0.05 < host.alpha.mean() / np.iinfo(host.alpha.dtype).max < 0.6
    top = (1 << frame.layout.depth) - 1
    for text, decontaminate, kind in (
        ("green", True, "straight"), ("picture.png", True, "premultiplied"), ("clip.mkv", False, "straight"), ("blur", True, "straight"),
        ("blur:100", False, "premultiplied"),
    ):  # fmt: skip
        behind = backgrounds(text)
        compositor = Compositor(["composite", "transparent", "foreground", "matte"], behind, decontaminate=decontaminate, alpha=kind)
        images = zip(compositor._contents, compositor(frame, host), compositor(frame, staged), strict=True)
        for content, expected, got in images:
            assert (got.pts, got.colour, got.layout, got.size) == (expected.pts, expected.colour, expected.layout, expected.size)
            for plane, other in zip(expected.planes, got.planes, strict=True):
                difference = apart(plane, other, top)
                if content in ("composite", "matte") or (content, kind) == ("transparent", "premultiplied"):
                    assert difference.max() <= 2.0, (content, text)
                else:  # whether a pixel of hardly any alpha is corrected at all hangs on its last bit: what is seen of it counts
                    seen = resize_alpha(host, plane.shape) / np.iinfo(host.alpha.dtype).max
                    assert (difference * seen).max() <= 2.0 + 255 / 64, (content, text)
                    assert (difference > 2.0).mean() <= 0.002, (content, text)
        behind.close()
    assert_same_matte(host.alpha, staged.alpha)


@pytest.mark.parametrize("size", [(720, 1280), (363, 641), (97, 75)])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_network_is_shown_what_swscale_would_show_it(name, size) -> None:
    """A code value of luma or chroma that is rounded the other way makes up to five of RGB; there are few of those."""
    for full in (False, True):
        frame, engine = drawn(size, name, full=full)
        HostMatting(engine)(frame)
        _ = DeviceMatting(engine)(frame).alpha
        expected, got = engine.seen[0].astype(int), engine.seen[-1].astype(int)
        assert np.abs(got - expected).max() <= 5
        assert np.percentile(np.abs(got - expected), 99.9) <= 3
        assert np.abs(got - expected).mean() <= 0.3


class Repeating:
    """An engine whose tensors are what its arrays were: host and stage are shown the same to the bit."""

    def __init__(self, engine: TensorEngine) -> None:
        self.spec, self.batch, self.close = engine.spec, engine.batch, engine.close
        self._engine = engine
        self._last = np.zeros((1, *engine.spec.size, 3), np.uint8)

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self._last = rgb.copy()
        return self._engine.infer(rgb)

    def matte(self, rgb: torch.Tensor) -> torch.Tensor:
        return self._engine.matte(torch.from_numpy(self._last))


def assert_near_from_end_to_end(frame: Frame, engine: TensorEngine, behind: Background) -> None:
    """The network makes up to dozens of one code value at single pixels of an edge, so the most is bounded only where both
    ways show it the same; from end to end it is the mean and all but one in a thousand."""
    compositor = Compositor(["composite"], behind, decontaminate=True, alpha="straight")
    for used, most, rarely, mean in ((Repeating(engine), 2.0, 2.0, 0.05), (engine, 255.0, 24.0, 0.5)):
        host = HostMatting(used)(frame)
        staged = DeviceMatting(used)(frame)
        assert 0.05 < host.alpha.mean() / np.iinfo(host.alpha.dtype).max < 0.9
        (expected,), (got,) = compositor(frame, host), compositor(frame, staged)
        pairs = [(host.alpha, staged.alpha, np.iinfo(host.alpha.dtype).max)]
        pairs += [(a, b, (1 << frame.layout.depth) - 1) for a, b in zip(expected.planes, got.planes, strict=True)]
        for one, other, top in pairs:
            difference = apart(one, other, top)
            assert difference.max() <= most
            assert np.percentile(difference, 99.9) <= rarely
            assert difference.mean() <= mean


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "gbrp"])
def test_with_the_shipped_network(name, backgrounds) -> None:
    engine = CudaEngine(shipped(), precision="fp32", size=network_size(540, 960, "balanced"), reason="a test", device="cpu")
    assert isinstance(engine, TensorEngine)
    for index in (0, 13):
        assert_near_from_end_to_end(frame_of(person(index, 960, 540).astype(float), name), engine, backgrounds("blur"))
    engine.close()


def test_several_sizes_stay_on_the_device(backgrounds) -> None:
    """``--quality best``: details of the larger size, classes of the smaller one."""
    frame = frame_of(person(0, 640, 360).astype(float), "yuv420p")
    shown: list[tuple[tuple[int, int], Part]] = [((256, 448), "focus"), ((192, 320), "glance")]
    engine = several_sizes(
        [CudaEngine(shipped(), precision="fp32", size=size, reason="a test", device="cpu", batch=2, part=part) for size, part in shown], fused=True
    )
    assert isinstance(engine, TensorEngine)
    assert not isinstance(several_sizes([engine, ScriptedEngine()]), TensorEngine)
    images = np.stack([cv2.resize(person(index, 640, 360), (448, 256), interpolation=cv2.INTER_AREA) for index in (0, 13)])
    np.testing.assert_allclose(engine.matte(torch.from_numpy(images)).numpy(), engine.infer(images), atol=0.02)
    assert_near_from_end_to_end(frame, engine, backgrounds("blur"))
    engine.close()
    for use in (lambda: engine.infer(images), lambda: engine.matte(torch.from_numpy(images))):
        with pytest.raises(EngineError, match="closed"):
            use()


def test_frames_under_way_at_once_do_not_mix() -> None:
    """Whatever the batches: submitted ahead, and drawn by another thread, as in the pipeline."""
    frames = [drawn((180, 320), "yuv420p", seed=seed)[0] for seed in range(7)]
    compositor = Compositor(["composite"], open_background(parse_background("blur")), decontaminate=True, alpha="straight")
    engine = Given(network_size(180, 320, "balanced"), dark)
    alone = DeviceMatting(engine)
    expected = [compositor(frame, alone(frame))[0] for frame in frames]
    matting = DeviceMatting(engine, batch=4)
    engine.seen.clear()
    mattes = [matting(frame) for frame in frames]
    assert [len(rgb) for rgb in engine.seen] == [4]  # the other three wait
    results: list[Frame] = []
    thread = threading.Thread(target=lambda: results.extend(compositor(f, m)[0] for f, m in zip(frames, mattes, strict=True)))
    thread.start()
    thread.join()
    assert [len(rgb) for rgb in engine.seen] == [4, 2, 1]  # powers of two: one graph for each
    for one, other in zip(expected, results, strict=True):
        for plane, copy in zip(one.planes, other.planes, strict=True):
            np.testing.assert_array_equal(plane, copy)


def test_a_single_matte_waits_for_no_batch() -> None:
    frame, engine = drawn((180, 320), "yuv420p")
    assert DeviceMatting(engine, batch=4)(frame).alpha.shape == (180, 320)


def test_the_filter_over_time_sees_the_frames_in_order() -> None:
    rng = np.random.default_rng(0)
    _, _, _, picture = scene(180, 320)
    frames = [frame_of(picture + rng.normal(0, 4, picture.shape), "yuv420p", pts=pts) for pts in range(6)]
    engine = Given(network_size(180, 320, "balanced"), dark)
    host, staged, plain = HostMatting(engine, SteadyFilter()), DeviceMatting(engine, SteadyFilter(), batch=4), HostMatting(engine)
    mattes = [staged(frame) for frame in frames]
    unlike = 0.0
    for frame, matte in zip(frames, mattes, strict=True):
        expected = host(frame).alpha
        difference = apart(expected, matte.alpha, 255)
        assert np.percentile(difference, 99) <= 4.0  # what swscale rounds the other way, times the slope of this engine
        assert difference.mean() <= 0.2
        unlike += np.abs(expected.astype(int) - plain(frame).alpha).mean()
    assert unlike > 10 * 0.2 / 6


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_mirrored(name, backgrounds) -> None:
    frame, engine = drawn((181, 323), name)
    staged, host = DeviceMatting(engine)(frame), HostMatting(engine)(frame)
    planes = tuple(np.ascontiguousarray(plane[:, ::-1]) for plane in frame.planes)
    mirror = Frame(frame.image, frame.layout, frame.colour, 0, Fraction(1, 30), 1, 0, planes)
    assert_same_matte(host.mirrored().alpha, staged.mirrored().alpha)
    assert_same_matte(host.alpha, staged.mirrored().mirrored().alpha)
    for text in ("picture.png", "blur"):
        compositor = Compositor(["composite"], backgrounds(text), decontaminate=True, alpha="straight")
        (expected,), (got,) = compositor(mirror, host.mirrored()), compositor(mirror, staged.mirrored())
        for plane, other in zip(expected.planes, got.planes, strict=True):
            assert apart(plane, other, (1 << frame.layout.depth) - 1).max() <= 2.0


# -- faults --------------------------------------------------------------------------------------------------------------


def short_of_memory(most: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        if len(rgb) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return dark(rgb)

    return alpha


def test_too_little_memory_for_a_batch_makes_it_smaller(caplog) -> None:
    size = network_size(180, 320, "balanced")
    frames = [drawn((180, 320), "yuv420p", seed=seed)[0] for seed in range(5)]
    plenty = DeviceMatting(Given(size, dark))
    matting = DeviceMatting(Given(size, short_of_memory(1)), batch=4)
    with caplog.at_level(logging.WARNING):
        mattes = [matting(frame) for frame in frames]
    assert [record.args[1:] for record in caplog.records] == [(4, 2), (2, 1)]
    for frame, matte in zip(frames, mattes, strict=True):
        np.testing.assert_array_equal(matte.alpha, plenty(frame).alpha)


def test_too_little_memory_for_one_is_said() -> None:
    frame, _ = drawn((180, 320), "yuv420p")
    enough = [True]

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        return short_of_memory(4 if enough[0] else 0)(rgb)

    engine = Given(network_size(180, 320, "balanced"), alpha)
    matting = DeviceMatting(engine)
    enough[0] = False
    matte = matting(frame)
    compositor = Compositor(["composite"], open_background(parse_background("green")), decontaminate=True, alpha="straight")
    for use in (lambda: matte.alpha, lambda: compositor(frame, matte), matte.mirrored):
        with pytest.raises(EngineError, match="too little memory.*--quality fast"):
            use()
    with pytest.raises(EngineError, match="too little memory"):
        DeviceMatting(engine)
    enough[0] = True
    assert matting(frame).alpha.any()  # the next one may fit


def test_an_engines_failure_belongs_to_its_frames_alone() -> None:
    frame, _ = drawn((180, 320), "yuv420p")
    fails = [False]

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        if fails[0]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
        return dark(rgb)

    matting = DeviceMatting(Given(network_size(180, 320, "balanced"), alpha))
    good = matting(frame)
    fails[0] = True
    bad = matting(frame)
    assert good.alpha.any()
    with pytest.raises(EngineError, match="^cpu failed: CUDA error: an illegal memory access was encountered; run it again, or take --device cpu$"):
        _ = bad.alpha


def test_a_failure_that_is_kept_keeps_no_memory_of_the_device() -> None:
    frame, _ = drawn((180, 320), "yuv420p")
    images: list[weakref.ref[torch.Tensor]] = []

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        if images:
            images.append(weakref.ref(rgb))
            raise RuntimeError("CUDA error: unspecified launch failure")
        images.append(weakref.ref(rgb))
        return dark(rgb)

    matting = DeviceMatting(Given(network_size(180, 320, "balanced"), alpha))
    gc.disable()
    try:
        matte = matting(frame)
        assert len(images) == 2
        assert [picture() for picture in images] == [None, None]
    finally:
        gc.enable()
    for _ in range(2):  # as often as it is asked for
        with pytest.raises(EngineError, match="unspecified launch failure"):
            _ = matte.alpha


@pytest.mark.parametrize("stable", [False, True])
def test_what_is_no_number_shows_nothing(stable) -> None:
    """Of a batch, only the frame whose alpha is broken fails."""
    frames = [drawn((180, 320), "yuv420p", seed=seed)[0] for seed in range(4)]

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        found = dark(rgb)
        if len(found) > 2:
            found[2, 5, 5] = float("nan")
        return found

    matting = DeviceMatting(Given(network_size(180, 320, "balanced"), alpha), SteadyFilter() if stable else None, batch=4)
    mattes = [matting(frame) for frame in frames]
    compositor = Compositor(["composite"], open_background(parse_background("green")), decontaminate=True, alpha="straight")
    with pytest.raises(EngineError, match="NaN"):
        compositor(frames[2], mattes[2])
    with pytest.raises(EngineError, match="NaN"):
        _ = mattes[2].alpha
    for index in (0, 1, 3):
        assert mattes[index].alpha.any()
        assert compositor(frames[index], mattes[index])


def test_what_the_filter_refuses_fails_alone() -> None:
    """Of a batch, too."""
    frames = [drawn((180, 320), "yuv420p", seed=seed)[0] for seed in range(4)]
    for index, frame in enumerate(frames):
        frame.pts = index

    def stable(alpha: np.ndarray, _rgb: np.ndarray, at: Fraction) -> np.ndarray:
        if at == frames[1].pts * frames[1].time_base:
            raise EngineError("refused")
        return alpha

    matting = DeviceMatting(Given(network_size(180, 320, "balanced"), dark), stable, batch=4)
    mattes = [matting(frame) for frame in frames]
    with pytest.raises(EngineError, match="refused"):
        _ = mattes[1].alpha
    assert all(mattes[index].alpha.any() for index in (0, 2, 3))


@pytest.mark.parametrize("value", [1.0, 0.9, 0.8])
def test_live_mattes_on_the_stage_are_guarded(value) -> None:
    """A model that says the same of everything now and then, with the filter over time."""
    frame, engine = drawn((180, 320), "yuv420p")
    wrong = [False] * 4 + [True, True, False, True, True, True, False, False, True, False]
    calls = iter([False, *wrong])  # the first is the stage's own

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        return torch.full_like(dark(rgb), value) if next(calls) else dark(rgb)

    matting = CheckedMatting(Given(engine.spec.size, alpha), SteadyFilter())
    good = float(HostMatting(Given(engine.spec.size, dark))(frame).alpha.mean())
    refused = []
    for index in range(len(wrong)):
        frame.pts = index
        try:
            assert matting(frame).alpha.mean() < good + 2
            refused.append(False)
        except EngineError:
            refused.append(True)
    assert refused == wrong


# -- whole runs ----------------------------------------------------------------------------------------------------------


def test_engines_that_take_tensors_get_the_stage_and_others_do_not() -> None:
    assert isinstance(matting_for(Given((256, 256), dark)), DeviceMatting)
    assert isinstance(matting_for(ScriptedEngine()), HostMatting)


class Plain:
    """The same engine for those that take arrays only."""

    def __init__(self, engine: Given) -> None:
        self.spec = engine.spec
        self.infer, self.close = engine.infer, engine.close


@pytest.mark.parametrize(("target", "background"), [("out.mkv", "blur"), ("out.mov", "transparent"), ("out.mkv", "clip.mkv")])
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_file_comes_out_as_on_the_host(target, background, rotation, tmp_path: Path, monkeypatch) -> None:
    source = write_clip(tmp_path / "in.mp4", size=(192, 108), frames=11, tags=FULL_709, rotation=rotation, audio=[Audio("aac", "eng")])
    if background == "clip.mkv":
        write_clip(tmp_path / background, size=(160, 90), frames=4, tags=BT709, content="pattern")
        background = str(tmp_path / background)
    batches: list[int] = []

    def result(kind: str) -> list[Path]:
        def opened(model, size, turns, options, batch=1, parallel=1):
            size = size if turns % 2 == 0 else size[::-1]

            def alpha(rgb: torch.Tensor) -> torch.Tensor:
                batches.append(len(rgb))
                return ((rgb[:, ::2, ::2].float().mean(-1) - 40) / 200).clamp(0, 1)

            engine = Given(network_size(*size, "fast"), alpha, batch)
            return Plain(engine) if kind == "host" else engine

        monkeypatch.setattr(streammat.matting.network, "open_network", opened)
        monkeypatch.setattr(streammat.jobs.video, "frames_at_once", lambda *which: 4)
        folder = tmp_path / kind
        folder.mkdir()
        made = [folder / target, folder / "matte.mkv", folder / "colour.mkv"]
        encode = EncodeOptions("ffv1" if target == "out.mkv" else None)
        report = VideoJob(
            str(source), str(made[0]), VideoOptions(MattingOptions(stable=False), CompositeOptions(background), encode, str(made[1]), str(made[2]))
        ).run()
        assert report.frames_out == 11
        return made

    host = result("host")
    assert set(batches) == {1}
    batches.clear()
    staged = result("staged")
    assert sum(batches) == 1 + 11  # one to warm up
    for one, other in zip(host, staged, strict=True):
        first, second = probe(one), probe(other)
        assert (first.times, first.tags, first.rotation, first.pix_fmt) == (second.times, second.tags, second.rotation, second.pix_fmt)
        assert [track.sha256 for track in first.audio] == [track.sha256 for track in second.audio]
    mattes = greys_of(host[1]), greys_of(staged[1])
    assert 0.05 < float(np.mean(mattes[0])) < 0.95
    pairs = [*zip(*mattes, strict=True), *([] if background == "transparent" else zip(frames_of(host[0]), frames_of(staged[0]), strict=True))]
    for one, other in pairs:
        top = 255 if one.dtype == np.uint8 else 1.0
        difference = np.abs(one.astype(np.float64) - other) * (255 / top)
        assert difference.mean() <= 0.3
        assert np.percentile(difference, 99.9) <= 8.0  # the engine's slope, the codecs, and RGB made of YUV


class OnTensors(ScriptedEngine):
    """The scripted engine, as a torch engine. Its call 0 is the stage's own, to warm up."""

    batch = 1

    def matte(self, rgb: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.array(self.infer(rgb.numpy())))


def live(folder: Path, engine: OnTensors, frames: int, **options) -> LiveRun:
    return LiveRun(folder, [("frames", frames)], engine, matting=CheckedMatting(engine), **options)


@pytest.mark.parametrize("scene_name", ["gradient", "blur"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_live_shows_the_subject_and_not_the_room(scene_name, mirrored, tmp_path: Path) -> None:
    def prepare(run: LiveRun) -> None:
        run.fallback.mirror = mirrored

    run = live(tmp_path, OnTensors(), 25, scene=scene_name, prepare=prepare)
    assert run.report.faults == 0
    assert run.report.shown["composite"] >= 10
    composites = [shown.frame.planes[0] for shown in run.shown if shown.kind == "composite"]
    assert all(np.median(luma[subject() > 0]) > 225 for luma in composites)
    if scene_name == "gradient":
        assert_room_unseen(run)


@pytest.mark.parametrize("fault", FAULTS)
def test_live_a_network_that_fails_shows_no_room(fault, tmp_path: Path) -> None:
    for_a_while = live(tmp_path, OnTensors(lambda call: FAULTS[fault]() if 10 <= call < 45 else None), 75)
    assert for_a_while.report.faults == 35
    assert {"composite", "held", "background"} <= for_a_while.kinds
    assert for_a_while.shown[-1].kind == "composite"
    never = live(tmp_path, OnTensors(lambda call: FAULTS[fault]() if call else None), 30)
    assert never.kinds == {"background"}
    for run in (for_a_while, never):
        assert_room_unseen(run)


def test_live_an_engine_that_cannot_begin_is_closed() -> None:
    engine = OnTensors(lambda call: EngineError("broken"))
    with pytest.raises(EngineError, match="broken"):
        CheckedMatting(engine)
    assert engine.closed


# -- on a GPU ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu() -> Iterator[CudaEngine]:
    if reason := cuda_or_reason():
        skip_or_fail(reason)
    engine = CudaEngine(shipped(), precision="fp32", size=network_size(540, 960, "balanced"), reason="a test", device="cuda:0", batch=4)
    yield engine
    engine.close()


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "size", "rotation", "full"), CASES)
def test_gpu_all_that_is_drawn_is_what_the_host_draws(name, size, rotation, full, backgrounds, gpu) -> None:
    assert_drawn_alike(*drawn(size, name, rotation=rotation, full=full, device=gpu.spec.device), backgrounds)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "gbrp"])
def test_gpu_with_the_shipped_network(name, gpu: CudaEngine, backgrounds) -> None:
    assert_near_from_end_to_end(frame_of(person(0, 960, 540).astype(float), name), gpu, backgrounds("blur"))


@pytest.mark.gpu
def test_gpu_copies_beside_the_work_do_not_race(gpu: CudaEngine) -> None:
    """Many frames under way, brought, worked on and taken in three streams by two threads: as one at a time."""

    def alpha(rgb: torch.Tensor) -> torch.Tensor:
        busy = torch.ones((2048, 2048), device=rgb.device)
        for _ in range(8):
            busy = busy @ busy * (1 / 2048)
        return dark(rgb) * busy[0, 0]

    engine = Given(network_size(1080, 1920, "balanced"), alpha, device=gpu.spec.device)
    frames = [frame_of(person(index, 1920, 1080).astype(float), "yuv420p") for index in range(24)]
    compositor = Compositor(["composite", "matte"], open_background(parse_background("blur")), decontaminate=True, alpha="straight")
    single, batched = DeviceMatting(engine), DeviceMatting(engine, batch=4)
    expected = []
    for frame in frames:
        matte = single(frame)
        expected.append((compositor(frame, matte)[0].planes, matte.alpha))
        torch.cuda.synchronize()
    for _ in range(3):
        mattes = [batched(frame) for frame in frames]
        results: list[list[Frame]] = []
        thread = threading.Thread(target=lambda m=mattes, r=results: r.extend(compositor(f, x) for f, x in zip(frames, m, strict=True)))
        thread.start()
        thread.join()
        for (planes, codes), (picture, _), matte in zip(expected, results, mattes, strict=True):
            assert apart(codes, matte.alpha, 255).max() <= 1.0
            for plane, other in zip(planes, picture.planes, strict=True):
                assert apart(plane, other, 255).max() <= 1.0
