"""What the commands do, for programs: options in, a finished file and a report out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2

from engines.auto import choose, open_engine
from engines.base import Engine, EngineError
from engines.models import ModelFiles
from engines.several import several_sizes
from streammat.answer import NoAnswer, answer_of
from streammat.backgrounds import Background, BackgroundSpec, open_background, parse_background
from streammat.compositing import Compositor
from streammat.config import (
    AlphaType,
    CompositeOptions,
    EncodeOptions,
    MatteControls,
    MattingOptions,
    SequenceOptions,
    VideoOptions,
)
from streammat.errors import InputError, OutputError, StreammatError, UsageError
from streammat.film.chosen_frames import ChosenFrames
from streammat.film.colour import ClipLook
from streammat.film.compositor import PlateCompositor
from streammat.film.masks import MaskedMatting
from streammat.film.sequence_sink import SequenceSink
from streammat.film.sequence_source import SequenceSource
from streammat.film.sequences import find_sequence, parse_frames
from streammat.film.subject import SubjectMatting, parse_subject
from streammat.frame import Frame, Matte
from streammat.matte_controls import ControlledMatting, check_controls, controlled
from streammat.matting import Matting, network_sizes
from streammat.models.library import find_model
from streammat.moment import BEGINNING
from streammat.paths import check_writable
from streammat.pipeline import PATIENCE, Pipeline
from streammat.sinks import Content, TrackSink
from streammat.sinks.codecs import FILM, STILLS, STILLS_WITH_ALPHA, can_carry_alpha, choose_codec, encode_beside, is_still
from streammat.sinks.file import FileSink
from streammat.sinks.stills import StillsSink
from streammat.sources import Recorded, StreamInfo
from streammat.sources.file import FileSource
from streammat.sources.opening import is_url
from streammat.sources.still import read_still
from streammat.stage import BATCH, matting_for
from streammat.stats import Report
from streammat.temporal import TemporalFilter

GREEN = "green"


class VideoJob:
    """``streammat video``: everything opened and checked on construction, the work done by ``run``.

    Args:
        source: a video file or URL.
        target: the output; its extension picks container and codec; None: a matte or a foreground alone.
        options: everything else.

    Raises:
        UsageError, InputError, OutputError, EngineError: nothing has been changed then.
    """

    def __init__(self, source: str, target: str | None, options: VideoOptions) -> None:
        self.outputs = [path for path in (target, options.matte, options.foreground) if path is not None]
        if not self.outputs:
            raise UsageError(f"OUT is missing: {source} alone is given; expected where the result goes, such as out.mp4, or --matte or --foreground; see streammat video --help")
        behind = options.composite.background
        check_targets([source, *([] if behind is None else [behind])], self.outputs, options.encode)
        check_controls(options.controls)
        subject = parse_subject(options.subject)
        transparent = target is None or wants_alpha(target, options.composite, options.encode.codec)
        contents = self._contents(target, options, transparent)
        encodes = [self._encode(path, content, target, options, transparent) for path, content in contents]
        spec = None if transparent else parse_background(GREEN if behind is None else behind)
        with ExitStack() as undo:
            reader = open_recorded(source, options)
            undo.callback(reader.close)
            self.info = reader.info
            background = open_scene(spec, options.composite, reader.info, undo)
            look = look_of(reader, options.sequence)
            model = find_model(options.matting.model)
            shape = model, reader.info.size, reader.info.rotation, options.matting
            batch = at_once(*shape)
            self.engine = open_network(*shape, batch=batch)
            undo.callback(self.engine.close)
            sinks: list[TrackSink] = []
            for (path, content), encode in zip(contents, encodes, strict=True):
                alpha = options.composite.alpha
                film = takes_plates(path, reader)
                sinks.append(
                    SequenceSink(path, reader.info, content, options.sequence, overwrite=encode.overwrite, alpha=alpha, own_space=look is not None)
                    if film else open_sink(path, reader.info, content, encode, tracks=path == target, alpha=alpha)
                )
                undo.callback(sinks[-1].abort)
            compositor = compositor_for(reader, sinks, background, options)
            stable = TemporalFilter() if options.matting.stable else None
            matting = answer_of(lambda: matting_for(self.engine, stable, batch, look), "streammat-network")
            mattes: Callable[[Frame], Matte] = matting if subject == "all" else SubjectMatting(matting, subject)
            mattes = ControlledMatting(mattes, options.controls)
            read = reader.files if isinstance(reader, SequenceSource) else []
            if options.include is not None or options.exclude is not None:
                mattes = MaskedMatting(mattes, options.include, options.exclude)
                read = [*read, *mattes.files]
            check_numbered(read, sinks, reader.info.numbers)
            self.pipeline = Pipeline(reader, mattes, compositor, sinks, matting.ahead)
            self._sinks = sinks
            self._background = background
            undo.pop_all()

    def run(self, progress: Callable[[int], None] | None = None) -> Report:
        """Work to the end or until ``pipeline.stop``.

        Args:
            progress: called now and then, in this thread, with the number of frames written.

        Raises:
            InputError, OutputError, EngineError: the run broke off; the message says what was kept.
        """
        # The stages are the parallelism: OpenCV's own threads would only get in their way.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return self.pipeline.run(progress)
        except (InputError, EngineError) as error:
            if not (kept := self.written()):
                raise
            frames = min(sink.frames for sink in self._sinks)
            raise type(error)(f"{error}; {', '.join(kept)}: holds the {frames} frames done till then") from error
        finally:
            cv2.setNumThreads(threads)
            if not self.pipeline.left:  # closed while it works, a library would crash
                self.engine.close()
            if self._background is not None:
                self._background.close()

    def written(self) -> list[str]:
        """Those outputs that hold something."""
        return [path for path, sink in zip(self.outputs, self._sinks, strict=True) if sink.frames]

    @staticmethod
    def _encode(path: str, content: Content, target: str | None, options: VideoOptions, transparent: bool) -> EncodeOptions:
        """How one output is written; UsageError where it cannot be."""
        if is_still(path):
            check_still(path, content)
            return options.encode
        if path == target:
            codec = choose_codec(path, options.encode.codec, alpha=content == "transparent")
            codec.encoder_options(options.encode, alpha=content == "transparent")
            return options.encode
        requested = options.matte_codec if content == "matte" else options.foreground_codec
        return encode_beside(path, content, requested, target, options.encode, transparent=transparent)

    @staticmethod
    def _contents(target: str | None, options: VideoOptions, transparent: bool) -> list[tuple[str, Content]]:
        contents: list[tuple[str, Content]] = [] if target is None else [(target, "transparent" if transparent else "composite")]
        if options.matte is not None:
            contents.append((options.matte, "matte"))
        if options.foreground is not None:
            contents.append((options.foreground, "foreground"))
        return contents


class ImageJob:
    """``streammat image``: stills, one after the other, with one engine for all of one size.

    Args:
        target: a file for a single source, or a folder that gets ``<stem>.png`` for each.
        matting: how alpha is made.
        composite: what it is used for.
        overwrite: replace what is there.
        controls: what is done to it.

    Raises:
        UsageError, InputError, OutputError, EngineError: nothing has been changed then.
    """

    def __init__(
        self, sources: list[str], target: str, matting: MattingOptions, composite: CompositeOptions, *, overwrite: bool,
        controls: MatteControls = MatteControls(),  # noqa: B008 - frozen
    ) -> None:
        check_controls(controls)
        folder = Path(target)
        into_folder = len(sources) > 1 or target.endswith(("/", os.sep)) or os.path.isdir(target)
        if into_folder and folder.suffix.lower() in STILLS and not os.path.isdir(target):
            raise UsageError(f"{target}: is one file for {len(sources)} pictures; expected a folder")
        if not into_folder and Path(target).suffix.lower() not in STILLS:
            raise UsageError(f"{target}: cannot tell the kind of picture; expected one of {' '.join(STILLS)}, or a folder")
        if into_folder and os.path.exists(target) and not os.path.isdir(target):
            raise UsageError(f"{target}: is a file; expected a folder for {len(sources)} pictures")
        self.outputs = [str(folder / f"{Path(source).stem}.png") for source in sources] if into_folder else [target]
        behind = [] if composite.background is None else [composite.background]
        check_targets([*sources, *behind], self.outputs, EncodeOptions(overwrite=overwrite), made=into_folder)
        self._transparent = wants_alpha(self.outputs[0], composite, None)
        for output in self.outputs:
            check_still(output, "transparent" if self._transparent else "composite")
        self._spec = None if self._transparent else parse_background(GREEN if composite.background is None else composite.background)
        self._model = find_model(matting.model)
        if into_folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{target}: cannot be made ({error.strerror}); check the path and its permissions") from error
        self._sources = sources
        self._options = matting
        self._composite = composite
        self._controls = controls
        self._background = None if self._spec is None else open_background(self._spec, composite.fit, Fraction(1))
        self._engine: Engine | None = None
        self._ending: float | None = None
        self._working = False

    def stop(self) -> None:
        """End after the picture at work, from any thread or a signal handler; one that stays in the network for seconds from then on is given up."""
        self._ending = self._ending or time.monotonic()

    def run(self) -> Iterator[tuple[str, StreammatError | EngineError | None]]:
        """Work picture by picture until the last one or ``stop``; gives each output with the error that kept it from being made, or None."""
        content: Content = "transparent" if self._transparent else "composite"
        compositor = Compositor(
            [content], self._background, decontaminate=self._composite.decontaminate, alpha=self._composite.alpha, controls=self._controls
        )
        for source, output in zip(self._sources, self.outputs, strict=True):
            if self._ending is not None:
                return
            try:
                frame, notes = read_still(source)
                matte = answer_of(partial(self._matte, frame), "streammat-network", self._overdue)
                (picture,) = compositor(frame, matte)
                sink = StillsSink(output, content, overwrite=True, alpha=self._composite.alpha, numbered=False, image=notes)
                sink.write(picture, matte)
                yield output, None
            except (StreammatError, EngineError) as error:
                yield output, error
            except NoAnswer:
                yield output, EngineError(f"{source}: the network does not answer and was left as it is")

    def close(self) -> None:
        """Free the engine and the background."""
        if self._engine is not None and not self._working:  # closed while it works, a library would crash
            self._engine.close()
        if self._background is not None:
            self._background.close()

    @property
    def engine(self) -> Engine | None:
        """The engine of the last picture."""
        return self._engine

    def _matte(self, frame: Frame) -> Matte:
        self._working = True
        try:
            return controlled(Matting(self._engine_for(frame.size))(frame), self._controls)
        finally:
            self._working = False

    def _overdue(self) -> bool:
        return self._ending is not None and time.monotonic() - self._ending > PATIENCE

    def _engine_for(self, size: tuple[int, int]) -> Engine:
        wanted = network_sizes(*size, self._options.quality, self._model.areas)[0]
        if self._engine is None or self._engine.spec.size != wanted:
            if self._engine is not None:
                self._engine.close()
            self._engine = open_network(self._model, size, 0, self._options)
        return self._engine


def open_recorded(source: str, options: VideoOptions) -> Recorded:
    """The source that ``source`` calls for: a sequence of numbered images, or a clip, of which some frames may be chosen."""
    name = find_sequence(source)
    if name is not None:
        if options.start != BEGINNING or options.duration is not None:
            raise UsageError(f"{source}: --start and --duration are for clips; choose frames of a sequence with --frames, such as 1001-1100")
        return SequenceSource(name, options.sequence, options.frames)
    numbers = None if options.frames is None else parse_frames(options.frames)
    clip = FileSource(source, audio=options.encode.audio, start=options.start, duration=options.duration, deinterlace=options.deinterlace)
    if numbers is None and options.start_number == 1:
        return clip
    try:
        return ChosenFrames(clip, options.start_number, numbers, source)
    except UsageError:
        clip.close()
        raise


def look_of(source: Recorded, options: SequenceOptions) -> ClipLook | None:
    """What the network is shown of a clip whose colours are in a space of their own; None: what is there, as of sequences, which have a look already."""
    if isinstance(source, SequenceSource) or options.color_space.lower() == "auto":
        return None
    look = ClipLook(options.color_space, options.ocio, options.exposure)
    if look.space.kind == "display":
        return None
    source.notes.append(f"{look.space.name}: the network sees it in sRGB; outputs keep the clip's own values")
    return look


def takes_plates(path: str, source: Recorded) -> bool:
    """True where ``path`` names files as film tools take them: EXR and DPX always, TIFF and PNG of sequences."""
    suffix = Path(path).suffix.lower()
    return suffix in FILM or (isinstance(source, SequenceSource) and suffix in (".tif", ".tiff", ".png"))


def compositor_for(
    source: Recorded, sinks: Sequence[TrackSink], background: Background | None, options: VideoOptions
) -> Callable[[Frame, Matte], Sequence[Frame]]:
    """What draws the pictures of ``sinks``, in their order."""
    decontaminate, alpha = options.composite.decontaminate, options.composite.alpha
    if isinstance(source, SequenceSource):
        contents = [(sink.content, isinstance(sink, SequenceSink)) for sink in sinks]
        return PlateCompositor(contents, background, decontaminate=decontaminate, alpha=alpha, controls=options.controls)
    if any(isinstance(sink, SequenceSink) for sink in sinks):
        alpha = "straight"  # the sink multiplies, in light
    return Compositor([sink.content for sink in sinks], background, decontaminate=decontaminate, alpha=alpha, controls=options.controls)


def wants_alpha(target: str, composite: CompositeOptions, codec: str | None) -> bool:
    """True where the output is to be transparent: asked for, or the default of such a file."""
    if composite.background is None:
        return can_carry_alpha(target, codec)
    return composite.background.strip().lower() == "transparent"


def open_scene(
    spec: BackgroundSpec | None, composite: CompositeOptions, info: StreamInfo, undo: ExitStack
) -> Background | None:
    """The background for frames such as ``info`` describes; None where the output is transparent."""
    if spec is None:
        return None
    background = open_background(spec, composite.fit, info.sample_aspect_ratio)
    undo.callback(background.close)
    return background


def open_network(model: ModelFiles, size: tuple[int, int], rotation: int, options: MattingOptions, *, batch: int = 1) -> Engine:
    """The engine that runs ``model`` for frames of ``size`` (height, width), stored ``rotation`` quarter turns from upright, up to ``batch`` at once."""
    return answer_of(lambda: _open_network(model, size if rotation % 2 == 0 else size[::-1], options, batch), "streammat-network")


def _open_network(model: ModelFiles, size: tuple[int, int], options: MattingOptions, batch: int) -> Engine:
    """The same for upright frames, in the thread that calls."""
    engines: list[Engine] = []
    with ExitStack() as undo:
        for wanted in network_sizes(*size, options.quality, model.areas):
            engines.append(open_engine(model, options.engine, options.precision, wanted, options.threads, device=options.device, batch=batch))
            undo.callback(engines[-1].close)
        undo.pop_all()
    return engines[0] if len(engines) == 1 else several_sizes(engines)


def at_once(model: ModelFiles, size: tuple[int, int], rotation: int, options: MattingOptions) -> int:
    """How many frames of a file ``open_network``'s engine had best work on together.

    Torch takes any number up to one; a TensorRT engine is built for one number, by default one; a CPU gains nothing.
    """
    height, width = size if rotation % 2 == 0 else size[::-1]
    largest = network_sizes(height, width, options.quality, model.areas)[0]
    return BATCH if choose(model, options.engine, options.precision, options.device, largest).backend == "cuda" else 1


def open_sink(
    path: str, info: StreamInfo, content: Content, encode: EncodeOptions, *, tracks: bool, alpha: AlphaType
) -> TrackSink:
    """The sink that ``path`` calls for."""
    if is_still(path):
        return StillsSink(path, content, overwrite=encode.overwrite, alpha=alpha, numbers=info.numbers)
    return FileSink(path, info, content, encode, tracks=tracks)


def check_still(path: str, content: Content) -> None:
    """Refuse stills that cannot show ``content``.

    Raises:
        UsageError: alpha is wanted and the format has none.
    """
    suffix = Path(path).suffix.lower()
    if content == "transparent" and suffix not in (*STILLS_WITH_ALPHA, *FILM):
        raise UsageError(f"{path}: {suffix} cannot carry alpha; use {', '.join(STILLS_WITH_ALPHA)}, or give a background with --bg")


def check_targets(sources: list[str], targets: list[str], encode: EncodeOptions, *, made: bool = False) -> None:
    """Refuse outputs that would destroy something.

    Raises:
        UsageError: two outputs are one file, an output is a source, or it is there already and ``overwrite`` is off.
    """
    read = {_file(Path(source)): source for source in sources if not is_url(source)}
    written: set[Path] = set()
    for target in targets:
        check_writable(target, made=made)
        path = Path(os.path.realpath(target))
        if path in written:
            raise UsageError(f"two outputs have the same name ({target}); give each its own")
        written.add(path)
        if (source := read.get(_file(path))) is not None:
            raise UsageError(f"{source}: is source and target at once; give the output another name")
        if os.path.lexists(path) and not encode.overwrite:
            raise UsageError(f"{target}: is there already; give -y to replace it")


def check_numbered(sources: Sequence[Path], sinks: Sequence[TrackSink], numbers: Sequence[int]) -> None:
    """Refuse numbered outputs that would destroy files of a sequence, or each other: their patterns alone do not tell.

    Raises:
        UsageError: an output is a source, or two outputs have the same names.
    """
    read = {_file(path) for path in sources}
    written: set[object] = set()
    for sink in sinks:
        if not isinstance(sink, SequenceSink | StillsSink):
            continue
        for number in numbers:
            path = sink.path(number)
            if _file(path) in read:
                raise UsageError(f"{path}: is source and target at once; give the output another name")
            if (real := Path(os.path.realpath(path))) in written:
                raise UsageError(f"two outputs have the same name ({path}); give each its own")
            written.add(real)


def _file(path: Path) -> object:
    """What is the same for two names of one file, also where a system takes In.mp4 and in.mp4 for one."""
    try:
        status = path.stat()
    except OSError:  # nothing there
        return Path(os.path.realpath(path))
    return status.st_dev, status.st_ino
