"""Weights to one ONNX file: batch norms folded, input scaling inside, free batch, height and width.

The contract of the file is that of `engines.base.Engine`: input ``rgb`` uint8 (N, H, W, 3), output ``alpha`` float32
(N, H/2, W/2).
"""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.backbones import ConvBN
from engines.gfm import GFM

OPSET = 17
"""Old enough for every ONNX Runtime and OpenVINO that the package accepts."""


class ExportableMatte(nn.Module):
    """A network as it is shipped: uint8 pictures in, alpha out, nothing left to fold.

    Args:
        model: in eval mode; copied.
    """

    centre: Tensor

    def __init__(self, model: GFM) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().float()
        for module in self.model.modules():
            if isinstance(module, ConvBN):
                conv, norm = module[0], module[1]
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                module[0] = fuse_conv_bn_eval(conv, norm)
                module[1] = nn.Identity()
        self.register_buffer("centre", self.model.mean.clone())
        # Division by the deviation moves into the first convolution. The mean cannot: zero padding follows it.
        stem = self.model.encoder.stem[0]  # type: ignore[index]
        assert isinstance(stem, nn.Conv2d)
        with torch.no_grad():
            stem.weight.div_(self.model.std)
            self.model.mean.zero_()
            self.model.std.fill_(1.0)

    def forward(self, rgb: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) to float32 (N, H/2, W/2)."""
        image = rgb.permute(0, 3, 1, 2).float() - self.centre
        features = self.model.encoder(image)
        output = self.model.decode(features)
        return output.alpha[:, 0]


def export_onnx(model: GFM, path: Path) -> None:
    """Write the ONNX file.

    Args:
        model: the network.
        path: target; replaced atomically.
    """
    wrapped = ExportableMatte(model).eval()
    partial = path.with_name(path.name + ".partial")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            wrapped,
            (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),),
            str(partial),
            input_names=["rgb"],
            output_names=["alpha"],
            opset_version=OPSET,
            dynamo=False,  # keeps Resize by constant scales; the other exporter computes sizes from shapes
            dynamic_axes={
                "rgb": {0: "batch", 1: "height", 2: "width"},
                "alpha": {0: "batch", 1: "half_height", 2: "half_width"},
            },
        )
    graph = onnx.load(partial)
    partial.unlink()
    graph.producer_name, graph.producer_version, graph.doc_string = "streammat", "", ""
    for node in graph.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, partial)
    partial.replace(path)
