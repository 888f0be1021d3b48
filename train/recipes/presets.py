"""Presets: names for all runs of the paper, generated from small tables, and for the project's own recipes.

``<set>-<track>-<method>`` are the methods that the paper compares with. ``<set>-<track>-<network>-<rosta>`` is the product of
`SETS`, `TRACKS`, `BATCH` and `ROSTAS`, which includes each GFM row of the paper's Table 1, and further combinations. Table 4 adds
networks with a part removed and RSSN with one step only; its row without RSSN is the track ``comp-bg20k``. All of these train as
Section 5.2.2 says: Adam at 1e-5, crops of 320, 500 epochs on ORI and 100 on COMP. Every name also exists with ``-modern`` at its
end: the same data and network, trained by AdamW with a cosine schedule, averaged weights and bfloat16.

``lite``, ``lite-second``, ``lite-third``, ``lite-fourth``, ``lite-steady``, ``lite-fifth``, ``lite-sixth``, ``lite-seventh``,
``lite-eighth`` and ``lite-ninth`` are the recipe of the shipped network; ``folder`` trains any network on any folder of images and mattes. Imports nothing heavy.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from streammat.engines.network.rostas import ROSTAS
from streammat.train.config import LossConfig, TrainConfig
from streammat.train.errors import RunError

CROP = 320
"""Side of the network's input in training, in pixels."""
MODERN = "-modern"


@dataclass(frozen=True)
class Track:
    """Origin of a run's images."""

    title: str
    epochs: int
    backgrounds: str | None = None
    """Backgrounds for composites; None: original images."""
    steps: tuple[str, ...] = ()
    """Steps of RSSN that are applied, each with the probability of `streammat.train.rssn.compose_sample.Rssn`."""


RSSN_STEPS = ("denoise", "blur", "noise")
TRACKS: Mapping[str, Track] = {
    "ori": Track("ORI", 500),
    "comp-coco": Track("COMP-COCO", 100, "COCO"),
    "comp-bg20k": Track("COMP-BG20K", 100, "BG-20k"),
    "comp-rssn": Track("COMP-RSSN", 100, "BG-20k", RSSN_STEPS),
}
STEP_TRACKS: Mapping[str, Track] = {
    f"comp-rssn-only-{step}": Track(f"COMP-BG20K with {step} alone", 100, "BG-20k", (step,)) for step in RSSN_STEPS
}
"""Table 4, composition."""
SETS = {"am2k": "AM-2k", "pm10k": "P3M-10k (PM-10k)"}
"""Data sets; PM-10k was released as P3M-10k, and both are supported."""
BATCH = {"d121": 4, "r34": 32, "r34_2b": 8, "r101": 8}
"""Batch size of each of the paper's networks."""
METHODS = {"shm": 8, "lf": 8, "hatt": 8, "shmc": 8, "dim": 8, "indexnet": 16, "gca": 16}
"""Methods of `streammat.train.methods.METHODS` that the paper compares with, and their batch size here; the paper gives none."""
LITE_BATCH = 16
ABLATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "single-decoder": ("a single decoder", {"single_decoder": True}),
    "one-ppm": ("one PPM", {"ppm": "one"}),
    "no-ppm": ("no PPM", {"ppm": "none"}),
    "no-bridge": ("no bridge block", {"bridge": False}),
}
"""Table 4, network: title and fields of `TrainConfig`."""
ABLATED = ("d121", "r34")
"""Networks for which Table 4 has variants, with TT."""

PAPER = TrainConfig(
    preset="",
    sizes=((CROP, CROP, 1.0),),
    final_shares=(),
    optimizer="adam",
    schedule="constant",
    learning_rate=1e-5,
    encoder_rate=1.0,
    weight_decay=0.0,
    clip=None,
    ema=0.0,
    loss=LossConfig(),
    precision="fp32",
)
"""Common options of Section 5.2.2, to which each preset adds its own."""
MODERN_RATE = 2e-4
"""Peak rate of the paper's networks in the modern recipe; the small ``lite`` has its own recipe's."""


@dataclass(frozen=True)
class Preset:
    """One run."""

    name: str
    title: str
    config: TrainConfig
    track: Track | None
    """Track of the images; None: the ``lite`` recipe's."""
    epochs: int | None
    """Number of epochs; None: `TrainConfig.steps` is used."""
    free: bool = False
    """True if network and RoSTa may be chosen."""
    continues: bool = False
    """True if it starts from weights of the whole network."""


