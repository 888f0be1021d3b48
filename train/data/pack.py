"""Packs: images decoded once, because training on a CPU has no time to decode several JPEGs for every sample.

A pack is one file of raw pixels that every process maps into memory, so that the system keeps one copy for all of them. It is
rebuilt when one of its files is added, removed or changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import cv2
import numpy as np

from streammat.engines.whole_files import whole_file, write_whole
from streammat.train.data.background_fill import fill_subject
from streammat.train.data.images import Image, Levels, read_alpha, read_rgb
from streammat.train.errors import RunError

_FORMAT = 3
_AHEAD = 8
_LONGEST = 1600
"""Pixels on the long side that larger backgrounds are reduced to."""
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
MARGIN = 3
"""Margin around a cut-out in pixels, so that sampling finds transparency there."""
LEVELS = 4
"""Number of sizes of every image, each half of the one before: shrinking large images is the slow part of making samples."""


@dataclass(frozen=True)
class Subject:
    """One cached matte: three files of equal size."""

    image: Path
    alpha: Path
    foreground: Path
    folder: str
    """Name of its set."""
    alone: bool | None = None
    """True if `streammat.train.labels.bystanders` found nobody else in the image; None: not searched."""


@dataclass(frozen=True)
class Cut:
    """A subject without its background."""

    rgba: Levels
    """uint8 (h, w, 4): the subject's own colour, straight, and its alpha."""
    below: bool
    """True if the image cuts the subject at the lower edge; likewise for the next two fields."""
    left: bool
    right: bool
    portrait: bool
    """True for head and shoulders, not a whole body."""
    animal: bool = False


class Pack:
    """Decoded subjects and backgrounds; picklable, each process maps the file itself.

    Args:
        file: raw pixels; its table is beside it with the extension ``.json``.
        table: entries (offset, height, width, channels) of each level by key, and the edges that cut subjects.
    """

    def __init__(self, file: Path, table: Mapping[str, Sequence[Sequence[int]]]) -> None:
        self.file, self.table = file, table
        self._pixels: np.memmap | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"file": self.file, "table": self.table, "_pixels": None}

    def read(self, key: str) -> Levels:
        """Return an image by its file's name, uint8 (H, W, C); read-only views."""
        if self._pixels is None:
            self._pixels = np.memmap(self.file, np.uint8, mode="r")
        pixels = self._pixels
        return [pixels[at : at + int(np.prod(shape))].reshape(shape) for at, *shape in self.table[key]]

    def image(self, subject: Subject) -> Levels:
        """Return a subject's original image, with its alpha as the fourth channel."""
        return self.read(str(subject.image))

    def without(self, subject: Subject) -> Levels | None:
        """Return a subject's image without the subject (`streammat.train.data.background_fill`); None if that is impossible."""
        key = f"{subject.image}:without"
        return self.read(key) if key in self.table else None

    def cut(self, subject: Subject) -> Cut:
        """Return a subject without its background."""
        key = str(subject.foreground)
        below, left, right = (bool(flag) for flag in self.table[f"{key}:cut"][0])
        return Cut(self.read(key), below, left, right, subject.folder == "people_portraits", subject.folder.startswith("animals_"))


def open_pack(file: Path, subjects: Sequence[Subject], backgrounds: Sequence[Path]) -> Pack:
    """Open the pack of these files, building it if necessary.

    Args:
        file: file of the pixels; its folder must exist.
        subjects: cached mattes.
        backgrounds: images without a subject.

    Raises:
        DataError: an image is missing or broken.
        RunError: the pack cannot be written.
    """
    paths = [path for subject in subjects for path in (subject.image, subject.alpha, subject.foreground)]
    digest = _fingerprint([*paths, *backgrounds])
    index = file.with_suffix(".json")
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(index.read_text(encoding="utf-8"))
        if known["digest"] == digest and file.stat().st_size == known["bytes"]:
            return Pack(file, known["table"])
    try:
        table, size = _write(file, subjects, backgrounds)
        write_whole(index, json.dumps({"digest": digest, "bytes": size, "table": table}).encode())
    except OSError as error:
        raise RunError(f"cannot write pack {file}: {error.strerror or error}; free space and give the same command") from error
    return Pack(file, table)


def _write(file: Path, subjects: Sequence[Subject], backgrounds: Sequence[Path]) -> tuple[dict[str, list[list[int]]], int]:
    table: dict[str, list[list[int]]] = {}
    size = 0
    # Decoding and shrinking let other threads run; a few ahead keep every core busy and memory small. Of several processes each
    # writes its own file.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, whole_file(file) as partial, partial.open("xb") as out:
        for entries in _ahead(pool, _subject_entries, subjects):
            for key, levels in entries.items():
                if isinstance(levels, tuple):
                    table[key] = [list(levels)]
                    continue
                size = _add(out, table, key, levels, size)
        for key, levels in _ahead(pool, lambda path: (str(path), _levels(_read_background(path))), backgrounds):
            size = _add(out, table, key, levels, size)
    return table, size


def _add(out: BinaryIO, table: dict[str, list[list[int]]], key: str, levels: Levels, size: int) -> int:
    table[key] = []
    for level in levels:
        table[key].append([size, *level.shape])
        size += out.write(np.ascontiguousarray(level).data)
    return size


def _ahead(pool: ThreadPoolExecutor, work: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """Yield results in the order of the items, computing a few in advance."""
    under_way: deque[Future[_Made]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def _levels(pixels: Image) -> Levels:
    levels = [pixels]
    for _ in range(LEVELS - 1):
        half = (max(1, levels[-1].shape[1] // 2), max(1, levels[-1].shape[0] // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    return levels


def _subject_entries(subject: Subject) -> dict[str, Levels | tuple[int, int, int]]:
    """Return a pack's entries for one subject, by key: the levels of its images, and which sides of its image cut it."""
    rgb, alpha = read_rgb(subject.image), read_alpha(subject.alpha)
    entries: dict[str, Levels | tuple[int, int, int]] = {str(subject.image): _levels(np.dstack([rgb, alpha]))}
    if (filled := fill_subject(rgb, alpha)) is not None:
        entries[f"{subject.image}:without"] = _levels(filled)
    x0, y0, x1, y1 = bounding_box(alpha)
    rows, columns = alpha.shape
    entries[f"{subject.foreground}:cut"] = (int(y1 >= rows - 2), int(x0 <= 1), int(x1 >= columns - 2))
    part = np.s_[max(0, y0 - MARGIN) : y1 + MARGIN, max(0, x0 - MARGIN) : x1 + MARGIN]
    entries[str(subject.foreground)] = _levels(np.dstack([read_rgb(subject.foreground)[part], alpha[part]]))
    return entries


def bounding_box(alpha: Image) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom in pixels of the area where alpha exceeds one half; the whole image if there is none."""
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    columns = np.flatnonzero((alpha > 127).any(axis=0))
    if not rows.size:
        return 0, 0, alpha.shape[1], alpha.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _read_background(path: Path) -> Image:
    rgb = read_rgb(path)
    scale = min(1.0, _LONGEST / max(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _fingerprint(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {MARGIN} {_LONGEST}".encode())
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
        except OSError:  # reading it will say so
            digest.update(f"{path}\0missing\n".encode())
    return digest.hexdigest()
