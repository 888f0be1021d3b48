"""``python -m train export``."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.common import DATA, FILE, FOLDER, check_parity


@click.command()
@click.argument("weights", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Receives the files.")
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Mattes, for calibration.")
def command(weights: Path, out: Path, data: Path, cache: Path) -> None:
    """Write the fp32 and int8 ONNX files of WEIGHTS and check that every backend agrees with torch."""
    from engines.checkpoint import load_network
    from train.recipe import export_model

    files = export_model(load_network(weights), out, data, cache)
    check_parity(out, files, data, cache)
