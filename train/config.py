"""All options of a training run, in frozen dataclasses, which checkpoints record. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of `streammat.train.losses`; the defaults are the paper's."""

    group_weight: float = 1.0
    """Factor of the whole sum. The authors' published code uses 0.25; Adam's steps hardly depend on it."""
    level_growth: float = 1.0
    """Weight of each level of the Laplacian pyramid relative to the finer one. The paper's Equation 4 adds the levels without
    weights; 2.0 gives the weights 2^(k-1) of Hou and Liu (2019), which the shipped ``lite`` was trained with.
    """
    steady: float = 0.0
    """Weight of the difference between the alphas of two frames of one still scene, that is flicker, in batches of such pairs
    (`TrainConfig.pairs`); not from the paper.
    """


PRECISIONS = ("fp32", "bf16", "fp16")
"""Precisions of `TrainConfig.precision`."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of `streammat.train.loop.loop.train`; the defaults are the recipe of the shipped network,
    `streammat.train.recipes.presets` has the paper's.
    """

    preset: str = "lite"
    """Name of the preset that the run was made from; a checkpoint is continued under the same one."""
    network: str = "lite"
    """Key of `streammat.engines.network.gfm.NETWORKS`, or of `streammat.train.methods.METHODS`, which have neither RoSTa nor
    ablations.
    """
    rosta: str = "TT"
    """``TT``, ``FT``, ``BT`` or ``RIM``."""
    single_decoder: bool = False
    """See `streammat.engines.network.gfm.Ablation` (the paper's Table 4); likewise the next two."""
    ppm: str = "all"
    bridge: bool = True
    recipe: str = "cut-outs"
    """Recipe of the training images of ``lite``: key of `streammat.train.lite.ingredients.RECIPES`."""
    without: tuple[str, ...] = ()
    """Ingredients of the ``lite`` recipe that are left out: keys of `streammat.train.lite.ingredients.INGREDIENTS`."""
    checkpointing: bool = False
    """Recompute activations of encoder and decoders: less memory, about a third more time."""
    steps: int = 9000
    """Optimiser steps; a cosine schedule ends there."""
    minutes: float | None = None
    """Wall-clock budget over all resumed parts; whichever of the two ends first drives the schedule. None: no limit."""
    pixels_per_batch: int = 16 * 256 * 256
    """Input pixels per batch over all processes; the batch size follows from the crop's size, and is at least 2."""
    sizes: tuple[tuple[int, int, float], ...] = (
        (256, 256, 0.50),
        (224, 384, 0.18),
        (288, 384, 0.08),
        (384, 288, 0.08),
        (288, 512, 0.06),
        (384, 384, 0.06),
        (512, 384, 0.02),
        (512, 512, 0.01),
        (416, 736, 0.01),
    )
    """Crop sizes: height, width in pixels (multiples of 32) and share of the batches."""
    final_shares: tuple[float, ...] = (0.16, 0.08, 0.08, 0.08, 0.20, 0.14, 0.08, 0.09, 0.09)
    """Shares of ``sizes`` at the last step; they change linearly. Empty: constant shares. A network that was never trained on
    large images misses people in them; large ones from the start cost too much.
    """
    pairs: float = 0.0
    """Share of the batches that consist of pairs: two frames of a still scene, with different noise, coding and exposure."""
    memory: bool = False
    """True for a network that takes the matte of the frame before (`streammat.train.loop.memory`)."""
    optimizer: str = "adamw"
    """``adamw`` or ``adam``."""
    schedule: str = "cosine"
    """``cosine``: linear warm-up, then half a cosine down to a hundredth of the peak; ``constant``."""
    learning_rate: float = 1.2e-3
    """Peak, for the decoders."""
    encoder_rate: float = 0.3
    """Learning rate of the pretrained encoder relative to that of the decoders."""
    weight_decay: float = 1e-2
    """Weight decay, except on biases and batch norms."""
    warmup: float = 0.03
    """Share of the cosine schedule with a linearly rising learning rate."""
    clip: float | None = 1.0
    """Largest norm of the gradient; None: not clipped."""
    ema: float = 0.999
    """Decay of the averaged weights, which are evaluated and written; 0: use the weights themselves."""
    loss: LossConfig = LossConfig(level_growth=2.0)
    """Weights of the loss."""
    precision: str = "bf16"
    """Precision of the network under autocast: ``fp32``, ``bf16``, or ``fp16`` (CUDA only); losses and weights stay float32."""
    device: str = "auto"
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<index>``."""
    seed: int = 1
    """Seed of the weights, the order and all augmentation."""
    workers: int = 1
    """Loader processes of each training process; 0 loads in the training process itself."""
    threads: int = 2
    """Number of torch's threads."""
    log_every: int = 20
    """Steps between rows of the curve."""
    samples_every: int = 500
    """Steps between previews of the network's results on training samples; 0: none."""
    checkpoint_minutes: float = 3.0
    """Minutes between checkpoints."""
    evaluate_minutes: float = 15.0
    """Minutes between evaluations on held-out images, if there are any."""

    def __post_init__(self) -> None:
        assert len(self.final_shares) in (0, len(self.sizes)), "final_shares has a share for each of sizes, or none at all"


