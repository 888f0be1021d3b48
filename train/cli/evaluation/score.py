"""``python -m train score``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE, open_weights
from streammat.train.errors import DataError, RunError

if TYPE_CHECKING:
    from streammat.train.measures.validation import ImageScore


@click.command()
@click.argument("weights", type=FILE)
@click.option("--data", type=DATA, default=None, help="Folder of the lite recipe, with val/.")
@click.option("--hard", type=DATA, default=None, help="Folder written by `python -m train hard`.")
@click.option("--pixels", type=Whole(1024), default=288 * 512, show_default=True, help="Approximate pixels of the network's input.")
@click.option("--worst", type=(Whole(1), click.Path(dir_okay=False, path_type=Path)), default=None,
              help="How many images with the largest error to show, and the PNG file.")  # fmt: skip
@click.option("--csv", "table", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Every image's scores.")
def command(
    weights: Path, data: Path | None, hard: Path | None, pixels: int, worst: tuple[int, Path] | None, table: Path | None
) -> None:
    """Score WEIGHTS (.safetensors, .pth or exported .onnx) on validation images: IoU and mean error by set and by size."""
    from streammat.train.data.pool import write_image
    from streammat.train.measures.validation import Scores, by_share, hard_sets, score_images, validation_sets, worst_sheet

    sets = (validation_sets(data) if data else {}) | (hard_sets(hard) if hard else {})
    if not sets:
        raise DataError("no validation images; give --data, the folder with val/, or --hard, made by `python -m train hard`")
    opener = open_weights(weights)
    scores: dict[str, list[ImageScore]] = {}
    for name, pairs in sets.items():
        scores[name] = score_images(opener, pairs, pixels)
        _tell(name, Scores.of(scores[name]))
    everything = [score for found in scores.values() for score in found]
    for name, result in by_share(everything).items():
        _tell(f"subject {name}", result)
    if table is not None:
        _write_table(table, scores)
    if worst is not None:
        write_image(worst[1], worst_sheet(opener, everything, worst[0], pixels))
        click.echo(f"score: look at {worst[1]}")


def _tell(name: str, result: object) -> None:
    from streammat.train.measures.validation import Scores

    assert isinstance(result, Scores)
    click.echo(f"{name:24} {result.pictures:4} images  iou {result.iou:.4f}  mad {result.mad:.4f}")


def _write_table(path: Path, scores: dict[str, list[ImageScore]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("set", "picture", "share", "iou", "mad"))
            for name, found in scores.items():
                writer.writerows(
                    (name, score.pair.image.name, f"{score.share:.4f}", f"{score.iou:.4f}", f"{score.mad:.5f}") for score in found
                )
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; give another --csv") from error
