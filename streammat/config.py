"""All options with their defaults, shared by the command line and the Python API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from streammat.engines.registry import BackendName, PrecisionName
from streammat.timecode import BEGINNING, LONGEST, Moment

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both of which it may be; of several values: of how many there are."""

    least: float
    most: float


Side = Annotated[int, Within(1, 16384)]
"""Side of an image in pixels."""

EngineName = Literal["auto", BackendName]
Precision = Literal["auto", PrecisionName]
Quality = Literal["fast", "balanced", "best"]
Fit = Literal["cover", "contain", "stretch"]
AlphaType = Literal["straight", "premultiplied"]
MissingFrames = Literal["error", "skip", "hold"]
Compression = Literal["none", "rle", "zip", "zips", "piz", "dwaa", "dwab"]
BitDepth = Literal["auto", "half", "float", "8", "10", "12", "16"]
Content = Literal["composite", "transparent", "matte", "foreground"]
"""Content of an output: the image on its background, the image with alpha, alpha as grey, the foreground's colour."""


@dataclass(frozen=True, eq=False)
class ImageArray:
    """An image in memory, where options otherwise name a file."""

    pixels: NDArray[Any]
    """uint8 or uint16 (H, W, 3), RGB, full range; of a mask float32 (H, W), 0..1."""


@dataclass(frozen=True, kw_only=True)
class MattingOptions:
    """Options of matting: model, engine, quality."""

    model: str = "lite"
    """A shipped or imported model's name, an ``.onnx`` file, or weights: see ``streammat.models.library.find_model``."""
    engine: EngineName = "auto"
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1`` and others: see ``streammat.engines.registry.DEVICES``."""
    precision: Precision = "auto"
    quality: Quality = "balanced"
    """Size of the network's input: see ``matting.network_sizes``."""
    threads: Annotated[int, Within(0, 256)] = 0
    """Threads of the network; 0: all cores that this process may use."""
    stable: bool = True
    """Filter mattes over time: see ``matting.steady``."""


STILLS = MattingOptions(quality="best")
"""Defaults for stills, where quality counts more than speed."""


MOST_GROW = 32
"""Largest radius of ``grow``, in pixels: larger discs cost more than the network."""


@dataclass(frozen=True)
class MatteControls:
    """Adjustments of a finished matte, and of the subject's colour: `streammat.compositing.matte_controls` defines each exactly."""

    clip_black: Annotated[float, Within(0, 1)] = 0.0
    """Alpha, 0..1, that becomes 0."""
    clip_white: Annotated[float, Within(0, 1)] = 1.0
    """Alpha, 0..1, that becomes 1; values between the two are stretched."""
    grow: Annotated[float, Within(-MOST_GROW, MOST_GROW)] = 0.0
    """Pixels by which the matte grows; negative ones shrink it."""
    feather: Annotated[float, Within(0, 100)] = 0.0
    """Standard deviation, in pixels, of the blur of its edge."""
    despeckle: Annotated[int, Within(0, 10**9)] = 0
    """Spots and holes with fewer pixels are removed."""
    despill: str | None = None
    """Colour to remove from the subject, or ``auto`` for the background's, with an optional ``:0..100`` percent; None: nothing."""


@dataclass(frozen=True)
class SubjectOptions:
    """Options that choose what of an image is the subject."""

    include: str | ImageArray | None = None
    """Mask, an image or in ``video`` a sequence, of what always belongs to the subject: see ``film.masks``."""
    exclude: str | ImageArray | None = None
    """Mask of what never belongs to the subject."""
    subject: str = "all"
    """Subject to keep: ``all``, ``largest`` or a point ``x,y`` in pixels: see ``film.subject``."""


@dataclass(frozen=True)
class CompositeOptions:
    """Options of compositing: background, edges, alpha."""

    background: str | ImageArray | None = None
    """An image, a clip, ``blur[:STRENGTH]``, a colour, ``transparent``; None: transparent if the output can carry it, else green."""
    fit: Fit = "cover"
    """How a background of another aspect ratio fills the frame."""
    decontaminate: bool = True
    """Estimate the foreground's own colour at soft edges."""
    alpha: AlphaType = "straight"
    """Colour in transparent outputs: straight, or multiplied by alpha."""


