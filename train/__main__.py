"""``python -m train``: every step from masks to shipped files, and one command for all of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from engines.models import ModelFiles
from train.config import DataConfig, TrainConfig

DATA = click.Path(exists=True, file_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
IMAGENET = "weights/mobilenetv2_bn_imagenet_features.npz"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Train the matting network. DATA is a folder laid out as docs/models.md says."""


@main.command()
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Receives pictures, alphas and foreground colours.")
@click.option("--workers", default=os.cpu_count() or 1)
def mattes(data: Path, cache: Path, workers: int) -> None:
    """Derive mattes from the masks of the training sets; continues where it stopped."""
    from train.mattes import prepare_mattes

    prepare_mattes(data, cache, workers, click.echo)


@main.command("train")
@click.option("--network", default=TrainConfig.network)
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Mattes.")
@click.option("--out", type=FOLDER, required=True, help="Receives checkpoint.pt and curve.csv.")
@click.option("--steps", default=TrainConfig.steps)
@click.option("--minutes", type=float, default=None, help="End the schedule after this long, if steps do not end it first.")
@click.option("--workers", default=TrainConfig.workers)
@click.option("--threads", default=TrainConfig.threads)
@click.option("--seed", default=TrainConfig.seed)
def train_command(network: str, data: Path, cache: Path, out: Path, **options: Any) -> None:
    """Train, or continue a run; writes the averaged weights at the end."""
    _train(replace(TrainConfig(network=network), **options), data, cache, out)


@main.command()
@click.argument("model", type=FOLDER)
@click.option("--data", type=DATA, required=True)
@click.option("--name", default="lite")
@click.option("--backend", default="onnxruntime")
def evaluate(model: Path, data: Path, name: str, backend: str) -> None:
    """Score the exported pair in folder MODEL on the validation sets."""
    from train.recipe import model_files, score

    _print_scores(score(model_files(model, name), data, backend))


@main.command()
@click.argument("weights", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Receives the files.")
@click.option("--data", type=DATA, required=True)
@click.option("--cache", type=FOLDER, required=True, help="Mattes, for calibration.")
def export(weights: Path, out: Path, data: Path, cache: Path) -> None:
    """Write the fp32 and int8 ONNX files of WEIGHTS and check that every backend agrees with torch."""
    from engines.checkpoint import load_network
    from train.recipe import export_model

    files = export_model(load_network(weights), out, data, cache)
    _check_parity(out, files, data, cache)


@main.command()
@click.argument("network", default="lite")
@click.option("--height", default=288)
@click.option("--width", default=512)
def complexity(network: str, height: int, width: int) -> None:
    """Count parameters and multiply-accumulates of NETWORK."""
    from engines.gfm import GFM
    from train.complexity import measure_complexity

    cost = measure_complexity(GFM(network), height, width)
    click.echo(f"{network}: {cost.parameters / 1e6:.2f} M parameters, {cost.macs / 1e9:.2f} GMac at {height}x{width}")


@main.command()
@click.option("--data", type=DATA, required=True)
@click.option("--out", type=FOLDER, required=True, help="Everything goes here; a second call continues.")
@click.option("--steps", default=TrainConfig.steps)
@click.option("--minutes", type=float, default=None, help="As in train.")
@click.option("--version", default="1", help="Recorded in the card.")
def lite(data: Path, out: Path, steps: int, minutes: float | None, version: str) -> None:
    """The whole recipe of the shipped network: mattes, training, export, int8, scores, card."""
    import torch

    from train.mattes import prepare_mattes
    from train.recipe import export_model, score, write_card

    cache = out / "mattes"
    prepare_mattes(data, cache, os.cpu_count() or 1, click.echo)
    _train(replace(TrainConfig(), steps=steps, minutes=minutes), data, cache, out)
    from engines.checkpoint import load_network

    models = out / "models"
    files = export_model(load_network(out / "lite.safetensors"), models, data, cache)
    _check_parity(models, files, data, cache)
    scores = score(files, data)
    _print_scores(scores)
    done = int(torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)["step"])
    write_card(files, models, version, done, scores)


def _train(config: TrainConfig, data: Path, cache: Path, out: Path) -> None:
    from engines.checkpoint import save_network
    from train.loop import train

    network = train(config, DataConfig(), data, cache, out, data / IMAGENET, click.echo)
    save_network(network, out / f"{config.network}.safetensors")


def _check_parity(folder: Path, files: ModelFiles, data: Path, cache: Path) -> None:
    from engines.checkpoint import load_network
    from train.recipe import calibration_pictures, parity

    pictures = [picture for picture, _ in zip(calibration_pictures(data, cache), range(4), strict=False)]
    for backend, difference in parity(load_network(folder / f"{files.name}.safetensors"), files, pictures).items():
        click.echo(f"largest difference of alpha, torch to {backend} fp32: {difference:.1e}")
        if difference > 1e-3:
            raise click.ClickException(f"{backend} disagrees with torch by {difference:.1e}; at most 1e-3 is allowed")


def _print_scores(scores: dict[str, dict[str, Any]]) -> None:
    for precision, by_set in scores.items():
        for name, result in by_set.items():
            click.echo(
                f"{precision} {name:20s} {result.pictures:4d} pictures  iou {result.iou:.4f}  mad {result.mad:.4f}  "
                f"mse {result.mse:.4f}  sad {result.sad:.2f}"
            )


if __name__ == "__main__":
    main()
