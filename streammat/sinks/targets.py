"""Checks the names of outputs before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path

from streammat.config import EncodeOptions
from streammat.errors import UsageError
from streammat.media.containers import is_url
from streammat.paths import check_writable


def check_targets(sources: list[str], targets: list[str], encode: EncodeOptions, *, made: bool = False) -> None:
    """Refuse outputs that would destroy files.

    Raises:
        UsageError: two outputs are one file, an output is a source, or it exists and ``overwrite`` is off.
    """
    read = {file_identity(Path(source)): source for source in sources if not is_url(source)}
    written: set[Path] = set()
    for target in targets:
        check_writable(target, made=made)
        path = Path(os.path.realpath(target))
        if path in written:
            raise UsageError(f"two outputs have the same name ({target}); give each its own")
        written.add(path)
        if (source := read.get(file_identity(path))) is not None:
            raise UsageError(f"{source}: is both source and target; give the output another name")
        if os.path.lexists(path) and not encode.overwrite:
            raise UsageError(f"{target}: is there already; give -y to replace it")


def file_identity(path: Path) -> object:
    """Return a value that all names of one file share, even on systems where In.mp4 and in.mp4 are the same."""
    try:
        status = path.stat()
    except OSError:  # nothing there
        return Path(os.path.realpath(path))
    return status.st_dev, status.st_ino
