"""Options from a file: ``--config file.toml`` holds any option of a command, by its long name without the dashes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from streammat.cli.command import INPUT, option
from streammat.errors import first_line, shortened

CONFIG = "streammat.config"
"""Key in a command's context for the path given with ``--config``."""
F = TypeVar("F", bound=Callable[..., Any])


def config_file(command: F) -> F:
    """Add --config; options on the command line take precedence."""
    add = option(
        "--config", group=INPUT, metavar="FILE", callback=_load, is_eager=True, expose_value=False,
        help="Read options from a TOML file; streammat config prints one.",
    )
    return add(command)


def _load(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make the file's values the defaults of ``context``."""
    del parameter
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise click.BadParameter(f"{path}: cannot be read ({first_line(error)})") from error
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, text that is not UTF-8, numbers of thousands of digits, lists in lists
        raise click.BadParameter(f"{path}: is no TOML ({first_line(error)})") from error
    known = {name: each for each in options_of(context.command) if (name := name_of(each)) != "config"}
    values: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            raise click.BadParameter(f"{path}: unknown option {shortened(repr(name))}; expected one of {', '.join(sorted(known))}")
        chosen = known[name]
        given = value if isinstance(value, list) and chosen.multiple else [value]
        if chosen.is_flag and not isinstance(value, bool):
            raise click.BadParameter(f"{path}: {name} is {shortened(repr(value))}; expected true or false")
        if not given or (not chosen.is_flag and not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in given)):
            expected = "one value, or a list of at least one" if chosen.multiple else "one value"
            raise click.BadParameter(f"{path}: {name} is {shortened(repr(value))}; expected {expected}, text or a number")
        assert chosen.name is not None
        values[chosen.name] = given if chosen.multiple else value
    context.meta[CONFIG] = path
    context.default_map = {**(context.default_map or {}), **values}


def options_of(command: click.Command) -> list[click.Option]:
    """Return the options of a command, without its arguments."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def name_of(chosen: click.Option) -> str:
    """Return the long name without its dashes."""
    return max(chosen.opts, key=len).lstrip("-")


def options_toml(options: list[click.Option], values: dict[str, Any]) -> str:
    """Return values as TOML that ``--config`` reads; unset options become comments."""
    lines = []
    for each in options:
        name, value = name_of(each), values.get(each.name or "")
        if name in ("config", "help"):
            continue
        lines.append(f"# {name} =" if value in (None, ()) else f"{name} = {_text(value)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    # JSON's strings and numbers are TOML's; escapes beyond the basic plane are not.
    return json.dumps(value, ensure_ascii=False, default=str)
