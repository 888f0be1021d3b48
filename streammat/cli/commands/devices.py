"""``streammat devices``: lists cameras, virtual cameras and sound devices."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from streammat.cli.common import one_line_errors


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def devices(as_json: bool) -> None:
    """List cameras with their modes, virtual cameras, microphones and sound outputs."""
    with one_line_errors(as_json):
        from streammat.devices.listing import find

        found = find()
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo("cameras" if found.cameras else "cameras: none")
    for camera in found.cameras:
        click.echo(f"  {camera.id}  {camera.name}")
        for mode in camera.modes:
            click.echo(f"      {mode}")
    click.echo("virtual cameras" if found.virtual_cameras else "virtual cameras: none")
    for virtual in found.virtual_cameras:
        click.echo(f"  {virtual.id}  {virtual.name}{'' if virtual.problem is None else f' ({virtual.problem})'}")
    click.echo("microphones" if found.microphones else "microphones: none")
    for microphone in found.microphones:
        click.echo(f"  {microphone.id}  {microphone.name} ({microphone.channels} channels, {microphone.rate} Hz)")
    click.echo("monitors (what sound can be played on)" if found.monitors else "monitors: none")
    for monitor in found.monitors:
        click.echo(f"  {monitor.id}  {monitor.name} ({monitor.channels} channels, {monitor.rate} Hz)")
    for problem in found.problems:
        click.echo(f"note: {problem}", err=True)
