"""Parts of a live run whose faults can be scripted: a camera, a network, an output that keeps what it is shown.

Everything between them is the real thing. The room is noise that nothing else resembles, so that its share in any
image can be measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.config import CompositeOptions
from streammat.engines.base import EngineSpec
from streammat.errors import CameraLostError, InputError
from streammat.events import Event, OutputFailed, Status
from streammat.live.background_switcher import BackgroundSwitcher
from streammat.live.events import Faults
from streammat.live.fallback import FallbackCompositor, OutputFrame
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.outputs.switching import Outputs
from streammat.live.outputs.worker import OutputWorker
from streammat.live.pipeline import Live
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Colour, Frame, Matte, Packet
from streammat.sources.shaper import Clock, Shaper, live_info
from streammat.stats import LiveReport

SIZE = (96, 128)
NETWORK = (96, 128)
RATE = 50
Step = tuple[str, float]
"""("frames", how many), ("stall", seconds), ("lost", looks until it is back), ("gone", 0): it never comes back."""


def room() -> NDArray[np.uint8]:
    """(h, w) luma of the room: noise in 4x4 blocks, 20..230."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(20, 231, (SIZE[0] // 4, SIZE[1] // 4)).astype(np.uint8)
    return np.kron(blocks, np.ones((4, 4), np.uint8))


