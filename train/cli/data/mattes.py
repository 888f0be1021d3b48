"""``python -m train mattes``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from streammat.engines.usage import Number, Whole
from streammat.train.cli.common import FOLDER


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Holds img/ and mask/, or train/<set>/ with these for known sets.")
@click.option("--cache", type=FOLDER, required=True, help="Receives images, alphas, foreground colours and sheet.png.")
@click.option("--long-side", type=Whole(32), default=512, help="Reduce larger images to this, in pixels.")
@click.option("--band", type=Number(0, 0.2, min_open=True), default=0.02,
              help="For img/ and mask/: half width of the band to decide, over the square root of the subject's area.")  # fmt: skip
@click.option("--samples", type=Whole(0), default=6, help="Images of each set on the contact sheet; 0: no sheet.")
@click.option("--workers", type=Whole(1, 1024), default=os.cpu_count() or 1, help="Number of processes.")
def command(data: Path, cache: Path, long_side: int, band: float, samples: int, workers: int) -> None:
    """Derive mattes from binary masks, and write a contact sheet to judge them by eye. A second call continues an interrupted one."""
    from streammat.train.data.pool import check_outcomes
    from streammat.train.errors import DataError
    from streammat.train.labels.mask_to_alpha import PLAIN_SET, make_mattes, write_sheet

    if not data.is_dir():
        raise DataError(f"data folder {data} does not exist; give the folder that holds img/ and mask/, or train/")
    outcomes = make_mattes(data, cache, workers, click.echo, long_side, replace(PLAIN_SET, inside=band, outside=band))
    sheet = write_sheet(data, cache, samples) if samples else None
    if sheet is not None:
        click.echo(f"mattes: look at {sheet}")
    check_outcomes(outcomes, "mattes")
