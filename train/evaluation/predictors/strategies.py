"""The paper's test strategies: sizes at which a network sees a whole image (Li et al. 2022, sections 5.2.2 and 5.5, Table 6).

The glance sees the image at one size, the focus at another, both are brought back to the image's size and fused there
(hybrid); if the two sizes are equal, one pass gives a fused matte that is resized (single). Strategies have no weights, so each
works with every network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch

from streammat.engines.network.gfm import GFM
from streammat.train.data.images import Image, Matte
from streammat.train.methods.base import Method

MULTIPLE = 32
"""Sides of a network's input are multiples of this."""
LONGEST = 1600
"""Longest side of a network's input in pixels, as in the published test."""
_WHOLE = 1.0 - 1e-4
"""Value of a resized class map from which all source pixels have that class."""


TRIMAP_VALUES = np.full(256, np.float32(0.5))
"""Network inputs for 0, 128 and 255 of a trimap: 0, 0.5 and 1."""
TRIMAP_VALUES[[0, 255]] = 0.0, 1.0


@dataclass(frozen=True)
class Strategy:
    """Sizes of the two passes relative to the image, each above 0 and at most 1."""

    glance_ratio: Fraction = Fraction(1, 3)
    focus_ratio: Fraction = Fraction(1, 2)

    def __post_init__(self) -> None:
        for ratio in (self.glance_ratio, self.focus_ratio):
            if not 0 < ratio <= 1:
                raise ValueError(f"ratio {ratio} of a test strategy is not above 0 and at most 1")

    @property
    def single(self) -> bool:
        """True if both decoders use the same size: one pass."""
        return self.glance_ratio == self.focus_ratio

    def __str__(self) -> str:
        return f"single {self.glance_ratio}" if self.single else f"hybrid {self.glance_ratio}, {self.focus_ratio}"


HYBRID = Strategy()
"""The paper's test for high resolutions: glance at 1/3, focus at 1/2."""
SINGLE = Strategy(Fraction(5, 13), Fraction(5, 13))
"""The paper's single pass."""
WHOLE = Strategy(Fraction(1), Fraction(1))
"""The image at its own size, for trimap-based methods."""


def parse_strategy(text: str) -> Strategy:
    """Parse a strategy's name.

    Args:
        text: ``hybrid``, ``single``, one ratio (``5/13``, ``0.5``), or glance and focus ratio (``1/3:1/2``).

    Raises:
        ValueError: it is none of these, or a ratio is not above 0 and at most 1.
    """
    named = {"hybrid": HYBRID, "single": SINGLE}
    if text in named:
        return named[text]
    try:
        ratios = [Fraction(part.strip()) for part in text.split(":")]
    except (ValueError, ZeroDivisionError):
        ratios = []
    if len(ratios) not in (1, 2):
        raise ValueError(f"strategy {text!r} is unknown; expected hybrid, single, a ratio such as 5/13, or two such as 1/3:1/2")
    return Strategy(ratios[0], ratios[-1])


def ratio_grid(ratios: Sequence[Fraction]) -> list[Strategy]:
    """Return every pair whose glance sees the image no larger than its focus, d1 >= d2, the glance's slowest (Table 6)."""
    return [Strategy(glance, focus) for glance, focus in product(ratios, ratios) if glance <= focus]


