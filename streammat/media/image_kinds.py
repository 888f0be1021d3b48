"""Recognises image formats that cannot be decoded here by their first bytes, so that they are not reported as damaged."""

from __future__ import annotations

_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF", b"avis": "AVIF"}
_MAGIC = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"\0\0\0\x0cjP  ": "JPEG 2000", b"\x76\x2f\x31\x01": "OpenEXR", b"8BPS": "Photoshop",
    b"%PDF": "PDF", b"<svg": "SVG", b"GIF8": "GIF", b"FUJIFILMCCD-RAW": "camera raw",
}
HEAD = 32
"""Number of bytes that ``undecoded_kind`` needs."""


def undecoded_kind(head: bytes) -> str | None:
    """Return the name of a file's format that cannot be decoded here; None if the first bytes do not show it."""
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def why_undecoded(head: bytes, expected: str) -> str:
    """Return ``is …; expected …; …``, the end of a message about an image that could not be decoded."""
    kind = undecoded_kind(head)
    if kind is None:
        return f"is no image that can be read, or it is damaged; expected {expected}"
    return f"is {kind}, which is not read here; expected {expected}; convert it first"
