"""``python -m train mattes``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from train.cli.common import DATA, FOLDER


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Receives pictures, alphas and foreground colours.")
@click.option("--workers", default=os.cpu_count() or 1)
def command(data: Path, cache: Path, workers: int) -> None:
    """Derive mattes from the masks of the training sets; continues where it stopped."""
    from train.mattes import prepare_mattes

    prepare_mattes(data, cache, workers, click.echo)
