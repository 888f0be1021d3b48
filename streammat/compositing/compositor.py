"""The compositor: draws the image for each output from a frame and its matte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.compositing.backgrounds import Background, ColourBackground
from streammat.compositing.blur import BlurBackground
from streammat.compositing.foreground import ForegroundEstimator, colouring
from streammat.compositing.matte_controls import despilled
from streammat.config import AlphaType, Content, MatteControls
from streammat.engines.gpu.plan import Drawn
from streammat.matting.device import DeviceMatte
from streammat.media.frame import Frame, Matte, Plane, planes_of
from streammat.media.planes import Blender, full_scale


class Compositor:
    """Draws a frame for every kind of output at once, so that the foreground is estimated only once.

    Args:
        contents: content of each output, in order.
        background: the new background; needed if ``contents`` has ``composite``.
        decontaminate: remove the old background's colour from soft edges.
        alpha: colour of ``transparent`` images, straight or premultiplied.
        controls: adjustments of the subject's colour; those of alpha have been applied before.
    """

    def __init__(
        self, contents: Sequence[Content], background: Background | None, *, decontaminate: bool, alpha: AlphaType,
        controls: MatteControls = MatteControls(),  # noqa: B008 - frozen
    ) -> None:
        if "composite" in contents and background is None:
            raise ValueError("a composite needs a background")
        self._contents = tuple(contents)
        self._background = background
        self._premultiplied = alpha == "premultiplied"
        self._estimate = ForegroundEstimator() if decontaminate else None
        self._blender = Blender()
        self._controls = controls

    def __call__(self, frame: Frame, matte: Matte) -> list[Frame]:
        """Return one image per content, in the frame's own planes; the matte is not changed.

        Raises:
            EngineError: the matte is on a GPU, and the GPU or the network failed.
        """
        if isinstance(matte, DeviceMatte) and self._controls.despill is None:
            return self._staged(frame, matte)
        needs_colour = any(content != "matte" for content in self._contents)
        foreground = self._estimate.estimate(frame, matte) if self._estimate and needs_colour else None
        # Whole planes only for those who ask for them: a composite without despill needs soft pixels alone.
        sparse = foreground is not None and self._controls.despill is None
        colour = frame.planes
        if needs_colour and not (sparse and set(self._contents) <= {"composite", "matte"}):
            colour = foreground.planes() if foreground is not None else colour
            colour = despilled(colour[: frame.layout.colour_planes], frame, matte, self._controls)
        images: dict[Content, Frame] = {}
        for content in self._contents:
            if content in images:
                continue
            if content == "composite" and foreground is not None and sparse:
                assert self._background is not None
                images[content] = _blank(frame)
                behind = self._background
                foreground.over(behind.codes(frame) if isinstance(behind, ColourBackground) else behind.planes(frame, matte), images[content].planes)
            else:
                images[content] = self._draw(content, frame, matte, colour)
        return [images[content] for content in self._contents]

    def _staged(self, frame: Frame, matte: DeviceMatte) -> list[Frame]:
        """Draw all contents together on the matte's device."""
        wanted: list[Drawn] = [content for content in dict.fromkeys(self._contents) if content != "matte"]
        behind = None
        if "composite" in wanted:
            background = self._background
            assert background is not None
            # The frame is on the device, so it is blurred there.
            behind = background.blurring(frame) if isinstance(background, BlurBackground) else background.planes(frame, matte)
        drawn = matte.draw(
            wanted,
            behind,
            colouring(frame) if self._estimate and wanted else None,
            premultiplied=self._premultiplied,
            matte="matte" in self._contents or "transparent" in self._contents,
        )
        images: dict[Content, Frame] = {"matte": frame}
        for content, planes in drawn.items():
            images[content] = _blank(frame)
            for target, plane in zip(images[content].planes, planes, strict=False):
                target[:] = plane
        return [images[content] for content in self._contents]

    def _draw(self, content: Content, frame: Frame, matte: Matte, colour: tuple[Plane, ...]) -> Frame:
        if content == "matte":
            return frame
        drawn = _blank(frame)
        if content == "foreground":
            for target, plane in zip(drawn.planes, colour, strict=False):
                target[:] = plane
        elif content == "composite":
            assert self._background is not None
            behind = self._background.planes(frame, matte)
            self._blender(colour, matte, behind, drawn.planes, frame.layout)
        else:
            shown = matte if self._premultiplied else _around(matte)
            self._blender.premultiply(colour, shown, frame.layout, frame.black, drawn.planes)
        return drawn


def near_subject(matte: Matte) -> NDArray[np.bool_]:
    """Return the mask of the pixels within a few pixels of the subject: (H, W).

    Straight colour is kept as far as a resampling filter reaches beyond the matte's edge. Farther away it is black, so that a
    cut-out does not contain the real background.
    """
    reach = np.ones((17, 17), np.uint8)
    return cv2.dilate((matte.alpha > 0).astype(np.uint8), reach) > 0


def _around(matte: Matte) -> Matte:
    near = near_subject(matte)
    return Matte(near.astype(matte.alpha.dtype) * full_scale(matte.alpha))


def _blank(frame: Frame) -> Frame:
    """Return an image of the frame's format, size, time and colour with unwritten planes."""
    image = av.VideoFrame(frame.image.width, frame.image.height, frame.layout.name)
    image.colorspace = frame.colour.matrix
    image.color_primaries = frame.colour.primaries
    image.color_trc = frame.colour.transfer
    image.color_range = frame.colour.range
    return replace(frame, image=image, planes=planes_of(image, frame.layout))
