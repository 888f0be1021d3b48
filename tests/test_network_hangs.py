"""A network that never returns: Ctrl-C and SIGTERM end a run within seconds, and outputs hold what was done."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from media import probe
from onnx import TensorProto, helper
from running import QUICK, names, spawn, wait_for

DARK = 10
"""Frames before the one that hangs."""
SOON = 15.0
"""Seconds, where a machine is busy with other work, too."""


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose alpha is brightness, and that counts for ever when it is shown something bright."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [helper.make_tensor_value_info("turn", TensorProto.INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, []),
         helper.make_tensor_value_info("before", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("after", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Cast", ["rgb"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["grey"], axes=[3], keepdims=0),
        helper.make_node("ReduceMax", ["grey"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "half"], ["bright"]),
        helper.make_node("Where", ["bright", "ever", "never"], ["turns"]),
        helper.make_node("Loop", ["turns", "", "grey"], ["same"], body=body),
        helper.make_node("Div", ["same", "top"], ["alpha"]),
    ]
    constants = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [128.0]), helper.make_tensor("top", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("ever", TensorProto.INT64, [], [2**62]), helper.make_tensor("never", TensorProto.INT64, [], [0]),
    ]
    graph = helper.make_graph(
        nodes, "hanging",
        [helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, ["n", "h", "w"])],
        constants,
    )
    path = tmp_path_factory.mktemp("model") / "hanging.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark, and then bright for a minute."""
    path = tmp_path_factory.mktemp("clip") / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 10, options={"preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(DARK + 600):
            image = np.full((64, 64, 3), 0 if index < DARK else 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


def ended(process: subprocess.Popen[str], number: int) -> str:
    """What a command says on stderr that is sent a signal; it has to end soon."""
    time.sleep(2.0)  # it hangs by then
    process.send_signal(number)
    return process.communicate(timeout=SOON)[1]


def test_a_video(tmp_path: Path, clip: Path, hanging: Path) -> None:
    with spawn("video", clip, tmp_path / "out.mkv", "--model", hanging, *QUICK) as process:
        wait_for((tmp_path / "out.partial.mkv").exists, 60)
        said = ended(process, signal.SIGINT)
    assert process.returncode == 130, said
    assert "the network does not answer" in said
    assert "Traceback" not in said
    assert probe(tmp_path / "out.mkv").frames == DARK


def test_live_video(tmp_path: Path, clip: Path, hanging: Path) -> None:
    with spawn("webcam", "--camera", clip, "--to", tmp_path / "rec.mkv", "--model", hanging, *QUICK) as process:
        wait_for((tmp_path / "rec.partial.mkv").exists, 60)
        said = ended(process, signal.SIGTERM)
    assert process.returncode == 143, said
    assert "the network does not answer" in said
    assert "Traceback" not in said
    assert probe(tmp_path / "rec.mkv").frames > 5


def test_images(tmp_path: Path, hanging: Path) -> None:
    """The one that is finished stays, the one at work is given up, no other is begun."""
    sources = [tmp_path / name for name in ("dark.png", "bright.png", "after.png")]
    for source, value in zip(sources, (0, 250, 0), strict=True):
        cv2.imwrite(str(source), np.full((64, 64, 3), value, np.uint8))
    with spawn("image", *sources, tmp_path / "out", "--model", hanging, "--json", *QUICK) as process:
        wait_for((tmp_path / "out" / "dark.png").exists, 60)
        said = ended(process, signal.SIGTERM)
    assert process.returncode == 143, said
    assert said.endswith(f"streammat: error: {sources[1]}: the network does not answer and was left as it is; run it again, or take another --engine\n")
    assert names(tmp_path / "out") == ["dark.png"]
