"""``python -m train backgrounds``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from streammat.engines.usage import Number, Whole
from streammat.train.cli.common import FOLDER


@click.command()
@click.argument("sources", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Receives train/, testval/, manifest.csv, kept.png and rejected.png.")
@click.option("--min-side", type=Whole(32), default=1080, help="Shorter side of an image, in pixels.")
@click.option("--distance", type=Whole(0, 64), default=6, help="Bits in which hashes of near duplicates may differ.")
@click.option("--subject", type=Number(0, 1), default=0.02, help="Largest share of an image that a subject may have.")
@click.option("--validation", type=Number(0, 1), default=0.25, help="Share that goes to testval/.")
@click.option("--seed", type=Whole(0), default=0, help="Seed of the split.")
@click.option("--model", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Detector, ONNX; default: lite.")
@click.option("--workers", type=Whole(1, 1024), default=os.cpu_count() or 1, help="Number of processes.")
def command(sources: tuple[Path, ...], out: Path, model: Path | None, workers: int, **options: Any) -> None:
    """Build a set of backgrounds from the photographs in SOURCES, as BG-20k was made. A second call continues an interrupted one."""
    from collections import Counter

    from streammat.engines.shipped import shipped
    from streammat.train.errors import DataError
    from streammat.train.rssn.backgrounds import (
        DUPLICATE,
        SMALL,
        SUBJECT,
        UNREADABLE,
        BackgroundOptions,
        build_backgrounds,
    )

    verdicts = build_backgrounds(sources, out, BackgroundOptions(**options), model or shipped().fp32, workers, click.echo)
    kept = Counter(verdict.split for verdict in verdicts if verdict.split)
    click.echo(f"kept {kept.total()} of {len(verdicts)}: {kept['train']} in train/, {kept['testval']} in testval/")
    for start in (UNREADABLE, SMALL, SUBJECT, DUPLICATE):
        count = sum(verdict.reason.startswith(start) for verdict in verdicts)
        click.echo(f"rejected {count}: {start} ..." if start in (SUBJECT, DUPLICATE) else f"rejected {count}: {start}")
    if not kept:
        raise DataError(f"no image was kept; {out / 'manifest.csv'} has the reason for each")
