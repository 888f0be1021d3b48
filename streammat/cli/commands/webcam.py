"""``streammat webcam``: a camera in, a virtual camera, a recording, a stream or a window out."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import click

from streammat.build_options import build, choices
from streammat.cli.command import BACKGROUND, INPUT, MATTE, MESSAGES, OUTPUT, GroupedCommand, option
from streammat.cli.common import Interrupt, control_options, leave, matting_options, one_line_errors, parse_size, subject_options
from streammat.cli.options import CONFIG, config_file
from streammat.cli.values import Time, number_of
from streammat.config import WEB_ADDRESS, CompositeOptions, LiveOptions
from streammat.errors import UsageError, first_line
from streammat.threads.patient_stream import PatientWriter
from streammat.timecode import Moment

if TYPE_CHECKING:
    from streammat.events import Event, Status
    from streammat.jobs.live import LiveRun
    from streammat.stats import LiveReport

_LIVE = LiveOptions()


@click.command(cls=GroupedCommand)
@config_file
@option("--bg", "backgrounds", group=BACKGROUND, multiple=True, metavar="WHAT", default=_LIVE.backgrounds, show_default=True,
              help="An image, a clip, blur[:0..100] or a colour (green, #00b140, r,g,b). Give several to switch between them.")
@option("--camera", group=INPUT, metavar="WHAT", default=_LIVE.camera, show_default=True,
              help="A number, /dev/videoN, a part of a camera's name, a video file, or an rtsp:// or http:// address.")
@option("--size", group=INPUT, metavar="WxH", help="Size that the camera must deliver.  [default: ask for 1280x720]")
@option("--fps", group=INPUT, type=number_of(LiveOptions, "fps"), default=_LIVE.fps, show_default=True, help="Frames per second to ask the camera for.")
@option("--to", "outputs", group=OUTPUT, multiple=True, metavar="WHERE", default=_LIVE.outputs, show_default=True,
              help="camera[:DEVICE], /dev/videoN, a file such as rec.mkv, rtmp:// or rtsp://, alpha[:PORT] (with alpha, for OBS), preview, null; may be repeated.")
@option("--recordings", group=OUTPUT, metavar="FOLDER", default=_LIVE.recordings, show_default=True,
              help="Where recordings are made that are started during the run, by the page or the command record.")
@option("--microphone", group=INPUT, metavar="WHAT", is_flag=False, flag_value="default",
              help="Sound for recordings and streams: default, a number or a part of a name (see streammat devices), or file: the sound of a file "
              "given as the camera. Without a value: default.")
@option("--monitor", group=OUTPUT, metavar="WHAT",
              help="Also play it on this output device, delayed like the image: for instance on a virtual cable that a meeting uses as its microphone.")
@option("--sound-delay", group=OUTPUT, type=number_of(LiveOptions, "sound_delay"), metavar="MS", default=_LIVE.sound_delay, show_default=True,
              help="Further delay of sound: the time that the camera takes before its image arrives.")
@option("--loop", group=INPUT, is_flag=True, help="Restart a file at its end.")
@option("--mirror", group=INPUT, is_flag=True, help="Mirror the image.")
@option("--fit", group=BACKGROUND, type=click.Choice(choices(CompositeOptions, "fit")), default=_LIVE.composite.fit, show_default=True,
              help="How a background of another aspect ratio fills the frame.")
@option("--no-decontaminate", group=BACKGROUND, is_flag=True, help="Keep the old background's colour in soft edges.")
@option("--stable/--no-stable", group=MATTE, default=_LIVE.matting.stable, show_default=True, help="Steady the matte: average it where the image stands still, carry it along where it moves.")
@option("--rest/--no-rest", group=MATTE, default=_LIVE.rest, show_default=True, help="Let the network rest while nothing moves, for 0.4 s at most.")
@option("--fixed", group=MATTE, is_flag=True, help="Never lower the quality to hold the frame rate.")
@option("--bitrate", group=OUTPUT, type=number_of(LiveOptions, "bitrate"), default=_LIVE.bitrate, show_default=True, help="Bit rate of streams in kbit/s.")
@option("--control", group=MESSAGES, metavar="PATH", help="Take JSON commands from a unix socket made at PATH, or from stdin (-).")
@option("--web", group=MESSAGES, metavar="HOST:PORT", is_flag=False, flag_value=WEB_ADDRESS,
              help=f"Serve a control page for browsers, phones and OBS docks, and print its link. Without a value: {WEB_ADDRESS}.")
@option("--web-allow", group=MESSAGES, multiple=True, metavar="NAME",
              help="Let other machines reach the page, which is not encrypted, by this name or address of this machine; may be repeated.")
@option("--duration", group=INPUT, type=Time(timecode=False, zero=False), metavar="TIME", help="End after this time: seconds or [h:]m:s.")
@control_options
@subject_options
@matting_options
@option("-y", "--overwrite", group=OUTPUT, is_flag=True, help="Replace existing recordings.")
@option("--quiet", "-q", group=MESSAGES, is_flag=True, help="Print errors only.")
@option("--json", "as_json", group=MESSAGES, is_flag=True, help="Print events as JSON lines on stdout.")
@option("--log", group=MESSAGES, metavar="FILE", help="Also write the events as JSON lines to a file.")
def webcam(*, size: str | None, duration: Moment | None, control: str | None, quiet: bool, as_json: bool, log: str | None, **values: Any) -> None:
    """Put another background behind you, live, and show the result as a camera.

    \b
    streammat webcam --bg beach.jpg                        (pick the camera "streammat" in your meeting)
    streammat webcam --bg blur --bg beach.jpg --to camera --to rec.mkv
    streammat webcam --camera talk.mp4 --loop --to rtmp://live.example.com/app/key
    """  # noqa: D301 - click wants the character, not two
    with one_line_errors(as_json):
        values["size"] = None if size is None else parse_size("--size", size)
        values["duration"] = None if duration is None else float(duration.seconds)
        config = click.get_current_context().meta.get(CONFIG)
        options = build(LiveOptions, {**values, "control": control, "config": config})
        with _Teller(as_json=as_json, quiet=quiet, log=log) as teller, Interrupt() as interrupt:
            from streammat.jobs.live import LiveRun
            from streammat.live.control.listeners import KEYS_HELP, KeyListener, has_keys

            stdin = sys.stdin.buffer if control == "-" else None
            job = LiveRun(options, teller.emit, stdin)
            interrupt.stops(job.stop)
            if control != "-" and not quiet and has_keys(sys.stdin):
                keys = KeyListener(sys.stdin.buffer, job.keys)
                job.listen(keys)
                interrupt.leaves(keys.restore)
                teller.say(KEYS_HELP)
            _started(job, teller)
            if job.page is not None:
                teller.show_link(job.page.link(), shared=bool(options.web_allow))
            report = job.run()
            _ended(job, report, teller)
    failed = [output.error for output in report.outputs if output.error is not None]
    for error in failed:
        click.echo(f"streammat: error: {error}", err=True)
    leave(interrupt.exit_code or int(bool(failed)))


class _Teller:
    """Prints events: JSON lines, or lines for people and one status line that is rewritten."""

    def __init__(self, *, as_json: bool, quiet: bool, log: str | None) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()
        self._on_line = False
        self._next_plain = 0.0
        self._log: PatientWriter | None = None
        self._log_name = log
        if log is not None:
            try:
                self._log_file = open(log, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__
                self._log = PatientWriter(self._log_file, name="streammat-log")
            except OSError as error:
                raise UsageError(f"--log {log}: cannot be written ({first_line(error)}); give another path") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_log()
        if self._on_line:
            click.echo("", err=True)

    def emit(self, event: Event) -> None:
        """Print one event; from any thread."""
        from streammat.events import json_of

        with self._lock:
            line = json.dumps(json_of(event, time.time()))
            self._write_log(line)
            if self._as_json:
                click.echo(line)
            elif not self._quiet:
                self._show(event)

    def _write_log(self, line: str) -> None:
        """Write to the log; an error ends the log, not the run, and a disk that hangs delays nothing."""
        if self._log is None:
            return
        if self._log.failure is not None:
            if not self._quiet:
                self._print(f"note: --log {self._log_name}: cannot be written any more ({first_line(self._log.failure)})")
            self._close_log()
            return
        self._log.write(f"{line}\n".encode())

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            done = log.drain(1.0)
            log.end()
            if done:
                self._log_file.close()

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not (self._quiet or self._as_json):
            with self._lock:
                self._print(text)

    def show_link(self, link: str, *, shared: bool) -> None:
        """Print the control page's link. It is never logged: whoever opens it first is let in."""
        from streammat.events import Page, json_of

        with self._lock:
            if self._as_json:
                click.echo(json.dumps(json_of(Page(link), time.time())))
            else:
                self._print(f"control page, for the first browser that opens it: {link}")
                if shared:
                    self._print("note: the page can be reached from other machines, unencrypted: who listens there can take over your camera's output")

    def _show(self, event: Event) -> None:
        from streammat.events import Ended, Said, Started, Status

        if isinstance(event, Status):
            self._status(event)
        elif not isinstance(event, Started | Ended):
            name = "" if isinstance(event, Said) else f"{event.event}: "
            details = event.details()
            self._print(name + str(details.get("message") or details.get("name") or details))

    def _status(self, now: Status) -> None:
        if not self._terminal:
            if time.monotonic() < self._next_plain:
                return
            self._next_plain = time.monotonic() + 10.0
        width, height = now.network
        lost = sum(now.outputs_dropped.values())
        text = (
            f"{now.fps:5.1f} fps  latency {now.latency_p50_ms:.0f}/{now.latency_p99_ms:.0f} ms (p50/p99)  "
            f"dropped {now.dropped}+{lost}  {now.engine} {now.precision} {width}x{height}  bg {now.background}"
            f"{f'  rests {now.rested_percent} %' if now.rested_percent else ''}"
            f"{_sound(now)}{'  PAUSED' if now.paused else ''}{'  THE ROOM IS SHOWN' if now.pass_through else ''}"
        )
        if self._terminal:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
            self._on_line = True
        else:
            click.echo(text, err=True)

    def _print(self, text: str) -> None:
        click.echo(("\r\x1b[K" if self._on_line else "") + text, err=True)
        self._on_line = False


