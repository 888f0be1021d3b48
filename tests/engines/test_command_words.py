"""Numbers and wrong usage of a small program made of the parts that both command lines are made of."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import pytest

from streammat.engines.errors import first_line, one_line, shortened
from streammat.engines.usage import Number, OneLine, Whole


class Program(OneLine):
    program = "small"


@click.group(cls=Program)
def small() -> None:
    """A program."""


@small.command()
@click.argument("source")
@click.option("--level", "-l", type=Number(0, 10))
@click.option("--rate", type=Number(0, min_open=True))
@click.option("--shift", type=Number())
@click.option("--count", type=Whole(1, 64))
@click.option("--seed", type=Whole())
@click.option("--many", type=Whole(0, 1_000_000))
@click.option("--json", is_flag=True)
@click.option("--kind", type=click.Choice(["one", "two"]))
def run(source: str, **options: Any) -> Any:
    """Run."""
    if source == "interrupt":
        raise click.Abort
    if source == "wrong":
        raise click.ClickException("It is\n wrong.")
    if source == "words":
        return "words"
    print({name: value for name, value in options.items() if value is not None and value is not False})
    return int(source)


@small.command()
@click.argument("number", type=Whole(1, 9))
def count(number: int) -> int:
    """Count."""
    return number


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code, output and errors."""
    with pytest.raises(SystemExit) as ended:
        small.main(arguments, "small")
    found = capsys.readouterr()
    return ended.value.code, found.out, found.err


@pytest.mark.parametrize(("option", "value", "found"), [
    ("--level", "0", 0.0), ("--level", "10", 10.0), ("--level", "2.5", 2.5), ("--rate", "1e-9", 1e-9), ("--shift", "-2147483647", -2147483647.0), ("--shift", "2147483647", 2147483647.0),
    ("--count", "1", 1), ("--count", "64", 64), ("--seed", "2147483647", 2147483647), ("--seed", "-2147483647", -2147483647),
])
def test_numbers(capsys: pytest.CaptureFixture[str], option: str, value: str, found: float) -> None:
    assert called(capsys, "run", "0", option, value) == (0, f"{ {option[2:]: found} }\n", "")


@pytest.mark.parametrize(("option", "expected"), [
    ("--level", "a number, from 0 to 10"), ("--rate", "a number, above 0 to 2147483647"), ("--shift", "a number, at most 2147483647"), ("--count", "a whole number, from 1 to 64"),
    ("--seed", "a whole number, at most 2147483647"), ("--many", "a whole number, from 0 to 1000000"),
])
def test_what_is_no_number(capsys: pytest.CaptureFixture[str], option: str, expected: str) -> None:
    outside = {"--level": ("-0.1", "10.1"), "--rate": ("0", "-1"), "--count": ("0", "65", "1.5"), "--many": ("1000001",), "--seed": ("1.5",)}.get(option, ())
    for value in (*outside, "nan", "inf", "-inf", "1e400", "many", "2147483648", "-2147483649", "9" * 400):
        shown = value if len(value) <= 60 else f"{value[:60]}…"
        assert called(capsys, "run", "0", option, value) == (2, "", f"small: error: {option}: {shown}: expected {expected}; see `small run --help`\n"), value


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("run",), 2, "missing argument 'SOURCE'; see `small run --help`"), (("run", "0", "-l"), 2, "option '-l' requires an argument; see `this command with --help`"),
    (("run", "0", "-l", "x"), 2, "--level: x: expected a number, from 0 to 10; see `small run --help`"), (("rum",), 2, "no such command 'rum'. Did you mean 'run'? See `small --help`"),
    (("run", "0", "--kind", "three"), 2, "--kind: 'three' is not one of 'one', 'two'; see `small run --help`"), (("run", "0", "1"), 2, "got unexpected extra argument (1); see `small run --help`"),
    (("count", "x"), 2, "NUMBER: x: expected a whole number, from 1 to 9; see `small count --help`"),
    (("run", "wrong"), 1, "it is wrong; see `this command with --help`"),
])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str) -> None:
    assert called(capsys, *arguments) == (code, "", f"small: error: {message}\n")
    if arguments[0] == "run":
        assert called(capsys, *arguments[:1], "--json", *arguments[1:]) == (code, json.dumps({"error": message}) + "\n", f"small: error: {message}\n")


def test_how_it_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(capsys, "run", "7") == (7, "{}\n", "")
    assert called(capsys, "run", "words") == (0, "", "")
    code, _, err = called(capsys, "run", "interrupt")
    assert (code, err.strip()) == (130, "")
    code, out, err = called(capsys)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: small ")
    code, out, _ = called(capsys, "run", "--help")
    assert (code, out.startswith("Usage: small run ")) == (0, True)
    assert small.main(["run", "5"], "small", standalone_mode=False) == 5
    with pytest.raises(click.UsageError) as caught:
        small.main(["rum"], "another", standalone_mode=False)
    assert caught.value.ctx is not None
    assert caught.value.ctx.command_path == "another"
    monkeypatch.setenv("SMALL_RUN_LEVEL", "3")
    assert small.main(["run", "5"], "small", standalone_mode=False, auto_envvar_prefix="SMALL") == 5
    with pytest.raises(SystemExit):
        small.main(["run", "5"], "small", auto_envvar_prefix="SMALL")
    assert capsys.readouterr().out.splitlines()[-2:] == ["{'level': 3.0}"] * 2
    monkeypatch.delenv("SMALL_RUN_LEVEL")
    monkeypatch.setattr(sys, "argv", ["small", "run", "9"])
    with pytest.raises(SystemExit) as ended:
        small.main()
    assert ended.value.code == 9


def test_errors_in_one_line() -> None:
    """In short words: paths of any length stay whole, what no path is does not; a library's first line, the system's text or the class."""
    assert one_line(ValueError(" it\n is  so ")) == "it is so"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(ValueError(f"{'p' * 600} and {'q' * 601}")) == f"{'p' * 600} and {'q' * 60}…"
    assert shortened("v" * 60) == "v" * 60
    assert shortened("v" * 61) == "v" * 60 + "…"
    assert shortened(7) == "7"
    assert first_line(OSError(28, "No space left")) == "No space left"
    assert first_line(RuntimeError("\n  CUDA failed  \nat x.cc")) == "CUDA failed"
    assert first_line(RuntimeError(" ")) == "RuntimeError"
