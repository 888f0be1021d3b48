"""Trimap-based methods, to be used with GFM's own trimap (Table 3): closed-form matting, or any network in a file.

Convention for a file, ONNX or TorchScript. float32, one image at a time, height and width padded to multiples of 32:

- either one input (1, 4, H, W): red, green, blue and trimap;
- or two inputs: image (1, 3, H, W) and trimap (1, 1, H, W), in this order; ONNX inputs whose channels are fixed in the file
  may have either order;
- red, green and blue are 0..1, without normalisation; the trimap is 0 background, 0.5 unknown, 1 foreground;
- the first output is alpha, (1, 1, H, W), (1, H, W) or (H, W), 0..1.

Another network must be wrapped before it is exported. Certain values of the trimap are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streammat.engines.errors import first_line
from streammat.train.data.images import Image, Matte
from streammat.train.errors import DataError
from streammat.train.evaluation.predictors.strategies import TRIMAP_VALUES, WHOLE, predict_method

TrimapMethod = Callable[[Image, Image], Matte]
"""A function from image, uint8 (H, W, 3) RGB, and trimap, uint8 (H, W) of 0, 128 and 255, to alpha, float32 (H, W), 0..1.

It raises ValueError if the two do not match, and DataError if a network fails or returns something else.
"""

CLOSED_FORM = "closed-form"
TORCHSCRIPT = (".pt", ".ts", ".torchscript")
WEIGHTS = (".safetensors", ".pth", ".tar")
_MULTIPLE = 32
_Run = Callable[[Matte, Matte], Any]
"""A function from image float32 (1, 3, H, W) and trimap float32 (1, 1, H, W), both 0..1, to the network's first output."""


def open_trimap_method(name: str | Path) -> TrimapMethod:
    """Open a trimap-based method by name.

    Args:
        name: ``closed-form``, or a file: weights of a trimap-based method (``.safetensors``, ``.pth``;
            `streammat.train.methods`), ``.onnx``, or TorchScript (``.pt``, ``.ts``, ``.torchscript``).

    Raises:
        DataError: there is no such file, it is of another kind, damaged, or its inputs do not follow the convention.
    """
    if str(name) == CLOSED_FORM:
        return closed_form
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in (".onnx", *TORCHSCRIPT, *WEIGHTS):
        kinds = ", ".join((".onnx", *TORCHSCRIPT, *WEIGHTS))
        raise DataError(f"--matter {str(name)!r} is unknown; expected {CLOSED_FORM}, or a file {kinds}")
    if not path.is_file():
        raise DataError(f"--matter {path} does not exist; give the file of a trimap-based network")
    if suffix in WEIGHTS:
        return _open_weights(path)
    return _certain_kept(_open_onnx(path) if suffix == ".onnx" else _open_torchscript(path), path)


def closed_form(rgb: Image, trimap: Image) -> Matte:
    """Return closed-form matting (Levin et al. 2008), by PyMatting; see `TrimapMethod`.

    If the trimap lacks foreground or background, the unknown area becomes the other one; if it lacks both, it stays at 0.5.
    """
    _check(rgb, trimap)
    alpha = _trimap_values(trimap)
    if (trimap == 128).any():
        foreground, background = bool((trimap == 255).any()), bool((trimap == 0).any())
        if not (foreground and background):
            alpha[trimap == 128] = 0.5 + 0.5 * (foreground - background)
            return alpha
        from pymatting import estimate_alpha_cf

        alpha = np.asarray(estimate_alpha_cf(rgb / 255.0, alpha.astype(np.float64)), np.float32)
    return alpha


