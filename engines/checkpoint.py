"""Weights of a network on disk: safetensors, half precision, no code in them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engines.base import EngineError
from engines.gfm import GFM, VARIANTS


def save_network(model: GFM, path: Path) -> None:
    """Write the weights in half precision with the network's name in the metadata.

    Args:
        model: any variant.
        path: ``.safetensors``; replaced atomically.
    """
    tensors = {
        key: value.detach().to(torch.float16 if value.dtype.is_floating_point else value.dtype).contiguous()
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")  # only training with a cumulative average would read it
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"network": model.name})
    partial.replace(path)


def load_network(path: Path) -> GFM:
    """Read a network written by `save_network`.

    Args:
        path: ``.safetensors``.

    Returns:
        float32 network in eval mode.

    Raises:
        EngineError: the file is missing, damaged, or of a network that is not in the table.
    """
    try:
        with safe_open(path, framework="pt") as file:
            name = (file.metadata() or {}).get("network", "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise EngineError(f"cannot read weights {path}: {error}") from error
    if name not in VARIANTS:
        raise EngineError(f"weights {path} are of network {name!r}; known are {', '.join(VARIANTS)}")
    model = GFM(name)
    floats = {key: value.float() if value.dtype.is_floating_point else value for key, value in tensors.items()}
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    try:
        model.load_state_dict({**counters, **floats})
    except RuntimeError as error:
        raise EngineError(f"weights {path} do not fit network {name!r}: {error}") from error
    return model.eval()
