"""A live run: opens the parts, holds the frame rate, executes commands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import cv2

from streammat.audio.capture import AudioCapture
from streammat.audio.monitor import Monitor
from streammat.compositing.backgrounds import BackgroundSpec
from streammat.compositing.matte_controls import ControlledMatting, changed, check_controls
from streammat.config import EncodeOptions, LiveOptions, MatteControls, MattingOptions
from streammat.engines.base import Engine, EngineError, EngineSpec
from streammat.engines.paths import user_folder
from streammat.errors import UsageError
from streammat.events import Emit, Reloaded, Reply, Said, Status
from streammat.film.masks import MaskedMatting, Masks
from streammat.film.subject import SubjectMatting, check_inside, parse_subject
from streammat.live.background_switcher import BackgroundSwitcher
from streammat.live.control.commands import Command
from streammat.live.control.listeners import KeyCommands, Listener, SocketListener, StdinListener
from streammat.live.control.settings import save_settings, settings_toml
from streammat.live.events import Events, Faults
from streammat.live.fallback import FallbackCompositor
from streammat.live.guarding.checked_matting import CheckedMatting
from streammat.live.network_exchange import NetworkExchange
from streammat.live.open_source import open_live_source, open_sound
from streammat.live.outputs.opening import check_output, is_file, open_output, shows_now
from streammat.live.outputs.switching import Outputs, OutputSwitch
from streammat.live.outputs.worker import OutputWorker
from streammat.live.pipeline import Live
from streammat.live.quality import QualityLevel
from streammat.matting.network import open_network
from streammat.matting.rest import Rest
from streammat.matting.steady import SteadyFilter
from streammat.media.frame import Frame, Matte
from streammat.models.library import find_model
from streammat.sinks.alpha import is_alpha
from streammat.sinks.targets import check_targets
from streammat.sources.shaper import Clock
from streammat.stats import LiveReport
from streammat.threads.interruptible import answer_of

if TYPE_CHECKING:
    from streammat.web.server import ControlPage

_STATUS_SECONDS = 1.0
_RELOAD_SECONDS = 1.0


class LiveRun:
    """A live run: the constructor opens and checks everything, ``run`` does the work.

    Args:
        options: options of the run.
        emit: called with the run's events, from any thread.
        stdin: source of commands if ``options.control`` is ``-``.

    Raises:
        UsageError, InputError, OutputError, EngineError: in that case nothing has been shown.
    """

    def __init__(self, options: LiveOptions, emit: Emit, stdin: IO[bytes] | None = None) -> None:
        self.emit = Events(emit)
        """Distributes events; the caller may send its own to all listeners, too."""
        self._faults = Faults(self.emit)
        self._lock = threading.Lock()
        self._muted = False
        _check(options)
        self._backgrounds = BackgroundSwitcher(options.backgrounds, options.composite, options.controls, alpha=any(map(is_alpha, options.outputs)))
        self.clock = Clock()
        with ExitStack() as undo:
            undo.callback(self._backgrounds.close)
            self.page = None if options.web is None else _open_page(options.web, options.web_allow, self, self.emit)
            if self.page is not None:
                undo.callback(self.page.close)
            source = open_live_source(options, self.clock)
            undo.callback(source.close)
            self.info = source.info
            self.camera = source.name
            self._sound: AudioCapture | None = None
            if options.microphone is not None:
                sound = open_sound(options.microphone, source)
                undo.callback(sound.close)
                self._sound = AudioCapture(sound, partial(open_sound, options.microphone, source), self.clock, self.emit, later=options.sound_delay / 1000)
            masked = self._open_matting(options, undo)
            self.fallback = FallbackCompositor(self.info, self.clock, self._backgrounds.current, self._faults)
            self.fallback.mirror = options.mirror
            self.keys = KeyCommands(self, lambda line: self.emit(Said(line)))
            opened = partial(
                open_output, info=self.info, clock=self.clock, options=options, key=self.keys.press, emit=self.emit, camera=self.camera,
                channels=0 if self._sound is None else self._sound.channels,
            )
            workers: list[OutputWorker] = []
            for text in options.outputs:
                workers.append(opened(text, later=False))
                undo.callback(workers[-1].abort)
            self._outputs = Outputs(workers)
            self._switch = OutputSwitch(self._outputs, partial(opened, later=True), options.outputs, options.recordings, self.emit)
            self._monitor: Monitor | None = None
            if options.monitor is not None and self._sound is not None:
                self._monitor = Monitor(options.monitor, self._sound, self._outputs.late, self.emit)
                undo.callback(self._monitor.stop)
            self._listeners: list[Listener] = [] if self.page is None else [self.page]
            if options.control == "-" and stdin is not None:
                self._listeners.append(StdinListener(stdin, self, lambda reply: emit(Reply(reply))))
            elif options.control not in (None, "-"):
                assert options.control is not None
                self._listeners.append(SocketListener(options.control, self, self.emit))
                undo.callback(self._listeners[-1].close)
            look = None if self.page is None else self.page.tap.put
            reopen = partial(open_live_source, options, self.clock, shape=self.info.size)
            self.live = Live(source, reopen, masked, self.fallback, self._outputs, self.emit, self._sound, self._monitor, look, self._faults)
            undo.pop_all()
        self._next_status = self._next_reload = 0.0
        self._cpu, self._cpu_before = 0, time.process_time()
        self._rested = self._rested_before = 0
        self._composed_before, self._looked_at, self._fps = 0, 0.0, 0.0

    @property
    def options(self) -> LiveOptions:
        """Options of the run as they are now: commands change some."""
        return self._network.options

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, without stream keys."""
        return [worker.name for worker in self._outputs.at_work]

    @property
    def engine(self) -> EngineSpec:
        """The spec of the engine at work."""
        return self._matting.spec

    def listen(self, listener: Listener) -> None:
        """Add a source of commands, such as the terminal's keys; before ``run``."""
        self._listeners.append(listener)

    def run(self) -> LiveReport:
        """Run until ``stop``, the end of a file or of ``options.duration``.

        Raises:
            StreammatError: the source failed for good; recordings hold what was shown until then.
        """
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the stages are the parallelism
        self._begin = time.monotonic()
        try:
            for listener in self._listeners:
                listener.start()
            return self.live.run(self._supervise)
        finally:
            for listener in self._listeners:
                listener.close()
            cv2.setNumThreads(threads)
            # Closed while it works, a library would crash; whoever ends the process leaves such a thread behind.
            self._network.wait()
            if not (self.live.left or self._network.opening):
                self._matting.close()
            self._backgrounds.close()

    def control(self, controls: MatteControls) -> None:
        """Set the matte controls from the next frame on; any thread may call.

        Raises:
            UsageError: a value is impossible; the old controls stay.
        """
        check_controls(controls)
        with self._lock:
            self._controlled.controls = controls
            self._backgrounds.control(controls)
            self.fallback.choice = self._backgrounds.current

    def stop(self) -> None:
        """End cleanly, from any thread or a signal handler."""
        self.live.stop()

    def obey(self, command: Command) -> dict[str, Any]:
        """See ``control.Target.obey``."""
        if command.name == "matte":
            self.control(changed(self._controlled.controls, command.value))
        elif command.name == "record":
            self._switch.record(command.value)
        elif command.name == "stream":
            self._switch.stream(command.value)
        elif command.name == "settings":  # without the lock: files may be copied
            return {"toml": settings_toml(self.settings())}
        elif command.name == "save":
            return {"file": save_settings(self.options.config, self.settings())}
        with self._lock:
            if command.name in ("next", "previous"):
                self.fallback.choice = self._backgrounds.step(1 if command.name == "next" else -1)
            elif command.name == "background":
                self.fallback.choice = self._backgrounds.choose(command.value)
            elif command.name == "blur":
                self.fallback.choice = self._backgrounds.blur(command.value / 100)
            elif command.name == "blur-strength":
                self.fallback.choice = self._backgrounds.set_blur(command.value / 100)
            elif command.name == "mirror":
                self.fallback.mirror = _toggled(self.fallback.mirror, command.value)
            elif command.name == "pause":
                self.fallback.paused = _toggled(self.fallback.paused, command.value)
                self._silence()
            elif command.name == "mute":
                self._mute(command)
            elif command.name == "pass-through":
                self._pass_through(command)
            elif command.name == "quality":
                self._network.choose_quality(command.value)
            elif command.name == "hold-rate":
                self._network.ask_for(replace(self.options, fixed=not _toggled(not self.options.fixed, command.value)))
            elif command.name == "events":
                raise UsageError("events: are sent to programs on a socket and to pages; --json prints them")
            elif command.name == "quit":
                self.stop()
            elif command.name == "status":
                return self.status().details()
            return {
                "background": self.fallback.choice.text, "mirror": self.fallback.mirror, "paused": self.fallback.paused,
                "pass-through": self.fallback.pass_through, **(asdict(self._switch.status()) if command.name in ("record", "stream") else {}), **({} if self._sound is None else {"muted": self._muted}),
            }

    def status(self) -> Status:
        """Return the current state of the run."""
        progress, latency, outputs, spec = self.live.progress(), self._outputs.latency(), self._switch.status(), self._matting.spec
        sound, monitor = self._sound, self._monitor
        return Status(
            fps=self._fps, latency_p50_ms=latency.p50_ms, latency_p99_ms=latency.p99_ms,
            captured=progress.captured, composed=progress.composed, dropped=progress.dropped, faults=progress.faults,
            outputs_dropped={worker.name: worker.dropped for worker in self._outputs.at_work},
            engine=spec.backend, precision=spec.precision, network=spec.size[::-1],
            background=self.fallback.choice.text, paused=self.fallback.paused, pass_through=self.fallback.pass_through,
            mirror=self.fallback.mirror, backgrounds=tuple(self.backgrounds()), quality=self.options.matting.quality,
            hold_rate=not self.options.fixed, lowered=self._network.lowered, cpu_percent=self._cpu, rested_percent=self._rested,
            matte=self._controlled.controls, config=self.options.config,
            outputs=outputs.outputs, recording=outputs.recording, streaming=outputs.streaming, stream=outputs.stream,
            sound_db=None if sound is None else sound.level, muted=self._muted, sound=None if sound is None else sound.report(),
            monitor=None if monitor is None else monitor.report(),
        )

    def settings(self) -> dict[str, Any]:
        """Return the current values of all options that can change during a run; the current background comes first."""
        names = [name for name in self.backgrounds() if self.background_of(name).array is None]  # an array has no name in a file
        shown = next((name for name in (self.fallback.choice.text, *names) if name in names), None)
        kept = self.page.kept if self.page is not None else str
        return {
            "bg": None if shown is None else [kept(name) for name in (shown, *(name for name in names if name != shown))], "mirror": self.fallback.mirror,
            "quality": self.options.matting.quality, "fixed": self.options.fixed,
            **{name.replace("_", "-"): value for name, value in asdict(self._controlled.controls).items()},
        }

    def backgrounds(self) -> list[str]:
        """Return the list of backgrounds, as the user wrote it."""
        return self._backgrounds.names

    def background_of(self, text: str) -> BackgroundSpec:
        """Return a background of the list; UsageError if it is none."""
        return self._backgrounds.spec_of(text)

    # -- opening ------------------------------------------------------------------------------------------------

    def _open_matting(self, options: LiveOptions, undo: ExitStack) -> Callable[[Frame], Matte]:
        """Open the network, with all that changes its mattes; returns what makes them."""
        model = find_model(options.matting.model)

        def opened(matting: MattingOptions) -> Engine:
            return open_network(model, self.info.size, 0, matting)

        engine = opened(options.matting)
        stable = SteadyFilter() if options.matting.stable else None
        rest = Rest() if options.rest else None
        self._matting = answer_of(lambda: CheckedMatting(engine, stable, rest=rest), "streammat-network")
        undo.callback(self._matting.close)
        # After the guard: it judges what the network says, and the user wants what the controls make of that.
        chosen: Callable[[Frame], Matte] = self._matting
        if (subject := parse_subject(options.subjects.subject)) != "all":
            check_inside(subject, self.info.size)
            chosen = SubjectMatting(chosen, subject)
        self._controlled = ControlledMatting(chosen, options.controls)
        masks = Masks(options.subjects, numbered=False)
        self._network = NetworkExchange(self._matting, opened, model.areas, options, self.info, self._adopt, self._faults, self.emit)
        return MaskedMatting(self._controlled, masks) if masks.given else self._controlled

    # -- watching over it ---------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        now = time.monotonic()
        if self.options.duration is not None and now - self._begin >= self.options.duration:
            self.stop()
            return
        if now >= self._next_reload:
            self._next_reload = now + _RELOAD_SECONDS
            if (name := self._backgrounds.reload()) is not None:
                with self._lock:
                    self.fallback.choice = self._backgrounds.current
                self.emit(Reloaded(name))
        progress = self.live.progress()
        if now >= self._next_status:
            self._fps = round((progress.composed - self._composed_before) / (now - self._looked_at), 1)
            used = time.process_time()
            self._cpu, self._cpu_before = round(100 * (used - self._cpu_before) / (now - self._looked_at)), used
            rested, composed = self._matting.rested, max(1, progress.composed - self._composed_before)
            self._rested, self._rested_before = min(100, round(100 * (rested - self._rested_before) / composed)), rested
            self.emit(self.status())
            self._next_status = now + _STATUS_SECONDS
            self._composed_before, self._looked_at = progress.composed, now
        self._network.update(now, progress, self._busy_ms, paused=self.fallback.paused)

    def _adopt(self, level: QualityLevel) -> None:
        self._backgrounds.decontaminate(level.decontaminate)
        with self._lock:
            self.fallback.choice = self._backgrounds.current

    def _busy_ms(self) -> float:
        """Return the time of the slowest stage with everything moving: rests say nothing about speed."""
        return max(*self.live.busy_ms().values(), self._matting.work_ms())

    # -- sound --------------------------------------------------------------------------------------------------

    def _mute(self, command: Command) -> None:
        if self._sound is None:
            raise UsageError("mute: there is no microphone; start with --microphone")
        self._muted = _toggled(self._muted, command.value)
        self._silence()

    def _silence(self) -> None:
        """Mute the sound if it is muted or the run is paused: a paused image implies silence."""
        if self._sound is not None:
            self._sound.muted = self._muted or self.fallback.paused

    def _pass_through(self, command: Command) -> None:
        wanted = _toggled(self.fallback.pass_through, command.value)
        if wanted and not command.confirm:
            raise UsageError('pass-through shows the real background; to confirm send {"command": "pass-through", "value": true, "confirm": true}')
        self.fallback.pass_through = wanted


