"""The outputs of a live run: those from its start, and recordings and streams that are started and ended during the run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from streammat.audio.track import Chunk
from streammat.errors import StreammatError, UsageError, one_line
from streammat.events import Emit, OutputEnded, OutputFailed, OutputStarted, OutputState, OutputStatus
from streammat.live.fallback import OutputFrame
from streammat.live.outputs.worker import OutputWorker
from streammat.sinks.stream import check_stream, public
from streammat.stats import Latency, OutputKind, OutputReport

CLOSING: Final = 60.0
"""Seconds that an output may take to finish: hours of MP4 get their index then."""
_TOLD: Final = 4
"""Number of ended outputs that the status still lists."""
_FEW: Final = 10  # frames, before their latency means anything


class Outputs:
    """The outputs at work. Any thread may call.

    Args:
        workers: the outputs at the start, not yet started.
    """

    def __init__(self, workers: Sequence[OutputWorker]) -> None:
        self._lock = threading.Lock()
        self.at_work = tuple(workers)
        """Outputs at work; replaced as a whole, so that the distributing thread reads it once."""
        self._ending: list[OutputWorker] = []
        self._ended: list[OutputReport] = []
        self._state: Literal["before", "on", "over"] = "before"

    def start(self) -> None:
        """Begin to take frames."""
        with self._lock:
            self._state = "on"
            for worker in self.at_work:
                worker.start()

    def put(self, shown: OutputFrame) -> None:
        """Pass a frame to each output; never waits."""
        for worker in self.at_work:
            worker.put(shown)

    def hear(self, chunk: Chunk) -> None:
        """Pass sound to each output; never waits."""
        for worker in self.at_work:
            worker.hear(chunk)

    def add(self, worker: OutputWorker) -> bool:
        """Add an output from the next frame on; returns False, and does nothing, if the run is over."""
        with self._lock:
            if self._state != "on":
                return False
            worker.start()
            self.at_work = (*self.at_work, worker)
            return True

    def remove(self, worker: OutputWorker) -> None:
        """Finish one output, while the others continue: waits until it is closed; the run's end waits for it, too."""
        with self._lock:
            if worker not in self.at_work:
                return
            self.at_work = tuple(each for each in self.at_work if each is not worker)
            self._ending.append(worker)
        worker.end()
        worker.join(CLOSING)
        with self._lock:
            if worker in self._ending:
                self._ending.remove(worker)
                self._ended.append(worker.report())

    @property
    def all_failed(self) -> bool:
        """True if no output takes frames any more because all have failed."""
        return bool(self.at_work) and not self._ending and all(worker.failure is not None for worker in self.at_work)

    def close(self) -> list[str]:
        """Finish all outputs; returns notes about those that do not end."""
        with self._lock:
            self._state = "over"
            workers = (*self._ending, *self.at_work)
        for worker in workers:
            worker.end()
        return [f"{worker.name}: does not end and was left as it is" for worker in workers if not worker.join(CLOSING)]

    def reports(self) -> tuple[OutputReport, ...]:
        """Return summaries of all outputs, those at work first."""
        with self._lock:
            return (*(worker.report() for worker in self.at_work), *(worker.report() for worker in self._ending), *self._ended)

    def latency(self) -> Latency:
        """Return the latency of about the last ten seconds, at the first output at work."""
        return self.at_work[0].latency.recent() if self.at_work else Latency(0.0, 0.0, 0.0)

    def late(self) -> float | None:
        """Return the median latency, in seconds, of the first output that shows frames at once; None before enough frames."""
        workers = self.at_work
        seen = next((worker for worker in workers if worker.kind == "shown"), workers[0] if workers else None)
        return seen.latency.recent().p50_ms / 1000 if seen is not None and seen.latency.count >= _FEW else None

    def status(self) -> list[OutputStatus]:
        """Return the state of each output; of the ended ones only the last few."""
        with self._lock:
            found = [_status_of(worker, "on") for worker in self.at_work]
            return [*found, *(_status_of(worker, "ending") for worker in self._ending), *(_status_of(report, "ended") for report in self._ended[-_TOLD:])]


def _status_of(one: OutputWorker | OutputReport, state: OutputState) -> OutputStatus:
    return OutputStatus(one.name, one.kind, state if one.error is None else "failed", one.written, one.dropped, one.error)


@dataclass(frozen=True)
class SwitchStatus:
    """The outputs' part of the status event; see `streammat.events.Status`."""

    outputs: tuple[OutputStatus, ...]
    recording: bool
    streaming: bool
    stream: str | None


