"""Expands ``~`` in paths, and finds the user's home folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from streammat.engines.base import EngineError


def expanded(text: str) -> Path:
    """Expand ``~`` and ``~user``; without such a user or home the path is returned unchanged, so that the error names it as
    written.
    """
    return Path(os.path.expanduser(text))


def user_folder(kind: Literal["cache", "data"], setting: str) -> Path:
    """Return our folder in the system's place for user data or for caches; it may not exist yet.

    Args:
        kind: which of the two places.
        setting: name of the environment variable to set instead, for the message.

    Raises:
        EngineError: the user has no home folder: HOME is not set, and the system does not know the user.
    """
    from platformdirs import user_cache_path, user_data_path

    try:
        folder: Path = (user_cache_path if kind == "cache" else user_data_path)("streammat", appauthor=False)
    except RuntimeError:  # of newer versions; earlier ones leave ~ in it
        folder = Path("~")
    if not folder.is_absolute():
        raise EngineError(f"this user has no home folder (HOME is not set); set {setting} to a folder")
    return folder
