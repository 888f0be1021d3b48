"""``python -m train ablate``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE, FOLDER, Progress


@click.command()
@click.option("--data", type=DATA, required=True, help="Folder of the lite recipe.")
@click.option("--cache", type=DATA, required=True, help="Folder of mattes.")
@click.option("--hard", type=DATA, default=None, help="Folder written by `python -m train hard`.")
@click.option("--start", type=FILE, required=True, help="Weights that every run starts from.")
@click.option("--out", type=FOLDER, required=True, help="Receives a file of scores for each variant, and table.md.")
@click.option("--only", multiple=True, metavar="VARIANT", help="Run only these variants: names in train/lite/ingredients.py, or everything.")
@click.option("--steps", type=Whole(1), default=250, help="Optimiser steps of each run.")
@click.option("--pictures", type=Whole(1), default=60, help="Most images of each validation set.")
@click.option("--threads", type=Whole(1, 1024), default=2, help="Threads of torch; 1 to run this command twice at once.")
@click.option("--seed", type=Whole(0), default=11)
def command(
    data: Path,
    cache: Path,
    hard: Path | None,
    start: Path,
    out: Path,
    only: tuple[str, ...],
    steps: int,
    pictures: int,
    threads: int,
    seed: int,
) -> None:
    """Continue training from the same weights with and without each ingredient of the lite recipe, and tabulate the difference.

    Finished variants are not repeated.
    """
    import torch

    from streammat.train.data.pool import write_whole
    from streammat.train.evaluation.ablation import AblationConfig, read_scores, run_variant, table, variants
    from streammat.train.recipes.tracks import DataFolders

    torch.set_num_threads(threads)
    config = AblationConfig(steps, threads, seed, pictures)
    for name in only or variants():
        progress = Progress()
        progress.line(f"ablate: {name}")
        try:
            run_variant(name, DataFolders(data, cache=cache), hard, start, out, config, progress)
        finally:
            progress.close()
    done = {name: read_scores(out / f"{name}.json") for name in variants() if (out / f"{name}.json").exists()}
    text = table(done, sorted({title for scores in done.values() for title in scores}))
    write_whole(out / "table.md", f"{text}\n".encode())
    click.echo(text)
