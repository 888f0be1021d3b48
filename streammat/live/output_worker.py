"""An output of a live run: a sink with a thread and a short queue of its own, so that a slow one holds nobody back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from streammat.audio.track import CHUNK, RATE, Chunk
from streammat.live.fallback import OutputFrame
from streammat.live.report import LatencyMeter, OutputKind, OutputReport
from streammat.media.frame import Matte
from streammat.sinks import Sink
from streammat.sources.shaper import Clock
from streammat.threads.channel import Channel, Closed

_SOUND_SECONDS = 30
"""Chunks of sound that may wait for an output that stands still; what it misses then becomes silence."""


class OutputWorker:
    """Takes frames as they come and drops the oldest where the sink is too slow; sound is kept, and goes out with the next frame.

    Args:
        name: as the user wrote it.
        sink: closed by the outlet's thread, whatever happens.
        clock: the run's, for the delay.
        capacity: frames that may wait: one where only the newest counts, more where each is wanted.
        failed: told once, by the outlet's thread, where the sink fails.
        hear: the sink's, where it has a track for sound.
        hurry: the sink's, where it may have to wait for somebody: told, from any thread, that the run ends.
        kind: what it is for.
    """

    def __init__(
        self, name: str, sink: Sink, clock: Clock, *, capacity: int, failed: Callable[[str, Exception], None],
        hear: Callable[[Chunk], None] | None = None, hurry: Callable[[], None] | None = None, kind: OutputKind = "shown",
    ) -> None:
        self.name = name
        self.kind = kind
        self.latency = LatencyMeter()
        self.failure: Exception | None = None
        self._sink = sink
        self._clock = clock
        self._failed = failed
        self._hear = hear
        self._hurry = hurry
        self._sound: deque[Chunk] = deque(maxlen=_SOUND_SECONDS * RATE // CHUNK)
        self._pictures: Channel[OutputFrame] = Channel(capacity, "drop_oldest")
        self._opaque: Matte | None = None
        self._thread = threading.Thread(target=self._work, name=f"streammat-out-{name}", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, shown: OutputFrame) -> None:
        """Hand a frame over; never waits. After a failure it does nothing."""
        if self.failure is None:
            with suppress(Closed):  # it failed just now and has said so
                self._pictures.put(shown)

    def hear(self, chunk: Chunk) -> None:
        """Hand sound over; never waits. Nothing happens where the sink has no track for it."""
        if self._hear is not None and self.failure is None:
            self._sound.append(chunk)

    def end(self) -> None:
        """No more frames will come."""
        if self._hurry is not None:
            self._hurry()
        self._pictures.end()

    def join(self, seconds: float) -> bool:
        """Wait until the sink is closed; False where it is not done after ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abort(self) -> None:
        """Drop an output that was never started."""
        self._sink.abort()

    @property
    def dropped(self) -> int:
        """Frames that it was too slow for."""
        return self._pictures.dropped

    @property
    def written(self) -> int:
        """Frames that it took."""
        return self._sink.frames

    @property
    def error(self) -> str | None:
        """Why it ended early, in one line."""
        return None if self.failure is None else " ".join(str(self.failure).split())

    def report(self) -> OutputReport:
        """The output's summary so far."""
        return OutputReport(self.name, self.written, self.dropped, self.latency.total(), self.error, tuple(self._sink.notes), self.kind)

    def _work(self) -> None:
        try:
            for shown in self._pictures:
                self._sink.write(shown.frame, self._matte(shown))
                if shown.live:
                    self.latency.add(self._clock.age(shown.captured))
                self._write_sound()
            self._write_sound()
        except Exception as error:  # noqa: BLE001 - kept, and told; the other outputs go on
            self._fail(error)
        finally:
            self._pictures.abandon()
            try:
                self._sink.close()
            except Exception as error:  # noqa: BLE001 - the first error is the one that is told
                self._fail(error)

    def _write_sound(self) -> None:
        while self._hear is not None and self._sound:
            self._hear(self._sound.popleft())

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
            self._failed(self.name, error)

    def _matte(self, shown: OutputFrame) -> Matte:
        """Live frames are opaque."""
        if self._opaque is None:
            self._opaque = Matte(np.full(shown.frame.size, 255, np.uint8))
        return self._opaque
