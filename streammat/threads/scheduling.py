"""Scheduling of this process's threads, kept from libraries that change it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def kept_scheduling() -> Iterator[None]:
    """Around calls that may make threads real-time ones: afterwards all threads are scheduled as the calling one was before.

    SVT-AV1 gives its own threads, and the one that opens it, the highest real-time priority (SCHED_FIFO, 99) where it may, which is as root,
    in containers for instance. Every thread and process made later inherits that, and whoever computes for long then keeps a core from the whole system.
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
