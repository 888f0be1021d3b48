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
from streammat.engines.whole_files import write_whole
from streammat.errors import OutputError, UsageError
from streammat.models.library import find_model, load_late, program, show_model
from streammat.models.photographs import photographs
from streammat.sinks.targets import check_targets

logger = logging.getLogger(__name__)

SUFFIXES = (".onnx", ".pt2", ".engine")
"""Extensions: ONNX, a program of ``torch.export``, a TensorRT plan."""
_GPU = "cuda:0"
OPSETS = range(11, 21)
"""First and last ONNX opset: from the first that has the network's resizing to the last that the exporter supports."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    metadata: Mapping[str, str]
    """The file's metadata; a TensorRT plan cannot hold any."""
    parity: Mapping[str, Parity]
    """Difference from torch in float32, by output."""
    bytes: int


def export_model(model: str, target: str, options: ExportOptions) -> Exported:
    """Write a model as a file for other programs; see docs/engines.md.

    Args:
        model: as for `streammat.models.library.find_model`, except plain ``.onnx`` files.
        target: ends in one of `SUFFIXES`.
        options: inputs and outputs of the file.

    Raises:
        UsageError: the options contradict each other, the target exists, or there is no such model.
        OutputError: the target's folder does not exist or may not be written.
        EngineError: a needed package is not installed, the model is damaged, or the file would disagree with its weights.
    """
    path = expanded(target)
    _check(model, path, options)
    check_targets([model], [str(path)], EncodeOptions(overwrite=options.overwrite))
    if path.suffix == ".engine":
        return _plan(model, path, options)
    files = find_model(model)
    interchange = load_late("streammat.engines.export.interchange", "exporting models")
    if options.precision == "int8" and files.int8 is None:
        raise EngineError(
            f"model {files.name!r} has no int8 file: int8 needs ranges measured on some dozens of images like those that it will see, which come with no "
            "weights; take --precision fp16, or quantise the fp32 export with those images (streammat.engines.export.quantize.quantize_onnx)"
        )
    form = interchange.Form(options.size, options.batch, options.precision, options.opset, options.heads, options.normalised)
    logger.info("exporting %s; torch writes it and the file is compared with it, which takes seconds to minutes", files.name)
    metadata, parity = interchange.export_model(files, path, form, _about(files))
    return Exported(metadata, parity, path.stat().st_size)


def _plan(model: str, path: Path, options: ExportOptions) -> Exported:
    """Write a TensorRT plan for this machine's GPU."""
    assert options.size is not None  # `_check` has seen to it
    building = load_late("streammat.engines.tensorrt.build", "building a plan of TensorRT")
    building.check_builder(_GPU)  # before weights are read, or even imported
    files = find_model(model)
    built = building.build_plan(files, options.size, options.batch, device=_GPU, images=photographs((), options.size))
    try:
        write_whole(path, built.plan)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return Exported(_about(files), {"alpha": built.parity}, len(built.plan))


def _about(files: ModelFiles) -> dict[str, str]:
    card = show_model(files.name)
    about = {"model": files.name, "version": card.get("version"), "licence": card.get("licence"), "weights_sha256": files.sha256.get("weights")}
    if "source" in card:
        about |= {"source": card["source"]["file"], "source_sha256": card["source"]["sha256"]}
    return {key: str(value) for key, value in about.items() if value is not None} | {"created_by": program()}


def _check(model: str, target: Path, options: ExportOptions) -> None:
    """Refuse impossible requests."""
    kind = target.suffix
    if kind not in SUFFIXES:
        raise UsageError(f"{target}: expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
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
    if options.opset is not None and (options.opset not in OPSETS or kind != ".onnx"):
        raise UsageError(f"--opset {options.opset}: expected {OPSETS[0]} to {OPSETS[-1]}, for .onnx alone")
    if options.precision == "int8":
        for refused, words in (
            (kind != ".onnx", f"there is no int8 {kind}"),
            (options.heads, "the int8 file gives alpha alone, without --heads"),
            (options.normalised, "the int8 file takes uint8, without --normalised-input"),
            (options.opset is not None, "the int8 file has its own opset, without --opset"),
        ):
            if refused:
                raise UsageError(f"--precision int8: {words}; take --precision fp32 or fp16")
    if kind == ".engine":
        for refused, words in (
            (options.size is None or options.batch is None, "has one size and one --batch; give --size WxH, or --frame WxH"),
            (options.precision != "fp16", "computes in half precision; give --precision fp16"),
            (options.heads or options.normalised, "takes uint8 and gives alpha, without --heads and --normalised-input"),
        ):
            if refused:
                raise UsageError(f"{target}: a TensorRT plan {words}")
