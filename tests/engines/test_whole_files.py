"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streammat.engines.whole_files import whole_file, write_whole


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushed to the disk before that, under a name beside it with its ending that nobody uses."""
    target, pushed, seen = tmp_path / "model.onnx", [], []
    target.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (pushed.append(os.fstat(descriptor).st_size), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda source, name: (seen.append((Path(source), list(pushed), target.read_bytes())), replace(source, name)))
    for content in (b"new", b"newer"):
        write_whole(target, content)
        assert target.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    (first, pushed_then, before), (second, *_) = seen
    assert (first.parent, first.suffix, pushed_then, before) == (tmp_path, ".onnx", [3], b"old")
    assert first.name.startswith(".model.")
    assert ".partial" in first.name
    assert first != second


def test_a_file_is_looked_at_before_it_takes_its_name(tmp_path: Path) -> None:
    target, seen = tmp_path / "model.onnx", []

    def look(partial: Path) -> None:
        seen.append((partial.read_bytes(), partial.parent, target.exists()))
        if len(seen) == 2:
            raise ValueError("it is not good")

    write_whole(target, b"new", look)
    with pytest.raises(ValueError, match="not good"):
        write_whole(target, b"bad", look)
    assert seen == [(b"new", tmp_path, False), (b"bad", tmp_path, True)]
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_what_fails_leaves_nothing_and_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), whole_file(target) as partial:
            partial.write_bytes(b"half")
            raise error
        with pytest.raises(error), whole_file(target):
            raise error
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    with pytest.raises(OSError, match="No such file"), whole_file(target):
        pass  # nothing was written
