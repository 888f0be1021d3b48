"""The base classes of all commands: options in groups, and the program itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from streammat.cli.streams import patient_streams
from streammat.engines.usage import OneLine
from streammat.errors import first_line

INPUT, OUTPUT, BACKGROUND, MATTE, ENGINE, MESSAGES = GROUPS = ("Input", "Output", "Background", "Matte", "Engine", "Messages")
"""Titles under which ``--help`` lists options, in this order."""


class Option(click.Option):
    """An option of one of `GROUPS`."""

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """See `click.Parameter.process_value`. Empty values are refused: they come from script variables that were not set."""
        if any(isinstance(each, str) and not each.strip() for each in (value if isinstance(value, list | tuple) else [value])):
            raise click.BadParameter(f"an empty value was given; expected {self.make_metavar(ctx)}, or leave the option out", ctx, self)
        return super().process_value(ctx, value)


option = partial(click.option, cls=Option)
"""``click.option`` with a ``group``."""


class GroupedCommand(click.Command):
    """A command whose ``--help`` lists its options by group; ``--help`` itself is one of the messages."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command.format_options`."""
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                rows[getattr(parameter, "group", MESSAGES)].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


_WORKERS = ("video", "batch", "webcam", "image")
"""Commands whose result is not their output on stdout."""


class Program(OneLine):
    """``streammat`` itself. It never waits for a reader of its output: see ``streams``."""

    program = "streammat"

    def main(  # type: ignore[override]  # click has two overloads for what standalone_mode makes of the result
        self, args: Sequence[str] | None = None, prog_name: str | None = "streammat", standalone_mode: bool = True, **settings: Any
    ) -> Any:
        """See `click.Command.main`."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **settings)
        given = list(sys.argv[1:] if args is None else args)
        works = bool(given) and given[0] in _WORKERS
        with patient_streams(waits=not works) as streams:
            code: str | int | None
            try:
                code = self.code_of(given, prog_name, **settings)
            except SystemExit as end:
                code = end.code
            try:
                streams.finish()
            except KeyboardInterrupt:
                code = code or 130
            if (broken := streams.broken) is not None:
                if works:
                    click.echo(f"note: standard output cannot be written ({first_line(broken)}); that touches no other output", err=True)
                else:
                    click.echo(f"streammat: error: standard output: cannot be written ({first_line(broken)}); send it elsewhere", err=True)
                    code = code or 1
        sys.exit(code)
