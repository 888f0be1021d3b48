"""Frames for live outputs: the composite, and a safe replacement when something fails; never the real background.

Frames for outputs are made only here, each in its own memory. With a frame and its matte that is the
composite. Without one (nothing yet, the network failing, the camera gone) it is the last good composite for ``HOLD``
seconds, then the background alone, or a card with text if the background is made from the frame (blur). The frame itself is shown
only in pass-through, which the user has requested and confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import av
import cv2
import numpy as np

from streammat.live.background_switcher import BackgroundChoice
from streammat.media.frame import Frame, Matte, Plane, planes_of
from streammat.sources import StreamInfo
from streammat.sources.shaper import TIME_BASE, Clock

HOLD: Final = 0.5
"""Seconds for which the last good composite replaces missing ones."""
Kind = Literal["composite", "held", "background", "card", "pass-through"]


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """One frame on its way to the outputs."""

    frame: Frame
    """The frame, in its own memory; ``image`` has the frame's time."""
    kind: Kind
    captured: int
    """Time of capture, or of making a replacement, in ticks of ``TIME_BASE``; the frame's own time may be slightly later."""
    cutout: tuple[Frame, Matte] | None = None
    """The subject alone, for outputs with alpha, where the background allows it; None: nothing is to be seen there."""

    @property
    def live(self) -> bool:
        """True for a frame from the camera, False for a replacement."""
        return self.kind in ("composite", "pass-through")


class FallbackCompositor:
    """Decides what is shown and draws it; one thread calls it, any thread may set its attributes.

    Args:
        info: properties of the source: every frame has its size, layout and colour.
        clock: the run's.
        choice: the background at the start.
        trouble: called with errors while drawing.
    """

    def __init__(self, info: StreamInfo, clock: Clock, choice: BackgroundChoice, trouble: Callable[[Exception], None]) -> None:
        self.choice = choice
        self.mirror = False
        self.paused = False
        self.pass_through = False
        """True shows the camera's own image. The caller must have had it confirmed."""
        self._info = info
        self._clock = clock
        self._trouble = trouble
        self._good: Frame | None = None
        self._good_cutout: tuple[Frame, Matte] | None = None
        self._good_at = 0.0
        self._turned: tuple[Matte, Matte] | None = None
        self._last = -1
        self._steady = False
        self._template = Frame(
            av.VideoFrame(info.size[1], info.size[0], info.layout.name), info.layout, info.colour, 0, TIME_BASE, 0, 0, ()
        )
        self._no_matte = Matte(np.zeros(info.size, np.uint8))
        self._cards: dict[str, tuple[Plane, ...]] = {}

    def wait(self) -> float:
        """Return seconds to wait for the next matte before a replacement is shown: three frames, or one if the last was missing already."""
        interval = 1.0 / float(self._info.rate)
        return max(0.15, 3 * interval) if self._steady else interval

    def __call__(self, item: tuple[Frame, Matte] | None) -> OutputFrame:
        """Return the frame to show now.

        Args:
            item: a frame with its own matte, or None if none has come in time.
        """
        self._steady = item is not None
        if self.paused:
            return self._card("paused", self._now() if item is None else item[0].pts)
        if item is not None:
            try:
                return self._drawn(*item)
            except Exception as error:  # noqa: BLE001 - whatever it is, the show goes on without the room
                self._trouble(error)
        return self._instead()

    # -- drawing ------------------------------------------------------------------------------------------------

    def _drawn(self, frame: Frame, matte: Matte) -> OutputFrame:
        if self.mirror:
            frame, matte = _mirrored(frame), self._mirrored_matte(matte)
        if self.pass_through:
            shown = self._shown(frame.planes, frame.pts, "pass-through")
            return replace(shown, cutout=(shown.frame, Matte(np.full(frame.size, 255, np.uint8))))
        composite, *others = self.choice.compositor(frame, matte)
        composite.pts = self._stamp(composite.image, frame.pts)
        self._good, self._good_at = composite, self._clock.age(0)
        self._good_cutout = (replace(others[0], pts=composite.pts), matte) if others else None
        return OutputFrame(composite, "composite", frame.pts, self._good_cutout)

    def _mirrored_matte(self, matte: Matte) -> Matte:
        """Return the mirrored matte; the same object while the matte is the same, so that what is known of it can be kept."""
        if self._turned is None or self._turned[0] is not matte:
            self._turned = matte, matte.mirrored()
        return self._turned[1]

    def _instead(self) -> OutputFrame:
        now = self._now()
        if self._good is not None and self._clock.age(0) - self._good_at <= HOLD:
            shown = self._shown(self._good.planes, now, "held")
            if self._good_cutout is None:
                return shown
            colour, matte = self._good_cutout
            return replace(shown, cutout=(replace(colour, pts=shown.frame.pts), matte))
        self._good = self._good_cutout = None
        if not self.choice.shows_room:
            try:
                planes = self.choice.background.planes(replace(self._template, pts=now), self._no_matte)
                return self._shown(planes, now, "background")
            except Exception as error:  # noqa: BLE001 - a background that breaks is replaced by a card
                self._trouble(error)
        return self._card("one moment", now)

    def _card(self, text: str, pts: int) -> OutputFrame:
        if text not in self._cards:
            self._cards[text] = text_card(self._info, text)
        return self._shown(self._cards[text], pts, "card")

    def _shown(self, planes: tuple[Plane, ...], pts: int, kind: Kind) -> OutputFrame:
        """Return a frame in its own memory: earlier ones may still be in an output's queue with their own time."""
        image = av.VideoFrame(self._info.size[1], self._info.size[0], self._info.layout.name)
        copies = planes_of(image, self._info.layout)
        for copy, plane in zip(copies, planes, strict=True):
            copy[:] = plane
        stamp = self._stamp(image, pts)
        return OutputFrame(replace(self._template, image=image, planes=copies, pts=stamp), kind, pts)

    def _stamp(self, image: av.VideoFrame, pts: int) -> int:
        """Give a frame its time; times always grow, even if a late composite follows a replacement."""
        self._last = max(pts, self._last + 1)
        image.pts, image.time_base = self._last, TIME_BASE
        return self._last

    def _now(self) -> int:
        return self._clock.ticks()


def text_card(info: StreamInfo, text: str) -> tuple[Plane, ...]:
    """Return the planes of a dark frame with ``text`` in its middle, in ``info``'s size and layout."""
    height, width = info.size
    planes = tuple(
        np.full(info.layout.plane_shape(index, height, width), 40 if index == 0 else 128, np.uint8)
        for index in range(info.layout.colour_planes)
    )
    scale = height / 360
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    at = ((width - wide) // 2, (height + tall) // 2)
    cv2.putText(planes[0], text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 180, max(1, round(scale)), cv2.LINE_AA)
    return planes


def _mirrored(frame: Frame) -> Frame:
    image = av.VideoFrame(frame.image.width, frame.image.height, frame.layout.name)
    planes = planes_of(image, frame.layout)
    for target, plane in zip(planes, frame.planes, strict=True):
        cv2.flip(plane, 1, target)
    return replace(frame, image=image, planes=planes)
