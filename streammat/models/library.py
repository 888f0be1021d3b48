"""Finds models by name or file: those that come with the package, and those that the user imported.

An imported model is a folder ``<name>/`` with ``<name>.fp32.onnx`` and its card ``<name>.json``, below `library_folder`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from streammat.engines.base import EngineError
from streammat.engines.model_files import ModelFiles, card_files, file_sha256, read_card
from streammat.engines.paths import expanded, user_folder
from streammat.engines.shipped import card as shipped_card
from streammat.engines.shipped import shipped, shipped_names
from streammat.errors import InputError, UsageError
from streammat.paths import check_readable

logger = logging.getLogger(__name__)

WEIGHTS = (".pth", ".safetensors")
"""Extensions of weights that are imported before they run."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_CURE = "remove it (streammat model remove) and import it again"


@dataclass(frozen=True)
class Entry:
    """One model that can be selected by name."""

    name: str
    card: Mapping[str, Any] | None
    """The model's card; None if it cannot be read."""
    imported: bool
    """False for a model that came with the package."""
    fault: str = ""
    """What is wrong with the card."""


def library_folder() -> Path:
    """Return the folder of imported models: ``STREAMMAT_MODELS``, or in the platform's folder for user data.

    Raises:
        UsageError: ``STREAMMAT_MODELS`` names a file.
    """
    if chosen := os.environ.get("STREAMMAT_MODELS"):
        folder = expanded(chosen)
        if os.path.isfile(folder):
            raise UsageError(f"STREAMMAT_MODELS is {chosen}, a file; expected a folder")
        return folder
    return user_folder("data", "STREAMMAT_MODELS") / "models"


def find_model(model: str) -> ModelFiles:
    """Find the files of a model.

    Args:
        model: name of a shipped or an imported model; path of an ``.onnx`` file of the contract in
            `streammat.engines.base.Engine`; or path of weights (`WEIGHTS`), which are imported on first use and found by digest
            and name afterwards.

    Returns:
        Files; engines verify the digests of all but a plain ``.onnx`` file.

    Raises:
        UsageError: there is no such name, or the file is of an unsupported kind.
        InputError: the file is missing or cannot be read.
        EngineError: the model or the weights are damaged or do not fit, or a package that the import needs is not installed.
    """
    path = expanded(model)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        _check_file(path)
        return ModelFiles(path.name, path, hint="check the path")
    if suffix in WEIGHTS:
        return _imported_weights(path)
    if model in shipped_names():
        return shipped(model)
    if _NAME.fullmatch(model):
        try:
            return _imported(model)
        except FileNotFoundError:
            pass
    if path.name != model or os.path.isfile(path):
        raise UsageError(f"--model {model}: expected a name, or a file that ends in .onnx, {' or '.join(WEIGHTS)}")
    known = ", ".join(entry.name for entry in list_models())
    raise UsageError(f"no model is named {model!r}; known: {known}; `streammat model import` adds more")


def list_models() -> list[Entry]:
    """Return shipped models, then imported ones by name; folders without a model are skipped."""
    entries = [Entry(name, shipped_card(name), imported=False) for name in shipped_names()]
    folder = library_folder()
    try:
        names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name) and os.path.isdir(path))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check STREAMMAT_MODELS") from error
    for name in names:
        try:
            entries.append(Entry(name, _card(name), imported=True))
        except FileNotFoundError:
            continue
        except EngineError as error:
            entries.append(Entry(name, None, imported=True, fault=str(error)))
    return entries


def show_model(name: str) -> Mapping[str, Any]:
    """Return the card of a model by name.

    Raises:
        UsageError: there is none of this name.
        EngineError: its card is damaged.
    """
    if name in shipped_names():
        return shipped_card(name)
    _must_be_there(name)
    return _card(name)


