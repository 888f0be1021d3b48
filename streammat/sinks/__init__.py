"""Sinks, which take frames: a small protocol, with each implementation in a file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streammat.audio.track import Chunk
from streammat.config import Content
from streammat.media.damage import Damage
from streammat.media.frame import Frame, Matte, Packet


class Sink(Protocol):
    """Takes frames in order and makes an output of them."""

    content: Content
    notes: list[str]
    """Notes for the user: tracks transcoded or left out."""
    frames: int
    """Frames written so far."""

    def write(self, frame: Frame, matte: Matte) -> None:
        """Add one frame: ``frame`` holds the colour as it is to be shown, ``matte`` its alpha.

        Raises:
            OutputError: it could not be encoded or written.
        """
        ...

    def copy(self, packet: Packet) -> None:
        """Take a packet of a track that is handed on untouched."""
        ...

    def close(self) -> None:
        """Finish the output and give it its final name.

        Raises:
            OutputError: it could not be finished; what is there keeps its temporary name.
        """
        ...

    def abort(self) -> None:
        """Drop the output: nothing is left behind."""
        ...


class TrackSink(Sink, Protocol):
    """A sink that carries the source's other tracks along."""

    @property
    def damage(self) -> Sequence[Damage]:
        """Parts of those tracks that could not be carried; complete once the sink is closed."""
        ...


class SoundSink(Sink, Protocol):
    """A sink that has a track for the sound of a live run, too."""

    def hear(self, chunk: Chunk) -> None:
        """Add sound; its place is on the same clock as the frames' times, and chunks come in order.

        Raises:
            OutputError: it could not be encoded or written.
        """
        ...
