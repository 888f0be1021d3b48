"""``streammat batch``: many shots, each as ``streammat video`` makes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from streammat.cli.batch_table import Board
from streammat.cli.command import INPUT, MESSAGES, OUTPUT, GroupedCommand, option
from streammat.cli.commands.video import video
from streammat.cli.common import Interrupt, leave, one_line_errors
from streammat.cli.options import name_of, options_of
from streammat.cli.values import number_of
from streammat.config import WEB_ADDRESS, BatchOptions
from streammat.errors import UsageError, shortened

if TYPE_CHECKING:
    from streammat.batch.estimate import Estimate
    from streammat.batch.plan import Plan

_OWN = ("matte", "foreground", "start", "duration", "warm-up", "overwrite", "quiet", "json", "events", "report", "help")
"""Options of ``video`` that a batch defines itself, or that make no sense for many shots."""
_ALLOWED = ("start", "duration")
"""The options among these that a shot of a job file may set."""
_DEFAULTS = BatchOptions()


def _passed(command: click.Command) -> click.Command:
    """Add to ``command`` the options of ``video`` that are the same for every shot."""
    command.params += [each for each in options_of(video) if name_of(each) not in _OWN]
    return command


@_passed
@click.command(cls=GroupedCommand)
@click.argument("paths", metavar="SHOTS... OUT", nargs=-1, required=True)
@option("--output", group=OUTPUT, metavar="TEMPLATE", help="The name of each output.  [default: {out}/{shot}.mov of a clip]")
@option("--matte", group=OUTPUT, metavar="TEMPLATE", help="Also write the alpha as grey.  [default: {out}/{shot}/{shot}_matte.{frame}.exr of a sequence, alone]")
@option("--foreground", group=OUTPUT, metavar="TEMPLATE", help="Also write the straight foreground colour.")
@option("--report", group=OUTPUT, metavar="FILE.html", help="Also write a page of frames to check of all shots, with CSV and JSON beside it.")
@option("--workers", group=OUTPUT, type=number_of(BatchOptions, "workers"), default=_DEFAULTS.workers, help="Number of processes.  [default: by cores and memory]")
@option("--ray", is_flag=False, flag_value="local", group=OUTPUT, metavar="[ADDRESS]", help="Use a Ray cluster whose nodes share the folders; without ADDRESS start one on this machine.")
@option("--shard-frames", group=OUTPUT, type=number_of(BatchOptions, "shard_frames"), default=_DEFAULTS.shard_frames, show_default=True,
        help="Most frames of a shard; longer clips are divided, at scene cuts if there are any.  0: never.")
@option("--dry-run", group=MESSAGES, is_flag=True, help="Show what would be done, and how long it would take; do nothing.")
@option("--emit", group=MESSAGES, type=click.Choice(["openjd"]), help="Print a job for a render farm (Open Job Description, JSON) and do nothing else.")
@option("--redo", group=OUTPUT, is_flag=True, help="Make shots again whose options or inputs have changed since.")
@option("--verify", "read_all", group=INPUT, is_flag=True, help="Read every existing output; by default only those whose size or time has changed.")
@option("--json", "as_json", group=MESSAGES, is_flag=True, help="Print events as JSON lines on stdout.")
@option("--web", group=MESSAGES, metavar="HOST:PORT", is_flag=False, flag_value=WEB_ADDRESS,
        help=f"Serve a page that shows the batch at work, and print its link. Without a value: {WEB_ADDRESS}.")
@option("--web-allow", group=MESSAGES, multiple=True, metavar="NAME",
        help="Let other machines reach the page, which is not encrypted, by this name or address of this machine; may be repeated.")
@option("--quiet", "-q", group=MESSAGES, is_flag=True, help="Print errors only.")
@option("-y", "--overwrite", group=OUTPUT, is_flag=True, help="Replace existing outputs that no batch made.")
@click.pass_context
def batch(
    context: click.Context, /, paths: tuple[str, ...], *, output: str | None, matte: str | None, foreground: str | None, report: str | None, workers: int, ray: str | None, shard_frames: int, dry_run: bool, emit: str | None,
    redo: bool, read_all: bool, as_json: bool, web: str | None, web_allow: tuple[str, ...], quiet: bool, overwrite: bool, **_: Any,
) -> None:
    """Cut the subject out of many shots. SHOTS are clips, sequences, patterns, folders or job files (TOML, YAML, CSV); OUT is a
    folder.

    Run the same command again to continue an interrupted batch: it does only what is missing.

    \b
    streammat batch plates/ mattes/                                  (clips: ProRes 4444; sequences: EXR mattes)
    streammat batch 'plates/*.mov' mattes/ --matte '{out}/{shot}_matte.mov' --quality best
    streammat batch shots.toml mattes/ --dry-run
    """  # noqa: D301 - click wants the character, not two
    options = BatchOptions(workers, shard_frames, overwrite=overwrite, redo=redo, verify=read_all, report=report)
    *sources, out = paths
    with one_line_errors(as_json, quiet=quiet):
        if not sources:
            raise UsageError(f"OUT is missing: {out} alone is given; expected shots and the folder for what is made of them, such as plates/ mattes/")
        from streammat.batch.emit import make_folders, openjd_template
        from streammat.batch.estimate import estimates, free_space
        from streammat.batch.plan import plan_of
        from streammat.batch.ray_workers import RayWorkers
        from streammat.batch.run import Batch
        from streammat.batch.shots import KINDS, rows_of, shots_of
        from streammat.batch.workers import LocalWorkers, Workers, local_count
        from streammat.engines.base import usable_cores
        from streammat.film.sequences import find_sequence

        given = {name_of(each): _meant(each, context.params[each.name]) for each in options_of(video)
                 if each.name in context.params and context.get_parameter_source(each.name) not in (ParameterSource.DEFAULT, None)
                 and name_of(each) not in _OWN}  # fmt: skip
        templates = {kind: value for kind, value in zip(KINDS, (output, matte, foreground), strict=True) if value}
        shots = shots_of(rows_of(sources), out, templates, partial(_arguments, given))
        if emit is not None:
            plans = [plan_of(shot, options if find_sequence(shot.source) else replace(options, shard_frames=0)) for shot in shots]
            make_folders(plans)
            click.echo(json.dumps(openjd_template(f"streammat {out}", plans, options.warm_up), indent=1))
            return
        if dry_run:
            plans = [plan_of(shot, options, cuts=False) for shot in shots]
            _show(plans, estimates(plans, options.warm_up), workers or local_count(), free_space(out), as_json=as_json)
            return
        with ExitStack() as stack, Interrupt() as interrupt, Batch(shots, Path(out), options) as work:
            interrupt.stops(work.stop)
            board = Board([shot.name for shot in shots], as_json=as_json, quiet=quiet)
            if web is not None:
                stack.enter_context(_page(web, web_allow, board, as_json=as_json))
            count = workers or local_count()
            pool: Workers = RayWorkers(ray) if ray else LocalWorkers(count, ("--threads", str(max(1, usable_cores() // count))) if count > 1 else ())
            try:
                with board:
                    work.run(pool, board)
            finally:
                pool.end()
    for name, why in work.failures.items():
        click.echo(f"streammat: error: shot {name}: {why}", err=True)
    if not quiet:
        done = len(shots) - len(work.failures) - len(work.left)
        left = f", {len(work.left)} left for the next run" if work.left else ""
        click.echo(f"{done} of {len(shots)} shots done, {len(work.failures)} failed{left}", err=True)
    leave(interrupt.exit_code or int(bool(work.failures)))


@contextmanager
def _page(address: str, allowed: tuple[str, ...], board: Board, *, as_json: bool) -> Iterator[None]:
    """Serve ``board`` to browsers, and print the link."""
    try:
        from streammat.web.batch_page import BatchPage
    except ModuleNotFoundError as error:
        raise UsageError(f"--web: {error.name} is not installed; install it with pip install 'streammat[web]'") from error
    page = BatchPage(address, allowed, board.state)
    page.start()
    try:
        if as_json:
            click.echo(json.dumps({"event": "page", "link": page.link()}))
        else:
            click.echo(f"the batch, for the first browser that opens it: {page.link()}", err=True)
        yield
    finally:
        page.close()


def _arguments(given: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[Sequence[str], str]:
    """Return options of ``video`` as checked command line arguments, and the model among them.

    Args:
        given: options for every shot, by long name.
        own: a shot's own, which take precedence.
    """
    known = {name_of(each): each for each in options_of(video) if name_of(each) not in _OWN or name_of(each) in _ALLOWED}
    words: list[str] = []
    for name, value in {**given, **own}.items():
        if name not in known:
            raise UsageError(f"unknown option {shortened(repr(name))}; expected source, name, output, matte, foreground, or one of {', '.join(sorted(known))}")
        words += _words(known[name], name, value)
    from streammat.film.sequences import parse_frames
    from streammat.film.subject import parse_subject

    try:
        parsed = video.make_context("video", ["in.mov", "out.mov", *words])
    except click.UsageError as error:
        raise UsageError(error.format_message()) from error
    parse_subject(parsed.params["subject"])
    if parsed.params["frames"] is not None:
        parse_frames(parsed.params["frames"])
    return words, str(parsed.params["model"])


def _meant(known: click.Option, value: Any) -> Any:
    """Return what the option's own name says: True for ``--no-verify``, whose value is False."""
    return not value if known.is_flag and known.flag_value is False else value


