"""Previews: a network's results for training samples, as one image to be judged by eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from streammat.engines.network.gfm import GFMOutput
from streammat.train.data.images import Image
from streammat.train.data.loader import Batch
from streammat.train.data.targets import TRIMAP
from streammat.train.errors import RunError
from streammat.train.measures.contact_sheet import contact_sheet
from streammat.train.methods.base import Model, trimap_values

ROWS = 4
"""Number of samples in a preview."""


@torch.no_grad()
def preview(model: Model, batch: Batch) -> Image:
    """Make an image with input, the network's result and true alpha side by side, one row for each of the first samples.

    For GFM the results are its glance as a trimap, focus and alpha; for other methods alpha, after their trimap, if any.

    Args:
        model: on the device of the batch; run in eval mode, then restored to its mode.
        batch: the samples.

    Returns:
        uint8 (H', W', 3), RGB.
    """
    training = model.training
    rgb = batch.rgb[:ROWS]
    image = rgb.permute(0, 3, 1, 2).float()
    trimap = [trimap_values(batch.classes[TRIMAP][:ROWS].long())] if TRIMAP in model.heads else []
    output = model.eval()(image, *trimap)
    model.train(training)
    shown = {"alpha": output.alpha[:, 0]}
    if isinstance(output, GFMOutput):
        classes = output.glance.argmax(dim=1).float() / (output.glance.shape[1] - 1)
        shown = {"glance": classes, "focus": output.focus[:, 0], **shown}
    elif trimap:
        shown = {"trimap": trimap[0][:, 0], **shown}
    planes = [_grey(plane) for plane in shown.values()]
    images, truth = rgb.cpu().numpy(), batch.alpha[:ROWS].cpu().numpy()
    rows = [[images[i], *(plane[i] for plane in planes), truth[i]] for i in range(len(rgb))]
    return contact_sheet(rows, headings=("image", *shown, "true alpha"))


def write_preview(path: Path, model: Model, batch: Batch) -> None:
    """Write `preview` as PNG.

    Raises:
        RunError: it cannot be written.
    """
    sheet = preview(model, batch)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        coded = cv2.imencode(".png", sheet[:, :, ::-1])[1]
        path.write_bytes(coded.tobytes())
    except OSError as error:
        raise RunError(f"cannot write the samples {path}: {error.strerror}; free space, or give another --out") from error


def _grey(plane: torch.Tensor) -> Image:
    """Convert float (N, H, W), 0..1, to uint8 0..255."""
    grey: Image = np.rint(plane.float().cpu().numpy() * 255.0).astype(np.uint8)
    return grey
