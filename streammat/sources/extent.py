"""How long a file says that it is, where a cut cannot be seen in what FFmpeg reads of it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def missing_bytes(path: Path) -> int:
    """By how many bytes a Matroska, WebM or AVI file is shorter than its own header says; 0 for whole ones, and for what says nothing.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head == b"RIFF":
            return max(0, _end_of_riff(file, size) - size)
        if head == _EBML.to_bytes(4, "big"):
            return max(0, _end_of_segment(file) - size)
    return 0


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Where the last chunk of an AVI ends; files of more than a gigabyte have several (OpenDML)."""
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


def _end_of_segment(file: BinaryIO) -> int:
    """Where the one element that holds all of a Matroska file ends (RFC 8794, RFC 9559); 0 where it does not say."""
    for _ in range(3):  # the header and, perhaps, a void element come before it
        name = _number(file, keep_marker=True)
        length = _number(file)
        if name is None or length is None:
            return 0
        if name == _SEGMENT:
            return file.tell() + length
        file.seek(length, 1)
    return 0


def _number(file: BinaryIO, *, keep_marker: bool = False) -> int | None:
    """EBML's numbers of free length; None at the end of the file and for the one that means unknown."""
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
