"""Sinks, which take frames: a small protocol, with each implementation in a file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streammat.audio.track import Chunk
from streammat.config import Content
from streammat.media.damage import Damage
from streammat.media.frame import Frame, Matte, Packet


class Sink(Protocol):
    """Protocol of a sink: takes frames in order and writes an output."""

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
        """Add a packet of a track that is copied unchanged."""
        ...

    def close(self) -> None:
        """Finish the output and give it its final name.

        Raises:
            OutputError: it could not be finished; the file keeps its temporary name.
        """
        ...

    def abort(self) -> None:
        """Discard the output: nothing is left behind."""
        ...


class TrackSink(Sink, Protocol):
    """A sink that also writes the source's other tracks."""

    @property
    def damage(self) -> Sequence[Damage]:
        """Parts of those tracks that could not be written; complete once the sink is closed."""
        ...


class SoundSink(Sink, Protocol):
    """A sink that also has a track for the sound of a live run."""

    def hear(self, chunk: Chunk) -> None:
        """Add sound; its times are on the same clock as the frames', and chunks come in order.

        Raises:
            OutputError: it could not be encoded or written.
        """
        ...
