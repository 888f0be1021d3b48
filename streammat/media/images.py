"""Converts images into a frame's layout, size, colour matrix, range and orientation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from streammat.config import Fit
from streammat.errors import InputError
from streammat.media.frame import Colour, Frame, Layout, Plane, layout_of, planes_of, swscale_matrix, swscale_range
from streammat.media.hdr import convert_light, must_convert
from streammat.media.image_files import read_notes
from streammat.media.image_kinds import HEAD, why_undecoded

Rgb = NDArray[Any]
"""(h, w, 3) uint8 or uint16, red first, full range."""

EXACT: Final = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
RGB_WHITE: Final = 65535
YUV_WHITE: Final = 255 * 256
"""The value of white for swscale in 16-bit RGB when converting to or from YUV; ``RGB_WHITE`` from RGB to RGB."""


def read_image(path: Path) -> Rgb:
    """Read a still as (h, w, 3) RGB, uint8 or, for deeper files, uint16; upright by its EXIF tag; transparency over black.

    Raises:
        InputError: it cannot be read or decoded.
    """
    try:
        data = np.fromfile(path, np.uint8)  # not cv2.imread, which cannot open every path on every system
    except OSError as error:
        raise InputError(f"the image {str(path)!r} cannot be read: {error.strerror}; check the path and its permissions") from error
    return decode_image(data.tobytes(), f"the image {str(path)!r}")


def decode_image(whole: bytes, name: str) -> Rgb:
    """Decode a still as `read_image` does.

    Args:
        whole: the whole file.
        name: name for messages.

    Raises:
        InputError: it cannot be decoded.
    """
    data = np.frombuffer(whole, np.uint8)
    read_notes(whole, name)
    try:
        image: Rgb | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is not None and not (image.ndim == 3 and image.shape[2] == 4):
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)  # unlike UNCHANGED, this turns by EXIF
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name} {why_undecoded(whole[:HEAD], 'PNG, JPEG, WebP or TIFF')}")
    if image.dtype not in (np.uint8, np.uint16):  # floats of 0..1
        image = np.rint(np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) * 65535).astype(np.uint16)
    if image.shape[2] == 4:
        top = np.iinfo(image.dtype).max
        alpha = image[..., 3:].astype(np.float32) / top
        image = np.rint(image[..., :3] * alpha).astype(image.dtype)
    return np.ascontiguousarray(image[..., ::-1])


def image_of(rgb: Rgb, layout: Layout) -> av.VideoFrame:
    """Return an RGB array as an image for swscale, full range, with 16 bits if ``layout`` is deeper than 8.

    Values are scaled to swscale's white, ``RGB_WHITE`` or ``YUV_WHITE``.
    """
    if layout.depth == 8 and rgb.dtype == np.uint8:
        return _raw(rgb)
    factor = (257 if layout.rgb else 256) / (1 if rgb.dtype == np.uint8 else 257)
    return _raw(rgb if factor == 1 else np.rint(rgb * np.float32(factor)).astype(np.uint16))


def compose(image: av.VideoFrame, turns: int, image_sar: Fraction, frame: Frame, fit: Fit, frame_sar: Fraction) -> tuple[Plane, ...]:
    """Return planes of ``image``, fitted to ``frame``.

    Args:
        image: any image; its own colour tags are used.
        turns: quarter turns counter-clockwise that show it upright.
        image_sar: a sample's width over its height, as stored.
        frame: determines layout, size, colour, range and rotation; its image is not used.
        fit: cover crops, contain leaves black bars, stretch ignores the aspect ratio.
        frame_sar: as ``image_sar``, for the frame.

    Returns:
        ``layout.colour_planes`` planes, in the frame's stored orientation.
    """
    turns = (turns - frame.rotation) % 4
    height, width = frame.size
    stored = (image.height, image.width)
    shape = stored if turns % 2 == 0 else stored[::-1]
    sar = image_sar if turns % 2 == 0 else 1 / image_sar
    rows, columns = _scaled(shape, sar / frame_sar, (height, width), fit)
    if rows * columns > 4 * height * width and fit == "cover":  # very wide or tall: do not scale parts that are cropped anyway
        return compose(_middle(image, turns, (height / rows, width / columns)), 0, sar, _as_if_upright(frame), fit, frame_sar)
    scaled = (rows, columns) if turns % 2 == 0 else (columns, rows)
    if turns:  # turned as RGB, because a turn would exchange the two directions of chroma subsampling
        image = _raw(np.rot90(_flat(image, scaled), turns), image)
    return _placed(convert(image, frame, (rows, columns)), (rows, columns), frame)


def convert(image: av.VideoFrame, frame: Frame, size: tuple[int, int]) -> tuple[Plane, ...]:
    """Return planes of ``image`` at ``size`` (height, width) in the frame's layout, matrix and range, and, if it is HDR, its
    transfer and primaries; no alpha plane. An untagged matrix is the one that players assume for frames of that height, on both
    sides: swscale alone would take BT.601 for every size, and the colours of a background would shift on HD.
    """
    layout = frame.layout
    source = Colour(int(image.colorspace), int(image.color_primaries), int(image.color_trc))
    if must_convert(source, frame.colour):
        rgb = _flat(image, size)
        given_in_full = image.format.is_rgb and (layout.rgb or image.format.name != "rgb48le")
        white = 255 if rgb.dtype == np.uint8 else RGB_WHITE if given_in_full else YUV_WHITE
        image = _raw(convert_light(rgb, white, source, frame.colour, RGB_WHITE if layout.rgb else YUV_WHITE))
    name = layout.name.replace("yuvj", "yuv").replace("yuva", "yuv").replace("gbrap", "gbrp")
    if layout.colour_planes == 1:  # grey is luma; swscale would assume another range
        name = "yuv444p" + name.removeprefix("gray")
    full = layout.rgb or frame.black == 0
    target = _reformat(image, size, name, swscale_matrix(frame.colour, frame.size[0]), full=full)
    made = layout_of(name)
    assert made is not None, name
    return planes_of(target, made)[: layout.colour_planes]


def reformatted(
    frame: Frame, name: str, converter: VideoReformatter, *, size: tuple[int, int] | None = None, colour_range: int = 2, matrix: int | None = None,
    interpolation: str = "BICUBIC",
) -> av.VideoFrame:
    """Return a frame's image in another pixel format.

    Args:
        frame: neither turned nor changed.
        name: FFmpeg's name of the format.
        converter: kept by the caller, because making one anew for each frame costs time.
        size: (height, width); None: the frame's own.
        colour_range: FFmpeg's code: 1 limited, 2 full.
        matrix: FFmpeg's code of a YUV format's matrix; None for RGB.
        interpolation: swscale's.
    """
    height, width = frame.size if size is None else size
    return converter.reformat(
        frame.image, width, height, name, src_colorspace=None if frame.layout.rgb else swscale_matrix(frame.colour, frame.size[0]),
        dst_colorspace=matrix, interpolation=interpolation, src_color_range=swscale_range(frame), dst_color_range=colour_range, threads=1,
    )


def _reformat(image: av.VideoFrame, size: tuple[int, int], name: str, matrix: int, *, full: bool) -> av.VideoFrame:
    height, width = size
    rgb = image.format.is_rgb
    source_full = rgb or image.color_range == 2 or image.format.name.startswith("yuvj")
    shrinks = width < image.width or height < image.height
    kernel = Interpolation.AREA if shrinks else Interpolation.BICUBIC
    return VideoReformatter().reformat(
        image,
        width,
        height,
        name,
        src_colorspace=None if rgb else swscale_matrix(Colour(int(image.colorspace), transfer=int(image.color_trc)), image.height),
        dst_colorspace=matrix or None,
        interpolation=kernel | EXACT,
        src_color_range=2 if source_full else 1,
        dst_color_range=2 if full else 1,
        threads=1,
    )


def _scaled(shape: tuple[int, int], aspect: Fraction, size: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Return (rows, columns) to scale an image of ``shape`` to, before cropping or adding bars. ``aspect``: width of its samples
    relative to the frame's.
    """
    height, width = size
    if fit == "stretch":
        return size
    tall, wide = Fraction(height, shape[0]), Fraction(width) / (shape[1] * aspect)
    if fit == "cover":
        zoom = max(tall, wide)
        return max(height, round(shape[0] * zoom)), max(width, round(shape[1] * aspect * zoom))
    zoom = min(tall, wide)
    return min(height, max(1, round(shape[0] * zoom))), min(width, max(1, round(shape[1] * aspect * zoom)))