def _certain_kept(run: _Run, path: Path) -> TrimapMethod:
    """Wrap a network by the convention: padding, ranges, and the trimap's certain values."""

    def predict(rgb: Image, trimap: Image) -> Matte:
        _check(rgb, trimap)
        height, width = trimap.shape
        down, right = -height % _MULTIPLE, -width % _MULTIPLE
        values = _trimap_values(trimap)
        planes = [
            cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE)
            for plane in (rgb.astype(np.float32) / 255.0, values)
        ]
        image = np.ascontiguousarray(np.asarray(planes[0], np.float32).transpose(2, 0, 1)[None])
        try:
            result = np.asarray(run(image, np.asarray(planes[1], np.float32)[None, None]), np.float32)
        except Exception as error:  # onnxruntime's and TorchScript's own errors share no base class
            raise DataError(f"--matter {path} failed on an image of {width} x {height}: {first_line(error)}; expected one that takes any size: export it with free sizes") from error
        if result.squeeze().shape != (height + down, width + right):
            raise DataError(
                f"--matter {path} returned shape {result.shape}; expected alpha (1, 1, {height + down}, {width + right})"
            )
        if not np.isfinite(result).all():
            raise DataError(f"--matter {path} returned NaN; check the ranges that it expects")
        alpha = result.reshape(height + down, width + right)[:height, :width].clip(0.0, 1.0)
        return np.where(trimap == 128, alpha, values)

    return predict


def _open_weights(path: Path) -> TrimapMethod:
    from streammat.train.methods.base import Method
    from streammat.train.methods.weights import load_weights

    model = load_weights(path)
    if not isinstance(model, Method) or not model.NEEDS_TRIMAP:
        raise DataError(f"weights {path} are of {model.network}, which takes no trimap; expected those of a trimap-based method")

    def predict(rgb: Image, trimap: Image) -> Matte:
        _check(rgb, trimap)
        return predict_method(model, rgb, WHOLE.glance_ratio, trimap)

    return predict


def _open_onnx(path: Path) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about its own optimiser
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise DataError(f"--matter {path} is not an ONNX file that can be run: {first_line(error)}; export it again") from error
    inputs = {node.name: node.shape[1] if len(node.shape) == 4 else None for node in session.get_inputs()}
    names, channels = list(inputs), list(inputs.values())
    if len(names) == 1 and (channels[0] == 4 or isinstance(channels[0], str)):
        return lambda image, trimap: session.run(None, {names[0]: np.concatenate([image, trimap], axis=1)})[0]
    if channels == [1, 3]:
        names.reverse()
    elif len(names) != 2 or not all(isinstance(c, str) or c == given for c, given in zip(channels, (3, 1), strict=True)):
        found = ", ".join(f"{node.name} {node.shape}" for node in session.get_inputs())
        raise DataError(f"--matter {path} has inputs {found}; expected one of 4 channels, or image of 3 and trimap of 1")
    return lambda image, trimap: session.run(None, dict(zip(names, (image, trimap), strict=True)))[0]


def _open_torchscript(path: Path) -> _Run:
    import torch

    try:
        with warnings.catch_warnings():
            # PyTorch advises against writing new TorchScript; published methods are what they are.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # also what zipfile and pickle raise
        raise DataError(f"--matter {path} is not a TorchScript file that can be run: {first_line(error)}; export it again") from error
    count = len(module.forward.schema.arguments) - 1  # without self
    if count not in (1, 2):
        raise DataError(f"--matter {path} takes {count} inputs; expected one of 4 channels, or image of 3 and trimap of 1")

    def run(image: Matte, trimap: Matte) -> Any:
        tensors = (torch.from_numpy(image), torch.from_numpy(trimap))
        with torch.no_grad():
            result = module(torch.cat(tensors, dim=1)) if count == 1 else module(*tensors)
        return (result[0] if isinstance(result, tuple | list) else result).numpy()

    return run


def _trimap_values(trimap: Image) -> Matte:
    """Return 0, 0.5 and 1 for 0, 128 and 255."""
    return np.asarray(TRIMAP_VALUES[trimap], np.float32)


def _check(rgb: Image, trimap: Image) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or trimap.shape != rgb.shape[:2]:
        raise ValueError(f"image is {rgb.dtype} {rgb.shape}, trimap {trimap.shape}; expected uint8 (H, W, 3) and (H, W)")
    if not np.isin(trimap, (0, 128, 255)).all():
        strange = np.setdiff1d(trimap, (0, 128, 255))[:5].tolist()
        raise ValueError(f"trimap has values {strange}; expected 0, 128 and 255 alone")
