"""The main path of live video: capture → matte → composite → outputs, a thread each.

The newest frame counts: between two stages there is at most one, which a newer one replaces, so that a slow machine shows fewer
frames and never old ones. A frame and its matte travel together. The compositor's thread passes on only frames from
``FallbackCompositor``, and keeps making them whatever happens to the camera and the network. Each output has its own thread and
queue.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streammat.audio.capture import AudioCapture
from streammat.audio.monitor import Monitor
from streammat.errors import CameraLostError
from streammat.events import CameraBack, CameraLost, Emit
from streammat.live.events import Faults
from streammat.live.fallback import FallbackCompositor, OutputFrame
from streammat.live.outputs.switching import Outputs
from streammat.media.frame import Frame, Matte
from streammat.sources.shaper import LiveSource
from streammat.stats import LiveReport, StageClock
from streammat.threads.channel import Channel
from streammat.threads.reconnect import reconnect
from streammat.threads.stage import stage_thread

PATIENCE = 3.0
"""Seconds to wait at the end for a camera or network that does not answer."""


@dataclass(frozen=True)
class FrameCounts:
    """Frame counts so far, for the control of quality."""

    captured: int
    composed: int
    faults: int
    dropped: int


class Live:
    """One live run.

    Args:
        source: opened; closed by the run.
        reopen: opens the source again after it was lost; raises StreammatError while it is not there.
        matting: frame → matte; an exception affects that frame only.
        fallback: makes the frames for the outputs.
        outputs: not yet started.
        emit: called with the run's events.
        sound: capture of a microphone, for the outputs with an audio track; not yet started.
        monitor: plays it; not yet started.
        look: called with each frame after the outputs; must return at once.
        faults: counts frames that failed, here and elsewhere; None: one of its own.
    """

    def __init__(
        self, source: LiveSource, reopen: Callable[[], LiveSource], matting: Callable[[Frame], Matte], fallback: FallbackCompositor,
        outputs: Outputs, emit: Emit, sound: AudioCapture | None = None, monitor: Monitor | None = None,
        look: Callable[[OutputFrame], None] | None = None, faults: Faults | None = None,
    ) -> None:
        self._source = source
        self._reopen = reopen
        self._matting = matting
        self._fallback = fallback
        self._outputs = outputs
        self._emit = emit
        self._sound = sound
        self._monitor = monitor
        self._look = look
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._frames: Channel[Frame] = Channel(1, "drop_oldest")
        self._mattes: Channel[tuple[Frame, Matte]] = Channel(1, "drop_oldest")
        self._clocks = {name: StageClock(name) for name in ("matte", "composite")}
        self._captured = 0
        self._faults = faults or Faults(emit)
        self._shown: Counter[str] = Counter()
        self._notes: list[str] = list(source.notes)
        self.left = False
        """True if the network never returned: its thread was left behind."""

    def run(self, supervise: Callable[[], None], every: float = 0.1) -> LiveReport:
        """Work until ``stop``, the end of a file, or the failure of every output.

        Args:
            supervise: called periodically in this thread.
            every: seconds.

        Raises:
            StreammatError: the source failed for good. Outputs have been closed: they hold what was shown.
        """
        begin = time.monotonic()
        self._outputs.start()
        threads = [
            stage_thread("capture", self._capture, self._fail, outbox=self._frames),
            stage_thread("matte", self._matte, self._fail, inbox=self._frames, outbox=self._mattes),
            stage_thread("composite", self._composite, self._fail, inbox=self._mattes),
        ]
        if self._sound is not None:
            self._sound.start([self._outputs.hear])
        if self._monitor is not None:
            self._monitor.start()
        for thread in threads:
            thread.start()
        try:
            while threads[-1].is_alive() and not self._stopping.is_set():
                # In slices: signal handlers run in this thread, between them.
                threads[-1].join(every)
                supervise()
                if self._outputs.all_failed:
                    self.stop()
        finally:
            self.stop()
            self._end(threads)
        if self._failure is not None:
            raise self._failure
        stages = {name: clock.summary() for name, clock in self._clocks.items()}
        outputs = self._outputs.reports()
        notes = tuple(dict.fromkeys([*self._notes, *(note for output in outputs for note in output.notes)]))
        progress = self.progress()
        return LiveReport(
            time.monotonic() - begin, progress.captured, dict(self._shown), progress.dropped, progress.faults, stages, outputs, notes,
            None if self._sound is None else self._sound.report(), None if self._monitor is None else self._monitor.report(),
        )

    def stop(self) -> None:
        """End the run, from any thread or a signal handler: outputs are finished with what was shown."""
        self._stopping.set()
        self._source.stop()

    def progress(self) -> FrameCounts:
        """Return the frame counts so far."""
        composed = self._shown["composite"] + self._shown["pass-through"]
        return FrameCounts(self._captured, composed, self._faults.count, self._frames.dropped + self._mattes.dropped)

    def busy_ms(self) -> dict[str, float]:
        """Return the median of each stage's own time over its last frames, in milliseconds; 0 if there is none yet."""
        return {name: clock.recent() for name, clock in self._clocks.items()}

    # -- the stages ---------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        while not self._stopping.is_set():
            try:
                for frame in self._source:
                    self._captured += 1
                    self._frames.put(frame)
                    del frame
                    if self._stopping.is_set():
                        break
            except CameraLostError as error:
                self._emit(CameraLost(str(error)))
                self._find_again()
            else:
                return

    def _find_again(self) -> None:
        """Try to reopen the camera until it is back or the run is stopped."""
        self._source.close()
        source = reconnect(self._reopen, self._stopping)
        if source is None:
            return
        with self._lock:
            self._source = source
        if self._stopping.is_set():
            source.stop()
        self._emit(CameraBack(source.name))

    def _matte(self) -> None:
        for frame in self._frames:
            try:
                with self._clocks["matte"].measure():
                    matte = self._matting(frame)
            except Exception as error:  # noqa: BLE001 - whatever it is, the room must not be shown and the show goes on
                self._faults(error)
            else:
                self._mattes.put((frame, matte))
                del matte
            del frame

    def _composite(self) -> None:
        while True:
            item = self._mattes.take(self._fallback.wait())
            if item is None and self._stopping.is_set():
                continue  # the run is ending: no more replacements
            with self._clocks["composite"].measure():
                shown = self._fallback(item)
            self._shown[shown.kind] += 1
            self._outputs.put(shown)
            if self._look is not None:
                self._look(shown)
            del item, shown

    # -- starting, failing, ending ------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for all threads, but with a limit: a driver may hang in a call that cannot be ended."""
        capture, matte, composite = threads
        limit = time.monotonic() + PATIENCE
        capture.join(PATIENCE)
        if capture.is_alive():
            self._notes.append("the camera does not answer and was left as it is")
            self._frames.end()
        else:
            self._source.close()
        matte.join(max(0.1, limit - time.monotonic()))
        self._mattes.end()
        # With the stage on a GPU it may wait for the network, too.
        composite.join(PATIENCE)
        self.left = matte.is_alive() or composite.is_alive()
        if self.left:
            self._notes.append("the network does not answer and was left as it is")
        if self._monitor is not None:
            self._monitor.stop()
        if self._sound is not None:
            self._sound.stop()
        self._notes += self._outputs.close()
