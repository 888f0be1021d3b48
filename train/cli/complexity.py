"""``python -m train complexity``."""

from __future__ import annotations

import click

from engines.usage import Whole
from train.errors import RunError


@click.command()
@click.argument("network", default="lite")
@click.option("--rosta", default="TT", help="TT, FT, BT or RIM.")
@click.option("--height", type=Whole(32, 16384), default=288, help="Of the input, in pixels.")
@click.option("--width", type=Whole(32, 16384), default=512, help="Of the input, in pixels.")
@click.option("--table", is_flag=True, help="The paper's networks at 800x800 beside its Table 7.")
def command(network: str, rosta: str, height: int, width: int, table: bool) -> None:
    """Count parameters and multiply-accumulates of NETWORK (lite, r34, d121, r34_2b, r101)."""
    from train.complexity import network_complexity, table7

    if not table:
        try:
            cost = network_complexity(network, rosta, height, width)
        except ValueError as error:
            raise RunError(str(error)) from error
        click.echo(f"{network}: {cost.parameters / 1e6:.2f} M parameters, {cost.macs / 1e9:.2f} GMac at {height}x{width}")
        return
    click.echo("| network | parameters, M | with what is stored but unused | paper | GMac at 800x800 | paper |")
    click.echo("|---|---|---|---|---|---|")
    rows = table7()
    for row in rows:
        used, stored = row.ours.parameters / 1e6, (row.ours.parameters + row.unused) / 1e6
        macs = row.ours.macs / 1e9
        click.echo(f"| {row.network} | {used:.2f} | {stored:.2f} | {row.paper_parameters} | {macs:.2f} | {row.paper_macs} |")
    click.echo()
    for row in rows:
        click.echo(f"{row.network}: {row.why}.")
