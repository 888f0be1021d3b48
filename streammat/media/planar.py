"""Converts images of any pixel format to the planar ones that frames have."""

from __future__ import annotations

from collections.abc import Callable

import av
from av.video.reformatter import VideoReformatter

from streammat.media.frame import Layout, layout_of


class Planar:
    """Converts each image of one video to the planar format and size of its first.

    Args:
        note: called with a message if the size changes.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._converter = VideoReformatter()
        self._shape: tuple[tuple[int, int], str] | None = None  # (height, width) and format of every frame

    def __call__(self, image: av.VideoFrame) -> tuple[av.VideoFrame, Layout]:
        """Return the image itself if its format is supported, else converted to the nearest one that is."""
        name = image.format.name
        size = (image.height, image.width)
        if self._shape is None:
            known = layout_of(name)
            fits = known is not None and not known.alpha and known.planes == 3
            self._shape = (size, name if fits else _working_format(image.format))
        (height, width), target = self._shape
        if size != (height, width):
            # A stream may change its size midway; an output cannot.
            self._note(f"the image changes its size midway; all frames are scaled to {width}x{height}")
        layout = layout_of(target)
        assert layout is not None
        if target == name and size == (height, width):
            return image, layout
        # swscale takes grey and RGB as full range and makes limited-range YUV of grey.
        grey = len(image.format.components) < 3
        full = layout.rgb or image.color_range == 2
        converted = self._converter.reformat(
            image, width, height, target, dst_color_range=2 if full and not grey else 1, interpolation="BICUBIC", threads=1
        )
        converted.color_range = 2 if full and not grey else 1
        converted.color_primaries, converted.color_trc = image.color_primaries, image.color_trc
        converted.duration = image.duration
        return converted, layout


def _working_format(fmt: av.VideoFormat) -> str:
    """Return the nearest supported planar format for another one: nv12, packed YUV, RGB, palettes, grey, alpha."""
    bits = max((part.bits for part in fmt.components), default=8)
    if fmt.is_rgb or fmt.has_palette:
        return "gbrp" if bits <= 8 else "gbrp16le"
    if len(fmt.components) < 3:
        # A colour background needs chroma, which grey has not.
        return {8: "yuv444p", 10: "yuv444p10le", 12: "yuv444p12le"}.get(bits, "yuv444p16le")
    sampling = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}
    shift = ((64 // fmt.chroma_width(64)).bit_length() - 1, (64 // fmt.chroma_height(64)).bit_length() - 1)
    depth = "" if bits <= 8 else f"{bits if bits in (10, 12, 16) else 16}le"
    name = sampling.get(shift, "444")
    return f"yuv{name}p{depth}"
