"""Ablation of the ``lite`` recipe: short runs from the same weights, each without one ingredient, with the same scoring."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from streammat.engines.network.gfm import GFM
from streammat.train.data.pool import write_whole
from streammat.train.errors import DataError, RunError
from streammat.train.lite.ingredients import INGREDIENTS
from streammat.train.loop.loop import Watcher, torch_predict, train
from streammat.train.measures.validation import Pair, Scores, evaluate, hard_sets, validation_sets
from streammat.train.recipes.presets import configure, find_preset
from streammat.train.recipes.tracks import DataFolders, open_samples

EVERYTHING = "everything"
"""Name of the complete run, with which the others are compared."""
START = "start"
"""Name for the scores of the starting weights."""
RATE = 4e-4
"""Peak learning rate: that in the middle of a full run."""


@dataclass(frozen=True)
class AblationConfig:
    """Length and data of the runs; the same for every variant."""

    steps: int = 250
    threads: int = 2
    seed: int = 11
    images: int = 60
    """Most images of each validation set, spread evenly."""


def variants() -> tuple[str, ...]:
    """Return the names of all runs."""
    return (START, EVERYTHING, *INGREDIENTS)


def run_variant(
    name: str, folders: DataFolders, hard: Path | None, start: Path, out: Path, config: AblationConfig, watcher: Watcher
) -> dict[str, Scores]:
    """Train and score one variant, unless that was done before.

    Args:
        name: one of `variants`.
        folders: data and mattes.
        hard: folder written by `streammat.train.lite.stress_set`.
        start: weights that the run starts from.
        out: folder for ``<name>.json``, and the run under ``<name>/``.
        config: length and data.
        watcher: shows the progress.

    Returns:
        Scores by validation set.

    Raises:
        RunError: there is no such ingredient, or a file cannot be written.
        DataError: there are no validation images, or one is broken.
    """
    if name not in variants():
        raise RunError(f"no variant {name!r}; expected one of {', '.join(variants())}")
    result = out / f"{name}.json"
    if result.exists():
        return read_scores(result)
    from streammat.engines.network.checkpoint import load_network

    sets = _validation(folders.data, hard, config.images)
    if name == START:
        network = load_network(start).eval()
    else:
        without = () if name == EVERYTHING else (name,)
        preset = find_preset("lite-second")
        run = configure(
            preset, steps=config.steps, without=without, threads=config.threads, seed=config.seed, learning_rate=RATE, workers=1,
            samples_every=0,
        )  # fmt: skip
        # As many steps as these would hardly move weights that are averaged over a thousand.
        run = replace(run, ema=0.98)
        samples, _ = open_samples(preset, run, None, folders)
        trained = train(run, samples, out / name, watcher, start=start)
        assert isinstance(trained, GFM)  # one process, and the preset is of GFM
        network = trained
    scores = {title: evaluate(lambda _size: torch_predict(network), pairs) for title, pairs in sets.items()}
    write_whole(result, (json.dumps({title: asdict(score) for title, score in scores.items()}, indent=1) + "\n").encode())
    return scores


def read_scores(path: Path) -> dict[str, Scores]:
    """Read the scores of a variant.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return {title: Scores(**values) for title, values in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and give the same command") from error


def table(results: Mapping[str, Mapping[str, Scores]], sets: Sequence[str]) -> str:
    """Return a Markdown table: a row for each variant, with IoU by set, and the mean alpha of sets without a subject.

    Args:
        results: scores by variant and set.
        sets: columns; ``hard/empty`` and ``hard/fabric`` are shown as their mean alpha, which is their MAD.
    """
    shown = [title for title in sets if any(title in scores for scores in results.values())]
    lines = ["| without | " + " | ".join(title + (" (mean alpha)" if _empty(title) else "") for title in shown) + " |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for name, scores in results.items():
        cells = [
            "-" if title not in scores else f"{scores[title].mad:.4f}" if _empty(title) else f"{scores[title].iou:.4f}"
            for title in shown
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _empty(title: str) -> bool:
    return title.endswith(("/empty", "/fabric"))


def _validation(data: Path, hard: Path | None, most: int) -> dict[str, list[Pair]]:
    sets = validation_sets(data) | (hard_sets(hard) if hard is not None else {})
    if not sets:
        raise DataError("no validation images; --data has to hold val/, or --hard what `python -m train hard` made")
    return {title: pairs[:: max(1, -(-len(pairs) // most))] for title, pairs in sets.items()}
