"""``python -m train lite``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from train.cli.common import DATA, FOLDER, IMAGENET, check_parity, open_weights, print_scores, run_training
from train.presets import find_preset

POSITIVE = click.IntRange(min=1)
FIRST_STEPS, SECOND_STEPS, THIRD_STEPS = 4200, 7200, 11700


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Everything goes here; a second call continues.")
@click.option("--first-steps", type=POSITIVE, default=FIRST_STEPS, show_default=True, help="Of the stage that then looks for bystanders.")
@click.option("--second-steps", type=POSITIVE, default=SECOND_STEPS, show_default=True)
@click.option("--third-steps", type=POSITIVE, default=THIRD_STEPS, show_default=True, help="Of the stage on larger pictures.")
@click.option("--version", default="1", help="Recorded in the card.")
def command(data: Path, out: Path, first_steps: int, second_steps: int, third_steps: int, version: str) -> None:
    """The whole recipe of the shipped network: mattes, training in three stages, their average, export, int8, scores, card."""
    import torch

    from engines.checkpoint import load_network
    from train.bystanders import FILE, LOOKED_THROUGH, find_bystanders
    from train.loop import CHECKPOINT
    from train.mattes import prepare_mattes
    from train.recipe import average, export_model, score, write_card
    from train.tracks import Folders

    cache = out / "mattes"
    prepare_mattes(data, cache, os.cpu_count() or 1, click.echo)
    folders = Folders(data, cache=cache)
    first, second, third = (out / stage / "lite.safetensors" for stage in ("first", "second", "third"))
    if not first.exists():
        run_training(find_preset("lite"), folders, first.parent, data / IMAGENET, steps=first_steps)
    opener = open_weights(first)
    for folder in LOOKED_THROUGH:
        if (cache / folder).is_dir() and not (cache / folder / FILE).exists():
            find_bystanders(opener, cache, folder, click.echo)
    if not second.exists():
        run_training(find_preset("lite-second"), folders, second.parent, None, first, steps=second_steps)
    if not third.exists():
        run_training(find_preset("lite-third"), folders, third.parent, None, second, steps=third_steps)
    weights = out / "lite.safetensors"
    average((second, third), weights)
    models = out / "models"
    files = export_model(load_network(weights), models, data, cache)
    check_parity(models, files, data, cache)
    scores = score(files, data)
    print_scores(scores)
    # As they were done: an earlier call may have been given other numbers.
    states = (torch.load(stage.with_name(CHECKPOINT), map_location="cpu", weights_only=True) for stage in (first, second, third))
    write_card(files, models, version, sum(int(state["step"]) for state in states), scores)
