"""``streammat bench``: what each engine and each part costs on this machine."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streammat.cli.common import Interrupt, matting_options, one_line_errors, parse_size
from streammat.cli.values import Time
from streammat.config import BenchOptions, MattingOptions
from streammat.engines.usage import Whole
from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError
from streammat.paths import check_writable
from streammat.timecode import Moment

if TYPE_CHECKING:
    from streammat.bench.report import LiveResult, SizeResult, Spread
    from streammat.bench.run import Bench

_BENCH = BenchOptions()


@click.command()
@click.argument("clip", required=False)
@click.option("--size", "sizes", multiple=True, metavar="WxH", default=tuple(f"{width}x{height}" for height, width in _BENCH.sizes), show_default=True,
              help="Size of the frame; may be repeated.")
@click.option("--batch", "batches", multiple=True, type=Whole(1, 256), default=_BENCH.batches, show_default=True,
              help="Batch sizes for the network alone; may be repeated.")
@click.option("--frames", type=Whole(2, 1_000_000), default=_BENCH.frames, show_default=True, help="Frames per round.")
@click.option("--rounds", type=Whole(1, 1000), default=_BENCH.rounds, show_default=True, help="Rounds; medians and extremes are shown.")
@click.option("--live", "live_seconds", type=Time(timecode=False, zero=True), metavar="TIME", default=str(_BENCH.live_seconds), show_default=True,
              help="Length of each live run; 0: no live runs.")
@click.option("--bg", "background", default=_BENCH.background, show_default=True, help="As in `streammat video`.")
@partial(matting_options, several=True)
@click.option("--out", "target", metavar="FILE.json", help="Also write the JSON document to a file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def bench(
    clip: str | None, sizes: tuple[str, ...], batches: tuple[int, ...], frames: int, rounds: int, live_seconds: Moment, background: str, *,
    model: str, engine: tuple[str, ...], device: str, precision: tuple[str, ...], quality: Any, threads: int, target: str | None, quiet: bool,
    as_json: bool,
) -> None:
    """Measure engines alone, on files and on live video, in one run, with CLIP or a drawn scene.

    Each figure is measured in a fresh process, over several rounds. By default the engine that `video` would take is
    measured, which takes a minute or two; --engine all measures each engine in each precision and takes as long for each.
    Nothing else should run meanwhile. Ctrl-C shows what was measured so far.
    """
    with one_line_errors(as_json), Interrupt() as interrupt:
        options = BenchOptions(
            clip, tuple(parse_size("--size", size) for size in sizes), engine or ("auto",), precision or (("all",) if "all" in engine else ("auto",)), batches,
            MattingOptions(model=model, device=device, quality=quality, threads=threads), background, frames, rounds, float(live_seconds.seconds),
        )
        from streammat.bench.run import Bench

        if target is not None:
            _check_target(target)
        job = Bench(options)
        interrupt.stops(job.stop)
        progress = _Progress(quiet=quiet)
        try:
            for result in job.run(progress):
                progress.clear()
                if not as_json:
                    _tell(result, job)
        finally:
            progress.clear()
            if job.results or job.stopped:
                document = json.dumps(job.document())
                if as_json:
                    click.echo(document)
                else:
                    _conclude(job)
                if target is not None:
                    _write(target, document)
        faults = [] if job.stopped else job.faults()
        if faults:
            click.echo(f"streammat: error: {'; '.join(faults)}", err=True)
    sys.exit(interrupt.exit_code or int(bool(faults)))


class _Progress:
    """Progress on stderr: one line that is rewritten on a terminal, elsewhere a line every few seconds."""

    _EVERY_SECONDS = 5.0

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._begin = time.monotonic()
        self._last_shown = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `streammat.bench.run.Progress`."""
        now = time.monotonic()
        if self._quiet or (not self._terminal and now - self._last_shown < self._EVERY_SECONDS):
            return
        self._last_shown = now
        left = f", about {(now - self._begin) / done * (total - done):.0f} s left" if done > 2 else ""
        line = f"[{done + 1}/{total}{left}] {what}"
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, err=True, nl=not self._terminal)

    def clear(self) -> None:
        """Erase the line on the terminal."""
        if self._terminal and not self._quiet:
            click.echo("\r\x1b[K", err=True, nl=False)


