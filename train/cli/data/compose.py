"""``python -m train compose``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import FOLDER


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Data set with foreground colours; see `layers`.")
@click.option("--split", type=click.Choice(["train", "validation"]), default="train")
@click.option("--layout", default="auto", help="Layout of the data set, if it is not recognised.")
@click.option("--backgrounds", type=FOLDER, required=True, help="BG-20k, COCO, or any folder of images.")
@click.option("--out", type=FOLDER, required=True, help="Receives the composites, manifest.csv and sheet.png.")
@click.option("--no-denoise", is_flag=True, help="Leave denoising out.")
@click.option("--no-blur", is_flag=True, help="Leave the blur of the background out.")
@click.option("--no-noise", is_flag=True, help="Leave the noise out.")
@click.option("--denoise-on-the-fly", is_flag=True, help="Denoise images without a denoised file: minutes each at full size.")
@click.option("--per-foreground", type=Whole(1), default=5, help="Backgrounds for each foreground.")
@click.option("--seed", type=Whole(0), default=0)
@click.option("--limit", type=Whole(1), default=None, help="Number of foregrounds to use.")
@click.option("--workers", type=Whole(1, 1024), default=os.cpu_count() or 1, help="Number of processes.")
def command(
    data: Path,
    split: str,
    layout: str,
    backgrounds: Path,
    out: Path,
    no_denoise: bool,
    no_blur: bool,
    no_noise: bool,
    denoise_on_the_fly: bool,
    per_foreground: int,
    seed: int,
    limit: int | None,
    workers: int,
) -> None:
    """Write composites by the RSSN route: K for each foreground; continues where it stopped."""
    from streammat.train.data.layouts import open_backgrounds, open_layout
    from streammat.train.data.pool import check_outcomes
    from streammat.train.rssn.compose_sample import ComposedImages, Rssn
    from streammat.train.rssn.write import write_composites

    rssn = Rssn(
        denoise=0.0 if no_denoise else Rssn.denoise,
        blur=0.0 if no_blur else Rssn.blur,
        noise=0.0 if no_noise else Rssn.noise,
    )
    entries, behind = open_layout(data, split, layout)[:limit], open_backgrounds(backgrounds, split)
    pictures = ComposedImages(entries, behind, rssn, per_foreground, seed, denoise_now=denoise_on_the_fly)
    check_outcomes(write_composites(pictures, out, workers, click.echo), "compose")
