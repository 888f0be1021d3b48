"""Optimiser, learning rate and averaged weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from streammat.train.config import TrainConfig
from streammat.train.errors import RunError
from streammat.train.methods.base import Model

OPTIMIZERS: dict[str, type[torch.optim.Adam | torch.optim.AdamW]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULES = ("constant", "cosine")


def make_optimizer(model: Model, config: TrainConfig) -> torch.optim.Optimizer:
    """Make Adam or AdamW with a separate rate for the pretrained encoder and no decay on biases and norms.

    Raises:
        RunError: no such optimiser.
    """
    if config.optimizer not in OPTIMIZERS:
        raise RunError(f"unknown optimiser {config.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}")
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("encoder."), parameter.ndim > 1), []).append(parameter)
    return OPTIMIZERS[config.optimizer](
        [
            {
                "params": parameters,
                "scale": config.encoder_rate if encoder else 1.0,
                "weight_decay": config.weight_decay if decay else 0.0,
            }
            for (encoder, decay), parameters in sorted(groups.items())
        ],
        lr=config.learning_rate,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate to its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def schedule_progress(config: TrainConfig, step: int, elapsed: float) -> float:
    """Return the finished share of the run, 0..1: by steps or by ``elapsed`` seconds, whichever is larger."""
    by_steps = step / config.steps
    by_time = elapsed / (config.minutes * 60.0) if config.minutes is not None else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the decoders' learning rate at ``progress`` (0..1) of the run.

    Raises:
        RunError: no such schedule.
    """
    if config.schedule not in SCHEDULES:
        raise RunError(f"unknown schedule {config.schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if config.schedule == "constant":
        return config.learning_rate
    if progress < config.warmup:
        return config.learning_rate * max(progress / config.warmup, 0.01)
    along = (progress - config.warmup) / (1.0 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * along)))


def make_average(model: Model, config: TrainConfig) -> Model:
    """Return a copy of the network for `update_average`; without averaging, the network itself."""
    return copy.deepcopy(model).eval().requires_grad_(False) if config.ema else model


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Update the exponential moving average of weights and batch-norm statistics; counters are copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    means, values = zip(*(pair for pair in pairs if pair[0].dtype.is_floating_point), strict=True)
    get_ema_multi_avg_fn(decay)(means, values, 0)  # type: ignore[no-untyped-call]
    for mean, value in pairs:
        if not mean.dtype.is_floating_point:
            mean.copy_(value)
