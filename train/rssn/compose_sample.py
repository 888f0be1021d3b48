"""The composition route RSSN (Section 4, pipeline 1): Reduce resolution, Sharpness and Noise discrepancies.

A subject on another photograph is easy to recognise: the two images differ in noise, depth of field and grain, and a network
learns these differences instead of what a subject is. Per composite, each with its own probability:

1. denoise: foreground and background by BM3D (Dabov et al. 2007), to remove their cameras' noise;
2. blur: the background by an average over a square, the look of a lens with a small depth of field;
3. blend: composite = alpha * foreground + (1 - alpha) * background, the paper's equation 1; always;
4. noise: the same Gaussian noise over the whole composite.

Resolution is handled by the choice of backgrounds: `streammat.train.rssn.backgrounds` and BG-20k hold large photographs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from streammat.train.data.images import Image, Layers, read_alpha, read_rgb
from streammat.train.data.layouts import BackgroundEntry, Entry
from streammat.train.data.targets import BACKGROUND_BELOW
from streammat.train.errors import DataError, RunError

PER_FOREGROUND = 5
"""Backgrounds for each foreground: the paper's K."""
BM3D_SIGMA = 10.0
"""Assumed deviation of the noise that BM3D removes, in grey levels. The paper gives none; 10 is the noise that step 4 adds."""
_BM3D_SIDE = 32
_OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [1 / 4, -1 / 2, 1 / 4]])
"""BM3D's colour space: rows are luma, red against blue, green against magenta."""


@dataclass(frozen=True)
class Rssn:
    """Probabilities of the steps; the rows of Table 4 set some or all of the three to 0."""

    denoise: float = 0.5
    """Probability of denoising, 0..1, for foreground and background together."""
    blur: float = 0.5
    """Probability, 0..1."""
    noise: float = 0.5
    """Probability, 0..1."""
    kernels: tuple[int, ...] = (20, 30, 40, 50, 60)
    """Sides of the averaging square in pixels of the composite; one is drawn for each."""
    noise_sigma: float = 10.0
    """Standard deviation of the added noise in grey levels."""

    def __post_init__(self) -> None:
        for name in ("denoise", "blur", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RunError(f"RSSN probability {name} is {getattr(self, name)}; expected 0 to 1")
        if not self.kernels or min(self.kernels) < 1:
            raise RunError(f"RSSN blur kernels are {self.kernels}; expected at least one, each of at least 1 pixel")
        if self.noise_sigma < 0:
            raise RunError(f"RSSN noise deviation is {self.noise_sigma}; expected 0 or more grey levels")


@dataclass(frozen=True)
class Steps:
    """The steps applied to one composite."""

    denoise: bool
    kernel: int
    """Side of the averaging square in pixels; 0: no blur."""
    noise: bool


def draw_steps(rng: np.random.Generator, rssn: Rssn) -> Steps:
    """Draw the steps of one composite.

    All random numbers are drawn whatever the probabilities are, so that runs that differ in one of them (the rows of Table 4)
    agree in everything else.

    Args:
        rng: advanced by four numbers.
        rssn: probabilities.
    """
    denoise, blur, noise = rng.random(3) < (rssn.denoise, rssn.blur, rssn.noise)
    kernel = rssn.kernels[int(rng.integers(len(rssn.kernels)))]
    return Steps(bool(denoise), kernel if blur else 0, bool(noise))


def denoise(rgb: Image, sigma: float = BM3D_SIGMA) -> Image:
    """Remove noise by BM3D (Dabov et al. 2007, in its colour form with opponent colours); minutes for a full-size image.

    Args:
        rgb: uint8 (H, W, 3), RGB.
        sigma: standard deviation of the noise in grey levels, above 0.

    Returns:
        uint8 (H, W, 3).
    """
    import bm3d

    height, width = rgb.shape[:2]
    # Its library crashes on images hardly larger than its blocks.
    below, right = max(0, _BM3D_SIDE - height), max(0, _BM3D_SIDE - width)
    padded = np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="symmetric")
    # bm3d_rgb of the package stretches each plane to 0..1 first and so divides by zero where the image is grey.
    planes = padded / 255.0 @ _OPPONENT.T
    profile = bm3d.BM3DProfile()
    profile.num_threads = 1  # a process per core is what keeps the cores busy; and sums stay in one order
    deviations = sigma / 255.0 * np.sqrt((_OPPONENT**2).sum(axis=1))
    clean = bm3d.bm3d(planes, deviations, profile) @ np.linalg.inv(_OPPONENT).T
    return _to_uint8(clean[:height, :width] * 255.0)


