"""Converts SDR colours for HDR frames: the same light, with the frame's transfer and primaries.

After ITU-R BT.2408: SDR means the light of a reference display (BT.1886, gamma 2.4), and its white is HDR's reference white, 203
cd/m²:
58 % of the PQ signal, and 75 % of HLG's on its nominal display of 1000 cd/m² (BT.2100). Light here is in units of that white.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.media.frame import HDR, HLG, PQ, Colour

_WHITE: Final = 203.0
_PQ_PEAK: Final = 10000 / _WHITE
_HLG_PEAK: Final = 1000 / _WHITE
_HLG_GAMMA: Final = 1.2
_SDR_GAMMA: Final = 2.4
# ISO/IEC 23091-2 code: x and y of red, green, blue; all have the white D65.
_BT709: Final = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_BT2020: Final = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
_SMPTE_C: Final = (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
_PRIMARIES: Final = {
    1: _BT709, 5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06), 6: _SMPTE_C, 7: _SMPTE_C, 9: _BT2020,
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}  # fmt: skip
_STRIP: Final = 1 << 15  # pixels at a time, so that floats stay in a core's own cache


def must_convert(source: Colour, target: Colour) -> bool:
    """Return whether code values of ``source`` mean other light in an HDR frame of ``target``. For SDR frames nothing is
    converted.
    """
    return target.transfer in HDR and source.transfer != target.transfer


def convert_light(rgb: NDArray[Any], white: int, source: Colour, target: Colour, target_white: int) -> NDArray[np.uint16]:
    """Convert pixels to another transfer and other primaries; the light stays the same.

    Args:
        rgb: (h, w, 3) uint8 or uint16, full range.
        white: the code value of light 1.
        source: colour of ``rgb``; a transfer that is neither PQ nor HLG is SDR, unknown primaries are BT.709's (for HDR,
            BT.2020's).
        target: PQ or HLG.
        target_white: ``white`` of the result.

    Returns:
        (h, w, 3) uint16.
    """
    decoded = _decoded(source.transfer if source.transfer in HDR else 0, white, int(np.iinfo(rgb.dtype).max) + 1)
    encoded = _encoded(target.transfer, target_white)
    matrix = (_to_xyz(source, inverse=False), _to_xyz(target, inverse=True))
    change = (matrix[1] @ matrix[0]).astype(np.float32)
    result = np.empty(rgb.shape, np.uint16)
    rows = max(1, _STRIP // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        light = np.take(decoded, rgb[top : top + rows], mode="clip")  # much faster than indexing; every value is in the table
        if source.transfer == HLG:  # from the scene's light to the display's
            light *= _HLG_PEAK * _luminance(light, source) ** np.float32(_HLG_GAMMA - 1)
        light = np.maximum(cv2.transform(light, change), 0)
        if target.transfer == HLG:
            light /= _HLG_PEAK
            light *= np.maximum(_luminance(light, target), 1e-9) ** np.float32(1 / _HLG_GAMMA - 1)
        # The table is even in the root of light: fine steps where it is dark, as in the curves themselves.
        place = cv2.sqrt(light * np.float32(65535**2 / _peak(target.transfer))) + np.float32(0.5)
        result[top : top + rows] = np.take(encoded, np.minimum(place, 65535).astype(np.uint16), mode="clip")
    return result


def _peak(transfer: int) -> float:
    """Return the light of the highest code value; for HLG scene light, which is 1."""
    return 1.0 if transfer == HLG else _PQ_PEAK


def _luminance(light: NDArray[np.float32], colour: Colour) -> NDArray[np.float32]:
    weights = _to_xyz(colour, inverse=False)[1].astype(np.float32)
    luminance: NDArray[np.float32] = light @ weights
    return luminance[..., None]


@cache
def _decoded(transfer: int, white: int, count: int) -> NDArray[np.float32]:
    """Return the light of each of ``count`` code values; for HLG scene light."""
    signal = np.minimum(np.arange(count) / white, 1.0)
    if transfer == PQ:
        root = signal ** (32 / 2523)
        light = _PQ_PEAK * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    elif transfer == HLG:
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    else:
        light = signal**_SDR_GAMMA
    return light.astype(np.float32)


@cache
def _encoded(transfer: int, white: int) -> NDArray[np.uint16]:
    """Return code values for 65536 lights from 0 to ``_peak``, evenly spaced in their square roots."""
    share = np.linspace(0, 1, 65536) ** 2
    if transfer == PQ:
        power = share ** (1305 / 8192)
        signal = ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        signal = np.where(share <= 1 / 12, np.sqrt(3 * share), 0.17883277 * np.log(np.maximum(12 * share, 1) - 0.28466892) + 0.55991073)
    return np.rint(np.clip(signal, 0, 1) * white).astype(np.uint16)


def _to_xyz(colour: Colour, *, inverse: bool) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to CIE XYZ, or back; its second row holds the luminance of red, green and blue."""
    x, y = np.array(_PRIMARIES.get(colour.primaries, _BT2020 if colour.transfer in HDR else _BT709)).reshape(3, 2).T
    columns = np.stack((x / y, np.ones(3), (1 - x - y) / y))
    d65 = np.array((0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290))
    matrix = columns * np.linalg.solve(columns, d65)
    return np.linalg.inv(matrix) if inverse else matrix
