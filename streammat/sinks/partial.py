"""Partial outputs: a file under an unused name until it is complete, and locks that reserve both names for one run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streammat.errors import UsageError


class PartialFile:
    """``out.partial.mp4`` for ``out.mp4``: in the same folder, so that renaming is atomic, and with the same extension, so that
    players open it. If that name exists, even as a link, or is reserved by another run, it is ``out.partial-2.mp4`` and so on:
    existing files are never overwritten and links never followed. The constructor creates the file, empty.

    Args:
        output: final name of the file.
        overwrite: ``take_name`` may replace an existing file.

    Raises:
        UsageError: another run is writing ``output``, or it exists and is not to be replaced.
        OSError: the file cannot be created.
    """

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self._output = output
        self._overwrite = overwrite
        self._claim = Claim(output)
        self._name_claim: Claim | None = None
        try:
            # After reserving the name: another run may have created the file since the first check.
            if not overwrite and os.path.lexists(output):
                raise UsageError(f"{output}: is there already; give -y to replace it")
            self.path, self._identity = self._created()
        except BaseException:
            self.release()
            raise

    @property
    def here(self) -> bool:
        """False if the file was removed or replaced by something else."""
        with suppress(OSError):
            return _identity(os.lstat(self.path)) == self._identity
        return False

    def take_name(self) -> None:
        """Give it its final name.

        Raises:
            OSError: the file cannot be renamed; FileExistsError if the name was taken meanwhile and is not to be replaced.
        """
        if not self.here:
            raise FileNotFoundError(f"{self.path.name} was removed or replaced by something else")
        if self._overwrite:
            os.replace(self.path, self._output)
            return
        try:
            os.link(self.path, self._output)  # unlike renaming, it never replaces
        except FileExistsError:
            raise
        except OSError:  # the file system has no second names
            if os.path.lexists(self._output):
                raise FileExistsError(f"{self._output.name} is there already") from None
            os.replace(self.path, self._output)
        else:
            os.unlink(self.path)

    def drop(self) -> None:
        """Remove the file; may be called twice."""
        if self.here:
            with suppress(OSError):
                self.path.unlink()
        self.release()

    def release(self) -> None:
        """Release both names; may be called twice."""
        for claim in (self._name_claim, self._claim):
            if claim is not None:
                claim.release()

    def _created(self) -> tuple[Path, tuple[int, int]]:
        for path in _names(self._output):
            try:
                claim = Claim(path)  # another run may be about to finish a file of this name
            except UsageError:
                continue
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                claim.release()
                continue
            except BaseException:
                claim.release()
                raise
            self._name_claim = claim
            with os.fdopen(descriptor, "rb") as file:
                return path, _identity(os.fstat(file.fileno()))
        raise AssertionError


def _names(output: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield output.with_name(f"{output.stem}.partial{'' if number == 1 else f'-{number}'}{output.suffix}")
        number += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Claim:
    """Reserves a name for one run, even between machines that share a folder; it ends with its process, however that ends.

    The lock is on a separate file, ``.out.mp4.lock``: on Windows shares only the process that locked a file can write to it,
    which would exclude FFmpeg. On file systems without locks nothing is reserved.

    Raises:
        UsageError: another run is writing it, or the lock's name is a link.
    """

    def __init__(self, output: Path) -> None:
        from filelock import FileLock, Timeout

        self._path = output.with_name(f".{output.name}.lock")
        if self._path.is_symlink():
            raise UsageError(f"{output}: {self._path.name} beside it is a link where a lock is to be; remove it, or give another name")
        # Whichever thread ends an output releases it.
        self._lock = FileLock(self._path, mode=0o666, thread_local=False)
        if not output.parent.is_dir():  # which the library would make
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(f"{output}: another run, or another output of this one, is writing it; wait for that, or give another name") from error
        except (OSError, NotImplementedError):
            pass  # whoever opens the output will say why

    def release(self) -> None:
        """Release the name; may be called twice."""
        if not self._lock.is_locked:
            return
        if sys.platform == "win32":  # an open file cannot be removed on Windows
            self._lock.release()
        with suppress(OSError):
            os.unlink(self._path)
        self._lock.release()
