"""The files of one model, for engines, and its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streammat.engines.base import EngineError, Part
from streammat.engines.onnx_outputs import with_output


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model, by precision."""

    name: str
    """Model id, such as ``lite``."""
    fp32: Path
    """ONNX file: input ``rgb`` uint8 (N, H, W, 3), output ``alpha`` float32 (N, H/s, W/s), s = 1 or 2."""
    int8: Path | None = None
    """QDQ ONNX file of the same contract; None: there is none."""
    weights: Path | None = None
    """``.safetensors`` of `streammat.engines.network.checkpoint.save_network`, for engines that build the network themselves;
    None: there are none.
    """
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 in hexadecimal by kind (``fp32``, ``int8``, ``weights``); a file without one is not verified."""
    hint: str = "reinstall the package"
    """The hint for a missing or damaged file."""
    areas: tuple[int, ...] = ()
    """Areas of the network's inputs, in pixels, largest first, which together give the best matte; (): unknown."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Names of the tensors of ``glance`` (N, 3, h, w) and ``focus`` (N, 1, h, w) in the ONNX files; empty: not known."""

    def read(self, kind: str) -> bytes:
        """Read a file and verify its digest.

        Args:
            kind: ``fp32``, ``int8`` or ``weights``.

        Returns:
            The file's bytes, which backends load directly, so that exactly the verified bytes run.

        Raises:
            EngineError: the file is missing, cannot be read, or does not match the card.
        """
        path = {"fp32": self.fp32, "int8": self.int8, "weights": self.weights}.get(kind)
        if path is None and kind == "weights":
            raise EngineError(
                f"model {self.name!r} has no weights beside its ONNX file, which exports and engines cuda and tensorrt need; "
                "import it again with `streammat model import`, or run it with --engine onnxruntime"
            )
        if path is None:
            raise EngineError(f"model {self.name!r} has no {kind} file; take --precision fp32 or auto")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read model file {path}: {error.strerror}; {self.hint}") from error
        expected = self.sha256.get(kind)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise EngineError(f"model file {path} is damaged: its sha256 is not {expected}; {self.hint}")
        return content

    def read_part(self, kind: str, part: Part) -> bytes:
        """Read an ONNX file as `read` does, with the tensor of a part as its only output.

        Raises:
            EngineError: as `read`, or the card does not name the part.
        """
        content = self.read(kind)
        if part == "alpha":
            return content
        try:
            return with_output(content, self.part_name(part))
        except ValueError as error:
            raise EngineError(f"model {self.name!r} ({kind}) cannot be reduced to its {part}: {error}; {self.hint}") from error

    def part_name(self, part: Part) -> str:
        """Return the name of a part's tensor; raises EngineError if the card does not name it."""
        if part == "alpha":
            return part
        if part not in self.parts:
            raise EngineError(f"model {self.name!r} does not say where its {part} is; take --quality balanced")
        return self.parts[part]


def read_card(path: Path, hint: str) -> dict[str, Any]:
    """Read the card of a model.

    Args:
        path: ``<name>.json``.
        hint: what to do about a damaged card.

    Returns:
        The file's content; ``files`` has an entry ``fp32``.

    Raises:
        FileNotFoundError: there is none.
        EngineError: it is damaged.
    """
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        card_files(path, card, hint)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"cannot read model card {path}: {error}; {hint}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"model card {path} is incomplete ({error}); {hint}") from error
    return card


def card_files(path: Path, card: Mapping[str, Any], hint: str) -> ModelFiles:
    """Return the files that ``card``, read from ``path``, describes."""
    entries = {kind: card["files"][kind] for kind in ("fp32", "int8", "weights") if kind == "fp32" or kind in card["files"]}
    paths = {kind: path.with_name(entry["file"]) for kind, entry in entries.items()}
    digests = {kind: str(entry["sha256"]) for kind, entry in entries.items()}
    areas, parts = tuple(map(int, card.get("best_areas", ()))), dict(card.get("parts", {}))
    return ModelFiles(str(card["name"]), paths["fp32"], paths.get("int8"), paths.get("weights"), digests, hint, areas, parts)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in pieces; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
