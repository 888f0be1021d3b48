"""The manifest of a batch, kept beside its outputs: which shots and shards are done, from which inputs, with which options, as
which files.

SQLite, written by one process: the batch itself, never its workers. A row is written after its files are on the disk. So whatever
ends a batch (``kill -9``, a full disk, a power cut), what is marked as done is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from streammat.errors import OutputError, first_line

FOLDER: Final = ".streammat-batch"
"""Name of the folder, inside the output folder, that holds the manifest, and shards until they are joined."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shots (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rate TEXT NOT NULL, state TEXT NOT NULL, frames INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shards (shot TEXT, number INTEGER, first INTEGER NOT NULL, frames INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY (shot, number));
CREATE TABLE IF NOT EXISTS files (shot TEXT, shard INTEGER, path TEXT, size INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (path));
"""


@dataclass(frozen=True)
class Shard:
    """Successive frames of a shot that one worker processes."""

    number: int
    """Number of the shard, from 1."""
    first: int
    """Index of its first frame, from 0."""
    frames: int


class Manifest:
    """The manifest of one folder of outputs.

    Raises:
        OutputError: it cannot be made, read or written.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FOLDER / "manifest.sqlite"
        self._root = out
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Not WAL, which needs memory that processes share and so does not work on folders of a server.
            self._base = sqlite3.connect(self._path, isolation_level=None)
            self._base.executescript(f"PRAGMA synchronous = FULL; {_SCHEMA}")
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file; everything recorded is on the disk already."""
        self._base.close()

    def fingerprint(self, shot: str) -> dict[str, Any] | None:
        """Return the fingerprint that the shot was planned with; None if it is new."""
        rows = self._ask("SELECT fingerprint FROM shots WHERE name = ?", shot)
        return None if not rows else dict(json.loads(rows[0][0]))

    def plan(self, shot: str, fingerprint: Mapping[str, Any], rate: Fraction, shards: Sequence[Shard]) -> None:
        """Record a shot and its frame rate; an existing record is replaced."""
        with self._transaction():
            for table, column in (("shots", "name"), ("shards", "shot"), ("files", "shot")):
                self._ask(f"DELETE FROM {table} WHERE {column} = ?", shot)  # noqa: S608 - names of our own
            frames = sum(shard.frames for shard in shards)
            self._ask("INSERT INTO shots VALUES (?, ?, ?, 'planned', ?, '')", shot, json.dumps(fingerprint, sort_keys=True), str(rate), frames)
            for shard in shards:
                self._ask("INSERT INTO shards VALUES (?, ?, ?, ?, 0)", shot, shard.number, shard.first, shard.frames)

    def shards(self, shot: str) -> list[tuple[Shard, bool]]:
        """Return the shot's shards in order, each with whether it is done."""
        rows = self._ask("SELECT number, first, frames, done FROM shards WHERE shot = ? ORDER BY number", shot)
        return [(Shard(number, first, frames), bool(done)) for number, first, frames, done in rows]

    def rate(self, shot: str) -> Fraction:
        """Return the frames per second of a planned shot."""
        return Fraction(self._ask("SELECT rate FROM shots WHERE name = ?", shot)[0][0])

    def is_done(self, shot: str) -> bool:
        """Return whether every output of the shot is finished."""
        return self._ask("SELECT state FROM shots WHERE name = ?", shot) == [("done",)]

    def shard_done(self, shot: str, number: int, frames: int, files: Iterable[Path]) -> None:
        """Record the files of a finished shard, and its number of frames."""
        rows = [self._row(path) for path in files]
        with self._transaction():
            self._ask("UPDATE shards SET done = 1, frames = ? WHERE shot = ? AND number = ?", frames, shot, number)
            self._ask("DELETE FROM files WHERE shot = ? AND shard = ?", shot, number)
            for row in rows:
                self._ask("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", shot, number, *row)

    def shot_done(self, shot: str, frames: int, files: Iterable[tuple[int, Path]]) -> None:
        """Record the outputs of a finished shot in place of its shards' files, each with the shard it comes from (0: all)."""
        rows = [(shard, *self._row(path)) for shard, path in files]
        with self._transaction():
            self._ask("UPDATE shots SET state = 'done', frames = ?, reason = '' WHERE name = ?", frames, shot)
            self._ask("DELETE FROM files WHERE shot = ?", shot)
            for row in rows:
                self._ask("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", shot, *row)

    def failed(self, shot: str, why: str) -> None:
        """Record why a shot could not be made."""
        self._ask("UPDATE shots SET state = 'failed', reason = ? WHERE name = ?", why, shot)

    def damaged(self, shot: str, *, thoroughly: bool) -> list[str]:
        """Remove the records of files that are missing or changed, and of all that was made from them; return their names.

        Args:
            shot: the shot to check.
            thoroughly: read every file, not only those whose size or time changed.
        """
        lost: list[str] = []
        for shard, path, size, modified, digest in self._ask("SELECT shard, path, size, modified, digest FROM files WHERE shot = ?", shot):
            file = self._root / path
            try:
                status = file.stat()
                same = status.st_size == size and ((status.st_mtime_ns == modified and not thoroughly) or digest_of(file) == digest)
            except OSError:
                same = False
            if same:
                continue
            lost.append(path)
            with self._transaction():
                self._ask("UPDATE shots SET state = 'planned' WHERE name = ?", shot)
                # What was joined is made of every shard, whose files have gone since.
                self._ask("UPDATE shards SET done = 0 WHERE shot = ? AND ? IN (0, number)", shot, shard)
                self._ask("DELETE FROM files WHERE shot = ? AND ? IN (0, shard)", shot, shard)
        return lost

    def files(self, shot: str, number: int) -> list[Path]:
        """Return the recorded files of shard ``number``: its own, or the outputs made from them."""
        return [self._root / path for (path,) in self._ask("SELECT path FROM files WHERE shot = ? AND shard = ? ORDER BY path", shot, number)]

    def part_folders(self) -> set[Path]:
        """Return the folders of shards that are done and not yet joined."""
        return {(self._root / path).parent for (path,) in self._ask("SELECT path FROM files WHERE shard > 0")}

    def _row(self, path: Path) -> tuple[str, int, int, str]:
        try:
            status = path.stat()
            return os.path.relpath(path, self._root), status.st_size, status.st_mtime_ns, digest_of(path)
        except OSError as error:
            raise OutputError(f"{path}: was written and cannot be read ({first_line(error)}); check the disk") from error

    def _transaction(self) -> sqlite3.Connection:
        self._ask("BEGIN IMMEDIATE")
        return self._base

    def _ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._base.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> OutputError:
        return OutputError(f"{self._path}: the manifest cannot be used ({first_line(error)}); check space and permissions, and that it is a manifest of this program")


def digest_of(path: Path) -> str:
    """Return the BLAKE2b digest of a file: 16 bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