WIDE_SETS = (
    ("people_portraits", 0.16),
    ("people_fullbody", 0.11),
    ("people_snapshots", 0.07),
    ("people_street", 0.08),
    ("people_hair", 0.04),
    ("people_penn", 0.05),
    ("people_ecssd", 0.09),
    ("people_voc", 0.05),
    ("people_davis", 0.05),
    ("people_football", 0.03),
    ("people_coco", 0.02),
    ("animals_cats", 0.04),
    ("animals_horses", 0.04),
    ("animals_voc", 0.07),
    ("animals_ecssd", 0.05),
    ("animals_wild_animals", 0.02),
    ("animals_small_animals", 0.01),
    ("animals_davis", 0.02),
    ("detail_alpha", 0.02),
)
"""Share of each set labelled by `python -m train sets` among the subjects."""
WIDER_SETS = (*WIDE_SETS, ("people_flickr", 0.08), ("people_sports", 0.08), ("animals_flickr", 0.03))
"""The same with sets of photographs without masks; their sum does not matter."""
MAY_CHANGE = frozenset(
    {
        "steps",
        "minutes",
        "checkpointing",
        "device",
        "workers",
        "threads",
        "samples_every",
        "checkpoint_minutes",
        "evaluate_minutes",
    }
)
"""Fields of `TrainConfig` that may differ between a checkpoint and its resumed run. ``steps`` and ``minutes`` may be raised to
continue a finished run; with a cosine they change the following rates.
"""


@dataclass(frozen=True)
class DataConfig:
    """Options of the training images of the ``lite`` recipe; probabilities are per image unless said otherwise."""

    sets: tuple[tuple[str, float], ...] = (
        ("people_portraits", 0.38),
        ("people_fullbody", 0.34),
        ("animals_cats", 0.13),
        ("animals_horses", 0.11),
        ("detail_alpha", 0.04),
    )
    """Share of each set among the subjects."""
    things: tuple[tuple[str, str], ...] = tuple(
        ("detail_alpha", f"GT{number:02}") for number in (1, 2, 11, 13, 19, 21, 25, 26, 27)
    )
    """Set and name of mattes of objects (flowers, baskets and the like), which are clutter, not subjects."""
    holdout: int = 20
    """Every n-th subject and background is held out for validation; 0: none."""
    original: float = 0.36
    """Crops of an original image."""
    everybody: bool = False
    """True if alphas include everybody in view, as `streammat.train.labels.labelling` writes them: images may be used whole, and
    as backgrounds with their subjects removed.
    """
    objects: float = 0.15
    """A photograph of an object that is not a subject, if there are any; per background."""
    mosaic: float = 0.0
    """Two original images side by side, so that there are several subjects at any distance; per original image that is wider than
    high.
    """
    street: bool = True
    """Use the surroundings of subjects in street photographs. Without them a network never learns that passers-by are background,
    as needed to find them (`streammat.train.labels.bystanders`).
    """
    empty: float = 0.12
    """Images without a subject; the remaining ones are composites."""
    cover: tuple[float, float] = (0.3, 1.6)
    """Subject's size relative to the crop's, in original images."""
    onto: float = 0.2
    """The background is an image with its own subject; per composite."""
    filled: float = 0.3
    """An image whose subject was removed (`streammat.train.data.background_fill`); per background."""
    beside: float = 0.15
    """The part of an image beside its subject; per background."""
