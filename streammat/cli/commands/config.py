"""``streammat config``: the options that ``streammat webcam`` would run with, as a file for ``--config``."""

from __future__ import annotations

import click

from streammat.cli.command import GroupedCommand
from streammat.cli.commands.webcam import webcam
from streammat.cli.options import options_of, options_toml


@click.command(cls=GroupedCommand, params=list(webcam.params))
@click.pass_context
def config(context: click.Context, /, **values: object) -> None:
    """Print the options that `streammat webcam` would run with as TOML. Takes the same options.

    \b
    streammat config --bg beach.jpg --fps 25 > me.toml
    streammat webcam --config me.toml
    """  # noqa: D301 - click wants the character, not two
    click.echo(options_toml(options_of(context.command), values))
