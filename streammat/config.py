"""Every option with its default: the one home of defaults, which the command line and the library share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from streammat.errors import UsageError
from streammat.timecode import BEGINNING, Moment

Fit = Literal["cover", "contain", "stretch"]
AlphaType = Literal["straight", "premultiplied"]
Quality = Literal["fast", "balanced", "best"]
Content = Literal["composite", "transparent", "matte", "foreground"]
"""What a sink shows: the image on its background, the image with alpha, alpha as grey, the foreground's colour."""


@dataclass(frozen=True, kw_only=True)
class MattingOptions:
    """Options of matting: model, engine, quality."""

    model: str = "lite"
    """A shipped or imported model's name, an ``.onnx`` file, or weights: see ``streammat.models.library.find_model``."""
    engine: Literal["auto", "tensorrt", "cuda", "openvino", "onnxruntime"] = "auto"
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1`` and others: see ``streammat.engines.registry.DEVICES``."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    quality: Quality = "balanced"
    """Network size: see ``matting.network_sizes``."""
    threads: int = 0
    """Threads of the network; 0 takes every core this process may use."""
    stable: bool = True
    """Average flicker away where the image stands still: see ``temporal``."""


STILLS = MattingOptions(quality="best")
"""Defaults for stills, where quality counts more than speed."""


MOST_GROW = 32
"""Pixels: beyond, a disc costs more than the network."""


@dataclass(frozen=True)
class MatteControls:
    """Adjustments of a finished matte, and of the subject's colour: see `streammat.compositing.matte_controls`, which has each function exactly."""

    clip_black: float = 0.0
    """Alpha, 0..1, that becomes 0."""
    clip_white: float = 1.0
    """Alpha, 0..1, that becomes 1; what lies between both is stretched."""
    grow: float = 0.0
    """Pixels by which the matte grows; negative ones shrink it."""
    feather: float = 0.0
    """Standard deviation, in pixels, of the blur of its edge."""
    despeckle: int = 0
    """Pixels that a spot, or a hole, must have to stay."""
    despill: str | None = None
    """A colour to take out of the subject, ``auto`` for that of the background, each with ``:0..100`` for how much; None: nothing."""


@dataclass(frozen=True)
class CompositeOptions:
    """Options of compositing: background, edges, alpha."""

    background: str | None = None
    """An image, a clip, ``blur[:STRENGTH]``, a colour, ``transparent``; None: transparent where the output can carry it, else green."""
    fit: Fit = "cover"
    """How a background of another shape fills the frame."""
    decontaminate: bool = True
    """Estimate the foreground's own colour at soft edges."""
    alpha: AlphaType = "straight"
    """Colour in transparent outputs: as it is, or multiplied by alpha."""


@dataclass(frozen=True)
class StillOptions:
    """One run of ``streammat image``."""

    matting: MattingOptions = STILLS
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    controls: MatteControls = field(default_factory=MatteControls)


@dataclass(frozen=True)
class EncodeOptions:
    """How video is written."""

    codec: str | None = None
    """h264, hevc, av1, vp9, prores, dnxhr, ffv1; None: by the file's extension."""
    crf: int | None = None
    """Constant quality, in the encoder's own scale; None: the encoder's usual one."""
    preset: str | None = None
    """Speed against size, in the encoder's own words; None: veryfast or its equal."""
    audio: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class SequenceOptions:
    """How sequences of numbered images are read and written."""

    fps: float | None = None
    """Frames per second; None: what the files say, else 24."""
    missing: Literal["error", "skip", "hold"] = "error"
    """What becomes of numbers without a file: the run is refused, they are left out, or the image before is taken."""
    layer: str | None = None
    """Of EXR; None: the colours without a layer's name."""
    color_space: str = "auto"
    """Of the input: see ``film.colour``."""
    ocio: str | None = None
    """A config of OpenColorIO; None: its built-in studio config."""
    exposure: float | None = None
    """Stops by which the network sees linear and log images brighter; None: by the first image."""
    compression: Literal["none", "rle", "zip", "zips", "piz", "dwaa", "dwab"] = "zip"
    """Of EXR."""
    depth: Literal["auto", "half", "float", "8", "10", "12", "16"] = "auto"
    """Of outputs: see ``film.images.depth_of``."""
    verify: bool = True
    """Read each file that was written back, and compare."""


