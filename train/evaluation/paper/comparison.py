"""Short runs of everything that a table of the paper compares, on one data set with the same steps and seeds, to exercise the
whole chain.

`methods` are the trimap-free methods of Table 1, `compositions` the tracks of Table 4. Each is trained from the same number of
steps and samples, scored on the held-out images by the paper's metrics, and tabulated with the spread over the seeds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from streammat.engines.network.gfm import GFM
from streammat.train.data.layouts import Entry, open_layout
from streammat.train.data.pool import write_whole
from streammat.train.errors import DataError, RunError
from streammat.train.evaluation.evaluate import Predictor, evaluate_set
from streammat.train.evaluation.paper.report import DECIMALS
from streammat.train.evaluation.predictors.networks import method_matting, network_matting
from streammat.train.evaluation.predictors.strategies import Strategy, parse_strategy
from streammat.train.loop.loop import CHECKPOINT, CURVE, Watcher, train
from streammat.train.methods.base import Method, Model
from streammat.train.recipes.presets import STEP_TRACKS, TRACKS, Preset, Track, configure, find_preset
from streammat.train.recipes.tracks import DataFolders, open_images, open_samples

TRIMAP_FREE = ("shm", "lf", "hatt", "shmc")
"""Methods of `streammat.train.methods.METHODS` in the paper's Table 1."""
_CURVE_ROWS = 10
"""Number of rows of the loss curve; the first and the last one show how far the loss fell."""


@dataclass(frozen=True)
class Contender:
    """One row of a comparison."""

    name: str
    """Name, for its files and ``--only``."""
    title: str
    """Title of its row."""
    network: str
    """Network, as in `streammat.train.config.TrainConfig.network`."""
    rosta: str | None = None
    """RoSTa; None: the method has none."""
    track: Track = TRACKS["ori"]


@dataclass(frozen=True)
class ComparisonConfig:
    """Options that are the same for every row."""

    steps: int = 150
    batch: int = 4
    crop: int = 64
    """Side of the training samples in pixels, a multiple of 32."""
    images: int = 40
    """Most held-out images to score, spread evenly over the set."""
    strategy: str = "single"
    """Test strategy; methods other than GFM only support single passes."""
    learning_rate: float | None = None
    """Peak learning rate; None: the network's own in the modern recipe."""
    precision: str = "bf16"
    """Precision of training; scoring is in float32."""


@dataclass(frozen=True)
class Result:
    """One run, trained and scored."""

    options: Mapping[str, object]
    """Its `ComparisonConfig`, to detect a folder of other runs."""
    metrics: Mapping[str, float]
    """Means over the held-out images."""
    images: int
    first_loss: float
    """Mean loss of the first tenth of the steps."""
    last_loss: float
    """Mean loss of the last tenth."""


def methods(network: str) -> list[Contender]:
    """Return the trimap-free methods of Table 1, GFM on ``network`` with its three RoSTas first."""
    gfm = [Contender(f"gfm-{rosta.lower()}", f"GFM-{rosta} ({network})", network, rosta) for rosta in ("TT", "FT", "BT")]
    return [*gfm, *(Contender(name, name.upper(), name) for name in TRIMAP_FREE)]


def compositions(network: str) -> list[Contender]:
    """Return GFM-TT on ``network`` with the compositions of Table 4: without RSSN, with one of its steps, with all."""
    tracks = {"none": TRACKS["comp-bg20k"], **{key.rpartition("-")[2]: track for key, track in STEP_TRACKS.items()}, "all": TRACKS["comp-rssn"]}
    return [Contender(f"rssn-{key}", {"none": "no step", "all": "all three steps"}.get(key, f"{key} alone"), network, "TT", track) for key, track in tracks.items()]


