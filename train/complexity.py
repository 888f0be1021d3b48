"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.decoders import Upsample
from engines.gfm import GFM, NETWORKS
from train.paper import PaperRow, table_rows

PAPER_SIDE = 800
"""Pixels of the square input that Table 7 of the GFM paper is measured with."""


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass of one image."""

    parameters: int
    macs: int
    """Multiply-accumulates of convolutions and linear layers; the rest is not counted, as is usual."""
    elements: int = 0
    """Output elements of norms, biases and upsamplings, which some counters add to the multiply-accumulates."""


def measure_complexity(model: nn.Module, height: int, width: int) -> Complexity:
    """Count parameters and multiply-accumulates.

    Args:
        model: takes float32 (1, 3, height, width); it may live on torch's ``meta`` device, where nothing is computed.
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.

    Returns:
        The counts, from the shapes of a forward pass.
    """
    macs = elements = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, elements
        if isinstance(module, nn.Conv2d | nn.Linear):
            macs += output.numel() * module.weight[0].numel()
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.bias is not None:
            elements += output.numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | Upsample)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, height, width, device=device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), macs, elements)


def network_complexity(network: str, rosta: str, height: int, width: int) -> Complexity:
    """Cost of a network of the table, by its shapes alone: no weights are made and nothing is computed.

    Args:
        network: key of `engines.gfm.NETWORKS`.
        rosta: ``TT``, ``FT``, ``BT`` or ``RIM``.
        height: pixels, multiple of 32.
        width: pixels, multiple of 32.

    Raises:
        ValueError: no such network or RoSTa, or a size that is not a multiple of 32.
    """
    with torch.device("meta"):
        return measure_complexity(GFM(network, rosta), height, width)


@dataclass(frozen=True)
class Table7Row:
    """One network of the paper's Table 7, counted here and as printed there."""

    network: str
    ours: Complexity
    unused: int
    """Parameters that the published file holds and the network never uses."""
    paper_parameters: float
    """Millions."""
    paper_macs: float
    """Milliards, at 800x800."""
    why: str
    """Where the difference comes from, as far as it can be told."""


# The classifier of the ImageNet network; r34_2b also keeps the stem that it replaces and a side branch that nothing reads.
_UNUSED = {
    "r34": 512 * 1000 + 1000,
    "d121": 1024 * 1000 + 1000 + 2 * 1024,
    "r34_2b": 512 * 1000 + 1000 + (3 * 64 * 49 + 2 * 64) + (512 * 64 * 9 + 64 + 2 * 64),
    "r101": 2048 * 1000 + 1000,
}


def table7() -> list[Table7Row]:
    """Parameters and multiply-accumulates of the paper's networks beside its Table 7."""
    rows = []
    for row in table_rows(7):
        if row.network not in NETWORKS:
            continue
        ours = network_complexity(row.network, "TT", PAPER_SIDE, PAPER_SIDE)
        with torch.device("meta"):
            encoder = encoder_macs(GFM(row.network), PAPER_SIDE, PAPER_SIDE)
        parameters, macs = row.metrics["parameters_millions"], row.metrics["gmac_800x800"]
        rows.append(Table7Row(row.network, ours, _UNUSED[row.network], parameters, macs, _why(ours, row, encoder)))
    return rows


def encoder_macs(model: GFM, height: int, width: int) -> int:
    """Multiply-accumulates of the encoder alone; arguments as of `measure_complexity`."""
    return measure_complexity(model.encoder, height, width).macs


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
        f"({100 * gap / ours.macs:.1f} %), is of the order of the elementwise work that is not counted here (norms, biases and the "
        f"decoders' upsamplings alone are {ours.elements / 1e9:.2f} G elements)"
    )
    return "; ".join(reasons)