def _placed(planes: tuple[Plane, ...], size: tuple[int, int], frame: Frame) -> tuple[Plane, ...]:
    """Return planes cropped to the frame's size around the middle, or centred between black bars."""
    height, width = frame.size
    if size == (height, width):
        return planes
    layout = frame.layout
    placed = []
    for index, plane in enumerate(planes):
        sx, sy = (0, 0) if layout.rgb or index == 0 else layout.chroma
        top, left = ((size[0] - height) // 2 >> layout.chroma[1]), ((size[1] - width) // 2 >> layout.chroma[0])
        y, x = top << (layout.chroma[1] - sy), left << (layout.chroma[0] - sx)
        black = frame.black if layout.rgb or index == 0 else 1 << (layout.depth - 1)
        out = np.full(layout.plane_shape(index, height, width), black, layout.dtype)
        source = plane[max(y, 0) :, max(x, 0) :]
        target = out[max(-y, 0) :, max(-x, 0) :]
        rows, columns = min(source.shape[0], target.shape[0]), min(source.shape[1], target.shape[1])
        target[:rows, :columns] = source[:rows, :columns]
        placed.append(out)
    return tuple(placed)


def _middle(image: av.VideoFrame, turns: int, share: tuple[float, float]) -> av.VideoFrame:
    """Return the middle of a turned image, by shares of (height, width)."""
    rgb = np.rot90(_flat(image, (image.height, image.width)), turns)
    rows, columns = (max(1, round(n * part)) for n, part in zip(rgb.shape[:2], share, strict=True))
    y, x = (rgb.shape[0] - rows) // 2, (rgb.shape[1] - columns) // 2
    return _raw(rgb[y : y + rows, x : x + columns], image)


def _flat(image: av.VideoFrame, size: tuple[int, int]) -> Rgb:
    """Return an image as RGB at ``size`` (height, width), in swscale's 16-bit scale if it is deeper than 8 bits."""
    name = "rgb48le" if image.format.components[0].bits > 8 else "rgb24"
    return _reformat(image, size, name, 0, full=True).to_ndarray()


def _raw(rgb: Rgb, like: av.VideoFrame | None = None) -> av.VideoFrame:
    """Reverse ``_flat``, with the transfer and primaries of ``like``."""
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24" if rgb.dtype == np.uint8 else "rgb48le")
    image.color_range = 2
    if like is not None:
        image.color_trc, image.color_primaries = like.color_trc, like.color_primaries
    return image


def _as_if_upright(frame: Frame) -> Frame:
    """Return the frame as if it were stored upright, for an image that is turned already."""
    return Frame(
        frame.image, frame.layout, frame.colour, frame.pts, frame.time_base, frame.duration, frame.index, frame.planes, rotation=0
    )
