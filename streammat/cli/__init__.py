"""The command line: parse → options → library → exit code. Only this package prints.

Exit codes: 0 done, 1 failed, 2 wrong usage, 129 the terminal was closed, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import click

from streammat.cli.batch import batch
from streammat.cli.bench import bench
from streammat.cli.command import Program
from streammat.cli.config import config
from streammat.cli.devices import devices
from streammat.cli.doctor import doctor
from streammat.cli.engine import engine
from streammat.cli.engines import engines
from streammat.cli.image import image
from streammat.cli.model import model
from streammat.cli.video import video
from streammat.cli.webcam import webcam


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="streammat", prog_name="streammat")
def main() -> None:
    """Cut people and animals out of video and put them on another background."""


for command in (video, batch, webcam, image, bench, model, engine, engines, devices, doctor, config):
    main.add_command(command)
