"""Weights on disk: our own safetensors files, the authors' published state dicts, and encoders trained on ImageNet.

No file is ever allowed to run code: pickled tensors are read with ``weights_only``.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from streammat.engines.base import EngineError
from streammat.engines.errors import first_line
from streammat.engines.network.gfm import GFM, NETWORKS, Ablation
from streammat.engines.whole_files import whole_file

logger = logging.getLogger(__name__)


def save_network(model: GFM, path: Path, *, half: bool = False) -> None:
    """Write the weights, with the facts needed to rebuild the network in the metadata.

    Args:
        model: any network.
        path: ``.safetensors``; replaced atomically.
        half: store float16, for weights that are shipped; values must fit its range.

    Raises:
        EngineError: ``half`` would turn a value into infinity.
        OSError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):  # only training with a cumulative average would read it
            continue
        kept = value.detach().cpu()
        if half and kept.dtype.is_floating_point:
            if kept.abs().max() > torch.finfo(torch.float16).max:
                raise EngineError(f"{key} does not fit half precision; save this network in full")
            kept = kept.to(torch.float16)
        tensors[key] = kept.contiguous()
    metadata = {"network": model.network, "rosta": model.rosta, "ablation": json.dumps(asdict(model.ablation))}
    if model.memory is not None:
        metadata["memory"] = "previous alpha"
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def load_network(path: Path, content: bytes | None = None) -> GFM:
    """Read a network written by `save_network`.

    Args:
        path: ``.safetensors``.
        content: the file's content, if it has been read already.

    Returns:
        float32 network in eval mode.

    Raises:
        EngineError: the file is missing, damaged, or of an unknown network.
    """
    try:
        if content is None:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        else:
            tensors = load(content)
            # The library reads metadata from files only: the header is JSON, its length the first eight bytes.
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise EngineError(f"cannot read weights {path}: {error}; expected whole weights: get the file again") from error
    try:
        if "method" in metadata:
            raise ValueError(
                f"they are of method {metadata['method']}, which `python -m train export` turns into an .onnx file that every command runs"
            )
        ablation = Ablation(**json.loads(metadata.get("ablation", "{}")))
        model = GFM(metadata.get("network", ""), metadata.get("rosta", "TT"), ablation, memory="memory" in metadata)
    except (ValueError, TypeError, RecursionError) as error:
        raise EngineError(f"weights {path} are not of a network that this version knows: {error}; expected GFM as this version writes it") from error
    fill(model, path, tensors, {key: key for key in model.state_dict()})
    return model.eval()