def run_contender(
    contender: Contender,
    seed: int,
    folders: DataFolders,
    out: Path,
    config: ComparisonConfig,
    watcher: Watcher,
    imagenet: Path | None = None,
    threads: int = 1,
) -> Result:
    """Train one row with one seed and score it, unless that was done before.

    Args:
        contender: of `methods` or `compositions`.
        seed: of the weights, the order and every augmentation.
        folders: the data set with ``train`` and ``validation``, and backgrounds where the track composes.
        out: folder for ``<name>-<seed>.json`` and the folder ``<name>-<seed>`` with curve, samples, ``pictures.csv`` and
            ``worst.png``. The checkpoint, which is large, is removed when the run is scored.
        config: options that are the same for every row.
        watcher: shows the progress.
        imagenet: weights of the encoder; None starts from random ones.
        threads: of torch.

    Raises:
        RunError: options do not fit, ``out`` holds runs with other options, or something cannot be written.
        DataError: images are missing or broken.
        Stopped: a signal; the same call goes on where it stopped.
    """
    path, folder = out / f"{contender.name}-{seed}.json", out / f"{contender.name}-{seed}"
    if path.exists():
        result = read_result(path)
        if result.options != asdict(config):
            raise RunError(f"{path} was made with other options ({result.options}); give another --out, or those")
        return result
    held = _held(folders.data, config.images)
    recipe = replace(find_preset("folder", contender.network, contender.rosta).config, preset=contender.name)
    preset = Preset(contender.name, contender.title, recipe, contender.track, None)
    images = open_images(preset, folders)
    run = configure(
        preset, steps=config.steps, batch=config.batch, crop=config.crop, learning_rate=config.learning_rate, precision=config.precision, seed=seed,
        threads=threads, workers=0, samples_every=config.steps, log_every=max(1, config.steps // _CURVE_ROWS), checkpoint_minutes=10.0,
        encoder_rate=None if imagenet is not None else 1.0,  # a smaller rate is for an encoder that has learnt something
    )  # fmt: skip
    samples, _ = open_samples(preset, run, images, folders)
    model = train(run, samples, folder, watcher, imagenet)
    assert model is not None  # one process
    matting, strategy = _matting(model, config.strategy)
    averages = evaluate_set(held, matting, folder).averages()[str(strategy)]
    with (folder / CURVE).open(newline="", encoding="utf-8") as file:
        losses = [float(row["total"]) for row in csv.DictReader(file)]
    result = Result(asdict(config), averages, len(held), losses[0], losses[-1])
    write_whole(path, (json.dumps(asdict(result), indent=1) + "\n").encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def read_result(path: Path) -> Result:
    """Read the result of `run_contender`.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and give the same command") from error


def table(contenders: Sequence[Contender], results: Mapping[str, Mapping[int, Result]]) -> str:
    """Return a Markdown table: a row for each contender, the mean over its seeds and, of several, their standard deviation.

    Args:
        contenders: rows, in order; those without a result are left out.
        results: by the contender's name and seed.
    """
    shown = [contender for contender in contenders if results.get(contender.name)]
    names = [name for name in DECIMALS if any(name in result.metrics for contender in shown for result in results[contender.name].values())]
    lines = [["", "seeds", "loss, first and last tenth", *names], ["---", "---", "---:", *("---:" for _ in names)]]
    for contender in shown:
        done = results[contender.name]
        losses = [_spread([getattr(result, which) for result in done.values()], 3) for which in ("first_loss", "last_loss")]
        figures = [_spread([result.metrics[name] for result in done.values()], DECIMALS[name]) for name in names]
        lines.append([contender.title, ", ".join(map(str, sorted(done))), " → ".join(losses), *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_all(
    contenders: Sequence[Contender], seeds: Sequence[int], out: Path, run: Callable[[Contender, int], Result]
) -> str:
    """Return every contender with the first seed, then with the next; ``table.md`` is written after each, so that it is always of
    what is done.

    Returns:
        The table.
    """
    results: dict[str, dict[int, Result]] = {}
    text = ""
    for seed in seeds:
        for contender in contenders:
            results.setdefault(contender.name, {})[seed] = run(contender, seed)
            text = table(contenders, results)
            write_whole(out / "table.md", f"{text}\n".encode())
    return text


def _spread(values: Sequence[float], decimals: int) -> str:
    mean = f"{fmean(values):.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {stdev(values):.{decimals}f}"


def _held(data: Path, most: int) -> list[Entry]:
    entries = open_layout(data, "validation")
    return entries[:: -(-len(entries) // most)]


def _matting(model: Model, name: str) -> tuple[Predictor, Strategy]:
    try:
        strategy = parse_strategy(name)
    except ValueError as error:
        raise RunError(f"--strategy: {error}") from error
    if isinstance(model, Method):
        return method_matting(model, [strategy]), strategy
    assert isinstance(model, GFM)
    return network_matting([model], [strategy]), strategy
