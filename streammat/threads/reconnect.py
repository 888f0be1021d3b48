"""Waits for a device that is gone: a camera, a microphone, a sound output.

Two others try again in their own way: a stream to a server (`streammat.sinks.stream`) waits for nothing, but looks at the clock
with each frame; a network that fails (`streammat.jobs.live`) is opened anew by what its last frames were like.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from streammat.errors import StreammatError

_SHORTEST: Final = 0.5
_LONGEST: Final = 5.0
"""Seconds between two attempts: each pause is half as long again as the one before."""

T = TypeVar("T")


def reconnect(attempt: Callable[[], T], stopping: threading.Event) -> T | None:
    """Call ``attempt`` after growing pauses until it raises no `StreammatError`.

    Returns:
        What ``attempt`` returned; None if ``stopping`` was set first.
    """
    pause = _SHORTEST
    while not stopping.wait(pause):
        try:
            return attempt()
        except StreammatError:
            pause = min(_LONGEST, 1.5 * pause)
    return None
