"""Results of the bench: medians over rounds with their spread, ratios, and one JSON document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streammat.bench.variants import NotRun, Variant

SCHEMA = 2
"""Version of the document; raised when a field changes its meaning or is removed."""
Answers = Mapping[Variant, Mapping[str, Sequence[Mapping[str, Any]]]]
"""Answers of `child` by variant and kind of job: one for each round, from the first one, without gaps."""


@dataclass(frozen=True)
class Spread:
    """Median and range of one figure over several rounds."""

    median: float
    min: float
    max: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class BatchResult:
    """Results of the network alone."""

    batch: int
    p50_ms: Spread
    """Median of one round's calls, divided by the batch: milliseconds per image, from and to the host's memory."""
    p99_ms: Spread
    cpu_ms: Spread
    """CPU milliseconds per image, every thread of the process counted."""
    fps: Spread
    ratio: Spread
    """``p50_ms`` over that of the fastest engine at this batch, round by round."""


@dataclass(frozen=True)
class FileResult:
    """Results of the whole job, H.264 to H.264."""

    fps: Spread
    cpu_ms: Spread
    ratio: Spread
    """Time per frame over that of the fastest engine, round by round."""
    overhead: Spread | None
    """CPU time of the job divided by the sum of decoding, network (one image at a time) and encoding, each measured alone in the
    same round.
    """
    memory_bytes: Spread


@dataclass(frozen=True)
class LiveResult:
    """Results of the live path at one camera rate."""

    camera_fps: float
    fps: Spread
    p50_ms: Spread
    """Median latency: from the moment a frame was due to the moment the output took it."""
    p99_ms: Spread
    within_33_ms: Spread
    """Share of all frames that came, dropped ones included, 0..1."""
    captured: Spread
    dropped: Spread
    faults: Spread
    cpu_ms: Spread
    """CPU milliseconds per frame shown: decoding, network, filter, compositing."""
    memory_bytes: Spread


@dataclass(frozen=True)
class EngineResult:
    """Results of one variant at one size."""

    engine: str
    precision: str
    device: str
    version: str
    threads: int
    reason: str
    start_up_s: Spread
    """Seconds from opening the engine, including the import of its library, to the first alpha, in a fresh process."""
    memory_bytes: Spread
    """Growth of the process's peak with the network alone."""
    device_bytes: Spread | None
    """Growth of the GPU memory's peak, for torch's engines."""
    difference_mean: float | None
    """Absolute difference of alpha, 0..1, to the reference."""
    difference_max: float | None
    network: tuple[BatchResult, ...]
    file: FileResult | None
    live: LiveResult | None
    flooded: LiveResult | None
    """Live video with a camera at several times the clip's rate: what it could reach, and how it behaves when overloaded."""


@dataclass(frozen=True)
class CodecResult:
    """Results of decoding and encoding alone."""

    decode_cpu_ms: Spread
    decode_fps: Spread
    encode_cpu_ms: Spread
    encode_fps: Spread


@dataclass(frozen=True)
class SizeResult:
    """All results at one frame size."""

    size: tuple[int, int]
    """(height, width)."""
    network_sizes: tuple[tuple[int, int], ...]
    """(height, width) of each network input; the matte is their mean, and the network's figures are for all of them together."""
    reference: str | None
    """The variant that ``difference_*`` compares with; None if it could not run."""
    pictures: int
    """Number of images that the network was given and that the difference is measured on."""
    fastest: dict[str, str]
    """By ``network:BATCH`` and ``file``: the variant whose ratio is 1."""
    codec: CodecResult | None
    engines: tuple[EngineResult, ...]


