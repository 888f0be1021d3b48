"""``python -m train bystanders``."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.common import DATA, FILE, open_weights


@click.command()
@click.argument("weights", type=FILE)
@click.option("--cache", type=DATA, required=True, help="Mattes of the lite recipe.")
def command(weights: Path, cache: Path) -> None:
    """Find people that the masks leave out, with WEIGHTS (.safetensors, .pth or exported .onnx); training then uses such
    pictures as cut-outs alone.
    """
    from train.bystanders import LOOKED_THROUGH, find_bystanders

    opener = open_weights(weights)
    for folder in LOOKED_THROUGH:
        pictures, found = find_bystanders(opener, cache, folder, click.echo)
        click.echo(f"bystanders: {folder}: in {found} of {pictures} pictures")
