"""Measures the cost of a network: parameters, multiply-accumulates and seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from streammat.engines.network.decoders import Upsample
from streammat.engines.network.gfm import GFM, NETWORKS
from streammat.train.evaluation.paper import PaperRow, table_rows
from streammat.train.methods import METHODS
from streammat.train.methods.base import Method, Model
from streammat.train.methods.weights import TRAINING_ALONE

PAPER_SIDE = 800
"""Side in pixels of the square input in Table 7 of the GFM paper."""
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


@dataclass(frozen=True)
class Table7Row:
    """One network of the paper's Table 7: our counts and the printed ones."""

    network: str
    ours: Complexity
    unused: int
    """Parameters that the paper's file has, or is assumed to have, and the network never uses."""
    paper_parameters: float
    """The paper's number of parameters, in millions."""
    paper_macs: float
    """The paper's multiply-accumulates, in units of 1e9, at 800x800."""
    paper_seconds: float
    """The paper's seconds, at 800x800 on its GPU."""
    why: str
    """Known causes of the difference."""


# The classifier of the ImageNet network; r34_2b also keeps the stem that it replaces and a side branch that nothing reads.
_UNUSED = {
    "r34": 512 * 1000 + 1000,
    "d121": 1024 * 1000 + 1000 + 2 * 1024,
    "r34_2b": 512 * 1000 + 1000 + (3 * 64 * 49 + 2 * 64) + (512 * 64 * 9 + 64 + 2 * 64),
    "r101": 2048 * 1000 + 1000,
    "shm": 2048 * 1000 + 1000,
    "lf": 0,
    "hatt": 2048 * 1000 + 1000,
    "shmc": 3 * (512 * 1000 + 1000),
}
_METHOD_REASONS = {
    "shm": (
        "its code is not public, and the trimap network (encoder, trimap) and the matting network are as its paper has them. What the GFM paper "
        "measured has 2.6 M more, which is what DIM's two innermost convolutions have, conv6 and deconv6 (2.62 M, 6.6 G), that SHM's paper says it "
        "left out. Of its 36.3 G more these would be 6.6, and the three 3x3 convolutions with which PSPNet begins 17.3 (here ResNet's 7x7, for which "
        "there are weights; 0.12 M): with both it would be 79.43 M (+0.2%) and 857.7 G (-1.4%); the rest is elementwise work, and some 10 G unknown"
    ),
    "lf": (
        "within 2% each; the widths of the decoders are not printed and were chosen to meet both figures"
    ),
    "hatt": (
        "within 2% each; the encoder is dilated to stride 8, and the decoder's widths are not printed and were chosen to meet the figures"
    ),
    "shmc": "within 2% each; of the three networks the first two see a quarter of the size",
}


@cache
def table7() -> tuple[Table7Row, ...]:
    """Return parameters and multiply-accumulates of the networks of the paper's Table 7 beside the printed ones, in its order."""
    rows = []
    for row in table_rows(7):
        assert row.network is not None
        ours = network_complexity(row.network, "TT", PAPER_SIDE, PAPER_SIDE)
        parameters, macs, seconds = (row.metrics[name] for name in ("parameters_millions", "gmac_800x800", "seconds_800x800"))
        with torch.device("meta"):
            model = make_model(row.network)
        why = _method_why(ours, row) if isinstance(model, Method) else _why(ours, row, encoder_macs(model, PAPER_SIDE, PAPER_SIDE))
        rows.append(Table7Row(row.network, ours, _UNUSED[row.network], parameters, macs, seconds, why))
    return tuple(rows)


def encoder_macs(model: GFM, height: int, width: int) -> int:
    """Return the multiply-accumulates of the encoder alone; arguments as in `measure_complexity`."""
    return measure_complexity(model.encoder, height, width).macs


def _inputs_of(model: nn.Module, height: int, width: int) -> tuple[Tensor, ...]:
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, height, width, device=device)
    if isinstance(model, Method) and model.NEEDS_TRIMAP:
        return image, torch.full((1, 1, height, width), 0.5, device=device)
    return (image,)


def _method_why(ours: Complexity, row: PaperRow) -> str:
    assert row.network is not None
    stored = (ours.parameters + _UNUSED[row.network]) / 1e6
    gaps = [f"parameters {stored / row.metrics['parameters_millions'] - 1:+.1%}", f"multiply-adds {ours.macs / 1e9 / row.metrics['gmac_800x800'] - 1:+.1%}"]
    counted = f", with the {_UNUSED[row.network] / 1e6:.2f} M of ImageNet classifiers that the paper counts" if _UNUSED[row.network] else ""
    return f"{gaps[0]}{counted}, {gaps[1]}; {_METHOD_REASONS[row.network]}"


def _why(ours: Complexity, row: PaperRow, encoder: int) -> str:
    assert row.network is not None
    reasons = []
    stored = (ours.parameters + _UNUSED[row.network]) / 1e6
    missing = row.metrics["parameters_millions"] - stored
    if abs(missing) < 0.01:
        reasons.append(f"parameters: the paper counts the {_UNUSED[row.network] / 1e6:.2f} M that the network never uses")
    else:
        reasons.append(f"parameters: the published file holds {stored:.2f} M; the paper's {missing:+.2f} M more are not in it")
    gap, more = row.metrics["gmac_800x800"] * 1e9 - ours.macs, ""
    if gap > encoder:
        more = f"{encoder / 1e9:.2f} G of it are one more pass of the encoder, as if counted twice; the rest, "
        gap -= encoder
    reasons.append(
        f"multiply-adds: the paper has {row.metrics['gmac_800x800'] - ours.macs / 1e9:.2f} G more; {more}{gap / 1e9:.2f} G "
        f"({100 * gap / ours.macs:.1f} %), is of the order of elementwise work ({ours.elements / 1e9:.2f} G elements), which is not counted here"
    )
    return "; ".join(reasons)
