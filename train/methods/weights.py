"""Writes and reads weights of all networks, GFM and other methods, and initialises encoders from ImageNet's."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from streammat.engines.base import EngineError
from streammat.engines.network.checkpoint import fill, load_checkpoint, load_imagenet, read_tensors, save_network
from streammat.engines.network.gfm import GFM
from streammat.engines.whole_files import whole_file
from streammat.train.errors import RunError
from streammat.train.methods import METHODS
from streammat.train.methods.base import Method, Model
from streammat.train.methods.published import recognise

TRAINING_ALONE = ("critic.",)
"""Parts of a network that are only used in its losses: neither written nor read."""


def save_weights(model: Model, path: Path) -> None:
    """Write a network with the facts needed to rebuild it.

    Args:
        model: any network.
        path: ``.safetensors``; replaced atomically.

    Raises:
        OSError, SafetensorError: the file cannot be written.
    """
    if isinstance(model, GFM):
        save_network(model, path)
        return
    tensors = {key: model.state_dict()[key].detach().cpu().contiguous() for key in _kept(model)}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={"method": json.dumps(model.NAME)})


def load_weights(path: Path, rosta: str | None = None) -> Model:
    """Read weights of any supported kind: ours, the authors' of GFM, and published ones of DIM, IndexNet and GCA.

    Args:
        path: ``.safetensors`` of `save_weights`, or a state dict saved by torch (``.pth``, ``.pth.tar``).
        rosta: as in `streammat.engines.network.checkpoint.load_checkpoint`; only for GFM.

    Returns:
        float32 network in eval mode.

    Raises:
        EngineError: the file is missing, damaged, or of an unknown network; the message names the first key that does not fit.
    """
    name = _method_of(path) if path.suffix == ".safetensors" else None
    if name is None:
        published = None if path.suffix == ".safetensors" else recognise(path, read_tensors(path))
        if published is None:
            return load_checkpoint(path, rosta)
        model, tensors = published
    elif name not in METHODS:
        raise EngineError(f"weights {path} are of a method {name!r} that this version does not support; it supports {', '.join(METHODS)}")
    else:
        model = METHODS[name]()
        tensors = read_tensors(path)
    if rosta is not None:
        raise EngineError(f"weights {path} are of {model.TITLE.split(',')[0]}'s {model.NAME}, which has no RoSTa; leave --rosta out")
    fill(model, path, tensors, {key: key for key in _kept(model)})
    return model.eval()


def continue_from(model: Model, path: Path) -> None:
    """Load weights of the same kind of network as a start.

    Raises:
        RunError: they are of another kind.
        EngineError: as in `load_weights`.
    """
    found = load_weights(path, model.rosta if isinstance(model, GFM) and _method_of(path) is None else None)
    kinds = [kind(network) for network in (found, model)]
    if kinds[0] != kinds[1]:
        raise RunError(f"{path} holds {kinds[0]}; this run trains {kinds[1]}: choose the same network, or other weights")
    state = found.state_dict()
    if isinstance(model, GFM) and isinstance(found, GFM) and model.memory is not None and found.memory is None:
        state["memory.weight"] = model.memory.weight  # it says nothing yet
    model.load_state_dict(state, strict=isinstance(model, GFM))


def start_encoder(model: Model, path: Path) -> None:
    """Fill the encoder with weights trained on ImageNet, from a local file; errors as in
    `streammat.engines.network.checkpoint.load_imagenet`.
    """
    load_imagenet(model, path)


def kind(model: Model) -> str:
    """Return a text that must be equal for weights to fit."""
    return f"{model.network} {model.rosta} {model.ablation}" if isinstance(model, GFM) else f"method {model.NAME}"


def _kept(model: Method) -> list[str]:
    """Return the keys to write."""
    return [key for key in model.state_dict() if not key.startswith(TRAINING_ALONE) and not key.endswith("num_batches_tracked")]


def _method_of(path: Path) -> str | None:
    """Return the method's name in the metadata of a ``.safetensors`` file; None if it is GFM's, or unreadable, which the reader
    reports.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("method")
    except (OSError, SafetensorError):
        return None
    return None if text is None else str(json.loads(text))
