"""Runs a batch: plans what is missing, gives it to workers, joins the results and records them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from streammat.batch.events import Damaged, Done, Emit, Failed, Kept, Planned, ShardEvent
from streammat.batch.files import counter_of, is_pattern, put, there
from streammat.batch.join import join
from streammat.batch.manifest import FOLDER, Manifest, Shard
from streammat.batch.plan import arguments_of, moment_of, plan_of
from streammat.batch.shots import Shot
from streammat.batch.workers import Task, WorkerEvent, Workers
from streammat.config import BatchOptions
from streammat.engines.base import EngineError
from streammat.engines.model_files import file_sha256
from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, StreammatError, UsageError, first_line
from streammat.film.sequences import find_sequence, frames_of
from streammat.models.library import find_model
from streammat.paths import check_readable
from streammat.report.collect import ShotReport, merged
from streammat.report.page import check_report, read_reports, write_report
from streammat.sinks.partial import Claim


@dataclass
class _Work:
    """A shot that is not finished."""

    shot: Shot
    rate: Fraction
    """Frames per second."""
    shards: list[Shard]
    """All shards of the shot, in order."""
    open: set[int]
    """Numbers of the shards that are not done."""
    attempts: dict[int, Path]
    """Folders of the shards at work, by number."""
    lost: Counter[int] = field(default_factory=Counter)
    """How often each shard lost its worker, by number."""


class Batch:
    """One run of a batch; a context manager that locks the folder of outputs against other runs.

    Args:
        shots: the shots to make.
        out: the folder that holds the manifest; made if missing.
        options: how to make them.

    Raises:
        UsageError: another batch is running there, a shot was begun with other options or another input, or outputs exist that no
            batch made.
        OutputError: the folder or its manifest cannot be used.
    """

    def __init__(self, shots: Sequence[Shot], out: Path, options: BatchOptions) -> None:
        self.failures: dict[str, str] = {}
        """Why shots failed, by name."""
        self._shots = shots
        self._options = options
        self._folder = out / FOLDER
        self._reports = self._folder / "reports"
        if options.report is not None:
            check_report(options.report, overwrite=options.overwrite or self._reports.is_dir())
        self._work: dict[str, _Work] = {}
        self._finished: set[str] = set()
        self._stopping = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if options.report is not None:
                self._reports.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out}: cannot be used for outputs ({first_line(error)}); check the path and its permissions") from error
        self._claim = Claim(self._folder / "batch")
        try:
            self._manifest = Manifest(out)
            self._prints = self._identified()
            self._refuse()
        except BaseException:
            self._claim.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._manifest.close()
        self._claim.release()

    @property
    def left(self) -> list[str]:
        """Return the shots that are neither done nor failed."""
        return [shot.name for shot in self._shots if shot.name not in self.failures and shot.name not in self._finished]

    def stop(self) -> None:
        """Stop: begin no more work and leave the rest undone; from any thread or a signal handler."""
        self._stopping = True

    def run(self, workers: Workers, emit: Emit) -> None:
        """Work until every shot is done or has failed, or until ``stop``; ``failures`` has the shots that failed.

        Raises:
            OutputError: the manifest cannot be written; what it holds already is done.
        """
        for name, why in self.failures.items():
            emit(Failed(name, why))
        for shot in self._shots:
            if shot.name in self.failures or self._stopping:
                continue
            try:
                work = self._planned(shot, emit)
                if work is None:
                    continue
                self._work[shot.name] = work
                workers.begin([self._task(work, shard) for shard in work.shards if shard.number in work.open])
                if not work.open:
                    self._finish(work, emit)
            except (StreammatError, EngineError) as error:
                self._record_failure(shot.name, str(error), emit)
        self._drop_leftovers()
        while self._work and not self._stopping:
            if (event := workers.wait(0.2)) is not None and event.task.shot in self._work:
                self._handle(event, workers, emit)
        if self._options.report is not None:
            self._write_report(self._options.report)

    # -- what is missing ----------------------------------------------------------------------------------------

    def _identified(self) -> dict[str, dict[str, Any]]:
        """Return the fingerprints of the shots by name; shots whose input cannot be read fail."""
        prints = {}
        for shot in self._shots:
            try:
                prints[shot.name] = _fingerprint(shot, self._options)
            except (StreammatError, EngineError) as error:
                self.failures[shot.name] = str(error)
        return prints

    def _refuse(self) -> None:
        """Refuse to mix outputs made with other options, and to overwrite files that no batch made."""
        for shot in self._shots:
            if shot.name not in self._prints:
                continue
            before = self._manifest.fingerprint(shot.name)
            if before is None:
                if not self._options.overwrite and (found := [str(each) for _, path in shot.outputs for each in there(path)]):
                    raise UsageError(f"{found[0]}: is there already and no batch made it; give -y to replace it, or another folder")
            elif before != self._prints[shot.name] and not self._options.redo:
                raise UsageError(f"shot {shot.name}: was begun with {_difference(before, self._prints[shot.name])}; give --redo to make it again, or another folder")

    def _planned(self, shot: Shot, emit: Emit) -> _Work | None:
        """Return the work left for a shot; None if it is complete."""
        known = self._manifest.fingerprint(shot.name) == self._prints[shot.name]
        if known and (lost := self._manifest.damaged(shot.name, thoroughly=self._options.verify)):
            emit(Damaged(shot.name, lost))
        if known and self._manifest.is_done(shot.name):
            self._finished.add(shot.name)
            emit(Kept(shot.name, sum(shard.frames for shard, _ in self._manifest.shards(shot.name))))
            return None
        if not known:
            plan = plan_of(shot, self._options)
            self._manifest.plan(shot.name, self._prints[shot.name], plan.rate, plan.shards)
        shards = self._manifest.shards(shot.name)
        emit(Planned(shot.name, sum(shard.frames for shard, _ in shards), len(shards), sum(shard.frames for shard, done in shards if done)))
        return _Work(shot, self._manifest.rate(shot.name), [shard for shard, _ in shards], {shard.number for shard, done in shards if not done}, {})

    def _drop_leftovers(self) -> None:
        """Remove the folders that killed runs left of unfinished shards."""
        kept = self._manifest.part_folders() | {folder for work in self._work.values() for folder in work.attempts.values()}
        for folder in (self._folder / "parts").glob("*/*"):
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    # -- at work ------------------------------------------------------------------------------------------------

    def _task(self, work: _Work, shard: Shard) -> Task:
        """Return the task of a shard, with a new folder: a lost worker may still be writing to the old one."""
        folder = self._folder / "parts" / work.shot.name / f"{shard.number:04d}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({first_line(error)}); check space and permissions") from error
        work.attempts[shard.number] = folder
        outputs = {kind: str(folder / _part_name(kind, path)) for kind, path in work.shot.outputs}
        part = arguments_of(work.shot, shard, work.shards, work.rate, self._options.warm_up)
        report = [] if self._options.report is None else [f"--report={folder / 'report.html'}"]
        return Task(work.shot.name, shard.number, tuple(work.shot.command(outputs, *part, *report)))

    def _handle(self, event: WorkerEvent, workers: Workers, emit: Emit) -> None:
        """Handle an event of a worker."""
        name = event.task.shot
        work = self._work[name]
        emit(ShardEvent(
            name, event.task.shard, event.kind, event.worker, event.frames if event.kind in ("progress", "done") else None,
            event.report["networks"] if event.kind == "done" else None, event.reason or None,
        ))
        work.lost[event.task.shard] += event.kind == "lost"
        if event.kind == "lost" and work.lost[event.task.shard] < workers.attempts:
            (shard,) = (each for each in work.shards if each.number == event.task.shard)
            workers.begin([self._task(work, shard)])
        elif event.kind in ("failed", "lost"):
            workers.drop(name)
            self._record_failure(name, event.reason, emit)
        elif event.kind == "done":
            folder = work.attempts.pop(event.task.shard)
            try:
                planned = next(shard.frames for shard in work.shards if shard.number == event.task.shard)
                if len(work.shards) > 1 and event.frames != planned:
                    raise OutputError(f"shard {event.task.shard} has {event.frames} frames; expected {planned}; is the input changing, or damaged? --shard-frames 0 makes it in one piece")
                self._manifest.shard_done(name, event.task.shard, event.frames, sorted(each for each in folder.iterdir() if not each.name.startswith(".")))
                work.open.discard(event.task.shard)
                if not work.open:
                    self._finish(work, emit)
            except StreammatError as error:
                workers.drop(name)
                self._record_failure(name, str(error), emit)

    def _finish(self, work: _Work, emit: Emit) -> None:
        """Join a shot's shards into its outputs."""
        name, parts = work.shot.name, self._folder / "parts" / work.shot.name
        files = {shard.number: self._manifest.files(name, shard.number) for shard in work.shards}
        # Of numbered files each is made of its shard alone.
        apart = all(is_pattern(path) for _, path in work.shot.outputs)
        outputs = [(number, file) for number, each in files.items() for file in each if parts not in file.parents]
        counts = find_sequence(work.shot.source) is None  # pieces of a clip count from its first frame, each
        for kind, path in work.shot.outputs:
            made = [(shard, file) for shard in work.shards for file in files[shard.number] if parts in file.parents and file.name.startswith(f"{kind}.")]
            if is_pattern(path):
                for shard, file in made:
                    outputs.append((shard.number if apart else 0, _numbered(path, file, shard.first if counts else 0)))
                    put(file, outputs[-1][1])
                continue
            outputs.append((0, Path(path)))
            pieces = [file for _, file in made]
            if len(pieces) > 1:
                starts = [moment_of(shard.first, work.rate) for shard in work.shards]
                joined = parts / f"{kind}{Path(path).suffix}"
                join(pieces, starts, work.shot.source, joined, tracks=kind == "output", audio="--no-audio" not in work.shot.options)
                pieces = [joined]
            put(pieces[0], Path(path))
        self._keep_report(work, files)
        frames = sum(each.frames for each, _ in self._manifest.shards(work.shot.name))
        self._manifest.shot_done(name, frames, outputs)
        del self._work[work.shot.name]
        self._finished.add(work.shot.name)
        shutil.rmtree(self._folder / "parts" / work.shot.name, ignore_errors=True)
        emit(Done(work.shot.name, frames, [path for _, path in work.shot.outputs]))

    def _keep_report(self, work: _Work, files: dict[int, list[Path]]) -> None:
        """Merge the report measures of a shot's shards, if there are any."""
        measured = [(shard, file) for shard in work.shards for file in files[shard.number] if file.name == "report.json"]
        if len(measured) < len(work.shards):
            return
        # Pieces of a clip count from its first frame, each, and pieces of a sequence have its numbers.
        counts = find_sequence(work.shot.source) is None
        parts = [(shard.first, shard.first if counts else 0, read_reports(file)[0]) for shard, file in measured]
        begin = parts[0][2].frames[0]
        timed = [(first, lack, float(Fraction(lack + report.frames[0] - begin) / work.rate), report) for first, lack, report in parts]
        try:
            write_whole(self._reports / f"{work.shot.name}.json", json.dumps(merged(work.shot.name, timed).as_dict()).encode())
        except OSError as error:
            raise OutputError(f"{self._reports}: cannot be written ({first_line(error)}); check space and permissions") from error

    def _write_report(self, path: str) -> None:
        """Write the report page of all shots that were measured by this run or an earlier one."""
        found, missing = [], []
        for shot in self._shots:
            try:
                found.append(ShotReport.of(json.loads((self._reports / f"{shot.name}.json").read_bytes())))
            except (OSError, ValueError, KeyError, TypeError):  # or of another version
                missing.append(shot.name)
        write_report(Path(path), found, overwrite=True, missing=missing)

    def _record_failure(self, name: str, why: str, emit: Emit) -> None:
        self.failures[name] = why
        self._work.pop(name, None)
        with suppress(OutputError):  # the first reason is the one to tell
            self._manifest.failed(name, why)
        emit(Failed(name, why))


