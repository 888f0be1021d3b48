"""``python -m train compare``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Number, Whole
from streammat.train.cli.common import DATA, FILE, FOLDER, Progress
from streammat.train.config import PRECISIONS
from streammat.train.errors import RunError


@click.command()
@click.argument("what", type=click.Choice(["methods", "composition"]))
@click.option("--data", type=DATA, required=True, help="Data set with train and validation, as of `python -m train train`.")
@click.option("--backgrounds", type=DATA, default=None, help="For composition; denoised ones beside them.")
@click.option("--out", type=FOLDER, required=True, help="Receives a file of scores for each run, and table.md.")
@click.option("--network", default="r34", help="Network of GFM.")
@click.option("--imagenet", type=FILE, default=None, help="Weights of GFM's encoder.  [default: random ones, as the methods have]")
@click.option("--seed", "seeds", type=Whole(0), multiple=True, default=(1, 2, 3), help="May be repeated; all rows with the first one come first.")
@click.option("--only", multiple=True, metavar="ROW", help="Do these alone: gfm-tt, shm, rssn-blur …")
@click.option("--steps", type=Whole(1), default=150, help="Optimiser steps of each run.")
@click.option("--batch", type=Whole(2), default=4, help="Samples of a step.")
@click.option("--crop", type=Whole(32), default=64, help="Side of the samples, a multiple of 32.")
@click.option("--rate", type=Number(0, min_open=True), default=None, help="Peak learning rate.  [default: the modern recipe's]")
@click.option("--precision", type=click.Choice([each for each in PRECISIONS if each != "fp16"]), default="bf16", help="Precision of training.")
@click.option("--images", type=Whole(1), default=40, help="Held-out images at most, spread over the set.")
@click.option("--strategy", default="single", help="Test strategy of every row: single, or a ratio (1/5).")
@click.option("--threads", type=Whole(1, 1024), default=1, help="Threads of torch.")
def command(
    what: str,
    data: Path,
    backgrounds: Path | None,
    out: Path,
    network: str,
    imagenet: Path | None,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    steps: int,
    batch: int,
    crop: int,
    rate: float | None,
    precision: str,
    images: int,
    strategy: str,
    threads: int,
) -> None:
    """Train and score everything that a table compares, for the same few steps, and tabulate it with the spread over seeds.

    "methods": the trimap-free methods of Table 1, on images as they are. "composition": GFM-TT on composites with none, one and
    all of
    RSSN's steps (Table 4). Finished runs are not repeated, and an interrupted one is continued.
    """
    import torch

    from streammat.train.evaluation.paper.comparison import (
        ComparisonConfig,
        Contender,
        Result,
        compositions,
        methods,
        run_all,
        run_contender,
    )
    from streammat.train.recipes.tracks import DataFolders

    contenders = methods(network) if what == "methods" else compositions(network)
    if strange := [name for name in only if name not in {contender.name for contender in contenders}]:
        raise RunError(f"no row {strange[0]!r}; expected one of {', '.join(contender.name for contender in contenders)}")
    chosen = [contender for contender in contenders if not only or contender.name in only]
    config = ComparisonConfig(steps, batch, crop, images, strategy, rate, precision)
    torch.set_num_threads(threads)

    def run(contender: Contender, seed: int) -> Result:
        progress = Progress()
        progress.line(f"compare: {contender.title}, seed {seed}")
        weights = imagenet if contender.rosta is not None else None
        with progress.run("compare"):
            return run_contender(contender, seed, DataFolders(data, backgrounds), out, config, progress, weights, threads)

    click.echo(run_all(chosen, seeds, out, run))
