"""``python -m train clips``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE, open_weights
from streammat.train.errors import DataError


@click.command()
@click.argument("weights", type=FILE)
@click.option("--clips", type=DATA, required=True, help="Folder of videos.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG file.")
@click.option("--frames", type=Whole(1), default=6, help="Frames of each clip, spread evenly.")
@click.option("--pixels", type=Whole(1024), default=288 * 512, help="Approximate pixels of the network's input.")
def command(weights: Path, clips: Path, out: Path, frames: int, pixels: int) -> None:
    """Make a contact sheet of clips: each frame is matted on its own by WEIGHTS (.safetensors, .pth or exported .onnx) and put on
    green.
    """
    from streammat.train.data.pool import write_image
    from streammat.train.evaluation.peers.clips import missing_inside, read_frames
    from streammat.train.measures.contact_sheet import contact_sheet, on_colour
    from streammat.train.measures.validation import network_size, predict_image

    paths = sorted(path for path in clips.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise DataError(f"no clips in {clips}; expected video files")
    opener = open_weights(weights)
    rows, labels = [], []
    for path in paths:
        shown = read_frames(path, frames)
        size = network_size(shown[0].shape[0], shown[0].shape[1], pixels)
        predict = opener(size)
        alphas = [np.rint(predict_image(predict, rgb, size) * 255.0).astype(np.uint8) for rgb in shown]
        rows += [shown, [on_colour(rgb, alpha, (0, 177, 64)) for rgb, alpha in zip(shown, alphas, strict=True)]]
        told = f"mean alpha {np.mean(alphas) / 255:.3f}, missing inside {100 * np.mean([missing_inside(alpha) for alpha in alphas]):.1f} %"
        labels += [path.name, told]
        click.echo(f"{path.name}: {told}")
    write_image(out, contact_sheet(rows, labels))
    click.echo(f"clips: look at {out}")
