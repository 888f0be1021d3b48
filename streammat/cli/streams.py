"""Standard output and error that never delay or end a run, whatever becomes of their reader."""

from __future__ import annotations

import errno
import faulthandler
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from streammat.threads.patient_stream import PatientWriter

_AT_THE_END = 1.0
"""Seconds that a finished run waits for a reader that has stopped reading."""


@contextmanager
def patient_streams(*, waits: bool) -> Iterator[Streams]:
    """Replace stdout and stderr by streams that are written by their own threads.

    A descriptor that is closed at the start (``2>&-``, daemons) is opened on the null device first: otherwise the next file would
    get its number, and everything that libraries print.

    Args:
        waits: at the end wait for the reader and leave nothing out, for commands whose result is their output.
    """
    _open_closed_descriptors()
    with _silence_libraries(), _both(waits) as streams:
        yield streams


@contextmanager
def _silence_libraries() -> Iterator[None]:
    """Keep descriptor 2 away from libraries: libpng, libjpeg and OpenCV print there, with no way to turn it off.

    ``sys.stderr`` is moved to a descriptor of its own, and so are the traces of crashes. With STREAMMAT_LIBRARIES set all is left
    as it is.
    """
    if "STREAMMAT_LIBRARIES" in os.environ or _number(sys.stderr) != 2:
        yield
        return
    before = sys.stderr
    before.flush()
    own = os.dup(2)
    traces = faulthandler.is_enabled()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        sys.stderr = open(own, "w", encoding=before.encoding, errors=before.errors, buffering=1, closefd=False)  # noqa: SIM115
        if traces:
            faulthandler.enable(own)
        yield
    finally:
        os.dup2(own, 2)
        sys.stderr = before
        if traces:
            faulthandler.enable(2)
        os.close(nowhere)  # and ``own`` stays open: a thread may be writing there yet


def _number(stream: Any) -> int | None:
    """Return the descriptor of a stream; None if it has none, as in tests."""
    try:
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return None


@contextmanager
def _both(waits: bool) -> Iterator[Streams]:
    before = sys.stdout, sys.stderr
    streams = Streams(waits=waits)
    try:
        sys.stdout, sys.stderr = streams.over(before[0], "stdout"), streams.over(before[1], "stderr")
        yield streams
    finally:
        sys.stdout, sys.stderr = before
        streams.end()


class Streams:
    """Standard output and error of a command."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._writers: dict[str, PatientWriter] = {}

    def over(self, stream: Any, name: str) -> Any:
        """Return a text stream whose thread writes to ``stream``; ``stream`` itself if it has no descriptor."""
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        if not isinstance(raw, io.RawIOBase):
            return stream
        stream.flush()
        self._writers[name] = writer = PatientWriter(raw, None if self._waits else 1_000_000, f"streammat-{name}")
        return io.TextIOWrapper(writer, stream.encoding, stream.errors, write_through=True)

    def finish(self) -> None:
        """Wait for unwritten output; with a time limit unless output is the command's result."""
        for writer in self._writers.values():
            while not writer.drain(_AT_THE_END) and self._waits:
                pass

    def end(self) -> None:
        """Wait a moment for unwritten output, then end the threads."""
        for writer in self._writers.values():
            writer.drain(_AT_THE_END)
            writer.end()

    @property
    def broken(self) -> OSError | None:
        """The error that stopped stdout; None also if its reader closed it on purpose."""
        writer = self._writers.get("stdout")
        failure = None if writer is None else writer.failure
        return None if failure is None or failure.errno == errno.EPIPE else failure


def finish() -> None:
    """Wait a moment for unwritten output, before the process is ended without Python's own shutdown."""
    for stream in (sys.stdout, sys.stderr):
        writer = getattr(stream, "buffer", None)
        if isinstance(writer, PatientWriter):
            writer.drain(_AT_THE_END)
        else:
            stream.flush()


def _open_closed_descriptors() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = _null_stream(0, "r")
    if sys.stdout is None:
        sys.stdout = _null_stream(1, "w")
    if sys.stderr is None:
        sys.stderr = _null_stream(2, "w")


def _null_stream(number: int, mode: str) -> TextIO:
    return open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # type: ignore[return-value]
