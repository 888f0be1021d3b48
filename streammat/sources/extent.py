"""Compares the length in a file's header with its contents, to detect truncated files."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from typing import IO

import av

from streammat.media.containers import is_url
from streammat.media.frame import Packet
from streammat.sources.timestamps import may_have_seams

_MICROSECONDS = Fraction(1, 1_000_000)
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


class Extent:
    """Compares the packets of a file, from the first one read to the last, with the length in its header.

    Args:
        container: the file's container.
        video: the decoded track.
        origin: start of the file, in seconds.
        rate: frames per second.
    """

    def __init__(self, container: av.container.InputContainer, video: av.VideoStream, origin: Fraction, rate: Fraction) -> None:
        self._container, self._video = container, video
        self._origin, self._rate = origin, rate
        self._avi = container.format.name == "avi"
        self.packets = 0
        """Seconds of video in the packets so far."""
        self.reached = Fraction(0)
        """End of the last packet, in seconds."""
        self.cut = 0
        """Number of bytes missing at the end; set by ``missing``."""

    def reach(self, packet: Packet) -> None:
        """Record a packet of any track."""
        if packet.stream.index == self._video.index and (packet.dts is not None or packet.size):
            self.packets += 1
        # An AVI says it of its video alone, and numbers its frames in the order in which they lie there.
        if packet.stream.type not in (("video",) if self._avi else ("audio", "video", "subtitle")) or packet.time_base is None:
            return
        at = packet.dts if packet.pts is None or self._avi else packet.pts
        if at is not None:
            self.reached = max(self.reached, (at + (packet.duration or 0)) * packet.time_base)

    def missing(self, path: str | IO[bytes], *, frames: bool) -> str | None:
        """Describe the missing part of the file ``path``; None if it is whole. ``frames``: all frames were read and can be
        counted.
        """
        says_itself = self._avi or self._container.format.name.startswith("matroska")
        if says_itself and not (isinstance(path, str) and is_url(path)):
            with suppress(OSError):  # it has gone away meanwhile
                self.cut = missing_bytes(path)
        if frames and not self._avi and 0 < self.packets < self._video.frames:
            return f"its header promises {self._video.frames} frames and {self.packets} are there"
        promised = self._promised()
        if promised is None or may_have_seams(self._container):  # broadcasts promise nothing: FFmpeg takes the length from the last times
            return None
        # Matroska counts a late start in, others do not.
        found = max(self.reached, self.reached - self._origin)
        slack = 1 / self._rate / 2 if self.cut else Fraction(1, 2)
        if not says_itself:  # FFmpeg guesses the length of some
            slack = max(slack, promised / 50)
        if promised - found <= slack:
            return None
        bytes_too = f", and {self.cut} bytes are missing at its end" if self.cut else ""
        return f"its header promises {float(promised):.2f} s and {float(found):.2f} s are there{bytes_too}"

    def _promised(self) -> Fraction | None:
        """Return the length in the header, in seconds, if its number of frames differs from that of the packets."""
        if self._avi and self._video.time_base:
            # Empty chunks, which keep its tracks in step, count as frames. FFmpeg shortens the duration of a file that is cut.
            return self._video.frames * self._video.time_base or None
        return self._container.duration * _MICROSECONDS if self._container.duration and not self._video.frames else None


def missing_bytes(path: str | IO[bytes]) -> int:
    """Return by how many bytes a Matroska, WebM or AVI file is shorter than its header says; 0 for whole files and unknown
    lengths.

    Raises:
        OSError: it cannot be read.
    """
    if not isinstance(path, str):
        return _missing_bytes(path)
    if not os.path.isfile(path):  # a pipe
        return 0
    with open(path, "rb") as file:
        return _missing_bytes(file)


def _missing_bytes(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if head == b"RIFF":
        return max(0, _end_of_riff(file, size) - size)
    if head == _EBML.to_bytes(4, "big"):
        return max(0, _end_of_segment(file) - size)
    return 0


def _end_of_riff(file: IO[bytes], size: int) -> int:
    """Return the end of an AVI's last chunk; files of more than a gigabyte have several (OpenDML)."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] not in (b"AVI ", b"AVIX"):
            break
        length = int.from_bytes(head[4:8], "little")
        if not length:  # never finished
            break
        end += 8 + length + length % 2
    return end


def _end_of_segment(file: IO[bytes]) -> int:
    """Return the end of a Matroska file's segment (RFC 8794, RFC 9559); 0 if its length is unknown."""
    for _ in range(3):  # the header and, perhaps, a void element come before it
        name = _number(file, keep_marker=True)
        length = _number(file)
        if name is None or length is None:
            return 0
        if name == _SEGMENT:
            return file.tell() + length
        file.seek(length, 1)
    return 0


def _number(file: IO[bytes], *, keep_marker: bool = False) -> int | None:
    """Read an EBML variable-length number; None at the end of the file and for the reserved value "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    if keep_marker:
        return value
    bits = 7 * (more + 1)
    value &= (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value
