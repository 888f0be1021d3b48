"""Measures the cost of a network: parameters, multiply-accumulates and seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from streammat.engines.network.decoders import Upsample
from streammat.engines.network.gfm import GFM, NETWORKS
from streammat.train.methods import METHODS
from streammat.train.methods.base import Method, Model
from streammat.train.methods.weights import TRAINING_ALONE

REFERENCE = "r34"
"""Network relative to which seconds are given: GFM-TT(r)."""
WARM_UP = 1
"""Passes before the timed ones."""


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass of one image."""

    parameters: int
    macs: int
    """Multiply-accumulates of convolutions, linear layers and matrix products; as usual, the rest is not counted."""
    elements: int = 0
    """Output elements of norms, biases and upsamplings, which some counters add to the multiply-accumulates."""
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Parameters and multiply-accumulates of each of the model's parts, by its name in the class."""


def measure_complexity(model: nn.Module, height: int, width: int) -> Complexity:
    """Count parameters and multiply-accumulates.

    Args:
        model: takes float32 (1, 3, height, width), and a trimap if it is a `Method` that needs one; it may be on torch's ``meta``
            device, which computes nothing.
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.

    Returns:
        The counts, from the shapes of a forward pass; parts of a method that are only used in its losses are left out.
    """
    elements = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.bias is not None:
            elements += output.numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | Upsample)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(*_inputs_of(model, height, width))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    parameters = sum(value.numel() for name, value in model.named_parameters() if not name.startswith(TRAINING_ALONE))
    counts = counter.get_flop_counts()
    parts = {
        name: (sum(value.numel() for value in part.parameters()), sum(counts.get(f"{type(model).__name__}.{name}", {}).values()) // 2)
        for name, part in model.named_children()
        if not f"{name}.".startswith(TRAINING_ALONE)
    }
    return Complexity(parameters, counter.get_total_flops() // 2, elements, parts)


def measure_seconds(model: nn.Module, height: int, width: int, passes: int) -> float:
    """Measure the median time of a forward pass of one image, in seconds.

    Args:
        model: as in `measure_complexity`, on the device to measure.
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.
        passes: number of timed passes, at least 1; `WARM_UP` more come before them.
    """
    inputs = _inputs_of(model, height, width)
    device, times = inputs[0].device, []
    with torch.inference_mode():
        model.eval()
        for _ in range(WARM_UP + passes):
            started = time.perf_counter()
            model(*inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:])


def hardware(device: str) -> str:
    """Return the hardware of the measurement: the GPU's name, or the processor's and torch's threads."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{name}, {torch.get_num_threads()} threads"


def make_model(network: str, rosta: str = "TT") -> Model:
    """Make a network with random weights.

    Args:
        network: key of `streammat.engines.network.gfm.NETWORKS` or `streammat.train.methods.METHODS`.
        rosta: ``TT``, ``FT``, ``BT`` or ``RIM``, for GFM.

    Raises:
        ValueError: no such network or RoSTa.
    """
    if network in METHODS:
        return METHODS[network]()
    if network not in NETWORKS:
        raise ValueError(f"no network named {network!r}; expected one of {', '.join((*NETWORKS, *METHODS))}")
    return GFM(network, rosta)


def network_complexity(network: str, rosta: str, height: int, width: int) -> Complexity:
    """Return the cost of a network from its shapes: no weights are made and nothing is computed.

    Args:
        network: as in `make_model`.
        rosta: likewise.
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.

    Raises:
        ValueError: no such network or RoSTa, or a size that is not a multiple of 32.
    """
    with torch.device("meta"):
        return measure_complexity(make_model(network, rosta), height, width)


def _inputs_of(model: nn.Module, height: int, width: int) -> tuple[Tensor, ...]:
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, height, width, device=device)
    if isinstance(model, Method) and model.NEEDS_TRIMAP:
        return image, torch.full((1, 1, height, width), 0.5, device=device)
    return (image,)
