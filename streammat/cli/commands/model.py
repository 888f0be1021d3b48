"""``streammat model``: imports, lists and exports weights."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streammat.build_options import choices
from streammat.cli.common import Interrupt, one_line_errors, output_options, parse_size
from streammat.config import ExportOptions, MattingOptions
from streammat.engines.network.rostas import ROSTAS
from streammat.errors import UsageError

if TYPE_CHECKING:
    from streammat.models.library import Entry

_MATTING = MattingOptions()
_EXPORT = ExportOptions()


@click.group()
def model() -> None:
    """Import, list, show, export and remove models; `--model NAME` of the other commands runs them."""


@model.command(name="import")
@click.argument("path")
@click.option("--name", help="Name of the model.  [default: that of the file]")
@click.option("--rosta", type=click.Choice(ROSTAS),
              help="RoSTa of the weights.  [default: from the weights; FT or BT from the file's name]")
@click.option("--force", is_flag=True, help="Replace a model of the same name.")
def import_(path: str, name: str | None, rosta: str | None, force: bool) -> None:
    """Turn weights of the GFM family (PATH, .pth or .safetensors) into a model that runs without torch.

    \b
    streammat model import gfm_r34_tt.pth --name r34
    streammat video in.mp4 out.mp4 --model r34

    The model is kept in STREAMMAT_MODELS or the user's data folder. Needs `pip install "streammat[train]"`.
    """  # noqa: D301 - click wants the character, not two
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
    """List the models that --model knows by name."""
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
    """Print the card of NAME as JSON: files and digests, origin, licence."""
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


@model.command()
@click.argument("name", metavar="NAME|FILE")
@click.argument("target", metavar="OUT")
@click.option("--size", metavar="WxH", help="Size of the network's input, multiples of 32.  [default: free]")
@click.option("--frame", metavar="WxH", help="Derive the input's size from this frame size, by --quality.")
@click.option("--quality", type=click.Choice(choices(MattingOptions, "quality")), default=_MATTING.quality, show_default=True,
              help="With --frame; best is 5/13 of the frame, uncapped.")
@click.option("--batch", default=str(_EXPORT.batch), show_default=True, metavar="N|free", help="Images per batch.")
@click.option("--precision", type=click.Choice(choices(ExportOptions, "precision")), default=_EXPORT.precision, show_default=True,
              help="Precision inside the file; input and outputs stay the same.")
@click.option("--normalised-input", "normalised", is_flag=True, help="Input is float32 (N, 3, H, W), 0..1, instead of uint8 (N, H, W, 3).")
@output_options
def export(
    name: str, target: str, *, size: str | None, frame: str | None, quality: Any, batch: str, precision: Any, normalised: bool,
    overwrite: bool, quiet: bool, as_json: bool,
) -> None:
    """Write a model as an ONNX file for other programs: OUT ends in .onnx.

    \b
    streammat model export lite lite.onnx
    streammat model export r34 r34.onnx --frame 1920x1080 --quality best --precision fp16 --normalised-input

    The file's metadata describe its inputs and outputs; docs/engines.md has an example. It is compared with torch before it
    appears.
    Needs `pip install "streammat[train]"`.
    """  # noqa: D301 - click wants the character, not two
    with one_line_errors(as_json, quiet=quiet), Interrupt():
        from streammat.models.export import export_model

        done = export_model(name, target, ExportOptions(_input_size(size, frame, quality), _batch(batch), precision, normalised, overwrite))
    if as_json:
        click.echo(json.dumps({"output": target, "bytes": done.bytes, "difference_from_torch": {"alpha": asdict(done.parity)}, "metadata": dict(done.metadata)}))
    elif not quiet:
        differs = f"alpha differs from torch by {done.parity.largest:.1e} at most, {done.parity.mean:.1e} on average"
        click.echo(f"wrote {target}, {_megabytes(done.bytes)}: {differs}", err=True)


def _input_size(size: str | None, frame: str | None, quality: Any) -> tuple[int, int] | None:
    """Return (height, width) of the network's input."""
    if size is not None and frame is not None:
        raise UsageError("--size and --frame: expected one of them; --size is the network's input, --frame what is filmed")
    if frame is not None:
        from streammat.matting.matting import network_sizes

        return network_sizes(*parse_size("--frame", frame), quality)[0]
    return None if size is None else parse_size("--size", size)


def _batch(text: str) -> int | None:
    if text == "free":
        return None
    if not re.fullmatch(r"\d{1,4}", text):
        raise UsageError(f"--batch {text}: expected a number, or free")
    return int(text)


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
