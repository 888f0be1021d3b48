"""Repairs timestamps of broadcasts: recordings joined end to end, such as two transport streams in one file, become continuous;
damaged times are corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from streammat.media.frame import Packet

_REORDERED = 10
"""Most seconds between the times at which a packet is decoded and shown."""
_BACK = Fraction(1, 10)
"""Least backward step of a track's decoding times at a seam, in seconds; a smaller one is a fault of the file. Also the largest
deviation of a time from where it is due.
"""


def steadied(packets: Iterable[Packet], mended: Callable[[Packet], None]) -> Iterator[Packet]:
    """Yield the packets of one file, with damaged times replaced by the due ones.

    A time that jumps is damaged if the track's next packet continues as if there had been no jump; a gap or a seam stays. So a
    packet whose time jumps is yielded after the other tracks' packets up to the next of its own.

    Args:
        packets: packets in file order.
        mended: called with each packet whose time was damaged.
    """
    held: dict[int, Packet] = {}
    due: dict[int, Fraction] = {}
    for packet in packets:
        track = packet.stream.index
        if packet.dts is None:
            if track in held:
                yield held.pop(track)
            yield packet
            continue
        if packet.pts is not None and abs(packet.pts - packet.dts) * packet.time_base > _REORDERED:
            # Of sound both are the same; of video the decoder gives images in their order, and the frame takes the place that is
            # left.
            packet.pts = packet.dts if packet.stream.type == "audio" else None
            mended(packet)
        time, step = packet.dts * packet.time_base, (packet.duration or 0) * packet.time_base
        if (before := held.pop(track, None)) is not None:
            jumped = (before.dts or 0) * before.time_base
            if abs(time - due[track] - step) <= _BACK / 2 and (time < jumped or jumped < due[track]):
                moved = round(due[track] / before.time_base) - (before.dts or 0)
                before.dts = (before.dts or 0) + moved
                before.pts = None if before.pts is None else before.pts + moved
                mended(before)
            due[track] = (before.dts or 0) * before.time_base + (before.duration or 0) * before.time_base
            yield before
        if packet.stream.type != "subtitle" and abs(time - due.get(track, time)) > _BACK:
            held[track] = packet
            continue
        due[track] = time + step
        yield packet
    yield from held.values()


class TimestampRepair:
    """Takes the packets of one file in file order. The track that reaches a seam first determines the shift of the next part: to
    where the last one ends. The other tracks get the same shift when they reach it, so that all stay in step.
    """

    def __init__(self) -> None:
        self._moves = [Fraction(0)]
        self._part: dict[int, int] = {}
        self._last: dict[int, Fraction] = {}
        self._end = Fraction(0)

    @property
    def count(self) -> int:
        """Number of seams so far."""
        return len(self._moves) - 1

    def repair(self, packet: Packet) -> None:
        """Shift the times of ``packet``; a packet without times is not changed."""
        if packet.dts is None:
            return
        track, time = packet.stream.index, packet.dts * packet.time_base
        shown = time if packet.pts is None else packet.pts * packet.time_base
        part = self._part.setdefault(track, self.count)
        if time < self._last.get(track, time) - _BACK:
            part += 1
            if part > self.count:
                self._moves.append(self._end - shown)
            self._part[track] = part
        self._last[track] = time
        move = self._moves[part]
        self._end = max(self._end, shown + (packet.duration or 0) * packet.time_base + move)
        if move:
            ticks = round(move / packet.time_base)
            packet.dts += ticks
            if packet.pts is not None:
                packet.pts += ticks


def may_have_seams(container: av.container.InputContainer) -> bool:
    """Return True for formats whose times may restart, by FFmpeg's flag: transport and program streams, playlists of them."""
    discontinuous: Any = av.format.Flags.ts_discont
    return bool(container.format.flags & discontinuous.value)
