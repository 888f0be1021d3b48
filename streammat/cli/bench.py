"""``streammat bench``: what each part costs on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from streammat.cli.common import matting_options, one_line_errors
from streammat.errors import UsageError


@click.command()
@click.argument("clip", required=False)
@click.option("--size", "sizes", multiple=True, metavar="WxH", default=("1280x720", "1920x1080"), show_default=True)
@click.option("--frames", type=click.IntRange(1), default=200, show_default=True, help="Frames per round.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds; medians are shown.")
@click.option("--bg", "background", default="green", show_default=True, help="As in `streammat video`.")
@matting_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def bench(
    clip: str | None, sizes: tuple[str, ...], frames: int, rounds: int, background: str, model: str, engine: Any,
    device: str, precision: Any, quality: Any, threads: int, as_json: bool,
) -> None:
    """Measure decoding, the network, encoding and the whole job in one run, on CLIP or a drawn scene.

    Nothing else should run meanwhile.
    """
    with one_line_errors(as_json):
        wanted = [_size(text) for text in sizes]
        from streammat import bench as library
        from streammat.config import MattingOptions

        results = []
        options = MattingOptions(model, engine, device, precision, quality, threads)
        for result in library.run(clip, wanted, options, frames=frames, rounds=rounds, background=background):
            results.append(asdict(result))
            if not as_json:
                _tell(result)
    if as_json:
        click.echo(json.dumps(results))


def _tell(result: Any) -> None:
    height, width = result.size
    described = result.engine
    network = f"{described['size'][1]}x{described['size'][0]}"
    click.echo(f"{width}x{height}, {described['model']}, {described['backend']} {described['version']} {described['precision']} at {network}, "
               f"{described['threads']} threads, {result.frames} frames")
    for timing in result.timings:
        click.echo(f"  {timing.name:<11} {timing.cpu_ms:8.2f} CPU ms/frame {timing.fps:8.1f} fps")
    click.echo(f"  end to end costs {result.overhead:.2f} times the CPU of decode + network + encode; start-up {result.start_up_s:.2f} s")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) >= 64 and int(height) >= 64):
        raise UsageError(f"--size {text!r}: expected WIDTHxHEIGHT of at least 64x64, such as 1280x720")
    return int(height), int(width)
