"""Files and network addresses opened by FFmpeg."""

from __future__ import annotations

import os
from pathlib import Path

import av

from streammat.answer import answer_of
from streammat.errors import InputError, reason


def is_url(path: str) -> bool:
    """True for what FFmpeg takes as a network address rather than a file."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme.isalnum()


def open_url(url: str, timeout: tuple[float, float], options: dict[str, str] | None = None) -> av.container.InputContainer:
    """What FFmpeg finds at ``url``, which is waited for so that a signal handler of this thread runs at once.

    Args:
        url: of any protocol that it knows.
        timeout: seconds for opening, and for each read later on: a dead host must not hold a command for ever.
        options: FFmpeg's.

    Raises:
        av.FFmpegError, OSError, ValueError: as ``av.open`` raises them.
    """
    return answer_of(lambda: av.open(url, options=options or {}, timeout=timeout), "streammat-open")


def open_video(path: str) -> av.container.InputContainer:
    """The container of a file or URL.

    Raises:
        InputError: nothing is there, it may not be read, or it is nothing that FFmpeg knows.
    """
    if not is_url(path):
        file = Path(path)
        if not file.exists():
            raise InputError(f"{path}: no such file; check the name and the folder ({file.parent.resolve()})")
        if file.is_dir():
            raise InputError(f"{path}: is a folder; expected a video file")
        if not os.access(file, os.R_OK):
            raise InputError(f"{path}: may not be read; check its permissions")
        if file.is_file() and file.stat().st_size == 0:
            raise InputError(f"{path}: is empty (0 bytes); expected a video file")
    try:
        # An absolute path, because FFmpeg takes what stands before a colon for a protocol.
        return open_url(path, (10.0, 30.0)) if is_url(path) else av.open(str(Path(path).absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: is no video that FFmpeg can read ({reason(error)}); expected mp4, mov, mkv, webm, avi or ts") from error
