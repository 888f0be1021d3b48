"""The command line in this process or in one of its own, for tests of every kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
QUICK = ("--engine", "onnxruntime", "--quality", "fast", "--threads", "2")
"""Network options that make tests quick."""


@dataclass(frozen=True)
class Run:
    """What a run of the command line left."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> str:
        """The one error line."""
        lines = [line for line in self.err.splitlines() if line.startswith("streammat: error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("streammat: error: ")

    def ok(self) -> Run:
        """Fail unless the run went well."""
        assert self.code == 0, f"exit code {self.code}\n{self.err}\n{self.out}"
        return self

    def refused(self, code: int, *words: str) -> Run:
        """Fail unless the run ended with ``code`` and one line on stderr that holds every one of ``words``."""
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self.err}\n{self.out}"
        assert "Traceback" not in self.err, self.err
        message = self.error.lower()
        for word in words:
            assert word.lower() in message, f"{word!r} is not in {message!r}"
        return self


def call(*arguments: str | Path) -> Run:
    """Run ``streammat`` with ``arguments`` in this process."""
    from streammat.cli import main

    return in_process(main, "streammat", arguments)


def in_process(main: Callable[[], Any], program: str, arguments: Sequence[str | Path]) -> Run:
    """Run a program's entry point with ``arguments`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = [program, *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return Run(code, out.getvalue(), err.getvalue())


class Spawned(subprocess.Popen[str]):
    """A process that a failing test does not wait for, and does not leave behind."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, trace)


def spawn(
    *arguments: str | Path, environment: dict[str, str] | None = None, terminal: int | None = None, **options: Any
) -> Spawned:
    """Start ``python -m streammat`` with ``arguments`` in a process of its own; ``terminal`` takes its stderr."""
    return Spawned(
        [sys.executable, "-m", "streammat", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        # A crash in a library says where it was.
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1", **(environment or {})},
        **options,
    )


def run(*arguments: str | Path, environment: dict[str, str] | None = None, seconds: float = 60.0, **options: Any) -> Run:
    """Run ``python -m streammat`` with ``arguments`` in a process of its own, to its end."""
    with spawn(*arguments, environment=environment, **options) as process:
        out, err = process.communicate(timeout=seconds)
    return Run(process.returncode, out, err)


def video(source: str | Path, target: str | Path, *arguments: str | Path) -> Run:
    """``streammat video`` in this process, quickly, with a report."""
    return call("video", source, target, *QUICK, "--json", *arguments)


def python(code: str, *, environment: dict[str, str] | None = None) -> str:
    """What a fresh Python prints for ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.01)


def names(folder: Path) -> Sequence[str]:
    """Names of the files in ``folder``, in order."""
    return sorted(path.name for path in folder.iterdir())
