"""Audio capture of a live run: source → buffer → chunks for outputs with an audio track. A lost device is reopened.

In recordings and streams frames and sound both carry their time of capture, so nothing is delayed there. The monitor
(``audio/monitor.py``), which plays sound beside frames that are shown as they come, reads the buffer as much later as the frames
are late.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from streammat.audio.source import SoundSource
from streammat.audio.track import RATE, WAIT, AudioBuffer, Block, Chunk, ChunkReader
from streammat.errors import StreammatError
from streammat.events import Emit, MicrophoneBack, MicrophoneLost, Said
from streammat.sources.shaper import Clock
from streammat.stats import SoundReport
from streammat.threads.reconnect import reconnect

_SILENT_SECONDS = 5.0


class AudioCapture:
    """A microphone, or a file in its place, during a run.

    Args:
        source: an open source, not started; ``stop`` closes it.
        reopen: opens the source again after it was lost; raises StreammatError while it is not there.
        clock: the run's.
        emit: called with the events ``microphone-lost``, ``microphone-back`` and ``said``.
        later: seconds by which sound is delayed beyond the measured delay; negative: earlier.
    """

    def __init__(
        self, source: SoundSource, reopen: Callable[[], SoundSource], clock: Clock, emit: Emit, *, later: float = 0.0
    ) -> None:
        self.channels = source.channels
        self.name = source.name
        self.buffer = AudioBuffer(self.channels)
        self._source = source
        self._reopen = reopen
        self._origin = clock.origin
        self._emit = emit
        self._later = later
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._ending = threading.Event()
        self._listeners: Sequence[Callable[[Chunk], None]] = ()
        self._reader: ChunkReader | None = None
        self._begun = 0
        self._zeros = 0.0
        self._threads: list[threading.Thread] = []
        self.muted = False
        """True while the tracks are muted."""
        self.peak = 0.0
        """Peak of the last moments, 0..1, before muting."""

    def start(self, listeners: Sequence[Callable[[Chunk], None]]) -> None:
        """Begin to pass chunks to ``listeners``, which must return quickly."""
        self._listeners = listeners
        self._reader = ChunkReader(self.buffer, self._origin, time.monotonic(), WAIT + max(0.0, -self._later))
        self._begun = self._reader.written
        for name, work in (("sound", self._pump), ("microphone", self._watch)):
            self._threads.append(threading.Thread(target=work, name=f"streammat-{name}", daemon=True))
            self._threads[-1].start()

    def stop(self, seconds: float = 5.0) -> None:
        """End, and pass on all sound captured until now; a driver that hangs is abandoned."""
        self._stopping.set()
        limit = time.monotonic() + seconds
        for thread in reversed(self._threads):  # the source first
            thread.join(max(0.0, limit - time.monotonic()))
            self._ending.set()
        if not self._threads:
            self._source.close()

    @property
    def level(self) -> float | None:
        """Loudness of the last moments in dB of full scale, rounded; None for silence."""
        return round(20 * math.log10(self.peak), 1) if self.peak > 1e-5 else None

    def report(self) -> SoundReport:
        """Return the summary so far."""
        reader = self._reader
        written, silent = (0, 0) if reader is None else (reader.written - self._begun, reader.silent)
        return SoundReport(self.name, round(written / RATE, 2), round(silent / RATE, 2), self.buffer.breaks, round(self.buffer.ppm, 1))

    # -- threads ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        assert self._reader is not None
        while not self._ending.is_set():
            self._pass_chunks(0.05)
            self._deliver()
        while self._pass_chunks(0.0):
            pass
        self._deliver()

    def _pass_chunks(self, seconds: float) -> bool:
        try:
            block = self._blocks.get(timeout=seconds) if seconds else self._blocks.get_nowait()
        except queue.Empty:
            return False
        if block is None:
            self.buffer.cut(forget=True)
        else:
            self.buffer.feed(replace(block, time=block.time + self._later))
        return True

    def _deliver(self) -> None:
        assert self._reader is not None
        self._reader.muted = self.muted
        for chunk in self._reader.ready(time.monotonic()):
            self.peak = max(self._reader.peak, 0.97 * self.peak)
            self._listen_for_nothing(len(chunk.samples) / RATE)
            for listener in self._listeners:
                listener(chunk)

    def _listen_for_nothing(self, seconds: float) -> None:
        """Report a microphone that delivers only zeros: it is switched off, or the system denies access to it."""
        assert self._reader is not None
        if self._zeros < 0:
            return
        self._zeros = self._zeros + seconds if self.buffer.runs and not self._reader.peak else 0.0
        if self._zeros > _SILENT_SECONDS:
            self._zeros = -1.0
            self._emit(Said(f"microphone {self.name}: gives nothing but silence; is it switched off, or not allowed for this program?"))

    def _watch(self) -> None:
        """Keep the source open, and reopen it after it was lost."""
        try:
            self._begin()
            while not self._stopping.wait(0.2):
                if not self._source.alive():
                    self._find_again("gives no more sound; is it unplugged?")
        finally:
            self._source.close()

    def _begin(self) -> None:
        try:
            self._source.start(self._blocks.put)
        except StreammatError as error:
            self._find_again(str(error))

    def _find_again(self, why: str) -> None:
        self._emit(MicrophoneLost(f"microphone {self.name}: {why}"))
        self._source.close()
        self._blocks.put(None)
        if reconnect(self._start_anew, self._stopping):
            self._emit(MicrophoneBack(self.name))

    def _start_anew(self) -> bool:
        """Open the source again and start it.

        Raises:
            StreammatError: it is not back yet.
        """
        self._source = self._reopen()
        try:
            self._source.start(self._blocks.put)
        except StreammatError:
            self._source.close()
            raise
        self.name = self._source.name
        return True
