# ruff: noqa: INP001 - scripts are no package
"""Networks within the budget of ``lite``, side by side: cost, speed on every CPU engine, and quality after equally long training.

    python benchmarks/quality/architectures.py --out runs/architectures                          # cost and speed; weights do not matter
    python benchmarks/quality/architectures.py --out runs/architectures --data DATA --cache MATTES --hard HARD --teacher lite.safetensors

Every variant is exported, quantised and timed at 288x512 with two threads, all of them in turn for some rounds, so that a slow
moment of the machine hits each alike. What counts is the ratio to ``lite`` in the same run. With ``--data`` each is trained by
the ``lite`` recipe on images of 256x256 for the same number of steps, and scored. Trained variants are
kept under ``--out`` and not trained again.

How far a network is after so few steps is decided by where its encoder begins. With ``--teacher`` all begin with the encoder of a
network that has been trained, and with decoders at random; ``dense``, which cannot take that encoder, learns to give the
same maps first (Romero et al., "FitNets", ICLR 2015), for ``--distil-steps`` more. Without, they begin with ImageNet's, and ``dense``
at random: there are no ImageNet weights for it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streammat.engines.choice import PRECISIONS, open_engine
from streammat.engines.export.onnx import export_onnx
from streammat.engines.export.quantize import quantize_onnx
from streammat.engines.model_files import ModelFiles
from streammat.engines.network.backbones import BACKBONES, Backbone, ConvBN
from streammat.engines.network.checkpoint import load_network, save_network
from streammat.engines.network.decoders import LitePlan
from streammat.engines.network.gfm import GFM, NETWORKS, Ablation
from streammat.train.config import TrainConfig
from streammat.train.data.loader import load_batches
from streammat.train.loop.optim import learning_rate
from streammat.train.measures.complexity import measure_complexity
from streammat.train.processes.distributed import process_group

HEIGHT, WIDTH = 288, 512
IMAGENET = "weights/mobilenetv2_bn_imagenet_features.npz"


class PlainBlock(nn.Module):
    """Two dense 3x3 convolutions and a shortcut; float (N, C, h, w), same out as in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = ConvBN(width, width), ConvBN(width, width, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.relu(x + self.two(self.one(x)))


class Plain(nn.Module):
    """An encoder of dense convolutions alone: five maps of strides 2 to 32, finest first."""

    WIDTHS = (24, 40, 80, 128, 192)

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        cin = 3
        for index, width in enumerate(self.WIDTHS):
            stages.append(nn.Sequential(ConvBN(cin, width, stride=2), *([PlainBlock(width)] if index else [])))
            cin = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


@dataclass(frozen=True)
class Variant:
    """One network."""

    title: str
    network: str = "lite"
    ablation: Ablation = field(default_factory=Ablation)


def register() -> dict[str, Variant]:
    """Enter the variants into the tables of networks."""
    lite = NETWORKS["lite"]
    glance, focus = lite.glance, lite.focus
    assert isinstance(glance, LitePlan)
    assert isinstance(focus, LitePlan)
    pretrained = BACKBONES["mobilenetv2"]
    BACKBONES["plain"] = Backbone(Plain, Plain.WIDTHS, (2, 4, 8, 16, 32), pretrained.mean, pretrained.std)
    NETWORKS["narrow"] = replace(
        lite, glance=replace(glance, widths=(96, 64, 48, 32)), focus=replace(focus, widths=(96, 64, 48, 32, 16))
    )
    NETWORKS["wide"] = replace(
        lite, glance=replace(glance, widths=(160, 128, 80, 48)), focus=replace(focus, widths=(160, 128, 80, 48, 16))
    )
    NETWORKS["glance8"] = replace(lite, glance=replace(glance, widths=(128, 96, 64), convs=(1, 1, 1)))
    NETWORKS["glance2"] = replace(lite, glance=replace(glance, widths=(128, 96, 64, 32, 16), convs=(1, 1, 1, 1, 1)))
    NETWORKS["dense"] = replace(lite, backbone="plain")
    return {
        "lite": Variant("the shipped network"),
        "narrow": Variant("decoders three quarters as wide", "narrow"),
        "wide": Variant("decoders a quarter wider", "wide"),
        "glance8": Variant("glance ends at stride 8", "glance8"),
        "glance2": Variant("glance ends at stride 2", "glance2"),
        "no-ppm": Variant("no pyramid pooling", ablation=Ablation(ppm="none")),
        "no-bridge": Variant("no bridge block", ablation=Ablation(bridge=False)),
        "one-decoder": Variant("one decoder for both outputs", ablation=Ablation(single_decoder=True)),
        "dense": Variant("dense encoder", "dense"),
    }


def trained(name: str, variant: Variant, options: argparse.Namespace) -> GFM:
    """The variant after its training; its weights are kept."""
    from streammat.train.loop.loop import train
    from streammat.train.recipes.presets import configure, find_preset
    from streammat.train.recipes.tracks import DataFolders, open_samples

    path = options.out / f"{name}.safetensors"
    if path.exists():
        return load_network(path)
    cut = variant.ablation
    preset = find_preset("lite")
    config = configure(preset, steps=options.steps, threads=options.threads, samples_every=0)
    config = replace(
        config, network=variant.network, single_decoder=cut.single_decoder, ppm=cut.ppm, bridge=cut.bridge, ema=0.99,
        final_shares=(), sizes=((256, 256, 1.0),),
    )  # fmt: skip
    samples, _ = open_samples(preset, config, None, DataFolders(options.data, cache=options.cache))
    imagenet, start = (None if variant.network == "dense" else options.data / IMAGENET), None
    if options.teacher is not None:
        imagenet, start = None, options.out / f"{name}.start.safetensors"
        if not start.exists():
            network = GFM(variant.network, "TT", cut)
            give_encoder(network, load_network(options.teacher), samples, replace(config, steps=options.distil_steps))
            save_network(network, start)
    made = train(config, samples, options.out / name, _Silent(), imagenet, start)
    assert made is not None
    save_network(made, path)
    return made


def give_encoder(network: GFM, teacher: GFM, samples: Any, config: TrainConfig) -> None:
    """Copy the teacher's encoder into a network of the same kind; have one of another kind learn to give the same maps.

    Each of the student's maps is brought to the teacher's channels by a 1x1 convolution, which is thrown away, and compared with
    the teacher's as it is after each channel's mean and deviation in the batch are taken off.
    """
    if NETWORKS[network.network].backbone == NETWORKS[teacher.network].backbone:
        network.encoder.load_state_dict(teacher.encoder.state_dict())
        return
    torch.set_num_threads(config.threads)
    ours, theirs = (BACKBONES[NETWORKS[kind].backbone].channels for kind in (network.network, teacher.network))
    adapters = nn.ModuleList(nn.Conv2d(one, other, 1) for one, other in zip(ours, theirs, strict=True))
    parameters = [*network.encoder.parameters(), *adapters.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    nn.Module.to(network, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with process_group("cpu") as group:
        for step, batch in enumerate(load_batches(samples, config, 0, group)):
            image = (batch.rgb.permute(0, 3, 1, 2).float() - teacher.mean) / teacher.std
            for settings in optimizer.param_groups:
                settings["lr"] = learning_rate(config, step / config.steps)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    wanted = teacher.encoder(image)
                found = [adapt(level) for adapt, level in zip(adapters, network.encoder(image), strict=True)]
            loss = torch.stack([_apart(level, like) for level, like in zip(found, wanted, strict=True)]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if step % 50 == 0:
                print(f"  distilled {step} of {config.steps}, unexplained {float(loss.detach()):.3f}", flush=True)


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference over the wanted map's variance, channel by channel: 1 for its mean alone, 0 for the same."""
    found, wanted = found.float(), wanted.float()
    variance = wanted.var(dim=(0, 2, 3)).clamp(min=1e-4)
    return ((found - wanted).square().mean(dim=(0, 2, 3)) / variance).mean()


class _Silent:
    def line(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def step(self, done: int, of: int, loss: float) -> None:
        pass


def scores(network: GFM, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """IoU and MAD by set, of at most ``--pictures`` each."""
    from streammat.train.loop.loop import torch_predict
    from streammat.train.measures.validation import evaluate, hard_sets, validation_sets

    sets = validation_sets(options.data) | (hard_sets(options.hard) if options.hard else {})
    found = {}
    for title, pairs in sets.items():
        result = evaluate(lambda _size: torch_predict(network), pairs[:: max(1, -(-len(pairs) // options.images))])
        found[title] = (result.iou, result.mad)
    return found


def runners(name: str, network: GFM, folder: Path) -> Iterator[tuple[str, Callable[[NDArray[np.uint8]], Any]]]:
    """Engine and precision, and the function that mattes one image."""
    folder.mkdir(parents=True, exist_ok=True)
    fp32, int8 = folder / f"{name}.fp32.onnx", folder / f"{name}.int8.onnx"
    files = ModelFiles(name, fp32, int8)
    export_onnx(network, fp32)
    rng = np.random.default_rng(1)
    quantize_onnx(fp32, int8, (rng.integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(4)))
    for precision in PRECISIONS:
        yield f"ONNX Runtime {precision}", open_engine(files, "onnxruntime", precision, (HEIGHT, WIDTH), threads=2).infer
    try:
        import openvino
    except ImportError:
        return
    core = openvino.Core()
    for precision, path, hint in (("fp32", fp32, "f32"), ("bf16", fp32, "bf16"), ("int8", int8, "f32")):
        model = core.read_model(path)
        model.reshape([1, HEIGHT, WIDTH, 3])
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": hint}
        yield f"OpenVINO {precision}", core.compile_model(model, "CPU", settings)


def time_all(candidates: dict[str, dict[str, Callable[..., Any]]], rounds: int, each: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of an image, over rounds that take the candidates in turn."""
    rgb = np.random.default_rng(2).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    times: dict[str, dict[str, list[float]]] = {name: {how: [] for how in ways} for name, ways in candidates.items()}
    for number in range(rounds + 1):  # the first round warms up
        for name, ways in candidates.items():
            for how, run in ways.items():
                for _ in range(each):
                    start = time.perf_counter()
                    run(rgb)
                    if number:
                        times[name][how].append((time.perf_counter() - start) * 1e3)
    return {name: {how: float(np.median(values)) for how, values in ways.items()} for name, ways in times.items()}


def main() -> None:
    """Parse, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of the lite recipe; without it nothing is trained")
    parser.add_argument("--cache", type=Path, help="its mattes")
    parser.add_argument("--hard", type=Path, help="what `python -m train hard` wrote")
    parser.add_argument("--teacher", type=Path, help="trained lite, whose encoder all begin with")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--distil-steps", type=int, default=900, help="of an encoder that cannot be copied")
    parser.add_argument("--pictures", type=int, default=40, help="of each set, at most")
    parser.add_argument("--threads", type=int, default=2, help="of training")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    known = register()
    chosen = {name: known[name] for name in options.only or known}
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, dict[str, Any]] = {}
    candidates = {}
    for name, variant in chosen.items():
        print(f"{name}: {variant.title}", flush=True)
        torch.manual_seed(1)
        network = trained(name, variant, options) if options.data else GFM(variant.network, "TT", variant.ablation)
        network.eval()
        cost = measure_complexity(network, HEIGHT, WIDTH)
        report[name] = {"title": variant.title, "parameters": cost.parameters, "macs": cost.macs}
        if options.data:
            kept = options.out / f"{name}.json"
            if not kept.exists():
                kept.write_text(json.dumps(scores(network, options)))
            report[name]["scores"] = json.loads(kept.read_text())
        if not options.no_speed:
            candidates[name] = dict(runners(name, network, options.out / "onnx"))
    for name, ways in time_all(candidates, options.rounds, 20).items():
        report[name]["ms"] = ways
    (options.out / "report.json").write_text(json.dumps(report, indent=1))
    print(table(report))


def table(report: dict[str, dict[str, Any]]) -> str:
    """Markdown: cost, milliseconds with the ratio to the first row, and IoU and MAD where there are any; those of the hard set as means."""
    first = next(iter(report.values()))
    ways, sets = list(first.get("ms", {})), list(first.get("scores", {}))
    hard = [title for title in sets if title.startswith("hard/")]
    easy = [title for title in sets if title not in hard]
    heads = ["network", "M parameters", "GMac", *(f"{way}, ms" for way in ways), *easy, *(["hard"] if hard else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, facts in report.items():
        cells = [f"{name}: {facts['title']}", f"{facts['parameters'] / 1e6:.2f}", f"{facts['macs'] / 1e9:.2f}"]
        cells += [f"{facts['ms'][way]:.1f} ({facts['ms'][way] / first['ms'][way]:.2f})" for way in ways]
        for group in [*([title] for title in easy), *([hard] if hard else [])]:
            iou, mad = (float(np.mean([facts["scores"][title][kind] for title in group])) for kind in (0, 1))
            cells.append(f"{iou:.3f}, {mad:.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
