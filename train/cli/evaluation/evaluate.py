"""``python -m train evaluate``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streammat.engines.errors import first_line
from streammat.engines.usage import Whole
from streammat.train.cli.common import DATA, FILE, FOLDER, print_scores
from streammat.train.errors import DataError

if TYPE_CHECKING:
    from streammat.engines.network.gfm import GFM
    from streammat.train.data.layouts import Entry
    from streammat.train.evaluation.evaluate import Predictor, TrimapPredictor
    from streammat.train.evaluation.predictors.strategies import Strategy
    from streammat.train.methods.base import Model


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--data", type=DATA, required=True, help="Folder of the data set.")
@click.option("--split", default="validation", help="train, validation, or a split of one data set alone (P3M-500-P).")
@click.option("--layout", default="auto", help="am2k, p3m, composition1k, dapm, plain, or auto.")
@click.option(
    "--strategy",
    default=None,
    help="hybrid, single, a ratio (5/13), or glance:focus (1/3:1/2).  [default: hybrid; single for .onnx and other methods; 1 with a trimap]",
)
@click.option("--grid", default=None, help="Ratios (1/3,1/2,5/13): each alone and every pair, the glance at the smaller one (Table 6).")
@click.option("--ensemble", type=FILE, multiple=True, help="Further networks; the median of all is scored (EN-median).")
@click.option("--trimap-from-glance", is_flag=True, help="Score a trimap-based method that gets the glance as its trimap (Table 3).")
@click.option("--matter", default="closed-form", help="The trimap-based method: closed-form, weights of dim, indexnet or gca, or a file .onnx, .pt (see train/evaluation/predictors/trimap_methods.py).")
@click.option("--made-trimaps", is_flag=True, help="For trimap-based methods: make the trimaps that the data set lacks from the truth.")
@click.option("--binary", is_flag=True, help="Labels are masks: also measure IoU.")
@click.option("--video", is_flag=True, help="Each folder of images is a clip: also measure dtSSD and MESSDdt.")
@click.option("--row", default=None, help="Preset or data set whose published figures are shown beside ours.")
@click.option("--rosta", default=None, help="RoSTa of MODEL, if a published FT or BT has another file name.")
@click.option("--limit", type=Whole(1), default=None, help="Number of images to use.")
@click.option("--out", type=FOLDER, default=None, help="Receives pictures.csv, report.md and worst.png; an interrupted run goes on there.")
@click.option("--workers", type=Whole(0, 1024), default=None, help="Threads that measure beside the network; 0: none, for undisturbed seconds.  [default: one for each core]")
@click.option("--device", default="auto", help="cpu, cuda, or auto.")
@click.option("--backend", default="onnxruntime", help="Engine of exported models.")
@click.option("--name", default="lite", help="Precision, for a folder with both.")
def command(model: Path, data: Path, **options: Any) -> None:
    """Score MODEL on a data set.

    MODEL is a checkpoint (.pth as published, .safetensors as trained; of GFM or of another method), an exported .onnx, the folder
    of an exported pair,
    or a program that is called as PROGRAM IMAGE.png MATTE.png. For such a folder both precisions are scored on the validation
    sets of the lite recipe, as in the model's card; the other options do not apply.
    """
    if model.is_dir():
        _score_pair(model, data, options)
    else:
        _score(model, data, options)


def _score_pair(model: Path, data: Path, options: dict[str, Any]) -> None:
    context = click.get_current_context()
    for name in options:
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in ("backend", "name"):
            raise click.UsageError(f"--{name.replace('_', '-')} is not for the folder of an exported pair; give a file")
    from streammat.train.lite.recipe import model_files, score

    print_scores(score(model_files(model, options["name"]), data, options["backend"]))


def _score(model: Path, data: Path, options: dict[str, Any]) -> None:
    from streammat.train.data.layouts import open_layout
    from streammat.train.data.pool import write_whole
    from streammat.train.evaluation.evaluate import EvaluationOptions, evaluate_set
    from streammat.train.evaluation.paper.published import find_rows
    from streammat.train.evaluation.paper.report import Facts, markdown

    _check_strategies(options["strategy"], options["grid"])
    entries = open_layout(data, options["split"], options["layout"])
    device = _device(options["device"])
    matting, trimaps = _matting(model, device, options)
    taken = entries[: options["limit"]]
    measured = EvaluationOptions(
        binary=options["binary"], video=options["video"], trimaps=trimaps, workers=options["workers"],
        identity=_identity(model, taken, options) if options["out"] is not None else "",
    )  # fmt: skip
    evaluation = evaluate_set(taken, matting, options["out"], measured, lambda line: click.echo(line, err=True))
    cases = evaluation.cases
    mattings = len({case.matting for case in cases})
    facts = Facts(
        models=(str(model), *(str(path) for path in options["ensemble"])),
        data=f"{data}, {options['split']}",
        images=len(taken),
        of=len(entries),
        made_trimaps=sum(case.made_trimap for case in cases) // mattings,
        seconds=sum(case.seconds for case in cases) / len(cases),
        device=_device_name(model, device),
    )
    row = options["row"]
    text = markdown(facts, evaluation.averages(), evaluation.clips, row, find_rows(row) if row else [])
    click.echo(text, nl=False)
    if options["out"] is not None:
        write_whole(options["out"] / "report.md", text.encode())


def _device_name(model: Path, device: str) -> str:
    from streammat.train.evaluation.predictors.program import is_program
    from streammat.train.measures.complexity import hardware

    return hardware("cpu" if model.suffix.lower() == ".onnx" or is_program(model) else device)


def _identity(model: Path, entries: Sequence[Entry], options: dict[str, Any]) -> str:
    """Return a digest of everything that the figures depend on: the matting, its options, the images."""
    method = Path(options["matter"])
    files = [model, *options["ensemble"], *([method] if options["trimap_from_glance"] and method.is_file() else [])]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    told = {name: str(value) for name, value in options.items() if name not in ("out", "row", "workers", "device", "limit")}
    images = [(str(entry.image), str(entry.alpha), str(entry.trimap)) for entry in entries]
    digest.update(json.dumps([told, images], sort_keys=True).encode())
    return digest.hexdigest()


def _check_strategies(strategy: str | None, grid: str | None) -> list[Strategy]:
    """Return the requested strategies; none to use the model's own."""
    from fractions import Fraction

    from streammat.train.evaluation.predictors.strategies import parse_strategy, ratio_grid

    if strategy is not None and grid is not None:
        raise click.UsageError("--strategy and --grid cannot be combined; give one of them")
    try:
        if grid is not None:
            return ratio_grid(list(dict.fromkeys(Fraction(part.strip()) for part in grid.split(","))))
        if strategy is not None:
            return [parse_strategy(strategy)]
    except (ValueError, ZeroDivisionError) as error:
        raise click.UsageError(f"--{'strategy' if grid is None else 'grid'}: {error}") from error
    return []


