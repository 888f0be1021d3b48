"""Images that are known by their first bytes and not decoded here, so that none of them is called damaged."""

from __future__ import annotations

_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF", b"avis": "AVIF"}
_MAGIC = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"\0\0\0\x0cjP  ": "JPEG 2000", b"\x76\x2f\x31\x01": "OpenEXR", b"8BPS": "Photoshop",
    b"%PDF": "PDF", b"<svg": "SVG", b"GIF8": "GIF", b"FUJIFILMCCD-RAW": "camera raw",
}
HEAD = 32
"""Bytes that ``undecoded_kind`` looks at."""


def undecoded_kind(head: bytes) -> str | None:
    """What a file is that no decoder here takes, as a user would call it; None where its first bytes do not tell."""
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def why_undecoded(head: bytes, expected: str) -> str:
    """``is …; expected …; …``, the end of a message on an image that could not be decoded."""
    kind = undecoded_kind(head)
    if kind is None:
        return f"is no image that can be read, or it is damaged; expected {expected}"
    return f"is {kind}, which is not read here; expected {expected}; convert it first"
