"""``python -m train bystanders``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.train.cli.common import DATA, FILE, open_weights
from streammat.train.errors import DataError
from streammat.train.labels.bystanders import MOST, find_bystanders


@click.command()
@click.argument("weights", type=FILE)
@click.option("--cache", type=DATA, required=True, help="Folder of the lite recipe's mattes.")
@click.option("--set", "sets", type=click.Choice(list(MOST)), multiple=True, help="Search only this set; may be repeated.")
@click.option("--filled/--as-taken", default=True, show_default=True, help="Also search images with their subjects removed.")
def command(weights: Path, cache: Path, sets: tuple[str, ...], *, filled: bool) -> None:
    """Find people and animals that the masks leave out, with WEIGHTS (.safetensors, .pth or exported .onnx); training then uses
    such images only as cut-outs. A new search replaces the last one.
    """
    opener = open_weights(weights)
    folders = sets or [folder for folder in MOST if (cache / folder).is_dir()]
    if not folders:
        raise DataError(f"no mattes in {cache}; run `python -m train mattes` first")
    for folder in folders:
        pictures, found = find_bystanders(opener, cache, folder, click.echo, filled=filled)
        click.echo(f"bystanders: {folder}: in {found} of {pictures} images")
