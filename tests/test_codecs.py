"""Which codec and pixel format a file gets."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest

from streammat.config import EncodeOptions
from streammat.errors import UsageError
from streammat.media.frame import codec_threads, decoder_threads, layout_of
from streammat.sinks.codecs import CODECS, CONTAINERS, can_carry_alpha, choose_codec, choose_format, encode_beside
from streammat.sources.tracks import choose_video


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


@pytest.mark.parametrize(
    ("codec", "layout", "size", "alpha", "grey", "expected"),
    [
        ("h264", "yuv422p", (720, 1280), False, False, "yuv422p"), ("h264", "yuv444p", (720, 1280), False, False, "yuv444p"),
        ("h264", "gbrp10le", (720, 1280), False, False, "yuv420p10le"), ("h264", "gray", (720, 1280), False, False, "yuv444p"),
        ("h264", "yuv422p", (719, 1280), False, False, "yuv422p"),  # halved across alone: odd rows are fine
        ("h264", "yuv420p", (719, 1280), False, False, "yuv422p"), ("h264", "yuv422p", (720, 1279), False, False, "yuv444p"),
        ("h264", "yuv444p", (720, 1280), False, True, "yuv420p"), ("h264", "yuv422p10le", (720, 1280), False, True, "yuv420p10le"),
        ("hevc", "yuv444p16le", (720, 1280), False, False, "yuv444p12le"), ("av1", "yuv422p12le", (720, 1280), False, False, "yuv420p10le"),
        ("ffv1", "gray", (720, 1280), False, True, "gray"), ("ffv1", "yuv420p10le", (720, 1280), False, True, "gray16le"),
        ("ffv1", "gray", (720, 1280), True, True, "yuva420p"), ("ffv1", "gbrp", (720, 1280), False, False, "gbrp16le"), ("ffv1", "yuv420p", (75, 97), False, False, "yuv420p"),
        ("ffv1", "yuv444p12le", (720, 1280), True, False, "yuva444p16le"), ("prores", "gbrp", (720, 1280), False, False, "yuv422p10le"),
    ],
)
def test_format_of_other_inputs(codec: str, layout: str, size: tuple[int, int], alpha: bool, grey: bool, expected: str) -> None:
    found = layout_of(layout)
    assert found is not None
    assert choose_format(CODECS[codec], found, size, alpha=alpha, grey=grey) == expected


@pytest.mark.parametrize(("path", "codec", "expected"), [
    ("a.mov", "prores", True), ("a.mov", "H264", False), ("a.webm", "av1", False), ("a.mkv", "ffv1", False), ("a.%d.exr", None, True), ("a.####.dpx", None, True), ("A.WEBP", None, True), ("a.jpeg", None, False),
])
def test_transparent_by_default_with_a_codec(path: str, codec: str | None, expected: bool) -> None:
    assert can_carry_alpha(path, codec) is expected


@pytest.mark.parametrize(("path", "requested", "alpha", "matte", "expected"), [
    ("a.mkv", None, True, False, "ffv1"), ("a.webm", None, True, False, "vp9"), ("a.mov", None, True, False, "prores"), ("a.mkv", None, False, True, "ffv1"), ("a.mov", None, False, True, "prores"),
    ("a.mp4", None, False, True, "h264"), ("A.MKV", "VP9", True, False, "vp9"), ("a.mkv", "prores", True, False, "prores"), ("a.mov", "hevc", False, False, "hevc"), ("a.mxf", None, False, False, "dnxhr"),
])
def test_codec_of_a_file(path: str, requested: str | None, alpha: bool, matte: bool, expected: str) -> None:
    assert choose_codec(path, requested, alpha=alpha, matte=matte).name == expected


@pytest.mark.parametrize(("path", "requested", "alpha", "said"), [
    ("a.mp4", "h265", False, "codec 'h265' is not known; expected one of h264, hevc, av1, vp9, prores, dnxhr, ffv1"),
    ("a.mp4", None, True, "a.mp4: .mp4 cannot carry alpha; use .mov, .webm, .mkv or out.%05d.png, or give a background with --bg"),
    ("a.mov", "vp9", False, "a.mov: .mov does not hold vp9; expected one of h264, hevc, prores, dnxhr"),
    ("a.mkv", "h264", True, "a.mkv: h264 cannot carry alpha; expected vp9, prores, ffv1, or give a background with --bg"),
    ("a.mp4", "hevc", True, "a.mp4: hevc cannot carry alpha; expected vp9, or give a background with --bg"),
    ("a.m4v", "hevc", True, "a.m4v: hevc cannot carry alpha; expected none in this container, or give a background with --bg"),
    ("a", None, False, "a: cannot tell the kind of video from 'no extension'; expected one of .mp4 .m4v .mov .mkv .mxf .webm, or a pattern such as out.%05d.png"),
    ("a.OGV", None, False, "a.OGV: cannot tell the kind of video from '.ogv'; expected one of .mp4 .m4v .mov .mkv .mxf .webm, or a pattern such as out.%05d.png"),
])
def test_what_a_file_cannot_hold(path: str, requested: str | None, alpha: bool, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose_codec(path, requested, alpha=alpha)
    assert str(refused.value) == said


@pytest.mark.parametrize(("codec", "encode", "said"), [
    ("prores", EncodeOptions(crf=20), "--crf: prores has no constant quality; leave it out"), ("ffv1", EncodeOptions(preset="slow"), "--preset: ffv1 has no presets; leave it out"),
    ("av1", EncodeOptions(preset="fast"), "--preset fast: av1 has no such preset; expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13"),
    ("h264", EncodeOptions(crf=52), "--crf 52: expected 0 (best) to 51 for h264"), ("h264", EncodeOptions(crf=-1), "--crf -1: expected 0 (best) to 51 for h264"),
])
def test_options_that_a_codec_refuses(codec: str, encode: EncodeOptions, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        CODECS[codec].encoder_options(encode, alpha=False)
    assert str(refused.value) == said


@pytest.mark.parametrize(("codec", "encode", "alpha", "expected"), [
    ("h264", EncodeOptions(), False, {"crf": "20", "preset": "veryfast"}), ("h264", EncodeOptions(crf=51), False, {"crf": "51", "preset": "veryfast"}),
    ("vp9", EncodeOptions(crf=63, preset="8"), True,
     {"b:v": "0", "row-mt": "1", "tile-columns": "1", "deadline": "realtime", "auto-alt-ref": "0", "crf": "63", "cpu-used": "8"}),
    ("prores", EncodeOptions(), False, {"profile": "hq", "vendor": "apl0"}), ("prores", EncodeOptions(), True, {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"}),
    ("av1", EncodeOptions(crf=0), False, {"crf": "0", "preset": "8"}),
])
def test_options_of_an_encoder(codec: str, encode: EncodeOptions, alpha: bool, expected: dict[str, str]) -> None:
    before = dict(CODECS[codec].options)
    assert CODECS[codec].encoder_options(encode, alpha=alpha) == expected
    assert CODECS[codec].options == before


def test_a_matte_without_an_output_has_its_options() -> None:
    assert encode_beside("m.mov", "matte", None, None, EncodeOptions("h264", crf=18), transparent=False) == EncodeOptions("h264", crf=18)
    assert encode_beside("m.mov", "matte", "prores", None, EncodeOptions("h264"), transparent=False) == EncodeOptions("prores")
    assert encode_beside("m.mkv", "matte", None, None, EncodeOptions(), transparent=False) == EncodeOptions("ffv1")
    assert encode_beside("f.mkv", "foreground", None, None, EncodeOptions(), transparent=False) == EncodeOptions("h264")
    assert encode_beside("f.mkv", "foreground", None, "out.mkv", EncodeOptions(), transparent=True) == EncodeOptions("ffv1")
    assert encode_beside("f.mkv", "foreground", None, "out.%d.png", EncodeOptions(crf=9), transparent=True) == EncodeOptions("h264")


@pytest.mark.parametrize(("cores", "encoding", "decoding"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (8, 8, 4), (64, 16, 8)])
def test_threads_of_codecs_by_cores(monkeypatch: pytest.MonkeyPatch, cores: int, encoding: int, decoding: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert (codec_threads(), decoder_threads()) == (encoding, decoding)
    with av.open(str(Path(__file__).resolve().parent.parent / "examples" / "portrait.mp4")) as container:
        assert choose_video(container, "portrait.mp4", []).codec_context.thread_count == decoding
