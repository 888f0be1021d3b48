"""The training loop: one function from samples to weights, for every recipe, exact to resume.

Around it: `streammat.train.config` (options), `streammat.train.data.loader` (samples to batches),
`streammat.train.losses`, `streammat.train.loop.optim` (optimiser, rates,
averaged weights), `streammat.train.loop.state` (checkpoints), `streammat.train.processes.distributed` (several processes),
`streammat.train.loop.curves` and `streammat.train.loop.previews` (monitoring).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from streammat.engines.network.gfm import GFM, Ablation
from streammat.train.config import PRECISIONS, TrainConfig
from streammat.train.data.loader import Batch, Samples, load_batches
from streammat.train.errors import RunError
from streammat.train.loop.curves import Curve
from streammat.train.loop.depthwise import keep_strided_exact
from streammat.train.loop.objective import Objective, objective_terms
from streammat.train.loop.optim import learning_rate, make_average, make_optimizer, schedule_progress, set_rate, update_average
from streammat.train.loop.previews import write_preview
from streammat.train.loop.state import State, load_state, only_run, save_state
from streammat.train.losses import LossParts
from streammat.train.measures.validation import Pair, Predict, evaluate
from streammat.train.methods import METHODS
from streammat.train.methods.base import Model
from streammat.train.methods.weights import continue_from, start_encoder
from streammat.train.processes.distributed import Group, process_group, share_gradients
from streammat.train.processes.interrupt import Stopped, deferred_signals

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.csv"
SAMPLES = "samples"


class Watcher(Protocol):
    """Protocol for showing the progress of a run; only the leading process has one."""

    def line(self, text: str) -> None:
        """Report a line of text."""
        ...

    def step(self, done: int, of: int, loss: float) -> None:
        """Report a finished step."""
        ...


def train(
    config: TrainConfig,
    samples: Samples,
    out: Path,
    watcher: Watcher,
    imagenet: Path | None = None,
    start: Path | None = None,
    held: Sequence[Pair] = (),
) -> Model | None:
    """Train a network, or continue where ``out`` stopped.

    Args:
        config: options of the run; on resuming the same except for `streammat.train.config.MAY_CHANGE`.
        samples: with a glance target for each of the network's heads, at its stride (see `make_network`).
        out: folder for ``checkpoint.pt`` (whole state, replaced atomically), ``curve.csv`` and ``samples/``.
        watcher: shows the progress.
        imagenet: weights of the encoder for a fresh start; None starts from random ones.
        start: weights of the whole network for a fresh start, of the same kind as ``config`` asks for; None: see ``imagenet``.
        held: images for scoring the network from time to time.

    Returns:
        The averaged weights, or the weights themselves without averaging, in eval mode; None in the processes of a distributed
        run other than the leading one.

    Raises:
        RunError: options, device, checkpoint or disk do not allow the run, another run is using ``out``, or the loss is NaN.
        DataError: an image cannot be used.
        Stopped: Ctrl-C, SIGTERM or a closed terminal; the checkpoint is written and the same call continues.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    with process_group(config.device) as group:
        check_precision(config.precision, group.device)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make folder {out}: {error.strerror}; give another --out") from error
        with only_run(out) if group.is_leader else nullcontext():
            resumes = (out / CHECKPOINT).exists()
            state = _start(config, group, *((None, None) if resumes else (imagenet, start)))
            if resumes:
                load_state(out / CHECKPOINT, state, config)
                if group.is_leader:
                    watcher.line(f"resumed at step {state.step}, {state.elapsed / 60:.1f} min")
            _run(config, state, group, samples, out, watcher, held)
        return state.average.eval() if group.is_leader else None


