"""The main path: read → matte → refine → composite → write, a thread each.

Stages wait for each other and lose nothing: every channel is bounded, so frames never pile up. A frame and its matte
travel together. An error in one stage ends the stages before it at once; the stages after it finish their frames, so that the
output holds everything that was done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streammat.media.frame import Frame, Matte, Packet
from streammat.sinks import TrackSink
from streammat.sources import Recorded
from streammat.stats import Report, StageClock
from streammat.threads.channel import Channel
from streammat.threads.stage import stage_thread

# Frames between two stages: enough to hide one slow frame, few enough for 4K.
_CAPACITY = 2
PATIENCE = 3.0
"""Seconds that one frame may stay in the network after the run was asked to end."""


class Pipeline:
    """One run from a source to its sinks.

    Args:
        source: yields frames, and the packets of other tracks.
        matting: frame → matte.
        compositor: (frame, matte) → one frame per sink, in the order of ``sinks``.
        sinks: take the frames; each also gets the other tracks' packets.
        ahead: mattes that may wait for the compositor; more than usual if a device processes several frames at once.
    """

    def __init__(
        self,
        source: Recorded,
        matting: Callable[[Frame], Matte],
        compositor: Callable[[Frame, Matte], Sequence[Frame]],
        sinks: Sequence[TrackSink],
        ahead: int = _CAPACITY,
    ) -> None:
        self._source = source
        self._matting = matting
        self._compositor = compositor
        self._sinks = sinks
        self._ahead = ahead
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._failing = threading.Lock()
        self._clocks = {name: StageClock(name) for name in ("read", "matte", "refine", "composite", "write")}
        self._frames_in = 0
        self._frames_out = 0
        self._working: dict[int, float] = {}
        self._ending: float | None = None
        self.left = False
        """True if the network never returned: its thread was left behind."""

    def run(self, progress: Callable[[int], None] | None = None) -> Report:
        """Work until the source ends, ``stop`` is called or a stage fails; sinks are closed in every case.

        Args:
            progress: called from time to time, in this thread, with the number of frames written.

        Raises:
            Exception: the first error of any stage, or ``progress``'s. Sinks have been closed: outputs hold what was done before
                the error.
        """
        begin = time.perf_counter()
        frames: Channel[Frame | Packet] = Channel(_CAPACITY)
        mattes: Channel[tuple[Frame, Matte] | Packet] = Channel(self._ahead)
        refined: Channel[tuple[Frame, Matte] | Packet] = Channel(1)
        images: Channel[tuple[Matte, Sequence[Frame]] | Packet] = Channel(_CAPACITY)
        threads = [
            stage_thread("read", lambda: self._read(frames), self._fail, outbox=frames),
            stage_thread("matte", lambda: self._matte(frames, mattes), self._fail, inbox=frames, outbox=mattes),
            stage_thread("refine", lambda: self._refine(mattes, refined), self._fail, inbox=mattes, outbox=refined),
            stage_thread("composite", lambda: self._composite(refined, images), self._fail, inbox=refined, outbox=images),
            stage_thread("write", lambda: self._write(images), self._fail, inbox=images),
        ]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads, (frames, mattes, refined, images), progress)
        finally:
            # ``progress``, and Ctrl-C without a handler, may raise: no stage may continue after that.
            if any(thread.is_alive() for thread in threads):
                self.stop()
            self._wait(threads, (frames, mattes, refined, images), None)
            self._finish()
        if self._failure is not None:
            raise self._failure
        stages = {name: clock.summary() for name, clock in self._clocks.items()}
        notes = tuple(self._source.notes) + tuple(note for sink in self._sinks for note in sink.notes)
        if self.left:
            notes += ("the network does not answer and was left as it is",)
        seconds = time.perf_counter() - begin
        damage = tuple(self._source.damage) + tuple(each for sink in self._sinks for each in sink.damage)
        return Report(self._frames_in, self._frames_out, seconds, stages, notes, self._stopping.is_set(), damage)

    @property
    def stopping(self) -> bool:
        """True once ``stop`` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End early, from any thread or a signal handler: frames already read are finished, no more are read.

        A frame that then stays in the network for seconds is abandoned, and the outputs end before it.
        """
        self._stopping.set()

    # -- the stages ---------------------------------------------------------------------------------------------

    def _read(self, frames: Channel[Frame | Packet]) -> None:
        items = iter(self._source)
        spent = 0.0
        while not self._stopping.is_set():
            begin = time.perf_counter()
            item = next(items, None)
            spent += time.perf_counter() - begin
            if item is None:
                return
            if isinstance(item, Frame):
                # Other tracks' packets on the way to a frame are part of reading it.
                self._clocks["read"].add(spent)
                self._frames_in += 1
                spent = 0.0
            frames.put(item)
            del item

    def _matte(self, frames: Iterable[Frame | Packet], mattes: Channel[tuple[Frame, Matte] | Packet]) -> None:
        for item in frames:
            if isinstance(item, Frame):
                begin = time.perf_counter()
                with self._at_work(1):
                    matte = self._matting(item)
                if not matte.underway:
                    self._clocks["matte"].add(time.perf_counter() - begin)
                mattes.put((item, matte))
                del matte
            else:
                mattes.put(item)
            del item  # a stage that waits keeps no frame alive

    def _refine(self, mattes: Iterable[tuple[Frame, Matte] | Packet], refined: Channel[tuple[Frame, Matte] | Packet]) -> None:
        for item in mattes:
            if isinstance(item, tuple):
                with self._at_work(2):
                    if item[1].underway:
                        self._clocks["matte"].add(item[1].settle())
                    with self._clocks["refine"].measure():
                        item[1].refine()
            refined.put(item)
            del item

    def _composite(
        self, mattes: Iterable[tuple[Frame, Matte] | Packet], images: Channel[tuple[Matte, Sequence[Frame]] | Packet]
    ) -> None:
        for item in mattes:
            if isinstance(item, tuple):
                with self._at_work(3), self._clocks["composite"].measure():
                    frame, matte = item
                    drawn = self._compositor(frame, matte)
                images.put((matte, drawn))
                del frame, matte, drawn
            else:
                images.put(item)
            del item

    def _write(self, images: Iterable[tuple[Matte, Sequence[Frame]] | Packet]) -> None:
        for item in images:
            if isinstance(item, tuple):
                with self._clocks["write"].measure():
                    self._write_images(*item)
                self._frames_out += 1
            else:
                for sink in self._sinks:
                    sink.copy(item)
            del item

    def _write_images(self, matte: Matte, drawn: Sequence[Frame]) -> None:
        for sink, image in zip(self._sinks, drawn, strict=True):
            sink.write(image, matte)

    # -- starting, failing, ending ------------------------------------------------------------------------------

    @contextmanager
    def _at_work(self, stage: int) -> Iterator[None]:
        """Record since when a stage has been in the network; on a device the compositor waits for it, too."""
        self._working[stage] = time.monotonic()
        try:
            yield
        finally:
            self._working.pop(stage, None)

    def _wait(self, threads: Sequence[threading.Thread], channels: Sequence[Channel[Any]], progress: Callable[[int], None] | None) -> None:
        """Wait for the stages, in slices, because signal handlers run in this thread between them. A network that never returns
        is abandoned.
        """
        stuck: set[int] = set()
        while alive := [thread for index, thread in enumerate(threads) if index not in stuck and thread.is_alive()]:
            alive[0].join(0.1)
            if progress is not None:
                progress(self._frames_out)
            if not (self._stopping.is_set() or self._failure is not None):
                continue
            now = time.monotonic()
            self._ending = self._ending or now
            stuck = {stage for stage, since in self._working.copy().items() if now - max(since, self._ending) > PATIENCE}
            for stage in stuck:
                self.left = True
                channels[stage - 1].abandon()
                channels[stage].end()

    def _fail(self, error: Exception) -> None:
        with self._failing:
            if self._failure is None:
                self._failure = error

    def _finish(self) -> None:
        """Close everything; the first error is the one that is raised."""
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - kept, and raised by run()
                self._fail(error)
        self._source.close()
