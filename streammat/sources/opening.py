"""Files and network addresses opened by FFmpeg."""

from __future__ import annotations

import os
import re
from pathlib import Path

import av

from streammat.answer import answer_of
from streammat.errors import InputError, reason
from streammat.paths import check_readable

_NUMBERED = re.compile(r"%0?\d*d|#{2,}")


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
        if _NUMBERED.search(path) and not os.path.lexists(path):
            raise InputError(
                f"{path}: numbered pictures are not read as a video; expected one file, such as FFmpeg makes of them: ffmpeg -i {path} -c:v ffv1 in.mkv"
            )
        check_readable(path, "a video file")
    try:
        # An absolute path, because FFmpeg takes what stands before a colon for a protocol.
        return open_url(path, (10.0, 30.0)) if is_url(path) else av.open(str(Path(path).absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: is no video that FFmpeg can read ({reason(error)}); expected mp4, mov, mkv, webm, avi or ts") from error