@dataclass(frozen=True)
class VideoOptions:
    """One run of ``streammat video``."""

    matting: MattingOptions = field(default_factory=MattingOptions)
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    matte: str | None = None
    """Beside the output: alpha as grey."""
    foreground: str | None = None
    """Beside the output: straight foreground colour."""
    report: str | None = None
    """Beside the output: a page of frames to check, see ``report``."""
    matte_codec: str | None = None
    """As ``EncodeOptions.codec``, of the matte; None: what keeps grey best in such a file, else the output's own."""
    foreground_codec: str | None = None
    """As ``EncodeOptions.codec``, of the foreground; None: the output's own where such a file holds it."""
    start: Moment = BEGINNING
    """Where in the input to start."""
    duration: Moment | None = None
    """How much to keep; None: to the end."""
    deinterlace: bool = False
    """Make whole frames of fields: see ``fields.Deinterlacer``."""
    warm_up: int = 0
    """Frames before the first that are matted and not written, so that what remembers frames has seen them."""
    controls: MatteControls = field(default_factory=MatteControls)
    frames: str | None = None
    """Numbers of the frames to work on: see ``film.sequences.parse_frames``; None: all."""
    start_number: int = 1
    """Number of a clip's first frame; sequences have their own."""
    sequence: SequenceOptions = field(default_factory=SequenceOptions)
    include: str | None = None
    """An image, or a sequence, of what belongs to the subject in any case."""
    exclude: str | None = None
    """The same of what never does."""
    subject: str = "all"
    """``all``, ``largest`` or a point ``x,y`` in pixels: see ``film.subject``."""


WEB_ADDRESS: Final = "127.0.0.1:8137"
"""Where the control page is served unless another place is named."""


@dataclass(frozen=True)
class BatchOptions:
    """One run of ``streammat batch``, beside the options of ``VideoOptions`` that each shot has."""

    workers: int = 0
    """Processes that work at once; 0: by cores and memory."""
    shard_frames: int = 1500
    """Most frames that one process works on at a time; 0: a shot is never cut."""
    warm_up: float = 6.0
    """Seconds before a shard that are looked at first: so long may the filter over time remember what it saw, by more than 1/255 of alpha."""
    overwrite: bool = False
    """Replace outputs that no batch has made."""
    redo: bool = False
    """Make shots again whose options or inputs have changed."""
    report: str | None = None
    """A page of frames to check of all shots: see ``report``."""
    verify: bool = False
    """Read every output that is there already, not only those whose size or time has changed."""


@dataclass(frozen=True)
class LiveOptions:
    """One run of ``streammat webcam``."""

    matting: MattingOptions = field(default_factory=MattingOptions)
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    """Its ``background`` stands aside for ``backgrounds``."""
    backgrounds: tuple[str, ...] = ("green",)
    """The first is shown; the others are switched to while it runs. Each as ``CompositeOptions.background``, not transparent."""
    camera: str = "0"
    """A number, a device, a camera's name, a video file, or a URL."""
    size: tuple[int, int] | None = None
    """(height, width) to ask the camera for, and then insisted on; None asks for 1280x720 and takes what comes."""
    fps: float = 30.0
    """Frames per second to ask the camera for; files and URLs have their own."""
    microphone: str | None = None
    """``default``, PortAudio's number, a part of a name, or ``file`` for the sound of a file given as the camera; None: no sound."""
    monitor: str | None = None
    """Where the microphone is played as late as the image: ``default``, PortAudio's number, or a part of a name; None: nowhere."""
    sound_delay: float = 0.0
    """Milliseconds by which sound is moved back beyond what is measured; negative moves it forward."""
    loop: bool = False
    """A file given as the camera starts again at its end."""
    outputs: tuple[str, ...] = ("camera",)
    """``camera[:DEVICE]``, ``/dev/videoN``, a video file, ``rtmp://`` or ``rtsp://``, ``preview``, ``null``."""
    recordings: str = "."
    """The folder in which the command ``record`` makes recordings."""
    overwrite: bool = False
    mirror: bool = False
    """Show the image as a mirror does; backgrounds stay as they are."""
    fixed: bool = False
    """Never lower the quality to hold the rate."""
    bitrate: int = 3000
    """Bit rate of streams, kbit/s."""
    duration: float | None = None
    """Seconds until it ends by itself; None: never."""
    rest: bool = True
    """Keep the matte, for 0.4 s at most, while nothing moves in what the network sees: see ``streammat.matting.rest``."""
    control: str | None = None
    """Where commands come from: the path of a unix socket, or ``-`` for stdin; see ``streammat.live.control``."""
    config: str | None = None
    """The file that the command ``save`` writes changed settings into; it was read already."""
    controls: MatteControls = field(default_factory=MatteControls)
    web: str | None = None
    """HOST:PORT that the control page is served at; None: nowhere. See ``streammat.web``."""
    web_allow: tuple[str, ...] = ()
    """Names and addresses beyond this machine's own that browsers may call it by; any of them allows to listen on others' networks."""


