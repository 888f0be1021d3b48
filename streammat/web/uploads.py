"""Uploaded backgrounds: images and clips in the run's own folder, under names that we choose."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from streammat.engines.whole_files import whole_file
from streammat.errors import OutputError, UsageError, first_line

MOST_BYTES: Final = 200 << 20
"""Largest size of one file in bytes."""
MOST_FILES: Final = 24
_HEAD: Final = 16
# Only kinds that hold their images themselves: playlists and scripts of FFmpeg name other files and addresses.
_STARTS: Final = {
    b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"GIF8": ".gif", b"\x1a\x45\xdf\xa3": ".mkv",
}
_KINDS: Final = "PNG, JPEG, WebP, TIFF, GIF, MP4, MOV, MKV or WebM"


class Uploads:
    """The folder of uploads, created with the first file and removed at the end."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0

    async def save(self, chunks: AsyncIterator[bytes]) -> Path:
        """Write one file while it arrives.

        Raises:
            UsageError: it is too large, of no accepted kind, or one too many; nothing is left of it.
        """
        if self._count >= MOST_FILES:
            raise UsageError(f"{MOST_FILES} files were sent already; expected no more in one run: give others with --bg")
        self._count += 1  # before the first wait: others may be on their way
        path: Path | None = None
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="streammat-web-"))
            path = self._folder / secrets.token_hex(8)
            size, head = 0, b""
            with open(path, "xb") as file:  # noqa: ASYNC230 - of a local disk, in pieces of 64 KiB
                async for chunk in chunks:
                    size += len(chunk)
                    head = (head + chunk[:_HEAD])[:_HEAD]
                    if size > MOST_BYTES:
                        raise UsageError(f"the file is larger than {MOST_BYTES >> 20} MiB; expected a smaller one: give it with --bg")
                    file.write(chunk)
            named = path.with_suffix(_suffix(head))
            os.rename(path, named)
        except BaseException:
            self._count -= 1
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        return named

    def keep(self, path: Path, folder: Path) -> Path:
        """Return a copy in ``folder``, which outlives the run; what was not sent by a page is given back as it is.

        Raises:
            OutputError: it cannot be copied.
        """
        if self._folder is None or path.parent != self._folder:
            return path
        kept = folder / path.name
        try:
            if not kept.exists():
                folder.mkdir(parents=True, exist_ok=True)
                with whole_file(kept) as partial:
                    shutil.copyfile(path, partial)
        except OSError as error:
            raise OutputError(f"{folder}: a background that was sent cannot be kept there ({first_line(error)}); make room") from error
        return kept

    def drop(self, path: Path) -> None:
        """Remove a file that turned out to be unusable."""
        path.unlink(missing_ok=True)
        self._count -= 1

    def close(self) -> None:
        """Remove everything; may be called twice."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _suffix(head: bytes) -> str:
    """Return the extension by content, whatever the sender's name.

    Raises:
        UsageError: the kind is not accepted.
    """
    for start, suffix in _STARTS.items():
        if head.startswith(start):
            return suffix
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        return ".mp4"
    raise UsageError(f"the file is no background that is taken here; expected {_KINDS}")
