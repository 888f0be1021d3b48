"""``python -m train complexity``."""

from __future__ import annotations

import click


@click.command()
@click.argument("network", default="lite")
@click.option("--height", default=288)
@click.option("--width", default=512)
def command(network: str, height: int, width: int) -> None:
    """Count parameters and multiply-accumulates of NETWORK."""
    from engines.gfm import GFM
    from train.complexity import measure_complexity

    cost = measure_complexity(GFM(network), height, width)
    click.echo(f"{network}: {cost.parameters / 1e6:.2f} M parameters, {cost.macs / 1e9:.2f} GMac at {height}x{width}")
