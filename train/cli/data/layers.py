"""``python -m train layers``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from streammat.engines.usage import Number, Whole
from streammat.train.cli.common import FOLDER


@click.command()
@click.option("--data", type=FOLDER, default=None, help="Data set with mattes: AM-2k, P3M-10k, or img/ beside alpha/.")
@click.option("--split", type=click.Choice(["train", "validation"]), default="train")
@click.option("--layout", default="auto", help="Layout of the data set, if it is not recognised.")
@click.option("--denoise", is_flag=True, help="Also denoise, by BM3D: minutes for each image of full size.")
@click.option("--sigma", type=Number(0, min_open=True), default=10.0, help="Noise to remove, in grey levels.")
@click.option("--backgrounds", type=FOLDER, default=None, help="With --denoise: backgrounds to denoise, such as BG-20k.")
@click.option("--out", type=FOLDER, default=None, help="Write a data set of its own here, not beside the images.")
@click.option("--long-side", type=Whole(32), default=None, help="Reduce images to this; needs --out for --data.")
@click.option("--workers", type=Whole(1, 1024), default=os.cpu_count() or 1, help="Processes; about 2 GB each at 1080p.")
def command(data: Path | None, split: str, layout: str, backgrounds: Path | None, workers: int, **options: Any) -> None:
    """Make foreground and background colours by the closed-form method, and denoised images, for RSSN. A second call continues an
    interrupted one. Layers are written to fg/, bg/, original_denoise/ and fg_denoise/ beside the images, denoised backgrounds to
    a folder beside theirs whose name ends in _denoise.
    """
    if data is None and backgrounds is None:
        raise click.UsageError("there is nothing to do; give --data, or --backgrounds with --denoise, or both")
    if backgrounds is not None and not options["denoise"]:
        raise click.UsageError("--backgrounds: backgrounds can only be denoised; add --denoise")
    if data is not None and options["long_side"] and not options["out"]:
        raise click.UsageError("--long-side makes layers that do not fit the images; add --out for a separate data set")

    from streammat.train.data.pool import check_outcomes
    from streammat.train.rssn.layers import LayerOptions, denoise_backgrounds, make_layers

    wanted = LayerOptions(**options)
    made = [] if data is None else make_layers(data, split, layout, wanted, workers, click.echo)
    denoised = [] if backgrounds is None else denoise_backgrounds(backgrounds, split, wanted, workers, click.echo)
    check_outcomes(made, "layers")
    check_outcomes(denoised, "backgrounds")
