"""``python -m train train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streammat.engines.network.rostas import ROSTAS
from streammat.engines.usage import Number, Whole
from streammat.train.cli.common import DATA, FILE, FOLDER, IMAGENET, run_training
from streammat.train.config import PRECISIONS
from streammat.train.errors import RunError
from streammat.train.evaluation.paper.published import find_rows
from streammat.train.recipes.presets import METHODS, MODERN, find_preset, presets

POSITIVE = Whole(1)


def _list_presets(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        names = presets()
        width = max(map(len, names))
        for name, preset in names.items():
            paper = "; ".join(f"SAD {row.metrics['SAD']:.2f} in Table {row.table}" for row in find_rows(name)[:1] if row.table)
            click.echo(f"{name:{width}}  {preset.title}{' (paper: ' * bool(paper)}{paper}{')' * bool(paper)}")
        click.echo(f"\nall but lite and folder also as NAME{MODERN}: AdamW, cosine schedule, averaged weights, bfloat16")
        context.exit()


@click.command()
@click.option("--list-presets", is_flag=True, is_eager=True, expose_value=False, callback=_list_presets, help="Print all presets.")
@click.option("--preset", default="lite", metavar="NAME")
@click.option("--data", type=DATA, required=True, help="Data set: AM-2k, P3M-10k, or a folder of images and mattes.")
@click.option("--out", type=FOLDER, required=True, help="Receives checkpoint.pt, curve.csv, samples/ and the weights.")
@click.option("--backgrounds", type=DATA, default=None, help="BG-20k or COCO, for the COMP tracks.")
@click.option("--cache", type=FOLDER, default=None, help="Mattes, for preset lite.")
@click.option("--imagenet", type=FILE, default=None, help=f"Weights of the encoder.  [preset lite: DATA/{IMAGENET}]")
@click.option("--start", type=FILE, default=None, help="Weights of the whole network to start from: another stage, fine-tuning.")
@click.option("--network", default=None, help=f"For presets lite and folder: lite, r34, d121, r34_2b, r101; for folder also {', '.join(METHODS)}.")
@click.option("--rosta", type=click.Choice(ROSTAS, case_sensitive=False), default=None, help="RoSTa, for presets lite and folder: TT, FT, BT or RIM.")
@click.option("--steps", type=POSITIVE, default=None, help="Optimiser steps, instead of the preset's epochs.")
@click.option("--epochs", type=POSITIVE, default=None, help="Epochs.")
@click.option("--batch", type=Whole(2), default=None, help="Samples of a step, over all processes.")
@click.option("--crop", type=Whole(32), default=None, help="Side of the samples, a multiple of 32.")
@click.option(
    "--minutes",
    type=Number(0, min_open=True),
    default=None,
    help="End the schedule after this long, if steps do not end it first.",
)
@click.option("--rate", "learning_rate", type=Number(0, min_open=True), default=None, help="Peak learning rate.")
@click.option("--device", default=None, help="auto, cpu, cuda, cuda:<index>.")
@click.option("--precision", type=click.Choice(PRECISIONS), default=None)
@click.option("--checkpointing/--no-checkpointing", default=None, help="Recompute activations: less memory, more time.")
@click.option("--workers", type=Whole(0, 1024), default=None, help="Loader processes.")
@click.option("--threads", type=Whole(1, 1024), default=None, help="Threads of torch.")
@click.option("--seed", type=Whole(0), default=None)
@click.option("--without", multiple=True, metavar="INGREDIENT", help="Ingredient of the lite recipe to leave out; see train/lite/ingredients.py.")
@click.option("--log-every", type=POSITIVE, default=None, help="Steps between rows of the curve.")
@click.option("--samples-every", type=Whole(0), default=None, help="Steps between sample images; 0: none.")
@click.option("--denoise-now", is_flag=True, help="Denoise images without a denoised file when needed; slow.")
def command(
    preset: str,
    data: Path,
    out: Path,
    backgrounds: Path | None,
    cache: Path | None,
    imagenet: Path | None,
    start: Path | None,
    network: str | None,
    rosta: str | None,
    denoise_now: bool,
    without: tuple[str, ...],
    **options: Any,
) -> None:
    """Train by a preset, or continue a run; writes the weights at the end. Options default to the preset's.

    Several GPUs: torchrun --nproc-per-node N -m train train …
    """
    chosen = find_preset(preset, network, rosta)
    from streammat.train.recipes.tracks import DataFolders

    own = data / IMAGENET
    if start is not None and imagenet is not None:
        raise RunError("both --start and --imagenet are given; --start has an encoder of its own")
    if chosen.continues and start is None:
        raise RunError(f"preset {preset} goes on from the weights of a stage before it; give them with --start")
    if start is None and imagenet is None and chosen.track is None and chosen.config.network == "lite" and own.is_file():
        imagenet = own
    run_training(chosen, DataFolders(data, backgrounds, cache), out, imagenet, start, denoise_now=denoise_now, without=without, **options)
