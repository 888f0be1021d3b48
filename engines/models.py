"""Files of one model, as engines take them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.base import EngineError


@dataclass(frozen=True)
class ModelFiles:
    """One model at its precisions."""

    name: str
    """Model id, such as ``lite``."""
    fp32: Path
    """ONNX file: input ``rgb`` uint8 (N, H, W, 3), output ``alpha`` float32 (N, H/2, W/2)."""
    int8: Path | None = None
    """QDQ ONNX file of the same contract; None: the model has none."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hex digest by precision; a file without one is not verified."""

    def read(self, precision: str) -> bytes:
        """Read the file of a precision and verify its digest.

        Args:
            precision: ``fp32`` or ``int8``.

        Returns:
            The file's bytes, which backends load as they are: what was verified is what runs.

        Raises:
            EngineError: the precision does not exist, the file cannot be read, or it is not the file that was shipped.
        """
        path = {"fp32": self.fp32, "int8": self.int8}.get(precision)
        if path is None:
            raise EngineError(f"model {self.name!r} has no {precision} file")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read model file {path}: {error.strerror}; reinstall the package") from error
        expected = self.sha256.get(precision)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise EngineError(f"model file {path} is damaged: its sha256 is not {expected}; reinstall the package")
        return content
