"""Sources, which give frames: a small protocol, with each implementation in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import av

from streammat.media.damage import Damage
from streammat.media.frame import Colour, Frame, Layout, Packet
from streammat.media.interlacing import Fields


@dataclass(frozen=True)
class StreamInfo:
    """Properties of a source's video, known before the first frame."""

    size: tuple[int, int]
    """(height, width) as stored, before rotation."""
    layout: Layout
    colour: Colour
    rate: Fraction
    """Average frames per second."""
    time_base: Fraction
    sample_aspect_ratio: Fraction
    rotation: int
    """Rotation, as in ``Frame.rotation``."""
    frames: int
    """Expected number of frames; 0 if unknown."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Tags of the file."""
    stream_metadata: dict[str, str] = field(default_factory=dict)
    """Tags of the video stream, including ``timecode`` if there is one."""
    chapters: tuple[Any, ...] = ()
    numbers: tuple[int, ...] = (1,)
    """Frame numbers for outputs of numbered files, as far as they are known beforehand: all, or the first."""
    digits: int | None = None
    """Digits of the numbers in a sequence's names; None: the input is no sequence."""
    fields: Fields | None = None
    """Field order of interlaced video; None: progressive."""
    passengers: tuple[av.stream.Stream, ...] = ()
    """Audio and subtitle streams whose packets the source passes on unchanged."""


class Source(Protocol):
    """Protocol of a source: frames in presentation order, with the packets of other tracks between them."""

    @property
    def info(self) -> StreamInfo:
        """Known as soon as the source is open."""
        ...

    @property
    def notes(self) -> list[str]:
        """Notes for the user; complete once iteration has ended."""
        ...

    def __iter__(self) -> Iterator[Frame | Packet]:
        """Yield every frame once.

        Raises:
            InputError: the input is broken at this place; everything before it has been yielded.
        """
        ...

    def close(self) -> None:
        """Free the input; safe to call twice and from any thread once iteration has ended."""
        ...


class Recorded(Source, Protocol):
    """A source that must deliver every frame, so that it counts missing ones."""

    @property
    def damage(self) -> Sequence[Damage]:
        """Parts that could not be decoded and were left out or repaired; complete once iteration has ended."""
        ...
