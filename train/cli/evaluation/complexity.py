"""``python -m train complexity``."""

from __future__ import annotations

import click

from streammat.engines.usage import Whole
from streammat.train.errors import RunError


@click.command()
@click.argument("network", default="lite")
@click.option("--rosta", default="TT", help="RoSTa of a GFM network: TT, FT, BT or RIM.")
@click.option("--height", type=Whole(32, 16384), default=288, help="Height of the input in pixels.")
@click.option("--width", type=Whole(32, 16384), default=512, help="Width of the input in pixels.")
@click.option("--table", is_flag=True, help="Also the networks of the paper's Table 7 at 800x800.")
@click.option("--seconds", is_flag=True, help="Also measure seconds per image, absolute and relative to GFM-TT(r).")
@click.option("--device", default="cpu", help="Device for the seconds: cpu, cuda, cuda:<index>.")
@click.option("--passes", type=Whole(1), default=5, help="Number of passes for the median.")
def command(network: str, rosta: str, height: int, width: int, *, table: bool, seconds: bool, device: str, passes: int) -> None:
    """Count parameters and multiply-accumulates of NETWORK (lite, r34, d121, r34_2b, r101; shm, lf, hatt, shmc, dim, indexnet, gca)."""
    from streammat.train.evaluation.paper.table7 import PAPER_SIDE, Table7Row, table7
    from streammat.train.measures.complexity import REFERENCE, hardware, make_model, measure_seconds, network_complexity
    from streammat.train.processes.distributed import find_device

    place = find_device(device)

    def timed(name: str, height: int, width: int) -> float:
        return measure_seconds(make_model(name, rosta).to(place), height, width, passes)

    if not table:
        try:
            cost = network_complexity(network, rosta, height, width)
            click.echo(f"{network}: {cost.parameters / 1e6:.2f} M parameters, {cost.macs / 1e9:.2f} GMac at {height}x{width}")
            if seconds:
                took, reference = (timed(name, height, width) for name in (network, REFERENCE))
                click.echo(f"{network}: {took:.4f} s per image, {took / reference:.2f} times GFM-TT(r); median of {passes}, {hardware(device)}")
        except ValueError as error:
            raise RunError(str(error)) from error
        return
    rows = table7()
    headings = ["network", "parameters, M", "with what is stored but unused", "paper", f"GMac at {PAPER_SIDE}x{PAPER_SIDE}", "paper"]
    measured = {row.network: timed(row.network, PAPER_SIDE, PAPER_SIDE) for row in rows} if seconds else {}
    paper = {row.network: row.paper_seconds for row in rows}

    def line(row: Table7Row) -> list[str]:
        used, stored = row.ours.parameters / 1e6, (row.ours.parameters + row.unused) / 1e6
        cells = [row.network, f"{used:.2f}", f"{stored:.2f}", f"{row.paper_parameters}", f"{row.ours.macs / 1e9:.2f}", f"{row.paper_macs}"]
        if measured:
            cells += [f"{measured[row.network]:.4f}", f"{measured[row.network] / measured[REFERENCE]:.2f}", f"{paper[row.network] / paper[REFERENCE]:.2f}"]
        return cells

    headings += ["seconds per image", "times GFM-TT(r)", "paper, on a V100"] if seconds else []
    for cells in (headings, ["---"] * len(headings), *map(line, rows)):
        click.echo(f"|{'---|' * len(cells)}" if cells[0] == "---" else f"| {' | '.join(cells)} |")
    click.echo()
    if seconds:
        click.echo(f"Seconds: median of {passes} passes, {hardware(device)}.\n")
    for row in rows:
        click.echo(f"{row.network}: {row.why}.")
