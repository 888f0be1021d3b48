"""Compositor for plates: colours are blended as linear light, in floating point; unblended pixels keep their exact bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streammat.compositing.backgrounds import Background
from streammat.compositing.compositor import Compositor, near_subject
from streammat.compositing.foreground import ForegroundEstimator
from streammat.compositing.matte_controls import despilled_light
from streammat.config import AlphaType, Content, MatteControls
from streammat.film.colour import ColourSpace, Light
from streammat.film.images import Pixels
from streammat.film.plate import Plate
from streammat.media.frame import Frame, Matte
from streammat.media.planes import full_scale

_LARGEST = 65504.0
"""The largest half-float number."""


class PlateCompositor:
    """Draws frames that carry a plate, as ``compositing.Compositor`` draws other frames.

    Args:
        contents: content of each output, and whether it takes plates (numbered film files) or frames (clips, stills).
        background: the new background; needed if an output shows a ``composite``.
        decontaminate: remove the old background's colour from soft edges.
        alpha: colour of ``transparent`` images in outputs that take frames.
        controls: adjustments of the subject's colour.
    """

    def __init__(
        self, contents: Sequence[tuple[Content, bool]], background: Background | None, *, decontaminate: bool, alpha: AlphaType,
        controls: MatteControls,
    ) -> None:
        self._contents = tuple(contents)
        self._background = background
        self._controls = controls
        self._estimate = ForegroundEstimator() if decontaminate else None
        shown = [content for content, plates in contents if not plates]
        self._shown = Compositor(shown, background, decontaminate=decontaminate, alpha=alpha, controls=controls) if shown else None

    def __call__(self, frame: Frame, matte: Matte) -> list[Frame]:
        """Return one image per output; those for plates have straight colour in ``plate`` only."""
        shown = iter(self._shown(frame, matte) if self._shown else ())
        wanted = {content for content, plates in self._contents if plates}
        drawn = self._drawn(frame, matte, wanted - {"matte"}) if wanted - {"matte"} else {}
        return [drawn.get(content, frame) if plates else next(shown) for content, plates in self._contents]

    def _drawn(self, frame: Frame, matte: Matte, wanted: set[Content]) -> dict[Content, Frame]:
        plate: Plate = frame.plate
        # What is no number or no end, which renderers leave in places, would spread; it stays in the plate's own pixels alone.
        light = np.nan_to_num(plate.space.light(plate.pixels), copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        front = light if self._estimate is None else self._estimate.of_light(light, matte)
        front = despilled_light(front, matte, self._controls)
        colour = plate.pixels if front is light else _with(plate.pixels, _differ(front, light), front, plate.space)
        found: dict[Content, Frame] = {}
        for content in wanted:
            pixels: Pixels = colour
            if content == "transparent":
                pixels = np.where(near_subject(matte)[:, :, None], colour, colour.dtype.type(0))
            elif content == "composite":
                assert self._background is not None
                green, blue, red = self._background.planes(frame, matte)
                behind = plate.space.to_light(np.dstack((red, green, blue)))
                # As half files hold it, so that what is full there is the plate's.
                share = (matte.alpha.astype(np.float32) / np.float32(full_scale(matte.alpha))).astype(np.float16).astype(np.float32)[:, :, None]
                pixels = _with(colour, share[:, :, 0] < 1, front * share + behind * (1 - share), plate.space)
            found[content] = replace(frame, plate=Plate(pixels, plate.space, plate.header))
        return found


class WithForeground:
    """Attaches the foreground to images for outputs that hold it as a layer.

    Args:
        compositor: draws the images, with the foreground as the last one.
        beside: for each image, whether it carries the foreground.
    """

    def __init__(self, compositor: Callable[[Frame, Matte], Sequence[Frame]], beside: Sequence[bool]) -> None:
        self._compositor = compositor
        self._beside = tuple(beside)

    def __call__(self, frame: Frame, matte: Matte) -> list[Frame]:
        """Return one image per output; raises what the other compositor raises."""
        *images, foreground = self._compositor(frame, matte)
        return [replace(image, foreground=foreground) if beside else image for image, beside in zip(images, self._beside, strict=True)]


def _differ(one: Light, other: Light) -> NDArray[np.bool_]:
    """Return where two images (H, W, 3) differ in any channel: (H, W)."""
    differs = one != other
    return np.asarray(differs[:, :, 0] | differs[:, :, 1] | differs[:, :, 2])  # a sixth of the time of ``any``


def _with(pixels: Pixels, mask: NDArray[np.bool_], light: Light, space: ColourSpace) -> Pixels:
    """Return a copy of ``pixels`` (H, W, 3) with ``light``, converted to ``space``, where ``mask`` (H, W) is set."""
    found = pixels.copy()
    found[mask] = np.clip(space.pixels(light[mask]), -_LARGEST, _LARGEST)
    return found