@dataclass(frozen=True)
class StillOptions:
    """One run of ``streammat image``."""

    matting: MattingOptions = STILLS
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    controls: MatteControls = field(default_factory=MatteControls)
    subjects: SubjectOptions = field(default_factory=SubjectOptions)


@dataclass(frozen=True)
class EncodeOptions:
    """Options of video encoding."""

    codec: str | None = None
    """h264, hevc, av1, vp9, prores, dnxhr, ffv1; None: by the file's extension."""
    crf: Annotated[int | None, Within(0, 63)] = None
    """Constant quality, on the encoder's own scale; None: the codec's default."""
    preset: str | None = None
    """The encoder's own preset of speed against size; None: veryfast or its equivalent."""
    audio: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class SequenceOptions:
    """Options for reading and writing sequences of numbered images."""

    fps: Annotated[float | None, Within(1, 1000)] = None
    """Frames per second; None: from the files, else 24."""
    missing: MissingFrames = "error"
    """Handling of missing frame numbers: refuse the run, skip them, or repeat the image before."""
    layer: str | None = None
    """Layer of EXR files; None: the channels without a layer name."""
    color_space: str = "auto"
    """Colour space of the input: see ``film.colour``."""
    ocio: str | None = None
    """Path of an OpenColorIO config; None: its built-in studio config."""
    exposure: Annotated[float | None, Within(-20, 20)] = None
    """Exposure in stops at which the network sees linear and log images; None: from the first image."""
    compression: Compression = "zip"
    """Compression of EXR files."""
    depth: BitDepth = "auto"
    """Bit depth of outputs: see ``film.images.depth_of``."""
    exr_layers: str | None = None
    """Additional layers of the first EXR output: see ``film.layers``."""
    verify: bool = True
    """Read each written file back and compare."""


@dataclass(frozen=True)
class VideoOptions:
    """One run of ``streammat video``."""

    matting: MattingOptions = field(default_factory=MattingOptions)
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    matte: str | None = None
    """Further output: alpha as grey."""
    foreground: str | None = None
    """Further output: straight foreground colour."""
    report: str | None = None
    """Further output: a page of frames to check, see ``report``."""
    matte_codec: str | None = None
    """Codec of the matte, as ``EncodeOptions.codec``; None: the best one for grey in its container, else the output's."""
    foreground_codec: str | None = None
    """Codec of the foreground, as ``EncodeOptions.codec``; None: the output's, if the foreground's container holds it."""
    start: Moment = BEGINNING
    """Start time in the input."""
    duration: Moment | None = None
    """Length to process; None: to the end."""
    deinterlace: bool = False
    """Turn interlaced fields into whole frames: see ``media.interlacing.Deinterlacer``."""
    warm_up: Annotated[int, Within(0, 10_000)] = 0
    """Frames before the first one that are matted but not written, to warm up the filter over time."""
    controls: MatteControls = field(default_factory=MatteControls)
    frames: str | None = None
    """Numbers of the frames to process: see ``film.sequences.parse_frames``; None: all."""
    start_number: Annotated[int, Within(0, 10**9)] = 1
    """Number of a clip's first frame; sequences have their own."""
    sequence: SequenceOptions = field(default_factory=SequenceOptions)
    subjects: SubjectOptions = field(default_factory=SubjectOptions)


WEB_ADDRESS: Final = "127.0.0.1:8137"
"""Default address of the control page."""


@dataclass(frozen=True)
class BatchOptions:
    """One run of ``streammat batch``, beside the options of ``VideoOptions`` that each shot has."""

    workers: Annotated[int, Within(0, 1024)] = 0
    """Number of worker processes; 0: by cores and memory."""
    shard_frames: Annotated[int, Within(0, 10**9)] = 1500
    """Most frames of a shard; 0: shots are not divided."""
    warm_up: float = 6.0
    """Seconds before a shard that are matted first: the filter over time may remember so much, by more than 1/255 of alpha."""
    overwrite: bool = False
    """Replace existing outputs that no batch made."""
    redo: bool = False
    """Repeat shots whose options or inputs have changed."""
    report: str | None = None
    """Path of a page of frames to check for all shots: see ``report``."""
    verify: bool = False
    """Read every existing output, not only those whose size or time has changed."""


