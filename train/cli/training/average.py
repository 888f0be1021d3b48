"""``python -m train average``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.train.cli.common import FILE


@click.command()
@click.argument("weights", type=FILE, nargs=-1, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File for the mean, .safetensors.")
def command(weights: tuple[Path, ...], out: Path) -> None:
    """Average WEIGHTS (.safetensors) of one network, such as the stages of one run (Wortsman et al. 2022)."""
    from streammat.train.lite.recipe import average

    average(weights, out)
    click.echo(f"average: wrote {out}")
