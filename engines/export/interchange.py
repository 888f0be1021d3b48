"""Exports for other programs: ONNX files of fixed or free size, with metadata about input and output."""

from __future__ import annotations

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
from streammat.engines.errors import first_line
from streammat.engines.export.onnx import check_weights, write_onnx
from streammat.engines.export.parity import NOTICEABLE, Parity, compare, draw
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.folded import FoldedMatte
from streammat.engines.network.gfm import GFM
from streammat.engines.whole_files import whole_file

BOUNDS: Mapping[str, tuple[float, float]] = {"fp32": (1e-3, 5e-3), "fp16": (2e-3, 0.02), "int8": (0.02, 0.25)}
"""Largest mean difference from torch in float32, and largest share of pixels that differ by more than `NOTICEABLE`, by precision."""


@dataclass(frozen=True)
class Form:
    """Input and output of an exported file."""

    size: tuple[int, int] | None
    """Network input (height, width) in pixels, multiples of 32; None: free."""
    batch: int | None
    """Images per batch; None: free."""
    precision: str
    """``fp32``, ``fp16`` (inside; input and output stay the same), or ``int8``, if the model has it."""
    normalised: bool = False
    """Input is float32 (N, 3, H, W), 0..1, and alpha has that layout, instead of uint8 (N, H, W, 3)."""

    @property
    def input(self) -> str:
        """Name of the input."""
        return "image" if self.normalised else "rgb"


def write_interchange(files: ModelFiles, target: Path, form: Form, about: Mapping[str, str]) -> tuple[dict[str, str], Parity]:
    """Write a model for other programs, and compare it with its network.

    The file is written under another name and renamed when complete.

    Args:
        files: the model's files; its weights are exported, or its int8 file.
        target: an ``.onnx`` file; replaced.
        form: input and output of the file.
        about: see `describe`.

    Returns:
        The file's metadata, and the difference of its alpha from torch in float32.

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
                write_graph(model, partial, form, metadata)
            parity = measure(model, partial, form)
    except OSError as error:
        raise EngineError(f"cannot write {target}: {error.strerror or error}; check space and permissions") from error
    except RuntimeError as error:
        if isinstance(error, EngineError):
            raise
        # Torch's own writers say by no class of their own that a disk is full.
        raise EngineError(f"cannot write {target}: {first_line(error)}; check space and permissions") from error
    return metadata, parity


class OutwardMatte(nn.Module):
    """A network with the inputs and outputs of an exported file; see `Form`.

    Args:
        model: any network; copied.
        form: precision and layout.
    """

    def __init__(self, model: GFM, form: Form) -> None:
        super().__init__()
        self.folded = FoldedMatte(model, torch.float16 if form.precision == "fp16" else torch.float32)
        self.form = form

    def forward(self, given: Tensor) -> Tensor:
        """Map a batch to alpha: float32, 0..1."""
        image = given * 255.0 if self.form.normalised else given.permute(0, 3, 1, 2).float()
        return _alpha(self.folded.predict(image).alpha, self.form)


def _alpha(alpha: Tensor, form: Form) -> Tensor:
    """Return alpha in 0..1 and in the layout of ``form``."""
    clamped = alpha.clamp(0.0, 1.0)
    return clamped if form.normalised else clamped[:, 0]


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
    given = f"float32 ({count}, 3, {height}, {width}), RGB, 0..1" if form.normalised else f"uint8 ({count}, {height}, {width}, 3), RGB, 0..255"
    made = f"float32 ({count}, {'1, ' if form.normalised else ''}{h}, {w}), 0..1"
    return dict(about) | {
        "network": f"GFM {model.network}, RoSTa {model.rosta} (Li, Zhang, Maybank, Tao: Bridging Composite and Real, IJCV 2022)",
        "precision": form.precision,
        "input": f"{form.input}: {given}; the image's own values, no mean taken off; {height} and {width} are multiples of 32",
        "input_size_rule": "5/13 of the frame's sides, rounded to multiples of 32; small frames enlarged to about 480x288; the whole frame, resized by area, not cropped or padded",
        "input_colour": "RGB",
        "input_layout": "NCHW" if form.normalised else "NHWC",
        "input_range": "0..1" if form.normalised else "0..255",
        "output_alpha": f"alpha: {made}; 1 is foreground; resize it to the frame (bilinear)",
        "output_stride": str(model.stride),
    }


def write_graph(model: GFM, path: Path, form: Form, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file in floating point.

    Raises:
        EngineError: the weights are too large for one file.
        OSError, RuntimeError: the file cannot be written.
    """
    check_weights(model)
    first = 2 if form.normalised else 1

    def axes(*sides: str) -> dict[int, str]:
        free = {} if form.batch is not None else {0: "batch"}
        return free | ({} if form.size is not None else dict(enumerate(sides, first)))

    halved = ("height", "width") if model.stride == 1 else ("half_height", "half_width")
    height, width = form.size or (64, 96)
    count = form.batch or 2  # a free batch is traced with two images: of one torch believes that it stays one
    example = torch.zeros(count, 3, height, width) if form.normalised else torch.zeros(count, height, width, 3, dtype=torch.uint8)
    write_onnx(OutwardMatte(model, form).eval(), example, path, {form.input: axes("height", "width"), "alpha": axes(*halved)}, metadata)


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


def measure(model: GFM, path: Path, form: Form) -> Parity:
    """Measure how far the alpha of a written file differs from torch in float32, on drawn images.

    Args:
        model: the exported network.
        path: path of the file.
        form: input and output of the file.

    Raises:
        EngineError: the file does not run, or it is beyond `BOUNDS`.
    """
    pairs = []
    content = path.read_bytes()
    for rgb in _images(form):
        image = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
        given = image / 255.0 if form.normalised else torch.from_numpy(rgb)
        with torch.no_grad():
            # Where the input is 0..1, both see what rounding made of it.
            expected = _alpha(model.predict(given * 255.0 if form.normalised else image).alpha, form).numpy()
        pairs.append((run_file(content, {form.input: given.contiguous().numpy()}, default_threads())["alpha"], expected))
    parity = compare(pairs)
    mean, off = BOUNDS[form.precision]
    # The paper's fusion takes the likeliest class: where two are level, rounding decides, and a pixel may differ by up to 1.
    if not (parity.mean <= mean and parity.off <= off):  # so that NaN is refused, too
        slow = form.precision == "int8" and int8_feature() is None
        cause = "; this CPU has no int8 dot products, and what it has instead spoils int8" if slow else ""
        raise EngineError(
            f"the export in {form.precision} disagrees with its weights and is not kept: alpha differs by {parity.mean:.1e} on average and by more "
            f"than {NOTICEABLE} in {parity.off:.2%} of the pixels; at most {mean:.0e} and {off:.1%} are allowed{cause}; try --precision fp32"
        )
    return parity


def _images(form: Form) -> Iterator[NDArray[np.uint8]]:
    """Yield drawn batches, uint8 (N, H, W, 3), of the file's size or of two free ones."""
    rng = np.random.default_rng(11)
    for height, width in (form.size,) if form.size else ((128, 96), (96, 224)):
        image = draw(height, width, rng)
        # Each image of a batch is another.
        yield np.ascontiguousarray(np.concatenate([np.roll(image, 16 * index, axis=2) for index in range(form.batch or 2)]))