def find_preset(name: str, network: str | None = None, rosta: str | None = None) -> Preset:
    """Find the preset of a name.

    Args:
        name: key of `presets`, or one with ``-modern`` at its end.
        network: network for a preset that allows a choice; None: its own.
        rosta: likewise.

    Raises:
        RunError: no such preset (the message has similar names), or it has a fixed network or RoSTa.
    """
    known = presets()
    base = name.removesuffix(MODERN)
    preset = known.get(name) or known.get(base)
    if preset is None or (base != name and preset.free):
        near = difflib.get_close_matches(base, known, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise RunError(f"unknown preset {name!r}{hint} `python -m train train --list-presets` shows all")
    if base != name:
        title = f"{preset.title}, modern training"
        preset = replace(preset, name=name, title=title, config=_modern(replace(preset.config, preset=name)))
    if network is None and rosta is None:
        return preset
    if not preset.free:
        fixed = "no RoSTa" if preset.config.network in METHODS else f"RoSTa {preset.config.rosta}"
        raise RunError(f"preset {name} has network {preset.config.network} and {fixed}; choose another preset")
    if network in METHODS and rosta is not None:
        raise RunError(f"method {network} has no RoSTa; leave --rosta out")
    if network in METHODS and preset.track is None:
        raise RunError(f"preset {name} has no images for method {network}; take preset folder, or one of the method's own")
    return replace(preset, config=_chosen(preset.config, network or preset.config.network, rosta or preset.config.rosta))


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, without the modern ones."""
    found = [_lite(), _second_lite(), *_later_lites(), _folder()]
    for data, title in SETS.items():
        for key, track in TRACKS.items():
            found += [_paper(data, title, key, track, network, rosta) for network in BATCH for rosta in ROSTAS]
            found += [_method(data, title, key, track, method) for method in METHODS]
        for network in ABLATED:
            found += [_paper(data, title, "ori", TRACKS["ori"], network, "TT", part) for part in ABLATIONS]
            found += [_paper(data, title, key, track, network, "TT") for key, track in STEP_TRACKS.items()]
    return {preset.name: preset for preset in found}


def configure(
    preset: Preset,
    images: int | None = None,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    crop: int | None = None,
    **others: Any,
) -> TrainConfig:
    """Return the options of a run: a preset with changes; None keeps the preset's value.

    Args:
        preset: as from `find_preset`.
        images: number of images of an epoch; None if the recipe has no epochs.
        steps: optimiser steps, instead of epochs.
        epochs: passes over the images.
        batch: samples of a step, over all processes, at the preset's first crop size.
        crop: side of all samples in pixels, a multiple of 32.
        others: fields of `TrainConfig` by name.

    Returns:
        The options, with the number of steps of the epochs.

    Raises:
        RunError: the options contradict each other or the preset.
    """
    config = replace(preset.config, **{name: value for name, value in others.items() if value is not None})
    height, width, _ = config.sizes[0]
    per_batch = batch or max(2, config.pixels_per_batch // (height * width))
    if per_batch < 2:
        raise RunError(f"a batch of {per_batch} is too small; batch norms need at least 2 samples")
    if crop is not None:
        if crop < 32 or crop % 32:
            raise RunError(f"crop {crop} does not fit the network; expected a multiple of 32")
        height = width = crop
        config = replace(config, sizes=((crop, crop, 1.0),), final_shares=())
    if batch is not None or crop is not None:
        config = replace(config, pixels_per_batch=per_batch * height * width)
    if steps is not None and epochs is not None:
        raise RunError("both --steps and --epochs are given; give one of them")
    epochs = epochs if epochs is not None else preset.epochs
    if steps is None and epochs is not None:
        if images is None:
            raise RunError(f"preset {preset.name} makes its images without end and has no epochs; give --steps")
        steps = max(1, epochs * images // per_batch)
    return config if steps is None else replace(config, steps=steps)


def _paper(data: str, title: str, key: str, track: Track, network: str, rosta: str, part: str | None = None) -> Preset:
    name = "-".join([data, key, network, rosta.lower(), *([part] if part else [])])
    without, fields = ABLATIONS[part] if part else ("", {})
    config = replace(
        PAPER,
        preset=name,
        network=network,
        rosta=rosta,
        pixels_per_batch=BATCH[network] * CROP * CROP,
        checkpointing=network == "r101",
        **fields,
    )
    described = f"{title}, {track.title}: {network}, {rosta}" + (f", {without}" if without else "")
    return Preset(name, described, config, track, track.epochs)


def _method(data: str, title: str, key: str, track: Track, method: str) -> Preset:
    name = f"{data}-{key}-{method}"
    config = replace(PAPER, preset=name, network=method, pixels_per_batch=METHODS[method] * CROP * CROP)
    return Preset(name, f"{title}, {track.title}: {method}", config, track, track.epochs)


def _lite() -> Preset:
    return Preset(
        "lite",
        "the shipped network: portraits, people and animals, mattes from masks (--cache)",
        TrainConfig(),
        None,
        None,
        free=True,
    )


def _second_lite() -> Preset:
    start, end = (share for *_, share in TrainConfig.sizes), TrainConfig.final_shares
    shares = tuple((one + other) / 2 for one, other in zip(start, end, strict=True))
    return _next_stage("lite-second", "its second stage, from the weights of the first (--start)", shares, 8e-4, 0.02, 2)


def _later_lites() -> list[Preset]:
    """Return the later presets of lite, with larger images from the start: the passes of `--quality best` see as many pixels
    as the largest.
    """
    shares = (0.18, 0.08, 0.06, 0.06, 0.20, 0.10, 0.08, 0.12, 0.12)
    steady = _next_stage("lite-steady", "its stage on pairs of frames of one scene, against flicker", shares, 4e-4, 0.02, 9)
    fifth = _next_stage("lite-fifth", "its last stage, like the fourth, with some pairs of frames", shares, 6e-4, 0.02, 13)
    return [
        _next_stage("lite-third", "its third stage, on larger images, from the weights of the second", shares, 6e-4, 0.02, 5),
        _next_stage("lite-fourth", "its fourth stage, like the third, from the mean of the second and the third", shares, 6e-4, 0.02, 7),
        _with_pairs(steady, 1.0),
        _with_pairs(fifth, 0.3),
        _with_recipe(_with_pairs(_next_stage("lite-sixth", "its stage on labels of teachers that hold everybody in view", shares, 6e-4, 0.02, 17), 0.25), "everybody"),
        _with_recipe(
            _with_pairs(_next_stage("lite-seventh", "its stage on all labelled sets, with more objects that are nobody", shares, 6e-4, 0.02, 23), 0.3), "everybody-objects"
        ),
        _with_memory(
            _with_recipe(_with_pairs(_next_stage("lite-eighth", "its stage with the matte of the frame before", shares, 6e-4, 0.02, 29), 0.3), "everybody")
        ),
        _with_faster_encoder(
            _with_recipe(_with_pairs(_next_stage("lite-ninth", "its stage on photographs as they are, of more sets", shares, 5e-4, 0.02, 31), 0.15), "photographs")
        ),
        _with_faster_encoder(
            _with_recipe(_with_pairs(_next_stage("lite-tenth", "its stage like the ninth, with more things in hands and more objects", shares, 5e-4, 0.02, 37), 0.15), "photographs-held")
        ),
    ]


def _with_pairs(preset: Preset, share: float) -> Preset:
    config = preset.config
    return replace(preset, config=replace(config, pairs=share, loss=replace(config.loss, steady=2.0)))


def _with_memory(preset: Preset) -> Preset:
    return replace(preset, config=replace(preset.config, memory=True))


def _with_faster_encoder(preset: Preset) -> Preset:
    return replace(preset, config=replace(preset.config, encoder_rate=0.6))


def _with_recipe(preset: Preset, recipe: str) -> Preset:
    return replace(preset, config=replace(preset.config, recipe=recipe))


def _next_stage(name: str, title: str, shares: tuple[float, ...], rate: float, warmup: float, seed: int) -> Preset:
    first = _lite()
    config = replace(
        first.config,
        preset=name,
        sizes=tuple((height, width, share) for (height, width, _), share in zip(TrainConfig.sizes, shares, strict=True)),
        learning_rate=rate,
        warmup=warmup,
        seed=seed,
    )
    return replace(first, name=name, title=title, config=config, continues=True)


def _folder() -> Preset:
    config = replace(_modern(PAPER), preset="folder")
    track = Track("images as they are", 100)
    title = "any folder of images and mattes; choose --network and --rosta"
    return Preset("folder", title, _chosen(config, "lite", "TT"), track, track.epochs, free=True)


def _modern(config: TrainConfig) -> TrainConfig:
    """Return the options with AdamW, warm-up and cosine, averaged weights, bfloat16; none of this is from the paper."""
    return replace(
        config,
        optimizer="adamw",
        schedule="cosine",
        learning_rate=MODERN_RATE,
        encoder_rate=TrainConfig.encoder_rate,
        weight_decay=TrainConfig.weight_decay,
        clip=TrainConfig.clip,
        ema=TrainConfig.ema,
        precision="bf16",
    )


def _chosen(config: TrainConfig, network: str, rosta: str) -> TrainConfig:
    """Return the options for another network in a free preset: its rate, its batch if crops have one size, and memory."""
    one_size = len(config.sizes) == 1
    return replace(
        config,
        network=network,
        rosta=rosta,
        learning_rate=TrainConfig.learning_rate if network == "lite" else MODERN_RATE,
        pixels_per_batch=(BATCH | METHODS).get(network, LITE_BATCH) * CROP * CROP if one_size else config.pixels_per_batch,
        checkpointing=network == "r101",
    )
