"""What a preset trains on: its images found, checked and made into samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from streammat.train.data.crops import CropDataset
from streammat.train.data.layouts import FolderImages, open_backgrounds, open_layout
from streammat.train.data.loader import Samples
from streammat.train.data.samples import Pictures
from streammat.train.errors import RunError
from streammat.train.lite.dataset import MattingDataset
from streammat.train.lite.ingredients import recipe_without
from streammat.train.lite.validation import Pair
from streammat.train.loop.loop import make_network
from streammat.train.recipes.config import TrainConfig
from streammat.train.recipes.presets import Preset, Track
from streammat.train.rssn.compose_sample import ComposedImages, Rssn


@dataclass(frozen=True)
class Folders:
    """Where the data lies; None: not given."""

    data: Path
    """The data set; for the ``lite`` recipe the folder with ``backgrounds``."""
    backgrounds: Path | None = None
    """For the COMP tracks."""
    cache: Path | None = None
    """Mattes of the ``lite`` recipe."""


def open_images(preset: Preset, folders: Folders, *, denoise_now: bool = False) -> Pictures | None:
    """Return the images of a preset's track; None for the ``lite`` recipe, which makes its own without end.

    Args:
        preset: of `streammat.train.recipes.presets.find_preset`.
        folders: where they lie.
        denoise_now: as of `streammat.train.rssn.compose_sample.ComposedPictures`.

    Raises:
        RunError: a folder that the track needs was not given.
        DataError: the data set is not laid out as expected, or lacks something.
    """
    track = preset.track
    if track is None:
        return None
    entries = open_layout(folders.data, "train")
    if track.backgrounds is None:
        return FolderImages(entries)
    if folders.backgrounds is None:
        raise RunError(f"preset {preset.name} composes with backgrounds; give --backgrounds, the folder of {track.backgrounds}")
    backgrounds = open_backgrounds(folders.backgrounds)
    return ComposedImages(entries, backgrounds, rssn_of(track), denoise_now=denoise_now)


def open_samples(preset: Preset, config: TrainConfig, images: Pictures | None, folders: Folders) -> tuple[Samples, list[Pair]]:
    """Return samples to train on, and held-out images to watch the training by.

    Args:
        preset: of `streammat.train.recipes.presets.find_preset`.
        config: of `streammat.train.recipes.presets.configure`.
        images: of `open_images`.
        folders: where data lies.

    Raises:
        RunError: no such network, or the ``lite`` recipe was given no mattes.
        DataError: there are no mattes.
    """
    with torch.device("meta"):
        network = make_network(config)  # only to ask what it needs
    if images is not None:
        if config.without:
            raise RunError(f"preset {preset.name} has no ingredients to leave out; --without is for preset lite")
        if config.pairs:
            raise RunError(f"preset {preset.name} has no pairs of frames; their share has to be 0")
        return CropDataset(images, network.heads, network.stride, config.seed), []
    if folders.cache is None:
        raise RunError(f"preset {preset.name} trains on mattes; give --cache, the folder that `python -m train mattes` filled")
    recipe = recipe_without(config.without, config.recipe)
    samples = MattingDataset(
        folders.data, folders.cache, recipe.data, config.seed, network.heads, network.stride, recipe.scene, recipe.faults
    )
    return samples, [Pair(subject.image, subject.alpha) for subject in samples.held]


def remark(images: Pictures | None) -> str | None:
    """What a user should know of the images before a long run, in a line."""
    if not isinstance(images, FolderImages):
        return None
    bare = sum(entry.foreground is None or entry.background is None for entry in images.entries)
    if not bare:
        return None
    return (
        f"{bare} images have no foreground and background: no composition loss for them (`python -m train layers` makes both)"
    )


def rssn_of(track: Track) -> Rssn:
    """Return probabilities of RSSN's steps: the paper's for those of the track, 0 for the others."""

    def probability(step: str, paper: float) -> float:
        return paper if step in track.steps else 0.0

    return Rssn(
        denoise=probability("denoise", Rssn.denoise), blur=probability("blur", Rssn.blur), noise=probability("noise", Rssn.noise)
    )
