"""``python -m train evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.common import DATA, FOLDER, print_scores


@click.command()
@click.argument("model", type=FOLDER)
@click.option("--data", type=DATA, required=True)
@click.option("--name", default="lite")
@click.option("--backend", default="onnxruntime")
def command(model: Path, data: Path, name: str, backend: str) -> None:
    """Score the exported pair in folder MODEL on the validation sets."""
    from train.recipe import model_files, score

    print_scores(score(model_files(model, name), data, backend))
