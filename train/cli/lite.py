"""``python -m train lite``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from train.cli.common import DATA, FOLDER, IMAGENET, check_parity, open_weights, print_scores, run_training
from train.presets import find_preset

POSITIVE = click.IntRange(min=1)


@dataclass(frozen=True)
class Stage:
    """A part of the training, in a folder of its name."""

    name: str
    preset: str
    steps: int
    start: tuple[str, ...] = ()
    """Stages whose weights, or the mean of them, it starts from; none: ImageNet's encoder."""
    help: str = ""


STAGES = (
    Stage("first", "lite", 4200, help="Of the stage that then looks for bystanders."),
    Stage("second", "lite-second", 7200, ("first",)),
    Stage("third", "lite-third", 11700, ("second",), "Of the first stage on larger pictures."),
    Stage("fourth", "lite-fourth", 8300, ("second", "third")),
    Stage("steady", "lite-steady", 3300, ("fourth",), "Of the stage on pairs of frames."),
)
SHIPPED = ("second", "third", "fourth", "fourth", "steady", "steady")
"""What is shipped is the mean of these: of the fourth's start, the fourth and the last."""


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Everything goes here; a second call continues.")
@click.option("--version", default="1", help="Recorded in the card.")
def command(data: Path, out: Path, version: str, **steps: int) -> None:
    """The whole recipe of the shipped network: mattes, training in stages, export, int8, scores, card."""
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

    def weights(stage: str) -> Path:
        return out / stage / "lite.safetensors"

    def mean(stages: tuple[str, ...], into: Path) -> Path:
        if len(stages) == 1:
            return weights(stages[0])
        average([weights(stage) for stage in stages], into)
        return into

    for stage in STAGES:
        if not weights(stage.name).exists():
            start = mean(stage.start, out / stage.name / "start.safetensors") if stage.start else None
            imagenet = None if start else data / IMAGENET
            run_training(find_preset(stage.preset), folders, out / stage.name, imagenet, start, steps=steps[f"{stage.name}_steps"])
        if stage is STAGES[0]:
            opener = open_weights(weights(stage.name))
            for folder in LOOKED_THROUGH:
                if (cache / folder).is_dir() and not (cache / folder / FILE).exists():
                    find_bystanders(opener, cache, folder, click.echo)
    models = out / "models"
    files = export_model(load_network(mean(SHIPPED, out / "lite.safetensors")), models, data, cache)
    check_parity(models, files, data, cache)
    scores = score(files, data)
    print_scores(scores)
    # As they were done: an earlier call may have been given other numbers.
    states = (torch.load(out / stage.name / CHECKPOINT, map_location="cpu", weights_only=True) for stage in STAGES)
    write_card(files, models, version, sum(int(state["step"]) for state in states), scores)


for _stage in STAGES:
    click.option(f"--{_stage.name}-steps", type=POSITIVE, default=_stage.steps, show_default=True, help=_stage.help)(command)
