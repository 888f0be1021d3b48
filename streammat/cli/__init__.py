"""The command line: parse → options → library → exit code. Only this package prints.

Exit codes: 0 done, 1 failed, 2 wrong usage, 129 the terminal was closed, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import Any

import click

from streammat.cli.command import Program

NAMES = ("video", "batch", "webcam", "image", "bench", "model", "engine", "engines", "devices", "doctor", "config")
"""The commands; each is the function ``<name>`` of ``streammat/cli/commands/<name>.py``."""


class _Commands(UserDict[str, Any]):
    """The commands by name; a command's module is imported when it is used, so that each starts at once."""

    def __getitem__(self, name: str) -> click.Command:
        if self.data[name] is None:
            self.data[name] = getattr(import_module(f"streammat.cli.commands.{name}"), name)
        command: click.Command = self.data[name]
        return command


@click.group(cls=Program, commands=_Commands(dict.fromkeys(NAMES)), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="streammat", prog_name="streammat")
def main() -> None:
    """Cut people and animals out of video and put them on another background."""
