"""A byte stream whose writer never waits for the reader: a separate thread does the writing."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from typing import Any

_PATIENCE = 0.2


class PatientWriter(io.RawIOBase):
    """Writes to another stream, in order, whatever happens to it.

    ``write`` neither waits nor fails. ``flush`` waits a moment, so that output to two streams appears in order, but not for a
    reader that has stopped. When ``room`` is full, whole calls of ``write`` are dropped until there is room again. After an error
    everything is discarded, and ``failure`` has the error.

    Args:
        stream: an unbuffered stream, never closed here.
        room: most bytes that may wait; None: unlimited.
        name: name of the thread.
    """

    def __init__(self, stream: Any, room: int | None = 1_000_000, name: str = "streammat-writer") -> None:
        self.failure: OSError | None = None
        self.left_out = 0
        """Number of ``write`` calls that were dropped."""
        self._stream = stream
        self._room = room
        self._name = name
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # of those, and of what is being written
        self._stuck = False  # nobody reads; nobody is waited for till then
        self._over = False
        self._thread: threading.Thread | None = None

    def write(self, data: Any) -> int:
        """Queue ``data``; returns its length."""
        content = bytes(data)
        with self._changed:
            if self.failure is None and content:
                if self._room is not None and self._bytes and self._bytes + len(content) > self._room:
                    self.left_out += 1
                    return len(content)
                self._waiting.append(content)
                self._bytes += len(content)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                    self._thread.start()
                self._changed.notify_all()
        return len(content)

    def flush(self) -> None:
        """Wait a moment for the reader, unless the last wait was in vain and it has not read since."""
        if not self._stuck and not self.drain(_PATIENCE):
            self._stuck = True

    def drain(self, seconds: float, to: int = 0) -> bool:
        """Wait until at most ``to`` bytes are queued; returns False if nothing was written for ``seconds``, True after an error."""
        limit = time.monotonic() + seconds
        with self._changed:
            before = self._bytes
            while self._bytes > to and time.monotonic() < limit:
                self._changed.wait(min(_PATIENCE, seconds))
                if self._bytes < before:
                    limit = time.monotonic() + seconds
                before = self._bytes
            return self._bytes <= to

    def end(self) -> None:
        """End the stream: nothing more will be written; the thread ends as soon as it can."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def isatty(self) -> bool:
        """Return the result of the stream that it writes to."""
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        """Return the result of the stream that it writes to."""
        return int(self._stream.fileno())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._over:
                    self._changed.wait()
                if not self._waiting:
                    return
                content = self._waiting.popleft()
            try:
                self._put(memoryview(content))
            except (OSError, ValueError) as error:  # ValueError: it is closed
                with self._changed:
                    self.failure = error if isinstance(error, OSError) else OSError(str(error))
                    self._waiting.clear()
                    self._bytes = 0
                    self._changed.notify_all()
                return

    def _put(self, content: memoryview) -> None:
        while content:
            written = self._stream.write(content)
            if written is None:  # somebody has made the other end's descriptor one that does not wait
                time.sleep(_PATIENCE / 10)
                continue
            content = content[written:]
            with self._changed:
                self._bytes -= written
                self._stuck = False
                self._changed.notify_all()
