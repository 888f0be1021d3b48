"""``streammat engine``: TensorRT engines, built once for one machine, model and size."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from streammat.build_options import choices
from streammat.cli.common import Interrupt, one_line_errors, parse_size
from streammat.config import MattingOptions
from streammat.engines.usage import Whole
from streammat.errors import UsageError

if TYPE_CHECKING:
    from streammat.engines.tensorrt.cache import Cached


@click.group()
def engine() -> None:
    """Build, list and remove TensorRT engines; `--engine tensorrt` of the other commands runs them."""


@engine.command()
@click.option("--model", default="lite", show_default=True, metavar="NAME|FILE", help="The model, as --model of the other commands, with weights.")
@click.option("--size", "sizes", metavar="WxH", multiple=True, help="Size of upright frames, such as 1920x1080; may be given several times.")
@click.option("--network-size", "inputs", metavar="WxH", multiple=True, help="Size of the network's input, instead of --size and --quality.")
@click.option("--quality", type=click.Choice(choices(MattingOptions, "quality")), default="balanced", show_default=True,
              help="With --size: size of the network's input, as in the other commands; best may be two.")
@click.option("--batch", type=Whole(1, 256), default=1, show_default=True, help="Batch size; files and cameras use 1.")
@click.option("--device", default="cuda:0", show_default=True, metavar="WHERE", help="Which GPU: cuda:0, cuda:1.")
@click.option("--workspace", type=Whole(0, 2**20), default=0, metavar="MB", help="Memory that a layer may use; 0: unlimited.")
@click.option("--optimization-level", type=Whole(0, 5), default=3, show_default=True, help="Effort in the search for kernels.")
@click.option("--hardware-compatible", is_flag=True, help="Build for every GPU since Ampere, at some loss of speed.")
@click.option("--picture", "pictures", multiple=True, metavar="FILE", help="A further photograph for the comparison with torch.")
@click.option("--force", is_flag=True, help="Build it even if it exists.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors and the result only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON report on stdout.")
def build(
    model: str, sizes: tuple[str, ...], inputs: tuple[str, ...], quality: Any, batch: int, device: str, workspace: int,
    optimization_level: int, hardware_compatible: bool, pictures: tuple[str, ...], force: bool, quiet: bool, as_json: bool,
) -> None:
    """Build a half-precision engine of a model for frames of one size, and compare it with torch in float32.

    \b
    streammat engine build --size 1920x1080
    streammat engine build --model r34 --size 1280x720 --size 1920x1080 --picture me.jpg

    The engine is kept in STREAMMAT_CACHE or the user's cache folder, and runs with this GPU, driver and TensorRT only. Needs `pip
    install "streammat[tensorrt]"` and takes minutes.
    """  # noqa: D301 - click wants the character, not two
    with one_line_errors(as_json, quiet=quiet), Interrupt():
        if not sizes and not inputs:
            raise UsageError("--size is missing; give the size of the frames, such as --size 1920x1080")
        from streammat.engines.registry import check_device, kind_of, numbered
        from streammat.engines.tensorrt.cache import BuildOptions
        from streammat.matting.matting import network_sizes
        from streammat.models.library import find_model
        from streammat.models.photographs import photographs

        files = find_model(model)
        wanted = [size for text in sizes for size in network_sizes(*_size("--size", text, 64, 1), quality, files.areas)]
        wanted += [_size("--network-size", text, 32, 32) for text in inputs]
        check_device(device)
        if kind_of(device) != "cuda":
            raise UsageError(f"--device {device}: TensorRT engines are built for NVIDIA GPUs; expected cuda:0, cuda:1")
        options = BuildOptions(workspace * 2**20, optimization_level, hardware_compatible)
        rows = []
        for size in dict.fromkeys(wanted):
            from streammat.engines.tensorrt.build import build_engine

            shown = _Phases(quiet=quiet or as_json)
            try:
                entry, fresh = build_engine(
                    files, size, batch, device=numbered(device), options=options, images=photographs(pictures, size), force=force, progress=shown
                )
            finally:
                shown.close()
            rows.append(_row(entry) | {"built": fresh})
            if not as_json:
                click.echo(f"{'built' if fresh else 'is there already:'} {_line(entry)}")
    if as_json:
        click.echo(json.dumps(rows))


@engine.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(as_json: bool) -> None:
    """List the engines that were built, newest first."""
    with one_line_errors(as_json):
        from streammat.engines.tensorrt.cache import EngineCache

        entries = EngineCache().entries()
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in entries]))
        return
    for entry in entries:
        click.echo(_line(entry))


@engine.command()
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Delete the engines NAMES."""
    with one_line_errors():
        from streammat.engines.tensorrt.cache import EngineCache

        for name in names:
            EngineCache().remove(name)
            click.echo(f"removed {name}", err=True)


class _Phases:
    """Shows the builder's phases: one line that is rewritten on a terminal, a line from time to time elsewhere."""

    _EVERY_SECONDS = 10.0

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._begin = self._last_shown = time.monotonic()
        self._wrote = False

    def __call__(self, phase: str, done: float) -> None:
        now = time.monotonic()
        if self._quiet or now - self._last_shown < (0.1 if self._terminal else self._EVERY_SECONDS):
            return
        self._last_shown = now
        text = f"{now - self._begin:4.0f} s  {phase[:60]} {done:.0%}"
        click.echo(f"\r{text:<79}" if self._terminal else text, err=True, nl=not self._terminal)
        self._wrote = True

    def close(self) -> None:
        """End the line on the terminal."""
        if self._wrote and self._terminal:
            click.echo(err=True)


def _size(option: str, text: str, least: int, step: int) -> tuple[int, int]:
    sides = parse_size(option, text)
    if any(side < least or side % step for side in sides):
        multiples = f", multiples of {step}" if step > 1 else ""
        raise UsageError(f"{option} {text!r}: expected WIDTHxHEIGHT of at least {least}x{least}{multiples}, such as {'512x288' if step > 1 else '1920x1080'}")
    return sides


def _row(entry: Cached) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": entry.name, "file": str(entry.plan), "bytes": entry.size, "created": entry.created, "key": asdict(entry.key), "details": dict(entry.details),
    }


def _line(entry: Cached) -> str:
    from streammat.engines.tensorrt.cache import age

    height, width = entry.key.size
    made = age(max(0.0, time.time() - entry.created))
    parity = entry.details.get("parity")
    differs = f", alpha differs from float32 by {parity['largest']:.1e} at most, {parity['mean']:.1e} on average" if parity else ""
    return f"{entry.name}  {width}x{height}, batch {entry.key.batch}, {entry.key.precision}, {entry.size / 1e6:.1f} MB, {entry.key.gpu}, {made} old{differs}"
