"""``python -m train sets``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FOLDER

_NAMES = ("voc", "penn", "ecssd", "coco", "davis", "football", "wild_animals", "small_animals", "snapshots", "street", "hair", "flickr", "sports", "rooms")
_OLD = ("people_portraits", "people_fullbody", "animals_cats", "animals_horses")


@click.command()
@click.option("--raw", type=DATA, required=True, help="Holds the unpacked repositories of `streammat.train.labels.public_sets`.")
@click.option("--teachers", type=DATA, required=True, help="Holds rvm.json, centernet.json with their .bin files, and isnet.onnx.")
@click.option("--data", type=DATA, required=True, help="Folder of the lite recipe, with train/ and val/.")
@click.option("--mattes", type=DATA, required=True, help="Folder written by `python -m train mattes`.")
@click.option("--cache", type=FOLDER, required=True, help="Receives labelled sets, held-out ones and manifest/<set>.csv.")
@click.option("--only", type=click.Choice([*_NAMES, *_OLD]), multiple=True, help="Sets to label; several may be given.  [default: all]")
@click.option("--threads", type=Whole(1), default=2, show_default=True, help="Threads of each teacher network.")
def command(raw: Path, teachers: Path, data: Path, mattes: Path, cache: Path, only: tuple[str, ...], threads: int) -> None:
    """Label public sets with masks and teacher networks; reliable labels become mattes for training."""
    from streammat.train.labels.labelling import Teachers, known_images, label_set, relabel
    from streammat.train.labels.public_sets import SETS

    networks = Teachers(teachers, threads)
    chosen = only or (*_NAMES, *_OLD)
    public = [entry for entry in SETS if entry.name in chosen]
    seen = known_images(data, cache, click.echo) if public else None
    for entry in public:
        assert seen is not None
        label_set(entry, raw, cache, networks, seen, click.echo)
    for folder in _OLD:
        if folder in chosen:
            relabel(data, mattes, cache, folder, networks, click.echo)
