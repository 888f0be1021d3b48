"""``python -m train lite``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from train.cli.common import DATA, FOLDER, IMAGENET, check_parity, open_weights, print_scores, run_training
from train.config import TrainConfig
from train.presets import find_preset

FIRST_STEPS = 4200


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Everything goes here; a second call continues.")
@click.option("--first-steps", type=click.IntRange(min=1), default=FIRST_STEPS, help="Of the stage that then looks for bystanders.")
@click.option("--steps", type=click.IntRange(min=1), default=TrainConfig.steps, help="Of the second stage.")
@click.option("--version", default="1", help="Recorded in the card.")
def command(data: Path, out: Path, first_steps: int, steps: int, version: str) -> None:
    """The whole recipe of the shipped network: mattes, training in two stages, export, int8, scores, card."""
    import torch

    from engines.checkpoint import load_network
    from train.bystanders import FILE, LOOKED_THROUGH, find_bystanders
    from train.mattes import prepare_mattes
    from train.recipe import export_model, score, write_card
    from train.tracks import Folders

    cache = out / "mattes"
    prepare_mattes(data, cache, os.cpu_count() or 1, click.echo)
    folders = Folders(data, cache=cache)
    first = out / "first" / "lite.safetensors"
    if not first.exists():
        run_training(find_preset("lite"), folders, first.parent, data / IMAGENET, steps=first_steps)
    opener = open_weights(first)
    for folder in LOOKED_THROUGH:
        if (cache / folder).is_dir() and not (cache / folder / FILE).exists():
            find_bystanders(opener, cache, folder, click.echo)
    weights = run_training(find_preset("lite-second"), folders, out, None, first, steps=steps)
    assert weights is not None  # one process
    models = out / "models"
    files = export_model(load_network(weights), models, data, cache)
    check_parity(models, files, data, cache)
    scores = score(files, data)
    print_scores(scores)
    done = int(torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)["step"])
    write_card(files, models, version, first_steps + done, scores)
