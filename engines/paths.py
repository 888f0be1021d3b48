"""Expands ``~`` in paths, and finds the user's home folder."""

from __future__ import annotations

import os
from pathlib import Path

from streammat.engines.base import EngineError


def expanded(text: str) -> Path:
    """Expand ``~`` and ``~user``; without such a user or home the path is returned unchanged, so that the error names it as
    written.
    """
    return Path(os.path.expanduser(text))


def home(setting: str) -> Path:
    """Return the user's home folder.

    Args:
        setting: name of the environment variable to set instead, for the message.

    Raises:
        EngineError: there is none: HOME is not set, and the system does not have the user.
    """
    folder = expanded("~")
    if not folder.is_absolute():
        raise EngineError(f"this user has no home folder (HOME is not set); set {setting} to a folder")
    return folder
