"""Names of image sequences as film tools write them, the existing files, and frame ranges."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from streammat.errors import InputError, UsageError, first_line

IMAGES = (".exr", ".dpx", ".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""Extensions of files in sequences."""
_COUNTER = re.compile(r"%(?:0?(?P<digits>\d{1,2}))?d|\$F(?P<houdini>\d{0,2})|(?P<hashes>#+)|(?P<ats>@+)")
_PART = r"-?\d+(?:--?\d+(?:[:xy]\d+)?)?"
_RANGE = re.compile(rf"(?<![A-Za-z0-9])(?:-?\d+--?\d+(?:[:xy]\d+)?|{_PART}(?:,{_PART})+)$")
_LEAST_DIGITS = 4
"""Digits of a single ``#``, as in oiiotool and Nuke."""


@dataclass(frozen=True)
class SequenceName:
    """The name of a sequence: ``folder/head1001tail``, for any number."""

    folder: Path
    head: str
    tail: str
    """Text after the number, with the extension."""
    digits: int | None
    """Least number of digits, padded with zeros; None: a single ``#``: four digits, or as many as the input's names have."""
    frames: str | None = None
    """Frame range in the name, as in ``shot.1001-1100#.exr``."""

    def path(self, number: int) -> Path:
        """Return the file of frame ``number``."""
        digits = _LEAST_DIGITS if self.digits is None else self.digits
        return self.folder / f"{self.head}{'-' if number < 0 else ''}{str(abs(number)).zfill(digits)}{self.tail}"

    def __str__(self) -> str:
        counter = "#" * (_LEAST_DIGITS if self.digits is None else self.digits)
        return str(self.folder / f"{self.head}{counter}{self.tail}")


def parse_sequence(text: str) -> SequenceName | None:
    """Return the sequence that a pattern such as ``shot.%04d.exr``, ``shot.####.exr``, ``shot.@@@@.exr``, ``shot.$F4.exr`` or
    ``shot.1001-1100#.exr`` names; None if it has no counter.
    """
    path = PurePath(text)
    *_, found = [None, *_COUNTER.finditer(path.name)]  # the last, so that take#2.%04d.exr works
    if found is None or path.suffix.lower() not in IMAGES:
        return None
    if found["hashes"]:
        digits = None if found["hashes"] == "#" else len(found["hashes"])
    elif found["ats"]:
        digits = len(found["ats"])
    else:
        digits = int(found["digits"] or found["houdini"] or 1)
    head, tail = path.name[: found.start()], path.name[found.end() :]
    frames = _RANGE.search(head)
    if frames is not None:
        head = head[: frames.start()]
    return SequenceName(Path(path.parent), head, tail, digits, None if frames is None else frames[0])


def find_sequence(text: str) -> SequenceName | None:
    """Return the sequence that a user names: a pattern, a folder that holds one, or one numbered ``.exr`` or ``.dpx``; else None.

    Raises:
        UsageError: a folder holds several sequences.
        InputError: the folder holds none, or cannot be read.
    """
    if os.path.isdir(text):
        return _in_folder(Path(text))
    if os.path.isfile(text):
        path = PurePath(text)
        last = re.fullmatch(r"(.*?)(-?\d+)(\.[A-Za-z]+)", path.name)
        if path.suffix.lower() not in (".exr", ".dpx"):
            return None
        if last is None:
            raise UsageError(f"{text}: is one image without a number; expected numbered ones, such as {path.stem}.####{path.suffix}")
        return SequenceName(Path(path.parent), last[1], last[3], len(last[2].lstrip("-")), f"{int(last[2])}-{int(last[2])}")
    return parse_sequence(text)


def frames_of(name: SequenceName) -> dict[int, Path]:
    """Return the existing files by frame number, in order.

    Raises:
        InputError: there are none.
    """
    pattern = re.compile(re.escape(name.head) + r"(-?\d+)" + re.escape(name.tail))
    found: dict[int, Path] = {}
    for file in _listed(name.folder):
        match = pattern.fullmatch(file)
        if match is None:
            continue
        path = name.folder / file
        # shot.001.exr is not of shot.%04d.exr; a lone # takes any number of digits.
        if name.digits is None or path == name.path(int(match[1])):
            found.setdefault(int(match[1]), path)
    if not found:
        raise InputError(f"{name}: no such files; check the name and the folder ({name.folder.absolute()})")
    return dict(sorted(found.items()))


def parse_frames(text: str) -> tuple[int, ...]:
    """Parse frame numbers such as ``1001-1100``, ``1-100x2`` or ``1001,1050-1060``; returns them in order.

    Raises:
        UsageError: it is none of these.
    """
    import fileseq

    try:
        numbers = [int(number) for number in fileseq.FrameSet(text) if int(number) == number]
    except (fileseq.exceptions.FileSeqException, ValueError, OverflowError):
        numbers = []
    if not numbers:
        raise UsageError(f"--frames {text}: expected numbers and ranges, such as 1001-1100, 1-100x2 or 1001,1050-1060")
    return tuple(sorted(set(numbers)))


def frames_text(numbers: Iterable[int]) -> str:
    """Return numbers as the shortest text that ``parse_frames`` takes."""
    import fileseq

    return str(fileseq.framesToFrameRange(sorted(numbers)))


def _in_folder(folder: Path) -> SequenceName:
    names: dict[tuple[str, str], list[str]] = {}
    for file in _listed(folder):
        match = re.fullmatch(r"(.*?)(\d+)(\.[A-Za-z]+)", file)
        if match is not None and match[3].lower() in IMAGES and not file.startswith("."):
            names.setdefault((match[1], match[3]), []).append(match[2])
    if len(names) > 1:
        shown = ", ".join(f"{head}#{tail}" for head, tail in sorted(names))
        raise UsageError(f"{folder}: holds {len(names)} sequences ({shown}); give one of them, such as {folder / next(iter(sorted(names)))[0]}####")
    if not names:
        raise InputError(f"{folder}: is a folder without numbered images; expected one sequence of {' '.join(IMAGES)}")
    ((head, tail), numbers) = next(iter(names.items()))
    widths = {len(number) for number in numbers}
    return SequenceName(folder, head, tail, widths.pop() if len(widths) == 1 else None)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({first_line(error)}); check the folder and its permissions") from error