def _check(options: LiveOptions) -> None:
    """Check options that need no device.

    Raises:
        UsageError: they do not go together, or name an output that cannot be made.
    """
    if options.monitor is not None and options.microphone is None:
        raise UsageError("--monitor: plays the microphone, and there is none; give --microphone, too")
    # From a page or a script a recording may be started later.
    steered = options.web is not None or options.control is not None
    if options.microphone is not None and options.monitor is None and not steered and all(map(shows_now, options.outputs)):
        raise UsageError(
            f"--microphone: {', '.join(options.outputs)} takes no sound; add --to with a recording or a stream, or --monitor with the device "
            f"that a meeting takes as its microphone"
        )
    for text in options.outputs:
        check_output(text)
    files = [text for text in options.outputs if is_file(text)]
    check_targets([options.camera, *(each for each in options.backgrounds if isinstance(each, str))], files, EncodeOptions(overwrite=options.overwrite))
    check_controls(options.controls)


def _open_page(address: str, allowed: tuple[str, ...], job: LiveRun, events: Events) -> ControlPage:
    try:
        from streammat.web.server import ControlPage
    except ModuleNotFoundError as error:
        raise UsageError(f'--web: needs {error.name}, which is not installed; run: pip install "streammat[web]"') from error
    try:
        key_file = user_folder("data", "XDG_DATA_HOME") / "web.key"
    except EngineError:
        key_file = None
    return ControlPage(address, allowed, job, events, key_file)


def _toggled(now: bool, wanted: bool | None) -> bool:
    return not now if wanted is None else wanted

