"""``python -m train``: light to start, and the whole recipe in one command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import make_data

from streammat.engines.network.backbones import ConvBN, InvertedResidual
from streammat.engines.network.gfm import GFM
from streammat.train.__main__ import main
from streammat.train.cli.training.lite import STAGES


def test_help_loads_no_torch() -> None:
    code = "import sys; import streammat.train.__main__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "lite" in result.output


def test_complexity() -> None:
    result = CliRunner().invoke(main, ["complexity", "--height", "32", "--width", "32"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("lite: 2.73 M parameters, 0.01 GMac")


def write_gluon(path: Path) -> None:
    """Random encoder weights in the layout of the ImageNet file."""
    arrays: dict[str, np.ndarray] = {}

    def put(prefix: str, index: int, layer: ConvBN) -> None:
        arrays[f"{prefix}conv{index}_weight"] = layer[0].weight.detach().numpy()
        for theirs, ours in (("gamma", "weight"), ("beta", "bias"), ("running_mean",) * 2, ("running_var",) * 2):
            arrays[f"{prefix}batchnorm{index}_{theirs}"] = getattr(layer[1], ours).detach().numpy()

    encoder = GFM("lite").encoder
    put("features_", 0, encoder.stem)
    for number, block in enumerate(encoder.blocks):
        assert isinstance(block, InvertedResidual)
        for part, layer in enumerate((block.expand, block.depthwise, block.project)):
            put(f"features_linearbottleneck{number}_", part, layer)
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)


@pytest.mark.slow
def test_whole_recipe(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    shutil.copytree(data / "train/people_portraits", data / "val/people_portraits")
    write_gluon(data / "weights/mobilenetv2_bn_imagenet_features.npz")
    command = ["lite", "--data", str(data), "--out", str(tmp_path / "run"), *(word for stage in STAGES for word in (f"--{stage.name}-steps", "2"))]
    for _ in range(2):  # the second call finds everything done
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "run/models/lite.json").read_text())
    assert card["training_steps"] == 2 * (len(STAGES) - 1)  # one of them only looks for bystanders
    assert card["metrics"]["int8"]["people_portraits"]["pictures"] == 4
