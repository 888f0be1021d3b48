"""Moves a batch's finished files from a shard's folder to their final names."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Final

from streammat.engines.whole_files import whole_file
from streammat.errors import OutputError, first_line

_COUNTER: Final = re.compile(r"%0?\d{0,2}d|\$F\d{0,2}|#+|@+")


def counter_of(path: str | Path) -> re.Match[str] | None:
    """Return the match of the counter in a pattern of numbered files; None if the name is that of one file."""
    *_, last = [None, *_COUNTER.finditer(Path(path).name)]  # the last, so that take#2.%04d.exr works
    return last


def is_pattern(path: str | Path) -> bool:
    """Return whether ``path`` names numbered files."""
    return counter_of(path) is not None


def there(path: str | Path) -> list[Path]:
    """Return the existing file of that name, or the existing files of a pattern."""
    path = Path(path)
    match = counter_of(path)
    if match is None:
        return [path] if os.path.lexists(path) else []
    name = re.compile(f"{re.escape(path.name[: match.start()])}-?[0-9]+{re.escape(path.name[match.end() :])}")
    try:
        return sorted(each for each in path.parent.iterdir() if name.fullmatch(each.name))
    except OSError:
        return []


def put(part: Path, target: Path) -> None:
    """Give a finished file its final name, replacing any file of that name.

    Raises:
        OutputError: the file cannot be moved.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(part, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with whole_file(target) as beside:
                shutil.copyfile(part, beside)
                with beside.open("r+b") as file:
                    os.fsync(file.fileno())
            part.unlink()
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({first_line(error)}); check space and permissions of its folder") from error
