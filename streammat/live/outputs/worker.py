"""An output of a live run: a sink with its own thread and short queue, so that a slow one delays no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import av
import numpy as np

from streammat.audio.track import CHUNK, RATE, Chunk
from streammat.errors import one_line
from streammat.live.fallback import OutputFrame
from streammat.live.report import LatencyMeter
from streammat.media.frame import Frame, Matte, planes_of
from streammat.sinks import Sink
from streammat.sources.shaper import Clock
from streammat.stats import OutputKind, OutputReport
from streammat.threads.channel import Channel, Closed

_SOUND_SECONDS = 30
"""Seconds of sound that may wait for a stalled output; sound dropped after that becomes silence."""


class OutputWorker:
    """Queues frames and drops the oldest if the sink is too slow; sound is kept, and written with the next frame.

    Args:
        name: as the user wrote it.
        sink: closed by the worker's thread in every case.
        clock: the run's, for the delay.
        capacity: length of the queue in frames: one if only the newest counts, more if each is wanted.
        failed: called once, from the worker's thread, if the sink fails.
        hear: the sink's method for sound, if it has an audio track.
        hurry: the sink's method to call, from any thread, when the run ends, if the sink may wait for a server.
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
        self._flat: tuple[Frame, Matte] | None = None
        self._thread = threading.Thread(target=self._work, name=f"streammat-out-{name}", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, shown: OutputFrame) -> None:
        """Queue a frame; never waits. Does nothing after a failure."""
        if self.failure is None:
            with suppress(Closed):  # it failed just now and has said so
                self._pictures.put(shown)

    def hear(self, chunk: Chunk) -> None:
        """Queue sound; never waits. Does nothing if the sink has no audio track."""
        if self._hear is not None and self.failure is None:
            self._sound.append(chunk)

    def end(self) -> None:
        """End the queue: no more frames will come."""
        if self._hurry is not None:
            self._hurry()
        self._pictures.end()

    def join(self, seconds: float) -> bool:
        """Wait until the sink is closed; returns False if it is not after ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abort(self) -> None:
        """Discard an output that was never started."""
        self._sink.abort()

    @property
    def dropped(self) -> int:
        """Number of frames dropped because the sink was too slow."""
        return self._pictures.dropped

    @property
    def written(self) -> int:
        """Number of frames written."""
        return self._sink.frames

    @property
    def error(self) -> str | None:
        """The error that ended the output early, in one line."""
        return None if self.failure is None else one_line(self.failure)

    def report(self) -> OutputReport:
        """Return the output's summary so far."""
        return OutputReport(self.name, self.written, self.dropped, self.latency.total(), self.error, tuple(self._sink.notes), self.kind)

    def _work(self) -> None:
        try:
            for shown in self._pictures:
                self._sink.write(*self._wanted(shown))
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

    def _wanted(self, shown: OutputFrame) -> tuple[Frame, Matte]:
        """Return what this sink shows: an opaque frame, or the subject with its alpha, or nothing at all."""
        frame = shown.frame
        if self._sink.content != "transparent":
            if self._flat is None:
                self._flat = frame, Matte(np.full(frame.size, 255, np.uint8))
            return frame, self._flat[1]
        if shown.cutout is not None:
            return shown.cutout
        if self._flat is None:
            image = av.VideoFrame(frame.image.width, frame.image.height, frame.layout.name)
            planes = planes_of(image, frame.layout)
            for index, plane in enumerate(planes):
                plane[:] = 128 if index else frame.black  # live frames are YUV of 8 bits
            self._flat = replace(frame, image=image, planes=planes), Matte(np.zeros(frame.size, np.uint8))
        return replace(self._flat[0], pts=frame.pts), self._flat[1]