def input_size(height: int, width: int, ratio: Fraction) -> tuple[int, int]:
    """Return the size of a network's input: each side times ``ratio``, floored to a multiple of 32, at least 32 and at most 1600.

    Args:
        height: height of the image in pixels.
        width: likewise.
        ratio: above 0.

    Returns:
        Height and width in pixels.
    """
    height, width = (min(LONGEST, max(MULTIPLE, int(side * ratio) // MULTIPLE * MULTIPLE)) for side in (height, width))
    return height, width


def predict_alpha(model: GFM, rgb: Image, strategy: Strategy = HYBRID) -> Matte:
    """Predict the matte of a whole image.

    Args:
        model: any network, in eval mode, on any device.
        rgb: uint8 (H, W, 3), RGB, of any size.
        strategy: the test strategy.

    Returns:
        float32 (H, W), 0..1.

    Raises:
        ValueError: ``rgb`` is not such an image.
    """
    return predict_alphas(model, rgb, [strategy])[strategy]


@torch.no_grad()
def predict_alphas(model: GFM, rgb: Image, strategies: Iterable[Strategy]) -> dict[Strategy, Matte]:
    """Predict mattes by several strategies, in order; shared sizes are computed once.

    A hybrid strategy takes the class of each pixel of the glance, resizes the maps of the classes bilinearly and fuses at
    the image's size, as the published test does: with TT a pixel is foreground or background if all its source pixels are,
    otherwise the focus decides; with FT and BT the resized class and the focus are added or subtracted and
    clipped. Networks that fuse by expectation (`GFM.soft`) resize the probabilities. For RIM each of the three pairs is
    fused, then integrated.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ValueError(f"image is {rgb.dtype} {rgb.shape}; expected uint8 (H, W, 3)")
    wanted = list(dict.fromkeys(strategies))
    passes: dict[Fraction, Any] = {}
    for ratio in dict.fromkeys(ratio for s in wanted for ratio in (s.glance_ratio, s.focus_ratio)):
        passes[ratio] = model.predict(_network_input(model, rgb, ratio))
    size = rgb.shape[:2]
    results: dict[Strategy, Matte] = {}
    for strategy in wanted:
        glance, focus = passes[strategy.glance_ratio], passes[strategy.focus_ratio]
        if strategy.single:
            alpha = enlarge(_array(glance.alpha), size)[:, :, 0]
        else:
            alphas = [
                fuse_enlarged(
                    enlarge(_weights(model, glance.heads[rosta].glance), size),
                    enlarge(_array(focus.heads[rosta].focus), size)[:, :, 0],
                    rosta,
                    soft=model.soft,
                )
                for rosta in model.heads
            ]
            alpha = alphas[0] if model.rosta != "RIM" else _integrate(model, alphas)
        results[strategy] = alpha.clip(0.0, 1.0)
    return results


@torch.no_grad()
def predict_method(model: Method, rgb: Image, ratio: Fraction, trimap: Image | None = None) -> Matte:
    """Predict the matte of a whole image with another method than GFM, in one pass.

    Args:
        model: in eval mode, on any device.
        rgb: uint8 (H, W, 3), RGB, of any size.
        ratio: size of the pass relative to the image.
        trimap: uint8 (H, W), 0, 128 and 255, for methods that need one. Its certain values are kept.

    Returns:
        float32 (H, W), 0..1.

    Raises:
        ValueError: the image or the trimap is invalid, or the trimap is missing.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ValueError(f"image is {rgb.dtype} {rgb.shape}; expected uint8 (H, W, 3)")
    size = input_size(rgb.shape[0], rgb.shape[1], ratio)
    small = None
    if trimap is not None:
        if trimap.shape != rgb.shape[:2]:
            raise ValueError(f"trimap has shape {trimap.shape}, image {rgb.shape}; expected one height and width")
        values = cv2.resize(trimap, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        small = torch.from_numpy(TRIMAP_VALUES[values])[None, None].to(model.mean.device)
    alpha = enlarge(_array(model(_network_input(model, rgb, ratio), small).alpha), rgb.shape[:2])[:, :, 0].clip(0.0, 1.0)
    return alpha if trimap is None else np.where(trimap == 128, alpha, TRIMAP_VALUES[trimap])


def fuse_enlarged(weights: Matte, focus: Matte, rosta: str, *, soft: bool) -> Matte:
    """Fuse at the image's size; see `predict_alphas`.

    Args:
        weights: float32 (H, W, C), 0..1: share of each class in a pixel.
        focus: float32 (H, W), 0..1.
        rosta: ``TT``, ``FT`` or ``BT``.
        soft: weight the classes instead of choosing one.

    Returns:
        float32 (H, W), 0..1.
    """
    last = weights[:, :, -1]
    if soft:
        between = {"TT": weights[:, :, 1] * focus, "FT": weights[:, :, 0] * focus, "BT": -last * focus}
        return np.asarray(last + between[rosta], np.float32)
    if rosta == "TT":
        certain = np.where(weights[:, :, 0] >= _WHOLE, np.float32(0.0), focus)
        return np.where(last >= _WHOLE, np.float32(1.0), certain)
    return np.asarray(np.clip(last + focus if rosta == "FT" else last - focus, 0.0, 1.0), np.float32)


@torch.no_grad()
def glance_trimap(model: GFM, rgb: Image, ratio: Fraction = HYBRID.glance_ratio) -> Image:
    """Return the glance's classes as a trimap for a trimap-based method (Table 3).

    Args:
        model: a network with RoSTa TT or RIM.
        rgb: uint8 (H, W, 3), RGB.
        ratio: size of the pass relative to the image. Returns: uint8 (H, W): 255 foreground, 0 background, 128 everywhere else.

    Raises:
        ValueError: the network's glance has no transition class (FT, BT).
    """
    if "TT" not in model.heads:
        raise ValueError(f"a glance of RoSTa {model.rosta} knows no transition area; a trimap needs TT or RIM")
    glance = model.predict(_network_input(model, rgb, ratio)).heads["TT"].glance
    classes = enlarge(_winners(glance), rgb.shape[:2])
    trimap = np.full(rgb.shape[:2], 128, np.uint8)
    trimap[classes[:, :, 0] >= _WHOLE] = 0
    trimap[classes[:, :, 2] >= _WHOLE] = 255
    return trimap


def median_ensemble(alphas: Sequence[Matte]) -> Matte:
    """Return EN-median: the median of each pixel over networks of different RoSTa (section 5.5).

    Args:
        alphas: float (H, W), 0..1, at least one; TT, FT and BT in the paper.

    Returns:
        float32 (H, W), 0..1.

    Raises:
        ValueError: there is none, or shapes differ.
    """
    shapes = {alpha.shape for alpha in alphas}
    if len(shapes) != 1:
        raise ValueError(f"mattes of an ensemble have shapes {sorted(shapes)}; expected at least one, all equal")
    return np.asarray(np.median(np.stack(alphas), axis=0), np.float32)


def shrink(rgb: Image, size: tuple[int, int]) -> Matte:
    """Resize an image for a network: Gaussian blur against aliasing, then bilinear, as in the published test.

    Args:
        rgb: uint8 (H, W, 3).
        size: height and width in pixels.

    Returns:
        float32 (height, width, 3), 0..255.
    """
    deviation = [max(0.0, (old / new - 1.0) / 2.0) for old, new in zip(rgb.shape[:2], size, strict=True)]
    image = rgb.astype(np.float32)
    if max(deviation) > 0.0:
        # A side that is not made smaller is not blurred: a kernel of one pixel.
        kernel = tuple(2 * int(4.0 * sigma + 0.5) + 1 for sigma in reversed(deviation))
        sigmas = [max(sigma, 1e-6) for sigma in reversed(deviation)]
        image = cv2.GaussianBlur(image, kernel, sigmas[0], sigmaY=sigmas[1])  # type: ignore[assignment]
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def enlarge(maps: Matte, size: tuple[int, ...]) -> Matte:
    """Resize a network's maps, float32 (h, w, C), bilinearly to an image's height and width: float32 (H, W, C)."""
    resized = cv2.resize(maps, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32).reshape(size[0], size[1], maps.shape[2])


def _network_input(model: GFM | Method, rgb: Image, ratio: Fraction) -> torch.Tensor:
    small = shrink(rgb, input_size(rgb.shape[0], rgb.shape[1], ratio))
    return torch.from_numpy(small).permute(2, 0, 1)[None].to(model.mean.device)


def _array(maps: torch.Tensor) -> Matte:
    """Convert (1, C, h, w) of any float type to float32 (h, w, C)."""
    return np.ascontiguousarray(maps[0].permute(1, 2, 0).float().cpu().numpy())


def _winners(glance: torch.Tensor) -> Matte:
    """Convert logits (1, C, h, w) to float32 (h, w, C): 1 for the class, 0 for the others."""
    winner = glance.argmax(dim=1, keepdim=True)
    return _array(torch.zeros_like(glance).scatter_(1, winner, 1.0))


def _weights(model: GFM, glance: torch.Tensor) -> Matte:
    return _array(model.probability(glance)) if model.soft else _winners(glance)


def _integrate(model: GFM, alphas: Sequence[Matte]) -> Matte:
    stacked = torch.from_numpy(np.stack(alphas))[None].to(model.mean.device)
    return _array(model.integrate(stacked))[:, :, 0]
