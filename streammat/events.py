"""Events of a live run: a class each, with typed fields. ``docs/live.md`` says when each one comes.

Each class is named after its event in JSON: `CameraLost` is ``camera-lost`` in what `json_of` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from streammat.config import MatteControls, Quality
from streammat.engines.base import EngineSpec
from streammat.stats import LiveReport, MonitorReport, OutputKind, SoundReport

EventName = Literal[
    "started", "page", "status", "reply", "said", "level", "reloaded", "fault", "camera-lost", "camera-back", "stream-lost", "stream-back",
    "microphone-lost", "microphone-back", "monitor-lost", "monitor-back", "output-started", "output-ended", "output-failed", "ended",
]  # fmt: skip


@dataclass(frozen=True)
class Event:
    """Root of all events."""

    event: ClassVar[EventName]
    """Name of the event in JSON."""

    def details(self) -> dict[str, Any]:
        """Return the fields by their names in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Started(Event):
    """Everything is open."""

    event: ClassVar[EventName] = "started"
    camera: str
    size: tuple[int, int]
    """(width, height) of the frames in pixels."""
    fps: float
    """Frames per second of the camera."""
    engine: EngineSpec
    outputs: tuple[str, ...]
    """Names of the outputs, without stream keys."""


@dataclass(frozen=True)
class Page(Event):
    """The control page listens."""

    event: ClassVar[EventName] = "page"
    link: str
    """A link that lets one browser in."""


OutputState = Literal["starting", "on", "ending", "ended", "failed"]


@dataclass(frozen=True)
class OutputStatus:
    """State of one output."""

    name: str
    kind: OutputKind
    state: OutputState
    images: int
    """Frames written, replacements included."""
    dropped: int
    """Frames dropped because the output was too slow."""
    error: str | None
    """The error that ended it."""


@dataclass(frozen=True, kw_only=True)
class Status(Event):
    """State of the run, once a second."""

    event: ClassVar[EventName] = "status"
    fps: float
    """Live frames per second."""
    latency_p50_ms: float
    latency_p99_ms: float
    captured: int
    """Frames from the camera."""
    composed: int
    """Frames shown live: composites, or the camera's own image."""
    dropped: int
    """Frames dropped before the network or the compositor."""
    faults: int
    """Frames whose matte could not be made or that could not be drawn."""
    outputs_dropped: dict[str, int]
    """Frames dropped by each output at work, by its name."""
    engine: str
    precision: str
    network: tuple[int, int]
    """(width, height) of the network's input in pixels."""
    background: str
    paused: bool
    pass_through: bool
    """True while the camera's own image is shown."""
    mirror: bool
    backgrounds: tuple[str, ...]
    quality: Quality
    """The quality that was asked for."""
    hold_rate: bool
    """True if quality is lowered to hold the frame rate."""
    lowered: int
    """Steps below the quality that was asked for."""
    cpu_percent: int
    """CPU time of this process; 100: one core."""
    rested_percent: int
    """Share of the frames that needed no network."""
    matte: MatteControls
    config: str | None
    """The file that the command ``save`` writes."""
    outputs: tuple[OutputStatus, ...]
    recording: bool
    streaming: bool
    stream: str | None
    """Address of the last stream, without its key."""
    sound_db: float | None = None
    """Level of the sound in dBFS; None: no sound yet, or no microphone."""
    muted: bool = False
    sound: SoundReport | None = None
    """None without a microphone."""
    monitor: MonitorReport | None = None

    def details(self) -> dict[str, Any]:
        """Return the fields by their names in JSON; without those of sound if there is no microphone."""
        found = {{"pass_through": "pass-through", "hold_rate": "hold-rate"}.get(name, name): value for name, value in asdict(self).items()}
        found["matte"] = {name.replace("_", "-"): value for name, value in found["matte"].items()}
        absent = (("sound_db", "muted", "sound") if self.sound is None else ()) + (("monitor",) if self.monitor is None else ())
        return {name: value for name, value in found.items() if name not in absent}


