"""Commands as this program has them: options listed in groups, usage errors as one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from streammat.cli.streams import patient_streams
from streammat.errors import reason

INPUT, OUTPUT, BACKGROUND, MATTE, ENGINE, MESSAGES = GROUPS = ("Input", "Output", "Background", "Matte", "Engine", "Messages")
"""Titles under which ``--help`` lists options, in this order."""


class Option(click.Option):
    """An option of one of `GROUPS`."""

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


option = partial(click.option, cls=Option)
"""``click.option`` with a ``group``."""


class Command(click.Command):
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


_WORKERS = ("video", "webcam", "image")
"""Commands whose work is not what they print."""


class Program(click.Group):
    """The program itself: wrong usage of any command is one line on stderr (with ``--json`` an object on stdout, too) and exit code 2.

    Nobody has to read what it prints: see ``streams``.
    """

    def main(  # type: ignore[override]  # click has two overloads for what standalone_mode makes of the result
        self, args: Sequence[str] | None = None, prog_name: str | None = "streammat", standalone_mode: bool = True, **settings: Any
    ) -> Any:
        """See `click.Command.main`."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **settings)
        given = list(sys.argv[1:] if args is None else args)
        works = bool(given) and given[0] in _WORKERS
        with patient_streams(waits=not works) as streams:
            try:
                code = self._run(given, prog_name, **settings)
            except SystemExit as end:
                code = end.code
            try:
                streams.finish()
            except KeyboardInterrupt:
                code = code or 130
            if (broken := streams.broken) is not None:
                if works:
                    click.echo(f"note: standard output cannot be written ({reason(broken)}); that touches no other output", err=True)
                else:
                    click.echo(f"streammat: error: standard output: cannot be written ({reason(broken)}); send it elsewhere", err=True)
                    code = code or 1
        sys.exit(code)

    def _run(self, given: list[str], prog_name: str | None, **settings: Any) -> str | int | None:
        try:
            code = super().main(given, prog_name, standalone_mode=False, **settings)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            message = usage_line(error)
            if "--json" in given:
                click.echo(json.dumps({"error": message}))
            click.echo(f"streammat: error: {message}", err=True)
            return error.exit_code
        except click.Abort:  # Ctrl-C before ``Interrupt`` was there
            return 130
        return code if isinstance(code, int) else 0


def usage_line(error: click.ClickException) -> str:
    """What was wrong, and which ``--help`` to ask."""
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param is not None and context is not None:
        name = error.param.opts[-1] if isinstance(error.param, click.Option) else error.param.make_metavar(context)
        message = f"{name}: {error.message}"
    message = " ".join(message.split()).rstrip(".")
    see = f"ee `{'streammat' if context is None else context.command_path} --help`"
    return f"{message[:1].lower()}{message[1:]}{f' S{see}' if message.endswith('?') else f'; s{see}'}"
