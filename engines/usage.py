"""Parts of both command lines: numbers within bounds, and wrong usage as one line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import click

from streammat.engines.errors import shortened

_MOST = 2**31 - 1


class Number(click.FloatRange):
    """A finite number within bounds; click's own ranges accept ``nan``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See `click.ParamType.convert`."""
        try:
            number = float(super().convert(value, param, ctx))
        except (click.BadParameter, OverflowError):
            number = math.nan
        if not abs(number) <= _MOST:
            self.fail(f"{shortened(value)}: expected a number, {_bounds(self)}", param, ctx)
        return number


class Whole(click.IntRange):
    """An integer within bounds, limited to 32 bits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See `click.ParamType.convert`."""
        try:
            number = int(super().convert(value, param, ctx))
        except (click.BadParameter, OverflowError):
            number = _MOST + 1
        if abs(number) > _MOST:
            self.fail(f"{shortened(value)}: expected a whole number, {_bounds(self)}", param, ctx)
        return number


def _bounds(kind: Number | Whole) -> str:
    least = "" if kind.min is None else f"{'above' if kind.min_open else 'from'} {kind.min:.10g} "
    return f"{least}to {_MOST if kind.max is None else kind.max:.10g}" if kind.max is not None or least else f"at most {_MOST}"


class OneLine(click.Group):
    """A program whose wrong usage is one line on stderr (with ``--json`` an object on stdout, too) and exit code 2."""

    program: ClassVar[str]
    """The program's name, printed before errors."""

    def main(  # type: ignore[override]  # click has two overloads for what standalone_mode makes of the result
        self, args: Sequence[str] | None = None, prog_name: str | None = None, standalone_mode: bool = True, **settings: Any
    ) -> Any:
        """See `click.Command.main`."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **settings)
        sys.exit(self.code_of(list(sys.argv[1:] if args is None else args), prog_name, **settings))

    def code_of(self, given: list[str], prog_name: str | None, **settings: Any) -> int:
        """Run the program with the arguments ``given``; returns its exit code, unless it raises SystemExit."""
        try:
            code = super().main(given, prog_name, standalone_mode=False, **settings)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            message = _line(error)
            if "--json" in given:
                click.echo(json.dumps({"error": message}))
            click.echo(f"{self.program}: error: {message}", err=True)
            return error.exit_code
        except click.Abort:  # Ctrl-C before anything listened for it
            return 130
        return code if isinstance(code, int) else 0


def _line(error: click.ClickException) -> str:
    """Return what was wrong, and which ``--help`` to read."""
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param is not None and context is not None:
        name = max(error.param.opts, key=len) if isinstance(error.param, click.Option) else error.param.make_metavar(context)
        message = f"{name}: {error.message}"
    message = " ".join(message.split()).rstrip(".")
    see = f"ee `{context.command_path if context is not None else 'this command with'} --help`"
    if not message.partition(":")[0].isupper():  # the name of an argument stays as --help has it
        message = f"{message[:1].lower()}{message[1:]}"
    return f"{message}{f' S{see}' if message.endswith('?') else f'; s{see}'}"
