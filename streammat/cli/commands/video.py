"""``streammat video``: a file or URL in, a file out."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from streammat.build_options import build
from streammat.cli.command import INPUT, MATTE, MESSAGES, OUTPUT, GroupedCommand, option
from streammat.cli.common import (
    Interrupt,
    Progress,
    composite_options,
    control_options,
    leave,
    matting_options,
    one_line_errors,
    output_options,
    sequence_options,
    subject_options,
)
from streammat.cli.values import Time, number_of
from streammat.config import EncodeOptions, MattingOptions, VideoOptions
from streammat.errors import StreammatError, one_line

if TYPE_CHECKING:
    from streammat.jobs.video import VideoJob
    from streammat.matting.network import Networks
    from streammat.stats import Report


@click.command(cls=GroupedCommand)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="[OUT]", required=False)
@composite_options
@option("--codec", group=OUTPUT, help="h264, hevc, av1, vp9, prores, dnxhr or ffv1.  [default: by the extension of OUT]")
@option("--crf", group=OUTPUT, type=number_of(EncodeOptions, "crf"), help="Constant quality on the encoder's own scale; lower is better.")
@option("--preset", group=OUTPUT, help="The encoder's preset of speed against size.  [default: veryfast or its equivalent]")
@option("--matte", group=OUTPUT, metavar="FILE", help="Also write the alpha as grey.")
@option("--foreground", group=OUTPUT, metavar="FILE", help="Also write the straight foreground colour.")
@option("--report", group=OUTPUT, metavar="FILE.html", help="Also write a page of frames to check, with CSV and JSON beside it.")
@option("--matte-codec", group=OUTPUT, help="Codec of the matte.  [default: ffv1 in .mkv, prores in .mov, else that of OUT]")
@option("--foreground-codec", group=OUTPUT, help="Codec of the foreground.  [default: that of OUT if FILE can hold it]")
@option("--no-audio", group=OUTPUT, is_flag=True, help="Leave out the audio.")
@option("--start", group=INPUT, type=Time(timecode=True, zero=True), default="0", metavar="TIME",
        help="Skip the beginning: seconds, [h:]m:s or a timecode, from the first frame on, such as 90, 1:30 or 0:01:30:12.")
@option("--duration", group=INPUT, type=Time(timecode=True, zero=False), metavar="TIME", help="Length to process, such as 90, 1:30 or 0:01:30:12.")
@option("--frames", group=INPUT, metavar="RANGES", help="Process only these frames: 1001-1100, 1-100x2, 1001,1050-1060. They keep their numbers.")
@option("--start-number", group=INPUT, type=number_of(VideoOptions, "start_number"), default=VideoOptions.start_number, show_default=True, metavar="N",
        help="Number of a clip's first frame; sequences have their own.")
@sequence_options
@partial(subject_options, masks="An image, or a sequence,")
@option("--warm-up", group=INPUT, type=number_of(VideoOptions, "warm_up"), default=VideoOptions.warm_up, metavar="N",
        help="Frames before the first one that are matted but not written, to warm up --stable.")
@option("--stable/--no-stable", group=MATTE, default=MattingOptions.stable, show_default=True,
              help="Steady the matte: average it where the image stands still, carry it along where it moves.")
@option("--deinterlace", group=INPUT, is_flag=True, help="Make progressive frames of an interlaced IN.")
@option("--strict", group=INPUT, is_flag=True, help="Exit with 1 if anything in IN is damaged, although everything that can be decoded is written.")
@option("--events", group=MESSAGES, is_flag=True, help="Like --json, with a line of progress each second before the report.")
@control_options
@matting_options
@output_options
@click.pass_context
def video(context: click.Context, /, source: str, target: str | None, *, strict: bool, quiet: bool, as_json: bool, events: bool, **values: Any) -> None:
    """Cut the subject out of the video IN (a clip or numbered images) and write OUT. OUT may be left out with --matte or
    --foreground.
    If IN is a folder of clips, OUT is a folder that gets each clip under its own name.

    \b
    streammat video in.mp4 out.mp4 --bg beach.jpg
    streammat video in.mp4 out.mov                   (transparent, ProRes 4444)
    streammat video in.mp4 out.mp4 --bg blur --matte alpha.mkv
    streammat video plates.1001-1100#.exr cut.#.exr --color-space acescg
    """  # noqa: D301 - click wants the character, not two
    options = build(VideoOptions, values)
    as_json = as_json or events
    with one_line_errors(as_json, quiet=quiet), Interrupt() as interrupt:
        from streammat.jobs.folder import clips_of

        clips = clips_of(source, target, options)
        worst = 0
        for clip, output in clips or [(source, target)]:
            try:
                damaged = _one(clip, output, options, interrupt, context.obj, quiet=quiet, as_json=as_json, events=events)
            except StreammatError as error:
                if not clips:
                    raise
                click.echo(f"streammat: error: {one_line(error)}", err=True)
                if as_json:
                    click.echo(json.dumps({"source": clip, "error": one_line(error)}))
                worst = 1
                continue
            if strict and damaged:
                click.echo(f"streammat: error: {clip}: is damaged, and --strict was given; the output holds all that can be decoded; get a whole copy", err=True)
                worst = 1
            if interrupt.exit_code:
                break
    leave(interrupt.exit_code or worst)


def _one(
    source: str, target: str | None, options: VideoOptions, interrupt: Interrupt, networks: Networks | None, *, quiet: bool, as_json: bool, events: bool
) -> bool:
    """Process one clip, with an open network of ``networks`` if given, and report on it; returns True if it is damaged."""
    from streammat.jobs.video import VideoJob

    job = VideoJob(source, target, options, networks)
    interrupt.stops(job.pipeline.stop)
    progress = Progress(job.info.frames, quiet=quiet or as_json, events=events)
    try:
        report = job.run(progress)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(_as_dict(job, report)))
    else:
        _tell(job, report, quiet=quiet)
    return bool(report.damage)


def _as_dict(job: VideoJob, report: Report) -> dict[str, Any]:
    return {
        "frames_in": report.frames_in,
        "frames_out": report.frames_out,
        "seconds": round(report.seconds, 3),
        "fps": round(report.fps, 2),
        "stages": report.stages,
        "slowest": report.slowest,
        "engine": asdict(job.engine.spec),
        "outputs": job.written(),
        "notes": list(report.notes),
        "damage": [damage.as_dict() for damage in report.damage],
        "stopped": report.stopped,
    }


def _tell(job: VideoJob, report: Report, *, quiet: bool) -> None:
    for damage in report.damage:
        click.echo(f"warning: {damage}", err=True)
    if quiet:
        return
    spec = job.engine.spec
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    stopped = "stopped early: " if report.stopped else ""
    click.echo(f"{stopped}{report.frames_in} frames in, {report.frames_out} out, {report.fps:.1f} fps end to end", err=True)
    stages = ", ".join(f"{name} {times['p50_ms']:.1f}/{times['p99_ms']:.1f}" for name, times in report.stages.items())
    click.echo(f"ms per frame, p50/p99: {stages}; slowest: {report.slowest}", err=True)
    height, width = spec.size
    where = f"{spec.threads} threads" if spec.threads else spec.device
    click.echo(f"engine: {spec.model}, {spec.backend} {spec.version}, {spec.precision}, {width}x{height}, {where} ({spec.reason})", err=True)
    click.echo(f"wrote {', '.join(job.written()) or 'nothing'}", err=True)
