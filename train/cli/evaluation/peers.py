"""``python -m train peers``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE, open_weights
from streammat.train.errors import DataError


@click.command()
@click.argument("weights", type=FILE, nargs=-1, required=True)
@click.option("--data", type=DATA, default=None, help="Folder of the lite recipe, with val/.")
@click.option("--cache", type=DATA, default=None, help="Folder written by `python -m train sets`, with held/.")
@click.option("--teachers", type=DATA, default=None, help="Holds rvm.json, selfie.json with their .bin files, and isnet.onnx; what is missing is left out.")
@click.option("--most", type=Whole(1), default=None, help="Images of each set, spread evenly.  [default: all]")
@click.option("--best/--no-best", default=True, help="Also score the last WEIGHTS, exported ones, as --quality best runs them.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only sets whose names contain this; may be repeated.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="File for the table, Markdown.")
@click.option("--sheet", type=(Whole(1), click.Path(file_okay=False, path_type=Path)), default=None,
              help="How many images of each set to show, and the folder for the contact sheets.")  # fmt: skip
def command(
    weights: tuple[Path, ...], data: Path | None, cache: Path | None, teachers: Path | None, most: int | None, best: bool,
    only: tuple[str, ...], out: Path | None, sheet: tuple[int, Path] | None,
) -> None:  # fmt: skip
    """Score WEIGHTS beside other networks on every validation set: IoU, mean error and gradient error, one table."""
    from streammat.train.data.pool import write_image, write_whole
    from streammat.train.evaluation.peers import images

    sets = {name: pairs for name, pairs in images.all_sets(data, cache).items() if not only or any(part in name for part in only)}
    if not sets:
        raise DataError("no validation images; give --data, the folder with val/, or --cache, made by `python -m train sets`")
    networks = {f"{path.parent.name}/{path.stem}" if len(weights) > 1 else path.stem: images.our_matte(open_weights(path)) for path in weights}
    if best and weights[-1].suffix == ".onnx":
        networks[f"{list(networks)[-1]}, best"] = images.best_matte(weights[-1])
    for name, (file, opened) in images.TEACHERS.items():
        if teachers is not None and (teachers / file).exists():
            networks[name] = opened(teachers / file)
    rows = images.compare(networks, sets, most, click.echo)
    text = images.table(rows)
    click.echo(text)
    if out is not None:
        write_whole(out, text.encode())
    if sheet is not None:
        for name, pairs in sets.items():
            write_image(sheet[1] / f"{name.replace('/', '_')}.jpg", images.sheet(networks, pairs, sheet[0]))
