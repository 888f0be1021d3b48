"""``python -m train reproduce``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.train.cli.common import FILE
from streammat.train.errors import DataError


@click.command()
@click.argument("page", type=FILE, default="docs/reproduce.md")
@click.option("--check", is_flag=True, help="Write nothing; fail if the page is not up to date.")
def command(page: Path, *, check: bool) -> None:
    """Regenerate the tables of PAGE from the presets and the paper's figures."""
    from streammat.train.data.pool import write_whole
    from streammat.train.evaluation.paper.reproduce import fill

    text = page.read_text(encoding="utf-8")
    filled = fill(text)
    if check and filled != text:
        raise DataError(f"{page} is not what presets and figures give; run `python -m train reproduce {page}`")
    if filled != text:
        write_whole(page, filled.encode())
    click.echo(f"reproduce: {page} {'was up to date' if filled == text else 'written'}")
