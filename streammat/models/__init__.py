"""Models that come with the package, with the cards that describe them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from engines.base import EngineError
from engines.models import ModelFiles


def card(name: str = "lite") -> dict[str, Any]:
    """The card of a shipped model: version, sha256 per file, contract, licence, measured metrics.

    Args:
        name: model id.

    Returns:
        The parsed ``<name>.json``.

    Raises:
        EngineError: no such model is shipped, or its card is damaged.
    """
    path = _folder() / f"{name}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(found.stem for found in _folder().glob("*.json"))) or "none"
        raise EngineError(f"no shipped model is named {name!r}; shipped: {known}") from error
    except (OSError, ValueError) as error:
        raise EngineError(f"cannot read model card {path}: {error}; reinstall the package") from error
    return content


def shipped(name: str = "lite") -> ModelFiles:
    """Files of a shipped model, with the digests that engines verify on opening.

    Args:
        name: model id.

    Returns:
        Paths within the installed package.

    Raises:
        EngineError: no such model is shipped, or its card is damaged.
    """
    entries = card(name)["files"]
    onnx = {kind: entries[kind] for kind in ("fp32", "int8")}
    paths = {kind: _folder() / entry["file"] for kind, entry in onnx.items()}
    digests = {kind: entry["sha256"] for kind, entry in onnx.items()}
    return ModelFiles(name, paths["fp32"], paths["int8"], digests)


def _folder() -> Path:
    return Path(str(files(__package__)))
