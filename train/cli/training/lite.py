"""``python -m train lite``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FOLDER, IMAGENET, open_weights, print_parity, print_scores, run_training
from streammat.train.recipes.presets import find_preset

POSITIVE = Whole(1)
Mean = Mapping[str, int]
"""Weights of stages in a mean."""


@dataclass(frozen=True)
class TrainingStage:
    """A stage of the training, in a folder of its name."""

    name: str
    preset: str
    steps: int
    start: Mean = field(default_factory=dict)
    """Mean of the weights that the stage starts from; empty: ImageNet's encoder."""
    without: tuple[str, ...] = ()
    """Ingredients of the recipe that are left out."""
    help: str = ""


FOURTH: Mean = {"second": 1, "third": 1, "fourth": 2, "steady": 2}
"""The mean that is version 4."""
STAGES = (
    TrainingStage("first", "lite", 4200, help="Steps of the stage that then searches for bystanders."),
    TrainingStage("second", "lite-second", 7200, {"first": 1}),
    TrainingStage("third", "lite-third", 11700, {"second": 1}, help="Steps of the first stage on larger images."),
    TrainingStage("fourth", "lite-fourth", 8300, {"second": 1, "third": 1}),
    TrainingStage("steady", "lite-steady", 3300, {"fourth": 1}, help="Steps of the stage on pairs of frames."),
    TrainingStage("lookout", "lite-fourth", 800, FOURTH, ("street",), "Steps of the stage that searches for bystanders again; its weights are not shipped."),
    TrainingStage("fifth", "lite-fifth", 7500, FOURTH, help="Steps of the last stage."),
)
SHIPPED: Mean = {**FOURTH, "fifth": 6}
"""The shipped weights: the mean of the last stage's start and result."""


@click.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for all results; a second call continues.")
@click.option("--version", default="1", help="Version for the card.")
def command(data: Path, out: Path, version: str, **steps: int) -> None:
    """Run the whole recipe of the shipped network: mattes, training in stages, export, int8, scores, card."""
    import torch

    from streammat.engines.network.checkpoint import load_network
    from streammat.train.labels.bystanders import MOST, find_bystanders
    from streammat.train.labels.mask_to_alpha import prepare_mattes
    from streammat.train.lite.recipe import average, export_lite, score, write_card
    from streammat.train.loop.loop import CHECKPOINT
    from streammat.train.recipes.tracks import DataFolders

    cache = out / "mattes"
    prepare_mattes(data, cache, os.cpu_count() or 1, click.echo)
    folders = DataFolders(data, cache=cache)

    def weights(stage: str) -> Path:
        return out / stage / "lite.safetensors"

    def mean(stages: Mean, into: Path) -> Path:
        if len(stages) == 1:
            return weights(*stages)
        average([weights(stage) for stage, times in stages.items() for _ in range(times)], into)
        return into

    def search(stage: str, sets: Iterable[str], *, filled: bool) -> None:
        """Search for bystanders, unless that was done before."""
        done = out / stage / "searched"
        if done.exists():
            return
        opener = open_weights(weights(stage))
        for folder in sets:
            if (cache / folder).is_dir():
                find_bystanders(opener, cache, folder, click.echo, filled=filled)
        done.touch()

    for stage in STAGES:
        if not weights(stage.name).exists():
            start = mean(stage.start, out / stage.name / "start.safetensors") if stage.start else None
            imagenet = None if start else data / IMAGENET
            chosen = steps[f"{stage.name}_steps"]
            run_training(
                find_preset(stage.preset), folders, out / stage.name, imagenet, start, steps=chosen, without=stage.without
            )
        if stage.name == "first":
            search(stage.name, ["people_fullbody"], filled=False)
        elif stage.name == "lookout":
            search(stage.name, MOST, filled=True)
    models = out / "models"
    files = export_lite(load_network(mean(SHIPPED, out / "lite.safetensors")), models, data, cache)
    print_parity(models, files, data, cache)
    scores = score(files, data)
    print_scores(scores)
    # As they were done: an earlier call may have been given other numbers.
    states = (torch.load(out / stage / CHECKPOINT, map_location="cpu", weights_only=True) for stage in ("first", *SHIPPED))
    write_card(files, models, version, sum(int(state["step"]) for state in states), scores)


for _stage in STAGES:
    click.option(f"--{_stage.name}-steps", type=POSITIVE, default=_stage.steps, show_default=True, help=_stage.help)(command)
