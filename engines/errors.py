"""The root of every error that is raised on purpose, by the runtime, the engines and training alike."""

from __future__ import annotations

from typing import Any, Final

_LONGEST: Final = 60
"""Longest value in a message, in letters."""
_LONGEST_WORD: Final = 600
"""Longest word of a message, in letters."""


class StreammatError(Exception):
    """Root of the tree; ``str(error)`` is one line for users: what was found; what was expected; what to do."""


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, its class if it has none; words of thousands of letters, which no path has, are shortened."""
    return " ".join(word if len(word) <= _LONGEST_WORD else shortened(word) for word in str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return a library's error in one line: the system's text for it, or the first line of its message, or its class."""
    said = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return said[0].strip() if said else type(error).__name__


def shortened(value: Any) -> str:
    """Return a value for a message, shortened."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