def blur_background(background: Image, kernel: int) -> Image:
    """Blur a background by averaging over a square, as if out of focus.

    Args:
        background: uint8 (H, W, 3).
        kernel: side of the square in pixels; below 2: no blur.

    Returns:
        uint8 (H, W, 3); beyond the border the image is mirrored.
    """
    if kernel < 2:
        return background
    return np.asarray(cv2.blur(background, (kernel, kernel), borderType=cv2.BORDER_REFLECT), np.uint8)


def blend(foreground: Image, alpha: Image, background: Image) -> Image:
    """Blend by the paper's equation 1: alpha * foreground + (1 - alpha) * background, computed in float and rounded.

    Args:
        foreground: uint8 (H, W, 3), straight colour.
        alpha: uint8 (H, W), 0..255.
        background: uint8 (H, W, 3).

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the sizes differ.
    """
    if not foreground.shape == background.shape == (*alpha.shape, 3):
        raise ValueError(f"foreground {foreground.shape}, alpha {alpha.shape}, background {background.shape} do not fit")
    share = alpha[:, :, None].astype(np.float32) / np.float32(255)
    return _to_uint8(foreground * share + background * (1 - share))


def add_noise(rng: np.random.Generator, rgb: Image, sigma: float) -> Image:
    """Add independent Gaussian noise to every value and clip.

    The published training code lets values wrap around (255 + 1 becomes 0); the paper does not ask for that.

    Args:
        rng: source of the noise.
        rgb: uint8 (H, W, 3).
        sigma: standard deviation in grey levels.

    Returns:
        uint8 (H, W, 3).
    """
    return _to_uint8(rgb + rng.standard_normal(rgb.shape, np.float32) * np.float32(sigma))


def fit_background(rng: np.random.Generator, background: Image, height: int, width: int) -> Image:
    """Scale a background, keeping its aspect ratio, until it covers the foreground's image, and crop a random part of that size.

    Args:
        rng: for the position of the crop.
        background: uint8 (H', W', 3) of any size.
        height: height of the foreground's image.
        width: width of the foreground's image.

    Returns:
        uint8 (height, width, 3).
    """
    rows, columns = background.shape[:2]
    scale = max(height / rows, width / columns)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    scaled = cv2.resize(background, size, interpolation=way)
    x, y = (int(rng.integers(0, room + 1)) for room in (size[0] - width, size[1] - height))
    return np.ascontiguousarray(scaled[y : y + height, x : x + width], np.uint8)


def compose(
    rng: np.random.Generator, foreground: Image, alpha: Image, background: Image, steps: Steps, noise_sigma: float
) -> Layers:
    """Blur, blend and add noise; denoising, which is slow, comes before this (`denoise`).

    Args:
        rng: source of the noise.
        foreground: uint8 (H, W, 3), denoised if the steps say so.
        alpha: uint8 (H, W).
        background: uint8 (H, W, 3), likewise.
        steps: as from `draw_steps`.
        noise_sigma: as in `add_noise`.

    Returns:
        The composite as ``rgb``, and the blended foreground and background.

    Raises:
        ValueError: the sizes differ.
    """
    background = blur_background(background, steps.kernel)
    rgb = blend(foreground, alpha, background)
    if steps.noise:
        rgb = add_noise(rng, rgb, noise_sigma)
    return Layers(rgb, alpha, foreground, background)