def _matting(model: Path, device: str, options: dict[str, Any]) -> tuple[Predictor | TrimapPredictor, str | None]:
    """Return the matting to score, and the kind of trimaps it gets."""
    from streammat.train.evaluation.predictors.networks import (
        exported_matting,
        given_trimap_matting,
        method_matting,
        network_matting,
        trimap_matting,
    )
    from streammat.train.evaluation.predictors.program import is_program, program_matting
    from streammat.train.evaluation.predictors.strategies import HYBRID, SINGLE, WHOLE
    from streammat.train.methods.base import Method


    strategies = _check_strategies(options["strategy"], options["grid"])
    if is_program(model):
        if strategies or options["ensemble"] or options["trimap_from_glance"]:
            raise click.UsageError(f"{model} is a program, which sees images as they are; leave out --strategy, --grid, --ensemble and --trimap-from-glance")
        return program_matting(model), None
    if model.suffix.lower() == ".onnx":
        if options["ensemble"] or options["trimap_from_glance"]:
            raise click.UsageError(
                "an exported .onnx gives a fused matte alone; --ensemble and --trimap-from-glance need checkpoints"
            )
        return exported_matting(model, options["backend"], strategies or [SINGLE]), None
    opened = _network(model, device, options["rosta"])
    if isinstance(opened, Method):
        if options["ensemble"] or options["trimap_from_glance"]:
            raise click.UsageError(f"{model} is of method {opened.NAME}; --ensemble and --trimap-from-glance are for networks of GFM")
        if not opened.NEEDS_TRIMAP:
            return method_matting(opened, strategies or [SINGLE]), None
        return given_trimap_matting(opened, strategies or [WHOLE]), "made" if options["made_trimaps"] else "given"
    strategies = strategies or [HYBRID]
    if not options["trimap_from_glance"]:
        return network_matting([opened, *(_gfm(path, device) for path in options["ensemble"])], strategies), None
    if options["ensemble"]:
        raise click.UsageError("--ensemble and --trimap-from-glance cannot be combined; give one of them")
    from streammat.train.evaluation.predictors.trimap_methods import open_trimap_method

    ratios = list(dict.fromkeys(strategy.glance_ratio for strategy in strategies))
    name = Path(options["matter"]).name
    return trimap_matting(opened, ratios, open_trimap_method(options["matter"]), name), None


def _network(path: Path, device: str, rosta: str | None = None) -> Model:
    from streammat.train.methods.weights import load_weights

    return load_weights(path, rosta).to(device)


def _gfm(path: Path, device: str) -> GFM:
    from streammat.train.methods.base import Method

    network = _network(path, device)
    if isinstance(network, Method):
        raise DataError(f"{path} is of method {network.NAME}; an ensemble is made of networks of GFM")
    return network


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # a name that torch does not know, or a device that is not there
        raise DataError(f"device {name!r} cannot be used: {first_line(error)}; expected cpu, cuda or auto") from error
    return name
