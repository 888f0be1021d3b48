"""Every choice of a training run, in one frozen place; a checkpoint records them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """Options of `train.loop.train`."""

    network: str = "lite"
    """Key of `engines.gfm.VARIANTS`."""
    steps: int = 5000
    """Optimiser steps; the learning rate ends its cosine there."""
    minutes: float | None = None
    """Wall-clock budget over all resumed parts; whichever of the two ends first drives the schedule. None: no limit."""
    pixels_per_batch: int = 16 * 256 * 256
    """Input pixels per batch; the batch size follows from the crop's size."""
    sizes: tuple[tuple[int, int, float], ...] = (
        (256, 256, 0.62),
        (224, 384, 0.16),
        (288, 384, 0.07),
        (384, 288, 0.06),
        (384, 384, 0.05),
        (288, 512, 0.04),
    )
    """Crop height, width in pixels (multiples of 32) and share of the batches."""
    learning_rate: float = 1.2e-3
    """Peak, for the decoders."""
    encoder_rate: float = 0.3
    """Learning rate of the pretrained encoder over that of the decoders."""
    weight_decay: float = 1e-2
    """AdamW; not on biases and batch norms."""
    warmup: float = 0.03
    """Share of the schedule with a linearly rising learning rate."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights, which are what is evaluated and exported."""
    bf16: bool = True
    """Run the network under bfloat16 autocast."""
    seed: int = 1
    """Of the weights, the order and every augmentation."""
    workers: int = 1
    """Loader processes; 0 loads in the training process."""
    threads: int = 2
    """Threads of torch."""
    log_every: int = 20
    """Steps between rows of the curve."""
    checkpoint_minutes: float = 3.0
    """Minutes between checkpoints."""
    evaluate_minutes: float = 10.0
    """Minutes between evaluations on the held-out portraits."""


@dataclass(frozen=True)
class DataConfig:
    """What a training picture is made of; probabilities are per picture."""

    sets: tuple[tuple[str, float], ...] = (
        ("people_portraits", 0.46),
        ("people_fullbody", 0.33),
        ("animals_cats", 0.11),
        ("animals_horses", 0.07),
        ("detail_alpha", 0.03),
    )
    """Share of each set among the subjects."""
    holdout: int = 60
    """Portraits kept out of training to watch it."""
    original: float = 0.46
    """Crops of a picture as it was taken."""
    empty: float = 0.07
    """Rooms and landscapes without a subject; the rest are composites."""
    cover: tuple[float, float] = (0.3, 1.6)
    """Subject's size over the crop's, in originals."""
    scale: tuple[float, float] = (0.2, 1.25)
    """Subject's height over the picture's, in composites."""