def load_checkpoint(path: Path | str, rosta: str | None = None) -> GFM:
    """Read weights of any supported kind: a published GFM state dict, or a file of `save_network`.

    The backbone and the RoSTa follow from the keys. FT and BT have the same keys and shapes: for those two the file's name
    decides (the authors call them ``gfm_r34_ft`` and ``gfm_r34_bt``), or ``rosta``; otherwise FT is assumed and a warning logged.

    Args:
        path: ``.pth`` (state dict, saved by torch) or ``.safetensors``.
        rosta: ``TT``, ``FT``, ``BT`` or ``RIM``; None infers it.

    Returns:
        float32 network in eval mode.

    Raises:
        EngineError: the file is missing, damaged or of another kind; the message names the first key that does not fit.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        model = load_network(path)
        if rosta is not None and rosta != model.rosta:
            raise EngineError(f"weights {path} are of RoSTa {model.rosta}, not {rosta}; leave --rosta out")
        return model
    tensors = _read_pickle(path)
    network, found = _recognise(path, tensors, rosta)
    model = GFM(network, found)
    names = {key: _published(key, len(NETWORKS[network].glance.levels), len(model.heads)) for key in model.state_dict()}  # type: ignore[union-attr]
    fill(model, path, tensors, names, _UNUSED[network])
    return model.eval()


# Keys of published state dicts that hold nothing of the network: the backbone's second name, its classifier and, where the
# network replaces them, its own stem and last norm; r34_2b also has a side branch that nothing reads.
_ALIAS = r"encoder[0-4]\."
_UNUSED = {
    "r34": re.compile(rf"{_ALIAS}|resnet\.fc\."),
    "r101": re.compile(rf"{_ALIAS}|resnet\.fc\."),
    "r34_2b": re.compile(r"encoder[1-4]\.|resnet\.(fc|conv1|bn1)\.|psp1\."),
    "d121": re.compile(rf"{_ALIAS}|densenet\.(classifier|features\.norm5)\."),
}


def _recognise(path: Path, tensors: Mapping[str, Tensor], rosta: str | None) -> tuple[str, str]:
    if "densenet.features.conv0.weight" in tensors:
        network = "d121"
    elif "encoder5.1.conv1.weight" in tensors:
        network = "r34_2b"
    elif "resnet.layer1.0.conv3.weight" in tensors:
        network = "r101"
    elif "resnet.conv1.weight" in tensors:
        network = "r34"
    else:
        first = next(iter(tensors), None)
        found = f"its first key is {first!r}" if first is not None else "it is empty"
        raise EngineError(f"weights {path} are not of a published GFM: {found}; expected 'resnet.…' or 'densenet.…'")
    if "rim.0.weight" in tensors:
        inferred = "RIM"
    else:
        last = tensors.get("decoder0_g.0.weight" if network == "r34_2b" else "decoder0_g.6.weight")
        if last is None or last.shape[0] not in (2, 3):
            raise EngineError(f"weights {path} do not fit GFM: decoder0_g's last convolution, of 2 or 3 classes, is missing; expected weights of the paper's GFM")
        inferred = "TT" if last.shape[0] == 3 else "FT or BT"
    if inferred == "FT or BT":
        hint = re.search(r"(?<![a-z])(ft|bt)(?![a-z])", path.stem.lower())
        if rosta in ("FT", "BT"):
            inferred = rosta
        elif hint:
            inferred = hint[1].upper()
        else:
            logger.warning("weights %s fit FT and BT alike and the name does not tell; taken as FT (rosta tells)", path)
            inferred = "FT"
    if rosta is not None and rosta != inferred:
        raise EngineError(f"weights {path} are of RoSTa {inferred}, not {rosta}; leave --rosta out")
    return network, inferred


def _published(key: str, levels: int, heads: int) -> str:
    """Return the authors' name of one of our keys.

    Args:
        key: a key of our state dict.
        levels: decoder levels before D0: the coarsest is D<levels>.
        heads: RoSTas that the network predicts.
    """
    if (found := first_rename(key, (
        (r"^encoder\.stem\.", "encoder0."),
        (r"^encoder\.reduce\.0\.", "encoder4.1."),
        (r"^encoder\.reduce\.1\.", "encoder4.2."),
        (r"^encoder\.features\.", "densenet.features."),
        (r"^encoder\.(conv1|bn1|layer[1-4])\.", r"resnet.\1."),
        (r"^glance\.pooling\.branches\.(\d)\.", r"psp_module.stages.\1.1."),
        (r"^glance\.pooling\.merge\.", "psp_module.bottleneck."),
        (r"^rim\.1\.squeeze\.", "rim.1.fc.0."),
        (r"^rim\.1\.excite\.", "rim.1.fc.2."),
    ))) is not None:
        return found
    if match := re.fullmatch(r"encoder\.layer([56])\.(\d)\.(.*)", key):
        return f"encoder{match[1]}.{int(match[2]) + 1}.{match[3]}"  # their first entry is the pooling
    if match := re.fullmatch(r"glance\.sides\.(\d)\.(.*)", key):
        return f"psp{levels - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"focus\.bridge\.(\d)\.(\d)\.(.*)", key):
        return f"bridge_block.{_flat(match[1], match[2])}.{match[3]}"
    if match := re.fullmatch(r"(glance|focus)\.levels\.(\d)\.(\d)\.(\d)\.(.*)", key):
        return f"decoder{levels - int(match[2])}_{match[1][0]}.{_flat(match[3], match[4])}.{match[5]}"
    # A head's last convolution has no norm, so it is one level less deep.
    if match := re.fullmatch(r"(glance|focus)\.heads\.(\w+)\.(\d)\.(?:(\d)\.)?(\w+)", key):
        suffix = f"_{match[2].lower()}" if heads > 1 else ""
        return f"decoder0_{match[1][0]}{suffix}.{_flat(match[3], match[4] or '0')}.{match[5]}"
    return key


def first_rename(key: str, rules: Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]) -> str | None:
    """Return ``key`` with the first of ``rules``, pattern and replacement, that fits; None: none does."""
    for pattern, replacement in rules:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return None


def _flat(block: str, part: str) -> int:
    """Return the index in the authors' flat sequence of convolution, norm, ReLU; ours has one block per convolution."""
    return 3 * int(block) + int(part)


