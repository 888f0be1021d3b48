"""Asks a fresh process for one figure; see `child`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

from streammat.errors import StreammatError


class ChildError(StreammatError):
    """The figure cannot be measured; the message says why in one line."""


class Stopped(Exception):  # noqa: N818 - no error
    """Raised where ``stop`` was called meanwhile."""


class ChildRunner:
    """Runs one measuring process at a time; any thread or signal handler may call ``stop``."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, **job: Any) -> dict[str, Any]:
        """Return the answer to a job of `child.JOBS`.

        Raises:
            ChildError: it failed, or its process died.
            Stopped: ``stop`` was called.
        """
        if self._stopping.is_set():
            raise Stopped
        command = [sys.executable, "-m", "streammat.bench.child"]
        with subprocess.Popen(  # noqa: S603 - our own Python with our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace",
        ) as process:
            self._process = process
            if self._stopping.is_set():
                process.kill()
            try:
                out, err = process.communicate(json.dumps({"kind": kind, **job}))
            except BaseException:
                process.kill()
                raise
            finally:
                self._process = None
        if self._stopping.is_set():
            raise Stopped
        if process.returncode:
            raise ChildError(_end_of(process.returncode, err))
        answer: dict[str, Any] = json.loads(out)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process at work, and start no more."""
        self._stopping.set()
        process = self._process
        if process is not None:
            process.kill()

    @property
    def stopped(self) -> bool:
        """True once ``stop`` was called."""
        return self._stopping.is_set()


def _end_of(code: int, err: str) -> str:
    """Describe in one line why a process died."""
    last = next((line.strip() for line in reversed(err.splitlines()) if line.strip()), "it said nothing")
    if code > 0:
        return f"its process ended with code {code}: {last}"
    name = signal.Signals(-code).name
    cause = "; the system may be out of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{cause}: {last}"
