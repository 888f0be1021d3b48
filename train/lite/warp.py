"""Cuts pieces out of images: moves, scales, rotates and mirrors in one step."""

from __future__ import annotations

import cv2
import numpy as np

from streammat.train.data.images import Image, Levels


def warp(
    levels: Levels,
    cx: float,
    cy: float,
    size: float,
    angle: float,
    height: int,
    width: int,
    *,
    mirror: bool = False,
    border: int = cv2.BORDER_REFLECT_101,
) -> Image:
    """Cut a piece out of an image.

    Args:
        levels: uint8 (H, W) or (H, W, C) in one or several sizes, each half of the one before.
        cx: middle of the piece in pixels of the largest size, from its left edge.
        cy: likewise from its upper edge.
        size: pixels of the largest size per pixel of the piece.
        angle: rotation of the piece within the image, in degrees.
        height: height of the piece in pixels.
        width: width of the piece in pixels.
        mirror: mirror the piece left to right.
        border: OpenCV's border mode beyond the image.

    Returns:
        uint8 (height, width) or (height, width, C).
    """
    level = int(np.clip(np.ceil(np.log2(max(size, 1e-6) / 1.5)), 0, len(levels) - 1))
    plane = levels[level]
    fx, fy = (full / own for full, own in zip(levels[0].shape[1::-1], plane.shape[1::-1], strict=True))
    # From pixel edges to the centres that the warp counts in.
    cx, cy = cx / fx - 0.5, cy / fy - 0.5
    along = -1.0 if mirror else 1.0
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    across = np.array([[along * cos * size / fx, -sin * size / fx], [along * sin * size / fy, cos * size / fy]])
    matrix = np.column_stack([across, [cx, cy] - across @ [(width - 1) / 2, (height - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(np.ascontiguousarray(plane), matrix, (width, height), flags=flags, borderMode=border)
    return cut.astype(np.uint8, copy=False)
