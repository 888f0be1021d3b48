"""Wrong usage of any command: exit code 2 and one line that names what was found, what was expected and the cure; and what ``--help`` shows."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from conftest import call

from streammat.cli import main


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_shows_examples_as_they_are_typed(words: tuple[str, ...]) -> None:
    shown = call(*words, "--help").ok().out
    assert "\\b" not in shown
    for line in shown.splitlines():
        assert line.count("streammat ") < 2 or "(" in line or "`" in line, line


@pytest.mark.parametrize(("command", "groups"), [
    ("video", {"Input": "--start", "Output": "--codec", "Background": "--bg", "Matte": "--quality", "Engine": "--device", "Messages": "--help"}),
    ("webcam", {"Input": "--camera", "Output": "--to", "Background": "--bg", "Matte": "--stable", "Engine": "--threads", "Messages": "--log"}),
    ("image", {"Output": "--overwrite", "Background": "--fit", "Matte": "--model", "Engine": "--engine", "Messages": "--json"}),
])
def test_help_lists_options_by_group(command: str, groups: dict[str, str]) -> None:
    shown = call(command, "--help").ok().out
    titles = [line.removesuffix(":") for line in shown.splitlines() if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert titles == list(groups)
    for title, option in groups.items():
        assert option in shown.split(f"\n{title}:\n")[1].split("\n\n")[0], title


@pytest.mark.parametrize(("arguments", "words"), [
    (["--nosuch"], ["--nosuch", "streammat --help"]),
    (["vide"], ["vide", "did you mean 'video'", "streammat --help"]),
    (["video"], ["missing", "IN", "streammat video --help"]),
    (["video", "in.mp4"], ["missing", "OUT"]),
    (["video", "a", "b", "c"], ["unexpected", "c"]),
    (["video", "a", "b", "--bg"], ["--bg", "requires an argument"]),
    (["video", "a", "b", "--crf", "99"], ["--crf", "99", "63"]),
    (["image", "a", "b", "--quality", "so-so"], ["--quality", "so-so", "balanced"]),
    (["webcam", "--fps", "many"], ["--fps", "many"]),
    (["webcam", "surplus"], ["surplus", "streammat webcam --help"]),
    (["bench", "--batch", "0"], ["--batch", "0", "256"]),
    (["engine", "build", "--nosuch"], ["--nosuch", "streammat engine build --help"]),
    (["model", "show"], ["missing", "NAME", "streammat model show --help"]),
], ids=" ".join)
def test_wrong_usage_is_one_line(arguments: list[str], words: list[str]) -> None:
    done = call(*arguments)
    done.refused(2, "--help", *words)
    assert len(done.err.splitlines()) == 1, done.err
    assert done.out == ""


def test_wrong_usage_in_json() -> None:
    done = call("video", "a", "b", "--crf", "x", "--json")
    done.refused(2, "--crf")
    assert done.report == {"error": done.error}


def test_no_arguments_at_all_show_help() -> None:
    assert "Commands:" in (done := call()).out + done.err
