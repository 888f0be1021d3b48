"""``streammat image``: stills."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from streammat.build_options import build
from streammat.cli.command import GroupedCommand
from streammat.cli.common import (
    Interrupt,
    composite_options,
    control_options,
    leave,
    matting_options,
    one_line_errors,
    output_options,
    subject_options,
)
from streammat.config import STILLS, StillOptions
from streammat.errors import UsageError, one_line


@click.command(cls=GroupedCommand)
@click.argument("paths", metavar="IN... OUT", nargs=-1, required=True)
@composite_options
@control_options
@subject_options
@partial(matting_options, quality=STILLS.quality)
@output_options
def image(paths: tuple[str, ...], *, overwrite: bool, quiet: bool, as_json: bool, **values: Any) -> None:
    """Cut the subject out of images. IN are files, folders or - (standard input); OUT is a file, a folder that gets <stem>.png
    for each IN, or - (standard output).

    \b
    streammat image me.jpg me.png                    (transparent)
    streammat image photos/ cut/ --bg white
    curl -s https://example.com/me.jpg | streammat image - - > me.png
    """  # noqa: D301 - click wants the character, not two
    options = build(StillOptions, values)
    *sources, target = paths
    done: list[str] = []
    errors: list[str] = []
    with one_line_errors(as_json, quiet=quiet):
        if not sources:
            raise UsageError(f"OUT is missing: {target} alone is given; expected images and where the result goes, such as me.jpg me.png")
        if as_json and target == "-":
            raise UsageError("--json and OUT - both use standard output; give OUT a file")
        from streammat.jobs.image import ImageJob

        with Interrupt() as interrupt:
            job = ImageJob(sources, target, options, overwrite=overwrite)
            interrupt.stops(job.stop)
            for output, error in job.run():
                if error is None:
                    done.append(output)
                    if not (quiet or as_json):
                        click.echo(f"wrote {output}", err=True)
                else:
                    errors.append(one_line(error))
                    click.echo(f"streammat: error: {errors[-1]}", err=True)
        spec = None if job.engine is None else asdict(job.engine.spec)
        job.close()
    if as_json:
        report: dict[str, Any] = {"frames_in": len(job.outputs), "frames_out": len(done), "engine": spec, "outputs": done}
        click.echo(json.dumps(report | ({"error": "; ".join(errors)} if errors else {})))
    leave(interrupt.exit_code or int(bool(errors)))
