"""A bounded queue between two threads.

Closing and failing are part of the channel, so that neither side can wait for one that has died: ``put`` raises ``Closed`` once
the reader has gone, and the reader drains what is left and then ends. For files ``put`` waits for room, so that nothing is lost.
For live video it drops the oldest item instead, so that nothing gets late; dropped items are counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Overflow = Literal["wait", "drop_oldest"]


class Closed(Exception):  # noqa: N818 - a signal between two stages, not an error
    """Raised when the other side has gone."""


class Channel(Generic[T]):
    """A first in, first out queue for one writer and one reader.

    Args:
        capacity: most items in it.
        overflow: what ``put`` does when it is full: wait for room, or drop the oldest item.
    """

    def __init__(self, capacity: int, overflow: Overflow = "wait") -> None:
        self._capacity = capacity
        self._drops = overflow == "drop_oldest"
        self.dropped = 0
        """Number of items that were dropped for newer ones."""
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._abandoned = False

    def put(self, item: T) -> None:
        """Add ``item``; waits for room or drops the oldest.

        Raises:
            Closed: the reader has gone; the item is dropped.
        """
        with self._changed:
            if self._drops and len(self._items) >= self._capacity and not self._abandoned:
                self._items.popleft()
                self.dropped += 1
            while len(self._items) >= self._capacity and not self._abandoned:
                self._changed.wait()
            if self._abandoned:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """End the channel; called by the writer: no more items will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Abandon the channel; called by the reader: a waiting ``put`` raises ``Closed``."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def take(self, seconds: float) -> T | None:
        """Return the next item, or None if none has come after ``seconds``.

        Raises:
            Closed: the writer has ended and all is taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, seconds)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._ended:
                raise Closed
            return None

    def __iter__(self) -> Iterator[T]:
        """Yield items in order until the writer has ended and all are taken."""
        while True:
            with self._changed:
                while not self._items and not self._ended:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            # A generator's frame keeps its last item alive while it waits for the next one: a whole frame, here.
            del item
