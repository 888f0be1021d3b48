"""Checks the files that a user names before anything is opened: whether they can be read or written, and why not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from streammat.errors import InputError, OutputError, UsageError, first_line


def check_readable(path: str | Path, expected: str) -> None:
    """Refuse a file that cannot be read.

    Args:
        path: path of the file.
        expected: expected kind, such as "a video file".

    Raises:
        UsageError: the name is empty.
        InputError: the file does not exist, is a folder, is empty, or may not be read.
    """
    if not str(path):
        raise UsageError(f"an empty name was given for {expected}; give the path of one")
    try:
        status = os.stat(path)
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; check the name and the folder ({os.path.abspath(os.path.dirname(path))})") from error
    except (OSError, ValueError) as error:
        hint = "check the permissions of the file and of its folders" if isinstance(error, PermissionError) else "check the path"
        raise InputError(f"{path}: cannot be read ({first_line(error)}); {hint}") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder; expected {expected}")
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise InputError(f"{path}: is empty (0 bytes); expected {expected}")


def listed(folder: str | Path) -> list[Path]:
    """Return the contents of a folder, sorted by name, without hidden files.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({first_line(error)}); check the folder and its permissions") from error


def check_writable(path: str | Path, *, made: bool = False) -> None:
    """Refuse a name under which no file can be created.

    Args:
        path: path of the file.
        made: its folder will be created if missing.

    Raises:
        UsageError: the name is empty, or a folder.
        OutputError: the folder is missing or may not be written, or the name is too long.
    """
    if not str(path):
        raise UsageError("an empty name was given for an output; give the path of a file, such as out.mp4")
    if os.path.isdir(path):
        raise UsageError(f"{path}: is a folder; expected a file name, such as {str(path).rstrip('/')}/out.mp4")
    folder = os.path.dirname(path) or "."
    try:
        os.stat(folder)
        if not os.path.isdir(folder):
            raise OutputError(f"{path}: {folder} is a file; expected a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.lstat(path)
    except FileNotFoundError as error:
        if not made and not os.path.isdir(folder):
            raise OutputError(f"{path}: there is no folder {folder}; make it, or give another path") from error
    except PermissionError as error:
        raise OutputError(f"{path}: the folder {folder} may not be written ({first_line(error)}); check its permissions, or give another path") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({first_line(error)}); give another name") from error
