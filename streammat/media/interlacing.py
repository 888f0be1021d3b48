"""Interlaced video: finds the field order, marks frames for encoders, and deinterlaces."""

from __future__ import annotations

from typing import Any, Literal

import av
from av.filter import Graph

Fields = Literal["top", "bottom"]
"""Field order: the field shown first is that of the even lines (top), or of the odd ones."""

CODES: dict[Fields, int] = {"top": 2, "bottom": 3}
"""FFmpeg's AVFieldOrder for frames that are stored in display order."""
_BY_CODE: dict[int, Fields] = {2: "top", 3: "bottom", 4: "bottom", 5: "top"}
_MODES: dict[Fields, str] = {"top": "tff", "bottom": "bff"}


def fields_of(image: av.VideoFrame, field_order: int) -> Fields | None:
    """Return the field order of a decoded image, or else of its track (FFmpeg's AVFieldOrder); None if it is progressive."""
    if not image.interlaced_frame:
        return _BY_CODE.get(field_order)
    # PyAV does not tell; FFmpeg's filters know.
    return "top" if _Chain(image, ("select", r"eq(interlace_type\,TOPFIRST)"))(image) is not None else "bottom"


class FieldMarker:
    """Marks images as interlaced, for encoders; pixels are not changed."""

    def __init__(self, fields: Fields) -> None:
        self._mode = f"mode={_MODES[fields]}"
        self._chain: _Chain | None = None

    def __call__(self, image: av.VideoFrame) -> av.VideoFrame:
        """Mark a frame with its fields; its planes may be copies."""
        if self._chain is None:
            self._chain = _Chain(image, ("setfield", self._mode))
        marked = self._chain(image)
        assert marked is not None
        return marked


class Deinterlacer:
    """Deinterlaces: makes one whole frame of the two fields of each (Bob Weaver's filter, FFmpeg's ``bwdif``).

    It needs the frames before and after, so each result comes one call later.
    """

    def __init__(self, fields: Fields) -> None:
        self._options = f"mode=send_frame:parity={_MODES[fields]}:deint=all"
        self._chain: _Chain | None = None
        self._held: av.VideoFrame | None = None

    @property
    def holds(self) -> int:
        """Number of frames waiting inside: 0 or 1."""
        return int(self._held is not None)

    def __call__(self, image: av.VideoFrame | None) -> av.VideoFrame | None:
        """Return the whole frame of the image before this one: None at the first call; pass None to get the last."""
        if self._chain is None:
            if image is None:
                return None
            self._chain = _Chain(image, ("bwdif", self._options), ("format", image.format.name))
        before, self._held = self._held, image
        whole = self._chain(image)
        if whole is None or before is None:
            return None
        whole.pts, whole.time_base, whole.duration = before.pts, before.time_base, before.duration
        return whole


class _Chain:
    """A chain of FFmpeg filters, for images like ``template``."""

    def __init__(self, template: av.VideoFrame, *filters: tuple[str, str]) -> None:
        self._graph = Graph()
        last: Any = self._graph.add_buffer(
            width=template.width, height=template.height, format=template.format, time_base=template.time_base
        )
        for name, options in (*filters, ("buffersink", "")):
            added = self._graph.add(name, options)
            last.link_to(added)
            last = added
        self._graph.configure()

    def __call__(self, image: av.VideoFrame | None) -> av.VideoFrame | None:
        """Push an image, or None for the end; returns the next result, or None."""
        self._graph.push(image)
        try:
            out = self._graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return None
        assert isinstance(out, av.VideoFrame)
        return out
