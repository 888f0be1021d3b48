"""Protects the scheduling of this process's threads from libraries that change it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_LESS: Final = 10
"""Added to the calling thread's nice value."""


def give_way() -> None:
    """Lower the priority of the calling thread, so that it takes what others of this process leave; on Linux, where threads have their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _LESS))


@contextmanager
def kept_scheduling() -> Iterator[None]:
    """Restore the scheduling of all threads after a block that may make them real-time threads.

    SVT-AV1 gives its own threads, and the thread that opens it, the highest real-time priority (SCHED_FIFO, 99) if permitted,
    which is as root, for instance in containers. All later threads and processes inherit that, and a long computation then blocks
    a core for the whole system.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):  # it has ended meanwhile
                if os.sched_getscheduler(int(thread)) != policy:
                    os.sched_setscheduler(int(thread), policy, parameters)
