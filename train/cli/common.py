"""What commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engines.models import ModelFiles
from train.config import DataConfig, TrainConfig

DATA = click.Path(exists=True, file_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
IMAGENET = "weights/mobilenetv2_bn_imagenet_features.npz"


def run_training(config: TrainConfig, data: Path, cache: Path, out: Path) -> None:
    """Train and write the averaged weights."""
    from engines.checkpoint import save_network
    from train.loop import train

    network = train(config, DataConfig(), data, cache, out, data / IMAGENET, click.echo)
    save_network(network, out / f"{config.network}.safetensors")


def check_parity(folder: Path, files: ModelFiles, data: Path, cache: Path) -> None:
    """Print how far every backend is from torch; too far is an error."""
    from engines.checkpoint import load_network
    from train.recipe import calibration_pictures, parity

    pictures = [picture for picture, _ in zip(calibration_pictures(data, cache), range(4), strict=False)]
    for backend, difference in parity(load_network(folder / f"{files.name}.safetensors"), files, pictures).items():
        click.echo(f"largest difference of alpha, torch to {backend} fp32: {difference:.1e}")
        if difference > 1e-3:
            raise click.ClickException(f"{backend} disagrees with torch by {difference:.1e}; at most 1e-3 is allowed")


def print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """One line per precision and set."""
    for precision, by_set in scores.items():
        for name, result in by_set.items():
            click.echo(
                f"{precision} {name:20s} {result.pictures:4d} pictures  iou {result.iou:.4f}  mad {result.mad:.4f}  "
                f"mse {result.mse:.4f}  sad {result.sad:.2f}"
            )
