"""Exports for other programs: ONNX files and torch programs of fixed or free size, with metadata about inputs and outputs."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streammat.engines.backends.cuda import load_weights
from streammat.engines.backends.onnxruntime import run_file
from streammat.engines.base import EngineError, default_threads
from streammat.engines.choice import int8_feature
from streammat.engines.export.onnx import OPSET, check_weights, write_onnx
from streammat.engines.export.parity import NOTICEABLE, Parity, compare, draw
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM, Prediction
from streammat.engines.whole_files import whole_file

METADATA = "streammat.json"
"""Name of the metadata file inside a torch program."""
BOUNDS: Mapping[str, tuple[float, float]] = {"fp32": (1e-3, 5e-3), "fp16": (2e-3, 0.02), "int8": (0.02, 0.25)}
"""Largest mean difference from torch in float32, and largest share of pixels that differ by more than `NOTICEABLE`, by precision."""
_LEAST_FREE = 6
"""Least side of a torch program of free size, in steps of 32 pixels: below it the pooled cells of the paper's networks overlap in
another way.
"""
_CLASSES = {"TT": "background, transition, foreground", "FT": "everything else, (eroded) foreground", "BT": "background, (dilated) everything else"}


@dataclass(frozen=True)
class Form:
    """Inputs and outputs of an exported file."""

    size: tuple[int, int] | None
    """Network input (height, width) in pixels, multiples of 32; None: free."""
    batch: int | None
    """Images per batch; None: free."""
    precision: str
    """``fp32``, ``fp16`` (inside; inputs and outputs stay the same), or ``int8``, for ONNX, if the model has it."""
    opset: int | None = None
    """ONNX opset; None: `streammat.engines.export.onnx.OPSET`, or the int8 file's own."""
    heads: bool = False
    """Also output glance and focus."""
    normalised: bool = False
    """Input is float32 (N, 3, H, W), 0..1, and outputs have that layout, instead of uint8 (N, H, W, 3)."""


