"""``streammat engines``: lists the engines that can run networks on this machine."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from streammat.cli.common import one_line_errors


@click.command()
@click.option("--model", default="lite", show_default=True, metavar="NAME|FILE", help="The model that --engine auto would run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def engines(model: str, as_json: bool) -> None:
    """List the engines: installed or why not, versions, devices, precisions, and the choice of --engine auto.

    Installed engines are loaded, which takes a few seconds.
    """
    with one_line_errors(as_json):
        from streammat.engines.choice import choose
        from streammat.engines.registry import BACKENDS
        from streammat.models.library import find_model

        files = find_model(model)
        rows = [_row(name) for name in BACKENDS]
        choice = choose(files, "auto", "auto", "auto")
    chosen = {"engine": choice.backend, "device": choice.device, "precision": choice.precision, "reason": choice.reason}
    if as_json:
        click.echo(json.dumps({"engines": rows, "auto": chosen}))
        return
    for row in rows:
        click.echo(f"{row['name']:<12} {row['version'] if row['runs'] else 'no: ' + row['reason']}")
        for device, name in row["devices"].items():
            click.echo(f"{'':<12} --device {device:<8} {', '.join(row['precisions'][device])}  {name}")
        for note in row["notes"]:
            click.echo(f"{'':<12} {note}")
        for built in row.get("cached", ()):
            click.echo(f"{'':<12} built: {built['name']}, {built['bytes'] / 1e6:.1f} MB, {built['precision']}, {built['age']} old")
    click.echo(f"auto takes {choice.backend} on {choice.device}, {choice.precision}: {choice.reason}")


def _row(name: str) -> dict[str, Any]:
    from streammat.engines.base import EngineUnavailableError
    from streammat.engines.registry import BACKENDS, kind_of, probe

    backend = BACKENDS[name]
    row: dict[str, Any] = {"name": name, "installed": backend.installed, "runs": False, "reason": "", "version": None, "devices": {}, "precisions": {}, "notes": []}
    if backend.needs_build:
        row["cached"] = _cached()
    try:
        found = probe(name)
    except EngineUnavailableError as error:
        return row | {"reason": str(error)}
    precisions = {device: backend.precisions[kind_of(device)] for device in found.devices}
    return row | {"runs": True, "version": found.version, "devices": dict(found.devices), "precisions": precisions, "notes": list(found.notes)}


def _cached() -> list[dict[str, Any]]:
    from streammat.engines.tensorrt.cache import EngineCache, age

    now = time.time()
    return [
        {"name": entry.name, "bytes": entry.size, "precision": entry.key.precision, "gpu": entry.key.gpu, "age": age(max(0.0, now - entry.created))}
        for entry in EngineCache().entries()
    ]
