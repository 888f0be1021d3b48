"""The thread of one stage of a pipeline, between two channels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from streammat.threads.channel import Channel, Closed


def stage_thread(
    name: str, work: Callable[[], None], fail: Callable[[Exception], None], inbox: Channel[Any] | None = None, outbox: Channel[Any] | None = None
) -> threading.Thread:
    """Return a thread, not started, that does a stage's work; whatever ends it, its channels are closed for the stages beside it.

    Args:
        name: of the stage.
        work: returns, or raises ``Closed``, when a neighbour has ended.
        fail: called with any other error.
        inbox: abandoned at the end.
        outbox: ended at the end.
    """

    def body() -> None:
        try:
            work()
        except Closed:
            pass  # a neighbour has gone and has said why
        except Exception as error:  # noqa: BLE001 - kept, and raised by the pipeline
            fail(error)
        finally:
            if inbox is not None:
                inbox.abandon()
            if outbox is not None:
                outbox.end()

    return threading.Thread(target=body, name=f"streammat-{name}", daemon=True)
