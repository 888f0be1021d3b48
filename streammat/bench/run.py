"""The run of a bench: rounds in which every engine is asked for every figure once, each in a fresh process."""

from __future__ import annotations

import importlib.metadata
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from streammat.bench import clip, report
from streammat.bench.child import WARM_UP
from streammat.bench.child_runner import ChildError, ChildRunner, Stopped
from streammat.bench.machine import Watch, clock_ms, cores, describe
from streammat.bench.report import SizeResult, size_result
from streammat.bench.variants import NotRun, Variant, plan
from streammat.compositing.backgrounds import parse_background
from streammat.config import BenchOptions
from streammat.engines.base import EngineError
from streammat.errors import OutputError, StreammatError, UsageError
from streammat.matting.matting import network_sizes
from streammat.models.library import find_model

_FLOOD = 4  # times the clip's rate
_MOST_FPS = 240  # beyond, a file is not taken for a camera
_BUSY, _DRIFT = 0.1, 1.1  # share of the machine that others may use; clock of the slowest round over the fastest's

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``: called before each figure with the number of those done."""


@dataclass
class _Gathered:
    """Answers at one size so far."""

    size: tuple[int, int]
    networks: tuple[tuple[int, int], ...]
    pictures: dict[str, Any]
    answers: dict[Variant, dict[str, list[dict[str, Any]]]]
    codec: list[dict[str, Any]] = field(default_factory=list)


class Bench:
    """One run of the bench; the constructor checks what can be checked beforehand.

    Args:
        options: options of the run.

    Raises:
        UsageError: a size, a background or the model is wrong.
        InputError: the clip or the model cannot be read.
        EngineError: an engine requested by name cannot run here, or none can.
    """

    def __init__(self, options: BenchOptions) -> None:
        for height, width in options.sizes:
            if min(height, width) < 64 or height % 2 or width % 2:
                raise UsageError(f"--size {width}x{height}: expected even sides of at least 64, such as 1280x720")
        if options.background.strip().lower() == "transparent":
            raise UsageError("--bg transparent: an .mp4 and live video carry none; give an image, a colour or blur")
        parse_background(options.background)
        self.options = options
        self._rate = clip.rate_of(options.clip)
        self._model = find_model(options.matting.model)
        self._variants, self.not_run = plan(self._model, options.engines, options.precisions, options.matting.device)
        if not self._variants:
            raise EngineError(f"no engine can be measured; {'; '.join(f'{entry}: {entry.reason}' for entry in self.not_run)}")
        self._runner = ChildRunner()
        self._done: list[SizeResult] = []
        self._at_work: _Gathered | None = None
        self._clocks: list[list[float]] = []
        self._notes: dict[str, None] = {}
        self._fault: str | None = None
        self._watch = Watch()
        self._begin = datetime.now(UTC)
        self._flood = max(1, min(_FLOOD, int(_MOST_FPS / self._rate)))
        self._kinds = ["network", "file", *((["live", "flooded"] if self._flood > 1 else ["live"]) if options.live_seconds else [])]
        self._step, self._steps = 0, len(options.sizes) * (1 + options.rounds * (1 + len(self._variants) * len(self._kinds)))

    def run(self, progress: Progress) -> Iterator[SizeResult]:
        """Measure, and yield the results of each size; after ``stop``, the results so far of the current size.

        Raises:
            InputError: the clip has no images.
            OutputError: the clip cannot be written to the folder for temporary files.
            EngineError: nothing can be measured.
            They are raised only if no size is done; otherwise they are listed in ``faults`` and the run ends.
        """
        with tempfile.TemporaryDirectory(prefix="streammat-bench-") as folder:
            for size in self.options.sizes:
                try:
                    with suppress(Stopped):
                        self._measure(size, Path(folder), progress)
                except StreammatError as error:
                    if not self._done:
                        raise
                    self._fault = f"{size[1]}x{size[0]}: {error}"
                    self._note(f"ended early: {self._fault}")
                    return
                if self._at_work is not None:
                    result, self._at_work = self._result(self._at_work), None
                    if result.engines:
                        self._done.append(result)
                        yield result
                if self._runner.stopped:
                    return
            if not self._done:
                raise EngineError(f"no engine could be measured; {'; '.join(self.faults())}")

    def stop(self) -> None:
        """End at once, from any thread or a signal handler; results so far are kept."""
        self._runner.stop()

    @property
    def stopped(self) -> bool:
        """True once ``stop`` was called."""
        return self._runner.stopped

    @property
    def results(self) -> list[SizeResult]:
        """Results of the sizes done so far."""
        return list(self._done)

    def faults(self) -> list[str]:
        """Return what makes the run a failure: requested engines that could not be measured, or none measured, and what ended it."""
        entries = [f"{entry}: {entry.reason}" for entry in self.not_run if entry.asked or not self._done]
        return entries if self._fault is None else [*entries, self._fault]

    def warnings(self) -> list[str]:
        """Return reasons to doubt the figures, such as a busy machine."""
        found = []
        others = self._watch.others()
        if others is not None and others > _BUSY * cores():
            found.append(f"other programs kept {others:.1f} of {cores()} cores busy during the run; figures are worth little until they are gone")
        elif others is None and self._watch.load > 1:
            found.append(f"the load average was {self._watch.load:.1f} when the run began; figures are worth little on a busy machine")
        drift = self._drift()
        if drift is not None and drift > _DRIFT:
            found.append(f"the slowest round's clock took {100 * (drift - 1):.0f} % longer than the fastest's for the same work; compare ratios, not figures")
        if self.options.rounds < 3:
            found.append(f"{self.options.rounds} round{'s' if self.options.rounds > 1 else ''}: too few to show how figures vary")
        if self.stopped:
            found.append("stopped early: the last size has fewer rounds, or some engines only")
        return [*found, *self._notes]

    def document(self) -> dict[str, Any]:
        """Return all results so far as JSON values."""
        options = self.options
        try:
            version = importlib.metadata.version("streammat")
        except importlib.metadata.PackageNotFoundError:  # run from its source
            version = "unknown"
        sides = [{"width": width, "height": height} for height, width in options.sizes]
        return {
            "schema": "streammat-bench", "schema_version": report.SCHEMA, "streammat": version, "begun": self._begin.isoformat(timespec="seconds"),
            "hardware": asdict(describe()),
            "options": asdict(options) | {"sizes": sides, "warm_up_calls": WARM_UP, "clip_fps": float(self._rate)},
            "sizes": [report.document(result) for result in self._done],
            "not_run": [report.not_run(entry) for entry in self.not_run],
            "machine": {
                "load_before": self._watch.load, "others_cores": self._watch.others(), "clock_ms": [statistics.median(clocks) for clocks in self._clocks],
                "clock_drift": self._drift(),
            },
            "stopped": self.stopped, "warnings": self.warnings(),
        }

    # -- one size -----------------------------------------------------------------------------------------------

    def _measure(self, size: tuple[int, int], folder: Path, progress: Progress) -> None:
        options = self.options
        told = f"{size[1]}x{size[0]}"
        self._report(progress, f"{told}: the clip")
        source, fast, target = folder / "in.mp4", folder / "fast.mp4", folder / "out.mp4"
        images = takewhile(lambda _: not self.stopped, clip.clip_images(options.clip, size))
        try:
            clip.write_clip(source, images, size, options.frames, self._rate)
            clip.speed_up(source, fast, self._flood)
        except OSError as error:  # FFmpeg's errors are of this kind too
            if self.stopped:
                raise Stopped from error
            raise OutputError(f"{folder}: the clip cannot be written ({error.strerror}); make room there, or set TMPDIR to another place") from error
        networks = network_sizes(*size, options.matting.quality, self._model.areas)
        try:
            pictures = self._runner.ask("pictures", clip=str(source), frames=options.frames, matting=asdict(options.matting), size=size, folder=str(folder))
        except ChildError as error:
            raise EngineError(f"{told}: the clip's images cannot be made: {error}") from error
        if pictures["reference"] is None:
            self._note(f"{told}: nothing to tell the difference to: {pictures['reason']}")
        self._at_work = at_work = _Gathered(size, networks, pictures, {variant: {} for variant in self._variants})
        failed: set[Variant] = set()
        for turn in range(options.rounds):
            self._clocks.append([clock_ms()])
            self._report(progress, f"{told}, round {turn + 1}/{options.rounds}: decoding and encoding")
            self._codec(at_work, source, target)
            # Every round begins with another one, so that coming first helps or harms nobody.
            order = self._variants[turn % len(self._variants) :] + self._variants[: turn % len(self._variants)]
            for kind in self._kinds:
                for variant in order:
                    self._report(progress, f"{told}, round {turn + 1}/{options.rounds}: {kind}, {variant}")
                    if variant in failed:
                        continue
                    matting = replace(options.matting, engine=variant.engine, precision=variant.precision, device=variant.device)  # type: ignore[arg-type]
                    try:
                        answer = self._runner.ask(**self._job(kind, at_work, asdict(matting), source, fast, target))
                    except ChildError as error:
                        failed.add(variant)
                        self._refuse(variant, kind, size, str(error))
                        continue
                    for line in answer["notes"]:
                        self._note(f"{variant}: {line}")
                    at_work.answers[variant].setdefault(kind, []).append(answer)
                    self._clocks[-1].append(clock_ms())

    def _job(self, kind: str, at_work: _Gathered, matting: dict[str, Any], source: Path, fast: Path, target: Path) -> dict[str, Any]:
        options = self.options
        if kind == "network":
            return {
                "kind": kind, "matting": matting, "size": at_work.size, "batches": sorted(set(options.batches)), "calls": options.frames,
                "folder": str(source.parent),
            }
        if kind == "file":
            return {"kind": kind, "matting": matting, "clip": str(source), "target": str(target), "background": options.background}
        played = fast if kind == "flooded" else source
        return {"kind": "live", "matting": matting, "clip": str(played), "background": options.background, "seconds": options.live_seconds}

    def _codec(self, at_work: _Gathered, source: Path, target: Path) -> None:
        try:
            at_work.codec.append(self._runner.ask("codec", clip=str(source), target=str(target)))
        except ChildError as error:
            self._note(f"decoding and encoding alone were not measured: {error}")

    def _refuse(self, variant: Variant, kind: str, size: tuple[int, int], reason: str) -> None:
        asked = variant.engine in self.options.engines and {variant.precision, "auto"} & set(self.options.precisions)
        what = "" if kind == "network" else f"{kind}: "
        self.not_run.append(NotRun(variant.engine, variant.precision, variant.device, size, what + reason, asked=bool(asked)))

    # -- telling ------------------------------------------------------------------------------------------------

    def _result(self, at_work: _Gathered) -> SizeResult:
        return size_result(at_work.size, at_work.networks, at_work.pictures, at_work.answers, at_work.codec)

    def _drift(self) -> float | None:
        """Return the clock time of the slowest round over that of the fastest; None before there are two."""
        medians = [statistics.median(clocks) for clocks in self._clocks]
        return round(max(medians) / min(medians), 3) if len(medians) > 1 else None

    def _report(self, progress: Progress, what: str) -> None:
        progress(what, self._step, self._steps)
        self._step += 1

    def _note(self, line: str) -> None:
        self._notes[line] = None

