"""Paths as people give them: ``~``, and where a user's own files lie."""

from __future__ import annotations

import os
from pathlib import Path

from streammat.engines.base import EngineError


def expanded(text: str) -> Path:
    """``~`` and ``~user`` replaced; left as they are where there is no such user or home, so that the file is missed under its own name."""
    return Path(os.path.expanduser(text))


def home(setting: str) -> Path:
    """The user's home folder.

    Args:
        setting: name of the environment variable that makes it needless.

    Raises:
        EngineError: there is none: HOME is not set, and the system does not know the user.
    """
    folder = expanded("~")
    if not folder.is_absolute():
        raise EngineError(f"this user has no home folder (HOME is not set); set {setting} to a folder")
    return folder
