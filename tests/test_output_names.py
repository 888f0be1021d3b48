"""Names of outputs, refused before anything is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streammat.config import EncodeOptions
from streammat.errors import OutputError, UsageError
from streammat.sinks.targets import check_targets, file_identity

REPLACE = EncodeOptions(overwrite=True)


def test_what_is_free_and_new_passes(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_text("in")
    check_targets([str(tmp_path / "in.mp4")], [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")], EncodeOptions())
    check_targets(["http://127.0.0.1/in.mp4"], [], EncodeOptions())
    check_targets([], [str(tmp_path / "new/a.mp4")], EncodeOptions(), made=True)
    with pytest.raises(OutputError, match="there is no folder .*/new; make it"):
        check_targets([], [str(tmp_path / "new/a.mp4")], EncodeOptions())


def test_what_is_there_is_replaced_only_where_it_is_meant(tmp_path: Path) -> None:
    for name in ("a.mp4", "dangling.mp4"):
        target = tmp_path / name
        target.write_text("mine") if name == "a.mp4" else target.symlink_to("nowhere/else")
        if name == "a.mp4":
            with pytest.raises(UsageError, match=f"^{target}: is there already; give -y to replace it$"):
                check_targets([], [str(target)], EncodeOptions())
            check_targets([], [str(target)], REPLACE)
    assert (tmp_path / "a.mp4").read_text() == "mine"


def test_two_outputs_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for second in ("a.mp4", "link/a.mp4", "link/../" + tmp_path.name + "/a.mp4"):
        with pytest.raises(UsageError, match="^two outputs have the same name .*; give each its own$"):
            check_targets([], [str(tmp_path / "a.mp4"), str(tmp_path / second)], REPLACE)


def test_a_source_is_no_target_by_any_name(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_text("in")
    (tmp_path / "link.mp4").symlink_to(source)
    os.link(source, tmp_path / "hard.mp4")
    for target in ("in.mp4", "link.mp4", "hard.mp4"):
        with pytest.raises(UsageError, match=f"^{source}: is both source and target; give the output another name$"):
            check_targets(["x.mp4", str(source)], [str(tmp_path / "other.mp4"), str(tmp_path / target)], REPLACE)
    missing = str(tmp_path / "missing.mp4")
    with pytest.raises(UsageError, match="source and target"):
        check_targets([missing], [missing], REPLACE)
    assert file_identity(source) == file_identity(tmp_path / "hard.mp4") != file_identity(tmp_path / "missing.mp4")
