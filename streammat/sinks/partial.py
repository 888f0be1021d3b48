"""Partial outputs: a file under an unused name until it is complete, and locks that reserve both names for one run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streammat.errors import UsageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


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
            # After the claim: another run may have made it since the command looked.
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
        self._path = output.with_name(f".{output.name}.lock")
        if self._path.is_symlink():
            raise UsageError(f"{output}: {self._path.name} beside it is a link where a lock is to be; remove it, or give another name")
        try:
            self._descriptor = _locked(self._path)
        except BlockingIOError as error:
            raise UsageError(f"{output}: another run, or another output of this one, is writing it; wait for that, or give another name") from error

    def release(self) -> None:
        """Release the name; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform == "win32":  # what is open cannot be removed there, by us or while another has it
            os.close(descriptor)
        with suppress(OSError):
            os.unlink(self._path)
        if sys.platform != "win32":
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None if locks are not supported. Raises BlockingIOError if another process holds
    it.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:  # whoever opens the output will say why
            return None
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return descriptor
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # Windows calls it the latter
            os.close(descriptor)
            raise BlockingIOError from error
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            return None
        with suppress(OSError):
            if os.lstat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # whoever had it removed the file just then
