"""Settings that were changed during a run, as TOML for ``--config``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, UsageError, first_line


def settings_toml(settings: Mapping[str, Any]) -> str:
    """Return one line for each; those that are None are left out."""
    # JSON's text, numbers and lists of text are TOML's.
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items() if value is not None)


def save_settings(path: str | None, settings: Mapping[str, Any]) -> str:
    """Write settings into the file that the run was started with; other options in it, and comments, stay.

    Args:
        path: of the file, as ``--config`` has it.
        settings: by option; those that are None leave the file.

    Returns:
        The path.

    Raises:
        UsageError: the run was started without such a file, tomlkit is not installed, or the file is no TOML any more.
        OutputError: it cannot be written.
    """
    if path is None:
        raise UsageError("save: there is no file to save in; start with --config FILE, or take what the command settings gives")
    try:
        import tomlkit
        from tomlkit.exceptions import ParseError
    except ModuleNotFoundError as error:
        raise UsageError(f'save: needs {error.name}, which is not installed; run: pip install "streammat[web]"') from error
    file = Path(os.path.realpath(path))
    try:
        found = tomlkit.parse(file.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if value is not None:
                found[name] = value
            elif name in found:
                del found[name]
        write_whole(file, tomlkit.dumps(found).encode())
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"save: {path} is no TOML ({first_line(error)}); mend it, or take what the command settings gives") from error
    except OSError as error:
        raise OutputError(f"save: {path} cannot be written ({first_line(error)}); make room, or check its permissions") from error
    return path
