"""The table of codecs and containers, and the rules that choose from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePath

from streammat.config import Content, EncodeOptions
from streammat.errors import UsageError
from streammat.media.frame import Layout, layout_of


@dataclass(frozen=True)
class VideoCodec:
    """One of FFmpeg's encoders with its settings."""

    name: str
    encoder: str
    formats: tuple[str, ...]
    """Pixel formats, the most widely playable first."""
    alpha_formats: tuple[str, ...]
    options: dict[str, str]
    """Encoder options that are always set."""
    crf: int | None = None
    """Default constant quality; None: the codec does not support it."""
    preset: tuple[str, str] | None = None
    """The encoder's option for speed against size, and its default."""
    presets: tuple[str, ...] = ()
    """Possible values of that option."""
    most_crf: int = 63
    """Largest value of ``crf``; the scale begins at 0."""
    field_options: dict[str, str] | None = None
    """Further options for interlaced frames; None: the codec, or FFmpeg's encoder, supports only whole frames."""
    alpha_options: dict[str, str] = field(default_factory=dict)
    """Further options for video with alpha."""
    limited: bool = False
    """The codec has limited range only, and decoders take every file for that."""

    def encoder_options(self, encode: EncodeOptions, *, alpha: bool) -> dict[str, str]:
        """Return the options for opening the encoder.

        Raises:
            UsageError: ``crf`` or ``preset`` is given and this codec does not support it, or not that value.
        """
        options = self.options | (self.alpha_options if alpha else {})
        if encode.crf is not None and self.crf is None:
            raise UsageError(f"--crf: {self.name} has no constant quality; leave it out")
        if encode.preset is not None and self.preset is None:
            raise UsageError(f"--preset: {self.name} has no presets; leave it out")
        if encode.preset is not None and encode.preset not in self.presets:
            raise UsageError(f"--preset {encode.preset}: {self.name} has no such preset; expected one of {', '.join(self.presets)}")
        if encode.crf is not None and not 0 <= encode.crf <= self.most_crf:
            raise UsageError(f"--crf {encode.crf}: expected 0 (best) to {self.most_crf} for {self.name}")
        if self.crf is not None:
            options["crf"] = str(self.crf if encode.crf is None else encode.crf)
        if self.preset is not None:
            name, default = self.preset
            options[name] = encode.preset or default
        return options


_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_YUV8 = ("yuv420p", "yuv422p", "yuv444p")
_YUV10 = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
_YUV12 = ("yuv420p12le", "yuv422p12le", "yuv444p12le")
_YUV16 = ("yuv420p16le", "yuv422p16le", "yuv444p16le")