class Encoded(Protocol):
    """Protocol of a network with an encoder."""

    encoder: torch.nn.Module

    @property
    def network(self) -> str:
        """Name of the network."""
        ...


def load_imagenet(model: Encoded, path: Path) -> None:
    """Fill the encoder with weights trained on ImageNet, from a local file.

    Args:
        model: any network.
        path: a state dict in torchvision's layout (``.pth`` or ``.safetensors``) of the encoder: ResNet-34 (r34, r34_2b),
            ResNet-101 or DenseNet-121 for GFM; for ``lite`` an ``.npz`` in the Gluon layout. Parts of an encoder that the
            classifier does not have (r2b's stem and extra stages, the dense encoder's reduction) are not changed.

    Raises:
        EngineError: the file is missing, damaged, or of another encoder; the message names the first key that does not fit.
    """
    if hasattr(model.encoder, "load_gluon"):
        try:
            model.encoder.load_gluon(path)  # type: ignore[operator]
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot use ImageNet weights {path}: {error}; expected whole weights of this encoder") from error
        return
    tensors = read_tensors(path)
    # torchvision's older DenseNet files say norm.1 where its module says norm1.
    tensors = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): value for key, value in tensors.items()}
    own = re.compile(r"stem\.|reduce\.|layer[56]\.")
    unused = re.compile(r"fc\.|classifier\.|features\.norm5\." + (r"|conv1\.|bn1\." if model.network == "r34_2b" else ""))
    state = model.encoder.state_dict()
    names = {key: key for key in state if not own.match(key)}
    for key, value in tensors.items():
        # Encoders that see more than an image: their further channels start from zero (Xu et al. 2017).
        if key in names and value.ndim == 4 and value.shape[1] == 3 and state[key].shape[1] > 3:
            more = value.new_zeros(value.shape[0], state[key].shape[1] - 3, *value.shape[2:])
            tensors[key] = torch.cat([value, more], dim=1)
    fill(model.encoder, path, tensors, names, unused)


def fill(
    module: torch.nn.Module, path: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str], unused: re.Pattern[str] | None = None
) -> None:
    """Copy ``tensors`` into ``module``; ``names`` maps our keys to the file's, ``unused`` are further keys that a file may have."""
    state = module.state_dict()
    ours = {theirs: key for key, theirs in names.items()}
    for theirs, value in tensors.items():
        target = state.get(ours.get(theirs, ""))
        if target is None:
            if unused is None or not unused.match(theirs):
                raise EngineError(f"weights {path} do not fit: key {theirs!r} is not known to this network; expected weights of the same network")
        elif target.shape != value.shape:
            found, expected = tuple(value.shape), tuple(target.shape)
            raise EngineError(f"weights {path} do not fit: key {theirs!r} has shape {found}; expected {expected}, that of the same network")
    for theirs, key in ours.items():
        if theirs not in tensors and not key.endswith("num_batches_tracked"):
            raise EngineError(f"weights {path} do not fit: key {theirs!r} is missing; expected weights of the same network")
    with torch.no_grad():
        for theirs, key in ours.items():
            if theirs in tensors:
                state[key].copy_(tensors[theirs])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, by name: safetensors, or a state dict saved by torch, possibly under the key ``state_dict``.

    Raises:
        EngineError: it is missing, damaged, or of another kind.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EngineError(f"cannot read weights {path}: {error.strerror or error}; check the path and its permissions") from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        said = first_line(error).split(". ")[0]
        raise EngineError(f"cannot read weights {path}: {said}; expected a state dict saved by torch.save") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # of a training's checkpoint
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise EngineError(f"weights {path} hold a {type(content).__name__}; expected a state dict: tensors by name")
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise EngineError(f"cannot read weights {path}: {error}; expected whole weights: get the file again") from error
    return tensors
