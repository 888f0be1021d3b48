"""``streammat model``: other weights than the shipped ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from streammat.cli.common import Interrupt, one_line_errors

if TYPE_CHECKING:
    from streammat.models.library import Entry


@click.group()
def model() -> None:
    """Import, list, show and remove models; `--model NAME` of the other commands runs them."""


@model.command(name="import")
@click.argument("path")
@click.option("--name", help="What to call it.  [default: the name of the file]")
@click.option("--rosta", type=click.Choice(["TT", "FT", "BT", "RIM"]),
              help="What the weights predict.  [default: from the weights; FT or BT from the file's name]")
@click.option("--force", is_flag=True, help="Replace a model of the same name.")
def import_(path: str, name: str | None, rosta: str | None, force: bool) -> None:
    r"""Turn weights of the GFM family (PATH, .pth or .safetensors) into a model that runs without torch.

    \b
    streammat model import gfm_r34_tt.pth --name r34
    streammat video in.mp4 out.mp4 --model r34

    It lies in STREAMMAT_MODELS, or where this system keeps a user's data. Needs `pip install "streammat[train]"`.
    """
    with one_line_errors(), Interrupt():
        from streammat.models.library import import_model, show_model

        files = import_model(path, name, rosta, replace=force)
        card = show_model(files.name)
        differs = card["difference_from_torch"]
        click.echo(
            f"{files.name}: {card['network']} {card['rosta']}, {_megabytes(card['files']['fp32']['bytes'])}, in {files.fp32.parent}; "
            f"alpha differs from torch by {differs['largest']:.1e} at most, {differs['mean']:.1e} on average"
        )


@model.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(as_json: bool) -> None:
    """Every model that --model knows by name."""
    with one_line_errors(as_json):
        from streammat.models.library import list_models

        rows = [_row(entry) for entry in list_models()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        if "fault" in row:
            click.echo(f"{row['name']:<24} damaged: {row['fault']}")
            continue
        sizes = ", ".join(f"{kind} {_megabytes(count)}" for kind, count in row["files"].items())
        click.echo(f"{row['name']:<24} {row['network']:<8} {row['rosta']:<4} {sizes:<26} {row['source']}")


@model.command()
@click.argument("name")
def show(name: str) -> None:
    """The card of NAME, as JSON: files and digests, what it was made of, licence."""
    with one_line_errors():
        from streammat.models.library import show_model

        click.echo(json.dumps(show_model(name), indent=2))


@model.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete the imported model NAME."""
    with one_line_errors():
        from streammat.models.library import remove_model

        remove_model(name)
        click.echo(f"removed {name}", err=True)


def _row(entry: Entry) -> dict[str, Any]:
    if entry.card is None:
        return {"name": entry.name, "fault": " ".join(entry.fault.split())}
    card = entry.card
    return {
        "name": entry.name,
        # The shipped card tells neither: its one network is called as the model is, and is of the paper's first RoSTa.
        "network": card.get("network", entry.name),
        "rosta": card.get("rosta", "TT"),
        "files": {kind: card["files"][kind]["bytes"] for kind in ("fp32", "int8") if kind in card["files"]},
        "source": f"imported from {card['source']['file']}" if entry.imported else "shipped",
    }


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
