"""Parts shared by all commands: options, errors as one line, signals, progress, reports."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar

import click

from streammat.build_options import choices
from streammat.cli.command import BACKGROUND, ENGINE, INPUT, MATTE, MESSAGES, OUTPUT, option
from streammat.cli.streams import finish
from streammat.cli.values import number_of
from streammat.config import CompositeOptions, MatteControls, MattingOptions, Quality, SequenceOptions, SubjectOptions
from streammat.errors import StreammatError, UsageError, one_line, shortened

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST_SIDE, _MOST_PIXELS = 16384, 8192 * 8192
_MATTING = MattingOptions()
_COMPOSITE = CompositeOptions()
_CONTROLS = MatteControls()
_SEQUENCE = SequenceOptions()
_SUBJECTS = SubjectOptions()


def matting_options(command: F, quality: Quality = _MATTING.quality, *, several: bool = False) -> F:
    """Add --model, --engine, --device, --precision, --quality with its default, --threads. With ``several`` --engine and
    --precision take ``all`` too and may be repeated; their defaults are the command's.
    """

    def with_all(name: str) -> tuple[str, ...]:
        auto, *rest = choices(MattingOptions, name)
        return (auto, "all", *rest) if several else (auto, *rest)

    for add in (
        option("--model", group=MATTE, default=_MATTING.model, show_default=True, metavar="NAME|FILE",
                     help="The model: a name from `streammat model list`, weights (.pth, .safetensors) or an .onnx file."),
        option("--threads", group=ENGINE, type=number_of(MattingOptions, "threads"), default=_MATTING.threads, help="Threads of the network; 0: all cores."),
        option("--quality", group=MATTE, type=click.Choice(choices(MattingOptions, "quality")), default=quality, show_default=True,
                     help="Size of the network's input; best sees the subject at a small size and its edges at a larger one."),
        option("--precision", group=ENGINE, type=click.Choice(with_all("precision")), default=None if several else _MATTING.precision,
                     multiple=several, show_default="auto; with --engine all: all" if several else True, help="Precision of the network."),
        option("--device", group=ENGINE, default=_MATTING.device, show_default=True, metavar="WHERE",
                     help="Device: cpu, cuda, cuda:1, or a provider of ONNX Runtime: tensorrt, directml, coreml."),
        option("--engine", group=ENGINE, type=click.Choice(with_all("engine")),
                     default=None if several else _MATTING.engine, multiple=several, show_default="auto" if several else True,
                     help="Engine that runs the network; `streammat engines` lists those of this machine."),
    ):
        command = add(command)
    return command


def control_options(command: F) -> F:
    """Add --clip-black, --clip-white, --grow, --feather, --despeckle, --despill."""
    for add in (
        option("--despill", group=MATTE, metavar="COLOUR[:0..100]",
               help="Remove a colour from the subject: green, #00b140:50, or auto for the background's."),
        option("--despeckle", group=MATTE, type=number_of(MatteControls, "despeckle"), default=_CONTROLS.despeckle, metavar="PIXELS",
               help="Remove spots and fill holes with fewer pixels."),
        option("--feather", group=MATTE, type=number_of(MatteControls, "feather"), default=_CONTROLS.feather, metavar="PIXELS", help="Blur the matte (Gaussian sigma)."),
        option("--grow", group=MATTE, type=number_of(MatteControls, "grow"), default=_CONTROLS.grow, metavar="PIXELS",
               help="Grow the matte, or shrink it if negative."),
        option("--clip-white", group=MATTE, type=number_of(MatteControls, "clip_white"), default=_CONTROLS.clip_white, metavar="0..1", help="Alpha from this value becomes 1."),
        option("--clip-black", group=MATTE, type=number_of(MatteControls, "clip_black"), default=_CONTROLS.clip_black, metavar="0..1",
               help="Alpha up to this value becomes 0; values in between are stretched."),
    ):
        command = add(command)
    return command


def subject_options(command: F, masks: str = "An image") -> F:
    """Add --include, --exclude, --subject; ``masks`` says what the first two take."""
    for add in (
        option("--subject", group=MATTE, metavar="all|largest|X,Y", default=_SUBJECTS.subject, show_default=True,
               help="Keep one subject of several: the largest, or the one at a point, in pixels of the first frame."),
        option("--exclude", group=MATTE, metavar="MASK", help="Mask, an image or a sequence, of what never belongs to the subject."),
        option("--include", group=MATTE, metavar="MASK", help=f"{masks} of what always belongs to the subject."),
    ):
        command = add(command)
    return command


def sequence_options(command: F) -> F:
    """Add --fps, --missing, --layer, --color-space, --ocio, --exposure, --compression, --exr-layers, --depth, --no-verify."""
    for add in (
        option("--no-verify", "verify", group=OUTPUT, is_flag=True, flag_value=False, default=True, help="Do not read written EXR, DPX, TIFF and PNG files back."),
        option("--depth", group=OUTPUT, type=click.Choice(choices(SequenceOptions, "depth")), default=_SEQUENCE.depth,
               help="Bit depth of EXR, DPX, TIFF and PNG.  [default: half in EXR, 10 in DPX without alpha, else 16]"),
        option("--exr-layers", group=OUTPUT, metavar="NAMES",
               help="Layers beside the base layer of the first EXR output, with commas: matte, confidence, foreground."),
        option("--compression", group=OUTPUT, type=click.Choice(choices(SequenceOptions, "compression")),
               default=_SEQUENCE.compression, show_default=True, help="Compression of EXR."),
        option("--exposure", group=INPUT, type=number_of(SequenceOptions, "exposure"), metavar="STOPS",
               help="Exposure of linear and log images for the network.  [default: from the first image]"),
        option("--ocio", group=INPUT, metavar="FILE", help="OpenColorIO config.  [default: its built-in studio config]"),
        option("--color-space", group=INPUT, default=_SEQUENCE.color_space, show_default=True, metavar="NAME",
               help="Colour space of IN: linear, acescg, acescct, logc3, logc4, slog3, rec709, srgb, a name of the config, or auto."),
        option("--layer", group=INPUT, metavar="NAME", help="Layer of EXR files.  [default: colours without a layer's name]"),
        option("--missing", group=INPUT, type=click.Choice(choices(SequenceOptions, "missing")), default=_SEQUENCE.missing, show_default=True,
               help="Missing frames of a sequence: refuse them, skip them, or hold the image before."),
        option("--fps", group=INPUT, type=number_of(SequenceOptions, "fps"), metavar="RATE", help="Frame rate of a sequence.  [default: from the files, else 24]"),
    ):
        command = add(command)
    return command


def composite_options(command: F) -> F:
    """Add --bg, --fit, --alpha, --no-decontaminate."""
    for add in (
        option("--no-decontaminate", group=BACKGROUND, is_flag=True, help="Keep the old background's colour in soft edges."),
        option("--alpha", group=OUTPUT, type=click.Choice(choices(CompositeOptions, "alpha")), default=_COMPOSITE.alpha, show_default=True,
                     help="Kind of colour in transparent outputs."),
        option("--fit", group=BACKGROUND, type=click.Choice(choices(CompositeOptions, "fit")), default=_COMPOSITE.fit, show_default=True,
                     help="How a background of another aspect ratio fills the frame."),
        option("--bg", "background", group=BACKGROUND, metavar="WHAT",
                     help="An image, a clip, blur[:0..100], a colour (green, #00b140, r,g,b) or transparent. "
                     "[default: transparent where the output can carry it, else green]"),
    ):
        command = add(command)
    return command


def output_options(command: F) -> F:
    """Add -y, --quiet, --json."""
    for add in (
        option("--json", "as_json", group=MESSAGES, is_flag=True, help="Print one JSON report on stdout."),
        option("--quiet", "-q", group=MESSAGES, is_flag=True, help="Print errors and warnings only."),
        option("-y", "--overwrite", group=OUTPUT, is_flag=True, help="Replace existing outputs."),
    ):
        command = add(command)
    return command


def parse_size(option: str, text: str) -> tuple[int, int]:
    """Return (height, width) of a size such as ``1280x720``; ``option`` is its option's name.

    Raises:
        UsageError: it is not a size, or larger than any frame.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", text)
    if match is None:
        raise UsageError(f"{option} {shortened(text)}: expected WIDTHxHEIGHT, such as 1920x1080")
    height, width = int(match[2]), int(match[1])
    if max(width, height) > _LONGEST_SIDE or width * height > _MOST_PIXELS:
        raise UsageError(f"{option} {text}: expected at most {_LONGEST_SIDE} a side and {_MOST_PIXELS // 10**6} million pixels, such as 3840x2160")
    return height, width