def _fingerprint(shot: Shot, options: BatchOptions) -> dict[str, Any]:
    """Return everything that a shot's outputs depend on."""
    inputs: dict[str, Any]
    sequence = find_sequence(shot.source)
    if sequence is None:
        check_readable(shot.source, "a video file")
    model = find_model(shot.model)
    inputs = {os.path.basename(path): _state(path) for path in (shot.source, *(word.split("=", 1)[-1] for word in shot.options)) if os.path.isfile(path)}
    if sequence is not None:
        states = {path.name: _state(str(path)) for path in frames_of(sequence).values()}
        inputs[sequence.head] = hashlib.blake2b(json.dumps(states).encode(), digest_size=16).hexdigest()
    return {
        "inputs": inputs,
        "options": list(shot.options),
        "outputs": [[kind, os.path.basename(path)] for kind, path in shot.outputs],
        "model": dict(model.sha256) or {"fp32": file_sha256(model.fp32)},
        "shards": [options.shard_frames, options.warm_up],
        "version": version("streammat"),
    }


def _state(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Describe what has changed between two fingerprints."""
    names = {"inputs": "another input", "model": "another model", "version": "another version of this program"}
    changed = [key for key in now if before.get(key) != now[key]]
    words = [names.get(key) or f"other {key.replace('_', ' ')} ({_short(before.get(key))}; now {_short(now[key])})" for key in changed]
    return " and ".join(words)


def _short(value: Any) -> str:
    return " ".join(str(each) for each in value) or "none" if isinstance(value, list) and all(isinstance(each, str) for each in value) else str(value)


def _part_name(kind: str, path: str) -> str:
    """Return the name of an output within a shard's folder."""
    match = counter_of(path)
    return f"{kind}{'' if match is None else '.' + match[0]}{Path(path).suffix}"


def _numbered(pattern: str, part: Path, first: int) -> Path:
    """Return the file name of ``pattern`` for the number in the name of ``part``, whose count is too low by ``first``."""
    path, match = Path(pattern), counter_of(pattern)
    assert match is not None
    digits = part.name.split(".")[1]
    number = str(int(digits) + first).zfill(len(digits))
    return path.with_name(f"{path.name[: match.start()]}{number}{path.name[match.end() :]}")
