"""An output until it is whole: the name that it grows under, and the claim that keeps other runs from it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from streammat.errors import UsageError

if sys.platform != "win32":
    import fcntl


def partial_name(path: Path) -> Path:
    """``out.partial.mp4`` for ``out.mp4``: beside it, so that it can take that name at once, and with its ending, so that players open it."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class Claim:
    """Keeps an output to one run, also of several machines that share a folder; it ends with its run, however that ends.

    What is locked is a file of its own, ``.out.mp4.lock``: on Windows shares a locked file can only be written by who locked it, and
    that would not be FFmpeg. Where the file system has no locks, and on Windows, nothing is claimed.

    Raises:
        UsageError: another run is writing it.
    """

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(f".{output.name}.lock")
        try:
            self._descriptor = _locked(self._path)
        except BlockingIOError as error:
            raise UsageError(f"{output}: another run is writing it; wait for that, or give another name") from error

    def release(self) -> None:
        """Let others have it; twice is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.unlink(self._path)
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock; None where there is none to be had. Raises BlockingIOError where another has it."""
    if sys.platform == "win32":
        return None
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # whoever opens the output will say why
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            return None
        with suppress(OSError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # whoever had it removed the file just then
