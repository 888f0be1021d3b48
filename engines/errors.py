"""The root of every error that is raised on purpose, by the runtime, the engines and training alike."""

from __future__ import annotations


class StreammatError(Exception):
    """Root of the tree; ``str(error)`` is one line for users: what was found; what was expected; what to do."""


def one_line(error: BaseException) -> str:
    """Return an error's message in one line."""
    return " ".join(str(error).split())
