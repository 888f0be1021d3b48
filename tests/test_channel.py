"""The hand-over between two threads: order, bounds, and that nobody waits for the dead."""

from __future__ import annotations

import threading
import time

import pytest

from streammat.threads.channel import Channel, Closed


def test_items_come_in_order_and_the_end_is_seen() -> None:
    channel: Channel[int] = Channel(2)

    def write() -> None:
        for number in range(1000):
            channel.put(number)
        channel.end()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(channel) == list(range(1000))
    writer.join()


def test_a_full_channel_holds_the_writer_back() -> None:
    channel: Channel[int] = Channel(3)
    written: list[int] = []

    def write() -> None:
        for number in range(6):
            channel.put(number)
            written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.1)
    assert written == [0, 1, 2]
    items = iter(channel)
    assert [next(items) for _ in range(6)] == list(range(6))
    writer.join(2)
    assert not writer.is_alive()


def test_a_writer_that_waits_is_woken_when_the_reader_goes() -> None:
    channel: Channel[int] = Channel(1)
    outcome: list[type] = []

    def write() -> None:
        try:
            for number in range(10):
                channel.put(number)
        except Closed:
            outcome.append(Closed)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    channel.abandon()
    writer.join(2)
    assert outcome == [Closed]
    with pytest.raises(Closed):
        channel.put(1)


def test_what_lies_in_the_channel_at_the_end_is_still_read() -> None:
    channel: Channel[str] = Channel(3)
    channel.put("a")
    channel.put("b")
    channel.end()
    assert list(channel) == ["a", "b"]
    assert list(channel) == []


def test_the_reader_holds_no_item_while_it_waits() -> None:
    """A frame that is done must be freed before the next one comes, not after."""
    import weakref

    class Item:
        pass

    channel: Channel[Item] = Channel(2)
    item = Item()
    seen = weakref.ref(item)
    channel.put(item)
    del item
    items = iter(channel)
    got = next(items)
    channel.put(Item())
    del got
    next(items)
    assert seen() is None
