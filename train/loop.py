"""The training loop: one function from mattes to averaged weights, exact to resume."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from engines.gfm import GFM
from train.config import DataConfig, TrainConfig
from train.datasets import MattingDataset, batch_keys
from train.evaluate import Pair, Predict, evaluate
from train.losses import LossParts, gfm_loss
from train.samples import Sample

Report = Callable[[str], None]


def train(
    config: TrainConfig,
    data_config: DataConfig,
    data: Path,
    cache: Path,
    out: Path,
    imagenet: Path | None,
    report: Report = print,
) -> GFM:
    """Train a network, or continue where ``out`` stopped.

    Args:
        config: the run; on resuming, the same one (only ``minutes`` and ``workers`` may differ without changing results).
        data_config: what pictures are made of.
        data: folder with backgrounds.
        cache: mattes.
        out: receives ``checkpoint.pt`` (whole state, replaced atomically) and ``curve.csv``.
        imagenet: weights of the encoder for a fresh start; None starts from random ones.
        report: takes lines of progress.

    Returns:
        The network with averaged weights, in eval mode.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    dataset = MattingDataset(data, cache, data_config, config.seed)
    model = GFM(config.network)
    if imagenet is not None:
        model.encoder.load_gluon(imagenet)  # type: ignore[operator]
    nn.Module.to(model, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    average: GFM = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = make_optimizer(model, config)
    checkpoint = out / "checkpoint.pt"
    step, elapsed = 0, 0.0
    if checkpoint.exists():
        step, elapsed = _restore(checkpoint, model, average, optimizer)
        report(f"resumed at step {step}, {elapsed / 60:.1f} min")
    started = time.monotonic() - elapsed
    last_save = last_evaluation = time.monotonic()
    recent: list[list[float]] = []
    for image, alpha, contrast in _loader(dataset, config, step):
        elapsed = time.monotonic() - started
        if step >= config.steps or schedule_progress(config, step, elapsed) >= 1.0:
            break
        rate = learning_rate(config, schedule_progress(config, step, elapsed))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        parts = train_step(model, optimizer, image, alpha, contrast, config)
        step += 1
        update_average(average, model, min(config.ema, (1 + step) / (10 + step)))
        recent.append([float(value) for value in (parts.total.detach(), *detached_terms(parts))])
        if step % config.log_every == 0:
            _append_curve(out / "curve.csv", step, elapsed, rate, np.mean(recent, axis=0).tolist())
            recent.clear()
        now = time.monotonic()
        if now - last_save > config.checkpoint_minutes * 60:
            save_checkpoint(checkpoint, model, average, optimizer, step, now - started, config)
            last_save = time.monotonic()
            report(f"step {step}, {(now - started) / 60:.1f} min, rate {rate:.2e}, loss {float(parts.total.detach()):.3f}")
        if dataset.held and now - last_evaluation > config.evaluate_minutes * 60:
            scores = evaluate(lambda _size: torch_predict(average), [Pair(s.image, s.alpha) for s in dataset.held])
            last_evaluation = time.monotonic()
            report(f"step {step}: held-out portraits iou {scores.iou:.4f} mad {scores.mad:.4f}")
    save_checkpoint(checkpoint, model, average, optimizer, step, time.monotonic() - started, config)
    report(f"ended at step {step}, {(time.monotonic() - started) / 60:.1f} min")
    return average


def train_step(
    model: GFM, optimizer: torch.optim.Optimizer, image: Tensor, alpha: Tensor, contrast: Tensor, config: TrainConfig
) -> LossParts:
    """One optimiser step; image uint8 (N, H, W, 3), alpha and contrast uint8 (N, H, W)."""
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        # A permuted NHWC tensor already is channels-last in memory.
        output = model(image.permute(0, 3, 1, 2).float())
    target, difference = (F.avg_pool2d(plane.unsqueeze(1).float() / 255.0, model.stride) for plane in (alpha, contrast))
    parts = gfm_loss(output, target, difference, model.stride)
    optimizer.zero_grad(set_to_none=True)
    parts.total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    return parts


def detached_terms(parts: LossParts) -> list[Tensor]:
    """The terms in the order of their fields."""
    return [value.detach() for value in vars(parts).values()]


def make_optimizer(model: GFM, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with a lower rate for the pretrained encoder and no decay on biases and norms."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("encoder."), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
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


def schedule_progress(config: TrainConfig, step: int, elapsed: float) -> float:
    """Share of the run that is done, 0..1: by steps or by ``elapsed`` seconds, whichever is further."""
    by_steps = step / config.steps
    by_time = elapsed / (config.minutes * 60.0) if config.minutes is not None else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Linear warm-up, then a half cosine down to a hundredth of the peak."""
    if progress < config.warmup:
        return config.learning_rate * max(progress / config.warmup, 0.01)
    along = (progress - config.warmup) / (1.0 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * along)))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and batch-norm statistics; counters are copied."""
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1.0 - decay)
        else:
            mean.copy_(value)


def torch_predict(model: GFM) -> Predict:
    """The network as `train.evaluate` wants it; float32, whatever it was trained in."""

    @torch.no_grad()
    def predict(rgb: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float()
        alpha: np.ndarray = model(image).alpha[:, 0].numpy()
        return alpha

    return predict


def save_checkpoint(
    path: Path,
    model: GFM,
    average: GFM,
    optimizer: torch.optim.Optimizer,
    step: int,
    elapsed: float,
    config: TrainConfig,
) -> None:
    """Write the whole state under a temporary name and move it into place."""
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "elapsed": elapsed,
        "config": asdict(config),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def _restore(path: Path, model: GFM, average: GFM, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["elapsed"])


class _Batches(Sampler[list[tuple[int, int, int]]]):
    def __init__(self, config: TrainConfig, first: int) -> None:
        self.config, self.first = config, first

    def __iter__(self) -> Any:
        return batch_keys(self.config, self.first)


def _collate(samples: Sequence[Sample]) -> tuple[Tensor, ...]:
    return tuple(
        torch.from_numpy(np.stack([getattr(sample, name) for sample in samples])) for name in ("rgb", "alpha", "contrast")
    )


def _quiet_worker(_index: int) -> None:
    import cv2

    os.nice(3)
    cv2.setNumThreads(1)


def _loader(dataset: MattingDataset, config: TrainConfig, first: int) -> DataLoader[Any]:
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=_Batches(config, first),
        collate_fn=_collate,
        num_workers=config.workers,
        worker_init_fn=_quiet_worker if config.workers else None,
        prefetch_factor=4 if config.workers else None,
    )


def _append_curve(path: Path, step: int, elapsed: float, rate: float, losses: list[float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            names = LossParts.__dataclass_fields__
            writer.writerow(["step", "seconds", "rate", "total", *names])
        writer.writerow([step, round(elapsed, 1), f"{rate:.3e}", *(f"{value:.5f}" for value in losses)])
