"""Times of broadcasts: recordings joined end to end, such as two transport streams in one file, go on one after the other; damaged times are mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from streammat.media.frame import Packet

_REORDERED = 10
"""Seconds between the times at which a packet is decoded and shown, at most."""
_BACK = Fraction(1, 10)
"""Seconds by which a track's decoding times run backwards at a seam, at least; less is a fault of the file. So far a time may be from where it is due."""


def steadied(packets: Iterable[Packet], mended: Callable[[Packet], None]) -> Iterator[Packet]:
    """The packets of one file, those whose time is damaged at the time at which they are due.

    A time that jumps is damaged where the track's next packet goes on as though it had not; a gap or a seam stays. So a packet whose time
    jumps comes after those of other tracks that lie between it and the next of its own.

    Args:
        packets: in the order in which they lie in the file.
        mended: told of each packet whose time was damaged.
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
            # Of sound both are the same; of video the decoder gives images in their order, and the frame takes the place that is left.
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
    """Takes the packets of one file in the order in which they lie there.

    The track at which a seam shows first sets by how much the next part is moved: to where the last one ends. The others are moved by
    as much when they come to it, so that all stay in step.
    """

    def __init__(self) -> None:
        self._moves = [Fraction(0)]
        self._part: dict[int, int] = {}
        self._last: dict[int, Fraction] = {}
        self._end = Fraction(0)

    @property
    def count(self) -> int:
        """Seams so far."""
        return len(self._moves) - 1

    def mend(self, packet: Packet) -> None:
        """Move ``packet`` to its place; one without times is left as it is."""
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
    """True for formats whose times may begin anew, as FFmpeg has it: transport and program streams, playlists of them."""
    discontinuous: Any = av.format.Flags.ts_discont
    return bool(container.format.flags & discontinuous.value)
