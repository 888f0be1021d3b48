"""``python -m train train``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from train.cli.common import DATA, FOLDER, run_training
from train.config import TrainConfig


@click.command()
@click.option("--network", default=TrainConfig.network)
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Mattes.")
@click.option("--out", type=FOLDER, required=True, help="Receives checkpoint.pt and curve.csv.")
@click.option("--steps", default=TrainConfig.steps)
@click.option("--minutes", type=float, default=None, help="End the schedule after this long, if steps do not end it first.")
@click.option("--workers", default=TrainConfig.workers)
@click.option("--threads", default=TrainConfig.threads)
@click.option("--seed", default=TrainConfig.seed)
def command(network: str, data: Path, cache: Path, out: Path, **options: Any) -> None:
    """Train, or continue a run; writes the averaged weights at the end."""
    run_training(replace(TrainConfig(network=network), **options), data, cache, out)
