"""The newest counts: a channel that drops the oldest, and a reader that does not wait for ever."""

from __future__ import annotations

import threading

import pytest

from streammat.threads.channel import Channel, Closed


def test_the_oldest_makes_room_and_is_counted() -> None:
    channel: Channel[int] = Channel(2, "drop_oldest")
    for number in range(10):
        channel.put(number)  # never waits, though nobody reads
    channel.end()
    assert list(channel) == [8, 9]
    assert channel.dropped == 8


def test_what_has_room_is_not_dropped() -> None:
    channel: Channel[int] = Channel(1, "drop_oldest")
    for number in range(100):
        channel.put(number)
        assert channel.take(0) == number
    assert channel.dropped == 0


def test_take_gives_none_after_its_time_and_says_when_it_is_over() -> None:
    channel: Channel[int] = Channel(1)
    assert channel.take(0.01) is None
    channel.put(1)
    channel.end()
    assert channel.take(0.01) == 1
    with pytest.raises(Closed):
        channel.take(10)


def test_take_wakes_for_an_item_and_for_the_end() -> None:
    channel: Channel[int] = Channel(1)
    got: list[object] = []

    def read() -> None:
        got.append(channel.take(30))
        try:
            channel.take(30)
        except Closed:
            got.append("closed")

    reader = threading.Thread(target=read)
    reader.start()
    channel.put(7)
    channel.end()
    reader.join(20)
    assert got == [7, "closed"]


def test_a_reader_that_has_gone_ends_the_writer() -> None:
    channel: Channel[int] = Channel(1, "drop_oldest")
    channel.put(1)
    channel.abandon()
    with pytest.raises(Closed):
        channel.put(2)