class OutputSwitch:
    """Starts and ends recordings and streams during a run. Opening and finishing run in separate threads, because a server may be
    slow.

    Args:
        outputs: the run's outputs.
        opened: opens the output of a name, as ``--to`` has it, that begins now.
        given: the outputs that the run begins with, as ``--to`` has them.
        folder: where recordings are made.
        emit: called with ``output-started``, ``output-ended`` and ``output-failed``.

    Raises:
        UsageError: the folder is none.
    """

    def __init__(self, outputs: Outputs, opened: Callable[[str], OutputWorker], given: Sequence[str], folder: str, emit: Emit) -> None:
        if not os.path.isdir(folder):
            raise UsageError(f"--recordings {folder}: is no folder; make it, or give another")
        self._outputs = outputs
        self._opened = opened
        self._folder = Path(folder)
        self._emit = emit
        self._lock = threading.Lock()
        self._opening: dict[str, bool] = {}
        """Names of outputs being opened, with whether they are still wanted."""
        self._stream = next((text for text in given if "://" in text), None)

    def record(self, wanted: bool | None) -> None:
        """Start a recording named after the current time, or end all recordings; None toggles."""
        running = self._running("recording")
        wanted = not running if wanted is None else wanted
        if not wanted:
            self._end(running)
        elif not running:
            self._begin(str(_free(self._folder, datetime.now().astimezone())))

    def stream(self, wanted: str | bool | None) -> None:
        """Start a stream to an address, or (True) to the last one, or (False) end all streams; None toggles.

        Raises:
            UsageError: there is no last address, it is not an address, or another stream is running.
        """
        running = self._running("stream")
        if wanted is None:
            wanted = not running
        if wanted is False:
            self._end(running)
            return
        address = self._stream if wanted is True else wanted
        if address is None:
            raise UsageError('stream: no address is known; give one, such as {"command": "stream", "value": "rtmp://live.example.com/app/key"}')
        check_stream(address)
        if running:
            if address == self._stream:
                return
            raise UsageError("stream: one goes on already; end it first")
        self._stream = address
        self._begin(address)

    def status(self) -> SwitchStatus:
        """Return the outputs' part of the status event."""
        with self._lock:
            opening = [OutputStatus(public(text) if "://" in text else text, _kind(text), "starting", 0, 0, None) for text in self._opening]
            stream = None if self._stream is None else public(self._stream)
        outputs = (*self._outputs.status(), *opening)
        return SwitchStatus(outputs, bool(self._running("recording")), bool(self._running("stream")), stream)

    def _running(self, kind: str) -> list[OutputWorker | str]:
        """Return the outputs at work, and names of those being opened."""
        with self._lock:
            opening = [text for text, wanted in self._opening.items() if wanted and _kind(text) == kind]
        return [*opening, *(worker for worker in self._outputs.at_work if worker.kind == kind and worker.failure is None)]

    def _begin(self, text: str) -> None:
        with self._lock:
            if text in self._opening:
                raise UsageError(f"{public(text) if '://' in text else text}: is being opened; wait a moment")
            self._opening[text] = True
        threading.Thread(target=self._open, args=(text,), name="streammat-open-output", daemon=True).start()

    def _open(self, text: str) -> None:
        name = public(text) if "://" in text else text
        try:
            worker = self._opened(text)
        except StreammatError as error:
            with self._lock:
                del self._opening[text]
            self._emit(OutputFailed(name, one_line(error)))
            return
        with self._lock:
            # As one step: between the two nobody would find it.
            added = self._opening.pop(text) and self._outputs.add(worker)
        if added:
            self._emit(OutputStarted(name))
        else:
            worker.abort()

    def _end(self, running: Sequence[OutputWorker | str]) -> None:
        for one in running:
            if isinstance(one, str):
                with self._lock:
                    if one in self._opening:
                        self._opening[one] = False
            else:
                threading.Thread(target=self._finish, args=(one,), name="streammat-end-output", daemon=True).start()

    def _finish(self, worker: OutputWorker) -> None:
        self._outputs.remove(worker)
        if worker.failure is None:  # or else that was told
            self._emit(OutputEnded(worker.name, worker.written))


def _kind(text: str) -> OutputKind:
    return "stream" if "://" in text else "recording"


def _free(folder: Path, now: datetime) -> Path:
    """Return a name for a recording that nothing has yet."""
    for number in range(1, 1000):
        more = "" if number == 1 else f" {number}"
        path = folder / f"streammat {now:%Y-%m-%d %H-%M-%S}{more}.mkv"
        if not path.exists():
            return path
    raise UsageError(f"{folder}: has 999 recordings with the time of this second; wait a second, or check the clock")
