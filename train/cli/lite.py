"""``python -m train lite``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from train.cli.common import DATA, FOLDER, IMAGENET, check_parity, print_scores, run_training
from train.config import TrainConfig
from train.presets import find_preset


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Everything goes here; a second call continues.")
@click.option("--steps", type=click.IntRange(min=1), default=TrainConfig.steps)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=None, help="As in train.")
@click.option("--version", default="1", help="Recorded in the card.")
def command(data: Path, out: Path, steps: int, minutes: float | None, version: str) -> None:
    """The whole recipe of the shipped network: mattes, training, export, int8, scores, card."""
    import torch

    from engines.checkpoint import load_network
    from train.mattes import prepare_mattes
    from train.recipe import export_model, score, write_card
    from train.tracks import Folders

    cache = out / "mattes"
    prepare_mattes(data, cache, os.cpu_count() or 1, click.echo)
    weights = run_training(find_preset("lite"), Folders(data, cache=cache), out, data / IMAGENET, steps=steps, minutes=minutes)
    assert weights is not None  # one process
    models = out / "models"
    files = export_model(load_network(weights), models, data, cache)
    check_parity(models, files, data, cache)
    scores = score(files, data)
    print_scores(scores)
    done = int(torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)["step"])
    write_card(files, models, version, done, scores)
