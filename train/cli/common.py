"""Parts shared by the commands."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streammat.engines.model_files import ModelFiles
from streammat.train.config import TrainConfig
from streammat.train.errors import DataError, RunError
from streammat.train.recipes.presets import METHODS

if TYPE_CHECKING:
    from streammat.train.measures.validation import Predict
    from streammat.train.recipes.presets import Preset
    from streammat.train.recipes.tracks import DataFolders

    Opener = Callable[[tuple[int, int]], Predict]


class _Existing(click.Path):
    """A path that must exist; otherwise the error is one line, without the usage text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            name = param.opts[0] if param is not None and param.opts else "path"
            raise DataError(f"{name}: {error.message} Give one that can be read") from error


DATA = _Existing(exists=True, file_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = _Existing(exists=True, dir_okay=False, path_type=Path)
IMAGENET = "weights/mobilenetv2_bn_imagenet_features.npz"
"""Path of the encoder's weights in the data folder of the ``lite`` recipe."""
_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Progress of a run: a bar on a terminal, elsewhere a line from time to time."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._spoken = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line."""
        if self._bar is None:
            click.echo(text)
        else:
            self._bar.write(text)

    def step(self, done: int, of: int, loss: float) -> None:
        """Show a finished step."""
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=of, initial=done - 1, unit="step", dynamic_ncols=True)
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._spoken > _SECONDS_BETWEEN_LINES:
            self._spoken = time.monotonic()
            click.echo(f"step {done} of {of}, loss {loss:.3f}")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    @contextmanager
    def run(self, command: str) -> Iterator[None]:
        """Close the bar after the run inside; a run that is stopped ends the program with a line of ``command``."""
        from streammat.train.processes.interrupt import Stopped

        try:
            yield
        except Stopped as stopped:
            self.close()
            click.echo(f"{command}: {stopped}; the same command continues", err=True)
            sys.exit(128 + stopped.number)
        finally:
            self.close()


def run_training(
    preset: Preset,
    folders: DataFolders,
    out: Path,
    imagenet: Path | None,
    start: Path | None = None,
    *,
    denoise_now: bool = False,
    **options: Any,
) -> Path | None:
    """Train by a preset and write the weights.

    Args:
        preset: as from `streammat.train.recipes.presets.find_preset`.
        folders: folders of the data.
        out: folder for all results.
        imagenet: weights of the encoder; None starts from random ones.
        start: weights of the whole network, instead.
        denoise_now: as in `streammat.train.rssn.compose_sample.ComposedImages`.
        options: as for `streammat.train.recipes.presets.configure`.

    Returns:
        The weights' file; None in the processes of a distributed run other than the leading one.
    """
    from safetensors import SafetensorError

    from streammat.train.loop.loop import train
    from streammat.train.methods.weights import save_weights
    from streammat.train.recipes.presets import configure
    from streammat.train.recipes.tracks import missing_layers, open_images, open_samples

    pictures = open_images(preset, folders, denoise_now=denoise_now)
    config = configure(preset, len(pictures) if pictures is not None else None, **options)
    samples, held = open_samples(preset, config, pictures, folders)
    progress = Progress()
    if os.environ.get("RANK", "0") == "0":
        rosta = "" if config.network in METHODS else f" {config.rosta}"
        many = f"{len(pictures)} images, " if pictures is not None else ""
        origin = f"encoder from {imagenet.name}" if imagenet is not None else "encoder from random weights (--imagenet)"
        origin = f"from {start}" if start is not None else origin
        progress.line(f"{preset.name}: {config.network}{rosta}, {many}{config.steps} steps, {origin}")
        if said := missing_layers(pictures):
            progress.line(said)
    with progress.run("train"):
        network = train(config, samples, out, progress, imagenet, start, held)
    if network is None:
        return None
    path = out / weights_name(config)
    try:
        save_weights(network, path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write weights {path}: {error}; free space and give the same command") from error
    progress.line(f"wrote {path}")
    return path


def open_weights(weights: Path) -> Opener:
    """Return a function that opens any weights for one input size: ``.onnx`` by ONNX Runtime, everything else by torch."""
    if weights.suffix == ".onnx":
        from streammat.engines.choice import open_engine
        from streammat.engines.model_files import ModelFiles

        return lambda size: open_engine(ModelFiles(weights.stem, weights), "onnxruntime", "fp32", size).infer
    import torch

    from streammat.engines.network.checkpoint import load_checkpoint
    from streammat.train.loop.loop import torch_predict

    torch.set_num_threads(os.cpu_count() or 1)
    network = load_checkpoint(weights).eval()
    return lambda _size: torch_predict(network)


def weights_name(config: TrainConfig) -> str:
    """Return ``<network>_<rosta>.safetensors`` in lower case; the shipped kind, lite TT, is ``lite.safetensors``, and methods without
    RoSTa
    likewise.
    """
    if config.network in METHODS or (config.network, config.rosta) == ("lite", "TT"):
        return f"{config.network}.safetensors"
    return f"{config.network}_{config.rosta.lower()}.safetensors"


def print_parity(folder: Path, files: ModelFiles, data: Path, cache: Path) -> None:
    """Print the difference of every backend from torch; a large one is an error."""
    from streammat.engines.network.checkpoint import load_network
    from streammat.train.lite.recipe import calibration_images, parity

    pictures = [picture for picture, _ in zip(calibration_images(data, cache), range(4), strict=False)]
    for backend, difference in parity(load_network(folder / f"{files.name}.safetensors"), files, pictures).items():
        click.echo(f"largest difference of alpha, torch to {backend} fp32: {difference:.1e}")
        if difference > 1e-3:
            raise click.ClickException(f"{backend} disagrees with torch by {difference:.1e}; at most 1e-3 is allowed")


def print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Print one line per precision and set."""
    for precision, by_set in scores.items():
        for name, result in by_set.items():
            click.echo(
                f"{precision} {name:20s} {result.pictures:4d} images  iou {result.iou:.4f}  mad {result.mad:.4f}  "
                f"mse {result.mse:.4f}  sad {result.sad:.2f}"
            )
