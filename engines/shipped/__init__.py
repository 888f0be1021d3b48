"""The models that come with the package, with their cards; `streammat.models.library` also finds the user's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from streammat.engines.base import EngineError
from streammat.engines.model_files import ModelFiles, card_files, read_card

_CURE = "reinstall the package"


def shipped_names() -> list[str]:
    """Return the ids of the shipped models, in order."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def card(name: str = "lite") -> dict[str, Any]:
    """Return the card of a shipped model: version, sha256 per file, contract, licence, measured metrics.

    Args:
        name: model id.

    Returns:
        The parsed ``<name>.json``.

    Raises:
        EngineError: no such model is shipped, or its card is damaged.
    """
    try:
        return read_card(_folder() / f"{name}.json", _CURE)
    except FileNotFoundError as error:
        raise EngineError(f"no shipped model is named {name!r}; shipped: {', '.join(shipped_names()) or 'none'}") from error


def shipped(name: str = "lite") -> ModelFiles:
    """Return the files of a shipped model, with the digests that engines verify on opening.

    Args:
        name: model id.

    Returns:
        Paths within the installed package.

    Raises:
        EngineError: no such model is shipped, or its card is damaged.
    """
    return card_files(_folder() / f"{name}.json", card(name), _CURE)


def _folder() -> Path:
    return Path(str(files(__package__)))