def import_model(path: str, name: str | None = None, rosta: str | None = None, *, replace: bool = False) -> ModelFiles:
    """Import weights under a name.

    Args:
        path: the weights, one of `WEIGHTS`.
        name: letters, digits, ``.``, ``_``, ``-``; None: the file's name without other characters.
        rosta: ``TT``, ``FT``, ``BT`` or ``RIM``; None: from the weights; FT or BT from the file's name.
        replace: replace an existing model of this name.

    Raises:
        UsageError: the name is invalid or taken, or the file is of another kind.
        InputError: the file is missing.
        EngineError: see `find_model`.
    """
    source = expanded(path)
    if source.suffix.lower() == ".onnx":
        raise UsageError(f"{path}: needs no import; give it as it is: --model {path}")
    if source.suffix.lower() not in WEIGHTS:
        raise UsageError(f"{path}: expected weights that end in {' or '.join(WEIGHTS)}")
    _check_file(source)
    name = _clean(source.stem) if name is None else name
    if not _NAME.fullmatch(name) or Path(name).suffix.lower() in (".onnx", *WEIGHTS):
        raise UsageError(f"--name {name!r}: expected letters, digits, '.', '_' and '-', and no ending of a model file")
    if name in shipped_names():
        raise UsageError(f"--name {name}: is the name of a model that comes with the package; take another")
    if os.path.lexists(library_folder() / name) and not replace:
        raise UsageError(f"--name {name}: is there already; give --force to replace it")
    return _import(source, name, rosta, replace=replace)


def remove_model(name: str) -> None:
    """Delete an imported model.

    Raises:
        UsageError: there is none of this name, or it comes with the package.
        InputError: it cannot be deleted.
    """
    if name in shipped_names():
        raise UsageError(f"{name}: comes with the package and cannot be removed; `streammat model list` shows imported ones")
    _must_be_there(name)
    folder = library_folder() / name
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be removed ({error.strerror}); check its permissions") from error


def _imported_weights(path: Path) -> ModelFiles:
    """Return the model imported from weights, now or earlier. Digest and file name must match, because the name distinguishes FT
    from BT.
    """
    _check_file(path)
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    for entry in list_models():
        if entry.imported and entry.card is not None:
            source = entry.card.get("source", {})
            if (source.get("sha256"), source.get("file")) == (digest, path.name):
                return _imported(entry.name)
    name = f"{_clean(path.stem)[:60]}-{digest[:12]}"
    logger.info("importing %s as model %s; from now on it is taken from there", path, name)
    try:
        # What lies there under this name and was not found just now is damaged.
        return _import(path, name, None, replace=os.path.lexists(library_folder() / name))
    except EngineError:
        try:  # another process may have been quicker
            return _imported(name)
        except FileNotFoundError:
            pass
        raise


def _import(source: Path, name: str, rosta: str | None, *, replace: bool) -> ModelFiles:
    importing = load_late("streammat.engines.export.import_weights", "importing weights")
    files: ModelFiles = importing.import_checkpoint(source, name, library_folder(), rosta, created_by=program(), replace=replace)
    return files


def load_late(module: str, purpose: str) -> Any:
    """Import a module that needs torch, by name: the runtime itself must not import torch.

    Raises:
        EngineError: a package that it needs is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise EngineError(f"{purpose} needs {missing}, which is not installed; pip install 'streammat[train]'") from error


def program() -> str:
    """Return name and version of this program, for metadata."""
    from importlib import metadata  # takes 15 ms of every start, and few ask

    try:
        return f"streammat {metadata.version('streammat')}"
    except metadata.PackageNotFoundError:  # run from its source
        return "streammat"


def _imported(name: str) -> ModelFiles:
    """Return the files of an imported model; raises FileNotFoundError if there is none."""
    return card_files(_card_path(name), _card(name), _CURE)


def _card(name: str) -> dict[str, Any]:
    return read_card(_card_path(name), _CURE)


def _card_path(name: str) -> Path:
    return library_folder() / name / f"{name}.json"


def _must_be_there(name: str) -> None:
    if not _NAME.fullmatch(name) or not os.path.lexists(_card_path(name)):
        known = ", ".join(entry.name for entry in list_models())
        raise UsageError(f"no model is named {name!r}; known: {known}")


def _check_file(path: Path) -> None:
    check_readable(path, "a model file")


def _clean(stem: str) -> str:
    """Return a file's stem as a valid model name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-") or "model"
