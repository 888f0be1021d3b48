"""A synthetic data folder with its mattes, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from synthetic import make_data

from streammat.train.labels.mask_to_alpha import prepare_mattes

torch.set_num_threads(1)  # tiny tensors gain nothing from more


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def cache(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mattes")
    assert prepare_mattes(data, folder, 1, lambda _line: None) == 4
    return folder
