"""Checks the precision of the layers of a TensorRT network, in its definition before the build and in the built engine.

TensorRT's networks are strongly typed, so a decoder in float is a fault of the exported program. It would run, but at half the
speed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from streammat.engines.base import EngineError

HALF = re.compile(r"/(encoder|glance|focus)/")
"""Layers of the encoder and the decoders, by the names that ONNX gives them."""
_RIM = re.compile(r"/rim/")


@dataclass(frozen=True)
class Layers:
    """Number of layers of a built engine, by precision."""

    half: int
    """Layers with a half-precision input or output."""
    single: int
    """Layers with only float: inputs, outputs and fusion."""
    other: int
    """The rest: integers, and layers without types in the inspector's report."""


def check_network(trt: Any, network: Any, model: str) -> None:
    """Refuse a network definition that computes in float inside the encoder or a decoder.

    Args:
        trt: the module.
        network: ``tensorrt.INetworkDefinition``, strongly typed, with layers named after our modules.
        model: id, for the message.

    Raises:
        EngineError: such a layer outputs float, or there is none.
    """
    found = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if HALF.search(layer.name) and layer.type != trt.LayerType.CONSTANT:  # factors of resizing are float
            found += 1
            kinds = {layer.get_output(output).dtype for output in range(layer.num_outputs)}
            if trt.DataType.FLOAT in kinds:
                raise EngineError(f"layer {layer.name!r} of {model!r} gives float, expected half precision; this is a bug of streammat, take --engine cuda")
    if not found:
        raise EngineError(f"the layers of {model!r} are not named after its modules, so their types cannot be checked; this is a bug of streammat, take --engine cuda")


def count_layers(described: str, model: str) -> Layers:
    """Count the layers by precision, from the JSON of TensorRT's inspector.

    Args:
        described: report on an engine that was built with detailed profiling.
        model: id, for the message.

    Raises:
        EngineError: it has no types, or a convolution of the encoder or a decoder has only float.
    """
    try:
        layers = json.loads(described)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"TensorRT's description of the engine of {model!r} cannot be read ({error!r}); its precision cannot be determined") from error
    counts = {"half": 0, "single": 0, "other": 0}
    wrong = []
    for layer in layers:
        if not isinstance(layer, dict):
            raise EngineError(f"TensorRT names the layers of {model!r} only; its precision cannot be determined")
        ports = [port for side in ("Inputs", "Outputs") for port in layer.get(side, ()) if isinstance(port, dict)]
        kinds = {_kind(port) for port in ports}
        kind = "half" if "half" in kinds else "single" if "single" in kinds else "other"
        counts[kind] += 1
        text = " ".join(str(layer.get(word, "")) for word in ("Name", "Metadata", "LayerType", "ParameterType"))
        # RIM's integration is float by design; a reformatting layer bears the name of what it serves, and computes nothing.
        if kind == "single" and "convolution" in text.lower() and not _RIM.search(text) and layer.get("LayerType") != "Reformat":
            wrong.append(str(layer.get("Name", "?")))
    if not counts["half"]:
        raise EngineError(f"no layer of the engine of {model!r} computes in half precision, as TensorRT describes it; it is not kept")
    if wrong:
        raise EngineError(f"{len(wrong)} convolutions of the engine of {model!r} compute in float, not in half precision, the first {wrong[0]!r}; it is not kept")
    return Layers(**counts)


def _kind(port: dict[str, Any]) -> str:
    """Return ``half``, ``single`` or empty: TensorRT 11 has ``Datatype``, such as ``Half``, beside ``Format``; earlier ones
    ``Format/Datatype`` in one, such as ``Row major linear FP16 format``.
    """
    named = {key.lower(): str(value).lower() for key, value in port.items()}
    said = named.get("datatype") or named.get("format/datatype") or named.get("format", "")
    if "half" in said or "fp16" in said or "float16" in said:
        return "half"
    return "single" if "float" in said or "fp32" in said else ""
