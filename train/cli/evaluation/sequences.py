"""``python -m train sequences``."""

from __future__ import annotations

from pathlib import Path

import click

from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE


@click.command()
@click.argument("weights", type=FILE, nargs=-1, required=True)
@click.option("--data", type=DATA, required=True, help="Folder of sequences: <sequence>/img with mask or alpha, or as DAVIS has them.")
@click.option("--teachers", type=DATA, default=None, help="Holds rvm.json and rvm.bin, to be measured beside WEIGHTS.")
@click.option("--only", multiple=True, metavar="NAME", help="This sequence; may be given again.  [default: all]")
@click.option("--threads", type=Whole(1), default=2, help="Threads of torch and of RVM.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="File for the table, Markdown.")
@click.option("--show", type=click.Path(file_okay=False, path_type=Path), default=None, help="Folder for a video of each sequence, all networks side by side.")
def command(weights: tuple[Path, ...], data: Path, teachers: Path | None, only: tuple[str, ...], threads: int, out: Path | None, show: Path | None) -> None:
    """Score WEIGHTS (.safetensors or .pth) on sequences of frames: IoU, mean error, dtSSD, jumps of the area, share of frames with the subject."""
    import torch

    from streammat.engines.network.checkpoint import load_checkpoint
    from streammat.train.data.pool import write_whole
    from streammat.train.errors import DataError
    from streammat.train.evaluation.peers import sequences
    from streammat.train.teachers import rvm

    torch.set_num_threads(threads)
    found = sequences.list_sequences(data)
    if missing := [name for name in only if name not in found]:
        raise DataError(f"no sequence {missing[0]} in {data}; it has {', '.join(found)}")
    networks: dict[str, sequences.SequenceMatting] = {}
    for path in weights:
        network = load_checkpoint(path)
        name = f"{path.parent.name}/{path.stem}" if len(weights) > 1 else path.stem
        networks[name] = sequences.our_matting(network, remembers=False)
        if network.memory is not None:
            networks[f"{name}, memory"] = sequences.our_matting(network, remembers=True)
    if teachers is not None:
        networks["RVM"] = lambda frames: rvm_network.clip(list(frames), 1)
        rvm_network = rvm.RobustVideoMatting(teachers / rvm.FILE, threads, "f32")
    scores = sequences.compare(networks, {name: found[name] for name in only or found}, click.echo, show)
    text = sequences.table(scores)
    click.echo(text)
    if out is not None:
        write_whole(out, text.encode())
