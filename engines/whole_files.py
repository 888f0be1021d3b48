"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name beside ``path``, with its suffix, that nobody uses or foresees; what was written there takes the name of ``path`` at the end.

    An error inside removes it and leaves ``path`` as it was. Raises OSError.
    """
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, on the disk itself before it gets its name; raises OSError."""
    with whole_file(path) as partial, partial.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
