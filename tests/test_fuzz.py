"""A seeded slice of ``benchmarks/reliability/fuzz.py``, in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from running import call

SEEDS = range(24)


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    file = Path(__file__).resolve().parents[1] / "benchmarks/reliability/fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_end_in_order(fuzz: ModuleType, tmp_path: Path) -> None:
    files = fuzz.sources()
    wrong = {}
    for seed in SEEDS:
        case = fuzz.damaged(files, seed)
        assert case == fuzz.damaged(files, seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        arguments, target = fuzz.command(case, folder)
        done = call(*arguments)
        wrong[seed, case.suffix, case.kind] = fuzz.fault(done.code, done.out, done.err, target)
    assert not {case: found for case, found in wrong.items() if found}


@pytest.mark.parametrize(
    ("code", "err", "found"),
    [
        (1, "Traceback (most recent call last):", "traceback"),
        (3, "", "exit code 3"),
        (1, "one\ntwo\n", "2 lines on stderr"),
        (1, "note: only this\n", "failed without a word"),
        (0, "", "no output"),
        (1, "streammat: error: damaged\n", None),
    ],
)
def test_what_counts_as_a_fault(fuzz: ModuleType, tmp_path: Path, code: int, err: str, found: str | None) -> None:
    assert fuzz.fault(code, "", err, tmp_path / "out.mkv") == found
