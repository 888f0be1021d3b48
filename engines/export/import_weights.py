"""Imports torch weights as a model of this package, which runs without torch: exports, compares, writes a card.

The only module on the runtime's side that needs torch and onnx; it is imported only when needed.
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streammat.engines.base import EngineError
from streammat.engines.export.onnx import export_onnx, measure_parity
from streammat.engines.model_files import ModelFiles, card_files, file_sha256, read_card
from streammat.engines.network.checkpoint import load_checkpoint, save_network
from streammat.engines.network.gfm import GFM, Ablation


def import_checkpoint(
    path: Path, name: str, folder: Path, rosta: str | None = None, *, created_by: str = "streammat", replace: bool = False
) -> ModelFiles:
    """Export weights into a new model folder.

    The folder is written under another name and renamed at the end, so an interrupt leaves no incomplete folder.

    Args:
        path: ``.pth`` or ``.safetensors``, as `streammat.engines.network.checkpoint.load_checkpoint` reads them.
        name: name of the model and its folder.
        folder: the models' folder; ``<folder>/<name>/`` receives ``<name>.fp32.onnx``, ``<name>.safetensors`` for engines that
            build the network themselves, and the card ``<name>.json``.
        rosta: as for `load_checkpoint`; None infers it.
        created_by: program and version, for the card.
        replace: replace an existing model of this name.

    Returns:
        The files, with the digest of the card.

    Raises:
        EngineError: the weights cannot be read, do not fit or are too large, the export disagrees with them, it cannot be
            written, or a model of this name exists.
    """
    target = folder / name
    if target.exists() and not replace:
        raise EngineError(f"model folder {target} is there already; remove it, or replace it (--force)")
    model = load_checkpoint(path, rosta)
    try:
        # Named before it is made, so that no interrupt falls between the two.
        temporary = folder / f".importing-{secrets.token_hex(6)}"
        try:
            made = temporary / name
            made.mkdir(parents=True)
            _fill(made, model, path, created_by)
            _publish(made, target, replace=replace)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise EngineError(f"cannot write model folder {target}: {error.strerror or error}; check space and permissions, or set STREAMMAT_MODELS") from error
    card = target / f"{name}.json"
    hint = "import it again"
    return card_files(card, read_card(card, hint), hint)


def _fill(folder: Path, model: GFM, source: Path, created_by: str) -> None:
    name = folder.name
    onnx = folder / f"{name}.fp32.onnx"
    export_onnx(model, onnx)
    parity = measure_parity(model, ModelFiles(name, onnx))
    weights = folder / f"{name}.safetensors"
    save_network(model, weights)
    card: dict[str, Any] = {
        "name": name,
        "created_by": created_by,
        "source": {"file": source.name, "bytes": source.stat().st_size, "sha256": file_sha256(source)},
        "network": model.network,
        "rosta": model.rosta,
        "parameters": sum(value.numel() for value in model.parameters()),
        "files": {
            kind: {"file": file.name, "bytes": file.stat().st_size, "sha256": file_sha256(file)} for kind, file in (("fp32", onnx), ("weights", weights))
        },
        "input": {"name": "rgb", "dtype": "uint8", "shape": ["N", "H", "W", 3], "colour": "RGB", "multiple_of": 32},
        "output": {
            "name": "alpha",
            "dtype": "float32",
            "shape": ["N", "H", "W"] if model.stride == 1 else ["N", f"H/{model.stride}", f"W/{model.stride}"],
            "range": [0, 1],
        },
        "licence": f"as that of {source.name}; the import changes nothing about it",
        "difference_from_torch": asdict(parity),
    }
    if model.ablation != Ablation():
        card["ablation"] = asdict(model.ablation)
    (folder / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _publish(made: Path, target: Path, *, replace: bool) -> None:
    """Rename the finished folder; an existing one is moved aside first and removed with the temporary folder."""
    aside = made.with_name(f"{made.name}.old")
    if replace and target.exists():
        target.rename(aside)
    try:
        made.rename(target)
    except OSError as error:
        if aside.exists():
            aside.rename(target)
        elif target.exists():
            raise EngineError(f"model folder {target} has appeared meanwhile; remove it, or replace it (--force)") from error
        raise