def export_model(files: ModelFiles, target: Path, form: Form, about: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Parity]]:
    """Write a model for other programs, and compare it with its network.

    The file is written under another name and renamed when complete.

    Args:
        files: the model's files; its weights are exported, or its int8 file.
        target: ends in ``.onnx`` or ``.pt2``; replaced.
        form: inputs and outputs of the file.
        about: see `describe`.

    Returns:
        The file's metadata, and for each output the difference from torch in float32.

    Raises:
        EngineError: the weights are missing, damaged or too large, the file disagrees with them, or it cannot be written.
    """
    model = load_weights(files)
    metadata = describe(model, form, about)
    try:
        with whole_file(target) as partial:
            if form.precision == "int8":
                write_quantised(files.read("int8"), partial, form, metadata, model.stride)
            else:
                (write_program if target.suffix == ".pt2" else write_graph)(model, partial, form, metadata)
            parity = measure(model, partial, form)
    except OSError as error:
        raise EngineError(f"cannot write {target}: {error.strerror or error}") from error
    except RuntimeError as error:
        if isinstance(error, EngineError):
            raise
        # Torch's own writers say by no class of their own that a disk is full.
        raise EngineError(f"cannot write {target}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    return metadata, parity


class OutwardMatte(nn.Module):
    """A network with the inputs and outputs of an exported file; see `Form`.

    Args:
        model: any network; copied.
        form: precision, outputs and layout.
    """

    def __init__(self, model: GFM, form: Form) -> None:
        super().__init__()
        self.folded = FoldedMatte(model, torch.float16 if form.precision == "fp16" else torch.float32)
        self.form = form

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map a batch to alpha, or to alpha, glance and focus: float32, 0..1."""
        image = picture * 255.0 if self.form.normalised else picture.permute(0, 3, 1, 2).float()
        maps = _arranged(self.folded.model, self.folded.predict(image), self.form)
        return maps if self.form.heads else maps[0]


def _arranged(model: GFM, prediction: Prediction, form: Form) -> tuple[Tensor, ...]:
    """Return alpha, glance and focus in the layout of ``form``."""
    head = prediction.heads[model.heads[0]]
    maps = (prediction.alpha.clamp(0.0, 1.0), model.probability(head.glance), head.focus) if form.heads else (prediction.alpha.clamp(0.0, 1.0),)
    if form.normalised:
        return maps
    return tuple(one.permute(0, 2, 3, 1) if index == 1 else one[:, 0] for index, one in enumerate(maps))


def describe(model: GFM, form: Form, about: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata for the file.

    Args:
        model: the network.
        form: inputs and outputs of the file.
        about: facts about the weights: name, version, licence and the like.

    Returns:
        Text by key; the keys of ``about`` first.
    """
    height, width = ("H", "W") if form.size is None else map(str, form.size)
    count = "N" if form.batch is None else str(form.batch)
    h, w = (side if model.stride == 1 else str(int(side) // model.stride) if form.size else f"{side}/{model.stride}" for side in (height, width))
    classes = len(_CLASSES[model.heads[0]].split(", "))
    given = f"float32 ({count}, 3, {height}, {width}), RGB, 0..1" if form.normalised else f"uint8 ({count}, {height}, {width}, 3), RGB, 0..255"

    def map_of(channels: str) -> str:
        if form.normalised:
            return f"float32 ({count}, {channels}, {h}, {w}), 0..1"
        return f"float32 ({count}, {h}, {w}), 0..1" if channels == "1" else f"float32 ({count}, {h}, {w}, {channels}), 0..1"

    told = dict(about) | {
        "network": f"GFM {model.network}, RoSTa {model.rosta} (Li, Zhang, Maybank, Tao: Bridging Composite and Real, IJCV 2022)",
        "precision": form.precision,
        "input": f"{'image' if form.normalised else 'rgb'}: {given}; the image's own values, no mean taken off; {height} and {width} are multiples of 32",
        "input_size_rule": "5/13 of the frame's sides, floored to multiples of 32; small frames enlarged to about 480x256; the whole frame, resized by area, not cropped or padded",
        "input_colour": "RGB",
        "input_layout": "NCHW" if form.normalised else "NHWC",
        "input_range": "0..1" if form.normalised else "0..255",
        "output_alpha": f"alpha: {map_of('1')}; 1 is foreground; resize it to the frame (bilinear)",
        "output_stride": str(model.stride),
    }
    if form.heads:
        of = " (of RIM: of its TT head)" if model.rosta == "RIM" else ""
        how = "sums to 1 over the classes" if model.soft else "the largest one is the class"
        told |= {
            "output_glance": f"glance: {map_of(str(classes))}; classes {_CLASSES[model.heads[0]]}; {how}{of}",
            "output_focus": f"focus: {map_of('1')}; {_FOCUS[model.heads[0]]}{of}",
        }
    return told


_FOCUSED = {"TT": 1, "FT": 0, "BT": 1}
"""The class for which alpha is the focus."""
_FOCUS = {
    "TT": "alpha within the transition: alpha = foreground + transition * focus",
    "FT": "what is missing to alpha: alpha = min(foreground + focus, 1)",
    "BT": "what is too much for alpha: alpha = max(everything else - focus, 0)",
}


def write_program(model: GFM, path: Path, form: Form, metadata: Mapping[str, str]) -> None:
    """Write a torch program (``.pt2``), which ``torch.export.load`` reads with torch alone, without this package.

    Raises:
        OSError: the file cannot be written.
    """
    dim = torch.export.Dim
    sides = (2, 3) if form.normalised else (1, 2)
    free: dict[int, object] = {} if form.batch is not None else {0: dim("batch")}
    if form.size is None:
        free |= {axis: 32 * dim(name, min=_LEAST_FREE) for axis, name in zip(sides, ("rows", "columns"), strict=True)}
    # The example's cells must not overlap: what holds for it is taken to hold for every size.
    example = _example(form, (352, 416))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(OutwardMatte(model, form).eval(), (example,), dynamic_shapes=(free,) if free else None)
        for module in program.graph_module.modules():
            if isinstance(module, torch.fx.GraphModule):
                for node in module.graph.nodes:
                    node.meta.pop("stack_trace", None)  # paths on this machine, which are nobody's business
        # Through memory: on a full disk torch's own writer ends the whole process.
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={METADATA: json.dumps(dict(metadata), indent=2)})
    path.write_bytes(content.getbuffer())


def write_graph(model: GFM, path: Path, form: Form, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file in floating point.

    Raises:
        EngineError: the weights are too large for one file.
        OSError, RuntimeError: the file cannot be written.
    """
    check_weights(model)
    sides = ("height", "width") if model.stride == 1 else ("half_height", "half_width")

    def axes(first: int, names: tuple[str, str]) -> dict[int, str]:
        free = {} if form.batch is not None else {0: "batch"}
        return free | ({} if form.size is not None else {first: names[0], first + 1: names[1]})

    first = 2 if form.normalised else 1
    outputs = ("alpha", "glance", "focus") if form.heads else ("alpha",)
    named = {_input(form): axes(first, ("height", "width"))} | {name: axes(first, sides) for name in outputs}
    write_onnx(OutwardMatte(model, form).eval(), _example(form, (64, 96)), path, named, form.opset or OPSET, metadata)


def write_quantised(content: bytes, path: Path, form: Form, metadata: Mapping[str, str], stride: int) -> None:
    """Write a model's int8 ONNX file with its size fixed and its metadata added.

    Args:
        content: that file's content.
        path: target.
        form: size and batch count.
        metadata: as from `describe`.
        stride: network pixels per alpha pixel.

    Raises:
        OSError: the file cannot be written.
    """
    graph = onnx.load_from_string(content)
    fixed = {} if form.batch is None else {"batch": form.batch}
    if form.size is not None:
        height, width = form.size
        fixed |= {"height": height, "width": width, "half_height": height // stride, "half_width": width // stride}
    for port in (*graph.graph.input, *graph.graph.output):
        for side in port.type.tensor_type.shape.dim:
            if side.dim_param in fixed:
                side.dim_value = fixed[side.dim_param]
    del graph.graph.value_info[:]  # which tells shapes between by the free names
    onnx.helper.set_model_props(graph, dict(metadata))
    onnx.save(graph, path)
    onnx.checker.check_model(str(path), full_check=True)


def measure(model: GFM, path: Path, form: Form) -> dict[str, Parity]:
    """Measure how far each output of a written file differs from torch in float32, on drawn images; the focus is weighted by its
    class.

    Args:
        model: the exported network.
        path: ``.onnx`` or ``.pt2``.
        form: inputs and outputs of the file.

    Returns: The differences, by output.

    Raises:
        EngineError: the file does not run, or an output is beyond `BOUNDS`.
    """
    names = ("alpha", "glance", "focus") if form.heads else ("alpha",)
    pairs: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {name: [] for name in names}
    content = path.read_bytes() if path.suffix == ".onnx" else b""
    program = None if content else torch.export.load(path).module()
    for rgb in _pictures(form, 32 * _LEAST_FREE if program else 96):
        image = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
        given = image / 255.0 if form.normalised else torch.from_numpy(rgb)
        with torch.no_grad():
            # Where the input is 0..1, both see what rounding made of it.
            expected = _arranged(model, model.predict(given * 255.0 if form.normalised else image), form)
            if program is None:
                found = run_file(content, {_input(form): given.contiguous().numpy()}, default_threads())
            else:
                made = program(given.contiguous())
                found = {name: one.numpy() for name, one in zip(names, made if form.heads else (made,), strict=True)}
        for name, one in zip(names, expected, strict=True):
            weight = np.ones((), np.float32)
            if name == "focus":
                # It is trained, and means something, only where alpha takes it.
                weight = np.take(expected[1].numpy(), _FOCUSED[model.heads[0]], axis=1 if form.normalised else 3).reshape(one.shape)
            pairs[name].append((found[name] * weight, one.numpy() * weight))
    parities = {name: compare(each) for name, each in pairs.items()}
    mean, off = BOUNDS[form.precision]
    # The paper's fusion takes the likeliest class: where two are level, rounding decides, and a pixel may differ by up to 1.
    for name, parity in parities.items():
        if not (parity.mean <= mean and parity.off <= off):  # so that NaN is refused, too
            slow = form.precision == "int8" and int8_feature() is None
            cause = "; this CPU has no int8 dot products, and what it has instead spoils int8" if slow else ""
            raise EngineError(
                f"the export in {form.precision} disagrees with its weights and is not kept: {name} differs by {parity.mean:.1e} on average and by more "
                f"than {NOTICEABLE} in {parity.off:.2%} of the pixels; at most {mean:.0e} and {off:.1%} are allowed{cause}; try --precision fp32"
            )
    return parities


def _input(form: Form) -> str:
    return "image" if form.normalised else "rgb"


def _example(form: Form, size: tuple[int, int]) -> Tensor:
    """Return a black batch for tracing; a free batch size is traced with two images, because torch would treat one as constant."""
    height, width = form.size or size
    count = form.batch or 2
    return torch.zeros(count, 3, height, width) if form.normalised else torch.zeros(count, height, width, 3, dtype=torch.uint8)


def _pictures(form: Form, least: int) -> Iterator[NDArray[np.uint8]]:
    """Yield drawn batches, uint8 (N, H, W, 3), of the file's size or of two free ones."""
    rng = np.random.default_rng(11)
    for height, width in (form.size,) if form.size else ((least + 32, least), (least, least + 128)):
        picture = draw(height, width, rng)
        # Each image of a batch is another.
        yield np.ascontiguousarray(np.concatenate([np.roll(picture, 16 * index, axis=2) for index in range(form.batch or 2)]))