def _started(job: LiveRun, teller: _Teller) -> None:
    from streammat.events import Started

    height, width = job.info.size
    rate = float(job.info.rate)
    job.emit(Started(job.camera, (width, height), rate, job.engine, tuple(job.outputs)))
    teller.say(f"camera {job.camera}: {width}x{height} at {rate:g} fps, to {', '.join(job.outputs)}")


def _ended(job: LiveRun, report: LiveReport, teller: _Teller) -> None:
    from streammat.events import Ended

    job.emit(Ended(job.engine, report))
    for note in report.notes:
        teller.say(f"note: {note}")
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(report.shown.items())) or "nothing"
    teller.say(f"{report.captured} frames captured, shown: {shown}; {report.dropped} dropped, {report.faults} faults, {report.fps:.1f} fps")
    if (sound := report.sound) is not None:
        teller.say(
            f"sound of {sound.name}: {sound.seconds:.1f} s, {sound.silent_seconds:.1f} s of it silence for want of sound, "
            f"{sound.breaks} breaks, clock {sound.ppm:+.0f} ppm"
        )
    if (monitor := report.monitor) is not None:
        teller.say(f"monitor {monitor.name}: {monitor.delay_ms:.0f} ms late, {monitor.behind_ms:.0f} ms behind the image, waited {monitor.missed} times")
    for output in report.outputs:
        late = output.latency
        teller.say(
            f"{output.name}: {output.written} images, {output.dropped} dropped, latency {late.p50_ms:.0f}/{late.p99_ms:.0f} ms "
            f"(p50/p99), {100 * late.within_33_ms:.0f} % within 33 ms"
        )


def _sound(now: Status) -> str:
    if now.sound is None:
        return ""
    return "  sound off" if now.muted else f"  sound {'none' if now.sound_db is None else f'{now.sound_db:.0f} dB'}"
