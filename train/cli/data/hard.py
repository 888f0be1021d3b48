"""``python -m train hard``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FOLDER


@click.command()
@click.option("--data", type=DATA, required=True, help="Folder of the lite recipe, with backgrounds/.")
@click.option("--cache", type=FOLDER, required=True, help="Folder of mattes.")
@click.option("--out", type=FOLDER, required=True, help="Receives DIFFICULTY/img and DIFFICULTY/alpha.")
@click.option("--count", type=Whole(1), default=40, show_default=True, help="Images of each difficulty.")
def command(data: Path, cache: Path, out: Path, count: int) -> None:
    """Make a validation set of held-out subjects, one difficulty at a time. A second call continues an interrupted one."""
    from streammat.train.lite.stress_set import write_hard

    write_hard(data, cache, out, count, click.echo)
