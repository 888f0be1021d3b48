"""Exports models for other programs, after checking the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streammat.config import EncodeOptions, ExportOptions
from streammat.engines.base import EngineError, check_size
from streammat.engines.export.parity import Parity
from streammat.engines.model_files import ModelFiles
from streammat.engines.paths import expanded
from streammat.errors import UsageError
from streammat.models.library import find_model, load_late, program, show_model
from streammat.sinks.targets import check_targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    metadata: Mapping[str, str]
    """The metadata in the file."""
    parity: Parity
    """Difference of its alpha from torch in float32."""
    bytes: int


def export_model(model: str, target: str, options: ExportOptions) -> Exported:
    """Write a model as an ONNX file for other programs; see docs/engines.md.

    Args:
        model: as for `streammat.models.library.find_model`, except plain ``.onnx`` files.
        target: an ``.onnx`` file.
        options: input and output of the file.

    Raises:
        UsageError: the options contradict each other, the target exists, or there is no such model.
        OutputError: the target's folder does not exist or may not be written.
        EngineError: a needed package is not installed, the model is damaged, or the file would disagree with its weights.
    """
    path = expanded(target)
    _check(model, path, options)
    check_targets([model], [str(path)], EncodeOptions(overwrite=options.overwrite))
    files = find_model(model)
    interchange = load_late("streammat.engines.export.interchange", "exporting models")
    if options.precision == "int8" and files.int8 is None:
        raise EngineError(
            f"model {files.name!r} has no int8 file: int8 needs ranges measured on some dozens of images like those that it will see, which come with no "
            "weights; take --precision fp16, or quantise the fp32 export with those images (streammat.engines.export.quantize.quantize_onnx)"
        )
    form = interchange.Form(options.size, options.batch, options.precision, options.normalised)
    logger.info("exporting %s; torch writes it and the file is compared with it, which takes seconds to minutes", files.name)
    metadata, parity = interchange.write_interchange(files, path, form, _about(files))
    return Exported(metadata, parity, path.stat().st_size)


def _about(files: ModelFiles) -> dict[str, str]:
    card = show_model(files.name)
    about = {"model": files.name, "version": card.get("version"), "licence": card.get("licence"), "weights_sha256": files.sha256.get("weights")}
    if "source" in card:
        about |= {"source": card["source"]["file"], "source_sha256": card["source"]["sha256"]}
    return {key: str(value) for key, value in about.items() if value is not None} | {"created_by": program()}


def _check(model: str, target: Path, options: ExportOptions) -> None:
    """Refuse impossible requests."""
    if target.suffix != ".onnx":
        raise UsageError(f"{target}: expected a name that ends in .onnx")
    if Path(model).suffix.lower() == ".onnx":
        raise UsageError(f"{model}: is an ONNX file already, and exports are made of weights; give a model's name, or .pth or .safetensors")
    if options.size is not None:
        try:
            check_size(options.size)
        except EngineError as error:
            height, width = options.size
            raise UsageError(f"--size {width}x{height}: expected two multiples of 32, the network's own input; --frame derives them") from error
    if options.batch is not None and options.batch < 1:
        raise UsageError(f"--batch {options.batch}: expected 1 or more, or free")
    if options.precision == "int8" and options.normalised:
        raise UsageError("--precision int8: the int8 file takes uint8, without --normalised-input; take --precision fp32 or fp16")
