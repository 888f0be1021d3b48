"""``streammat doctor``: checks whether live video will work here."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from streammat.build_options import build
from streammat.cli.common import leave, matting_options, one_line_errors
from streammat.config import LiveOptions


@click.command()
@matting_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def doctor(*, as_json: bool, **values: Any) -> None:
    """Check engine, weights, cameras, virtual camera and microphones, and run everything for 3 seconds.

    The exit code is 0 if nothing failed (warnings are allowed), else 1.
    """
    found = []
    with one_line_errors(as_json):
        from streammat.doctor import examine

        for finding in examine(build(LiveOptions, values)):
            found.append(finding)
            if not as_json:
                click.echo(f"{finding.state:<8} {finding.name}: {finding.message}")
                if finding.next_step is not None:
                    click.echo(f"{'':<8} next: {finding.next_step}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found]))
    leave(int(any(finding.state == "failed" for finding in found)))