CODECS: dict[str, VideoCodec] = {
    codec.name: codec
    for codec in (
        VideoCodec(
            "h264", "libx264", _YUV8 + _YUV10, (), {}, crf=20, preset=("preset", "veryfast"), presets=_X26X, most_crf=51,
            field_options={"flags": "+ildct+ilme"},
        ),
        VideoCodec(
            "hevc",
            "libx265",
            _YUV8 + _YUV10 + _YUV12,
            (),
            # x265 prints its banner past FFmpeg's log level; and what is asked for as a keyframe is an ordinary frame by default.
            {"x265-params": "log-level=error", "forced-idr": "1"},
            crf=22,
            preset=("preset", "veryfast"),
            presets=_X26X,
            most_crf=51,
        ),
        VideoCodec(
            "av1", "libsvtav1", ("yuv420p", "yuv420p10le"), (), {}, crf=30, preset=("preset", "8"), presets=tuple(map(str, range(14)))
        ),
        VideoCodec(
            "vp9",
            "libvpx-vp9",
            _YUV8,  # PyAV's libvpx is built without its deeper formats
            ("yuva420p",),
            {"b:v": "0", "row-mt": "1", "tile-columns": "1", "deadline": "realtime"},
            crf=24,
            preset=("cpu-used", "6"),
            presets=tuple(map(str, range(9))),
            # An alternative reference frame is a packet without a frame; the alpha layer cannot follow it.
            alpha_options={"auto-alt-ref": "0"},
        ),
        VideoCodec(
            "prores",
            "prores_ks",
            ("yuv422p10le", "yuv444p10le"),
            ("yuva444p10le",),
            {"profile": "hq", "vendor": "apl0"},
            field_options={"flags": "+ildct"},
            alpha_options={"profile": "4444", "alpha_bits": "16"},
            limited=True,
        ),
        # Of 10 bits and 4:2:2, as editing takes it; FFmpeg's encoder refuses sizes below 256x120.
        VideoCodec("dnxhr", "dnxhd", ("yuv422p10le",), (), {"profile": "dnxhr_hqx"}),
        VideoCodec(
            "ffv1",
            "ffv1",
            (*_YUV8, *_YUV10, *_YUV12, *_YUV16, "gbrp16le", "gray", "gray16le"),
            ("yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "yuva422p10le", "yuva444p10le", "yuva444p16le", "gbrap16le"),
            # Version 3: slices, so that every core is used, each with a checksum. How many is left to the encoder, which
            # refuses a number that does not divide an odd size.
            {"level": "3", "slicecrc": "1", "g": "1"},
            field_options={"flags": "+ildct"},
        ),
    )
}


@dataclass(frozen=True)
class Container:
    """One kind of file: FFmpeg's muxer, the codecs it holds, and its first choices."""

    muxer: str
    codecs: tuple[str, ...]
    """Codecs that the container can hold, the default first."""
    alpha: str | None
    """The codec for transparent video; None if none of this container's codecs has alpha."""
    transparent_by_default: bool = False
    audio: str = "aac"
    """Audio encoder for tracks that the container cannot hold unchanged."""
    matte: str | None = None
    """The codec for grey mattes, if it is not the default one."""
    text: str | None = None
    """Format that text subtitles are converted to."""
    transcodes: tuple[str, ...] = ()
    """Audio codecs to transcode although FFmpeg's table allows them: its muxer refuses them or hardly any player plays them."""
    counted: bool = False
    """The container has no timestamps: frames come at a constant rate, and samples follow each other from the same beginning."""


_PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be", "pcm_u8")
CONTAINERS: dict[str, Container] = {
    ".mp4": Container("mp4", ("h264", "hevc", "av1", "vp9"), None, text="mov_text", transcodes=_PCM),
    ".m4v": Container("mp4", ("h264", "hevc"), None, text="mov_text", transcodes=_PCM),
    ".mov": Container(
        "mov",
        ("h264", "hevc", "prores", "dnxhr"),
        "prores",
        transparent_by_default=True,
        matte="prores",
        text="mov_text",
        transcodes=("opus", "flac", "vorbis"),
    ),
    ".mkv": Container("matroska", ("h264", "hevc", "av1", "vp9", "prores", "ffv1"), "ffv1", audio="libopus", matte="ffv1", text="subrip"),
    ".mxf": Container("mxf", ("dnxhr",), None, audio="pcm_s24le", counted=True),
    ".webm": Container("webm", ("vp9", "av1"), "vp9", transparent_by_default=True, audio="libopus"),
}
STILLS_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
STILLS = (*STILLS_WITH_ALPHA, ".jpg", ".jpeg")
FILM = (".exr", ".dpx")
"""Extensions of numbered files for film tools."""


def container_of(path: str) -> Container:
    """Return the container for a file's extension.

    Raises:
        UsageError: the extension is not supported.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in CONTAINERS:
        known = " ".join(CONTAINERS)
        found = suffix or "no extension"
        raise UsageError(f"{path}: cannot tell the kind of video from {found!r}; expected one of {known}, or a pattern such as out.%05d.png")
    return CONTAINERS[suffix]


def can_carry_alpha(path: str, codec: str | None) -> bool:
    """Return whether a user expects such a file to be transparent by default."""
    suffix = PurePath(path).suffix.lower()
    if suffix in STILLS:
        return suffix in STILLS_WITH_ALPHA
    if suffix in FILM:
        return True
    container = container_of(path)
    return container.transparent_by_default and (codec is None or bool(_codec(codec).alpha_formats))


def is_still(path: str) -> bool:
    """Return True for the name of a still, or a pattern of numbered ones, such as ``out.%05d.png``."""
    return PurePath(path).suffix.lower() in (*STILLS, *FILM)


def choose_codec(path: str, requested: str | None, *, alpha: bool, matte: bool = False) -> VideoCodec:
    """Return the codec for ``path``.

    Raises:
        UsageError: the codec is unknown, the container does not hold it, or alpha is wanted and it carries none.
    """
    container = container_of(path)
    suffix = PurePath(path).suffix.lower()
    if requested is None:
        if alpha and container.alpha is None:
            raise UsageError(f"{path}: {suffix} cannot carry alpha; use .mov, .webm, .mkv or out.%05d.png, or give a background with --bg")
        default = container.matte if matte and container.matte else container.codecs[0]
        return CODECS[container.alpha if alpha and container.alpha else default]
    codec = _codec(requested)
    if codec.name not in container.codecs:
        raise UsageError(f"{path}: {suffix} does not hold {codec.name}; expected one of {', '.join(container.codecs)}")
    if alpha and not codec.alpha_formats:
        able = ", ".join(name for name in container.codecs if CODECS[name].alpha_formats) or "none in this container"
        raise UsageError(f"{path}: {codec.name} cannot carry alpha; expected {able}, or give a background with --bg")
    return codec


def encode_beside(path: str, content: Content, requested: str | None, target: str | None, encode: EncodeOptions, *, transparent: bool) -> EncodeOptions:
    """Return the encoding options of a matte or a foreground written beside the output ``target``.

    Without a requested codec a matte gets the one that keeps grey best, and a foreground the output's, if its container can hold
    that. Quality and preset belong to the output's encoder, so they are only used with the same codec.

    Args:
        path: path of the matte or the foreground.
        content: which of them it is.
        requested: its codec; None: choose one.
        target: the output; None: there is none, and ``encode`` is for this file.
        encode: options of the output.
        transparent: the output has alpha.

    Raises:
        UsageError: a codec is unknown, or a container does not hold it.
    """
    if target is None:
        return replace(encode, codec=choose_codec(path, requested or encode.codec, alpha=False, matte=content == "matte").name)
    main = None if is_still(target) else choose_codec(target, encode.codec, alpha=transparent)
    container = container_of(path)
    if requested is None and not (content == "matte" and container.matte) and main is not None and main.name in container.codecs:
        requested = main.name
    chosen = choose_codec(path, requested, alpha=False, matte=content == "matte")
    if main is not None and chosen.name == main.name:
        return replace(encode, codec=chosen.name)
    return replace(encode, codec=chosen.name, crf=None, preset=None)


def _codec(name: str) -> VideoCodec:
    codec = CODECS.get(name.lower())
    if codec is None:
        raise UsageError(f"codec {name!r} is not known; expected one of {', '.join(CODECS)}")
    return codec


def choose_format(codec: VideoCodec, layout: Layout, size: tuple[int, int], *, alpha: bool, grey: bool = False) -> str:
    """Return the encoder's pixel format that loses least of ``layout``; among equals the most widely playable.

    Subsampled formats need even sizes in every codec here but VP9 and FFV1, so odd sizes take 4:4:4 where there is one.
    """
    names = codec.alpha_formats if alpha else codec.formats
    if grey and not alpha and "gray" in names:
        return "gray" if layout.depth == 8 else "gray16le"
    candidates = [found for name in names if (found := layout_of(name)) is not None and found.planes != 1]
    height, width = size
    odd_is_fine = codec.name in ("vp9", "ffv1")
    # RGB frames go into the playable 4:2:0 unless the codec keeps RGB; grey mattes need no chroma at all.
    wanted_chroma = (1, 1) if layout.rgb or grey else layout.chroma

    def loss(found: Layout) -> tuple[int, ...]:
        refuses = not odd_is_fine and ((found.chroma[0] and width % 2) or (found.chroma[1] and height % 2))
        chroma_lost = sum(max(0, have - want) for have, want in zip(found.chroma, wanted_chroma, strict=True))
        chroma_spent = sum(max(0, want - have) for have, want in zip(found.chroma, wanted_chroma, strict=True))
        return (
            int(bool(refuses)),
            int(found.rgb != layout.rgb and found.rgb),
            int(layout.rgb and not found.rgb and any(other.rgb for other in candidates)),
            max(0, layout.depth - found.depth),
            chroma_lost,
            max(0, found.depth - layout.depth),
            chroma_spent,
        )

    return min(candidates, key=loss).name
