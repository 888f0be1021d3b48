"""``python -m train average``."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.common import FILE
from train.errors import RunError


@click.command()
@click.argument("weights", type=FILE, nargs=-1, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Receives the mean, as .safetensors.")
def command(weights: tuple[Path, ...], out: Path) -> None:
    """Average WEIGHTS (.safetensors) of one network: stages of one run that each do something better (Wortsman et al. 2022)."""
    from engines.checkpoint import load_network, save_network

    first, *others = [load_network(path) for path in weights]
    kind = (first.network, first.rosta, first.ablation)
    for path, network in zip(weights[1:], others, strict=True):
        if (network.network, network.rosta, network.ablation) != kind:
            raise RunError(
                f"{path} holds {network.network} {network.rosta}, {weights[0]} holds {first.network} {first.rosta}; "
                "only weights of the same network can be averaged"
            )
    total = first.state_dict()
    for network in others:
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                total[key] += value
    for value in total.values():
        if value.is_floating_point():
            value.div_(len(weights))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_network(first, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}; give another --out") from error
    click.echo(f"average: wrote {out}")
