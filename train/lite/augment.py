"""Augmentation by faults of cameras and codecs; each effect is rare, so most images stay nearly clean."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.images import Image


@dataclass(frozen=True)
class FaultConfig:
    """Probability of each fault of a camera, per image."""

    dark: float = 0.14
    """Low light: 0.25 to 0.7 of the light, with noise."""
    vignette: float = 0.08
    noise: float = 0.25
    """Noise of standard deviation 2 to 12, of 255."""
    blur: float = 0.15
    """Blur by defocus or motion."""
    grey: float = 0.07
    jpeg: float = 0.2
    """JPEG compression of quality 25 to 90."""


PAIR_NOISE, PAIR_JPEG = 0.6, 0.4
"""Probabilities of noise and coding in pairs of frames; without them two frames of a still scene would be identical."""
NO_FAULTS = FaultConfig(0, 0, 0, 0, 0, 0)


def jitter_colour(rng: np.random.Generator, rgb: Image, probability: float) -> Image:
    """Change brightness, contrast, gamma and white balance; the three curves are applied as tables.

    Args:
        rng: random generator.
        rgb: uint8 (H, W, 3), RGB, 0..255.
        probability: probability of any change.

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


@dataclass(frozen=True)
class CameraFaults:
    """The faults of one camera in one light, which are constant from frame to frame."""

    light: float = 1.0
    """Factor of all values."""
    vignette: float = 0.0
    """Share of the light that the corners lose."""
    noise: float = 0.0
    """Standard deviation of the noise, of 255."""
    coarse: int = 1
    """Size of the noise grain in pixels: a webcam's own scaling makes it coarser than a pixel."""
    luma: bool = False
    """True if the grain is mostly equal in all channels, as after video coding, instead of independent."""
    kernel: NDArray[np.float32] | None = None
    """Blur kernel."""
    grey: bool = False
    quality: int = 0
    """JPEG quality; 0: no JPEG."""


def draw_camera_faults(rng: np.random.Generator, faults: FaultConfig) -> CameraFaults:
    """Draw webcam faults: low light, vignetting, blur, noise, greyscale, JPEG.

    Args:
        rng: random generator.
        faults: their probabilities.
    """
    light = rng.uniform(0.25, 0.7) if rng.random() < faults.dark else 1.0
    return CameraFaults(
        light=light,
        vignette=rng.uniform(0.1, 0.5) if rng.random() < faults.vignette else 0.0,
        noise=rng.uniform(2, 12) if rng.random() < faults.noise or light < 1.0 else 0.0,
        coarse=2 if rng.random() < 0.5 else 1,
        luma=bool(rng.random() < 0.5),
        kernel=_blur_kernel(rng) if rng.random() < faults.blur else None,
        grey=bool(rng.random() < faults.grey),
        quality=int(rng.integers(25, 90)) if rng.random() < faults.jpeg else 0,
    )


def expose(rng: np.random.Generator, rgb: Image, camera: CameraFaults) -> Image:
    """Apply a camera's faults to one frame.

    Args:
        rng: source of the noise.
        rgb: uint8 (H, W, 3), RGB, 0..255.
        camera: its faults.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = rgb.shape[:2]
    if camera.kernel is not None:
        rgb = cv2.filter2D(rgb, -1, camera.kernel).astype(np.uint8, copy=False)
    if camera.light < 1.0 or camera.vignette or camera.noise:
        values = rgb.astype(np.float32) * np.float32(camera.light)
        if camera.vignette:
            y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            values *= (1.0 - camera.vignette * (x * x + y * y) / 2.0).astype(np.float32)[:, :, None]
        if camera.noise:
            values += _grain(rng, height, width, camera)
        rgb = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if camera.grey:
        rgb = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    if camera.quality:
        _, code = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
        decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
        assert decoded is not None
        rgb = decoded.astype(np.uint8, copy=False)
    return rgb


def drift(rng: np.random.Generator, rgb: Image) -> Image:
    """Change exposure and white balance a little, as in a still scene a moment later.

    Args:
        rng: random generator.
        rgb: uint8 (H, W, 3), RGB, 0..255.

    Returns:
        uint8 (H, W, 3).
    """
    gain = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02, 3))
    table = np.clip(np.arange(256, dtype=np.float64)[:, None] * gain, 0, 255)
    return cv2.LUT(np.ascontiguousarray(rgb), np.rint(table).astype(np.uint8)[None]).astype(np.uint8)


def _grain(rng: np.random.Generator, height: int, width: int, camera: CameraFaults) -> NDArray[np.float32]:
    rows, columns = height // camera.coarse, width // camera.coarse
    grain = rng.standard_normal((rows, columns, 3), dtype=np.float32) * np.float32(camera.noise)
    if camera.luma:
        grain = grain[:, :, :1] + grain * np.float32(0.33)
    return cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _blur_kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the kernel of a defocus or of motion during the exposure."""
    if rng.random() < 0.6:
        line = cv2.getGaussianKernel(13, rng.uniform(0.5, 1.8), cv2.CV_32F)
        return (line @ line.T).astype(np.float32)
    length = int(rng.integers(3, 9))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = (length - 1) / 2
    start, stop = (tuple(int(v) for v in np.rint(middle + sign * end)) for sign in (-1, 1))
    cv2.line(kernel, start, stop, 1.0, 1)
    return kernel / max(float(kernel.sum()), 1.0)
