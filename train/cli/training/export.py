"""``python -m train export``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.train.cli.common import DATA, FILE, FOLDER, print_parity


@click.command()
@click.argument("weights", type=FILE)
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--data", type=DATA, help="Data folder, as for train; with --cache, for an int8 file, too.")
@click.option("--cache", type=FOLDER, help="Mattes; int8 is calibrated on what they make.")
def command(weights: Path, out: Path, data: Path | None, cache: Path | None) -> None:
    """Write the ONNX file of WEIGHTS, published or trained, of GFM or another method, and check that it agrees with torch.

    With --data and --cache follow the project's own recipe: half-precision weights, fp32 and int8, checked on every backend.
    """
    if (data is None) != (cache is None):
        raise click.UsageError("--data and --cache must be given together; int8 is calibrated on both")
    from streammat.train.methods.base import Method
    from streammat.train.methods.export import export_method
    from streammat.train.methods.weights import load_weights

    network = load_weights(weights)
    if isinstance(network, Method):
        if data is not None:
            raise click.UsageError(f"{weights} is of method {network.NAME}; int8, and so --data and --cache, are for networks of GFM")
        out.mkdir(parents=True, exist_ok=True)
        target = out / f"{weights.stem}.onnx"
        differs = export_method(network, target)
        use = "python -m train evaluate GFM --trimap-from-glance --matter" if network.NEEDS_TRIMAP else "streammat image IN OUT --model"
        click.echo(f"{target}: alpha differs from torch by {differs:.1e} at most; run it by `{use} {target}`")
        return
    if data is not None and cache is not None:
        from streammat.train.lite.recipe import export_lite

        print_parity(out, export_lite(network, out, data, cache), data, cache)
        return
    from streammat.engines.export.onnx import export_onnx, measure_parity
    from streammat.engines.model_files import ModelFiles

    out.mkdir(parents=True, exist_ok=True)
    files = ModelFiles(weights.stem, out / f"{weights.stem}.fp32.onnx")
    export_onnx(network, files.fp32)
    parity = measure_parity(network, files)
    click.echo(f"{files.fp32}: alpha differs from torch by {parity.largest:.1e} at most, {parity.mean:.1e} on average")
