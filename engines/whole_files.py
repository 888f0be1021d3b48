"""Writes files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an unused, unpredictable name beside ``path``, with its suffix; at the end the file written there is renamed to
    ``path``.

    An error inside removes that file and leaves ``path`` unchanged. Raises OSError.
    """
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: Path, content: bytes, check: Callable[[Path], None] | None = None) -> None:
    """Write a file, flushed to the disk and passed to ``check`` before it is renamed; raises OSError and what ``check`` raises."""
    with whole_file(path) as partial:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(partial)
