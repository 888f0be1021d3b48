"""Finds and checks a preset's images and makes samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from streammat.train.config import TrainConfig
from streammat.train.data.crops import CropDataset
from streammat.train.data.layouts import FolderImages, open_backgrounds, open_layout
from streammat.train.data.loader import Samples
from streammat.train.data.samples import ImageSet
from streammat.train.errors import RunError
from streammat.train.lite.dataset import MattingDataset
from streammat.train.lite.ingredients import recipe_without
from streammat.train.loop.loop import make_network
from streammat.train.measures.validation import Pair
from streammat.train.recipes.presets import Preset, Track
from streammat.train.rssn.compose_sample import ComposedImages, Rssn


@dataclass(frozen=True)
class DataFolders:
    """Folders of the data; None: not given."""

    data: Path
    """The data set; for the ``lite`` recipe the folder with ``backgrounds``."""
    backgrounds: Path | None = None
    """Backgrounds for the COMP tracks."""
    cache: Path | None = None
    """Mattes of the ``lite`` recipe."""


def open_images(preset: Preset, folders: DataFolders, *, denoise_now: bool = False) -> ImageSet | None:
    """Open the images of a preset's track; None for the ``lite`` recipe, which generates images without end.

    Args:
        preset: as from `streammat.train.recipes.presets.find_preset`.
        folders: their folders.
        denoise_now: as in `streammat.train.rssn.compose_sample.ComposedImages`.

    Raises:
        RunError: a folder that the track needs was not given.
        DataError: the data set has an unexpected layout, or is incomplete.
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


def open_samples(preset: Preset, config: TrainConfig, images: ImageSet | None, folders: DataFolders) -> tuple[Samples, list[Pair]]:
    """Open the samples for training, and held-out images for validation.

    Args:
        preset: as from `streammat.train.recipes.presets.find_preset`.
        config: as from `streammat.train.recipes.presets.configure`.
        images: as from `open_images`.
        folders: folders of the data.

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


def missing_layers(images: ImageSet | None) -> str | None:
    """Return a line with what a user should know about the images before a long run."""
    if not isinstance(images, FolderImages):
        return None
    bare = sum(entry.foreground is None or entry.background is None for entry in images.entries)
    if not bare:
        return None
    return (
        f"{bare} images have no foreground and background: no composition loss for them (`python -m train layers` makes both)"
    )


def rssn_of(track: Track) -> Rssn:
    """Return the probabilities of RSSN's steps: the paper's for those of the track, 0 for the others."""

    def probability(step: str, paper: float) -> float:
        return paper if step in track.steps else 0.0

    return Rssn(
        denoise=probability("denoise", Rssn.denoise), blur=probability("blur", Rssn.blur), noise=probability("noise", Rssn.noise)
    )