class ComposedImages:
    """Composites made on demand (the COMP tracks); a `streammat.train.data.samples.ImageSet`.

    Image ``i`` is foreground ``i // per_foreground``. The seed alone determines a foreground's backgrounds; they are all
    different if there are enough.

    Args:
        entries: as from `streammat.train.data.layouts.open_layout`, with foreground colours.
        backgrounds: as from `streammat.train.data.layouts.open_backgrounds`.
        rssn: probabilities; 0 each for plain blending, the tracks COMP-COCO and COMP-BG20K.
        per_foreground: backgrounds for each foreground.
        seed: seed of the choice of backgrounds.
        denoise_now: denoise images without a denoised file when needed; minutes each at full size.

    Raises:
        DataError: a foreground or a denoised file that may be needed is missing, or there is nothing to compose.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        backgrounds: Sequence[BackgroundEntry],
        rssn: Rssn,
        per_foreground: int = PER_FOREGROUND,
        seed: int = 0,
        *,
        denoise_now: bool = False,
    ) -> None:
        self.entries, self.backgrounds = tuple(entries), tuple(backgrounds)
        self.rssn, self.per_foreground, self.seed = rssn, per_foreground, seed
        if not self.entries or not self.backgrounds or per_foreground < 1:
            raise DataError(
                f"nothing to compose: {len(self.entries)} foregrounds, {len(self.backgrounds)} backgrounds, "
                f"{per_foreground} composites for each; expected at least one of each"
            )
        _check_all(
            [entry.image for entry in self.entries if entry.foreground is None],
            len(self.entries),
            "foreground colours (fg/)",
            "run `python -m train layers --data ROOT` first",
        )
        if rssn.denoise > 0 and not denoise_now:
            hint = "or denoise on the fly (slow), or leave denoising out"
            _check_all(
                [entry.image for entry in self.entries if entry.fg_denoise is None],
                len(self.entries),
                "denoised foreground (fg_denoise/)",
                f"run `python -m train layers --denoise --data ROOT` first, {hint}",
            )
            _check_all(
                [entry.image for entry in self.backgrounds if entry.denoise is None],
                len(self.backgrounds),
                "denoised version (a folder ending in _denoise)",
                f"run `python -m train layers --denoise --backgrounds ROOT` first, {hint}",
            )

    def __len__(self) -> int:
        """Return the number of composites per epoch."""
        return len(self.entries) * self.per_foreground

    def pair(self, index: int) -> tuple[Entry, BackgroundEntry]:
        """Return foreground and background of composite ``index``."""
        number, copy = divmod(index, self.per_foreground)
        count = len(self.backgrounds)
        rng = np.random.default_rng((self.seed, number))
        chosen = rng.choice(count, self.per_foreground, replace=count < self.per_foreground)
        return self.entries[number], self.backgrounds[int(chosen[copy])]

    def load(self, index: int, rng: np.random.Generator) -> Layers:
        """Make composite ``index``; steps, crop and noise come from ``rng``.

        Raises:
            DataError: a file is missing or broken, sizes differ, or the matte is empty.
        """
        return make_composite(rng, *self.pair(index), self.rssn)[0]


def make_composite(
    rng: np.random.Generator, entry: Entry, behind: BackgroundEntry, rssn: Rssn
) -> tuple[Layers, Steps]:
    """Make one composite from files; images without a denoised file are denoised now, if the steps need it.

    Args:
        rng: for the steps, the crop of the background and the noise, in this order.
        entry: as from `streammat.train.data.layouts.open_layout`, with a foreground.
        behind: as from `streammat.train.data.layouts.open_backgrounds`.
        rssn: probabilities.

    Returns:
        The result of `compose`, and the applied steps.

    Raises:
        DataError: a file is missing or broken, sizes differ, or the matte is empty.
    """
    assert entry.foreground is not None
    steps = draw_steps(rng, rssn)
    alpha = read_alpha(entry.alpha)
    if int(alpha.max()) < BACKGROUND_BELOW:
        raise DataError(f"matte {entry.alpha} is empty (largest value {int(alpha.max())} of 255); remove the pair")
    path = (entry.fg_denoise if steps.denoise else None) or entry.foreground
    foreground = read_rgb(path)
    if foreground.shape[:2] != alpha.shape:
        raise DataError(
            f"{path} is {foreground.shape[1]}x{foreground.shape[0]} pixels but {entry.alpha} is "
            f"{alpha.shape[1]}x{alpha.shape[0]}; delete the former and run `python -m train layers` again"
        )
    if steps.denoise and entry.fg_denoise is None:
        foreground = denoise(foreground)
    background = read_rgb((behind.denoise if steps.denoise else None) or behind.image)
    background = fit_background(rng, background, *alpha.shape)
    if steps.denoise and behind.denoise is None:
        background = denoise(background)
    return compose(rng, foreground, alpha, background, steps, rssn.noise_sigma), steps


def _check_all(missing: Sequence[object], total: int, what: str, hint: str) -> None:
    if missing:
        raise DataError(f"{missing[0]} has no {what} ({len(missing)} of {total} lack it); {hint}")


def _to_uint8(values: np.ndarray) -> Image:
    result: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return result