class _Notes(logging.Handler):
    """Prints log records of libraries as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {' '.join(record.getMessage().split())}", err=True)


@contextmanager
def notes(*, quiet: bool) -> Iterator[None]:
    """Show the log messages of our packages: warnings always, the rest unless ``quiet``."""
    handler = _Notes(logging.WARNING if quiet else logging.INFO)
    loggers = [logging.getLogger(name) for name in ("streammat",)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(handler.level)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.removeHandler(handler)


@contextmanager
def one_line_errors(as_json: bool = False, *, quiet: bool = False) -> Iterator[None]:
    """Turn every expected error into one line and an exit code; a bug keeps its traceback.

    Log messages are shown, too: see ``notes``.
    """
    try:
        with notes(quiet=quiet):
            yield
    except StreammatError as error:
        message = one_line(error)
        if as_json:
            click.echo(json.dumps({"error": message}))
        click.echo(f"streammat: error: {message}", err=True)
        leave(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:  # before ``Interrupt`` was there
        sys.exit(130)
    except MemoryError:
        click.echo("streammat: error: out of memory; try --quality fast or a smaller video", err=True)
        sys.exit(1)


_STAGES = ("streammat-capture", "streammat-matte", "streammat-composite", "streammat-network", "streammat-open", "streammat-input", "streammat-out-")


def leave(code: int) -> NoReturn:
    """End the process with ``code``; at once if a run has left a thread behind in a driver, in the network, or in an input that does not answer.

    Python would stop that thread inside the library's C++ code, which then aborts the process.
    """
    if any(thread.name.startswith(_STAGES) for thread in threading.enumerate()):
        finish()
        os._exit(code)
    sys.exit(code)


HANGUP = getattr(signal, "SIGHUP", None)
"""The terminal was closed; Windows has no such signal."""


class Interrupt:
    """Ctrl-C, SIGTERM and a terminal that is closed end a run cleanly; a second Ctrl-C or SIGTERM ends it at once.

    A context manager around a whole command. Before ``stops`` is called a signal raises an exception, which closes everything
    that was opened; afterwards it calls the function passed to ``stops``. ``exit_code`` is 130, 143 or 129 after a signal, else
    0.

    A signal that was ignored at the start stays ignored: shells do that for jobs in the background.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._leave: Callable[[], None] | None = None
        self.exit_code = 0
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        for number in (signal.SIGINT, signal.SIGTERM, HANGUP):
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._caught)
            except ValueError:
                break  # not the main thread: whoever runs us there handles signals
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # After a signal the command is at its end: one that comes now, or while Python shuts down, must not change the exit
            # code.
            signal.signal(number, signal.SIG_IGN if self.exit_code else handler)
        if self.exit_code and self._stop is None:
            # What a library makes of the interruption is no error to tell; and one that swallows it, as code called back
            # from C may, must not turn it into success.
            leave(self.exit_code)

    def stops(self, stop: Callable[[], None]) -> None:
        """Let signals call ``stop`` from now on."""
        self._stop = stop

    def leaves(self, leave: Callable[[], None]) -> None:
        """Let a second signal call ``leave`` before it ends the process, to clean up; it must return quickly."""
        self._leave = leave

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if number == HANGUP:
            self._leave_terminal()
            if self.exit_code:
                return  # the system and the shell both tell of it, which is no haste
        if self.exit_code:
            if self._leave is not None:
                self._leave()
            os._exit(self.exit_code)
        self.exit_code = 128 + number
        if self._stop is None:
            sys.exit(self.exit_code)
        self._stop()

    def _leave_terminal(self) -> None:
        """Send further output to the null device, because writes to a closed terminal fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
        self._terminals.clear()


class Progress:
    """Progress display: a bar on a terminal, a line from time to time elsewhere, nothing when ``quiet``; with ``events`` JSON
    lines on stdout.
    """

    _EVERY_SECONDS = 5.0

    def __init__(self, total: int, *, quiet: bool, events: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._events = events
        self._begin = self._last_shown = time.monotonic()
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total or None, unit="frame", dynamic_ncols=True, file=sys.stderr)

    def __call__(self, done: int) -> None:
        """Show that ``done`` frames have been written."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._events and now - self._last_shown >= 1.0:
            self._last_shown = now
            click.echo(json.dumps({"event": "progress", "frames": done, "expected": self._total}))
        if self._quiet or now - self._last_shown < self._EVERY_SECONDS:
            return
        self._last_shown = now
        fps = done / (now - self._begin)
        left = f", {(self._total - done) / fps:.0f} s left" if self._total > done and fps > 0 else ""
        total = f"/{self._total}" if self._total else ""
        click.echo(f"{done}{total} frames, {fps:.1f} fps{left}", err=True)

    def close(self) -> None:
        """End the line on the terminal."""
        if self._bar is not None:
            self._bar.close()
