"""Recordings joined end to end, such as two transport streams in one file: the times of each part are made to go on from the one before."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from streammat.frame import Packet

_BACK = Fraction(1, 10)
"""Seconds by which a track's decoding times run backwards at a seam, at least; less is a fault of the file."""


class Seams:
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
