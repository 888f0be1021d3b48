"""What cameras and codecs do to a picture; each effect is rare, so most pictures stay close to clean."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FaultConfig:
    """Probability of each fault of `degrade`, per picture."""

    dark: float = 0.08
    """A quarter to seven tenths of the light, and its noise."""
    vignette: float = 0.08
    noise: float = 0.2
    """Standard deviation 2 to 12 of 255."""
    blur: float = 0.15
    """Out of focus or moved."""
    grey: float = 0.04
    jpeg: float = 0.2
    """Quality 25 to 90."""


FRAME_FAULTS = FaultConfig(dark=0, vignette=0, noise=0.6, blur=0, grey=0, jpeg=0.3)
"""What differs between frames of one camera."""
NO_FAULTS = FaultConfig(0, 0, 0, 0, 0, 0)


def jitter_colour(rng: np.random.Generator, rgb: Image, probability: float) -> Image:
    """Change brightness, contrast, gamma and white balance; the three curves are applied as tables.

    Args:
        rng: source of chance.
        rgb: uint8 (H, W, 3), RGB, 0..255.
        probability: of changing anything at all.

    Returns:
        uint8 (H, W, 3).
    """
    if rng.random() >= probability:
        return rgb
    levels = np.arange(256, dtype=np.float64) / 255.0
    gamma = np.exp(rng.normal(0, 0.22))
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1)
    balance = np.exp(rng.normal(0, 0.07, 3))
    table = (levels[:, None] ** gamma - 0.5) * contrast + 0.5 + brightness
    table = np.clip(table * balance, 0, 1) * 255.0
    return cv2.LUT(np.ascontiguousarray(rgb), np.rint(table).astype(np.uint8)[None]).astype(np.uint8)


def degrade(rng: np.random.Generator, rgb: Image, faults: FaultConfig) -> Image:
    """Webcam faults: low light, vignetting, blur, noise, greyscale, JPEG.

    Args:
        rng: source of chance.
        rgb: uint8 (H, W, 3), RGB, 0..255.
        faults: how often.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = rgb.shape[:2]
    light = rng.uniform(0.25, 0.7) if rng.random() < faults.dark else 1.0
    vignette = rng.random() < faults.vignette
    noise = rng.uniform(2, 12) if rng.random() < faults.noise or light < 1.0 else 0.0
    if rng.random() < faults.blur:
        rgb = _blur(rng, rgb)
    if light < 1.0 or vignette or noise > 0:
        values = rgb.astype(np.float32) * np.float32(light)
        if vignette:
            y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            values *= (1.0 - rng.uniform(0.1, 0.5) * (x * x + y * y) / 2.0).astype(np.float32)[:, :, None]
        if noise > 0:
            # Sensor noise is coarser than a pixel after a webcam's own scaling, half of the time.
            coarse = 2 if rng.random() < 0.5 else 1
            grain = rng.standard_normal((height // coarse, width // coarse, 3), dtype=np.float32) * np.float32(noise)
            values += cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
        rgb = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if rng.random() < faults.grey:
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    if rng.random() < faults.jpeg:
        quality = int(rng.integers(25, 90))
        _, code = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
        assert decoded is not None
        rgb = decoded.astype(np.uint8, copy=False)
    return rgb


def another_frame(rng: np.random.Generator, rgb: Image) -> Image:
    """A still scene a moment later: exposure and white balance have moved a little, noise and coding are others.

    Args:
        rng: source of chance.
        rgb: uint8 (H, W, 3), RGB, 0..255.

    Returns:
        uint8 (H, W, 3).
    """
    gain = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02, 3))
    table = np.clip(np.arange(256, dtype=np.float64)[:, None] * gain, 0, 255)
    moved = cv2.LUT(np.ascontiguousarray(rgb), np.rint(table).astype(np.uint8)[None]).astype(np.uint8)
    return degrade(rng, moved, FRAME_FAULTS)


def _blur(rng: np.random.Generator, rgb: Image) -> Image:
    """Out of focus, or moved during the exposure."""
    if rng.random() < 0.6:
        return cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 1.8)).astype(np.uint8)
    length = int(rng.integers(3, 9))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = (length - 1) / 2
    start, stop = (tuple(int(v) for v in np.rint(middle + sign * end)) for sign in (-1, 1))
    cv2.line(kernel, start, stop, 1.0, 1)
    return cv2.filter2D(rgb, -1, kernel / max(kernel.sum(), 1.0)).astype(np.uint8)
