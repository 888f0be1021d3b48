"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass of one image."""

    parameters: int
    macs: int
    """Multiply-accumulates of convolutions and linear layers; the rest is not counted, as is usual."""


def measure_complexity(model: nn.Module, height: int, width: int) -> Complexity:
    """Count parameters and multiply-accumulates.

    Args:
        model: takes float32 (1, 3, height, width).
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.

    Returns:
        The counts, from a real forward pass.
    """
    macs = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d | nn.Linear)
        macs += output.numel() * module.weight[0].numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, height, width))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), macs)
