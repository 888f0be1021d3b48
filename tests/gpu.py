"""Tests that need a GPU: skipped where there is none, unless STREAMMAT_NEED_CUDA=1 turns that into a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from streammat.engines.base import EngineUnavailableError
from streammat.engines.registry import probe


def cuda_or_reason() -> str:
    """Why torch cannot use a GPU here; empty where it can."""
    try:
        probe("cuda")
    except EngineUnavailableError as error:
        return str(error)
    return ""


def skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("STREAMMAT_NEED_CUDA") == "1":
        pytest.fail(f"STREAMMAT_NEED_CUDA=1, but {reason}")
    pytest.skip(reason)