@dataclass(frozen=True)
class LiveOptions:
    """One run of ``streammat webcam``."""

    matting: MattingOptions = field(default_factory=MattingOptions)
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    """Options of compositing; ``backgrounds`` replaces its ``background``."""
    backgrounds: Annotated[tuple[str | ImageArray, ...], Within(1, 1000)] = ("green",)
    """Backgrounds to switch between, each as ``CompositeOptions.background`` but not transparent; the first is shown at the start."""
    camera: str = "0"
    """A number, a device, a camera's name, a video file, or a URL."""
    size: tuple[Side, Side] | None = None
    """(height, width) that the camera must deliver; None: ask for 1280x720 and accept any."""
    fps: Annotated[float, Within(1, 240)] = 30.0
    """Frames per second to ask the camera for; files and URLs keep their own."""
    microphone: str | None = None
    """``default``, PortAudio's number, a part of a name, or ``file`` for the sound of a file given as the camera; None: no sound."""
    monitor: str | None = None
    """Sound output on which the microphone is played as late as the image: ``default``, PortAudio's number, or a part of a name."""
    sound_delay: Annotated[float, Within(-1000, 1000)] = 0.0
    """Delay of sound beyond the measured one, in milliseconds; negative: earlier."""
    loop: bool = False
    """Restart a file given as the camera at its end."""
    outputs: Annotated[tuple[str, ...], Within(1, 100)] = ("camera",)
    """``camera[:DEVICE]``, ``/dev/videoN``, a video file, ``rtmp://`` or ``rtsp://``, ``alpha[:PORT]``, ``preview``, ``null``."""
    recordings: str = "."
    """The folder in which the command ``record`` makes recordings."""
    overwrite: bool = False
    mirror: bool = False
    """Mirror the image; backgrounds are not mirrored."""
    fixed: bool = False
    """Never lower the quality to hold the frame rate."""
    bitrate: Annotated[int, Within(100, 100_000)] = 3000
    """Bit rate of streams, kbit/s."""
    duration: Annotated[float | None, Within(0, LONGEST)] = None
    """Seconds until the run ends by itself; None: never."""
    rest: bool = True
    """Keep the matte for at most 0.4 s while the network's input does not change: see ``streammat.matting.rest``."""
    control: str | None = None
    """Source of commands: the path of a unix socket, or ``-`` for stdin; see ``streammat.live.control.commands``."""
    config: str | None = None
    """The file that the command ``save`` writes changed settings into; it was read already."""
    controls: MatteControls = field(default_factory=MatteControls)
    subjects: SubjectOptions = field(default_factory=SubjectOptions)
    web: str | None = None
    """HOST:PORT of the control page; None: no page. See ``streammat.web``."""
    web_allow: tuple[str, ...] = ()
    """Further names and addresses of this machine that browsers may use; any of them allows listening on the network."""


@dataclass(frozen=True)
class ExportOptions:
    """One run of ``streammat model export``."""

    size: tuple[int, int] | None = None
    """Network input (height, width) in pixels, multiples of 32; None: free."""
    batch: int | None = 1
    """Images per batch; None: free."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    normalised: bool = False
    """Input is float32 (N, 3, H, W), 0..1, instead of uint8 (N, H, W, 3)."""
    overwrite: bool = False


@dataclass(frozen=True)
class BenchOptions:
    """One run of ``streammat bench``."""

    clip: str | None = None
    """A video file or URL; None: a drawn scene."""
    sizes: tuple[tuple[int, int], ...] = ((720, 1280), (1080, 1920))
    """Sizes (height, width) that the clip is scaled to; even sides of at least 64."""
    engines: tuple[str, ...] = ("auto",)
    """``auto``, ``all`` or names: see ``streammat.bench.variants.plan``; replaces ``matting.engine``."""
    precisions: tuple[str, ...] = ("auto",)
    """Precisions, likewise; replaces ``matting.precision``."""
    batches: tuple[int, ...] = (1,)
    """Batch sizes for the network alone; files and live video are processed one frame at a time."""
    matting: MattingOptions = field(default_factory=MattingOptions)
    background: str = "green"
    frames: int = 100
    """Frames of the clip per job, and images for the network alone, in each round."""
    rounds: int = 3
    live_seconds: float = 3.0
    """Seconds of each live run; 0: no live runs."""
