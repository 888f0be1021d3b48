"""The cache of built engines: for each a plan, and a note in JSON that describes it.

A plan runs only on the machine and with the versions it was built for. So everything that it depends on is its key, and a plan
with another key, or with changed bytes, is never run: it is skipped, and the reason reported.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from streammat.engines.base import EngineError
from streammat.engines.paths import expanded, user_folder
from streammat.engines.whole_files import write_whole

logger = logging.getLogger(__name__)

REVISION = 2
"""Version of the exported network and of the note's format; engines of another version are stale."""
_ANY_GPU = "any of compute capability 8.0 or later"
_WAITING_SECONDS = 0.2
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build; an engine with any options runs if its key fits."""

    workspace: int = 0
    """Bytes of GPU memory that a layer may use; 0: unlimited."""
    optimization_level: int = 3
    """0..5: effort in the search for kernels; TensorRT's default is 3."""
    hardware_compatible: bool = False
    """Build for every GPU of compute capability 8.0 or later (Ampere), at some loss of speed."""


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on."""

    weights: str
    """SHA-256 of the weights' file."""
    precision: str
    size: tuple[int, int]
    """Network input (height, width) in pixels."""
    batch: int
    gpu: str
    """Name of the GPU, such as ``NVIDIA H100``."""
    sm: str
    """Compute capability, such as ``9.0``."""
    driver: str
    """Version of the driver, such as ``580.95.05``."""
    tensorrt: str
    options: BuildOptions = field(default_factory=BuildOptions)
    revision: int = REVISION

    @property
    def digest(self) -> str:
        """Return a hex digest of the whole key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def misfit(self, here: EngineKey) -> list[str]:
        """Return the reasons why an engine of this key cannot run as ``here``; of the options only hardware compatibility counts."""
        skipped = {"options"}
        if self.options.hardware_compatible:
            skipped |= {"gpu", "sm"}
        found = [
            f"{_WORDS[item.name]} {_said(getattr(self, item.name))}, here {_said(getattr(here, item.name))}"
            for item in fields(self)
            if item.name not in skipped and getattr(self, item.name) != getattr(here, item.name)
        ]
        if self.options.hardware_compatible and _major(here.sm) < 8:
            found.append(f"GPU {_ANY_GPU}, here {here.sm}")
        return found


_WORDS = {
    "weights": "weights", "precision": "precision", "size": "network input", "batch": "batch", "gpu": "GPU", "sm": "compute capability",
    "driver": "driver", "tensorrt": "TensorRT", "revision": "streammat's revision",
}


@dataclass(frozen=True)
class Cached:
    """One engine in the cache."""

    name: str
    """Name of the engine: the stem of its files."""
    plan: Path
    key: EngineKey
    sha256: str
    """Sha256 of the plan."""
    size: int
    """Bytes of the plan."""
    created: float
    """Seconds since 1970."""
    details: Mapping[str, Any]
    """Parity and time measured in the build."""


class EngineCache:
    """A folder of built engines.

    Args:
        folder: the folder, created when an engine is stored; None: `cache_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder

    def entries(self) -> list[Cached]:
        """Return the engines with a readable note, newest first; others are logged and skipped."""
        found = []
        for path in self._notes():
            try:
                found.append(_read_note(path))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                logger.warning("engine %s is passed over: its note cannot be read (%s); `streammat engine remove %s` deletes it", path, error, path.stem)
        return sorted(found, key=lambda entry: entry.created, reverse=True)

    def find(self, here: EngineKey) -> Cached | None:
        """Return the newest engine that can run as ``here``; reads notes only."""
        return next((entry for entry in self.entries() if not entry.key.misfit(here)), None)

    def why_none(self, here: EngineKey) -> str:
        """Say why `find` finds none: in what the nearest engine of these weights differs."""
        near = [entry for entry in self.entries() if entry.key.weights == here.weights]
        if not near:
            return "none has been built of these weights"
        nearest = min(near, key=lambda entry: len(entry.key.misfit(here)))
        return f"{nearest.name} was built for {'; '.join(nearest.key.misfit(here))}"

    def read(self, entry: Cached) -> bytes:
        """Read and verify the plan.

        Raises:
            EngineError: it is missing, cannot be read, or differs from what was stored.
        """
        hint = f"`streammat engine remove {entry.name}`, then build it again"
        try:
            plan = entry.plan.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read engine {entry.plan}: {error.strerror}; {hint}") from error
        if len(plan) != entry.size:
            raise EngineError(f"engine {entry.plan} is damaged: it has {len(plan)} bytes, expected {entry.size}; {hint}")
        if hashlib.sha256(plan).hexdigest() != entry.sha256:
            raise EngineError(f"engine {entry.plan} is damaged: its sha256 is not {entry.sha256}; {hint}")
        return plan

    def store(self, model: str, key: EngineKey, plan: bytes, details: Mapping[str, Any]) -> Cached:
        """Write an engine, replacing one of the same key.

        Args:
            model: id, for the file's name.
            key: the engine's key.
            plan: the serialized engine.
            details: measurements of the build; JSON.

        Raises:
            EngineError: it cannot be written; nothing is left of it then.
        """
        height, width = key.size
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", model)
        name = f"{stem}-{width}x{height}-b{key.batch}-{key.precision}-{key.digest[:12]}"
        entry = Cached(name, self.folder / f"{name}.plan", key, hashlib.sha256(plan).hexdigest(), len(plan), time.time(), details)
        note = {"model": model, "key": asdict(key), "sha256": entry.sha256, "bytes": entry.size, "created": entry.created, "details": dict(details)}
        path = self._note(name)
        # The old note goes first and the new one comes last: whatever breaks off between leaves no engine, not a wrong one.
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            write_whole(entry.plan, plan)
            write_whole(path, json.dumps(note, indent=2).encode())
        return entry

    def remove(self, name: str) -> None:
        """Delete an engine by name, damaged ones too.

        Raises:
            EngineError: there is none of this name, or it cannot be deleted.
        """
        files = [path for path in self._files() if path.stem == name and path.suffix in (".json", ".plan")]
        if not files:
            known = ", ".join(sorted({path.stem for path in self._notes()})) or "none"
            raise EngineError(f"no engine is named {name!r}; known: {known}")
        with self._writing():
            for path in sorted(files):  # the note first
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the cache for a build: two at once would disturb each other's timings, and both may want the same engine.

        Waits, and logs it, while another process holds the lock.

        Raises:
            EngineError: the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "build.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning("another process is building an engine; this one waits until it is done")
                lock.acquire(poll_interval=_WAITING_SECONDS)
        try:
            yield
        finally:
            lock.release()

    def check_space(self, needed: int) -> None:
        """Refuse a build whose result would not fit on the disk.

        Args:
            needed: needed space in bytes.

        Raises:
            EngineError: there is less free space in the folder, which must exist.
        """
        import shutil

        with self._writing():
            free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise EngineError(f"the engine may need {needed / 1e6:.0f} MB and {self.folder} has {free / 1e6:.0f} MB free; make room, or set STREAMMAT_CACHE to another folder")

    def timings(self, key: EngineKey) -> Path:
        """Return the file of kernel timings for builds on this machine; its name identifies the machine, because others' are
        useless.
        """
        digest = hashlib.sha256(f"{key.gpu}|{key.sm}|{key.driver}|{key.tensorrt}".encode()).hexdigest()[:12]
        return self.folder / f"timings-{digest}.bin"

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _notes(self) -> list[Path]:
        return sorted(path for path in self._files() if path.suffix == ".json")

    def _files(self) -> list[Path]:
        try:
            return list(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise EngineError(f"cannot read the engines in {self.folder}: {error.strerror}; check its permissions, or set STREAMMAT_CACHE") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            hint = "make room (`streammat engine remove`)" if full else "check its permissions"
            raise EngineError(f"cannot write engines to {self.folder}: {error.strerror or error}; {hint}, or set STREAMMAT_CACHE to another folder") from error


def cache_folder() -> Path:
    """Return the folder of built engines: in ``STREAMMAT_CACHE``, or in the platform's cache folder."""
    if chosen := os.environ.get("STREAMMAT_CACHE"):
        return expanded(chosen) / "engines"
    return user_folder("cache", "STREAMMAT_CACHE") / "engines"


def age(seconds: float) -> str:
    """Return seconds as a rough age: ``3 days`` for 270000."""
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "less than a minute"


def _read_note(path: Path) -> Cached:
    note = json.loads(path.read_text(encoding="utf-8"))
    key = dict(note["key"])
    key["size"] = (int(key["size"][0]), int(key["size"][1]))
    key["options"] = BuildOptions(**key["options"])
    return Cached(
        path.stem, path.with_suffix(".plan"), EngineKey(**key), str(note["sha256"]), int(note["bytes"]), float(note["created"]), dict(note["details"])
    )


def _major(sm: str) -> int:
    head = sm.partition(".")[0]
    return int(head) if head.isdigit() else 0


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[1]}x{value[0]}"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
