"""Exports a method to one ONNX file, so that everything that runs GFM's files can run it."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from streammat.engines.base import EngineError
from streammat.engines.export.onnx import drawn_images, write_onnx
from streammat.engines.whole_files import whole_file
from streammat.train.methods.base import UNKNOWN, Method

LARGEST_DIFFERENCE = 2e-3
"""Largest allowed difference of alpha between torch and ONNX Runtime."""


class WithoutTrimap(nn.Module):
    """The contract of `streammat.engines.base.Engine`: uint8 (N, H, W, 3) RGB to float32 (N, H, W), 0..1."""

    def __init__(self, model: Method) -> None:
        super().__init__()
        self.model = model

    def forward(self, rgb: Tensor) -> Tensor:
        """Return alpha."""
        alpha: Tensor = self.model(rgb.permute(0, 3, 1, 2).float()).alpha[:, 0]
        return alpha


class WithTrimap(nn.Module):
    """The convention of `streammat.train.evaluation.predictors.trimap_methods`: float32 (N, 4, H, W), red, green, blue and trimap, 0..1, to
    alpha (N, 1, H, W).
    """

    def __init__(self, model: Method) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return alpha."""
        alpha: Tensor = self.model(image[:, :3] * 255.0, image[:, 3:]).alpha
        return alpha


def export_method(model: Method, path: Path) -> float:
    """Write the ONNX file of a method and compare it with torch.

    Args:
        model: any method.
        path: target; replaced atomically.

    Returns:
        The largest difference of alpha between torch and ONNX Runtime on two drawn images.

    Raises:
        EngineError: the difference is beyond `LARGEST_DIFFERENCE`.
        OSError: the file cannot be written.
    """
    wrapped = _wrapped(model)
    with whole_file(path) as partial:
        if model.NEEDS_TRIMAP:
            axes = {"image": {0: "batch", 2: "height", 3: "width"}, "alpha": {0: "batch", 2: "height", 3: "width"}}
            write_onnx(wrapped, torch.full((1, 4, 64, 96), 0.5), partial, axes)
        else:
            axes = {"rgb": {0: "batch", 1: "height", 2: "width"}, "alpha": {0: "batch", 1: "height", 2: "width"}}
            write_onnx(wrapped, torch.zeros(1, 64, 96, 3, dtype=torch.uint8), partial, axes)
        largest = _difference(wrapped, partial, trimap=model.NEEDS_TRIMAP)
        if not largest <= LARGEST_DIFFERENCE:  # so that NaN is refused, too
            raise EngineError(f"the exported {model.NAME} disagrees with its weights: alpha differs by {largest:.1e}; at most {LARGEST_DIFFERENCE:.0e} is allowed")
    return largest


def _wrapped(model: Method) -> nn.Module:
    """Return a copy for tracing: in eval mode, with spectral norms computed."""
    copied = copy.deepcopy(model).eval().float()
    for module in list(copied.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    return (WithTrimap(copied) if model.NEEDS_TRIMAP else WithoutTrimap(copied)).eval().requires_grad_(requires_grad=False)


def _difference(module: nn.Module, path: Path, *, trimap: bool) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = [node.name for node in session.get_inputs()]
    largest = 0.0
    for rgb in drawn_images():
        given = torch.from_numpy(rgb)
        if trimap:
            image = given.permute(0, 3, 1, 2).float() / 255.0
            bands = torch.linspace(-0.5, 2.5, rgb.shape[2]).round().clamp(0, 2).mul(UNKNOWN).expand(1, 1, *rgb.shape[1:3])
            given = torch.cat([image, bands], dim=1).contiguous()
        with torch.no_grad():
            expected = module(given).numpy()
        found = session.run(None, {name: given.numpy()})[0]
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest
