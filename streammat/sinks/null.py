"""An output that discards frames: it counts them, and checks what outputs rely on."""

from __future__ import annotations

from streammat.config import Content
from streammat.errors import OutputError
from streammat.media.frame import Frame, Matte, Packet
from streammat.sources import StreamInfo


class NullSink:
    """Counts frames and discards them; for measuring and trying out.

    Args:
        info: properties of the source; every frame must have its size and layout.
    """

    def __init__(self, info: StreamInfo) -> None:
        self.content: Content = "composite"
        self.notes: list[str] = []
        self.frames = 0
        self._info = info
        self._last: int | None = None
        self._first = 0
        self._longest = 0

    def write(self, frame: Frame, matte: Matte) -> None:
        """Check one frame.

        Raises:
            OutputError: its size or layout differs, or its time does not grow.
        """
        del matte
        if frame.size != self._info.size or frame.layout != self._info.layout:
            raise OutputError(
                f"null: an image is {frame.size} {frame.layout.name}; expected {self._info.size} {self._info.layout.name}"
            )
        if self._last is None:
            self._first = frame.pts
        elif frame.pts <= self._last:
            raise OutputError(f"null: an image's time is {frame.pts} after {self._last}; expected it to grow")
        else:
            self._longest = max(self._longest, frame.pts - self._last)
        self._last = frame.pts
        self.frames += 1

    def copy(self, packet: Packet) -> None:
        """Discard the packet."""

    def close(self) -> None:
        """Note the number of frames for the report."""
        if self._last is not None and not self.notes:
            base = self._info.time_base
            seconds = float((self._last - self._first) * base)
            longest = 1000 * float(self._longest * base)
            self.notes.append(f"null: {self.frames} images over {seconds:.2f} s, longest gap {longest:.0f} ms")

    def abort(self) -> None:
        """Do nothing: there is no file."""
