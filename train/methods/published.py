"""Key mappings for published weights of the trimap-based methods. No such file is shipped.

========  ===========================================================================================================
dim       state dicts of a PyTorch training of the first stage: ``conv1_1.weight`` … ``conv6_1``, ``deconv6_1`` … ``deconv1``
indexnet  the authors': ``module.layer0.0.weight`` …, under ``state_dict``
gca       the authors': ``module.encoder.conv1.module.weight_bar`` …, under ``state_dict``
========  ===========================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from streammat.engines.base import EngineError
from streammat.engines.network.checkpoint import first_rename
from streammat.train.methods.base import Method
from streammat.train.methods.dim import DIM
from streammat.train.methods.gca import GCA
from streammat.train.methods.indexnet import IndexNet


@dataclass(frozen=True)
class KeyMapping:
    """Key mapping for one kind of published file."""

    method: type[Method]
    sign: str
    """A key by which such files are recognised."""
    theirs: Callable[[str], str]
    """Maps one of our keys to the file's."""


def recognise(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Method, dict[str, Tensor]] | None:
    """Return the method, with random weights, and the file's tensors under our names; None if the file is of no such method.

    Args:
        path: path of the file.
        tensors: its tensors.

    Raises:
        EngineError: it is of DIM with connections that are not in the paper.
    """
    plain = {key.removeprefix("module."): value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    layout = next((layout for layout in KEY_MAPPINGS if layout.sign in plain), None)
    if layout is None:
        return None
    if layout.method is DIM and "skip" in path.stem.lower():
        raise EngineError(
            f"weights {path} are called after skip connections, which have no keys of their own and which DIM's paper does not have; "
            "give those of the plain first stage, or rename the file if it holds them"
        )
    model = layout.method()
    ours = {layout.theirs(key): key for key in model.state_dict()}
    renamed = {ours.get(key, key): value for key, value in plain.items()}
    if layout.method is DIM:
        # A file of the first stage alone: the refinement stays as it is, which is to add nothing.
        renamed |= {key: value for key, value in model.state_dict().items() if key.startswith("refinement.") and key not in renamed}
    return model, renamed


_DIM_STAGES = {"0": "1_1", "2": "1_2", "5": "2_1", "7": "2_2", "10": "3_1", "12": "3_2", "14": "3_3", "17": "4_1", "19": "4_2", "21": "4_3",
               "24": "5_1", "26": "5_2", "28": "5_3"}  # fmt: skip


def _dim(key: str) -> str:
    return first_rename(key, (
        (r"^last\.", "conv6_1."),
        (r"^first\.", "deconv6_1."),
        (r"^head\.", "deconv1."),
        (r"^refinement\.head\.", "refine_pred."),
        (r"^encoder\.features\.(\d+)\.", lambda match: f"conv{_DIM_STAGES[match[1]]}."),
        (r"^decoder\.(\d)\.", lambda match: f"deconv{5 - int(match[1])}_1."),
        (r"^refinement\.convs\.(\d)\.", lambda match: f"refine_conv{int(match[1]) + 1}."),
    )) or key  # fmt: skip


def _indexnet(key: str) -> str:
    def place(match: re.Match[str]) -> str:
        # Theirs is one flat sequence: expansion 0 to 2, depthwise 3 to 5, projection 6 and 7; without the first in layer 1.
        start = {"expand": 0, "depthwise": 3, "project": 6}[match[3]] - (3 if match[1] == "1" else 0)
        return f"layer{match[1]}.{match[2]}.conv.{start + int(match[4])}."

    return first_rename(key, (
        (r"^encoder\.layers\.0\.", "layer0."),
        (r"^encoder\.layers\.(\d)\.(\d)\.(expand|depthwise|project)\.(\d)\.", place),
        (r"^encoder\.indices\.(\d)\.places\.(\d)\.", lambda match: f"index{match[1]}.indexnet{int(match[2]) + 1}."),
        (r"^pooling\.branches\.0\.", "dconv_pp.aspp1.atrous_conv."),
        (r"^pooling\.branches\.(\d)\.(\d)\.(\d)\.", lambda match: f"dconv_pp.aspp{int(match[1]) + 1}.atrous_conv.{3 * int(match[2]) + int(match[3])}."),
        (r"^pooling\.mean\.(\d)\.", lambda match: f"dconv_pp.global_avg_pool.{int(match[1]) + 1}."),
        (r"^pooling\.project\.", "dconv_pp.bottleneck_conv."),
        (r"^decoder\.(\d)\.", lambda match: f"decoder_layer{6 - int(match[1])}.dconv."),
        (r"^head\.", "pred."),
    )) or key  # fmt: skip


def _gca(key: str) -> str:
    key, encoder = (key.removeprefix("encoder."), True) if key.startswith("encoder.") else (key, False)
    key = re.sub(r"parametrizations\.weight\.original$", "module.weight_bar", key)
    key = re.sub(r"parametrizations\.weight\.0\._([uv])$", r"module.weight_\1", key)
    key = re.sub(r"^attention\.guidance\.", "gca.guidance_conv.", key)
    key = re.sub(r"^attention\.project\.", "gca.W.", key)
    # Behind the head's convolution of theirs comes the same order as in ours.
    key = re.sub(r"^guide\.", "guidance_head.", key)
    key = re.sub(r"^skips\.", "shortcut.", key)
    key = re.sub(r"\.shortcut\.(?=[012]\.)", ".downsample." if encoder else ".upsample.", key)
    if encoder:
        key = re.sub(r"^stages\.3\.", "layer_bottleneck.", key)
    key = re.sub(r"^stages\.(\d)\.", lambda match: f"layer{int(match[1]) + 1}.", key)
    if not encoder:
        key = re.sub(r"^conv\.", "conv1.", key)
        key = re.sub(r"^bn\.", "bn1.", key)
        key = re.sub(r"^head\.", "conv2.", key)
    return f"{'encoder' if encoder else 'decoder'}.{key}"


KEY_MAPPINGS = (
    KeyMapping(DIM, "deconv6_1.weight", _dim),
    KeyMapping(IndexNet, "index0.indexnet1.0.weight", _indexnet),
    KeyMapping(GCA, "encoder.gca.guidance_conv.weight", _gca),
)