def make_network(config: TrainConfig) -> Model:
    """Make the network of a run, GFM or another method, with random weights from torch's generator.

    Raises:
        RunError: there is no such network, RoSTa or ablation of it.
    """
    if config.network in METHODS:
        return METHODS[config.network]()
    try:
        ablation = Ablation(config.single_decoder, config.ppm, config.bridge)  # type: ignore[arg-type]
        model = GFM(config.network, config.rosta, ablation, memory=config.memory)
    except ValueError as error:
        raise RunError(str(error)) from error
    model.checkpointing = config.checkpointing
    return model


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that is unknown, or that the device cannot train with.

    Raises:
        RunError: names the possible ones.
    """
    if precision not in PRECISIONS:
        raise RunError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type != "cuda":
        raise RunError("precision fp16 needs CUDA (its gradients are scaled there); use --precision fp32 or bf16 on the CPU")


def _start(config: TrainConfig, group: Group, imagenet: Path | None, start: Path | None = None) -> State:
    model = make_network(config)
    if start is not None:
        continue_from(model, start)
    elif imagenet is not None:
        start_encoder(model, imagenet)
    keep_strided_exact(model)
    nn.Module.to(model, group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    average = make_average(model, config)
    scaler = torch.amp.GradScaler(group.device.type, enabled=config.precision == "fp16")
    return State(model, average, make_optimizer(model, config), scaler)


def _run(
    config: TrainConfig, state: State, group: Group, samples: Samples, out: Path, watcher: Watcher, held: Sequence[Pair]
) -> None:
    predictor = share_gradients(Objective(state.model, config), group)
    curve = Curve(out / CURVE, objective_terms(state.model, config.loss), state.step) if group.is_leader else None
    started = time.monotonic() - state.elapsed
    saved = scored = time.monotonic()
    with deferred_signals() as signals:
        batches = iter(load_batches(samples, config, state.step, group))
        while True:
            stop, state.elapsed = group.largest([float(signals.number), time.monotonic() - started])
            progress = schedule_progress(config, state.step, state.elapsed)
            if stop or progress >= 1.0:
                break
            try:
                batch = next(batches).to(group.device)
            except RuntimeError:
                # A signal to the whole process group may also have ended the loader's workers.
                if not signals.number:
                    raise
                continue
            rate = learning_rate(config, progress)
            set_rate(state.optimizer, rate)
            parts = train_step(predictor, state, batch, config)
            losses = group.mean([float(value) for value in (parts.total.detach(), *detached_terms(parts))])
            state.step += 1
            if config.ema:
                update_average(state.average, state.model, min(config.ema, (1 + state.step) / (10 + state.step)))
            state.window.append(losses)
            if curve is None:
                continue  # what follows is the leading process's
            watcher.step(state.step, config.steps, losses[0])
            if state.step % config.log_every == 0:
                curve.add(state.step, state.elapsed, rate, np.mean(state.window, axis=0).tolist())
                state.window.clear()
            if config.samples_every and state.step % config.samples_every == 0:
                write_preview(out / SAMPLES / f"step_{state.step:06}.png", state.average, batch)
            if time.monotonic() - saved > config.checkpoint_minutes * 60:
                state.elapsed = time.monotonic() - started
                save_state(out / CHECKPOINT, state, config)
                saved = time.monotonic()
                watcher.line(f"step {state.step}, {state.elapsed / 60:.1f} min, rate {rate:.2e}, loss {losses[0]:.3f}")
            if held and time.monotonic() - scored > config.evaluate_minutes * 60:
                watcher.line(f"step {state.step}: {_score(state, held)}")
                scored = time.monotonic()
        state.elapsed = time.monotonic() - started
        if group.is_leader:
            save_state(out / CHECKPOINT, state, config)
            watcher.line(f"{'stopped' if stop else 'ended'} at step {state.step}, {state.elapsed / 60:.1f} min")
        if stop:
            raise Stopped(int(stop), state.step)


def train_step(predictor: nn.Module, state: State, batch: Batch, config: TrainConfig) -> LossParts:
    """Take one optimiser step.

    Args:
        predictor: the `streammat.train.loop.objective.Objective` of the network, possibly wrapped by
            `streammat.train.processes.distributed.share_gradients`.
        state: its optimiser takes the step.
        batch: on the network's device.
        config: precision, loss, clipping.

    Returns:
        The terms for this process's part of the batch.

    Raises:
        RunError: the loss or its gradient is not finite; the weights are unchanged.
    """
    model = state.model
    parts = LossParts(predictor(batch), config.loss.group_weight)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(parts.total).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    total = float(parts.total.detach())
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    # An infinite gradient under fp16 is everyday: the scaler leaves that step out and scales less.
    if not math.isfinite(total) or not (math.isfinite(float(norm)) or state.scaler.is_enabled()):
        raise RunError(
            f"at step {state.step + 1} the loss is {total} and its gradient's norm {float(norm)}; the last checkpoint is kept: "
            "lower the learning rate, or train in another precision"
        )
    if config.clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), config.clip, norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return parts


def detached_terms(parts: LossParts) -> list[Tensor]:
    """Return the terms in the order of `streammat.train.loop.objective.objective_terms`."""
    return [value.detach() for value in parts.terms.values()]


def torch_predict(model: Model) -> Predict:
    """Return the network as `streammat.train.evaluation.evaluate` wants it; float32, whatever it was trained in."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def predict(rgb: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(0, 3, 1, 2).float()
        alpha: np.ndarray = model(image).alpha[:, 0].cpu().numpy()
        return alpha

    return predict


def _score(state: State, held: Sequence[Pair]) -> str:
    network = state.average
    training = network.training
    network.eval()
    scores = evaluate(lambda _size: torch_predict(network), held)
    network.train(training)
    return f"held-out images iou {scores.iou:.4f} mad {scores.mad:.4f}"