def _words(known: click.Option, name: str, value: Any) -> list[str]:
    """Return one option as it stands on a command line."""
    if known.is_flag:
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):  # a CSV file's
            value = value.lower() in ("true", "yes")
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {shortened(repr(value))}; expected true or false")
        if value:
            return [f"--{name}"]
        return [known.secondary_opts[0]] if known.secondary_opts else []
    values = value if known.multiple and isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in values):
        raise UsageError(f"{name} is {shortened(repr(value))}; expected text or a number")
    return [f"--{name}={each}" for each in values]


def _show(plans: Sequence[Plan], costs: Sequence[Estimate], workers: int, free: int, *, as_json: bool) -> None:
    """Print what would be done."""
    frames, size = sum(plan.frames for plan in plans), sum(cost.bytes for cost in costs)
    # No shot ends before its longest shard.
    most = max((cost.seconds / len(plan.shards) for plan, cost in zip(plans, costs, strict=True)), default=0.0)
    seconds = max(sum(cost.seconds for cost in costs) / workers, most)
    for plan, cost in zip(plans, costs, strict=True):
        height, width = plan.size
        outputs = dict(plan.shot.outputs)
        if as_json:
            click.echo(json.dumps({"event": "plan", "shot": plan.shot.name, "source": plan.shot.source, "frames": plan.frames, "width": width, "height": height,
                                   "fps": float(plan.rate), "shards": len(plan.shards), "outputs": outputs, "options": plan.shot.options,
                                   "bytes": cost.bytes, "seconds": round(cost.seconds, 1)}))
        else:
            click.echo(f"{plan.shot.name}: {plan.frames} frames, {width}x{height}, {float(plan.rate):.6g} fps, {_megabytes(cost.bytes)} → {', '.join(outputs.values())}")
    if as_json:
        click.echo(json.dumps({"event": "total", "shots": len(plans), "frames": frames, "bytes": size, "free": free, "workers": workers, "seconds": round(seconds)}))
    else:
        click.echo(f"{len(plans)} shots, {frames} frames, about {_megabytes(size)} ({_megabytes(free)} are free), about {seconds / 60:.1f} minutes with {workers} {'worker' if workers == 1 else 'workers'}")
    if size > free:
        click.echo(f"warning: {_megabytes(size)} will not fit: {_megabytes(free)} are free", err=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e10 else f"{count / 1e9:.0f} GB"
