"""Contact sheets: many images in labelled rows, to be judged by eye."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from streammat.train.data.images import Image

CELL = 256
"""Side of a cell in pixels."""
_GAP, _LINE = 6, 20  # pixels between cells, and of a line of text
_PAPER, _INK = 236, 20  # grey levels


def contact_sheet(
    rows: Sequence[Sequence[Image]], labels: Sequence[str] = (), headings: Sequence[str] = (), cell: int = CELL
) -> Image:
    """Lay images out in rows.

    Args:
        rows: images, uint8 (H, W, 3) RGB or (H, W) grey, of any sizes; each is scaled into its cell, aspect kept.
            Rows may differ in length.
        labels: a line of text above each row; empty: none.
        headings: a word above each column; empty: none.
        cell: side of a cell in pixels.

    Returns:
        uint8 (H', W', 3), RGB.

    Raises:
        ValueError: there is no image, ``labels`` are not as many as ``rows``, or an image has another shape or dtype.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise ValueError("a contact sheet needs at least one image")
    if labels and len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels for {len(rows)} rows; expected one for each row, or none")
    fitted = [[_fit(image, cell) for image in row] for row in rows]
    tallest = [max((small.shape[0] for small in row), default=0) for row in fitted]  # landscapes need less than a cell
    step = cell + _GAP
    above = _LINE if labels else 0
    y = _GAP + (_LINE if headings else 0)
    sheet = np.full((y + sum(tallest) + len(rows) * (above + _GAP), _GAP + columns * step, 3), _PAPER, np.uint8)
    for column, heading in enumerate(headings[:columns]):
        _write(sheet, heading, _GAP + column * step, _GAP, cell)
    for number, row in enumerate(fitted):
        if labels:
            _write(sheet, labels[number], _GAP, y, sheet.shape[1] - 2 * _GAP)
        y += above
        for column, small in enumerate(row):
            height, width = small.shape[:2]
            down, right = y + (tallest[number] - height) // 2, _GAP + column * step + (cell - width) // 2
            sheet[down : down + height, right : right + width] = small
        y += tallest[number] + _GAP
    return sheet


def on_colour(foreground: Image, alpha: Image, colour: tuple[int, int, int]) -> Image:
    """Put a subject on one colour, which shows remains of the old background.

    Args:
        foreground: uint8 (H, W, 3), straight colour.
        alpha: uint8 (H, W), 0..255.
        colour: red, green, blue, 0..255.

    Returns:
        uint8 (H, W, 3).
    """
    share = alpha[:, :, None].astype(np.float32) / 255.0
    result: Image = np.rint(foreground * share + np.asarray(colour, np.float32) * (1.0 - share)).astype(np.uint8)
    return result


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` indices spread evenly over ``range(count)``, including the first, to choose images for a sheet.

    Args:
        count: how many there are.
        wanted: how many to take; at least 1.
    """
    return sorted({index * count // wanted for index in range(wanted)}) if count > wanted else list(range(count))


def grid(images: Sequence[Image]) -> list[Sequence[Image]]:
    """Arrange unrelated images in rows, about as many as columns."""
    columns = math.ceil(math.sqrt(len(images)))
    return [images[first : first + columns] for first in range(0, len(images), columns)]


def _fit(image: Image, cell: int) -> Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"image is {image.dtype} {image.shape}; expected uint8 (H, W, 3) or (H, W)")
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    scale = cell / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    # Small images are enlarged without smoothing, so that a matte does not look smoother than it is.
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _write(sheet: Image, text: str, x: int, y: int, width: int) -> None:
    """Draw a line of text at (x, y), cut to ``width`` pixels; characters outside ASCII, which OpenCV lacks, become ``?``."""
    plain = text.encode("ascii", "replace").decode("ascii")

    def long(line: str) -> int:
        return int(cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0])

    if long(plain) > width:
        while plain and long(plain + "...") > width:
            plain = plain[:-1]
        plain += "..."
    cv2.putText(sheet, plain, (x, y + _LINE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (_INK,) * 3, 1, cv2.LINE_AA)