def subject(shape: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """Alpha of the subject: a disc in the middle, 0..1."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    radius = ((y + 0.5) / shape[0] - 0.5) ** 2 + ((x + 0.5) / shape[1] - 0.5) ** 2
    return (radius < 0.2**2).astype(np.float32)


def outside() -> NDArray[np.bool_]:
    """(h, w): where no matte of the subject reaches."""
    return cv2.dilate(subject(), np.ones((25, 25), np.uint8)) == 0


def likeness(luma: NDArray[np.uint8], where: NDArray[np.bool_] | None = None) -> float:
    """How much of the room is in an image: the correlation of the two, -1..1, in ``where`` or all over."""
    mask = np.ones(SIZE, bool) if where is None else where
    seen, known = luma[mask].astype(float), room()[mask].astype(float)
    seen, known = seen - seen.mean(), known - known.mean()
    spread = float(np.sqrt((seen**2).sum() * (known**2).sum()))
    return float((seen * known).sum()) / spread if spread else 0.0


def picture(light: int = 235) -> av.VideoFrame:
    """The room with the subject, a flat disc of luma ``light``, in front."""
    image = av.VideoFrame(SIZE[1], SIZE[0], "yuv420p")
    luma = np.where(subject() > 0, light, room()).astype(np.uint8)
    for index, plane in enumerate(image.planes):
        view = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        view[:, : plane.width] = luma if index == 0 else 128
    return image


class Told:
    """Keeps the events of a run."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [event.event for event in self.events if not isinstance(event, Status)]


class ScriptedCamera:
    """Works through steps at ``RATE``; shared between the openings of one camera."""

    def __init__(self, steps: Sequence[Step], clock: Clock) -> None:
        self.name = "scripted"
        self.notes: list[str] = []
        self.info = live_info(SIZE, Fraction(RATE), Colour(1, 1, 1, 1))
        self._steps = list(steps)
        self._clock = clock
        self._away = 0
        self._light = 235
        self._shaper = Shaper()
        self._stopping = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        while self._steps:
            kind, amount = self._steps.pop(0)
            if kind == "frames":
                for _ in range(int(amount)):
                    if self._stopping.wait(1 / RATE):
                        return
                    # A subject that flickers moves, for whoever looks at what changes from frame to frame.
                    self._light = 463 - self._light
                    yield self._shaper(picture(self._light), self._clock.ticks())
            elif kind == "stall":
                self._stopping.wait(amount)
            else:
                self._away = 10**9 if kind == "gone" else int(amount)
                raise CameraLostError("scripted: unplugged")

    def reopen(self) -> ScriptedCamera:
        if self._away:
            self._away -= 1
            raise InputError("scripted: not there")
        return self

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        pass


class ScriptedEngine:
    """Gives the subject's true alpha, unless ``fault`` has something else for a call: a value, a function of the image, or an exception."""

    def __init__(self, fault: Callable[[int], Any] = lambda call: None) -> None:
        self.spec = EngineSpec("scripted", "none", "fp32", "cpu", 1, NETWORK, "0", "a test")
        self.calls = 0
        self.closed = False
        self._fault = fault

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        other = self._fault(self.calls - 1)
        if isinstance(other, Exception):
            raise other
        if callable(other):
            return other(rgb)
        small = subject((NETWORK[0] // 2, NETWORK[1] // 2))[None]
        return small if other is None else other

    def close(self) -> None:
        self.closed = True


class Keeper:
    """A sink that keeps the luma of all it is shown."""

    def __init__(self, delay: float = 0.0, fail_at: int | None = None) -> None:
        self.content: Any = "composite"
        self.notes: list[str] = []
        self.frames = 0
        self.lumas: list[NDArray[np.uint8]] = []
        self.times: list[int] = []
        self.closed = False
        self._delay = delay
        self._fail_at = fail_at

    def write(self, frame: Frame, matte: Matte) -> None:
        if self._fail_at == self.frames:
            from streammat.errors import OutputError

            raise OutputError("keeper: full")
        time.sleep(self._delay)
        self.lumas.append(frame.planes[0].copy())
        self.times.append(frame.pts)
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        pass


class Run:
    """One live run of scripted parts, to its end.

    ``scene`` is a background; an image of a gradient is written for ``gradient``."""

    def __init__(
        self, folder: Path, steps: Sequence[Step], engine: ScriptedEngine | None = None, *, scene: str = "gradient",
        keepers: Sequence[Keeper] = (), matting: Callable[[Frame], Matte] | None = None,
        prepare: Callable[[Run], None] = lambda run: None, seconds: float = 20.0, stable: bool = False,
    ) -> None:
        if scene == "gradient":
            scene = str(folder / "gradient.png")
            cv2.imwrite(scene, np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (48, 1, 3)))
        self.clock = Clock()
        self.camera = ScriptedCamera(steps, self.clock)
        self.engine = engine or ScriptedEngine()
        self.events: list[Event] = []
        self.scenes = BackgroundSwitcher((scene,), CompositeOptions())
        self.shown: list[OutputFrame] = []
        self.keepers = list(keepers) or [Keeper()]
        faults = Faults(self._emit)
        self.fallback = FallbackCompositor(self.camera.info, self.clock, self.scenes.current, faults)
        outlets = [
            OutputWorker(f"keeper{number}", keeper, self.clock, capacity=100 if not keeper._delay else 1, failed=self._failed)
            for number, keeper in enumerate(self.keepers)
        ]
        matting = matting or CheckedMatting(self.engine, SteadyFilter() if stable else None)
        self.live = Live(self.camera, self.camera.reopen, matting, self._show(), Outputs(outlets), self._emit, faults=faults)
        prepare(self)
        self._limit = time.monotonic() + seconds
        self.report: LiveReport = self.live.run(self._supervise, 0.02)
        assert all(keeper.closed for keeper in self.keepers)

    @property
    def kinds(self) -> set[str]:
        return set(self.report.shown)

    def _show(self) -> Any:
        run = self

        class Watched:
            """Remembers the kind of each image."""

            def wait(self) -> float:
                return run.fallback.wait()

            def __call__(self, item: Any) -> OutputFrame:
                shown = run.fallback(item)
                run.shown.append(shown)
                return shown

        return Watched()

    def _supervise(self) -> None:
        assert time.monotonic() < self._limit, "the run does not end"

    def _emit(self, event: Event) -> None:
        self.events.append(event)

    def _failed(self, name: str, error: Exception) -> None:
        self._emit(OutputFailed(name, str(error)))