def _check_target(target: str) -> None:
    """Refuse a document that cannot be written, before minutes are spent."""
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"--out {target}: is a folder or a device; expected the name of a file, such as here.json")
    check_writable(target)


def _write(target: str, document: str) -> None:
    try:
        write_whole(Path(target), f"{document}\n".encode())
    except OSError as error:
        raise OutputError(f"--out {target}: cannot be written ({error.strerror}); the figures are on stdout") from error


def _tell(result: SizeResult, job: Bench) -> None:
    (height, width), options = result.size, job.options
    networks = " and ".join(f"{network[1]}x{network[0]}" for network in result.network_sizes)
    title = f"{width}x{height}, network {networks}, {options.matting.model}, {options.clip or 'a drawn scene'}"
    click.echo(f"{title}: medians of {options.rounds} round{'s' if options.rounds > 1 else ''} (smallest..largest)")
    rows = []
    for engine in result.engines:
        for row in engine.network:
            apart = "-" if engine.difference_mean is None else f"{engine.difference_mean:.5f}, {engine.difference_max:.3f}"
            rows.append([
                _name(engine), str(row.batch), _wide(row.p50_ms, 2), f"{row.p99_ms.median:.2f}", f"{row.fps.median:.1f}", f"{row.cpu_ms.median:.1f}",
                f"{row.ratio.median:.2f}", apart,
            ])
    _table(["network alone", "batch", "ms p50", "p99", "fps", "CPU ms", "ratio", "from fp32: mean, max"], rows)
    files = [
        [
            _name(engine), _wide(engine.file.fps, 1), f"{engine.file.cpu_ms.median:.1f}", f"{engine.file.ratio.median:.2f}",
            f"{engine.file.overhead.median:.2f}" if engine.file.overhead else "-", _megabytes(engine.file.memory_bytes),
            _megabytes(engine.memory_bytes), f"{engine.start_up_s.median:.2f}",
        ]
        for engine in result.engines if engine.file is not None
    ]
    _table(["file to file", "fps", "CPU ms", "ratio", "CPU over parts", "MB", "MB network", "start-up s"], files)
    if result.codec is not None:
        parts = result.codec
        click.echo(f"  decoding alone {parts.decode_cpu_ms.median:.1f} CPU ms, encoding alone {parts.encode_cpu_ms.median:.1f} CPU ms per frame")
    for name in ("live", "flooded"):
        lives = [(_name(engine), live) for engine in result.engines if (live := getattr(engine, name)) is not None]
        if lives:
            header = [f"live, {lives[0][1].camera_fps:g} fps camera", "fps", "latency ms p50", "p99", "within 33 ms", "dropped", "CPU ms", "MB"]
            _table(header, [_live(name, live) for name, live in lives])


def _live(name: str, live: LiveResult) -> list[str]:
    share = live.dropped.median / live.captured.median if live.captured.median else 0.0
    return [
        name, _wide(live.fps, 1), f"{live.p50_ms.median:.1f}", f"{live.p99_ms.median:.1f}", f"{100 * live.within_33_ms.median:.0f} %",
        f"{100 * share:.0f} %", f"{live.cpu_ms.median:.1f}", _megabytes(live.memory_bytes),
    ]


def _conclude(job: Bench) -> None:
    for result in job.results[-1:]:
        names = ", ".join(f"{name.removesuffix(':1')}: {variant}" for name, variant in result.fastest.items())
        if result.reference:
            click.echo(f"from fp32: absolute difference of alpha, 0..1, to {result.reference} over {result.pictures} images")
        click.echo(f"ratio: time per image over that of the fastest ({names}), round by round")
    for entry in job.not_run:
        click.echo(f"not run: {entry}: {entry.reason}")
    for warning in job.warnings():
        click.echo(f"warning: {warning}", err=True)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for line in (header, *rows):
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        click.echo(f"  {'  '.join(cells)}")
    click.echo()


def _name(engine: Any) -> str:
    return f"{engine.engine} {engine.precision} {engine.device}"


def _wide(value: Spread, digits: int) -> str:
    return f"{value.median:.{digits}f} ({value.min:.{digits}f}..{value.max:.{digits}f})"


def _megabytes(value: Spread) -> str:
    return f"{value.median / 1e6:.0f}"