@dataclass(frozen=True)
class Reply(Event):
    """Answer to a command on stdin."""

    event: ClassVar[EventName] = "reply"
    answer: dict[str, Any]

    def details(self) -> dict[str, Any]:
        """Return the answer's own fields."""
        return self.answer


@dataclass(frozen=True)
class Said(Event):
    """A line for people, such as what a key did."""

    event: ClassVar[EventName] = "said"
    message: str


@dataclass(frozen=True)
class Level(Event):
    """The quality was changed."""

    event: ClassVar[EventName] = "level"
    message: str
    index: int
    """Steps below the quality that was asked for."""


@dataclass(frozen=True)
class Reloaded(Event):
    """A background was read again because its file changed."""

    event: ClassVar[EventName] = "reloaded"
    name: str


@dataclass(frozen=True)
class Fault(Event):
    """A frame's matte was refused or could not be made."""

    event: ClassVar[EventName] = "fault"
    message: str


@dataclass(frozen=True)
class CameraLost(Event):
    """The camera delivers no more frames; it is looked for."""

    event: ClassVar[EventName] = "camera-lost"
    message: str


@dataclass(frozen=True)
class CameraBack(Event):
    """The camera was found again."""

    event: ClassVar[EventName] = "camera-back"
    name: str


@dataclass(frozen=True)
class StreamLost(Event):
    """A server went away; the run goes on and tries again."""

    event: ClassVar[EventName] = "stream-lost"
    name: str
    message: str


@dataclass(frozen=True)
class StreamBack(Event):
    """A server takes the stream again."""

    event: ClassVar[EventName] = "stream-back"
    name: str


@dataclass(frozen=True)
class MicrophoneLost(Event):
    """The microphone delivers no more sound; it is looked for."""

    event: ClassVar[EventName] = "microphone-lost"
    message: str


@dataclass(frozen=True)
class MicrophoneBack(Event):
    """The microphone was found again."""

    event: ClassVar[EventName] = "microphone-back"
    name: str


@dataclass(frozen=True)
class MonitorLost(Event):
    """The device on which the microphone is played went away; it is looked for."""

    event: ClassVar[EventName] = "monitor-lost"
    message: str


@dataclass(frozen=True)
class MonitorBack(Event):
    """The device on which the microphone is played was found again."""

    event: ClassVar[EventName] = "monitor-back"
    name: str


@dataclass(frozen=True)
class OutputStarted(Event):
    """A recording or a stream was started by command."""

    event: ClassVar[EventName] = "output-started"
    name: str


@dataclass(frozen=True)
class OutputEnded(Event):
    """A recording or a stream was ended by command; its file is complete."""

    event: ClassVar[EventName] = "output-ended"
    name: str
    images: int
    """Frames written, replacements included."""


@dataclass(frozen=True)
class OutputFailed(Event):
    """One output ended or could not be started; the others go on."""

    event: ClassVar[EventName] = "output-failed"
    name: str
    message: str


@dataclass(frozen=True)
class Ended(Event):
    """The run is over; the last event."""

    event: ClassVar[EventName] = "ended"
    engine: EngineSpec
    report: LiveReport

    def details(self) -> dict[str, Any]:
        """Return the frame rate, the engine, and the fields of the report."""
        return {"fps": round(self.report.fps, 2), "engine": asdict(self.engine), **asdict(self.report)}


Emit = Callable[[Event], None]
"""A function that takes an event; called from any thread, it must return at once."""


def json_of(event: Event, time: float) -> dict[str, Any]:
    """Return an event as ``--json``, ``--log``, the control socket and the control page have it.

    Args:
        event: any event.
        time: seconds since 1970.

    Returns:
        ``{"event": name, "time": seconds, …}``, of values that JSON can hold.
    """
    return {"event": event.event, "time": round(time, 3), **event.details()}