def spread(values: Sequence[float]) -> Spread:
    """Return median and spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), tuple(values))


def size_result(
    size: tuple[int, int], network_sizes: Sequence[tuple[int, int]], images: Mapping[str, Any], answers: Answers,
    codec: Sequence[Mapping[str, Any]],
) -> SizeResult:
    """Return medians and ratios of the answers at one size.

    Args:
        size: (height, width) of the frame.
        network_sizes: (height, width) of the network's inputs, one or several.
        images: answer of the job ``images``.
        answers: answers of the variants; variants without any are left out.
        codec: answers of the job ``codec``, one per round.
    """
    done = {variant: jobs for variant, jobs in answers.items() if jobs.get("network")}
    batches = [row["batch"] for row in next(iter(done.values()))["network"][0]["batches"]] if done else []
    times = {batch: {variant: [_of_batch(answer, batch)["p50_ms"] for answer in jobs["network"]] for variant, jobs in done.items()} for batch in batches}
    files = {variant: [1 / answer["fps"] for answer in jobs["file"]] for variant, jobs in done.items() if jobs.get("file")}
    fastest = {f"network:{batch}": _fastest(of_batch) for batch, of_batch in times.items()}
    if files:
        fastest["file"] = _fastest(files)

    def engine(variant: Variant, jobs: Mapping[str, Sequence[Mapping[str, Any]]]) -> EngineResult:
        alone = jobs["network"]
        spec = alone[0]["spec"]
        rows = []
        for batch in batches:
            parts = [_of_batch(answer, batch) for answer in alone]
            ratio = _ratio(times[batch][variant], times[batch][fastest[f"network:{batch}"]])
            p50, p99, cpu, per_second = (_spread_of(parts, name) for name in ("p50_ms", "p99_ms", "cpu_ms", "fps"))
            rows.append(BatchResult(batch, p50, p99, cpu, per_second, ratio))
        return EngineResult(
            variant.engine, variant.precision, variant.device, spec["version"], spec["threads"], spec["reason"],
            _spread_of(alone, "start_up_s"), _spread_of(alone, "memory_bytes"),
            _spread_of(alone, "device_bytes") if "device_bytes" in alone[0] else None,
            alone[0].get("mean"), alone[0].get("max"), tuple(rows),
            _file(jobs["file"], alone, codec, _ratio(files[variant], files[fastest["file"]])) if variant in files else None,
            _live(jobs.get("live")), _live(jobs.get("flooded")),
        )

    sides = [_spread_of([row[part] for row in codec], name) for part in ("decode", "encode") for name in ("cpu_ms", "fps")] if codec else []
    return SizeResult(
        size, tuple(network_sizes), images["reference"], images["pictures"], {name: str(variant) for name, variant in fastest.items()},
        CodecResult(*sides) if codec else None,
        tuple(engine(variant, jobs) for variant, jobs in done.items()),
    )


def document(result: SizeResult) -> dict[str, Any]:
    """Return a size as the JSON document has it: sides by name."""
    return asdict(result) | {"size": _sides(result.size), "network_sizes": list(map(_sides, result.network_sizes))}


def not_run(entry: NotRun) -> dict[str, Any]:
    """Return the entry of the document for something that was not measured."""
    return asdict(entry) | {"size": _sides(entry.size) if entry.size else None}


def _sides(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[1], "height": size[0]}


def _of_batch(answer: Mapping[str, Any], batch: int) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in answer["batches"] if row["batch"] == batch)
    return row


def _fastest(times: Mapping[Variant, Sequence[float]]) -> Variant:
    return min(times, key=lambda variant: statistics.median(times[variant]))


def _ratio(times: Sequence[float], fastest: Sequence[float]) -> Spread:
    """Return the ratio round by round; one of the two may lack the last round."""
    return spread([round(mine / best, 4) for mine, best in zip(times, fastest, strict=False)])


def _spread_of(answers: Sequence[Mapping[str, Any]], name: str) -> Spread:
    return spread([answer[name] for answer in answers])


def _file(
    answers: Sequence[Mapping[str, Any]], alone: Sequence[Mapping[str, Any]], codec: Sequence[Mapping[str, Any]], ratio: Spread
) -> FileResult:
    single = [row["cpu_ms"] for answer in alone for row in answer["batches"] if row["batch"] == 1]
    sums = [part["decode"]["cpu_ms"] + part["encode"]["cpu_ms"] + network for part, network in zip(codec, single, strict=False)]
    over = [round(answer["cpu_ms"] / whole, 4) for answer, whole in zip(answers, sums, strict=False)]
    overhead = spread(over) if over else None
    return FileResult(_spread_of(answers, "fps"), _spread_of(answers, "cpu_ms"), ratio, overhead, _spread_of(answers, "memory_bytes"))


def _live(answers: Sequence[Mapping[str, Any]] | None) -> LiveResult | None:
    if not answers:
        return None
    names = ("fps", "p50_ms", "p99_ms", "within_33_ms", "captured", "dropped", "faults", "cpu_ms", "memory_bytes")
    return LiveResult(answers[0]["camera_fps"], *(_spread_of(answers, name) for name in names))