@dataclass(frozen=True)
class ExportOptions:
    """One run of ``streammat model export``."""

    size: tuple[int, int] | None = None
    """Network input (height, width) in pixels, multiples of 32; None: free."""
    batch: int | None = 1
    """Images at once; None: free."""
    opset: int | None = None
    """Of ONNX; None: the one that the package's own files have."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    heads: bool = False
    """Give glance and focus beside alpha."""
    normalised: bool = False
    """Take float32 (N, 3, H, W), 0..1, instead of uint8 (N, H, W, 3)."""
    overwrite: bool = False


@dataclass(frozen=True)
class BenchOptions:
    """One run of ``streammat bench``."""

    clip: str | None = None
    """A video file or URL; None: a drawn scene."""
    sizes: tuple[tuple[int, int], ...] = ((720, 1280), (1080, 1920))
    """(height, width) that the clip is scaled to; even sides of at least 64."""
    engines: tuple[str, ...] = ("auto",)
    """``auto``, ``all`` or names: see ``streammat.bench.variants.plan``; they stand for ``matting.engine``."""
    precisions: tuple[str, ...] = ("auto",)
    """The same for ``matting.precision``."""
    batches: tuple[int, ...] = (1,)
    """Images that the network is given at once; files and live video go through one by one."""
    matting: MattingOptions = field(default_factory=MattingOptions)
    background: str = "green"
    frames: int = 100
    """Frames of the clip in each job, and images of the network alone, in each round."""
    rounds: int = 3
    live_seconds: float = 3.0
    """Seconds of each live run; 0 leaves live video out."""


T = TypeVar("T")


def choices(options: type[object], name: str) -> tuple[str, ...]:
    """The values that a field of literal type may have, in their order."""
    kind = get_type_hints(options)[name]
    assert get_origin(kind) is Literal, f"{options.__name__}.{name} has no fixed choices"
    return get_args(kind)


def field_names(options: type[object]) -> tuple[str, ...]:
    """Names of all values in ``options``, those of the option groups within it included."""
    hints = get_type_hints(options)
    names: list[str] = []
    for each in fields(options):  # type: ignore[arg-type]  # every options class is a dataclass
        kind = hints[each.name]
        names += field_names(kind) if _is_group(kind) else [each.name]
    return tuple(names)


def _is_group(kind: Any) -> bool:
    """True for the option classes of this module, whose fields are listed as though they were the outer class's own."""
    return isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == __name__


def build(options: type[T], values: Mapping[str, Any]) -> T:
    """Options from a flat mapping, as the command line and the Python API give them.

    Args:
        options: one of the classes above.
        values: by field name, also of the groups within ``options``; ``no_<field>`` is the opposite of a field that is True or False.

    Raises:
        TypeError: a name that ``options`` does not have.
        UsageError: a value that is none of a field's choices.
    """
    opposite = {name.removeprefix("no_"): not value for name, value in values.items() if name.startswith("no_")}
    given = {name: value for name, value in values.items() if not name.startswith("no_")} | opposite
    if unknown := sorted(set(given) - set(field_names(options))):
        raise TypeError(f"unexpected option {unknown[0]!r}; expected one of {', '.join(sorted(field_names(options)))}")
    return _build(options, given)


def _build(options: type[T], given: Mapping[str, Any]) -> T:
    hints = get_type_hints(options)
    made: dict[str, Any] = {}
    for each in fields(options):  # type: ignore[arg-type]
        kind = hints[each.name]
        if _is_group(kind):
            made[each.name] = _build(kind, given)
        elif each.name in given:
            value = made[each.name] = given[each.name]
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise UsageError(f"{each.name} is {value!r}; expected one of {', '.join(get_args(kind))}")
    return options(**made)
