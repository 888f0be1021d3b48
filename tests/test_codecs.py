"""Which codec and pixel format a file gets."""

from __future__ import annotations

import pytest

from streammat.config import EncodeOptions
from streammat.errors import UsageError
from streammat.media.frame import layout_of
from streammat.sinks.codecs import CODECS, CONTAINERS, can_carry_alpha, choose_codec, choose_format, encode_beside


@pytest.mark.parametrize(
    ("codec", "layout", "size", "alpha", "expected"),
    [
        ("h264", "yuv420p", (720, 1280), False, "yuv420p"),
        ("h264", "yuv420p10le", (720, 1280), False, "yuv420p10le"),
        ("h264", "yuv422p10le", (720, 1280), False, "yuv422p10le"),
        ("h264", "yuv444p12le", (720, 1280), False, "yuv444p10le"),
        ("h264", "yuv420p", (75, 97), False, "yuv444p"),
        ("h264", "gbrp", (720, 1280), False, "yuv420p"),
        ("h264", "yuv411p", (720, 1280), False, "yuv422p"),
        ("hevc", "yuv420p12le", (720, 1280), False, "yuv420p12le"),
        ("av1", "yuv444p10le", (720, 1280), False, "yuv420p10le"),
        ("vp9", "yuv420p", (75, 97), False, "yuv420p"),
        ("vp9", "yuv420p", (720, 1280), True, "yuva420p"),
        ("prores", "yuv420p", (720, 1280), True, "yuva444p10le"),
        ("prores", "yuv420p", (720, 1280), False, "yuv422p10le"),
        ("ffv1", "yuv422p10le", (720, 1280), True, "yuva422p10le"),
        ("ffv1", "gbrp16le", (720, 1280), True, "gbrap16le"),
    ],
)
def test_format_loses_least(codec: str, layout: str, size: tuple[int, int], alpha: bool, expected: str) -> None:
    found = layout_of(layout)
    assert found is not None
    assert choose_format(CODECS[codec], found, size, alpha=alpha) == expected


def test_every_container_names_codecs_of_the_table() -> None:
    for suffix, container in CONTAINERS.items():
        assert set(container.codecs) <= set(CODECS)
        if container.alpha is not None:
            assert CODECS[container.alpha].alpha_formats
        assert choose_codec(f"out{suffix}", None, alpha=False).name == container.codecs[0]


@pytest.mark.parametrize(("path", "expected"), [("a.mp4", False), ("a.mov", True), ("a.webm", True), ("a.mkv", False), ("a.%d.png", True), ("a.jpg", False)])
def test_transparent_by_default(path: str, expected: bool) -> None:
    assert can_carry_alpha(path, None) is expected


def test_options_that_a_codec_has_not_are_refused() -> None:
    with pytest.raises(UsageError, match="--crf"):
        CODECS["prores"].encoder_options(EncodeOptions(crf=20), alpha=False)
    with pytest.raises(UsageError, match="--preset"):
        CODECS["ffv1"].encoder_options(EncodeOptions(preset="slow"), alpha=False)
    assert CODECS["h264"].encoder_options(EncodeOptions(crf=0, preset="slow"), alpha=False) == {"crf": "0", "preset": "slow"}


@pytest.mark.parametrize(
    ("path", "content", "requested", "target", "encode", "expected"),
    [
        ("fg.mov", "foreground", None, "out.mov", EncodeOptions(), EncodeOptions("prores")),  # as the transparent output
        ("fg.mp4", "foreground", None, "out.mp4", EncodeOptions("hevc", crf=18), EncodeOptions("hevc", crf=18)),
        ("fg.webm", "foreground", None, "out.mp4", EncodeOptions("hevc", crf=18), EncodeOptions("vp9")),  # does not hold HEVC
        ("m.mkv", "matte", None, "out.mp4", EncodeOptions("hevc", preset="fast"), EncodeOptions("ffv1")),
        ("m.mp4", "matte", None, "out.mp4", EncodeOptions("hevc"), EncodeOptions("hevc")),
        ("m.mkv", "matte", "h264", "out.mkv", EncodeOptions("h264", crf=10), EncodeOptions("h264", crf=10)),
        ("m.mov", "matte", "h264", "out.%03d.png", EncodeOptions(), EncodeOptions("h264")),
    ],
)
def test_what_lies_beside_the_output_has_its_codec_or_its_own(
    path: str, content: str, requested: str | None, target: str, encode: EncodeOptions, expected: EncodeOptions
) -> None:
    transparent = can_carry_alpha(target, encode.codec)
    assert encode_beside(path, content, requested, target, encode, transparent=transparent) == expected  # type: ignore[arg-type]


def test_a_codec_that_a_file_beside_cannot_hold_is_refused() -> None:
    with pytest.raises(UsageError, match=r"fg\.mp4: \.mp4 does not hold prores"):
        encode_beside("fg.mp4", "foreground", "prores", "out.mov", EncodeOptions(), transparent=True)
