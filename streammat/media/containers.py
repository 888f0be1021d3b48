"""Opens files and network addresses with FFmpeg."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import av

from streammat.errors import InputError, first_line
from streammat.paths import check_readable
from streammat.threads.interruptible import answer_of

OPEN_SECONDS, READ_SECONDS = 10.0, 30.0
"""After which a network address that says nothing is given up: while it is opened, and at each later read."""
CLIPS = (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ts", ".webm", ".wmv")
"""Extensions of the clips in a folder."""
_NUMBERED = re.compile(r"%0?\d*d|#{2,}")
_OTHERWISE_LATIN = "streammat.latin-1"


def _latin(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as Latin-1; an error handler for ``codecs.register_error``."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_OTHERWISE_LATIN, _latin)


def open_container(path: str | IO[bytes], **options: Any) -> av.container.InputContainer:
    """Open a container with ``av.open`` for reading; tags that are not UTF-8 (some cameras, all old AVI files) are read as
    Latin-1.

    Args:
        path: a file, or any address that FFmpeg knows; or an open binary file that can seek.
        options: further options of ``av.open``.

    Raises:
        av.FFmpegError, OSError, ValueError: as ``av.open`` raises them.
    """
    # An absolute path, because FFmpeg takes what stands before a colon for a protocol.
    where = path if not isinstance(path, str) or is_url(path) else str(Path(path).absolute())
    container: av.container.InputContainer = av.open(where, "r", metadata_errors=_OTHERWISE_LATIN, **options)
    return container


def is_url(path: str) -> bool:
    """Return True for a name that FFmpeg takes as a network address rather than a file."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme.isalnum()


def images_of(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield every image that can be decoded, from the container's current position; damaged packets are skipped.

    Raises:
        av.FFmpegError: the container cannot be read any further.
    """
    for packet in container.demux(stream):
        try:
            images = packet.decode()
        except av.FFmpegError:  # the decoder starts again at the next keyframe
            continue
        yield from images


def open_url(url: str, timeout: tuple[float, float], options: dict[str, str] | None = None) -> av.container.InputContainer:
    """Open ``url`` with FFmpeg in a separate thread, so that signal handlers of this thread run at once.

    Args:
        url: an address of any protocol that FFmpeg knows.
        timeout: seconds for opening, and for each later read, so that a dead host does not block a command.
        options: FFmpeg's.

    Raises:
        av.FFmpegError, OSError, ValueError: as ``av.open`` raises them.
    """
    return answer_of(lambda: open_container(url, options=options or {}, timeout=timeout), "streammat-open")


def name_of(source: str | IO[bytes]) -> str:
    """Return the name of a file, a URL or an open file, for messages."""
    name = source if isinstance(source, str) else getattr(source, "name", None)
    return name if isinstance(name, str) else "the file object"


def open_video(path: str | IO[bytes]) -> av.container.InputContainer:
    """Open the container of a file or URL, or of an open file, which is read from its beginning and not closed.

    Raises:
        InputError: it does not exist, may not be read, or is of no kind that FFmpeg knows.
    """
    if not isinstance(path, str):
        size = path.seek(0, os.SEEK_END)
        path.seek(0)
        if not size:
            raise InputError(f"{name_of(path)}: is empty (0 bytes); expected a video file")
    elif not is_url(path):
        if _NUMBERED.search(path) and not os.path.lexists(path):
            raise InputError(
                f"{path}: numbered images are not read as a video; expected one file, such as FFmpeg makes of them: ffmpeg -i {path} -c:v ffv1 in.mkv"
            )
        check_readable(path, "a video file")
    try:
        return open_url(path, (OPEN_SECONDS, READ_SECONDS)) if isinstance(path, str) and is_url(path) else open_container(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name_of(path)}: is not a video that FFmpeg can read ({first_line(error)}); expected mp4, mov, mxf, mkv, webm, avi or ts") from error
