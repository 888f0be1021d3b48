"""Makes the previous frame's matte for training a network with a memory.

In use that matte is the network's own, of an image a moment earlier, so in training it is for the most part: what the network
makes of the same image, moved a little, in other noise and light. The rest is unknown, as at the start, or wrong, so that it
never relies on it: the matte of another image, or the true one moved, grown, shrunk or with a piece missing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

UNKNOWN, OWN = 0.35, 0.5
"""Shares of the samples with an empty memory, and with the network's own; the rest is wrong."""
EARLIER = 0.4
"""Share of the network's own mattes that were made with a memory, half of them with a wrong one."""
STILL = 0.3
"""Share of the earlier views that are not moved."""
SHIFT, TURN, ZOOM = 0.04, 0.02, 0.02
"""Standard deviations of a moved view: shift relative to the larger side, rotation in radians, and logarithm of the size."""

MemoryNetwork = Callable[[Tensor, Tensor], Tensor]
"""A function from image (N, 3, H, W), 0..255, and previous alpha (N, 1, h, w) to alpha (N, 1, h, w)."""


@torch.no_grad()
def draw_previous(network: MemoryNetwork, image: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the previous frame's matte for each image of a batch.

    Args:
        network: in eval mode.
        image: float32 (N, 3, H, W), RGB, 0..255.
        alpha: float32 (N, 1, h, w), 0..1: the truth.
        generator: random generator.

    Returns:
        float32 (N, 1, h, w), 0..1.
    """
    kind = _uniform(len(image), generator)
    previous = _wrong(alpha, generator)
    previous[kind < UNKNOWN] = 0.0
    own = (kind >= UNKNOWN) & (kind < UNKNOWN + OWN)
    if own.any():
        view = _earlier(image[own], generator)
        before = _wrong(alpha, generator)[own]
        before[_uniform(len(view), generator) >= EARLIER] = 0.0
        previous[own] = network(view, before).float()
    return previous


def _earlier(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image a moment before: moved, with other noise and light."""
    view = _moved(image, generator, _uniform(len(image), generator) >= STILL)
    gain = 1.0 + 0.05 * _normal((len(image), 1, 1, 1), generator)
    noise = 4.0 * _uniform(len(image), generator).view(-1, 1, 1, 1) * _normal(tuple(image.shape), generator)
    return (view * gain + noise).clamp(0.0, 255.0)


def _wrong(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Return a matte that is not the previous frame's."""
    moved = _moved(alpha, generator, torch.ones(len(alpha), dtype=torch.bool, device=alpha.device))
    grown, shrunk = F.max_pool2d(moved, 9, 1, 4), -F.max_pool2d(-moved, 9, 1, 4)
    other = alpha.roll(1, dims=0)
    kind = _uniform(len(alpha), generator).view(-1, 1, 1, 1)
    wrong = torch.where(kind < 0.35, other, torch.where(kind < 0.55, grown, torch.where(kind < 0.75, shrunk, moved)))
    height, width = alpha.shape[-2:]
    for sample, (gone, top, left, tall, wide) in zip(wrong, torch.rand(len(alpha), 5, generator=generator, device=alpha.device).tolist(), strict=True):
        if gone < 0.5:
            sample[:, int(top * height) : int((top + 0.1 + 0.4 * tall) * height), int(left * width) : int((left + 0.1 + 0.4 * wide) * width)] = 0.0
    return wrong


def _moved(planes: Tensor, generator: torch.Generator, moves: Tensor) -> Tensor:
    """Shift, rotate and scale float (N, C, H, W) a little where ``moves``, bool (N,), is set."""
    shift, turn, zoom = (_normal((len(planes), n), generator) * moves.view(-1, 1) for n in (2, 1, 1))
    turn, zoom = TURN * turn[:, 0], torch.exp(ZOOM * zoom[:, 0])
    cos, sin = zoom * torch.cos(turn), zoom * torch.sin(turn)
    ratio = planes.shape[-1] / planes.shape[-2]
    rows = torch.stack([torch.stack([cos, -sin / ratio, 2 * SHIFT * shift[:, 0]], 1), torch.stack([sin * ratio, cos, 2 * SHIFT * shift[:, 1]], 1)], 1)
    grid = F.affine_grid(rows, list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
